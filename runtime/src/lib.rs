//! The siskin inference runtime.

#![deny(unsafe_code)]

pub mod stop;
pub mod stream;
pub mod tokenizer;

pub use tokenizer::{Encoder, Tokenizer, TokenizerError};
