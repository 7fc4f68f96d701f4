//! The bytes of a source, read at checked places.

use siskin_format::mmap::Mapped;
use siskin_format::receipt::Origin;
use siskin_format::xxh64::xxh64;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A mapped file and where it lies.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    bytes: Mapped,
}

impl Source {
    /// Maps the file.
    pub(crate) fn open(path: &Path) -> Result<Source> {
        let bytes = Mapped::open(path).map_err(|error| match error {
            siskin_format::Error::Io { source, .. } => Error::io("open", path)(source),
            other => Error::Malformed { path: path.to_path_buf(), problem: other.to_string() },
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
        Error::Tensor { path: self.path.clone(), name: name.to_string(), problem: problem.into() }
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
