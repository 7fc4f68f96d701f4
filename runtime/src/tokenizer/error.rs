//! Why a text has no tokens.

use siskin_format::NoMemory;
use std::fmt;

/// Why a text could not be encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A vocabulary of a kind that this version cannot encode.
    UnsupportedVocab,
    /// A character that a character vocabulary does not have.
    UnknownChar {
        /// The character.
        found: char,
        /// Its position in bytes, from 0.
        at: usize,
        /// Its position in characters, from 0.
        index: usize,
        /// Number of tokens of the vocabulary.
        vocab_size: usize,
    },
    /// Bytes that are not UTF-8, for a character vocabulary.
    InvalidUtf8 {
        /// Position of the first such byte, from 0.
        at: usize,
    },
    /// A byte that the vocabulary does not have.
    UnknownByte {
        /// The byte.
        byte: u8,
        /// Its position, from 0.
        at: usize,
    },
    /// A word of 4 GiB or more.
    WordTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The system has no memory for the tokenizer's tables, or for the tokens of a text.
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
}

impl fmt::Display for TokenizerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            TokenizerError::UnsupportedVocab => {
                f.write_str("this version cannot encode vocabularies of this kind: use a newer siskin")
            }
            TokenizerError::UnknownChar { found, at, index, vocab_size } => write!(
                f,
                "character {found:?} (U+{:04X}) at byte {at} (character {index}) is not among the {vocab_size} \
                 that this model knows: remove or replace it",
                u32::from(found)
            ),
            TokenizerError::InvalidUtf8 { at } => write!(
                f,
                "byte {at} is not UTF-8, and this model reads characters: convert the text to UTF-8"
            ),
            TokenizerError::UnknownByte { byte, at } => {
                write!(f, "byte 0x{byte:02X} at position {at} is not in the model's vocabulary")
            }
            TokenizerError::WordTooLong { len } => {
                write!(f, "a single word of {len} bytes is too long: expected less than 4 GiB")
            }
            TokenizerError::OutOfMemory { bytes } => NoMemory { bytes }.fmt(f),
        }
    }
}

impl std::error::Error for TokenizerError {}

impl From<NoMemory> for TokenizerError {
    fn from(NoMemory { bytes }: NoMemory) -> TokenizerError {
        TokenizerError::OutOfMemory { bytes }
    }
}
