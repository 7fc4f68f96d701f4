//! `tokenizer.bin` of llama2.c: SentencePiece's pieces with their scores.
//!
//! ```text
//! i32                  length of the longest token
//! token, repeated:     f32 score, i32 length, bytes
//! ```
//!
//! Neither the number of tokens nor their kinds are there: 0, 1 and 2 are unknown, begin and end, and `<0xXX>` is a byte.
//! (Karpathy 2023, `tokenizer.py` and `run.c`.)

use super::{Converted, finish, merges_from_scores, misfit, refuse, spelled_byte};
use crate::error::Result;
use siskin_format::vocab::{MAX_TOKEN_LEN, SpecialIds, TokenKind, VocabKind, VocabParts};
use std::path::Path;

/// The vocabulary of a `tokenizer.bin` for a model with `vocab_size` tokens.
///
/// # Errors
/// A file that does not have exactly so many tokens, or whose tokens are no vocabulary.
pub fn from_llama2c(path: &Path, bytes: &[u8], vocab_size: usize) -> Result<Converted> {
    let (mut tokens, mut scores) = (Vec::new(), Vec::new());
    let mut rest = bytes.get(4..).ok_or_else(|| refuse(path, "ends before its first token"))?;
    while let Some((score, len)) = rest.first_chunk().and_then(|s| Some((s, rest.get(4..)?.first_chunk()?))) {
        let id = tokens.len();
        let (score, len) = (f32::from_le_bytes(*score), i32::from_le_bytes(*len));
        let len = usize::try_from(len).ok().filter(|&len| len <= MAX_TOKEN_LEN).ok_or_else(|| {
            refuse(path, format!("token {id} is {len} bytes long, expected 1 to {MAX_TOKEN_LEN}; is it a tokenizer.bin of llama2.c?"))
        })?;
        let Some(token) = rest.get(8..8 + len) else { break };
        tokens.push(match (id, spelled_byte(token)) {
            (0, _) => (b"<unk>".to_vec(), TokenKind::Unknown),
            (1, _) => (b"<s>".to_vec(), TokenKind::Control),
            (2, _) => (b"</s>".to_vec(), TokenKind::Control),
            (_, Some(byte)) => (vec![byte], TokenKind::Byte),
            _ => (token.to_vec(), TokenKind::Normal),
        });
        scores.push(score);
        rest = &rest[8 + len..];
        if tokens.len() > vocab_size {
            break;
        }
    }
    if tokens.len() != vocab_size || !rest.is_empty() {
        let found = match (tokens.len(), rest.is_empty()) {
            (n, true) => format!("{n} tokens"),
            (n, false) if n > vocab_size => format!("more than {vocab_size} tokens"),
            (n, false) => format!("{n} tokens and {} more bytes", rest.len()),
        };
        return Err(misfit(path, &found, vocab_size));
    }
    let merges = merges_from_scores(&tokens, &scores);
    let special = SpecialIds { bos: Some(1), eos: Some(2), unk: Some(0), pad: None };
    let parts = VocabParts {
        kind: VocabKind::SentencePiece,
        tokens,
        scores: Some(scores),
        merges,
        special,
        add_bos: true,
        add_space_prefix: true,
        ..VocabParts::default()
    };
    finish(path, parts, vocab_size, Vec::new())
}
