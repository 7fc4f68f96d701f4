//! From logits to the next token.
//!
//! The stages, in llama.cpp's order; each is skipped at its neutral value:
//!
//! 1. logit bias: added to the logits;
//! 2. penalties on the tokens of the recent history: repetition (Keskar et al. 2019), then frequency and presence;
//! 3. temperature 0: the greatest logit wins, the lowest id of equals, and nothing below matters;
//! 4. temperature, if [`SamplerOptions::temperature_first`] (the order of transformers and vLLM);
//! 5. top-k: the k greatest logits;
//! 6. top-p (Holtzman et al. 2020): the fewest most probable tokens whose probabilities sum to p, at least one;
//! 7. min-p (Nguyen et al. 2024): tokens at least min-p times as probable as the most probable;
//! 8. temperature, unless it was applied in 4: logits are divided by it;
//! 9. one token is drawn from the softmax of what is left.
//!
//! The same logits, options, seed and history give the same token on every platform: the exponential is the
//! runtime's own, sums run in a fixed order, and equal logits are ordered by id. After [`Sampler::new`] nothing is
//! allocated.

mod filter;
mod options;
mod penalty;
mod rng;
#[cfg(test)]
mod tests;

pub use options::{SamplerError, SamplerOptions};
pub use rng::Rng;

use crate::kernels::memory::Memory;
use crate::kernels::{Isa, Kernels};
use filter::Candidates;
pub(crate) use penalty::History;
use penalty::Penalties;

/// Draws tokens by [`SamplerOptions`] and remembers what its penalties need.
#[derive(Debug)]
pub struct Sampler {
    options: SamplerOptions,
    rng: Rng,
    penalties: Penalties,
    candidates: Candidates,
    vocab_size: usize,
}

/// All instruction sets give the same bits. If SISKIN_ISA names none, the model has already said so.
fn best_kernels() -> &'static Kernels {
    let isa = Isa::detect().unwrap_or(Isa::Scalar);
    isa.kernels().or(Isa::Scalar.kernels()).expect("every CPU runs the scalar kernels")
}

/// A sampler's state of its own, see [`Sampler::prepared`].
pub(crate) struct Prepared {
    options: SamplerOptions,
    rng: Rng,
    penalties: Penalties,
}

impl Sampler {
    /// A sampler for logits of `vocab_size` tokens, with all the memory that it will ever use.
    ///
    /// # Errors
    /// An option outside its range; the message says which, and what the range is.
    pub fn new(options: SamplerOptions, vocab_size: usize) -> Result<Sampler, SamplerError> {
        options.check(vocab_size)?;
        let bytes = Sampler::bytes(vocab_size);
        let mut memory = Memory::new(bytes).ok_or(SamplerError::OutOfMemory { bytes })?;
        Sampler::with_kernels(options, vocab_size, best_kernels(), &mut memory)
    }

    /// As [`Sampler::new`], in memory of the caller, of which it takes [`Sampler::bytes`]. Penalties that do something take 12
    /// bytes for each token of the vocabulary and 4 for each of the history besides, from the system.
    ///
    /// # Errors
    /// As [`Sampler::new`]; [`SamplerError::OutOfMemory`] when there is too little.
    pub fn new_in(
        options: SamplerOptions,
        vocab_size: usize,
        memory: &mut Memory,
    ) -> Result<Sampler, SamplerError> {
        Sampler::with_kernels(options, vocab_size, best_kernels(), memory)
    }

    /// Bytes that a sampler of as many tokens takes, penalties aside.
    pub fn bytes(vocab_size: usize) -> usize {
        let mut counting = Memory::counting();
        Candidates::new(vocab_size, best_kernels(), &mut counting).map_or(usize::MAX, |_| counting.bytes())
    }

    fn with_kernels(
        options: SamplerOptions,
        vocab_size: usize,
        kernels: &'static Kernels,
        memory: &mut Memory,
    ) -> Result<Sampler, SamplerError> {
        options.check(vocab_size)?;
        let bytes = Sampler::bytes(vocab_size);
        Ok(Sampler {
            rng: Rng::new(options.seed),
            penalties: Penalties::new(&options, vocab_size)?,
            candidates: Candidates::new(vocab_size, kernels, memory)
                .ok_or(SamplerError::OutOfMemory { bytes })?,
            options,
            vocab_size,
        })
    }

    /// The options in use.
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Begins anew with other options.
    ///
    /// # Errors
    /// As [`Sampler::new`]; the sampler is then unchanged.
    pub fn set_options(&mut self, options: SamplerOptions) -> Result<(), SamplerError> {
        options.check(self.vocab_size)?;
        self.penalties = Penalties::new(&options, self.vocab_size)?;
        self.rng = Rng::new(options.seed);
        self.options = options;
        Ok(())
    }

    /// The random numbers.
    pub(crate) fn rng(&self) -> &Rng {
        &self.rng
    }

    /// The history that penalties look at.
    pub(crate) fn history(&self) -> History<'_> {
        self.penalties.history()
    }

    /// What [`resume`](Self::resume) goes on from: saved options, random numbers and history. `None` is the error of a history
    /// that such options cannot have had.
    pub(crate) fn prepared(
        &self,
        options: SamplerOptions,
        rng: Rng,
        history: impl Iterator<Item = (u32, u32)>,
    ) -> Result<Prepared, Option<SamplerError>> {
        options.check(self.vocab_size)?;
        let mut penalties = Penalties::new(&options, self.vocab_size)?;
        for (token, count) in history {
            if token as usize >= self.vocab_size || !penalties.restore(token, count) {
                return Err(None);
            }
        }
        Ok(Prepared { options, rng, penalties })
    }

    /// Goes on as another sampler would have.
    pub(crate) fn resume(&mut self, prepared: Prepared) {
        Prepared { options: self.options, rng: self.rng, penalties: self.penalties } = prepared;
    }

    /// Chooses the next token and adds it to the history.
    ///
    /// A logit that is NaN counts as minus infinity, and minus infinity is never chosen.
    ///
    /// # Errors
    /// [`SamplerError::NoCandidate`] if no logit is left above minus infinity.
    ///
    /// # Panics
    /// If there are not `vocab_size` logits.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, SamplerError> {
        let token = self.choose(logits)?;
        self.accept(token);
        Ok(token)
    }

    /// Chooses the next token, which [`accept`](Self::accept) adds to the history.
    ///
    /// # Errors
    /// As [`sample`](Self::sample).
    ///
    /// # Panics
    /// If there are not `vocab_size` logits.
    pub fn choose(&mut self, logits: &[f32]) -> Result<u32, SamplerError> {
        if self.options.temperature == 0.0 {
            self.adjust(logits);
            self.candidates.greatest().ok_or(SamplerError::NoCandidate)
        } else {
            self.distribution(logits)?;
            Ok(self.candidates.draw(self.rng.uniform()))
        }
    }

    /// Adds a token to the history that penalties look at: those of the prompt. [`sample`](Self::sample) adds its own.
    ///
    /// # Panics
    /// If `token` is not below `vocab_size`.
    pub fn accept(&mut self, token: u32) {
        assert!((token as usize) < self.vocab_size, "token {token} of a vocabulary of {}", self.vocab_size);
        self.penalties.accept(token);
    }

    /// Forgets the history and begins the random numbers anew.
    pub fn reset(&mut self) {
        self.rng = Rng::new(self.options.seed);
        self.penalties.clear();
    }

    /// Forgets the history; random numbers go on.
    pub(crate) fn forget(&mut self) {
        self.penalties.clear();
    }

    /// Stages 1 and 2.
    fn adjust(&mut self, logits: &[f32]) {
        assert_eq!(logits.len(), self.vocab_size, "number of logits");
        let adjusted = self.candidates.load(logits);
        for &(id, bias) in &self.options.logit_bias {
            adjusted[id as usize] += bias;
        }
        self.penalties.apply(&self.options, adjusted);
        self.candidates.clean();
    }

    /// Stages 1 to 8: leaves the candidates with their weights.
    fn distribution(&mut self, logits: &[f32]) -> Result<(), SamplerError> {
        self.adjust(logits);
        let SamplerOptions { temperature, top_k, top_p, min_p, temperature_first, .. } = self.options;
        let candidates = &mut self.candidates;
        if !candidates.any() {
            return Err(SamplerError::NoCandidate);
        }
        if temperature_first {
            candidates.scale(temperature);
        }
        if top_k > 0 && top_k < self.vocab_size {
            candidates.top_k(top_k);
        }
        if top_p < 1.0 {
            candidates.top_p(top_p);
        }
        if min_p > 0.0 {
            candidates.min_p(min_p);
        }
        if !temperature_first {
            candidates.scale(temperature);
        }
        candidates.softmax();
        Ok(())
    }
}
