//! Character vocabularies: one token per code point.

use super::{NO_ID, TokenizerError};
use siskin_format::memory;
use siskin_format::vocab::{TokenKind, Vocab};
use std::ops::Range;

/// From code point to id.
#[derive(Debug)]
pub(super) struct CharIds {
    ascii: [u32; 128],       // id, or NO_ID
    others: Vec<(u32, u32)>, // (code point, id), sorted
    vocab_size: usize,
}

impl CharIds {
    pub(super) fn new(vocab: &Vocab) -> Result<CharIds, TokenizerError> {
        let mut ids = CharIds { ascii: [NO_ID; 128], others: Vec::new(), vocab_size: vocab.len() };
        for (id, (bytes, kind)) in vocab.tokens().enumerate() {
            let text = std::str::from_utf8(bytes).unwrap_or_default(); // a Vocab's normal tokens are UTF-8
            if let (Some(c), TokenKind::Normal) = (text.chars().next(), kind) {
                match ids.ascii.get_mut(c as usize) {
                    Some(entry) => *entry = id as u32,
                    None => memory::push(&mut ids.others, (u32::from(c), id as u32))?,
                }
            }
        }
        ids.others.sort_unstable();
        Ok(ids)
    }

    fn get(&self, c: char) -> Option<u32> {
        match self.ascii.get(c as usize) {
            Some(&id) => (id != NO_ID).then_some(id),
            None => {
                let found = self.others.binary_search_by_key(&u32::from(c), |&(c, _)| c).ok()?;
                Some(self.others[found].1)
            }
        }
    }

    pub(super) fn encode_into(
        &self,
        unk: Option<u32>,
        text: &[u8],
        range: Range<usize>,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let (start, text, before) = (range.start, &text[range.clone()], &text[..range.start]);
        let (valid, bad) = match std::str::from_utf8(text) {
            Ok(valid) => (valid, None),
            Err(error) => {
                let at = error.valid_up_to();
                (std::str::from_utf8(&text[..at]).unwrap_or_default(), Some(at))
            }
        };
        for (index, (at, c)) in valid.char_indices().enumerate() {
            let unknown = || TokenizerError::UnknownChar {
                found: c,
                at: start + at,
                index: before.iter().filter(|&&byte| byte & 0xC0 != 0x80).count() + index,
                vocab_size: self.vocab_size,
            };
            memory::push(ids, self.get(c).or(unk).ok_or_else(unknown)?)?;
        }
        bad.map_or(Ok(()), |at| Err(TokenizerError::InvalidUtf8 { at: start + at }))
    }
}
