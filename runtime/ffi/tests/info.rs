//! What the C library says of a model, for models that no test in C has.

#![allow(unsafe_code)] // calls the exports as C does

#[path = "../../tests/common/mod.rs"]
mod common;

use siskin_ffi::*;
use siskin_format::config::Position;
use siskin_format::{DType, ModelConfig};
use std::mem::zeroed;
use std::ptr::{null, null_mut};

/// The context that `siskin_model_get_info` tells.
fn context(config: &ModelConfig) -> usize {
    let bytes = common::file(config, DType::Q8, 3);
    let (mut model, options) = (null_mut(), null());
    // SAFETY: a struct of numbers.
    let mut info: ModelInfo = unsafe { zeroed() };
    info.size = size_of::<ModelInfo>();
    // SAFETY: the bytes outlive the model, and every pointer leads to what siskin.h says.
    unsafe {
        assert_eq!(siskin_model_open_memory(bytes.as_ptr().cast(), bytes.len(), options, &mut model), 0);
        assert_eq!(siskin_model_get_info(model, &mut info), 0);
        siskin_model_free(model);
    }
    info.context
}

#[test]
fn learned_positions_bound_a_recurrent_model() {
    let (_, gru) = common::models().into_iter().find(|(name, _)| *name == "gru").unwrap();
    let learned = ModelConfig { position: Position::Learned, context: 6, ..gru.clone() };
    assert_eq!((context(&gru), context(&learned)), (0, 6));
}
