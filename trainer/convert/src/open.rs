//! Which importer a file or folder is for.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::gguf;
use crate::import::Import;
use crate::source::Source;

/// What a person may say about a source beyond its path.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The tokenizer's file, a `tokenizer.json` or llama2.c's `tokenizer.bin`, instead of the one beside the model.
    pub tokenizer: Option<PathBuf>,
    /// A model without a tokenizer gets one whose tokens have no text, instead of an error.
    pub placeholder_vocab: bool,
}

/// Opens a model from elsewhere. What it is is decided by its bytes.
///
/// # Errors
/// What is there is of no known kind, breaks its format's rules, or cannot be expressed.
pub fn open(path: &Path, _options: &Options) -> Result<Import> {
    let source = Source::open(path)?;
    let bytes = source.bytes();
    if bytes.starts_with(&gguf::MAGIC) {
        gguf::open(source)
    } else {
        let found = format!("{} bytes that begin with {:02x?}", bytes.len(), &bytes[..bytes.len().min(4)]);
        Err(Error::UnknownSource { path: path.to_path_buf(), found })
    }
}
