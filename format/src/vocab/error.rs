//! What can be wrong with a vocabulary.

use super::{MAX_CHAT_LEN, MAX_MERGES, MAX_TOKEN_LEN, MAX_TOKENS, VocabKind};
use crate::memory::NoMemory;
use std::fmt;

/// Why a vocabulary was refused: one variant per rule of the [section](super).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)] // the fields are named in the messages below
pub enum VocabError {
    /// The section ends before its last field.
    Truncated { needed: u64, found: usize },
    /// Bytes follow the last field.
    TrailingBytes { expected: u64, found: usize },
    /// Padding that is not zero.
    Padding { offset: usize },
    /// A version that this reader does not know.
    Version { found: u32 },
    /// A section of version 2 that uses nothing of it.
    NeedlessVersion,
    /// An unknown code, or a reserved bit that is set.
    Code { field: &'static str, found: u32 },
    /// No token at all, or too many.
    TokenCount { found: u64 },
    /// Too many merges.
    MergeCount { found: u64 },
    /// An empty or over-long token.
    TokenLength { id: u32, len: usize },
    /// The declared number of token bytes is not the sum of the lengths.
    ByteCount { found: u64, expected: u64 },
    /// The number of scores is not the number of tokens.
    ScoreCount { found: usize, expected: usize },
    /// A token that a vocabulary of this kind cannot have.
    TokenDoesNotFit { id: u32, kind: VocabKind },
    /// Two tokens of one kind with the same bytes.
    DuplicateToken { first: u32, second: u32 },
    /// A score that is not a number.
    NanScore { id: u32 },
    /// A special id that no token has.
    SpecialOutOfRange { role: &'static str, id: u32, n_tokens: usize },
    /// A pre-tokenizer in a vocabulary that is not BPE.
    PreTokenizerWithoutBpe,
    /// Merges in a vocabulary that is neither BPE nor SentencePiece.
    MergesWithoutBpe { n_merges: usize },
    /// A text is to begin with a token that the vocabulary does not have.
    AddBosWithoutBos,
    /// A dummy prefix in a vocabulary that is not SentencePiece's.
    SpacePrefixWithoutSentencePiece,
    /// Merges to be ignored in a vocabulary that is not BPE.
    IgnoreMergesWithoutBpe,
    /// A token that takes white space and is not of a kind that is found literally, or not above the one before it.
    Strip { list: &'static str, id: u32 },
    /// More tokens that take white space than tokens.
    StripCount { list: &'static str, found: u32, n_tokens: u32 },
    /// A chat template that is too long, or not as long as its pieces.
    ChatLength { len: u64 },
    /// A piece of a chat template that is not UTF-8.
    ChatNotUtf8,
    /// A chat template without any text.
    EmptyChat,
    /// A merge that names an id that no token has.
    MergeOutOfRange { rank: usize, id: u32, n_tokens: usize },
    /// A merge whose result is not its left token followed by its right token.
    MergeResult { rank: usize, left: u32, right: u32, result: u32 },
    /// A merge that names a token which does not stand for text.
    MergeOfSpecial { rank: usize, id: u32 },
    /// A pair that occurs in two merges.
    DuplicateMerge { left: u32, right: u32 },
    /// The system has no memory for the vocabulary.
    OutOfMemory { bytes: usize },
}

impl fmt::Display for VocabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use VocabError::*;
        match self {
            Truncated { needed, found } => {
                write!(f, "vocabulary needs {needed} bytes, its section has {found}")
            }
            TrailingBytes { expected, found } => {
                write!(f, "vocabulary ends after {expected} bytes, its section has {found}")
            }
            Padding { offset } => write!(f, "vocabulary padding at byte {offset} is not zero"),
            Version { found } => write!(
                f,
                "vocabulary version {found} is unknown, this reader knows versions 1 and 2: use a newer siskin"
            ),
            NeedlessVersion => {
                f.write_str("vocabulary is version 2 and uses nothing of it, expected version 1")
            }
            Code { field, found } => write!(f, "vocabulary {field} has the unknown code {found}"),
            TokenCount { found } => {
                write!(f, "vocabulary has {found} tokens, expected 1 to {MAX_TOKENS}")
            }
            MergeCount { found } => {
                write!(f, "vocabulary has {found} merges, expected at most {MAX_MERGES}")
            }
            TokenLength { id, len } => {
                write!(f, "token {id} is {len} bytes long, expected 1 to {MAX_TOKEN_LEN}")
            }
            ByteCount { found, expected } => {
                write!(f, "vocabulary declares {found} token bytes, its lengths add up to {expected}")
            }
            ScoreCount { found, expected } => {
                write!(f, "vocabulary has {found} scores for {expected} tokens")
            }
            TokenDoesNotFit { id, kind } => {
                write!(f, "token {id} does not fit into a vocabulary of kind {}", kind.name())
            }
            DuplicateToken { first, second } => write!(f, "tokens {first} and {second} are the same"),
            NanScore { id } => write!(f, "the score of token {id} is not a number"),
            SpecialOutOfRange { role, id, n_tokens } => {
                write!(f, "{role} is token {id}, the vocabulary has {n_tokens} tokens")
            }
            PreTokenizerWithoutBpe => f.write_str("only a bpe vocabulary has a pre-tokenizer"),
            AddBosWithoutBos => f.write_str("texts are to begin with bos, and the vocabulary has no bos"),
            SpacePrefixWithoutSentencePiece => {
                f.write_str("only a sentencepiece vocabulary has a space prefix")
            }
            IgnoreMergesWithoutBpe => f.write_str("only a bpe vocabulary can ignore merges"),
            Strip { list, id } => write!(
                f,
                "{list} names token {id}, expected ascending ids of control, unknown or user-defined tokens"
            ),
            StripCount { list, found, n_tokens } => {
                write!(f, "{list} has {found} ids, the vocabulary {n_tokens} tokens")
            }
            ChatLength { len } => write!(
                f,
                "chat template is declared as {len} bytes, expected the sum of its parts and at most {MAX_CHAT_LEN}"
            ),
            ChatNotUtf8 => f.write_str("a piece of the chat template is not UTF-8"),
            EmptyChat => f.write_str("chat template has no text"),
            MergesWithoutBpe { n_merges } => {
                write!(f, "only bpe and sentencepiece vocabularies have merges, found {n_merges}")
            }
            MergeOutOfRange { rank, id, n_tokens } => {
                write!(f, "merge {rank} names token {id}, the vocabulary has {n_tokens} tokens")
            }
            MergeResult { rank, left, right, result } => {
                write!(f, "merge {rank}: token {result} is not token {left} followed by token {right}")
            }
            MergeOfSpecial { rank, id } => {
                write!(f, "merge {rank} names token {id}, which does not stand for text")
            }
            DuplicateMerge { left, right } => {
                write!(f, "the pair of tokens {left} and {right} occurs in two merges")
            }
            OutOfMemory { bytes } => NoMemory { bytes: *bytes }.fmt(f),
        }
    }
}

impl std::error::Error for VocabError {}

impl From<NoMemory> for VocabError {
    fn from(NoMemory { bytes }: NoMemory) -> VocabError {
        VocabError::OutOfMemory { bytes }
    }
}
