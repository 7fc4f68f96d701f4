//! The TOML file that says of a recurrent checkpoint what its tensors do not.

use serde::Deserialize;
use siskin_format::config::Activation;
use siskin_format::vocab::{SpecialIds, TokenKind, Vocab, VocabKind, VocabParts};

use crate::error::{Error, Result};
use crate::source::{Source, shown_error, text};

/// The file's keys; `docs/import.md` explains them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    pub(super) family: Family,
    /// What the names of the recurrent tensors begin with, one module or several on top of each other; found if it is left out.
    pub(super) prefix: Option<OneOrMany>,
    /// The embedding's tensor, or "one-hot".
    pub(super) embedding: String,
    /// The head's weight.
    pub(super) head: String,
    /// The head's bias; none if it is left out.
    pub(super) head_bias: Option<String>,
    /// Nonlinearity of an Elman network.
    #[serde(default)]
    pub(super) activation: Nonlinearity,
    /// Window of truncated backpropagation, for training on.
    #[serde(default = "usual_context")]
    pub(super) context: usize,
    /// Tokens in the order of their ids: strings of a code point, names of marks, or numbers of bytes. A tokenizer file if it is left out.
    pub(super) tokens: Option<Vec<Token>>,
    /// Begins a text: a token's name.
    pub(super) bos: Option<String>,
    /// Ends a text: a token's name.
    pub(super) eos: Option<String>,
    /// Stands for other characters: a token's name.
    pub(super) unk: Option<String>,
    /// Fills a batch: a token's name.
    pub(super) pad: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Family {
    Rnn,
    Gru,
    Lstm,
}

/// PyTorch's `nonlinearity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Nonlinearity {
    #[default]
    Tanh,
    Relu,
    LeakyRelu,
}

impl From<Nonlinearity> for Activation {
    fn from(of: Nonlinearity) -> Activation {
        match of {
            Nonlinearity::Tanh => Activation::Tanh,
            Nonlinearity::Relu => Activation::Relu,
            Nonlinearity::LeakyRelu => Activation::LeakyRelu,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a string or a list of strings")]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a string, or the number of a byte")]
pub(super) enum Token {
    Byte(u8),
    Text(String),
}

fn usual_context() -> usize {
    256
}

/// Reads the file.
pub(super) fn read(source: &Source) -> Result<Description> {
    toml::from_str(text(source)?).map_err(|e| {
        let line = e.span().map(|span| line_of(source.bytes(), span.start));
        let at = line.map_or(String::new(), |line| format!("line {line}: "));
        source.malformed(format!("{at}{}", shown_error(&e.message())))
    })
}

fn line_of(bytes: &[u8], at: usize) -> usize {
    1 + bytes[..at.min(bytes.len())].iter().filter(|&&b| b == b'\n').count()
}

impl Description {
    /// The vocabulary, where the file lists its tokens: one of bytes, or one of code points and marks.
    pub(super) fn vocab(&self, source: &Source) -> Result<Option<Vocab>> {
        let Some(tokens) = &self.tokens else { return Ok(None) };
        let is_bytes = tokens.iter().any(|token| matches!(token, Token::Byte(_)));
        let unk = self.unk.as_deref();
        let parts = tokens.iter().map(|token| match token {
            Token::Byte(byte) => (vec![*byte], TokenKind::Byte),
            Token::Text(text) => (text.clone().into_bytes(), kind(text, unk, is_bytes)),
        });
        let id = |role: &str, name: &Option<String>| {
            let Some(name) = name else { return Ok(None) };
            let at = tokens.iter().position(|token| *token == Token::Text(name.clone()));
            let none = || error(source, format!("{role} is {name:?}, which is none of the tokens"));
            at.map(|at| Some(at as u32)).ok_or_else(none)
        };
        let (bos, eos, unk) = (id("bos", &self.bos)?, id("eos", &self.eos)?, id("unk", &self.unk)?);
        let special = SpecialIds { bos, eos, unk, pad: id("pad", &self.pad)? };
        let kind = if is_bytes { VocabKind::Byte } else { VocabKind::Char };
        let parts = VocabParts { kind, tokens: parts.collect(), special, ..VocabParts::default() };
        Vocab::new(parts).map(Some).map_err(|e| error(source, e.to_string()))
    }
}

/// A string of one code point stands for it; a longer one is the name of a mark.
fn kind(text: &str, unk: Option<&str>, is_bytes: bool) -> TokenKind {
    match text {
        text if unk == Some(text) => TokenKind::Unknown,
        text if text.chars().count() == 1 && !is_bytes => TokenKind::Normal,
        _ => TokenKind::Control,
    }
}

fn error(source: &Source, problem: String) -> Error {
    source.tokenizer(shown_error(&problem))
}
