//! What every importer gives.

use siskin_format::receipt::Origin;
use siskin_format::{ModelConfig, TensorSpec, Vocab};
use std::fmt;

use crate::error::Result;

/// A model from elsewhere: what it is, and its weights when they are asked for.
pub struct Import {
    /// What the model is; valid.
    pub config: ModelConfig,
    /// Its tokenizer, `config.vocab_size` tokens.
    pub vocab: Vocab,
    /// The file that the weights come from.
    pub origin: Origin,
    /// What a person should know: what was padded, ignored or assumed, one line each.
    pub notes: Vec<String>,
    /// Its weights.
    pub weights: Box<dyn Weights>,
}

/// Weights of a model from elsewhere, decoded tensor by tensor.
pub trait Weights {
    /// The row-major weights of a tensor of the schema of [`Import::config`], `spec.rows * spec.cols` of them. Tensors may be asked
    /// for in any order and more than once.
    ///
    /// # Errors
    /// A tensor that cannot be decoded; what can be known without decoding was checked when the source was opened.
    fn read(&mut self, spec: &TensorSpec) -> Result<Vec<f32>>;
}

impl fmt::Debug for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Import { config, origin, notes, .. } = self;
        f.debug_struct("Import")
            .field("config", config)
            .field("origin", origin)
            .field("notes", notes)
            .finish()
    }
}
