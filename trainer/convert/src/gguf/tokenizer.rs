//! The vocabulary in a GGUF file's metadata (`tokenizer.ggml.*`).

use siskin_format::Vocab;
use siskin_format::vocab::{MAX_MERGES, MAX_TOKENS, SpecialIds};
use std::path::Path;

use super::file::{Frame, Problem};
use super::value::Value;
use crate::chat;
use crate::tokenizer::{Converted, GgufTokenizer, from_gguf};

/// What SentencePiece writes for a space: U+2581.
pub(super) const SPACE: &str = "\u{2581}";

/// Token types of `tokenizer.ggml.token_type` that are written.
pub(super) const NORMAL: i32 = 1;
pub(super) const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const BYTE: i32 = 6;

type Result<T> = std::result::Result<T, Problem>;

fn wrong(problem: impl Into<String>) -> Problem {
    Problem::Tokenizer(problem.into())
}

/// The vocabulary of a model whose embedding has `rows` rows, if there is one. `path` is the file, for messages.
pub(crate) fn read(
    path: &Path,
    frame: &Frame<'_>,
    rows: Option<usize>,
    notes: &mut Vec<String>,
) -> Result<Vocab> {
    let text = |value| match value {
        Value::String(text) => Some(text),
        _ => None,
    };
    let tokens = list(frame, "tokens", MAX_TOKENS, "strings", text)?
        .ok_or_else(|| wrong("metadata key tokenizer.ggml.tokens is missing"))?;
    let types = list(frame, "token_type", MAX_TOKENS, "integers", |value| match value {
        Value::Signed(kind) => i32::try_from(kind).ok(),
        Value::Unsigned(kind) => i32::try_from(kind).ok(),
        _ => None,
    })?;
    let scores = list(frame, "scores", MAX_TOKENS, "floating-point numbers", |value| match value {
        Value::Float(score) => Some(score as f32),
        _ => None,
    })?;
    let merges = list(frame, "merges", MAX_MERGES, "strings", text)?;
    if frame.bool("tokenizer.ggml.add_eos_token")? == Some(true) {
        notes.push("tokenizer.ggml.add_eos_token was ignored: a text gets no end-of-text token".to_string());
    }
    if frame.bool("tokenizer.ggml.remove_extra_whitespaces")? == Some(true) {
        return Err(wrong("tokenizer.ggml.remove_extra_whitespaces is true, which siskin does not do"));
    }
    let rows = rows.unwrap_or(tokens.len());
    if rows > MAX_TOKENS {
        return Err(wrong(format!("the embedding has {rows} rows, expected at most {MAX_TOKENS}")));
    }
    let n_tokens = tokens.len();
    let id = |role: &str| id(frame, role, n_tokens);
    let source = GgufTokenizer {
        model: frame
            .text("tokenizer.ggml.model")?
            .ok_or_else(|| wrong("metadata key tokenizer.ggml.model is missing"))?,
        pre: frame.text("tokenizer.ggml.pre")?,
        tokens: &tokens,
        scores: scores.as_deref(),
        types: types.as_deref(),
        merges: merges.as_deref(),
        special: SpecialIds { bos: id("bos")?, eos: id("eos")?, unk: id("unknown")?, pad: id("padding")? },
        add_bos: frame.bool("tokenizer.ggml.add_bos_token")?,
        add_space_prefix: frame.bool("tokenizer.ggml.add_space_prefix")?,
    };
    let Converted { vocab, notes: more } = from_gguf(path, &source, rows)?;
    notes.extend(more);
    with_chat(path, frame, &source, vocab, notes)
}

/// The vocabulary with the file's chat template, if it has one that can be expressed; a model without is as good for everything else.
fn with_chat(
    path: &Path,
    frame: &Frame<'_>,
    source: &GgufTokenizer<'_>,
    vocab: Vocab,
    notes: &mut Vec<String>,
) -> Result<Vocab> {
    let Some(program) = frame.text("tokenizer.chat_template")? else { return Ok(vocab) };
    let text = |id: Option<u32>| {
        let text = id.and_then(|id| source.tokens.get(id as usize));
        text.and_then(|text| std::str::from_utf8(text).ok()).unwrap_or("")
    };
    let texts = (text(source.special.bos), text(source.special.eos));
    Ok(chat::with_template(path, program, vocab, texts, notes)?)
}

fn id(frame: &Frame<'_>, role: &str, n_tokens: usize) -> Result<Option<u32>> {
    let key = format!("tokenizer.ggml.{role}_token_id");
    match frame.unsigned(&key)? {
        Some(id) if id >= n_tokens as u64 => {
            Err(wrong(format!("{key} is {id}, but there are {n_tokens} tokens")))
        }
        id => Ok(id.map(|id| id as u32)),
    }
}

/// The values of an array, if the key is there.
fn list<'a, T>(
    frame: &Frame<'a>,
    key: &str,
    max: usize,
    expected: &str,
    convert: impl Fn(Value<'a>) -> Option<T>,
) -> Result<Option<Vec<T>>> {
    let key = format!("tokenizer.ggml.{key}");
    let Some(array) = frame.array(&key)? else { return Ok(None) };
    if array.len() > max as u64 {
        return Err(wrong(format!("{key} has {} values, expected at most {max}", array.len())));
    }
    let values: Option<Vec<T>> = array.values().map(convert).collect();
    values.map(Some).ok_or_else(|| wrong(format!("{key} is not an array of {expected}")))
}

/// The character that stands for a byte in GPT-2's alphabet: itself where it is printable and no space, else the next free one from U+0100.
pub(super) fn alphabet() -> [char; 256] {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let is_printable = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if is_printable { byte as u32 } else { next };
        next += u32::from(!is_printable);
        char::from_u32(code).expect("below the surrogates")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_gpt2s() {
        let alphabet = alphabet();
        assert_eq!(
            (alphabet[b'a' as usize], alphabet[b' ' as usize], alphabet[b'\n' as usize]),
            ('a', 'Ġ', 'Ċ')
        );
        assert_eq!((alphabet[0], alphabet[0x7F], alphabet[0xAD], alphabet[0xFF]), ('Ā', 'ġ', 'Ń', 'ÿ'));
    }
}
