//! GPT-2's way to write bytes as text (Radford et al. 2019, `bytes_to_unicode`): a printable byte of Latin-1 is its
//! character, and the others are U+0100 and on, in their order.

use super::{Converted, finish, refuse};
use crate::error::Result;
use siskin_format::vocab::{Merge, PreTokenizer, SpecialIds, TokenKind, VocabKind, VocabParts};
use std::collections::HashMap;
use std::path::Path;

fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// The other bytes, in their order: the character of the i-th is U+0100 + i.
fn unprintable() -> impl Iterator<Item = u8> {
    (0..=255).filter(|&byte| !is_printable(byte))
}

/// Every byte in the order of the characters that stand for them: GPT-2's first 256 tokens.
fn in_order() -> impl Iterator<Item = u8> {
    (0..=255).filter(|&byte| is_printable(byte)).chain(unprintable())
}

/// The bytes that a token spells; `None` if a character of it stands for no byte.
pub(super) fn decode(token: &str) -> Option<Vec<u8>> {
    token
        .chars()
        .map(|c| match u32::from(c) {
            c @ 0..=0xFF => u8::try_from(c).ok().filter(|&byte| is_printable(byte)),
            c => unprintable().nth(c as usize - 0x100),
        })
        .collect()
}

/// The vocabulary that GPT-2's `merges.txt` defines: all bytes, what the merges make, and `<|endoftext|>`.
///
/// # Errors
/// A line that is no merge of tokens that were made before it.
pub fn from_gpt2_merges(path: &Path, text: &str) -> Result<Converted> {
    let mut tokens: Vec<(Vec<u8>, TokenKind)> =
        in_order().map(|byte| (vec![byte], TokenKind::Normal)).collect();
    let mut ids: HashMap<Vec<u8>, u32> = tokens.iter().map(|(token, _)| token.clone()).zip(0..).collect();
    let mut merges = Vec::new();
    let lines =
        text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with("#version"));
    for (number, line) in lines {
        let pair = line.split_once(' ').and_then(|(left, right)| Some((decode(left)?, decode(right)?)));
        let pair = pair
            .and_then(|(left, right)| Some((*ids.get(&left)?, *ids.get(&right)?, [left, right].concat())));
        let Some((left, right, joined)) = pair else {
            return Err(refuse(
                path,
                format!("line {}: {line:?} is no merge of two tokens made before it", number + 1),
            ));
        };
        let result = *ids.entry(joined.clone()).or_insert(tokens.len() as u32);
        if result as usize == tokens.len() {
            tokens.push((joined, TokenKind::Normal));
        }
        merges.push(Merge { left, right, result });
    }
    let eos = tokens.len() as u32;
    tokens.push((b"<|endoftext|>".to_vec(), TokenKind::Control));
    let special = SpecialIds { eos: Some(eos), ..SpecialIds::default() };
    let parts = VocabParts {
        kind: VocabKind::Bpe,
        pre_tokenizer: PreTokenizer::Gpt2,
        tokens,
        merges,
        special,
        ..VocabParts::default()
    };
    let n = parts.tokens.len();
    finish(path, parts, n, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character() {
        let spelled: Vec<char> = (0..=255u8)
            .map(|byte| match is_printable(byte) {
                true => char::from(byte),
                false => {
                    char::from_u32(0x100 + unprintable().position(|b| b == byte).unwrap() as u32).unwrap()
                }
            })
            .collect();
        for (byte, c) in spelled.iter().enumerate() {
            assert_eq!(decode(&c.to_string()), Some(vec![byte as u8]));
        }
        assert_eq!(decode("Ġhé"), Some(b" h\xE9".to_vec()));
        assert_eq!((decode(" "), decode("你"), decode("\u{144}")), (None, None, None));
        assert_eq!(in_order().count(), 256);
    }
}
