//! How a conversation is written: literal pieces around what is said.

use super::VocabError;
use super::codec::{Fields, put_u32, words};
use crate::memory;

/// Most bytes that a chat template may have in a file.
pub const MAX_CHAT_LEN: usize = 1 << 20;
/// Numbers in front of the stops: how many stops, and the length of each piece.
const N_HEAD: usize = 9;

/// How a conversation is written for a model: literal texts, in which special tokens are spelled out, around what is said.
///
/// A conversation is
///
/// ```text
/// begin                                    user's message   user.1
/// system.0   system message   system.1     user's message   user.1      (instead, where there is a system message)
/// assistant.0   model's message   assistant.1   user.0   user's message   user.1      (and so on)
/// ```
///
/// and, when it is the model's turn, `reply` in place of `assistant.0`, after which the model writes until one of `stops`.
/// What is said stands between the pieces as it is and is never searched for special tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatTemplate {
    /// Before the first message of the user, where there is no system message.
    pub begin: String,
    /// Before a system message, which begins a conversation, and between it and the user's. Both are empty where a model has none.
    pub system: (String, String),
    /// Before a message of the user but the first, and after each.
    pub user: (String, String),
    /// Before and after the model's own message.
    pub assistant: (String, String),
    /// Asks the model for its next message.
    pub reply: String,
    /// Tokens that end a reply, beside the vocabulary's eos.
    pub stops: Vec<u32>,
}

impl ChatTemplate {
    fn pieces(&self) -> [&str; N_HEAD - 1] {
        let ChatTemplate { begin, system, user, assistant, reply, .. } = self;
        [begin, &system.0, &system.1, &user.0, &user.1, &assistant.0, &assistant.1, reply]
    }

    /// Every rule of the [section](super).
    pub(super) fn check(&self, n_tokens: usize) -> Result<(), VocabError> {
        if self.pieces().iter().all(|piece| piece.is_empty()) {
            return Err(VocabError::EmptyChat);
        }
        if self.section_len() > MAX_CHAT_LEN {
            return Err(VocabError::ChatLength { len: self.section_len() as u64 });
        }
        match self.stops.iter().find(|&&id| id as usize >= n_tokens) {
            Some(&id) => {
                Err(VocabError::SpecialOutOfRange { role: "a stop of the chat template", id, n_tokens })
            }
            None => Ok(()),
        }
    }

    /// Bytes in the section, padding among them.
    pub(super) fn section_len(&self) -> usize {
        let text: usize = self.pieces().iter().map(|piece| piece.len()).sum();
        4 * (N_HEAD + self.stops.len()) + text.next_multiple_of(4)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_u32(out, self.stops.len() as u32); // MAX_CHAT_LEN bounds it and the lengths
        for piece in self.pieces() {
            put_u32(out, piece.len() as u32);
        }
        for &id in &self.stops {
            put_u32(out, id);
        }
        for piece in self.pieces() {
            out.extend_from_slice(piece.as_bytes());
        }
        out.resize(out.len().next_multiple_of(4), 0);
    }

    /// Reads all of `bytes`, which begin at a multiple of 4.
    pub(super) fn read(bytes: &[u8]) -> Result<ChatTemplate, VocabError> {
        let mut r = Fields { bytes, at: 0 };
        let n_stops = r.u32()?;
        let mut lengths = [0; N_HEAD - 1];
        for len in &mut lengths {
            *len = r.u32()? as usize;
        }
        let stops = memory::collect(words(r.take((n_stops as usize).saturating_mul(4))?))?;
        let mut pieces = [(); N_HEAD - 1].map(|()| String::new());
        for (piece, len) in pieces.iter_mut().zip(lengths) {
            let text = std::str::from_utf8(r.take(len)?).map_err(|_| VocabError::ChatNotUtf8)?;
            piece.try_reserve_exact(len).map_err(|_| VocabError::OutOfMemory { bytes: len })?;
            piece.push_str(text);
        }
        let padding = r.at.next_multiple_of(4) - r.at;
        if r.take(padding)?.iter().any(|&b| b != 0) || r.at < bytes.len() {
            return Err(VocabError::ChatLength { len: bytes.len() as u64 });
        }
        let [begin, s0, s1, u0, u1, a0, a1, reply] = pieces;
        Ok(ChatTemplate { begin, system: (s0, s1), user: (u0, u1), assistant: (a0, a1), reply, stops })
    }
}
