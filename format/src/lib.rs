//! The siskin model file: one `.siskin` file holds config, tokenizer, weights and a receipt of how it was made.
//!
//! `SPEC.md` beside this crate gives every byte. [`config::ModelConfig`] says what a model is, and
//! [`schema::schema`] derives every tensor from it.

#![deny(unsafe_code, unsafe_op_in_unsafe_fn, missing_docs)]

pub mod config;
pub mod dtype;
pub mod panel;
pub mod pod;
pub mod quant;
pub mod schema;
pub mod vocab;

pub use config::{BlockConfig, ConfigError, ModelConfig};
pub use dtype::DType;
pub use panel::{PanelLayout, Planes};
pub use schema::{TensorSpec, schema};
pub use vocab::{Vocab, VocabError};
