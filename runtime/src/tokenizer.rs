//! Text to tokens and back: byte, character and byte-level BPE vocabularies, in any language.
//!
//! A [`Tokenizer`] is immutable and can be shared by any number of threads. [`Tokenizer::encode`] serves prompts;
//! long texts go through an [`Encoder`], which keeps its working memory and a cache of words.
//!
//! | vocabulary | what a token is | bytes that are not UTF-8 | text outside the vocabulary |
//! |---|---|---|---|
//! | byte | one byte | are tokens | cannot happen |
//! | char | one code point | an error with their position | `unk`, or an error that names the character |
//! | bpe | a merged run of bytes | are tokens | cannot happen when all 256 bytes are tokens |
//!
//! Text never becomes a control token: a prompt that spells out `<|endoftext|>` is plain text.

mod bpe;
mod cache;
mod chars;
mod error;
mod gpt2;
mod unicode;
mod unicode_table;

#[cfg(test)]
mod tests;

pub use error::TokenizerError;

use bpe::{Bpe, Merger};
use cache::WordCache;
use chars::CharIds;
use siskin_format::memory;
use siskin_format::vocab::{PreTokenizer, TokenKind, Vocab, VocabKind};

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
            (VocabKind::Bpe, PreTokenizer::None | PreTokenizer::Gpt2) => Scheme::Bpe(Bpe::new(vocab)?),
            _ => return Err(TokenizerError::UnsupportedVocab),
        };
        Ok(Tokenizer { vocab: vocab.clone(), scheme })
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
        let text = text.as_ref();
        let mut ids = Vec::new();
        let cache = (text.len() >= CACHE_FROM).then(WordCache::new).flatten();
        Encoder { tokenizer: self, merger: Merger::default(), cache }.encode_into(text, &mut ids)?;
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
    /// its tokens' texts; [`token_bytes`](Self::token_bytes) gives these one by one, without allocating.
    pub fn decode(&self, ids: &[u32]) -> Vec<u8> {
        let mut text = Vec::with_capacity(4 * ids.len());
        for &id in ids {
            text.extend_from_slice(self.token_bytes(id));
        }
        text
    }

    /// The text of one token, as [`decode`](Self::decode) writes it.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        match (self.vocab.token(id), self.vocab.token_kind(id)) {
            (Some(bytes), Some(TokenKind::Normal | TokenKind::Byte)) => bytes,
            (Some(_), Some(TokenKind::Control)) => &[],
            _ => REPLACEMENT,
        }
    }

    /// How much of the beginning of a text can be encoded now if more text may follow: encoding
    /// `text[..n]` and later the rest gives the ids of the whole. 0 if `text` has no such place.
    ///
    /// Characters are never cut; words of BPE are not cut either.
    pub fn split_point(&self, text: &[u8]) -> usize {
        match &self.scheme {
            Scheme::Byte(_) => text.len(),
            Scheme::Char(_) => text.len() - unicode::incomplete_tail(text),
            Scheme::Bpe(bpe) => match bpe.pre_tokenizer() {
                PreTokenizer::Gpt2 => gpt2::last_boundary(text),
                _ => 0,
            },
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
        let unk = self.tokenizer.vocab.special().unk;
        match &self.tokenizer.scheme {
            Scheme::Byte(table) => encode_bytes(table, unk, text, ids),
            Scheme::Char(chars) => chars.encode_into(unk, text, ids),
            Scheme::Bpe(bpe) => {
                self.merger.set_unk(unk);
                match bpe.pre_tokenizer() {
                    PreTokenizer::Gpt2 => self.encode_words(bpe, text, ids),
                    _ => self.merger.encode_word(bpe, text, 0, ids),
                }
            }
        }
    }

    fn encode_words(&mut self, bpe: &Bpe, text: &[u8], ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let mut at = 0;
        while at < text.len() {
            let word = &text[at..at + gpt2::word_len(&text[at..])];
            match &mut self.cache {
                Some(cache) => {
                    if let Some(kept) = cache.find(word) {
                        memory::reserve(ids, kept.len())?;
                        ids.extend_from_slice(kept);
                    } else {
                        let first = ids.len();
                        self.merger.encode_word(bpe, word, at, ids)?;
                        cache.keep(word, &ids[first..]);
                    }
                }
                None => self.merger.encode_word(bpe, word, at, ids)?,
            }
            at += word.len();
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
    ids: &mut Vec<u32>,
) -> Result<(), TokenizerError> {
    memory::reserve(ids, text.len())?;
    for (at, &byte) in text.iter().enumerate() {
        ids.push(byte_id(table, unk, byte, at)?);
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
