//! What can go wrong in the trainer, said in one line each.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// `Result` with the trainer's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Every failure of the trainer: what was found, what was expected, what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused `action` on `path`.
    Io {
        /// What was tried, as a verb: "read", "write", "rename".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A setting has a value it cannot have.
    Setting {
        /// The setting's name as the user writes it, such as `optim.beta1`.
        key: String,
        /// The value that was given.
        found: String,
        /// What would be accepted.
        expected: String,
    },
}

impl Error {
    /// An [`Error::Io`], for `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// An [`Error::Setting`].
    pub fn setting(key: impl Into<String>, found: impl fmt::Display, expected: impl Into<String>) -> Error {
        Error::Setting { key: key.into(), found: found.to_string(), expected: expected.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { action, path, source } => write!(f, "cannot {action} {}: {source}", path.display()),
            Error::Setting { key, found, expected } => write!(f, "{key} is {found}, expected {expected}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Setting { .. } => None,
        }
    }
}
