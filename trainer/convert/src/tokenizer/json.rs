//! `tokenizer.json` of Hugging Face's `tokenizers`, and what `tokenizer_config.json` adds.

use super::pre_tokenizer::{GPT2, from_patterns};
use super::{Converted, SPACE_MARK, bytes, finish, refuse, spelled_byte, with_spaces};
use crate::error::Result;
use serde::Deserialize;
use serde_json::Value;
use siskin_format::vocab::{Merge, PreTokenizer, SpecialIds, TokenKind, VocabKind, VocabParts};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// What a folder says about its tokenizer.
#[derive(Clone, Copy, Debug)]
pub struct JsonTokenizer<'a> {
    /// Text of `tokenizer.json`.
    pub tokenizer: &'a str,
    /// Text of `tokenizer_config.json`, if it is there.
    pub config: Option<&'a str>,
    /// `bos_token_id`, `eos_token_id` and `pad_token_id` of `config.json`, for roles that `tokenizer_config.json` does not name.
    pub special: SpecialIds,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    vocab: HashMap<String, u32>,
    merges: Vec<MergeLine>,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(default)]
    fuse_unk: bool,
}

impl Model {
    /// Whether every token but those that are looked for literally is one character, and stays alone.
    fn is_of_characters(&self, added: &[Added]) -> bool {
        let literal: HashSet<&str> = added.iter().map(|token| token.content.as_str()).collect();
        let is_single = |text: &String| text.chars().count() == 1 || literal.contains(text.as_str());
        self.merges.is_empty() && self.vocab.keys().all(is_single)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum MergeLine {
    Pair(String, String),
    Line(String),
}

impl MergeLine {
    fn pair(&self) -> Option<(&str, &str)> {
        match self {
            MergeLine::Pair(left, right) => Some((left, right)),
            MergeLine::Line(line) => line.split_once(' '),
        }
    }
}

/// How a text is prepared before merging.
struct Preparation {
    kind: VocabKind,
    pre_tokenizer: PreTokenizer,
    add_space_prefix: bool,
}

/// The vocabulary of a `tokenizer.json` for a model with `vocab_size` tokens.
///
/// # Errors
/// A model, normalizer or pre-tokenizer that siskin does not have, by its name; merges and ids that do not fit together.
pub fn from_json(path: &Path, source: &JsonTokenizer<'_>, vocab_size: usize) -> Result<Converted> {
    let bad = |error: serde_json::Error| refuse(path, format!("is not the JSON of a tokenizer: {error}"));
    let mut root: Value = serde_json::from_str(source.tokenizer).map_err(bad)?;
    let config: Value = source.config.map_or(Ok(Value::Null), serde_json::from_str).map_err(|error| {
        refuse(&path.with_file_name("tokenizer_config.json"), format!("is not JSON: {error}"))
    })?;
    if !root.is_object() {
        return Err(refuse(path, "is not the JSON of a tokenizer: expected an object"));
    }
    if !root["model"].is_object() {
        let problem = "is JSON without a tokenizer's \"model\"; expected the tokenizer.json that the tokenizers library writes";
        return Err(refuse(path, problem));
    }
    if let Some(kind) = root["model"]["type"].as_str().filter(|&kind| kind != "BPE") {
        return Err(refuse(path, format!("the tokenizer's model is {kind}, supported is BPE")));
    }
    let added: Vec<Added> = match root["added_tokens"].take() {
        Value::Null => Vec::new(),
        list => serde_json::from_value(list).map_err(bad)?,
    };
    let model: Model = serde_json::from_value(root["model"].take()).map_err(bad)?;
    for (key, value) in [
        ("continuing_subword_prefix", &model.continuing_subword_prefix),
        ("end_of_word_suffix", &model.end_of_word_suffix),
    ] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            return Err(refuse(path, format!("the tokenizer's {key} is {value:?}, siskin has none")));
        }
    }
    let mut notes = Vec::new();
    let prepared = preparation(&root, &model, &added, &mut notes).map_err(|problem| refuse(path, problem))?;
    let mut parts = tokens(path, &model, &added, &prepared, &mut notes)?;
    parts.merges = merges(path, &model, &parts.tokens, &mut notes)?;
    parts.ignore_merges = model.ignore_merges && prepared.kind == VocabKind::Bpe;
    special(&root, &config, source.special, &added, &model, &mut parts);
    finish(path, parts, vocab_size, notes)
}

/// Members of a list in `key` where `value` is a `Sequence`, else `value` alone; none for null.
fn sequence<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    match value {
        Value::Null => Vec::new(),
        _ if value["type"] == "Sequence" => value[key].as_array().into_iter().flatten().collect(),
        _ => vec![value],
    }
}

fn name(value: &Value) -> &str {
    value["type"].as_str().unwrap_or("without a type")
}

/// What normalizer and pre-tokenizer do.
fn preparation(
    root: &Value,
    model: &Model,
    added: &[Added],
    notes: &mut Vec<String>,
) -> std::result::Result<Preparation, String> {
    let pre_tokenizers = sequence(&root["pre_tokenizer"], "pretokenizers");
    let normalizers = sequence(&root["normalizer"], "normalizers");
    let byte_level = pre_tokenizers.iter().any(|pre| pre["type"] == "ByteLevel");
    if byte_level {
        for normalizer in normalizers {
            match name(normalizer) {
                "NFC" => notes.push(
                    "the tokenizer brings texts to Unicode's NFC before it encodes, siskin does not: \
                     characters that are composed already are the same"
                        .into(),
                ),
                other => return Err(format!("the tokenizer's normalizer is {other}, supported is NFC")),
            }
        }
        return Ok(Preparation {
            kind: VocabKind::Bpe,
            pre_tokenizer: byte_level_words(&pre_tokenizers)?,
            add_space_prefix: false,
        });
    }
    if normalizers.is_empty() && pre_tokenizers.is_empty() && model.is_of_characters(added) {
        if model.fuse_unk && model.unk_token.is_some() {
            notes.push("the tokenizer writes one unknown token for several unknown characters in a row, siskin one each".into());
        }
        return Ok(Preparation {
            kind: VocabKind::Char,
            pre_tokenizer: PreTokenizer::None,
            add_space_prefix: false,
        });
    }
    let mut add_space_prefix = false;
    let mut marks_spaces = false;
    for normalizer in normalizers {
        let replaces =
            |from: &str, to: &str| normalizer["pattern"]["String"] == from && normalizer["content"] == to;
        match name(normalizer) {
            "Prepend" if normalizer["prepend"] == SPACE_MARK => add_space_prefix = true,
            "Replace" if replaces(" ", SPACE_MARK) => marks_spaces = true,
            other => {
                return Err(format!(
                    "the tokenizer's normalizer is {other}, supported are Prepend and Replace of spaces by U+2581"
                ));
            }
        }
    }
    for pre in pre_tokenizers {
        match name(pre) {
            "Metaspace" if pre["replacement"].as_str().unwrap_or(SPACE_MARK) == SPACE_MARK => {
                marks_spaces = true;
                let scheme = pre["prepend_scheme"].as_str();
                add_space_prefix = match scheme {
                    None => pre["add_prefix_space"].as_bool().unwrap_or(true),
                    Some(scheme) => scheme != "never",
                };
                if add_space_prefix {
                    notes.push(
                        "the tokenizer puts a space before a text unless one stands there, siskin always"
                            .into(),
                    );
                }
            }
            other => {
                return Err(format!(
                    "the tokenizer's pre-tokenizer is {other}, supported are ByteLevel, Metaspace, and Split and Digits \
                     before ByteLevel"
                ));
            }
        }
    }
    if !marks_spaces || !(model.byte_fallback || model.unk_token.is_some()) {
        return Err("the tokenizer is neither byte-level nor SentencePiece's: \
             expected the pre-tokenizer ByteLevel, or spaces written as U+2581 and byte_fallback"
            .into());
    }
    Ok(Preparation { kind: VocabKind::SentencePiece, pre_tokenizer: PreTokenizer::None, add_space_prefix })
}

/// The patterns that cut a text for byte-level BPE.
fn byte_level_words(pre_tokenizers: &[&Value]) -> std::result::Result<PreTokenizer, String> {
    let mut patterns = Vec::new();
    for pre in pre_tokenizers {
        match name(pre) {
            "ByteLevel" if pre["add_prefix_space"] == true => {
                return Err(
                    "the tokenizer's ByteLevel adds a space before the text, which siskin does not".into()
                );
            }
            "ByteLevel" if pre["use_regex"] != false => patterns.push(GPT2.into()),
            "ByteLevel" => {}
            "Digits" if pre["individual_digits"] == true => patterns.push(r"\p{N}".into()),
            "Split" if pre["behavior"] == "Isolated" && pre["invert"] != true => {
                let pattern = pre["pattern"]["Regex"].as_str();
                patterns.push(pattern.ok_or("the tokenizer's Split has no Regex")?.to_string());
            }
            "Split" if pre["behavior"] == "Removed" && pre["invert"] == true => {
                let pattern = pre["pattern"]["Regex"].as_str();
                patterns.push(pattern.ok_or("the tokenizer's Split has no Regex")?.to_string());
            }
            other => {
                return Err(format!("the tokenizer's pre-tokenizer is {other}, which siskin does not have"));
            }
        }
    }
    from_patterns(&patterns)
        .ok_or_else(|| format!("siskin has no pre-tokenizer for the patterns {patterns:?}"))
}

/// Every token with its kind; an id without a token gets one without text.
fn tokens(
    path: &Path,
    model: &Model,
    added: &[Added],
    prepared: &Preparation,
    notes: &mut Vec<String>,
) -> Result<VocabParts> {
    let ids = model.vocab.values().copied().chain(added.iter().map(|token| token.id));
    let n = ids.max().map_or(0, |id| id as usize + 1);
    if n > 2 * (model.vocab.len() + added.len()) {
        return Err(refuse(path, format!("token ids go up to {}, expected no such gaps", n - 1)));
    }
    let mut tokens: Vec<Option<(Vec<u8>, TokenKind)>> = vec![None; n];
    let spm = prepared.kind == VocabKind::SentencePiece;
    let is_char = prepared.kind == VocabKind::Char;
    for (text, &id) in &model.vocab {
        let byte = spelled_byte(text.as_bytes()).filter(|_| spm && model.byte_fallback);
        let token = match byte {
            Some(byte) => (vec![byte], TokenKind::Byte),
            None if spm => (with_spaces(text), TokenKind::Normal),
            None if is_char => (text.clone().into_bytes(), TokenKind::Normal),
            None => (bytes::decode(text).unwrap_or_else(|| text.clone().into_bytes()), TokenKind::Normal),
        };
        if let Some((other, _)) = tokens[id as usize].replace(token) {
            let other = String::from_utf8_lossy(&other).into_owned();
            return Err(refuse(path, format!("token {id} is both {text:?} and {other:?}")));
        }
    }
    let (mut lstrip, mut rstrip) = (Vec::new(), Vec::new());
    for token in added {
        let is_unk = model.unk_token.as_ref() == Some(&token.content);
        let kind = match (is_unk, token.special) {
            (true, _) => TokenKind::Unknown,
            (_, true) => TokenKind::Control,
            _ => TokenKind::UserDefined,
        };
        tokens[token.id as usize] = Some((token.content.clone().into_bytes(), kind));
        lstrip.extend(token.lstrip.then_some(token.id));
        rstrip.extend(token.rstrip.then_some(token.id));
    }
    if let Some(token) = added.iter().find(|token| token.single_word) {
        notes.push(format!(
            "{:?} is a token within words too, the source has it as a whole word only",
            token.content
        ));
    }
    for ids in [&mut lstrip, &mut rstrip] {
        ids.sort_unstable();
        ids.dedup();
    }
    let gaps = tokens.iter().filter(|token| token.is_none()).count();
    if gaps > 0 {
        notes.push(format!("{gaps} ids have no token in the source"));
    }
    let gap = |id: usize| (format!("[PAD{id}]").into_bytes(), TokenKind::Control);
    let tokens = tokens.into_iter().enumerate().map(|(id, token)| token.unwrap_or_else(|| gap(id))).collect();
    let Preparation { kind, pre_tokenizer, add_space_prefix } = *prepared;
    Ok(VocabParts { kind, pre_tokenizer, tokens, add_space_prefix, lstrip, rstrip, ..VocabParts::default() })
}

/// The merges, without those of tokens that are looked for literally.
fn merges(
    path: &Path,
    model: &Model,
    tokens: &[(Vec<u8>, TokenKind)],
    notes: &mut Vec<String>,
) -> Result<Vec<Merge>> {
    let mut merges = Vec::with_capacity(model.merges.len());
    for (rank, line) in model.merges.iter().enumerate() {
        let id = |text: &str| model.vocab.get(text).copied();
        let merge = line.pair().and_then(|(left, right)| {
            Some(Merge { left: id(left)?, right: id(right)?, result: id(&format!("{left}{right}"))? })
        });
        merges.push(merge.ok_or_else(|| {
            let (left, right) = line.pair().unwrap_or_default();
            refuse(
                path,
                format!("merge {rank} joins {left:?} and {right:?}, expected two tokens that make a third"),
            )
        })?);
    }
    let n = merges.len();
    let is_normal = |id: u32| tokens[id as usize].1 == TokenKind::Normal;
    merges.retain(|merge| [merge.left, merge.right, merge.result].into_iter().all(is_normal));
    if merges.len() < n {
        notes.push(format!("{} merges of special tokens left out", n - merges.len()));
    }
    Ok(merges)
}

/// Who begins and ends a text.
fn special(
    root: &Value,
    config: &Value,
    ids: SpecialIds,
    added: &[Added],
    model: &Model,
    parts: &mut VocabParts,
) {
    let id_of = |text: &str| {
        let added = added.iter().find(|token| token.content == text).map(|token| token.id);
        added.or_else(|| model.vocab.get(text).copied())
    };
    let role = |key: &str| {
        let value = &config[key];
        value.as_str().or(value["content"].as_str()).and_then(id_of)
    };
    let template = sequence(&root["post_processor"], "processors")
        .into_iter()
        .find(|p| p["type"] == "TemplateProcessing");
    let begins =
        template.and_then(|template| template["single"][0]["SpecialToken"]["id"].as_str()).and_then(id_of);
    parts.special = SpecialIds {
        bos: begins.or_else(|| role("bos_token")).or(ids.bos),
        eos: role("eos_token").or(ids.eos),
        unk: model.unk_token.as_deref().and_then(id_of),
        pad: role("pad_token").or(ids.pad),
    };
    let asked = config["add_bos_token"].as_bool().unwrap_or(false);
    parts.add_bos = (begins.is_some() || asked) && parts.special.bos.is_some();
}
