//! Tokenizers from elsewhere as siskin's vocabulary.
//!
//! | source | function |
//! |---|---|
//! | `tokenizer.json` of Hugging Face's `tokenizers` (BPE: byte-level, or SentencePiece's with byte fallback) | [`from_json`] |
//! | `tokenizer.bin` of llama2.c | [`from_llama2c`] |
//! | a GGUF file's `tokenizer.ggml.*` | [`from_gguf`] |
//! | `merges.txt` of GPT-2 | [`from_gpt2_merges`] |
//!
//! A vocabulary that siskin cannot express exactly is refused with a line that names what it is; what changes nothing but
//! rare texts is a note.

mod bytes;
mod gguf;
mod json;
mod llama2c;
mod merges;
mod pre_tokenizer;
mod single;
#[cfg(test)]
mod tests;

pub use bytes::from_gpt2_merges;
pub use gguf::{GgufTokenizer, from_gguf};
pub use json::{JsonTokenizer, from_json};
pub use llama2c::from_llama2c;
pub use merges::merges_from_scores;

use crate::error::{Error, Result};
use siskin_format::Vocab;
use siskin_format::vocab::{TokenKind, VocabParts};
use std::path::Path;

/// A tokenizer from elsewhere.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The vocabulary.
    pub vocab: Vocab,
    /// What a person should know: what was padded, ignored or assumed, one line each.
    pub notes: Vec<String>,
}

/// What SentencePiece writes for a space.
const SPACE_MARK: &str = "\u{2581}";

/// An error of a tokenizer.
fn refuse(path: &Path, problem: impl Into<String>) -> Error {
    Error::Tokenizer { path: path.to_path_buf(), problem: problem.into() }
}

/// The error of a tokenizer that is not the model's.
pub(crate) fn misfit(path: &Path, found: &str, rows: usize) -> Error {
    let hint = "take the tokenizer that came with the model";
    refuse(path, format!("{found}, but the embedding has {rows} rows; {hint}"))
}

/// A token as SentencePiece spells it, with its spaces.
fn with_spaces(token: &str) -> Vec<u8> {
    token.replace(SPACE_MARK, " ").into_bytes()
}

/// The byte of a token `<0xXX>`.
fn spelled_byte(token: &[u8]) -> Option<u8> {
    let digits = token.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    (digits.len() == 2).then_some(())?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Adds tokens without text until there are `vocab_size`, as models have whose embedding was padded; and makes the
/// vocabulary.
fn finish(
    path: &Path,
    mut parts: VocabParts,
    vocab_size: usize,
    mut notes: Vec<String>,
) -> Result<Converted> {
    let n = parts.tokens.len();
    if n > vocab_size {
        return Err(misfit(path, &format!("{n} tokens"), vocab_size));
    }
    if n < vocab_size {
        notes.push(format!("{} tokens without text pad the tokenizer's {n}", vocab_size - n));
        parts
            .tokens
            .extend((n..vocab_size).map(|id| (format!("[PAD{id}]").into_bytes(), TokenKind::Control)));
        if let Some(scores) = &mut parts.scores {
            scores.resize(vocab_size, 0.0); // marks take part in no merge
        }
    }
    if !parts.add_bos {
        parts.special.bos = None; // siskin begins a text with whatever stands there
    }
    let vocab = Vocab::new(parts).map_err(|error| refuse(path, format!("the tokenizer: {error}")))?;
    Ok(Converted { vocab, notes })
}
