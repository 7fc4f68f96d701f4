//! The siskin inference runtime: low-latency text generation from `.siskin` files on CPUs.
//!
//! The same file, prompt, seed and options give the same logits, bit for bit, on every instruction set and with any
//! number of threads; NUMERICS.md beside this crate says how.

#![deny(unsafe_code, unsafe_op_in_unsafe_fn, missing_docs)]

mod activations;
pub mod batch;
pub mod cancel;
mod cpus;
mod engine;
pub mod error;
pub mod eval;
pub mod generate;
#[allow(unsafe_code)]
pub mod kernels;
mod linear;
pub mod machine;
pub mod model;
pub mod pairs;
mod pass;
pub mod profile;
pub mod replay;
mod resume;
pub mod sampler;
mod saved;
pub mod session;
mod state;
pub mod stop;
pub mod stream;
pub mod tokenizer;

pub use batch::Batch;
pub use cancel::CancelFlag;
pub use error::Error;
pub use eval::{EvalOptions, Evaluation, Scorer, evaluate, score};
pub use generate::{GenerateOptions, Generator, Stop, prompt_tokens, start_token};
pub use kernels::{Isa, isa_name};
pub use machine::Machine;
pub use model::Model;
pub use pairs::{PairEvaluation, PairScorer};
pub use profile::{Profile, Stage, StageTime};
pub use sampler::{Sampler, SamplerError, SamplerOptions};
pub use session::{Session, SessionOptions, log_prob};
pub use stop::{StopError, StopMatcher};
pub use stream::Utf8Stream;
pub use tokenizer::{EncodeOptions, Encoder, Tokenizer, TokenizerError};
