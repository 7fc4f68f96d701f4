//! The tokenizer section: the vocabulary that travels in the file.
//!
//! A token is a byte string, so one representation serves byte, character and byte-level BPE vocabularies, in
//! every language. A [`Vocab`] is checked when it is made, whether from parts or from a file's bytes, and cannot
//! be changed afterwards: whoever holds one may rely on every rule below. Encoding and decoding live in the
//! runtime; this module only knows the data.
//!
//! # Bytes of the section
//!
//! All numbers are little-endian. Padding is zero and is checked. Nothing follows the last field. A vocabulary that
//! needs nothing of version 2 is version 1; the fields and codes of version 2 are marked "v2".
//!
//! ```text
//! offset  type                 field
//!  0      u32                  version, 1 or 2
//!  4      u8                   kind: 0 byte, 1 char, 2 byte-level BPE; v2: 3 SentencePiece BPE
//!  5      u8                   pre-tokenizer (kind 2 only): 0 none, 1 GPT-2's; v2: the others of [`PreTokenizer`]
//!  6      u16                  flags: bit 0 = scores present; v2: bit 1 = add_bos, bit 2 = add_space_prefix,
//!                              bit 3 = ignore_merges; the other bits are 0
//!  8      u32                  n_tokens         1 ..= 1,048,576
//! 12      u32                  n_merges         0 ..= 2,097,152 (0 unless kind 2 or 3)
//! 16      u32                  n_bytes          sum of the token lengths
//! 20      u32 × 4              ids of bos, eos, unk, pad; 0xFFFF_FFFF = the vocabulary has none
//! 36      u32 × 3              v2: n_lstrip, n_rstrip (at most n_tokens each), n_chat (at most 1 MiB)
//!         u16 [n_tokens]       length of each token, 1 ..= 1,024
//!         u8  [n_tokens]       kind of each token: 0 normal, 1 control, 2 byte, 3 unknown; v2: 4 user-defined
//!         u8  [n_bytes]        the tokens' bytes, one after the other, in the order of the ids
//!         zeros to a multiple of 4 from the section's start
//!         f32 [n_tokens]       scores, if bit 0 of flags: not NaN
//!         u32 [n_merges][3]    left, right, result: ids, in the order of their rank (best first)
//!         u32 [n_lstrip]       v2: ids of tokens that take the white space before them, ascending
//!         u32 [n_rstrip]       v2: ids of tokens that take the white space after them, ascending
//!         u8  [n_chat]         v2: how a conversation is written; n_chat = 0: the model does not say
//! ```
//!
//! The bytes of a [`ChatTemplate`]: `u32` number of stops, `u32` lengths of `begin`, of `system`, `user`, `assistant` (before
//! and after each) and of `reply`; the ids of the stops, `u32` each; the pieces one after the other, UTF-8; zeros to a
//! multiple of 4.
//!
//! Rules that the reader enforces, each with its own [`VocabError`]:
//!
//! - every count is compared with the bytes that are there before anything is allocated;
//! - a section of version 2 uses something of version 2;
//! - no two tokens of the same kind have the same bytes;
//! - kind 0 (byte): each token is of kind `byte` (exactly one byte), `control` or `unknown`;
//! - kind 1 (char): each `normal` token is exactly one code point in UTF-8; there is no `byte` or `user-defined` token;
//! - kind 2 (BPE): no `byte` token; the single-byte `normal` tokens are the alphabet that merges start from;
//! - kind 3 (SentencePiece BPE): each `normal` token is UTF-8, with real spaces where SentencePiece writes U+2581, and
//!   each `byte` token exactly one byte, which stands for a byte of a character that has no token. The `normal` tokens of
//!   one code point are the alphabet. Merges with the same result share the rank of the first of them, and where there are
//!   scores the first has the rank of the merge before it if their results' scores are equal, as SentencePiece takes the
//!   pair whose result has the best score, the leftmost of equals;
//! - the bytes of a merge's result are those of left followed by those of right (so that merges cannot be
//!   cyclic), and no pair (left, right) occurs twice;
//! - special ids and stops are below n_tokens; with `add_bos` there is a bos;
//! - `add_space_prefix` belongs to kind 3, `ignore_merges` to kind 2;
//! - tokens that take white space are `control`, `unknown` or `user-defined`;
//! - the pieces of a chat template are UTF-8, and not all empty.

mod chat;
mod codec;
mod error;
mod pre_tokenizer;
#[cfg(test)]
mod tests;
mod unique;

pub use chat::{ChatTemplate, MAX_CHAT_LEN};
pub use error::VocabError;
pub use pre_tokenizer::PreTokenizer;

use crate::header::Version;
use crate::memory;
use crate::sort;
use std::sync::Arc;

/// Most tokens that a vocabulary may have.
pub const MAX_TOKENS: usize = 1 << 20;
/// Most merges that a BPE vocabulary may have.
pub const MAX_MERGES: usize = 1 << 21;
/// Longest token, in bytes.
pub const MAX_TOKEN_LEN: usize = 1024;

/// How a text becomes tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum VocabKind {
    /// One token per byte.
    #[default]
    Byte,
    /// One token per Unicode code point.
    Char,
    /// Byte-level byte-pair encoding (Sennrich et al. 2016, on bytes as in GPT-2).
    Bpe,
    /// Byte-pair encoding over code points as SentencePiece does it (Kudo and Richardson 2018): a space is text like
    /// any other, and a character without a token falls back to the tokens of its bytes.
    SentencePiece,
}

impl VocabKind {
    /// The name that commands and messages use.
    pub fn name(self) -> &'static str {
        match self {
            VocabKind::Byte => "byte",
            VocabKind::Char => "char",
            VocabKind::Bpe => "bpe",
            VocabKind::SentencePiece => "sentencepiece",
        }
    }

    fn has_merges(self) -> bool {
        matches!(self, VocabKind::Bpe | VocabKind::SentencePiece)
    }
}

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TokenKind {
    /// A piece of text: its bytes are the text.
    Normal,
    /// A mark such as "end of text": its bytes are a name, which never stands for text.
    Control,
    /// One raw byte.
    Byte,
    /// What an encoder writes for text that the vocabulary cannot express.
    Unknown,
    /// A piece of text that is looked for literally before anything else: merges neither make nor use it.
    UserDefined,
}

impl TokenKind {
    /// Whether a text may be searched for the bytes of such a token: `Control`, `Unknown` and `UserDefined`.
    pub fn is_literal(self) -> bool {
        matches!(self, TokenKind::Control | TokenKind::Unknown | TokenKind::UserDefined)
    }
}

/// A merge of byte-pair encoding: the tokens `left` and `right`, side by side, become `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// Id of the left token.
    pub left: u32,
    /// Id of the right token.
    pub right: u32,
    /// Id of the token whose bytes are those of `left` followed by those of `right`.
    pub result: u32,
}

/// Ids with a role, where the vocabulary has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text; generation stops at it.
    pub eos: Option<u32>,
    /// Stands for what the vocabulary cannot express.
    pub unk: Option<u32>,
    /// Fills a batch; never generated.
    pub pad: Option<u32>,
}

/// The parts that a [`Vocab`] is made from; [`Vocab::new`] checks them. The default is an empty byte vocabulary, which is
/// not valid before it has tokens.
#[derive(Clone, Debug, Default)]
pub struct VocabParts {
    /// How a text becomes tokens.
    pub kind: VocabKind,
    /// How BPE cuts a text into words; `None` for the other kinds.
    pub pre_tokenizer: PreTokenizer,
    /// Bytes and kind of every token; the index is the id.
    pub tokens: Vec<(Vec<u8>, TokenKind)>,
    /// One score per token, where the source has them.
    pub scores: Option<Vec<f32>>,
    /// Merges by rank, best first; empty unless `kind` is BPE or SentencePiece.
    pub merges: Vec<Merge>,
    /// Ids with a role.
    pub special: SpecialIds,
    /// A text begins with `special.bos`.
    pub add_bos: bool,
    /// SentencePiece's dummy prefix: a space is put before the text, and before what follows a special token.
    pub add_space_prefix: bool,
    /// A whole word that is a token is taken as it is, whatever its merges would make of it (Llama 3).
    pub ignore_merges: bool,
    /// Tokens that take the white space before them when they are found literally, ascending.
    pub lstrip: Vec<u32>,
    /// Tokens that take the white space after them when they are found literally, ascending.
    pub rstrip: Vec<u32>,
    /// How a conversation is written, where the source says so.
    pub chat: Option<ChatTemplate>,
}

/// A checked, immutable vocabulary. Clones share it.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocab(Arc<Tables>);

#[derive(Debug, Default, PartialEq)]
struct Tables {
    kind: VocabKind,
    pre_tokenizer: PreTokenizer,
    ends: Vec<u32>,           // [n_tokens] end of each token in `bytes`
    kinds: Vec<TokenKind>,    // [n_tokens]
    bytes: Vec<u8>,           // [n_bytes]
    scores: Option<Vec<f32>>, // [n_tokens]
    merges: Vec<Merge>,       // [n_merges], by rank
    special: SpecialIds,
    add_bos: bool,
    add_space_prefix: bool,
    ignore_merges: bool,
    lstrip: Vec<u32>, // ascending
    rstrip: Vec<u32>, // ascending
    chat: Option<ChatTemplate>,
}

impl Vocab {
    /// Makes a vocabulary and checks every rule of the module's documentation.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn new(parts: VocabParts) -> Result<Vocab, VocabError> {
        let VocabParts { kind, pre_tokenizer, tokens, scores, merges, special, .. } = parts;
        let VocabParts { add_bos, add_space_prefix, ignore_merges, lstrip, rstrip, chat, .. } = parts;
        check_counts(tokens.len() as u64, merges.len() as u64)?;
        if let Some(scores) = &scores
            && scores.len() != tokens.len()
        {
            return Err(VocabError::ScoreCount { found: scores.len(), expected: tokens.len() });
        }
        let mut bytes = memory::with_capacity(tokens.iter().map(|(b, _)| b.len().min(MAX_TOKEN_LEN)).sum())?;
        let mut ends = memory::with_capacity(tokens.len())?;
        let mut kinds = memory::with_capacity(tokens.len())?;
        for (id, (token, token_kind)) in tokens.iter().enumerate() {
            check_token_len(id, token.len())?;
            bytes.extend_from_slice(token);
            ends.push(bytes.len() as u32); // at most 2^20 tokens of 2^10 bytes
            kinds.push(*token_kind);
        }
        let mut tables =
            Tables { kind, pre_tokenizer, ends, kinds, bytes, scores, merges, special, ..Tables::default() };
        (tables.add_bos, tables.add_space_prefix, tables.ignore_merges) =
            (add_bos, add_space_prefix, ignore_merges);
        (tables.lstrip, tables.rstrip, tables.chat) = (lstrip, rstrip, chat);
        tables.checked()
    }

    /// The byte vocabulary: 256 tokens, where token `i` is the byte `i`.
    pub fn bytes() -> Vocab {
        let tables = Tables {
            ends: (1..=256).collect(),
            kinds: vec![TokenKind::Byte; 256],
            bytes: (0..=255).collect(),
            ..Tables::default()
        };
        Vocab(Arc::new(tables))
    }

    /// A character vocabulary: the given code points in the given order, and, if `with_unk`, one last token for
    /// all other characters.
    ///
    /// # Errors
    /// No character, too many, or one twice.
    pub fn chars(chars: &[char], with_unk: bool) -> Result<Vocab, VocabError> {
        let mut tokens: Vec<(Vec<u8>, TokenKind)> =
            chars.iter().map(|c| (c.to_string().into_bytes(), TokenKind::Normal)).collect();
        let mut special = SpecialIds::default();
        if with_unk {
            special.unk = Some(tokens.len() as u32);
            tokens.push((b"<unk>".to_vec(), TokenKind::Unknown));
        }
        Vocab::new(VocabParts { kind: VocabKind::Char, tokens, special, ..VocabParts::default() })
    }

    /// How a text becomes tokens.
    pub fn kind(&self) -> VocabKind {
        self.0.kind
    }

    /// How BPE cuts a text into words.
    pub fn pre_tokenizer(&self) -> PreTokenizer {
        self.0.pre_tokenizer
    }

    /// Number of tokens; ids are `0..len()`. Never 0.
    #[allow(clippy::len_without_is_empty)] // a vocabulary is never empty
    pub fn len(&self) -> usize {
        self.0.ends.len()
    }

    /// The bytes of a token: its text, or the name of a control token. `None` if there is no such id.
    pub fn token(&self, id: u32) -> Option<&[u8]> {
        self.0.token(id)
    }

    /// What a token stands for. `None` if there is no such id.
    pub fn token_kind(&self, id: u32) -> Option<TokenKind> {
        self.0.kinds.get(id as usize).copied()
    }

    /// All tokens in the order of their ids.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = (&[u8], TokenKind)> {
        self.0.tokens()
    }

    /// One score per token, where the source had them.
    pub fn scores(&self) -> Option<&[f32]> {
        self.0.scores.as_deref()
    }

    /// Merges by rank, best first; empty unless the kind is BPE or SentencePiece.
    pub fn merges(&self) -> &[Merge] {
        &self.0.merges
    }

    /// Ids with a role.
    pub fn special(&self) -> SpecialIds {
        self.0.special
    }

    /// Whether a text begins with the token `special().bos`, which is there then.
    pub fn add_bos(&self) -> bool {
        self.0.add_bos
    }

    /// The token that a text begins with: bos where [`add_bos`](Self::add_bos) says so, and in a vocabulary of version 1, which
    /// cannot say so, wherever there is one.
    pub fn first_token(&self) -> Option<u32> {
        self.0.special.bos.filter(|_| self.0.add_bos || !self.0.needs_version_2())
    }

    /// Whether a space is put before a text, and before what follows a special token.
    pub fn add_space_prefix(&self) -> bool {
        self.0.add_space_prefix
    }

    /// Whether a whole word that is a token is taken as it is, whatever its merges would make of it.
    pub fn ignore_merges(&self) -> bool {
        self.0.ignore_merges
    }

    /// Tokens that take the white space before them when they are found literally, ascending.
    pub fn lstrip(&self) -> &[u32] {
        &self.0.lstrip
    }

    /// Tokens that take the white space after them when they are found literally, ascending.
    pub fn rstrip(&self) -> &[u32] {
        &self.0.rstrip
    }

    /// How a conversation is written, where the source said so.
    pub fn chat(&self) -> Option<&ChatTemplate> {
        self.0.chat.as_ref()
    }

    /// The same vocabulary with another way to write a conversation.
    ///
    /// # Errors
    /// A template that breaks a rule of this module.
    pub fn with_chat(&self, chat: Option<ChatTemplate>) -> Result<Vocab, VocabError> {
        let t = &*self.0;
        let tables = Tables {
            ends: t.ends.clone(),
            kinds: t.kinds.clone(),
            bytes: t.bytes.clone(),
            scores: t.scores.clone(),
            merges: t.merges.clone(),
            lstrip: t.lstrip.clone(),
            rstrip: t.rstrip.clone(),
            chat,
            ..*t
        };
        tables.checked()
    }

    /// The lowest version of the format that can express this vocabulary: 1.3 if its section is version 2.
    pub fn format_version(&self) -> Version {
        Version { major: 1, minor: if self.0.needs_version_2() { 3 } else { 0 } }
    }
}

impl Tables {
    fn token_at(&self, id: usize) -> &[u8] {
        let start = if id == 0 { 0 } else { self.ends[id - 1] as usize };
        &self.bytes[start..self.ends[id] as usize]
    }

    /// The token of an id, if there is one.
    fn token(&self, id: u32) -> Option<&[u8]> {
        ((id as usize) < self.ends.len()).then(|| self.token_at(id as usize))
    }

    fn tokens(&self) -> impl ExactSizeIterator<Item = (&[u8], TokenKind)> {
        (0..self.ends.len()).map(|id| (self.token_at(id), self.kinds[id]))
    }

    fn checked(self) -> Result<Vocab, VocabError> {
        self.check()?;
        Ok(Vocab(Arc::new(self)))
    }

    /// Every rule except the ones that had to hold before anything was allocated (counts and lengths).
    fn check(&self) -> Result<(), VocabError> {
        if self.kind != VocabKind::Bpe && self.pre_tokenizer != PreTokenizer::None {
            return Err(VocabError::PreTokenizerWithoutBpe);
        }
        self.check_token_kinds()?;
        self.check_duplicates()?;
        self.check_scores()?;
        self.check_special()?;
        self.check_flags()?;
        self.check_strips("lstrip", &self.lstrip)?;
        self.check_strips("rstrip", &self.rstrip)?;
        self.chat.as_ref().map_or(Ok(()), |chat| chat.check(self.ends.len()))?;
        self.check_merges()
    }

    fn needs_version_2(&self) -> bool {
        self.kind == VocabKind::SentencePiece
            || !matches!(self.pre_tokenizer, PreTokenizer::None | PreTokenizer::Gpt2)
            || self.kinds.contains(&TokenKind::UserDefined)
            || self.add_bos
            || self.add_space_prefix
            || self.ignore_merges
            || !(self.lstrip.is_empty() && self.rstrip.is_empty())
            || self.chat.is_some()
    }

    fn check_flags(&self) -> Result<(), VocabError> {
        if self.add_bos && self.special.bos.is_none() {
            return Err(VocabError::AddBosWithoutBos);
        }
        if self.add_space_prefix && self.kind != VocabKind::SentencePiece {
            return Err(VocabError::SpacePrefixWithoutSentencePiece);
        }
        if self.ignore_merges && self.kind != VocabKind::Bpe {
            return Err(VocabError::IgnoreMergesWithoutBpe);
        }
        Ok(())
    }

    /// Tokens that take white space: ascending, and of a kind that is found literally.
    fn check_strips(&self, list: &'static str, ids: &[u32]) -> Result<(), VocabError> {
        for (i, &id) in ids.iter().enumerate() {
            let literal = self.kinds.get(id as usize).is_some_and(|&kind| kind.is_literal());
            if !literal || (i > 0 && ids[i - 1] >= id) {
                return Err(VocabError::Strip { list, id });
            }
        }
        Ok(())
    }

    fn check_token_kinds(&self) -> Result<(), VocabError> {
        for (id, (bytes, kind)) in self.tokens().enumerate() {
            let fits = match (self.kind, kind) {
                (_, TokenKind::Control | TokenKind::Unknown) => true,
                (VocabKind::Byte, TokenKind::Byte) => bytes.len() == 1,
                (VocabKind::Char, TokenKind::Normal) => is_one_char(bytes),
                (VocabKind::Bpe, TokenKind::Normal | TokenKind::UserDefined) => true,
                (VocabKind::SentencePiece, TokenKind::Normal) => std::str::from_utf8(bytes).is_ok(),
                (VocabKind::SentencePiece, TokenKind::Byte) => bytes.len() == 1,
                (VocabKind::SentencePiece, TokenKind::UserDefined) => true,
                _ => false,
            };
            if !fits {
                return Err(VocabError::TokenDoesNotFit { id: id as u32, kind: self.kind });
            }
        }
        Ok(())
    }

    fn check_duplicates(&self) -> Result<(), VocabError> {
        let key = |id: usize| (self.kinds[id], self.token_at(id));
        let hash = |id: usize| unique::hash_bytes(self.token_at(id)) ^ self.kinds[id] as u64;
        // A vocabulary in order shows at a glance that nothing occurs twice.
        let n_sorted = (1..self.ends.len()).take_while(|&id| is_before(key(id - 1), key(id))).count();
        if n_sorted + 1 == self.ends.len() {
            return Ok(());
        }
        let order = |ids: &mut [u32]| sort::indices(ids, &|a, b| key(a as usize) < key(b as usize));
        match unique::find_twins(self.ends.len(), hash, |a, b| key(a) == key(b), order)? {
            Some((a, b)) => Err(VocabError::DuplicateToken { first: a as u32, second: b as u32 }),
            None => Ok(()),
        }
    }

    fn check_scores(&self) -> Result<(), VocabError> {
        let nan = self.scores.iter().flatten().position(|score| score.is_nan());
        nan.map_or(Ok(()), |id| Err(VocabError::NanScore { id: id as u32 }))
    }

    fn check_special(&self) -> Result<(), VocabError> {
        let SpecialIds { bos, eos, unk, pad } = self.special;
        for (role, id) in [("bos", bos), ("eos", eos), ("unk", unk), ("pad", pad)] {
            if let Some(id) = id.filter(|&id| id as usize >= self.ends.len()) {
                return Err(VocabError::SpecialOutOfRange { role, id, n_tokens: self.ends.len() });
            }
        }
        Ok(())
    }

    fn check_merges(&self) -> Result<(), VocabError> {
        if !self.kind.has_merges() && !self.merges.is_empty() {
            return Err(VocabError::MergesWithoutBpe { n_merges: self.merges.len() });
        }
        for (rank, &Merge { left, right, result }) in self.merges.iter().enumerate() {
            let token = |id: u32| {
                self.token(id).ok_or(VocabError::MergeOutOfRange { rank, id, n_tokens: self.ends.len() })
            };
            let (l, r, joined) = (token(left)?, token(right)?, token(result)?);
            if joined.strip_prefix(l) != Some(r) {
                return Err(VocabError::MergeResult { rank, left, right, result });
            }
            for id in [left, right, result] {
                if self.kinds[id as usize] != TokenKind::Normal {
                    return Err(VocabError::MergeOfSpecial { rank, id });
                }
            }
        }
        self.check_pairs()
    }

    /// No pair occurs twice. The results of equal pairs are equal, so that merges of distinct results have distinct pairs.
    fn check_pairs(&self) -> Result<(), VocabError> {
        let mut results = memory::repeated(0u64, self.ends.len() / 64 + 1)?;
        let is_new = |&Merge { result, .. }: &Merge| {
            let (word, bit) = (&mut results[result as usize / 64], 1 << (result % 64));
            let is_new = *word & bit == 0;
            *word |= bit;
            is_new
        };
        if self.merges.iter().all(is_new) {
            return Ok(());
        }
        let pair = |rank: usize| u64::from(self.merges[rank].left) << 32 | u64::from(self.merges[rank].right);
        let hash = |rank: usize| unique::mix(pair(rank));
        let order = |ranks: &mut [u32]| sort::indices(ranks, &|a, b| pair(a as usize) < pair(b as usize));
        match unique::find_twins(self.merges.len(), hash, |a, b| pair(a) == pair(b), order)? {
            Some((rank, _)) => {
                let Merge { left, right, .. } = self.merges[rank];
                Err(VocabError::DuplicateMerge { left, right })
            }
            None => Ok(()),
        }
    }
}

fn check_counts(n_tokens: u64, n_merges: u64) -> Result<(), VocabError> {
    if n_tokens == 0 || n_tokens > MAX_TOKENS as u64 {
        return Err(VocabError::TokenCount { found: n_tokens });
    }
    if n_merges > MAX_MERGES as u64 {
        return Err(VocabError::MergeCount { found: n_merges });
    }
    Ok(())
}

fn check_token_len(id: usize, len: usize) -> Result<(), VocabError> {
    if len == 0 || len > MAX_TOKEN_LEN {
        return Err(VocabError::TokenLength { id: id as u32, len });
    }
    Ok(())
}

/// Whether a key comes before another; for short tokens without calling a comparison of memory.
fn is_before(a: (TokenKind, &[u8]), b: (TokenKind, &[u8])) -> bool {
    let short = |bytes: &[u8]| match *bytes {
        [a] => Some(u32::from_be_bytes([a, 0, 0, 0])),
        [a, b] => Some(u32::from_be_bytes([a, b, 0, 0])),
        [a, b, c] => Some(u32::from_be_bytes([a, b, c, 0])),
        _ => None,
    };
    match (short(a.1), short(b.1)) {
        // Equal numbers may still differ by zeros at the end, which the slow way tells apart.
        (Some(x), Some(y)) if a.0 == b.0 && x != y => x < y,
        _ => a < b,
    }
}

fn is_one_char(bytes: &[u8]) -> bool {
    match *bytes {
        [0..0x80] => true,
        [0xc2..0xe0, 0x80..0xc0] => true,
        [0xe1..0xed, 0x80..0xc0, 0x80..0xc0] => true, // without the first and the last blocks, which have exceptions
        [_, _, ..] if bytes.len() == utf8_len(bytes[0]) => std::str::from_utf8(bytes).is_ok(),
        _ => false,
    }
}

/// Bytes of a character that begins with `first`; any number for what begins none.
fn utf8_len(first: u8) -> usize {
    match first {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod shortcuts {
    use super::*;

    #[test]
    fn one_character_is_one_character() {
        for c in (0..=0x10ffff).filter_map(char::from_u32) {
            assert!(is_one_char(c.encode_utf8(&mut [0; 4]).as_bytes()), "{c:?}");
        }
        for word in 0..=0xff_ffffu32 {
            let bytes = &word.to_le_bytes()[..3];
            for bytes in [bytes, &bytes[..2], &bytes[..1]] {
                let expected = std::str::from_utf8(bytes).is_ok_and(|s| s.chars().count() == 1);
                assert_eq!(is_one_char(bytes), expected, "{bytes:?}");
            }
        }
        for bytes in [&b""[..], b"\xf4\x90\x80\x80", b"\xf0\x80\x80\x80", b"abcd", b"\xf0\x9f\x90\xa6!"] {
            assert!(!is_one_char(bytes), "{bytes:?}");
        }
    }

    #[test]
    fn the_order_is_that_of_slices() {
        let words: Vec<&[u8]> =
            vec![b"a", b"a\0", b"a\0\0", b"a\0\0\0", b"b", b"ab", b"abc", b"abcd", b"\0", b"\xff"];
        for a in &words {
            for b in &words {
                for (x, y) in
                    [(TokenKind::Normal, TokenKind::Normal), (TokenKind::Normal, TokenKind::Control)]
                {
                    assert_eq!(is_before((x, a), (y, b)), (x, a) < (y, b), "{a:?} {b:?}");
                }
            }
        }
    }
}
