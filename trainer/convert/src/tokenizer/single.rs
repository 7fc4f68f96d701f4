//! GGUF's tokenizers of bytes and of characters, as siskin writes them: llama.cpp has none of its own, but those that look for a best way to cut a text
//! have nothing to choose between where every token is as short as can be.

use super::gguf::{GgufTokenizer, kind};
use super::{refuse, with_spaces};
use crate::error::Result;
use siskin_format::vocab::{SpecialIds, TokenKind, VocabKind, VocabParts};
use std::path::Path;

/// RWKV's longest match has nothing to choose between tokens of one byte: a byte vocabulary, or characters of ASCII.
pub(super) fn bytes(path: &Path, source: &GgufTokenizer<'_>) -> Result<VocabParts> {
    let longer = |id| {
        refuse(
            path,
            format!(
                "token {id} of the \"rwkv\" tokenizer is no single byte, and siskin has no longest match"
            ),
        )
    };
    let bytes =
        source.tokens.iter().enumerate().map(|(id, text)| unescaped_byte(text).ok_or_else(|| longer(id)));
    let bytes = bytes.collect::<Result<Vec<u8>>>()?;
    let (kind, token_kind) = match bytes.iter().all(u8::is_ascii) {
        true => (VocabKind::Char, TokenKind::Normal),
        false => (VocabKind::Byte, TokenKind::Byte),
    };
    let tokens = bytes.into_iter().map(|byte| (vec![byte], token_kind)).collect();
    Ok(VocabParts { kind, tokens, special: source.special, ..VocabParts::default() })
}

/// The byte that a token of RWKV spells, with the escapes of Python.
fn unescaped_byte(text: &[u8]) -> Option<u8> {
    match text {
        [b'\\', b'x', digits @ ..] if digits.len() == 2 => {
            let digits =
                std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|d| d.is_ascii_hexdigit()))?;
            u8::from_str_radix(digits, 16).ok()
        }
        b"\\t" => Some(b'\t'),
        b"\\n" => Some(b'\n'),
        b"\\r" => Some(b'\r'),
        &[b'\\', byte] | &[byte] => Some(byte),
        _ => None,
    }
}

/// A unigram model of single characters with one score, and an unknown token: nothing to choose between, either.
pub(super) fn characters(path: &Path, source: &GgufTokenizer<'_>) -> Result<VocabParts> {
    let unigram =
        |what: String| refuse(path, format!("{what}, and siskin has no unigram model of longer tokens"));
    if source.scores.is_some_and(|scores| scores.iter().any(|score| *score != scores[0])) {
        return Err(unigram("the \"t5\" tokenizer has scores that differ".to_string()));
    }
    let SpecialIds { unk: Some(unk), .. } = source.special else {
        return Err(refuse(
            path,
            "tokenizer.ggml.unknown_token_id is missing, and a \"t5\" tokenizer needs it",
        ));
    };
    if source.add_space_prefix != Some(false) {
        return Err(refuse(
            path,
            "tokenizer.ggml.add_space_prefix is not false, and siskin puts no space before characters",
        ));
    }
    let mut tokens = Vec::with_capacity(source.tokens.len());
    for (id, &text) in source.tokens.iter().enumerate() {
        let kind = kind(path, source, id)?;
        let spelled = std::str::from_utf8(text).map(with_spaces).unwrap_or_default();
        let is_character = std::str::from_utf8(&spelled).is_ok_and(|text| text.chars().count() == 1);
        match kind {
            TokenKind::Normal if is_character => tokens.push((spelled, kind)),
            TokenKind::Control | TokenKind::Unknown => tokens.push((text.to_vec(), kind)),
            _ => return Err(unigram(format!("token {id} of the \"t5\" tokenizer is no single character"))),
        }
    }
    let special = SpecialIds {
        eos: source.special.eos.filter(|&id| id != unk),
        pad: source.special.pad.filter(|&id| id != unk),
        ..source.special
    };
    Ok(VocabParts { kind: VocabKind::Char, tokens, special, ..VocabParts::default() })
}
