//! From trained weights to a `.siskin` file, and what the file is worth.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use siskin_format::receipt::{HeldOut, Receipt};
use siskin_format::writer::{Contents, Draft, to_bytes, write_file};
use siskin_format::{DType, ModelConfig, TensorSpec, Vocab, schema};

use crate::data::Tokens;
use crate::error::{Error, Result};
use crate::round::{self, Model, Rounding};
use crate::tokenizer::Marks;
use crate::verify::Measured;

/// Most held-out tokens that an export measures: enough for three digits, and seconds instead of minutes.
pub const MAX_MEASURED: u64 = 1 << 18;
/// Tokens of the golden runs.
const GOLDEN_TOKENS: u64 = 64;
/// Tokens of a golden run's prompt.
const GOLDEN_PROMPT: u64 = 16;

/// A trained model, as its tensors lie one after the other in the order of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Trained<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// Its tokenizer.
    pub vocab: &'a Vocab,
    /// Its weights, batch norms folded.
    pub weights: &'a [f32],
}

/// What an export found.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Bytes of the file.
    pub bytes: u64,
    /// Loss of the float weights and of the file, both by the runtime; `None` when nothing was held out.
    pub held_out: Option<HeldOut>,
}

impl<'a> Trained<'a> {
    /// The bytes of a file in memory, without a receipt.
    ///
    /// # Errors
    /// Weights that the dtype cannot hold.
    pub fn to_bytes(&self, dtype: DType) -> Result<Vec<u8>> {
        let receipt = Receipt::default();
        to_bytes(&self.contents(&receipt), |spec| spec.dtype_for(dtype), self.tensors())
    }

    /// Writes the file at `path`, atomically, and nothing more: no measure, an empty receipt.
    ///
    /// # Errors
    /// Weights that the dtype cannot hold, or a file that cannot be written; whatever stood there is then intact.
    pub fn write(&self, path: &Path, dtype: DType) -> Result<()> {
        let receipt = Receipt::default();
        write_file(path, &self.contents(&receipt), |spec| spec.dtype_for(dtype), self.tensors())
    }

    /// Writes the file, measures the loss of the float weights and of the file on `held_out` by the runtime's own kernels,
    /// records golden runs, completes the receipt, and only then puts the file at `path`.
    ///
    /// # Errors
    /// As [`Trained::write`]; a file that the runtime refuses. Whatever stood at `path` is then intact.
    pub fn export(
        &self,
        path: &Path,
        dtype: DType,
        receipt: Receipt,
        held_out: (&str, &Tokens),
        threads: usize,
    ) -> Result<Exported> {
        let empty = Receipt::default();
        let draft: Draft =
            Draft::write(path, &self.contents(&empty), |spec| spec.dtype_for(dtype), self.tensors())?;
        let file = Measured::open(draft.path())?;
        let (name, tokens) = held_out;
        let ids = read(&tokens.first(MAX_MEASURED))?;
        let mut receipt = receipt;
        if ids.len() >= 2 {
            let float = match dtype {
                DType::F32 => Measured::open(draft.path())?,
                _ => Measured::from_bytes(self.to_bytes(DType::F32)?)?,
            };
            let ((float_loss, tokens), (file_loss, _)) =
                (float.loss(&ids, threads)?, file.loss(&ids, threads)?);
            receipt.held_out = Some(HeldOut { name: name.to_string(), tokens, float_loss, file_loss });
        }
        let (prompts, steps) = golden_prompts(self.config, &ids);
        for prompt in &prompts {
            receipt.golden.push(file.golden(prompt, steps)?);
        }
        drop(file);
        draft.commit(&receipt)?;
        let bytes = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
        Ok(Exported { bytes, held_out: receipt.held_out })
    }

    /// As [`Trained::export`], with weights rounded by a text or with different types for different matrices.
    ///
    /// # Errors
    /// As [`Trained::export`].
    pub fn export_rounded(
        &self,
        path: &Path,
        rounding: &Rounding,
        receipt: &Receipt,
        held_out: (&str, &Tokens),
    ) -> Result<Exported> {
        let (name, tokens) = held_out;
        let (ids, weights) = (read(&tokens.first(MAX_MEASURED))?, self.weights());
        let model = Model { config: self.config, vocab: self.vocab, receipt };
        let found = round::write(
            path,
            model,
            &mut |spec| Ok(weights(spec)),
            rounding,
            Some((name, &ids)),
            &mut |_, _, _| {},
        )?;
        Ok(Exported { bytes: found.bytes, held_out: found.held_out })
    }

    /// Gives the weights of any tensor.
    pub fn weights(&self) -> impl Fn(&TensorSpec) -> Vec<f32> + use<'a> {
        let (weights, mut at) = (self.weights, 0);
        let places: HashMap<String, usize> = schema(self.config)
            .into_iter()
            .map(|spec| {
                at += spec.len();
                (spec.name, at)
            })
            .collect();
        move |spec| {
            let end = places[&spec.name];
            weights[end - spec.len()..end].to_vec()
        }
    }

    fn contents<'c>(&'c self, receipt: &'c Receipt) -> Contents<'c> {
        Contents { config: self.config, vocab: self.vocab, receipt }
    }

    /// Gives each tensor's weights when its turn comes.
    fn tensors(&self) -> impl FnMut(&TensorSpec) -> Result<Cow<'a, [f32]>> + use<'a> {
        let mut at = 0;
        let total: usize = schema(self.config).iter().map(TensorSpec::len).sum();
        assert_eq!(self.weights.len(), total, "the weights of this model");
        let weights = self.weights;
        move |spec| {
            at += spec.len();
            Ok(Cow::Borrowed(&weights[at - spec.len()..at]))
        }
    }
}

/// Prompts of the golden runs of a model, the second from a text's beginning if there is one, and how many tokens follow each.
pub(crate) fn golden_prompts(config: &ModelConfig, text: &[u32]) -> (Vec<Vec<u32>>, u64) {
    let half = config.context as u64 / 2;
    let begin = text.iter().copied().take(GOLDEN_PROMPT.min(half) as usize);
    let mark = Marks::of(config.vocab_size).begin;
    let second: Vec<u32> = match config.has_encoder() {
        true => begin.take_while(|id| *id != mark).collect(), // a source
        false => begin.collect(),
    };
    let prompts = [vec![0], second].into_iter().filter(|p| !p.is_empty()).collect();
    (prompts, GOLDEN_TOKENS.min(half).max(1))
}

fn read(tokens: &Tokens) -> Result<Vec<u32>> {
    let mut ids = vec![0; tokens.len() as usize];
    tokens.read(0, &mut ids)?;
    Ok(ids)
}
