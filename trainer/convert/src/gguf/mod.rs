//! GGUF, the file format of llama.cpp: imported from versions 2 and 3, exported as version 3.
//!
//! Source: ggml's `docs/gguf.md` for the frame, llama.cpp for what the keys and tensors of an architecture mean.

mod arch;
mod blocks;
mod cursor;
mod export;
mod file;
mod names;
#[cfg(test)]
mod tests;
mod tokenizer;
mod value;
mod weights;

use siskin_format::{ModelConfig, Vocab};
use std::path::Path;

use crate::error::{Error, Result};
use crate::import::Import;
use crate::source::Source;
use file::{Frame, Problem};

pub use export::write;
pub(crate) use file::MAGIC;

/// Opens a file that begins with [`MAGIC`].
pub(crate) fn open(source: Source) -> Result<Import> {
    let read = read(source.path(), source.bytes()).map_err(|problem| to_error(&source, problem))?;
    let (config, vocab, notes, plan) = read;
    let origin = source.origin();
    let weights = Box::new(weights::GgufWeights { source, plan });
    Ok(Import { config, vocab, origin, notes, weights })
}

type Read = (ModelConfig, Vocab, Vec<String>, weights::Plan);

fn read(path: &Path, bytes: &[u8]) -> std::result::Result<Read, Problem> {
    let frame = Frame::read(bytes)?;
    let mut notes = Vec::new();
    if frame.trailing > 0 {
        notes.push(format!("{} bytes behind the last tensor were ignored", frame.trailing));
    }
    let rope_freqs = arch::rope_freqs(&frame, bytes)?;
    let (arch, config) = arch::read(&frame, rope_freqs)?;
    let plan = weights::plan(&frame, arch, &config)?;
    let vocab = tokenizer::read(path, &frame, Some(config.vocab_size), &mut notes)?;
    Ok((config, vocab, notes, plan))
}

/// Reads only the vocabulary of a GGUF file, which need not have weights nor an architecture that is supported.
///
/// # Errors
/// What [`crate::open`] says of the file or its tokenizer.
pub fn read_vocab(path: &Path) -> Result<Vocab> {
    let source = Source::open(path)?;
    let vocab = Frame::read(source.bytes())
        .and_then(|frame| tokenizer::read(source.path(), &frame, None, &mut Vec::new()));
    vocab.map_err(|problem| to_error(&source, problem))
}

fn to_error(source: &Source, problem: Problem) -> Error {
    match problem {
        Problem::Malformed(problem) => source.malformed(problem),
        Problem::Unsupported(problem) => source.unsupported(problem),
        Problem::Tensor(name, problem) => source.tensor(&name, problem),
        Problem::Tokenizer(problem) => source.tokenizer(problem),
        Problem::Other(error) => error,
    }
}
