//! The vocabulary in a GGUF file's metadata (`tokenizer.ggml.*`).
//!
//! Two kinds: `llama`, SentencePiece's BPE with scores and byte fallback, and `gpt2`, byte-level BPE with merges, whose tokens are written
//! in GPT-2's alphabet: a character for every byte, printable ones for themselves.

use siskin_format::vocab::{
    MAX_MERGES, MAX_TOKENS, Merge, PreTokenizer, SpecialIds, TokenKind, Vocab, VocabKind, VocabParts,
};
use std::collections::HashMap;

use super::file::{Frame, Problem};
use super::value::{Value, show};

/// What SentencePiece writes for a space: U+2581.
pub(super) const SPACE: &str = "\u{2581}";

/// Token types of `tokenizer.ggml.token_type`.
pub(super) const NORMAL: i32 = 1;
pub(super) const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
pub(super) const BYTE: i32 = 6;

type Result<T> = std::result::Result<T, Problem>;

fn wrong(problem: impl Into<String>) -> Problem {
    Problem::Tokenizer(problem.into())
}

/// The vocabulary of a model whose embedding has `rows` rows, if there is one.
pub(crate) fn read(frame: &Frame<'_>, rows: Option<usize>, notes: &mut Vec<String>) -> Result<Vocab> {
    let table = Table::read(frame)?;
    let vocab_size = table.texts.len();
    if let Some(rows) = rows.filter(|&rows| rows != vocab_size) {
        return Err(wrong(format!("the tokenizer has {vocab_size} tokens, but the embedding {rows} rows")));
    }
    if frame.bool("tokenizer.ggml.add_eos_token")? == Some(true) {
        notes.push("tokenizer.ggml.add_eos_token was ignored: a text gets no end-of-text token".to_string());
    }
    if frame.bool("tokenizer.ggml.remove_extra_whitespaces")? == Some(true) {
        return Err(wrong("tokenizer.ggml.remove_extra_whitespaces is true, which siskin does not do"));
    }
    let special = SpecialIds {
        bos: id(frame, "bos_token_id", vocab_size)?,
        eos: id(frame, "eos_token_id", vocab_size)?,
        unk: id(frame, "unknown_token_id", vocab_size)?,
        pad: id(frame, "padding_token_id", vocab_size)?,
    };
    let parts = match frame.text("tokenizer.ggml.model")? {
        Some("llama") => sentence_piece(frame, table, special)?,
        Some("gpt2") => byte_level(frame, table, special)?,
        Some(other) => {
            let other = show(other.as_bytes());
            return Err(wrong(format!(
                "tokenizer {other} is not supported; supported are llama (SentencePiece BPE) and gpt2"
            )));
        }
        None => return Err(wrong("metadata key tokenizer.ggml.model is missing")),
    };
    Vocab::new(parts).map_err(|e| wrong(e.to_string()))
}

fn id(frame: &Frame<'_>, role: &str, vocab_size: usize) -> Result<Option<u32>> {
    let key = format!("tokenizer.ggml.{role}");
    match frame.unsigned(&key)? {
        Some(id) if id >= vocab_size as u64 => {
            Err(wrong(format!("{key} is {id}, but there are {vocab_size} tokens")))
        }
        id => Ok(id.map(|id| id as u32)),
    }
}

/// Texts, types and scores as the file has them.
struct Table<'a> {
    texts: Vec<&'a [u8]>,
    types: Option<Vec<i32>>,
    scores: Option<Vec<f32>>,
}

impl<'a> Table<'a> {
    fn read(frame: &Frame<'a>) -> Result<Table<'a>> {
        let text = |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        let texts = list(frame, "tokens", MAX_TOKENS, "strings", text)?
            .ok_or_else(|| wrong("metadata key tokenizer.ggml.tokens is missing"))?;
        let kind = |value| match value {
            Value::Signed(kind) => i32::try_from(kind).ok(),
            Value::Unsigned(kind) => i32::try_from(kind).ok(),
            _ => None,
        };
        let types = list(frame, "token_type", MAX_TOKENS, "integers", kind)?;
        let score = |value| match value {
            Value::Float(score) => Some(score as f32),
            _ => None,
        };
        let scores = list(frame, "scores", MAX_TOKENS, "floating-point numbers", score)?;
        let lengths =
            [("token_type", types.as_ref().map(Vec::len)), ("scores", scores.as_ref().map(Vec::len))];
        for (key, len) in lengths {
            if let Some(len) = len.filter(|&len| len != texts.len()) {
                let expected = texts.len();
                return Err(wrong(format!(
                    "tokenizer.ggml.{key} has {len} values, expected {expected}, one a token"
                )));
            }
        }
        Ok(Table { texts, types, scores })
    }

    /// Type of a token; all are normal where the file does not say.
    fn kind(&self, id: usize) -> Result<TokenKind> {
        Ok(match self.types.as_ref().map_or(NORMAL, |types| types[id]) {
            NORMAL => TokenKind::Normal,
            UNKNOWN => TokenKind::Unknown,
            CONTROL | UNUSED => TokenKind::Control,
            USER_DEFINED => TokenKind::UserDefined,
            BYTE => TokenKind::Byte,
            other => return Err(wrong(format!("token {id} is of type {other}, expected 1 to 6"))),
        })
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

fn sentence_piece(frame: &Frame<'_>, table: Table<'_>, special: SpecialIds) -> Result<VocabParts> {
    let scores =
        table.scores.clone().ok_or_else(|| wrong("metadata key tokenizer.ggml.scores is missing"))?;
    if let Some(id) = scores.iter().position(|score| score.is_nan()) {
        return Err(wrong(format!("the score of token {id} is NaN")));
    }
    let mut tokens = Vec::with_capacity(table.texts.len());
    for (id, &text) in table.texts.iter().enumerate() {
        let mut kind = table.kind(id)?;
        if table.types.is_none() && byte_of(text).is_some() {
            kind = TokenKind::Byte;
        }
        let bytes = match kind {
            TokenKind::Byte => vec![byte_of(text).ok_or_else(|| {
                wrong(format!(
                    "token {id} is a byte, but its text is \"{}\", expected <0x00> to <0xFF>",
                    show(text)
                ))
            })?],
            TokenKind::Normal | TokenKind::UserDefined => std::str::from_utf8(text)
                .map_err(|_| wrong(format!("token {id} is not UTF-8: \"{}\"", show(text))))?
                .replace(SPACE, " ")
                .into_bytes(),
            _ => text.to_vec(),
        };
        tokens.push((bytes, kind));
    }
    // llama.cpp's defaults for this kind of tokenizer.
    let flag = |key: &str| Ok::<_, Problem>(frame.bool(&format!("tokenizer.ggml.{key}"))?.unwrap_or(true));
    let special = SpecialIds {
        bos: special.bos.or(control(&tokens, 1)),
        eos: special.eos.or(control(&tokens, 2)),
        unk: special.unk.or(unknown(&tokens, 0)),
        ..special
    };
    Ok(VocabParts {
        kind: VocabKind::SentencePiece,
        merges: merges_from_scores(&tokens, &scores),
        add_bos: flag("add_bos_token")? && special.bos.is_some(),
        add_space_prefix: flag("add_space_prefix")?,
        scores: Some(scores),
        tokens,
        special,
        ..VocabParts::default()
    })
}

fn control(tokens: &[(Vec<u8>, TokenKind)], id: u32) -> Option<u32> {
    tokens.get(id as usize).filter(|(_, kind)| *kind == TokenKind::Control).map(|_| id)
}

fn unknown(tokens: &[(Vec<u8>, TokenKind)], id: u32) -> Option<u32> {
    tokens.get(id as usize).filter(|(_, kind)| *kind == TokenKind::Unknown).map(|_| id)
}

/// The byte that `<0x41>` stands for.
fn byte_of(text: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(text.strip_prefix(b"<0x")?.strip_suffix(b">")?).ok()?;
    (digits.len() == 2 && digits.bytes().all(|d| d.is_ascii_hexdigit()))
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

fn byte_level(frame: &Frame<'_>, table: Table<'_>, special: SpecialIds) -> Result<VocabParts> {
    let (pre_tokenizer, is_llama3) = pre_tokenizer(frame)?;
    let mut tokens = Vec::with_capacity(table.texts.len());
    let mut ids = HashMap::with_capacity(table.texts.len());
    for (id, &text) in table.texts.iter().enumerate() {
        let kind = table.kind(id)?;
        let bytes = match kind {
            TokenKind::Normal => from_alphabet(text).ok_or_else(|| {
                let shown = show(text);
                wrong(format!("token {id}, \"{shown}\", is not written in the alphabet of byte-level BPE"))
            })?,
            TokenKind::Byte => {
                return Err(wrong(format!("token {id} is a byte, which a gpt2 tokenizer does not have")));
            }
            _ => text.to_vec(),
        };
        if kind == TokenKind::Normal {
            ids.insert(text, id as u32);
        }
        tokens.push((bytes, kind));
    }
    let add_bos = frame.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(is_llama3);
    Ok(VocabParts {
        kind: VocabKind::Bpe,
        pre_tokenizer,
        merges: read_merges(frame, &ids)?,
        add_bos: add_bos && special.bos.is_some(),
        ignore_merges: is_llama3,
        tokens,
        special,
        ..VocabParts::default()
    })
}

/// `left right` in the order of their ranks.
fn read_merges(frame: &Frame<'_>, ids: &HashMap<&[u8], u32>) -> Result<Vec<Merge>> {
    let text = |value| match value {
        Value::String(text) => Some(text),
        _ => None,
    };
    let pairs = list(frame, "merges", MAX_MERGES, "strings", text)?
        .ok_or_else(|| wrong("metadata key tokenizer.ggml.merges is missing"))?;
    let mut merges = Vec::with_capacity(pairs.len());
    let mut joined = Vec::new();
    for (rank, pair) in pairs.into_iter().enumerate() {
        let cut = pair.iter().position(|&byte| byte == b' ').ok_or_else(|| {
            wrong(format!("merge {rank}, \"{}\", is not two tokens with a space between", show(pair)))
        })?;
        let (left, right) = (&pair[..cut], &pair[cut + 1..]);
        joined.clear();
        joined.extend_from_slice(left);
        joined.extend_from_slice(right);
        let id = |text: &[u8]| {
            ids.get(text).copied().ok_or_else(|| {
                wrong(format!("merge {rank}, \"{}\": there is no token \"{}\"", show(pair), show(text)))
            })
        };
        merges.push(Merge { left: id(left)?, right: id(right)?, result: id(&joined)? });
    }
    Ok(merges)
}

/// The pre-tokenizer that `tokenizer.ggml.pre` names, and whether it is Llama 3's, which implies more.
fn pre_tokenizer(frame: &Frame<'_>) -> Result<(PreTokenizer, bool)> {
    let Some(name) = frame.text("tokenizer.ggml.pre")? else {
        return Err(wrong(
            "metadata key tokenizer.ggml.pre is missing: how words are cut is unknown; convert the original model again",
        ));
    };
    // Names that llama.cpp registers for the same patterns.
    let pre =
        match name {
            "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "jina-v2-es" | "jina-v2-de" | "gigachat"
            | "a.x-4.0" | "mellum" | "modern-bert" | "mpt" | "olmo" | "jais" | "trillion"
            | "granite-docling" => Some(PreTokenizer::Gpt2),
            "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0"
            | "lfm2" => Some(PreTokenizer::Llama3),
            "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "megrez" | "stablelm2" | "hunyuan"
            | "solar-open" => Some(PreTokenizer::Qwen2),
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" => {
                Some(PreTokenizer::SmolLm)
            }
            name => PreTokenizer::from_name(name).filter(|pre| *pre != PreTokenizer::None),
        };
    let pre = pre.ok_or_else(|| {
        let known = PreTokenizer::ALL[1..].iter().map(|pre| pre.name()).collect::<Vec<_>>().join(", ");
        wrong(format!(
            "pre-tokenizer {} is not known; known are {known} and llama.cpp's other names of them",
            show(name.as_bytes())
        ))
    })?;
    Ok((pre, pre == PreTokenizer::Llama3))
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

/// The bytes that a token stands for; `None` if it is not written in the alphabet.
fn from_alphabet(text: &[u8]) -> Option<Vec<u8>> {
    // The 68 bytes that are not printable have the characters from U+0100 on.
    let byte_of = |c: char| match c as u32 {
        code @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121) as u8 + 0x7F),
        0x143 => Some(0xAD),
        _ => None,
    };
    std::str::from_utf8(text).ok()?.chars().map(byte_of).collect()
}

/// Merges that make of two tokens a third whenever there is one, the best score first.
fn merges_from_scores(tokens: &[(Vec<u8>, TokenKind)], scores: &[f32]) -> Vec<Merge> {
    let ids: HashMap<&[u8], u32> = (0u32..)
        .zip(tokens)
        .filter(|(_, (_, kind))| *kind == TokenKind::Normal)
        .map(|(id, (bytes, _))| (bytes.as_slice(), id))
        .collect();
    let mut results: Vec<u32> = ids.values().copied().collect();
    results.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
    let mut merges = Vec::new();
    for result in results {
        let bytes = &tokens[result as usize].0;
        for cut in 1..bytes.len() {
            if let (Some(&left), Some(&right)) = (ids.get(&bytes[..cut]), ids.get(&bytes[cut..])) {
                merges.push(Merge { left, right, result });
            }
        }
    }
    merges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_read_back() {
        let alphabet = alphabet();
        assert_eq!(
            (alphabet[b'a' as usize], alphabet[b' ' as usize], alphabet[b'\n' as usize]),
            ('a', 'Ġ', 'Ċ')
        );
        for byte in 0..=255u8 {
            assert_eq!(
                from_alphabet(alphabet[byte as usize].to_string().as_bytes()),
                Some(vec![byte]),
                "{byte}"
            );
        }
        assert_eq!(from_alphabet("two words".as_bytes()), None);
    }

    #[test]
    fn bytes_are_written_in_hexadecimal() {
        assert_eq!((byte_of(b"<0x0A>"), byte_of(b"<0xff>")), (Some(10), Some(255)));
        assert_eq!((byte_of(b"<0x+1>"), byte_of(b"<0x123>"), byte_of(b"<s>")), (None, None, None));
    }
}
