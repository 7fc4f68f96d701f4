//! A vocabulary as GGUF's metadata, so that llama.cpp cuts a text into the same tokens.

use siskin_format::vocab::{PreTokenizer, SpecialIds, TokenKind, Vocab, VocabKind};
use std::collections::HashMap;

use super::frame::FrameWriter;
use crate::chat::jinja;
use crate::gguf::tokenizer::{BYTE, CONTROL, NORMAL, SPACE, UNKNOWN, USER_DEFINED, alphabet};

/// Writes the keys of `tokenizer.ggml`.
///
/// # Errors
/// Why llama.cpp cannot cut a text as this vocabulary does.
pub(super) fn write(frame: &mut FrameWriter, vocab: &Vocab) -> Result<(), String> {
    let mut special = vocab.special();
    let texts = match vocab.kind() {
        VocabKind::Bpe => byte_level(frame, vocab, &mut special)?,
        VocabKind::SentencePiece => sentence_piece(frame, vocab, &mut special)?,
        VocabKind::Char if special.unk.is_some() => characters(frame, vocab, &mut special)?,
        VocabKind::Byte | VocabKind::Char => plain(frame, vocab)?,
        other => return Err(format!("a {} vocabulary cannot be written to GGUF", other.name())),
    };
    check_distinct(&texts)?;
    frame.strings("tokenizer.ggml.tokens", &texts);
    frame.i32s(
        "tokenizer.ggml.token_type",
        &vocab.tokens().map(|(_, kind)| code(vocab, kind)).collect::<Vec<_>>(),
    );
    let SpecialIds { bos, eos, unk, pad } = special;
    for (role, id) in [("bos", bos), ("eos", eos), ("unknown", unk), ("padding", pad)] {
        if let Some(id) = id {
            frame.u32(&format!("tokenizer.ggml.{role}_token_id"), id);
        }
    }
    frame.bool("tokenizer.ggml.add_bos_token", vocab.add_bos());
    frame.bool("tokenizer.ggml.add_eos_token", false);
    frame.bool("tokenizer.ggml.add_space_prefix", vocab.add_space_prefix());
    if let Some(chat) = vocab.chat() {
        frame.text("tokenizer.chat_template", &jinja(chat));
    }
    Ok(())
}

fn code(vocab: &Vocab, kind: TokenKind) -> i32 {
    match kind {
        TokenKind::Byte if vocab.kind() == VocabKind::SentencePiece => BYTE,
        TokenKind::Control => CONTROL,
        TokenKind::Unknown => UNKNOWN,
        TokenKind::UserDefined => USER_DEFINED,
        _ => NORMAL,
    }
}

/// llama.cpp looks tokens up by their text and stops when two have the same.
fn check_distinct(texts: &[String]) -> Result<(), String> {
    let mut seen = HashMap::new();
    for (id, text) in texts.iter().enumerate() {
        if let Some(first) = seen.insert(text, id) {
            return Err(format!(
                "tokens {first} and {id} have the same text, which llama.cpp does not accept"
            ));
        }
    }
    Ok(())
}

/// The text of a token that has a name instead of a meaning.
fn name(id: usize, bytes: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| format!("token {id} has a name that is not UTF-8"));
    Ok(text?.to_string())
}

/// Whether UTF-8 never contains a byte.
fn is_never_in_utf8(byte: u8) -> bool {
    matches!(byte, 0xC0 | 0xC1 | 0xF5..)
}

/// The end of text, which llama.cpp insists on: it would take a token in use otherwise, and stop there. Without one, the token of a byte
/// that no sound text contains.
fn end(vocab: &Vocab, kind: TokenKind) -> Result<u32, String> {
    let unused = |(bytes, k): (&[u8], TokenKind)| k == kind && bytes.len() == 1 && is_never_in_utf8(bytes[0]);
    let id = vocab.special().eos.or_else(|| vocab.tokens().position(unused).map(|id| id as u32));
    id.ok_or_else(|| {
        "its tokenizer has no end token, and llama.cpp would stop at one that is in use".to_string()
    })
}

fn byte_level(
    frame: &mut FrameWriter,
    vocab: &Vocab,
    special: &mut SpecialIds,
) -> Result<Vec<String>, String> {
    if vocab.pre_tokenizer() == PreTokenizer::None && !vocab.merges().is_empty() {
        return Err("its tokenizer merges across words, which no pre-tokenizer of llama.cpp does".to_string());
    }
    if vocab.ignore_merges() != (vocab.pre_tokenizer() == PreTokenizer::Llama3) {
        return Err(
            "llama.cpp takes whole words that are tokens exactly for Llama 3's pre-tokenizer".to_string()
        );
    }
    let alphabet = alphabet();
    let mut has_byte = [false; 256];
    let mut texts = Vec::with_capacity(vocab.len());
    for (id, (bytes, kind)) in vocab.tokens().enumerate() {
        if let (&[byte], TokenKind::Normal) = (bytes, kind) {
            has_byte[usize::from(byte)] = true;
        }
        texts.push(match kind {
            TokenKind::Normal => bytes.iter().map(|&byte| alphabet[usize::from(byte)]).collect(),
            _ => name(id, bytes)?,
        });
    }
    if let Some(byte) = (0..=255).find(|&byte| !has_byte[usize::from(byte)] && !is_never_in_utf8(byte)) {
        return Err(format!("its tokenizer has no token for the byte {byte}, and llama.cpp would drop it"));
    }
    let merge = |merge: &siskin_format::vocab::Merge| {
        format!("{} {}", texts[merge.left as usize], texts[merge.right as usize])
    };
    let merges: Vec<String> = vocab.merges().iter().map(merge).collect();
    frame.text("tokenizer.ggml.model", "gpt2");
    let pre = vocab.pre_tokenizer();
    frame.text("tokenizer.ggml.pre", if pre == PreTokenizer::None { "gpt-2" } else { pre.name() });
    frame.strings("tokenizer.ggml.merges", &merges);
    let end = end(vocab, TokenKind::Normal)?;
    *special = SpecialIds { eos: Some(end), bos: special.bos.or(Some(end)), ..*special };
    Ok(texts)
}

fn sentence_piece(
    frame: &mut FrameWriter,
    vocab: &Vocab,
    special: &mut SpecialIds,
) -> Result<Vec<String>, String> {
    let mut texts = Vec::with_capacity(vocab.len());
    for (id, (bytes, kind)) in vocab.tokens().enumerate() {
        texts.push(match kind {
            TokenKind::Byte => format!("<0x{:02X}>", bytes[0]),
            TokenKind::Normal | TokenKind::UserDefined => name(id, bytes)?.replace(' ', SPACE),
            _ => name(id, bytes)?,
        });
    }
    let scores = match vocab.scores() {
        Some(scores) => scores.to_vec(),
        None => scores_from_merges(vocab),
    };
    frame.text("tokenizer.ggml.model", "llama");
    frame.text("tokenizer.ggml.pre", "default");
    frame.f32s("tokenizer.ggml.scores", &scores);
    let end = end(vocab, TokenKind::Byte)?;
    *special = SpecialIds {
        eos: Some(end),
        bos: special.bos.or(Some(end)),
        unk: special.unk.or(Some(end)),
        ..*special
    };
    Ok(texts)
}

/// Scores that order the merges by their ranks, in whole numbers as SentencePiece's trainer gives them.
fn scores_from_merges(vocab: &Vocab) -> Vec<f32> {
    let mut scores = vec![0.0; vocab.len()];
    for (rank, merge) in vocab.merges().iter().enumerate().rev() {
        scores[merge.result as usize] = -(rank as f32); // at most 2^21: exact
    }
    scores
}

/// Characters and an unknown token, as pieces of a unigram model that has nothing to choose between.
fn characters(
    frame: &mut FrameWriter,
    vocab: &Vocab,
    special: &mut SpecialIds,
) -> Result<Vec<String>, String> {
    let mut texts = Vec::with_capacity(vocab.len());
    for (id, (bytes, kind)) in vocab.tokens().enumerate() {
        let text = name(id, bytes)?;
        if kind == TokenKind::Normal && text == SPACE {
            return Err("its characters contain U+2581, which stands for a space in llama.cpp".to_string());
        }
        texts.push(if text == " " { SPACE.to_string() } else { text });
    }
    frame.text("tokenizer.ggml.model", "t5");
    frame.text("tokenizer.ggml.pre", "default");
    frame.f32s("tokenizer.ggml.scores", &vec![0.0; vocab.len()]);
    frame.bool("tokenizer.ggml.remove_extra_whitespaces", false);
    special.eos = special.eos.or(special.unk);
    special.pad = special.pad.or(special.unk);
    Ok(texts)
}

/// Bytes, or characters of one byte, without any other token: the longest match of RWKV's tokenizer, which needs no end token.
fn plain(frame: &mut FrameWriter, vocab: &Vocab) -> Result<Vec<String>, String> {
    let mut texts = Vec::with_capacity(vocab.len());
    for (id, (bytes, kind)) in vocab.tokens().enumerate() {
        let (TokenKind::Byte | TokenKind::Normal) = kind else {
            return Err(format!(
                "token {id} stands for no text, which llama.cpp cannot keep apart from text in a {} vocabulary",
                vocab.kind().name()
            ));
        };
        let &[byte] = bytes else {
            return Err("its characters are not all ASCII and there is no unknown token: llama.cpp would hang on other characters; train with \
                        the byte or bpe tokenizer"
                .to_string());
        };
        texts.push(match byte {
            b'\\' => "\\\\".to_string(),
            b'!'..=b'~' => char::from(byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        });
    }
    frame.text("tokenizer.ggml.model", "rwkv");
    Ok(texts)
}
