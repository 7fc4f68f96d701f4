//! The siskin trainer: gradient descent from a text to a quantized model that generates.
//!
//! A textbook in the order of a run: [`settings`] says what is wanted, [`tokenizer`] and [`data`] turn texts into batches,
//! [`model`] runs them over a [`tape`] of [`ops`], [`parallel`] shares a batch among cores, [`optim`] turns gradients into better
//! weights, [`train`] drives it all, [`observe`] looks inside, [`plot`] draws it and [`checkpoint`] keeps it safe, [`export`] writes the file and [`verify`] measures it with the
//! runtime. [`gradcheck`] holds any model's gradients against finite differences.

#![deny(unsafe_code)]

pub mod calibrate;
pub mod checkpoint;
pub mod dashboard;
pub mod data;
pub mod doctor;
pub mod error;
pub mod experiment;
pub mod export;
pub mod float;
pub mod gradcheck;
pub mod inspect;
pub mod landscape;
pub mod model;
pub mod observe;
pub mod ops;
pub mod optim;
pub mod parallel;
pub mod params;
pub mod plan;
pub mod plot;
pub mod pool;
pub mod progress;
pub mod report;
pub mod rng;
pub mod round;
pub mod settings;
pub mod tape;
pub mod tensor;
pub mod tokenizer;
pub mod train;
pub mod tune;
pub mod verify;

pub use error::{Error, Result};
