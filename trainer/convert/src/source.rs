//! The bytes of a source, read at checked places.

use serde::de::DeserializeOwned;
use siskin_format::mmap::Mapped;
use siskin_format::receipt::Origin;
use siskin_format::xxh64::xxh64;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Largest config, index or description, bytes; parsed, it takes a multiple of that.
const MAX_SMALL: usize = 8 << 20;
/// Largest tokenizer, bytes.
const MAX_TOKENIZER: usize = 128 << 20;

/// A mapped file and where it lies.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    bytes: Mapped,
}

impl Source {
    /// Maps the file.
    pub(crate) fn open(path: &Path) -> Result<Source> {
        let malformed = |problem| Error::Malformed { path: path.to_path_buf(), problem };
        let bytes = Mapped::open(path).map_err(|error| match error {
            siskin_format::Error::Io { source, .. } => Error::io("open", path)(source),
            siskin_format::Error::Empty => malformed("the file is empty; copy or download it again".into()),
            siskin_format::Error::NotAFile { kind, .. } => malformed(format!("is {kind}, expected a file")),
            other => malformed(other.to_string()),
        })?;
        Ok(Source { path: path.to_path_buf(), bytes })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// `len` bytes from `at`, if they are there.
    pub(crate) fn get(&self, at: u64, len: u64) -> Option<&[u8]> {
        let (at, len) = (usize::try_from(at).ok()?, usize::try_from(len).ok()?);
        self.bytes.get(at..at.checked_add(len)?)
    }

    /// An [`Error::Malformed`] of this file.
    pub(crate) fn malformed(&self, problem: impl Into<String>) -> Error {
        Error::Malformed { path: self.path.clone(), problem: problem.into() }
    }

    /// An [`Error::Unsupported`] of this file.
    pub(crate) fn unsupported(&self, problem: impl Into<String>) -> Error {
        Error::Unsupported { path: self.path.clone(), problem: problem.into() }
    }

    /// An [`Error::Tensor`] of this file.
    pub(crate) fn tensor(&self, name: &str, problem: impl Into<String>) -> Error {
        Error::Tensor { path: self.path.clone(), name: shown(name), problem: problem.into() }
    }

    /// An [`Error::Tokenizer`] of this file.
    pub(crate) fn tokenizer(&self, problem: impl Into<String>) -> Error {
        Error::Tokenizer { path: self.path.clone(), problem: problem.into() }
    }

    /// What the receipt says of it. Reads all of it.
    pub(crate) fn origin(&self) -> Origin {
        let name = self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Origin { name, hash: xxh64(&self.bytes) }
    }
}

/// The JSON of a small file.
pub(crate) fn json<T: DeserializeOwned>(source: &Source) -> Result<T> {
    serde_json::from_slice(within(source, MAX_SMALL)?)
        .map_err(|e| source.malformed(format!("wrong JSON: {}", shown_error(&e))))
}

/// The text of a small file.
pub(crate) fn text(source: &Source) -> Result<&str> {
    utf8(source, within(source, MAX_SMALL)?)
}

/// The text of a tokenizer.
pub(crate) fn tokenizer_text(source: &Source) -> Result<&str> {
    utf8(source, within(source, MAX_TOKENIZER)?)
}

fn utf8<'a>(source: &Source, bytes: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|e| source.malformed(format!("not UTF-8: {e}")))
}

fn within(source: &Source, most: usize) -> Result<&[u8]> {
    match source.bytes() {
        bytes if bytes.len() <= most => Ok(bytes),
        bytes => Err(source.malformed(format!("{} bytes, expected at most {most}", bytes.len()))),
    }
}

/// A name or a value out of a file, short and in one line.
pub(crate) fn shown(name: &str) -> String {
    const MOST: usize = 100;
    let mut line = String::new();
    for c in name.chars().take(MOST) {
        match c {
            '"' | '\'' => line.push(c), // nothing that shows a name takes them for its end
            c => line.extend(c.escape_debug()),
        }
    }
    if name.chars().nth(MOST).is_some() {
        line.push('…');
    }
    line
}

/// What a parser says of a file, which may quote it, in one line.
pub(crate) fn shown_error(error: &dyn std::fmt::Display) -> String {
    const MOST: usize = 300;
    let text = error.to_string();
    let line: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim_end().to_string()
}
