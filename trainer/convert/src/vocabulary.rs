//! The vocabulary of a model from elsewhere: where it is found, and whether it fits the embedding.

use siskin_format::vocab::{MAX_TOKENS, TokenKind, Vocab, VocabKind, VocabParts};
use std::path::Path;

use crate::error::{Error, Result};
use crate::open::Options;
use crate::source::Source;

/// The vocabulary of a model whose embedding has `rows` rows: from the file that the options name, else from `beside`. One with fewer tokens is
/// padded, as embeddings are to a multiple of something.
///
/// # Errors
/// There is none, it cannot be read, or it has more tokens than the embedding has rows.
pub(crate) fn of(beside: &Path, options: &Options, rows: usize, notes: &mut Vec<String>) -> Result<Vocab> {
    let path = options.tokenizer.as_deref().unwrap_or(beside);
    if options.tokenizer.is_none() && !path.is_file() {
        return absent(path, options, rows, notes);
    }
    fitted(read(path)?, path, rows, notes)
}

/// Reads a tokenizer's file, whichever kind it is.
pub(crate) fn read(path: &Path) -> Result<Vocab> {
    let _ = Source::open(path)?;
    Err(Error::Tokenizer { path: path.to_path_buf(), problem: "this file".into() })
}

fn absent(path: &Path, options: &Options, rows: usize, notes: &mut Vec<String>) -> Result<Vocab> {
    let error = |problem: String| Error::Tokenizer { path: path.to_path_buf(), problem };
    if !options.placeholder_vocab {
        return Err(error(
            "there is no such file; name the model's tokenizer with --tokenizer FILE".to_string(),
        ));
    }
    notes.push("there is no tokenizer: the tokens have no text, and only ids can be fed".to_string());
    let mut parts = VocabParts { kind: VocabKind::Char, ..VocabParts::default() };
    pad(&mut parts, path, rows)?;
    Vocab::new(parts).map_err(|e| error(e.to_string()))
}

/// The vocabulary with as many tokens as the embedding has rows.
pub(crate) fn fitted(vocab: Vocab, path: &Path, rows: usize, notes: &mut Vec<String>) -> Result<Vocab> {
    let error = |problem: String| Error::Tokenizer { path: path.to_path_buf(), problem };
    let found = vocab.len();
    if found == rows {
        return Ok(vocab);
    }
    if found > rows {
        return Err(error(format!(
            "{found} tokens, but the embedding has only {rows} rows; it belongs to another model"
        )));
    }
    let mut parts = parts(&vocab);
    pad(&mut parts, path, rows)?;
    notes.push(format!(
        "the tokenizer has {found} tokens and the embedding {rows} rows; {} rows got tokens without text",
        rows - found
    ));
    Vocab::new(parts).map_err(|e| error(e.to_string()))
}

/// Gives a vocabulary the ids of its marks where it does not name them itself.
///
/// # Errors
/// There is no such token.
pub(crate) fn with_roles(vocab: Vocab, bos: Option<u32>, eos: Option<u32>, source: &Source) -> Result<Vocab> {
    let mut special = vocab.special();
    special.bos = special.bos.or(bos);
    special.eos = special.eos.or(eos);
    if special == vocab.special() {
        return Ok(vocab);
    }
    Vocab::new(VocabParts { special, ..parts(&vocab) }).map_err(|e| source.malformed(e.to_string()))
}

/// What a vocabulary is made of, to make another of it.
pub(crate) fn parts(vocab: &Vocab) -> VocabParts {
    VocabParts {
        kind: vocab.kind(),
        pre_tokenizer: vocab.pre_tokenizer(),
        tokens: vocab.tokens().map(|(bytes, kind)| (bytes.to_vec(), kind)).collect(),
        scores: vocab.scores().map(<[f32]>::to_vec),
        merges: vocab.merges().to_vec(),
        special: vocab.special(),
        add_bos: vocab.add_bos(),
        add_space_prefix: vocab.add_space_prefix(),
        ignore_merges: vocab.ignore_merges(),
        lstrip: vocab.lstrip().to_vec(),
        rstrip: vocab.rstrip().to_vec(),
        chat: vocab.chat().cloned(),
    }
}

/// Adds control tokens up to `rows`, named by their ids.
fn pad(parts: &mut VocabParts, path: &Path, rows: usize) -> Result<()> {
    if rows > MAX_TOKENS {
        let problem = format!("a vocabulary of {rows} tokens, expected at most {MAX_TOKENS}");
        return Err(Error::Tokenizer { path: path.to_path_buf(), problem });
    }
    for id in parts.tokens.len()..rows {
        parts.tokens.push((format!("<|siskin:{id}|>").into_bytes(), TokenKind::Control));
    }
    if let Some(scores) = &mut parts.scores {
        scores.resize(rows, 0.0);
    }
    Ok(())
}
