//! Golden runs: what a file generated where it was made, it must generate here, to the last bit.

use crate::error::Error;
use crate::model::Model;
use crate::session::{Session, SessionOptions};
use siskin_format::receipt::{Golden, GoldenHash};
use std::sync::Arc;

/// Most tokens that a golden run may generate: a hostile receipt shall not keep a device busy for ever.
pub const MAX_TOKENS: u64 = 4096;

/// What repeating a golden run gave.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The same tokens from the same logits, bit for bit.
    Same,
    /// The same tokens, but logits of other bits.
    OtherLogits,
    /// Other tokens.
    OtherTokens,
    /// The run cannot be repeated.
    Failed(Error),
}

impl Outcome {
    /// Whether the run is the same to the last bit.
    pub fn is_same(&self) -> bool {
        matches!(self, Outcome::Same)
    }
}

/// Makes a golden run: after `prompt`, `n_tokens` times the token of the largest logit (the lowest id of equals). A model with an
/// encoder reads the prompt as its source.
///
/// # Errors
/// [`Error::GoldenLength`] above [`MAX_TOKENS`]; an empty prompt, ids outside the vocabulary and runs that do not fit
/// the context as [`Session::forward`].
pub fn record(model: &Arc<Model>, prompt: &[u32], n_tokens: u64) -> Result<Golden, Error> {
    run(model, prompt, n_tokens, None)
}

/// Repeats every golden run of the file's receipt on this machine, in their order.
pub fn verify(model: &Arc<Model>, threads: Option<usize>) -> Vec<Outcome> {
    let goldens = &model.file().receipt().golden;
    goldens.iter().map(|golden| verify_one(model, golden, threads)).collect()
}

/// Repeats one golden run.
pub fn verify_one(model: &Arc<Model>, golden: &Golden, threads: Option<usize>) -> Outcome {
    match run(model, &golden.prompt, golden.n_tokens, threads) {
        Err(error) => Outcome::Failed(error),
        Ok(here) if here == *golden => Outcome::Same,
        Ok(here) if here.tokens_hash == golden.tokens_hash => Outcome::OtherLogits,
        Ok(_) => Outcome::OtherTokens,
    }
}

fn run(model: &Arc<Model>, prompt: &[u32], n_tokens: u64, threads: Option<usize>) -> Result<Golden, Error> {
    if n_tokens > MAX_TOKENS {
        return Err(Error::GoldenLength { found: n_tokens, max: MAX_TOKENS });
    }
    let mut session = Session::new(model.clone(), &SessionOptions { threads, ..Default::default() })?;
    let mut hash = GoldenHash::new();
    let mut input = prompt;
    let mut token;
    let start = [model.target_start()];
    if model.config().has_encoder() {
        session.encode(prompt)?;
        input = &start;
    }
    for _ in 0..n_tokens {
        let logits = session.forward(input)?;
        token = [greatest(logits)];
        hash.push(token[0], logits);
        input = &token;
    }
    Ok(Golden { prompt: prompt.to_vec(), n_tokens, tokens_hash: hash.tokens(), logits_hash: hash.logits() })
}

/// Index of the largest logit, the lowest of equals; NaNs are passed over.
pub fn greatest(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (id, logit);
        }
    }
    best.0 as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_is_the_lowest_of_equals_and_never_a_nan() {
        assert_eq!(greatest(&[1.0, 3.0, 3.0, 2.0]), 1);
        assert_eq!(greatest(&[f32::NAN, -1.0, f32::NAN]), 1);
        assert_eq!(greatest(&[f32::NAN, f32::NEG_INFINITY]), 0);
    }
}
