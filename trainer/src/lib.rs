//! The siskin trainer.
#![deny(unsafe_code)]

pub mod checkpoint;
pub mod data;
pub mod error;
pub mod export;
pub mod float;
pub mod gradcheck;
pub mod model;
pub mod ops;
pub mod optim;
pub mod parallel;
pub mod params;
pub mod pool;
pub mod progress;
pub mod rng;
pub mod settings;
pub mod tape;
pub mod tensor;
pub mod tokenizer;
pub mod train;
pub mod verify;

pub use error::{Error, Result};
