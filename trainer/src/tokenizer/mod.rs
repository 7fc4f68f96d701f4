//! From a text to its vocabulary. Encoding and decoding are the runtime's, which the rest of the trainer reaches from
//! here.

mod apply;
mod bpe;
mod marks;
#[cfg(test)]
mod tests;

pub use apply::{encode, placeholder, whole_chars};
pub use marks::{Marks, with_marks};

pub use siskin::{EncodeOptions, Encoder, Tokenizer, TokenizerError};

use std::ops::Range;

use siskin_format::Vocab;
use siskin_format::vocab::{MAX_TOKENS, VocabKind};

use crate::data::{Text, TextScan};
use crate::error::{Error, Result};

/// Up to this many different characters, [`Kind::Auto`] makes a character vocabulary.
const MAX_AUTO_CHARS: usize = 256;

/// What kind of vocabulary to make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Characters if the text has at most 256 different ones (and no vocabulary size is asked for), else BPE.
    #[default]
    Auto,
    /// One token per byte.
    Byte,
    /// One token per character of the text.
    Char,
    /// Byte-level byte-pair encoding.
    Bpe,
}

impl Kind {
    /// The kind of a spelling: `auto`, `byte`, `char` or `bpe`.
    pub fn parse(name: &str) -> Option<Kind> {
        match name {
            "auto" => Some(Kind::Auto),
            "byte" => Some(Kind::Byte),
            "char" => Some(Kind::Char),
            "bpe" => Some(Kind::Bpe),
            _ => None,
        }
    }
}

/// Makes the vocabulary of a text. The same text and settings always give the same vocabulary.
///
/// Characters are those of the whole text. BPE learns from `train`, the part in bytes that is trained on, or from a
/// sample spread over it if it is long. `vocab_size` is for BPE, whose size is chosen by the text if it is `None`; a
/// text without enough repetition gives fewer tokens.
///
/// # Errors
/// Invalid UTF-8 for characters, with its place; a vocabulary size that cannot be; a file that cannot be read.
pub fn train(
    text: &Text,
    scan: &TextScan,
    train: Range<u64>,
    kind: Kind,
    vocab_size: Option<usize>,
) -> Result<Vocab> {
    train_mixed(text, scan, &[(train, 1.0)], kind, vocab_size)
}

/// As [`train`], where BPE learns from several parts of the text, each of which has the share of what is learnt from that stands beside it.
///
/// # Errors
/// As [`train`].
pub fn train_mixed(
    text: &Text,
    scan: &TextScan,
    parts: &[(Range<u64>, f64)],
    kind: Kind,
    vocab_size: Option<usize>,
) -> Result<Vocab> {
    let kind = resolve(kind, scan, vocab_size)?;
    match kind {
        VocabKind::Byte => Ok(Vocab::bytes()),
        VocabKind::Char => chars(text, scan),
        _ => {
            let n_bytes = parts.iter().map(|(range, _)| range.end - range.start).sum();
            let size = vocab_size.unwrap_or_else(|| bpe_size(n_bytes, scan.chars.len()));
            let mut lines = Vec::new();
            for (range, share) in parts {
                lines.extend(bpe::sample(text, range.clone(), *share)?);
            }
            bpe::train(&lines, size)
        }
    }
}

/// What [`Kind::Auto`] means for this text, and whether the size fits the kind.
fn resolve(kind: Kind, scan: &TextScan, vocab_size: Option<usize>) -> Result<VocabKind> {
    let few = scan.chars.len() <= MAX_AUTO_CHARS && scan.invalid_utf8.is_none();
    let kind = match kind {
        Kind::Byte => VocabKind::Byte,
        Kind::Char => VocabKind::Char,
        Kind::Auto if few && vocab_size.is_none() => VocabKind::Char,
        Kind::Auto | Kind::Bpe => VocabKind::Bpe,
    };
    let problem = match vocab_size {
        Some(size) if kind != VocabKind::Bpe => {
            format!("{size} was asked for, but only a bpe tokenizer has a size to choose: leave it out")
        }
        Some(size) if !(256..=MAX_TOKENS).contains(&size) => {
            format!("{size} is not between 256, the number of bytes, and {MAX_TOKENS}")
        }
        _ => return Ok(kind),
    };
    Err(Error::Setting { key: "vocab_size", problem })
}

fn chars(text: &Text, scan: &TextScan) -> Result<Vocab> {
    if let Some(at) = scan.invalid_utf8 {
        let place = text.place(at);
        return Err(Error::Data(format!(
            "{place} is not UTF-8: convert the text, or use the byte or bpe tokenizer"
        )));
    }
    Vocab::chars(&scan.chars, false).map_err(|e| Error::Data(format!("{}: {e}", text.name())))
}

/// Size of a BPE vocabulary for a text: it grows with the root of the length, so that most tokens are seen often
/// enough to be learnt (1 MB: 2,048; 16 MB: 8,192; 256 MB and more: 32,768), but has room for twice the characters of
/// the text, so that those of Chinese are whole.
fn bpe_size(n_bytes: u64, n_chars: usize) -> usize {
    let by_length = 2048.0 * (n_bytes as f64 / 1e6).sqrt();
    let size = (by_length as usize).max(2 * n_chars).clamp(512, 32_768);
    size.next_multiple_of(256)
}
