//! SentencePiece's alphabet: code points, and bytes where a code point has no token.
//!
//! SentencePiece writes U+2581 in place of a space, so that the two are one to it; a [`Vocab`] has real spaces.

use super::unicode::decode;
use super::{NO_ID, TokenizerError, byte_ids};
use siskin_format::memory::{self, NoMemory};
use siskin_format::vocab::{TokenKind, Vocab};

/// What stands for a space.
pub(super) const SPACE_MARK: &[u8] = "\u{2581}".as_bytes();

/// From code points and bytes to ids.
#[derive(Debug)]
pub(super) struct Pieces {
    ascii: [u32; 128],       // id, or NO_ID
    others: Vec<(u32, u32)>, // (code point, id), sorted
    bytes: Box<[u32; 256]>,  // id of each byte token, or NO_ID
    unk: Option<u32>,
    vocab_size: usize,
    /// No merge joins a space to what stands before it: a text may be cut there.
    pub(super) cut_at_spaces: bool,
}

impl Pieces {
    pub(super) fn new(vocab: &Vocab) -> Result<Pieces, NoMemory> {
        let (mut ascii, mut others) = ([NO_ID; 128], Vec::new());
        for (id, (bytes, kind)) in vocab.tokens().enumerate() {
            match (bytes, kind) {
                (&[byte @ 0..128], TokenKind::Normal) => ascii[byte as usize] = id as u32,
                (_, TokenKind::Normal) => {
                    if let Some((c, _)) = decode(bytes).filter(|&(_, len)| len == bytes.len()) {
                        memory::push(&mut others, (c, id as u32))?;
                    }
                }
                _ => {}
            }
        }
        others.sort_unstable();
        let joins = |bytes: &[u8]| bytes.windows(2).any(|pair| pair[0] != b' ' && pair[1] == b' ');
        let cut_at_spaces = !vocab.merges().iter().any(|merge| vocab.token(merge.result).is_some_and(joins));
        Ok(Pieces {
            ascii,
            others,
            bytes: byte_ids(vocab, TokenKind::Byte),
            unk: vocab.special().unk,
            vocab_size: vocab.len(),
            cut_at_spaces,
        })
    }

    /// Appends the ids of a word's code points, before any merge. The word begins at byte `at` of `text`.
    pub(super) fn push(
        &self,
        word: &[u8],
        text: &[u8],
        at: usize,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let mut i = 0;
        while i < word.len() {
            let (c, len) = match word[i] {
                byte @ 0..128 => (Some(u32::from(byte)), 1),
                _ => decode(&word[i..]).map_or((None, 1), |(c, len)| (Some(c), len)),
            };
            let id = c.map_or(NO_ID, |c| self.char_id(c));
            if id != NO_ID {
                memory::push(ids, id)?;
            } else {
                self.push_bytes(&word[i..i + len], text, at + i, ids)?;
            }
            i += len;
        }
        Ok(())
    }

    /// The id of a code point, or NO_ID.
    fn char_id(&self, c: u32) -> u32 {
        match c {
            0..128 => self.ascii[c as usize],
            0x2581 => self.ascii[usize::from(b' ')],
            _ => {
                let found = self.others.binary_search_by_key(&c, |&(c, _)| c);
                found.map_or(NO_ID, |index| self.others[index].1)
            }
        }
    }

    /// The ids of the bytes of a character that has no token; one `unk` for a run of such characters if they have none.
    fn push_bytes(&self, c: &[u8], text: &[u8], at: usize, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let c = if c == SPACE_MARK { b" " } else { c };
        if c.iter().all(|&byte| self.bytes[byte as usize] != NO_ID) {
            return c.iter().try_for_each(|&byte| Ok(memory::push(ids, self.bytes[byte as usize])?));
        }
        match (self.unk, std::str::from_utf8(c).ok().and_then(|c| c.chars().next())) {
            (Some(unk), _) if ids.last() == Some(&unk) => Ok(()),
            (Some(unk), _) => Ok(memory::push(ids, unk)?),
            (None, Some(found)) => {
                let index = text[..at.min(text.len())].iter().filter(|&&byte| byte & 0xC0 != 0x80).count();
                Err(TokenizerError::UnknownChar { found, at, index, vocab_size: self.vocab_size })
            }
            (None, None) => Err(TokenizerError::UnknownByte { byte: c[0], at }),
        }
    }

    /// Length of the first part of `text` that can be encoded alone: up to a space after something else.
    pub(super) fn word_len(&self, text: &[u8]) -> usize {
        if !self.cut_at_spaces {
            return text.len();
        }
        (1..text.len()).find(|&at| is_cut(text, at)).unwrap_or(text.len())
    }

    /// The last place where what is before a space can be encoded alone; 0 if there is none.
    pub(super) fn last_boundary(&self, text: &[u8]) -> usize {
        if !self.cut_at_spaces {
            return 0;
        }
        (1..text.len()).rev().find(|&at| is_cut(text, at)).unwrap_or(0)
    }
}

#[inline]
fn is_cut(text: &[u8], at: usize) -> bool {
    text[at] == b' ' && text[at - 1] != b' ' && !text[..at].ends_with(SPACE_MARK)
}
