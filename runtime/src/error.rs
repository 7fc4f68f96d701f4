//! What can go wrong in the runtime.

use crate::kernels::Isa;
use crate::sampler::SamplerError;
use crate::stop::StopError;
use crate::tokenizer::TokenizerError;
use std::fmt;

/// An error of the runtime: what was found, what was expected, what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// `SISKIN_ISA` names an instruction set that does not exist or that this CPU lacks.
    Isa {
        /// The name found.
        name: String,
    },
    /// The model file cannot be read or is not valid.
    Format(siskin_format::Error),
    /// A tensor is not what the file's own config says.
    Tensor {
        /// Its name.
        name: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A context that the model was not made for.
    Context {
        /// Positions asked for.
        asked: usize,
        /// Positions that the model knows.
        max: usize,
    },
    /// More tokens than the session's context has room for.
    ContextFull {
        /// Tokens that the session already holds.
        position: usize,
        /// Tokens that were to be added.
        tokens: usize,
        /// Positions of the session.
        ctx: usize,
    },
    /// A token id that the model does not have.
    Token {
        /// The id.
        token: u32,
        /// Number of tokens of the model.
        vocab_size: usize,
    },
    /// A forward pass over nothing.
    NoTokens,
    /// A model with an encoder that was to write before it has read a source.
    NoSource,
    /// A source for a model without an encoder.
    NoEncoder,
    /// Bytes that are not a saved state of this model: what about them.
    SavedState(&'static str),
    /// Somebody set the session's [`CancelFlag`](crate::CancelFlag).
    Cancelled,
    /// A sequence that a batch does not have.
    Slot {
        /// The slot asked for.
        slot: usize,
        /// Slots of the batch.
        slots: usize,
    },
    /// A sequence that was given tokens twice in one step.
    SlotTwice {
        /// Its slot.
        slot: usize,
    },
    /// A session would need more memory than it was allowed.
    Budget {
        /// Bytes that it needs.
        needed: usize,
        /// Bytes that it may have.
        max: usize,
    },
    /// The system has no memory of that size, for a model, a session, or the tokens of a text.
    OutOfMemory {
        /// Bytes asked for; `usize::MAX` when they cannot be counted.
        bytes: usize,
    },
    /// The system refused to start a thread.
    Threads(std::io::Error),
    /// Sampling options that make no sense, or logits that allow no token.
    Sampler(SamplerError),
    /// Stop strings that cannot be looked for.
    Stop(StopError),
    /// Text that the vocabulary cannot express.
    Tokenizer(TokenizerError),
    /// A golden run that is too long to be repeated.
    GoldenLength {
        /// Tokens that it generates.
        found: u64,
        /// Most that it may generate.
        max: u64,
    },
}

impl From<SamplerError> for Error {
    fn from(error: SamplerError) -> Self {
        Error::Sampler(error)
    }
}

impl From<StopError> for Error {
    fn from(error: StopError) -> Self {
        Error::Stop(error)
    }
}

impl From<TokenizerError> for Error {
    fn from(error: TokenizerError) -> Self {
        match error {
            TokenizerError::OutOfMemory { bytes } => Error::OutOfMemory { bytes },
            error => Error::Tokenizer(error),
        }
    }
}

impl From<siskin_format::Error> for Error {
    fn from(error: siskin_format::Error) -> Self {
        match error {
            siskin_format::Error::OutOfMemory { bytes } => Error::OutOfMemory { bytes },
            error => Error::Format(error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Isa { name } => {
                let known = Isa::ALL.iter().any(|isa| isa.name() == name);
                let what = if known { "this CPU does not have" } else { "siskin does not know" };
                write!(f, "SISKIN_ISA={name} names an instruction set that {what}; this CPU runs")?;
                for (i, isa) in Isa::available().enumerate() {
                    write!(f, "{} {}", if i > 0 { "," } else { "" }, isa.name())?;
                }
                write!(f, "; unset SISKIN_ISA to use the best")
            }
            Error::Format(error) => write!(f, "{error}"),
            Error::Tensor { name, expected } => write!(f, "tensor {name} of the file is not {expected}"),
            Error::Context { asked, max } => {
                write!(
                    f,
                    "a context of {asked} positions was asked for, expected 1 to {max}, which the model was made for"
                )
            }
            Error::ContextFull { position, tokens, ctx } => write!(
                f,
                "the context of {ctx} positions is full: {position} are taken and {tokens} more do not fit; \
                 shorten the prompt, ask for fewer tokens or reset the session"
            ),
            Error::Token { token, vocab_size } => {
                write!(f, "token {token} does not exist, expected an id below {vocab_size}")
            }
            Error::Slot { slot, slots } => {
                write!(
                    f,
                    "slot {slot} does not exist, expected one below {slots}, for which the batch was made"
                )
            }
            Error::SlotTwice { slot } => {
                write!(
                    f,
                    "slot {slot} was given tokens twice in one step, expected all its tokens in one piece"
                )
            }
            Error::NoTokens => write!(f, "no tokens were given, expected at least one"),
            Error::NoSource => write!(
                f,
                "the model has an encoder, which has read no source: encode one before the target's tokens"
            ),
            Error::NoEncoder => write!(
                f,
                "the model has no encoder to read a source with, expected tokens of one text that goes on"
            ),
            Error::SavedState(what) => write!(
                f,
                "the saved state cannot be used: {what}; expected what was saved from a session of this very model"
            ),
            Error::Cancelled => write!(f, "the step was cancelled; the session stands where it stood before"),
            Error::Budget { needed, max } => write!(
                f,
                "the session needs {needed} bytes but may have {max}; choose a smaller context or batch"
            ),
            Error::OutOfMemory { bytes } => write!(
                f,
                "the system has no {bytes} bytes of memory left; choose a smaller context or batch, or a smaller model"
            ),
            Error::Threads(error) => write!(f, "cannot start the session's threads: {error}; ask for fewer"),
            Error::Sampler(error) => write!(f, "{error}"),
            Error::Stop(error) => write!(f, "{error}"),
            Error::Tokenizer(error) => write!(f, "{error}"),
            Error::GoldenLength { found, max } => {
                write!(f, "a golden run generates {found} tokens, expected at most {max}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Format(error) => error.source(),
            Error::Threads(error) => Some(error),
            _ => None,
        }
    }
}
