//! Models and tokenizers from elsewhere as siskin's own, and back.
//!
//! An importer reads what a source says about itself (its config and its tokenizer) at once, and its weights only when they are
//! asked for: [`Import`] hands them out tensor by tensor, in the names and shapes of [`siskin_format::schema()`], so that a model is never in
//! memory as a whole. The source is mapped; every size it names is compared with the bytes that are there before anything is
//! allocated, and any bytes give a model or one line that says what was found and what was expected.
//!
//! This crate knows neither the runtime nor the trainer: who measures an imported file, and who prints, stands above it.

pub mod chat;
mod error;
mod hf;
mod import;
mod llama2c;
mod open;
mod pickle;
mod recipe;
mod recurrent;
pub mod safetensors;
mod source;
#[cfg(test)]
mod testing;
pub mod tokenizer;
mod vocabulary;

pub use error::{Error, Result};
pub use import::{Import, Weights};
pub use open::{Options, open};
