//! Text to tokens and back: byte, character, byte-level BPE and SentencePiece vocabularies, in any language.
//!
//! A [`Tokenizer`] is immutable and can be shared by any number of threads. [`Tokenizer::encode`] serves prompts;
//! long texts go through an [`Encoder`], which keeps its working memory and a cache of words.
//!
//! | vocabulary | what a token is | bytes that are not UTF-8 | text outside the vocabulary |
//! |---|---|---|---|
//! | byte | one byte | are tokens | cannot happen |
//! | char | one code point | an error with their position | `unk`, or an error that names the character |
//! | bpe | a merged run of bytes | are tokens | cannot happen when all 256 bytes are tokens |
//! | sentencepiece | a merged run of code points, or one byte | are tokens when bytes are | tokens of its bytes; `unk`; or an error |
//!
//! Text becomes a control token only where [`EncodeOptions::specials`] asks for it: a prompt that spells out
//! `<|endoftext|>` is plain text. User-defined tokens are text, and are found in every text.

mod bpe;
mod cache;
mod chars;
mod deepseek;
mod error;
mod gpt2;
mod literals;
mod llama3;
mod sentencepiece;
mod unicode;
mod unicode_table;
mod whole;
mod words;

#[cfg(test)]
mod tests;

pub use error::TokenizerError;

use bpe::{Bpe, Merger};
use cache::WordCache;
use chars::CharIds;
use literals::Literals;
use siskin_format::memory;
use siskin_format::vocab::{PreTokenizer, TokenKind, Vocab, VocabKind};
use std::ops::Range;

/// Marks "no such token" in tables of ids; above every id that a vocabulary can have.
const NO_ID: u32 = u32::MAX;

/// What stands for ids that have no text: unknown tokens, and ids that the vocabulary does not have.
const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

/// From this many bytes on, [`Tokenizer::encode`] pays for a cache of words.
const CACHE_FROM: usize = 16 * 1024;

/// Turns text into tokens and tokens into text.
#[derive(Debug)]
pub struct Tokenizer {
    vocab: Vocab,
    scheme: Scheme,
    literals: Option<Literals>,
}

/// What encoding does beside cutting text into tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Control and unknown tokens that the text spells out become those tokens. Not for what a stranger wrote.
    pub specials: bool,
    /// The text goes on from one that was encoded before, so that no dummy prefix stands before it.
    pub continues: bool,
}

#[derive(Debug)]
enum Scheme {
    Byte(Box<[u32; 256]>), // id of each byte, or NO_ID
    Char(Box<CharIds>),
    Bpe(Bpe),
}

impl Tokenizer {
    /// Prepares the tables of a vocabulary, which is shared, not copied.
    ///
    /// # Errors
    /// [`TokenizerError::UnsupportedVocab`] if this version cannot encode vocabularies of its kind,
    /// [`TokenizerError::OutOfMemory`].
    pub fn from_vocab(vocab: &Vocab) -> Result<Tokenizer, TokenizerError> {
        let scheme = match (vocab.kind(), vocab.pre_tokenizer()) {
            (VocabKind::Byte, PreTokenizer::None) => Scheme::Byte(byte_ids(vocab, TokenKind::Byte)),
            (VocabKind::Char, PreTokenizer::None) => Scheme::Char(Box::new(CharIds::new(vocab)?)),
            (VocabKind::Bpe, pre) if words::is_known(pre) => Scheme::Bpe(Bpe::new(vocab)?),
            (VocabKind::SentencePiece, PreTokenizer::None) => Scheme::Bpe(Bpe::new(vocab)?),
            _ => return Err(TokenizerError::UnsupportedVocab),
        };
        Ok(Tokenizer { vocab: vocab.clone(), scheme, literals: Literals::new(vocab)? })
    }

    /// The vocabulary.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// Number of tokens; ids are below it.
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// Most bytes of text that a token has.
    pub fn longest_token(&self) -> usize {
        self.vocab.tokens().map(|(bytes, _)| bytes.len()).max().unwrap_or(0).max(REPLACEMENT.len())
    }

    /// The ids of a text. No special token is added.
    ///
    /// # Errors
    /// Text that the vocabulary cannot express, see the table of this module; [`TokenizerError::OutOfMemory`].
    pub fn encode(&self, text: impl AsRef<[u8]>) -> Result<Vec<u32>, TokenizerError> {
        self.encode_with(text, EncodeOptions::default())
    }

    /// As [`encode`](Self::encode), with options.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_with(
        &self,
        text: impl AsRef<[u8]>,
        options: EncodeOptions,
    ) -> Result<Vec<u32>, TokenizerError> {
        let text = text.as_ref();
        let mut ids = Vec::new();
        let cache = (text.len() >= CACHE_FROM).then(WordCache::new).flatten();
        Encoder { tokenizer: self, merger: Merger::default(), cache }.encode_with(text, options, &mut ids)?;
        Ok(ids)
    }

    /// The ids of texts that are put together, each with whether it may spell out control and unknown tokens: a
    /// conversation, whose frame may, and what is said in it may not. Tokens of text may begin in one and end in the next.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); positions count from the beginning of the first text.
    pub fn encode_parts(&self, parts: &[(&[u8], bool)], continues: bool) -> Result<Vec<u32>, TokenizerError> {
        let (mut text, mut ends, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for (part, specials) in parts {
            memory::reserve(&mut text, part.len())?;
            text.extend_from_slice(part);
            memory::push(&mut ends, (text.len(), *specials))?;
        }
        let mut encoder = Encoder { tokenizer: self, merger: Merger::default(), cache: None };
        encoder.encode_ranges(&text, &ends, continues, &mut ids)?;
        Ok(ids)
    }

    /// An encoder for many texts, or for one text in pieces.
    pub fn encoder(&self) -> Encoder<'_> {
        let cache = matches!(self.scheme, Scheme::Bpe(_)).then(WordCache::new).flatten();
        Encoder { tokenizer: self, merger: Merger::default(), cache }
    }

    /// The text of the ids, as bytes: a model may well end in the middle of a character. Use
    /// [`Utf8Stream`](crate::stream::Utf8Stream) to make text of it.
    ///
    /// Control tokens have no text; unknown tokens and ids outside the vocabulary give U+FFFD. The result is as long as
    /// its tokens' texts; [`token_bytes`](Self::token_bytes) gives these one by one, without allocating. Of a vocabulary
    /// with SentencePiece's dummy prefix, the ids are a whole text: the space that the prefix added is left out.
    pub fn decode(&self, ids: &[u32]) -> Vec<u8> {
        self.join(ids, |id| self.token_bytes(id))
    }

    /// The same with the names of control and unknown tokens, as a person would want to see them.
    pub fn decode_with_specials(&self, ids: &[u32]) -> Vec<u8> {
        self.join(ids, |id| self.vocab.token(id).unwrap_or(REPLACEMENT))
    }

    fn join<'a>(&self, ids: &[u32], bytes: impl Fn(u32) -> &'a [u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(4 * ids.len());
        for &id in ids {
            text.extend_from_slice(bytes(id));
        }
        if self.vocab.add_space_prefix() && text.first() == Some(&b' ') {
            text.remove(0);
        }
        text
    }

    /// The text of one token, as [`decode`](Self::decode) writes it.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        match (self.vocab.token(id), self.vocab.token_kind(id)) {
            (Some(bytes), Some(TokenKind::Normal | TokenKind::Byte | TokenKind::UserDefined)) => bytes,
            (Some(_), Some(TokenKind::Control)) => &[],
            _ => REPLACEMENT,
        }
    }

    /// How much of the beginning of a text can be encoded now if more text may follow: encoding `text[..n]`, and later the
    /// rest with [`EncodeOptions::continues`], gives the ids of the whole. 0 if `text` has no such place.
    ///
    /// Characters are never cut; words of BPE and tokens that are found literally are not cut either.
    pub fn split_point(&self, text: &[u8]) -> usize {
        let mut end = text.len();
        loop {
            end = match &self.scheme {
                Scheme::Byte(_) => end,
                Scheme::Char(_) => end - unicode::incomplete_tail(&text[..end]),
                Scheme::Bpe(bpe) => match bpe.pieces() {
                    Some(pieces) => pieces.last_boundary(&text[..end]),
                    None => words::last_boundary(bpe.pre_tokenizer(), &text[..end]),
                },
            };
            match &self.literals {
                Some(literals)
                    if matches!(self.scheme, Scheme::Bpe(_))
                        && literals.may_touch_end(&self.vocab, &text[..end], &text[end..]) => {}
                _ => return end,
            }
        }
    }
}

/// Encodes texts one after the other; its memory and its cache of words are kept between them.
#[derive(Debug)]
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    merger: Merger,
    cache: Option<WordCache>,
}

impl Encoder<'_> {
    /// Appends the ids of a text to `ids`. After an error, `ids` holds those of the text before it.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`]; positions count from the beginning of this text.
    pub fn encode_into(&mut self, text: &[u8], ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        self.encode_with(text, EncodeOptions::default(), ids)
    }

    /// As [`encode_into`](Self::encode_into), with options.
    ///
    /// # Errors
    /// As [`encode_into`](Self::encode_into).
    pub fn encode_with(
        &mut self,
        text: &[u8],
        options: EncodeOptions,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        self.encode_ranges(text, &[(text.len(), options.specials)], options.continues, ids)
    }

    /// Appends the ids of a text whose parts end where `ends` says, each with whether special tokens are looked for in it.
    fn encode_ranges(
        &mut self,
        text: &[u8],
        ends: &[(usize, bool)],
        mut continues: bool,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let Tokenizer { vocab, literals, .. } = self.tokenizer;
        let (mut at, mut plain) = (0, 0); // where to look on, and from where nothing was encoded
        for &(end, specials) in ends {
            while let Some(found) =
                literals.as_ref().and_then(|literals| literals.find(vocab, &text[..end], at, specials))
            {
                self.encode_plain(text, plain..found.range.start, continues, ids)?;
                memory::push(ids, found.id)?;
                (at, plain, continues) = (found.range.end, found.range.end, false);
            }
            at = end;
        }
        self.encode_plain(text, plain..text.len(), continues, ids)
    }

    /// Appends the ids of a part of a text in which nothing is found literally.
    fn encode_plain(
        &mut self,
        text: &[u8],
        range: Range<usize>,
        continues: bool,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let unk = self.tokenizer.vocab.special().unk;
        match &self.tokenizer.scheme {
            Scheme::Byte(table) => encode_bytes(table, unk, text, range, ids),
            Scheme::Char(chars) => chars.encode_into(unk, text, range, ids),
            Scheme::Bpe(bpe) => {
                self.merger.set_unk(unk);
                self.encode_words(bpe, text, range, continues, ids)
            }
        }
    }

    #[inline(never)] // or it stands in the program once for every caller
    fn encode_words(
        &mut self,
        bpe: &Bpe,
        text: &[u8],
        range: Range<usize>,
        continues: bool,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let vocab = &self.tokenizer.vocab;
        let pre = bpe.pre_tokenizer();
        let text = &text[..range.end];
        let mut at = range.start;
        let mut prefixed = vocab.add_space_prefix() && !continues;
        while at < text.len() {
            let rest = &text[at..];
            let len = match bpe.pieces() {
                Some(pieces) => pieces.word_len(rest),
                None => words::word_len(pre, rest),
            };
            match &mut self.cache {
                Some(cache) if !prefixed => {
                    let word = &rest[..len];
                    if let Some(kept) = cache.find(word) {
                        memory::reserve(ids, kept.len())?;
                        ids.extend_from_slice(kept);
                    } else {
                        let first = ids.len();
                        self.merger.encode_word((vocab, bpe), (text, at, len), false, ids)?;
                        cache.keep(word, &ids[first..]);
                    }
                }
                _ => self.merger.encode_word((vocab, bpe), (text, at, len), prefixed, ids)?,
            }
            at += len;
            prefixed = false;
        }
        Ok(())
    }
}

/// The id of each byte: of the tokens of `kind` that are one byte long.
fn byte_ids(vocab: &Vocab, kind: TokenKind) -> Box<[u32; 256]> {
    let mut ids = Box::new([NO_ID; 256]);
    for (id, (bytes, token_kind)) in vocab.tokens().enumerate() {
        if let (&[byte], true) = (bytes, token_kind == kind) {
            ids[byte as usize] = id as u32;
        }
    }
    ids
}

fn encode_bytes(
    table: &[u32; 256],
    unk: Option<u32>,
    text: &[u8],
    range: Range<usize>,
    ids: &mut Vec<u32>,
) -> Result<(), TokenizerError> {
    memory::reserve(ids, range.len())?;
    for at in range {
        ids.push(byte_id(table, unk, text[at], at)?);
    }
    Ok(())
}

/// The id of a byte, or `unk`, or an error with the byte's position.
fn byte_id(table: &[u32; 256], unk: Option<u32>, byte: u8, at: usize) -> Result<u32, TokenizerError> {
    match table[byte as usize] {
        NO_ID => unk.ok_or(TokenizerError::UnknownByte { byte, at }),
        id => Ok(id),
    }
}
