//! GGUF, the file format of llama.cpp: imported from versions 2 and 3, exported as version 3.
//!
//! Source: ggml's `docs/gguf.md` for the frame, llama.cpp for what the keys and tensors of an architecture mean.

mod arch;
mod blocks;
mod cursor;
mod file;
mod names;
mod tokenizer;
mod value;
mod weights;

use crate::error::{Error, Result};
use crate::import::Import;
use crate::source::Source;
use file::{Frame, Problem};

pub(crate) use file::MAGIC;

/// Opens a file that begins with [`MAGIC`].
pub(crate) fn open(source: Source) -> Result<Import> {
    let (config, vocab, notes, plan) = read(&source).map_err(|problem| to_error(&source, problem))?;
    let origin = source.origin();
    let weights = Box::new(weights::GgufWeights { source, plan });
    Ok(Import { config, vocab, origin, notes, weights })
}

type Read = (siskin_format::ModelConfig, siskin_format::Vocab, Vec<String>, weights::Plan);

fn read(source: &Source) -> std::result::Result<Read, Problem> {
    let frame = Frame::read(source.bytes())?;
    let mut notes = Vec::new();
    if frame.trailing > 0 {
        notes.push(format!("{} bytes behind the last tensor were ignored", frame.trailing));
    }
    let rope_freqs = arch::rope_freqs(&frame, source.bytes())?;
    let (arch, config) = arch::read(&frame, rope_freqs)?;
    let plan = weights::plan(&frame, arch, &config)?;
    let vocab = tokenizer::read(&frame, config.vocab_size, &mut notes)?;
    Ok((config, vocab, notes, plan))
}

fn to_error(source: &Source, problem: Problem) -> Error {
    match problem {
        Problem::Malformed(problem) => source.malformed(problem),
        Problem::Unsupported(problem) => source.unsupported(problem),
        Problem::Tensor(name, problem) => source.tensor(&name, problem),
        Problem::Tokenizer(problem) => source.tokenizer(problem),
    }
}
