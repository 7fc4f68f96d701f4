//! The siskin model file: one `.siskin` file holds config, tokenizer, weights and a receipt of how it was made.
//!
//! `SPEC.md` beside this crate gives every byte. [`config::ModelConfig`] says what a model is, and
//! [`schema::schema`] derives every tensor from it.

#![deny(unsafe_code, unsafe_op_in_unsafe_fn, missing_docs)]

pub mod atomic;
pub mod config;
mod config_meta;
mod cursor;
pub mod dtype;
pub mod error;
pub mod header;
pub mod memory;
pub mod meta;
pub mod mmap;
pub mod panel;
pub mod pod;
pub mod quant;
pub mod reader;
pub mod receipt;
pub mod schema;
pub mod sort;
pub mod tensors;
mod verify;
pub mod vocab;
pub mod writer;
pub mod xxh64;

pub use config::{BlockConfig, ConfigError, ModelConfig};
pub use dtype::DType;
pub use error::Error;
pub use memory::NoMemory;
pub use panel::{PanelLayout, Planes};
pub use reader::{File, OpenOptions, TensorView};
pub use receipt::Receipt;
pub use schema::{TensorSpec, schema};
pub use tensors::TensorInfo;
pub use vocab::{Vocab, VocabError};
pub use writer::{Contents, Writer};
