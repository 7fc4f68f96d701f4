//! What can go wrong with a model from elsewhere, as one line each: where, what was found, what was expected.

use std::fmt;
use std::path::{Path, PathBuf};

/// Result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with a model from elsewhere.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    Io {
        /// What was being done: "read", "write", "map".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is pickled Python, which may run code when it is read.
    Pickle {
        /// The file.
        path: PathBuf,
    },
    /// No importer knows what this is.
    UnknownSource {
        /// The file or folder.
        path: PathBuf,
        /// What was found there.
        found: String,
    },
    /// A file breaks the rules of its own format.
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found where, and what was expected.
        problem: String,
    },
    /// A file is what it claims to be, but siskin cannot express it: an architecture, a block type, a pre-tokenizer.
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What was found, and what is supported.
        problem: String,
    },
    /// A tensor is missing, or has another shape or type than the config asks for.
    Tensor {
        /// The file.
        path: PathBuf,
        /// Its name in the source.
        name: String,
        /// What was found, and what was expected.
        problem: String,
    },
    /// The tokenizer does not fit the model, or cannot be expressed.
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What was found, and what was expected.
        problem: String,
    },
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
            Error::Pickle { path } => write!(
                f,
                "{} is pickled Python, which may run code when it is read, and is not opened; save the weights as safetensors: \
                 in Python, `safetensors.torch.save_file(torch.load(FILE, weights_only=True), \"model.safetensors\")`",
                path.display()
            ),
            Error::UnknownSource { path, found } => write!(
                f,
                "{}: {found}; expected a GGUF file, a llama2.c .bin, a folder with config.json and safetensors, or a recurrent model's \
                 .safetensors with its .toml",
                path.display()
            ),
            Error::Malformed { path, problem }
            | Error::Unsupported { path, problem }
            | Error::Tokenizer { path, problem } => write!(f, "{}: {problem}", path.display()),
            Error::Tensor { path, name, problem } => {
                write!(f, "{}: tensor {name}: {problem}", path.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
