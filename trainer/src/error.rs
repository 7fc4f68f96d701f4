//! What can go wrong in the trainer, as one line each: what was found, what was expected, what to do.

use std::fmt;
use std::path::{Path, PathBuf};

/// Result of the trainer's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in the trainer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    Io {
        /// What was being done: "read", "write", "create".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A settings file is not TOML, or holds a key or a value that is not known.
    Settings(String),
    /// A setting has a value that cannot work.
    Setting {
        /// The setting, as in a settings file.
        key: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The model that the settings describe cannot be built.
    Config(siskin_format::ConfigError),
    /// The text cannot be trained on.
    Data(String),
    /// The loss or a gradient became NaN or infinite, or the loss jumped.
    Diverged(String),
    /// A run folder or a checkpoint cannot be used.
    Run(String),
    /// A file is not a complete checkpoint.
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: crate::checkpoint::Damage,
    },
    /// A model from elsewhere cannot be read.
    Import(siskin_convert::Error),
    /// A model file could not be written or measured.
    Export(String),
}

impl Error {
    /// An [`Error::Io`], for `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { action, path, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { action, path, source } => write!(f, "cannot {action} {}: {source}", path.display()),
            Error::Setting { key, problem } => write!(f, "{key}: {problem}"),
            Error::Config(source) => write!(f, "the model cannot be built: {source}"),
            Error::Import(source) => source.fmt(f),
            Error::Checkpoint { path, damage } => write!(f, "{} is no checkpoint: {damage}", path.display()),
            Error::Settings(line)
            | Error::Data(line)
            | Error::Diverged(line)
            | Error::Run(line)
            | Error::Export(line) => f.write_str(line),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Config(source) => Some(source),
            Error::Import(source) => Some(source),
            _ => None,
        }
    }
}

impl From<siskin_format::Error> for Error {
    fn from(source: siskin_format::Error) -> Self {
        Error::Export(source.to_string())
    }
}

impl From<siskin_convert::Error> for Error {
    fn from(source: siskin_convert::Error) -> Self {
        Error::Import(source)
    }
}
impl From<siskin_format::ConfigError> for Error {
    fn from(source: siskin_format::ConfigError) -> Self {
        Error::Config(source)
    }
}
