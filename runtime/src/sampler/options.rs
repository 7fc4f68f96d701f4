//! What a sampler can be told, and what it refuses.

use std::fmt;

/// Most tokens of history that penalties can be limited to; `None` looks at all of it.
const MAX_LAST_N: usize = 1 << 24;

/// How the next token is chosen; see the [stages](super).
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerOptions {
    /// 0 takes the most probable token; below 1 is bolder than the model, above 1 wilder. 0 or more.
    pub temperature: f32,
    /// Keep the k most probable tokens; 0, or the vocabulary's size and more: all.
    pub top_k: usize,
    /// Keep the most probable tokens that together have this probability; above 0, up to 1: all.
    pub top_p: f32,
    /// Keep tokens with at least this part of the greatest probability; 0: all, up to 1.
    pub min_p: f32,
    /// Logits of seen tokens are divided by it if positive, else multiplied; above 0, 1: off.
    pub repetition_penalty: f32,
    /// Subtracted from a logit for each time its token was seen; 0: off.
    pub frequency_penalty: f32,
    /// Subtracted from a logit once if its token was seen; 0: off.
    pub presence_penalty: f32,
    /// How many of the last tokens the penalties look at; `None`: all.
    pub penalty_last_n: Option<usize>,
    /// Added to the logits of these tokens; minus infinity bans one.
    pub logit_bias: Vec<(u32, f32)>,
    /// Apply the temperature before top-k, top-p and min-p, as transformers and vLLM do, not after them.
    pub temperature_first: bool,
    /// Begins the random numbers.
    pub seed: u64,
}

impl Default for SamplerOptions {
    /// What suits a small model that tells stories: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, no penalty.
    fn default() -> Self {
        let neutral = SamplerOptions::neutral();
        SamplerOptions { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, ..neutral }
    }
}

impl SamplerOptions {
    /// The model's own distribution: temperature 1 and every other stage off.
    pub fn neutral() -> Self {
        SamplerOptions {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            penalty_last_n: Some(64),
            logit_bias: Vec::new(),
            temperature_first: false,
            seed: 0,
        }
    }

    /// Always the most probable token.
    pub fn greedy() -> Self {
        SamplerOptions { temperature: 0.0, ..SamplerOptions::neutral() }
    }

    /// A copy with no logit bias, which allocates nothing.
    pub(crate) fn without_bias(&self) -> SamplerOptions {
        let &SamplerOptions {
            temperature, top_k, top_p, min_p, repetition_penalty, frequency_penalty, ..
        } = self;
        let &SamplerOptions { presence_penalty, penalty_last_n, temperature_first, seed, .. } = self;
        let logit_bias = Vec::new();
        SamplerOptions {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            frequency_penalty,
            presence_penalty,
            penalty_last_n,
            logit_bias,
            temperature_first,
            seed,
        }
    }

    pub(super) fn check(&self, vocab_size: usize) -> Result<(), SamplerError> {
        if vocab_size == 0 || vocab_size > u32::MAX as usize {
            return Err(SamplerError::VocabSize { found: vocab_size });
        }
        let ranges = [
            ("temperature", self.temperature, self.temperature >= 0.0, "0 or more"),
            ("top-p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "above 0 and at most 1"),
            ("min-p", self.min_p, (0.0..=1.0).contains(&self.min_p), "between 0 and 1"),
            ("repetition penalty", self.repetition_penalty, self.repetition_penalty > 0.0, "above 0"),
            ("frequency penalty", self.frequency_penalty, true, "a finite number"),
            ("presence penalty", self.presence_penalty, true, "a finite number"),
        ];
        for (option, found, in_range, expected) in ranges {
            if !(found.is_finite() && in_range) {
                return Err(SamplerError::OutOfRange { option, found, expected });
            }
        }
        for &(id, bias) in &self.logit_bias {
            if id as usize >= vocab_size {
                return Err(SamplerError::BiasedToken { id, vocab_size });
            }
            if bias.is_nan() || bias == f32::INFINITY {
                let expected = "a finite number or minus infinity";
                return Err(SamplerError::OutOfRange { option: "logit bias", found: bias, expected });
            }
        }
        match self.penalty_last_n {
            Some(found) if found > MAX_LAST_N => Err(SamplerError::LastN { found }),
            _ => Ok(()),
        }
    }

    /// Whether any penalty does anything.
    pub(super) fn penalizes(&self) -> bool {
        let strength =
            self.repetition_penalty != 1.0 || self.frequency_penalty != 0.0 || self.presence_penalty != 0.0;
        strength && self.penalty_last_n != Some(0)
    }
}

/// Why a sampler cannot be made, or cannot choose.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SamplerError {
    /// An option outside its range.
    OutOfRange {
        /// Its name.
        option: &'static str,
        /// Its value.
        found: f32,
        /// What it may be.
        expected: &'static str,
    },
    /// A logit bias for a token that does not exist.
    BiasedToken {
        /// The token.
        id: u32,
        /// Number of tokens.
        vocab_size: usize,
    },
    /// Penalties over too long a history.
    LastN {
        /// Number of tokens.
        found: usize,
    },
    /// A vocabulary without tokens, or with more than ids can name.
    VocabSize {
        /// Number of tokens.
        found: usize,
    },
    /// No logit above minus infinity.
    NoCandidate,
    /// The system has no memory of that size.
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
}

impl fmt::Display for SamplerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            SamplerError::OutOfRange { option, found, expected } => {
                write!(f, "{option} is {found}, expected {expected}")
            }
            SamplerError::BiasedToken { id, vocab_size } => {
                write!(f, "logit bias names token {id}, the vocabulary has {vocab_size} tokens")
            }
            SamplerError::LastN { found } => write!(
                f,
                "penalties over the last {found} tokens need too much memory, expected at most {MAX_LAST_N}; \
                 look at the whole history instead"
            ),
            SamplerError::VocabSize { found } => {
                write!(f, "a vocabulary of {found} tokens, expected 1 to {}", u32::MAX)
            }
            SamplerError::NoCandidate => f.write_str(
                "no token can be chosen: every logit is NaN or minus infinity; check the model, or the logit bias",
            ),
            SamplerError::OutOfMemory { bytes } => {
                write!(f, "the system has no {bytes} bytes for the sampler; look at a shorter history")
            }
        }
    }
}

impl std::error::Error for SamplerError {}
