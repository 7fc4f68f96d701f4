//! Where the vocabulary of a model from elsewhere is found.

use siskin_format::vocab::{MAX_TOKENS, SpecialIds, TokenKind, Vocab, VocabKind, VocabParts};
use std::path::Path;

use crate::chat;
use crate::error::{Error, Result};
use crate::open::Options;
use crate::source::{Source, json, shown_error, text, tokenizer_text};
use crate::tokenizer::{Converted, JsonTokenizer, from_gpt2_merges, from_json, from_llama2c, misfit};
use crate::{gguf, pickle, safetensors};

/// What is expected of a tokenizer's file.
const EXPECTED: &str = "expected a tokenizer.json, llama2.c's tokenizer.bin or GPT-2's merges.txt";

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
        return Err(misfit(path, &format!("{} tokens", vocab.len()), rows));
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
    match other_kind(path, source.bytes()) {
        Some(kind) => Err(source.tokenizer(format!("is {kind}, {EXPECTED}"))),
        None => from_llama2c(path, source.bytes(), rows),
    }
}

/// What a file is that is none of a tokenizer's forms, as far as that shows.
fn other_kind(path: &Path, bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        _ if path.extension().is_some_and(|end| end == "model") => {
            Some("SentencePiece's own form, which transformers' save_pretrained writes as tokenizer.json")
        }
        _ if pickle::begins(bytes) => Some("pickled Python"),
        _ if bytes.starts_with(&gguf::MAGIC) => Some("a GGUF file"),
        _ if bytes.starts_with(&siskin_format::header::MAGIC) => Some("a siskin model"),
        _ if safetensors::begins(bytes) => Some("a safetensors file"),
        // A tokenizer.bin has the length of its longest token first, whose last bytes are zeros.
        _ if bytes.len() < 4 || bytes[2..4] != [0, 0] => Some("no tokenizer that siskin knows"),
        _ => None,
    }
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
        let hint = match path.with_file_name("tokenizer.model").is_file() {
            true => {
                "; the tokenizer.model beside it is SentencePiece's own form, which transformers' save_pretrained writes as \
                 tokenizer.json"
            }
            false => "",
        };
        return Err(error(format!(
            "there is no such file; name the model's tokenizer with --tokenizer FILE{hint}"
        )));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{copied, golden, line, refused};

    fn with_tokenizer(path: &Path) -> String {
        let options = Options { tokenizer: Some(path.to_path_buf()), ..Options::default() };
        refused(crate::open(&golden("llama2c/v1.bin"), &options))
    }

    #[test]
    fn what_is_no_tokenizer_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let siskin = [&siskin_format::header::MAGIC[..], &[0; 64]].concat();
        let long = [&5i32.to_le_bytes()[..], &0f32.to_le_bytes(), &5000i32.to_le_bytes()].concat();
        let short = [&5i32.to_le_bytes()[..], &0f32.to_le_bytes(), &1i32.to_le_bytes(), b"a"].concat();
        for (name, bytes, expected) in [
            ("a.pt", &b"PK\x03\x04archive/data.pkl"[..], "is pickled Python, expected a tokenizer.json"),
            ("a.gguf", b"GGUF\x03\0\0\0", "is a GGUF file, expected a tokenizer.json"),
            ("a.siskin", &siskin, "is a siskin model, expected a tokenizer.json"),
            ("tokenizer.model", b"\n\x0e\n\x05<unk>", "is SentencePiece's own form"),
            ("a.bin", b"Once upon a time", "is no tokenizer that siskin knows, expected a tokenizer.json"),
            ("b.bin", &long, "token 0 is 5000 bytes long, expected 1 to 1024; is it a tokenizer.bin"),
            ("c.bin", &short, "1 tokens, but the embedding has 40 rows; take the tokenizer that came"),
            ("empty.bin", b"", "the file is empty"),
            ("config.json", b"{\"vocab_size\": 40}", "is JSON without a tokenizer's \"model\""),
            ("merges.txt", b"#version: 0.2\nh e\n", "258 tokens, but the embedding has 40 rows"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let line = with_tokenizer(&path);
            assert!(line.contains(name) && line.contains(expected), "{line:?} does not say {expected:?}");
        }
        let weights = golden("recurrent/lstm.safetensors");
        assert!(with_tokenizer(&weights).contains("is a safetensors file, expected a tokenizer.json"));
        assert!(with_tokenizer(folder.path()).ends_with(": is a directory, expected a file"));
    }

    #[test]
    fn a_folder_with_sentencepieces_own_form_is_told_what_to_do() {
        let folder = copied(&golden("hf/llama"));
        let error = || crate::open(folder.path(), &Options::default()).map(|_| ()).unwrap_err();
        assert!(!line(&error()).contains("save_pretrained"));
        std::fs::write(folder.path().join("tokenizer.model"), b"\n\x0e\n\x05<unk>").unwrap();
        assert!(line(&error()).contains("save_pretrained"));
    }
}
