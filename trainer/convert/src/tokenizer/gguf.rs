//! A GGUF file's `tokenizer.ggml.*`.

use super::pre_tokenizer::{from_gguf_name, gguf_names, is_llama3};
use super::{Converted, bytes, finish, merges_from_scores, refuse, single, spelled_byte, with_spaces};
use crate::error::Result;
use siskin_format::vocab::{Merge, PreTokenizer, SpecialIds, TokenKind, VocabKind, VocabParts};
use std::collections::HashMap;
use std::path::Path;

/// What a GGUF file says about its tokenizer; the field `x` is the key `tokenizer.ggml.x` unless said otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct GgufTokenizer<'a> {
    /// `llama` (SentencePiece's BPE), `gpt2` (byte-level BPE); `rwkv` and `t5` where every token is a byte or a character.
    pub model: &'a str,
    /// Name of the pre-tokenizer; only `gpt2` needs it.
    pub pre: Option<&'a str>,
    /// Text of every token.
    pub tokens: &'a [&'a [u8]],
    /// Score of every token; `llama` needs them.
    pub scores: Option<&'a [f32]>,
    /// `token_type`: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub types: Option<&'a [i32]>,
    /// Merges, two tokens parted by a space; `gpt2` needs them.
    pub merges: Option<&'a [&'a [u8]]>,
    /// `bos_token_id`, `eos_token_id`, `unknown_token_id`, `padding_token_id`.
    pub special: SpecialIds,
    /// `add_bos_token`.
    pub add_bos: Option<bool>,
    /// `add_space_prefix`.
    pub add_space_prefix: Option<bool>,
}

/// The vocabulary of a GGUF file for a model with `vocab_size` tokens.
///
/// # Errors
/// A tokenizer model or a pre-tokenizer that siskin does not know, by its name; arrays that do not fit together; a special id
/// that is no token.
pub fn from_gguf(path: &Path, source: &GgufTokenizer<'_>, vocab_size: usize) -> Result<Converted> {
    let n = source.tokens.len();
    for (key, len) in
        [("token_type", source.types.map(<[_]>::len)), ("scores", source.scores.map(<[_]>::len))]
    {
        if let Some(len) = len.filter(|&len| len != n) {
            return Err(refuse(path, format!("tokenizer.ggml.{key} has {len} elements for {n} tokens")));
        }
    }
    let mut parts = match source.model {
        "llama" => sentencepiece(path, source)?,
        "gpt2" => byte_level(path, source)?,
        "rwkv" => single::bytes(path, source)?,
        "t5" => single::characters(path, source)?,
        other => {
            let problem = format!(
                "tokenizer.ggml.model is {other:?}, supported are \"llama\", \"gpt2\", and \"rwkv\" and \"t5\" of single characters"
            );
            return Err(refuse(path, problem));
        }
    };
    without_stand_ins(&mut parts);
    parts.add_bos &= parts.special.bos.is_some();
    finish(path, parts, vocab_size, Vec::new())
}

pub(super) fn kind(path: &Path, source: &GgufTokenizer<'_>, id: usize) -> Result<TokenKind> {
    Ok(match source.types.map_or(1, |types| types[id]) {
        1 => TokenKind::Normal,
        2 => TokenKind::Unknown,
        3 | 5 => TokenKind::Control, // an unused token has no text either
        4 => TokenKind::UserDefined,
        6 => TokenKind::Byte,
        other => {
            return Err(refuse(path, format!("token {id} has the type {other}, expected 1 to 6")));
        }
    })
}

fn sentencepiece(path: &Path, source: &GgufTokenizer<'_>) -> Result<VocabParts> {
    let scores = source.scores.ok_or_else(|| {
        refuse(path, "tokenizer.ggml.scores is missing, and a \"llama\" tokenizer merges by them")
    })?;
    let mut tokens = Vec::with_capacity(source.tokens.len());
    for (id, &text) in source.tokens.iter().enumerate() {
        let kind = kind(path, source, id)?;
        let bytes = match kind {
            TokenKind::Byte => {
                let byte = spelled_byte(text);
                vec![
                    byte.ok_or_else(|| refuse(path, format!("token {id} is a byte and not spelled <0xXX>")))?,
                ]
            }
            TokenKind::Normal => {
                let text = std::str::from_utf8(text);
                with_spaces(text.map_err(|_| refuse(path, format!("token {id} is not UTF-8")))?)
            }
            _ => text.to_vec(),
        };
        tokens.push((bytes, kind));
    }
    let SpecialIds { bos, eos, unk, pad } = source.special;
    let there = |id: u32| ((id as usize) < tokens.len()).then_some(id);
    let special = SpecialIds { bos: bos.or(there(1)), eos: eos.or(there(2)), unk: unk.or(there(0)), pad };
    Ok(VocabParts {
        kind: VocabKind::SentencePiece,
        merges: merges_from_scores(&tokens, scores),
        scores: Some(scores.to_vec()),
        tokens,
        special,
        add_bos: source.add_bos.unwrap_or(true),
        add_space_prefix: source.add_space_prefix.unwrap_or(true),
        ..VocabParts::default()
    })
}

fn byte_level(path: &Path, source: &GgufTokenizer<'_>) -> Result<VocabParts> {
    let pre = pre_tokenizer(path, source)?;
    let lists = source.merges.ok_or_else(|| refuse(path, "tokenizer.ggml.merges is missing"))?;
    let mut ids: HashMap<&[u8], u32> = HashMap::new();
    let mut tokens = Vec::with_capacity(source.tokens.len());
    for (id, &text) in source.tokens.iter().enumerate() {
        let kind = kind(path, source, id)?;
        let spelled = std::str::from_utf8(text).ok().and_then(bytes::decode);
        let bytes = match (kind, spelled) {
            (TokenKind::Normal, Some(bytes)) => {
                ids.insert(text, id as u32);
                bytes
            }
            _ => text.to_vec(),
        };
        tokens.push((bytes, kind));
    }
    let mut merges = Vec::with_capacity(lists.len());
    for (rank, &line) in lists.iter().enumerate() {
        merges.push(merge(&ids, line).ok_or_else(|| {
            let line = String::from_utf8_lossy(line);
            refuse(path, format!("merge {rank} is {line:?}, expected two tokens that make a third"))
        })?);
    }
    Ok(VocabParts {
        kind: VocabKind::Bpe,
        pre_tokenizer: pre,
        tokens,
        merges,
        special: source.special,
        add_bos: source.add_bos.unwrap_or(source.pre.is_some_and(is_llama3)),
        ignore_merges: source.pre.is_some_and(is_llama3),
        ..VocabParts::default()
    })
}

fn pre_tokenizer(path: &Path, source: &GgufTokenizer<'_>) -> Result<PreTokenizer> {
    let name = source.pre.unwrap_or("default");
    from_gguf_name(name).ok_or_else(|| {
        let found = match source.pre {
            Some(name) => format!("tokenizer.ggml.pre is {name:?}"),
            None => "tokenizer.ggml.pre is missing".into(),
        };
        refuse(path, format!("{found}; siskin knows the pre-tokenizers {}", gguf_names()))
    })
}

/// A merge as GGUF spells it. A space parts the two; it is not the first byte, which may belong to a token.
fn merge(ids: &HashMap<&[u8], u32>, line: &[u8]) -> Option<Merge> {
    let space = 1 + line.get(1..)?.iter().position(|&byte| byte == b' ')?;
    let (left, right) = (&line[..space], &line[space + 1..]);
    let joined = [left, right].concat();
    Some(Merge { left: *ids.get(left)?, right: *ids.get(right)?, result: *ids.get(joined.as_slice())? })
}

/// Takes away the roles that an export gave to the token of a byte that UTF-8 never contains, because llama.cpp asks for a token where the vocabulary
/// has none. Such a token is no name, and no text ends in it.
fn without_stand_ins(parts: &mut VocabParts) {
    let tokens = &parts.tokens;
    let is_stand_in = |id: &u32| {
        matches!(tokens.get(*id as usize), Some((bytes, TokenKind::Normal | TokenKind::Byte))
            if matches!(bytes[..], [0xC0 | 0xC1 | 0xF5..]))
    };
    let SpecialIds { bos, eos, unk, pad } = &mut parts.special;
    for role in [bos, eos, unk, pad] {
        *role = role.filter(|id| !is_stand_in(id));
    }
}
