//! Where the vocabulary of a model from elsewhere is found.

use siskin_format::vocab::{MAX_TOKENS, SpecialIds, TokenKind, Vocab, VocabKind, VocabParts};
use std::path::Path;

use crate::chat;
use crate::error::{Error, Result};
use crate::open::Options;
use crate::source::{Source, json, shown_error, text, tokenizer_text};
use crate::tokenizer::{Converted, JsonTokenizer, from_gpt2_merges, from_json, from_llama2c};

/// The vocabulary of a model whose embedding has `rows` rows: from the file that the options name, else from `beside`. `special` are the ids of
/// its marks as far as the model's own config says.
///
/// # Errors
/// There is none, it cannot be expressed, or it has more tokens than the embedding has rows.
pub(crate) fn of(
    beside: &Path,
    options: &Options,
    rows: usize,
    special: SpecialIds,
    notes: &mut Vec<String>,
) -> Result<Vocab> {
    let path = options.tokenizer.as_deref().unwrap_or(beside);
    if options.tokenizer.is_none() && !path.is_file() {
        return absent(path, options, rows, special, notes);
    }
    let one_line = |error| match error {
        Error::Tokenizer { path, problem } => Error::Tokenizer { path, problem: shown_error(&problem) },
        other => other,
    };
    let Converted { vocab, notes: found } = read(path, rows, special).map_err(one_line)?;
    if vocab.len() != rows {
        let problem = format!("{} tokens, but the embedding has {rows} rows", vocab.len());
        return Err(Error::Tokenizer { path: path.to_path_buf(), problem });
    }
    notes.extend(found);
    Ok(vocab)
}

/// Reads a tokenizer's file: JSON begins with a brace, GPT-2's merges are a text, and llama2.c's file begins with a small number.
fn read(path: &Path, rows: usize, special: SpecialIds) -> Result<Converted> {
    let source = Source::open(path)?;
    let first = source.bytes().iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'{') {
        let beside = path.with_file_name("tokenizer_config.json");
        let about = beside.is_file().then(|| Source::open(&beside)).transpose()?;
        let config = about.as_ref().map(text).transpose()?;
        let json = JsonTokenizer { tokenizer: tokenizer_text(&source)?, config, special };
        let Converted { vocab, mut notes } = from_json(path, &json, rows)?;
        let vocab = with_chat(path, about.as_ref(), vocab, &mut notes)?;
        return Ok(Converted { vocab, notes });
    }
    if path.extension().is_some_and(|end| end == "txt") {
        return from_gpt2_merges(path, tokenizer_text(&source)?);
    }
    from_llama2c(path, source.bytes(), rows)
}

/// The vocabulary with the chat template of `chat_template.jinja` or `tokenizer_config.json` beside the tokenizer, if there is one.
fn with_chat(path: &Path, about: Option<&Source>, vocab: Vocab, notes: &mut Vec<String>) -> Result<Vocab> {
    let about: serde_json::Value = about.map_or(Ok(serde_json::Value::Null), json)?;
    let beside = path.with_file_name("chat_template.jinja");
    let file = beside.is_file().then(|| Source::open(&beside)).transpose()?;
    let program = match &file {
        Some(source) => Some(text(source)?),
        None => about["chat_template"].as_str(),
    };
    let Some(program) = program else { return Ok(vocab) };
    let token = |id: Option<u32>| id.and_then(|id| vocab.token(id)).and_then(|t| std::str::from_utf8(t).ok());
    let said = |key: &str| about[key].as_str().or_else(|| about[key]["content"].as_str());
    let special = vocab.special();
    let bos = said("bos_token").or(token(special.bos)).unwrap_or("").to_string();
    let eos = said("eos_token").or(token(special.eos)).unwrap_or("").to_string();
    chat::with_template(path, program, vocab, (&bos, &eos), notes)
}

/// A vocabulary of tokens without text, if the options allow it.
fn absent(
    path: &Path,
    options: &Options,
    rows: usize,
    special: SpecialIds,
    notes: &mut Vec<String>,
) -> Result<Vocab> {
    let error = |problem: String| Error::Tokenizer { path: path.to_path_buf(), problem };
    if !options.placeholder_vocab {
        return Err(error(
            "there is no such file; name the model's tokenizer with --tokenizer FILE".to_string(),
        ));
    }
    if rows > MAX_TOKENS {
        return Err(error(format!("a vocabulary of {rows} tokens, expected at most {MAX_TOKENS}")));
    }
    notes.push("there is no tokenizer: the tokens have no text, and only ids can be fed".to_string());
    let tokens = (0..rows).map(|id| (format!("[{id}]").into_bytes(), TokenKind::Control)).collect();
    // Without a bos: what is fed is fed as it is.
    let special = SpecialIds { bos: None, ..special };
    let parts = VocabParts { kind: VocabKind::Char, tokens, special, ..VocabParts::default() };
    Vocab::new(parts).map_err(|e| error(e.to_string()))
}
