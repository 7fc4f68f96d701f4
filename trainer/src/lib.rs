//! The siskin trainer.
#![deny(unsafe_code)]

pub mod error;
pub mod optim;
pub mod rng;

pub use error::{Error, Result};
pub mod progress;
pub mod settings;
