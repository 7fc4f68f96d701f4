//! Which importer a file or folder is for.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::import::Import;
use crate::source::{Source, shown};
use crate::{gguf, hf, llama2c, pickle, recurrent, safetensors};

/// What the files of ggml began with before GGUF: ggml, ggmf, ggjt, as little-endian numbers.
const BEFORE_GGUF: [&[u8]; 3] = [b"lmgg", b"fmgg", b"tjgg"];

/// What a person may say about a source beyond its path.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The tokenizer's file, a `tokenizer.json` or llama2.c's `tokenizer.bin`, instead of the one beside the model.
    pub tokenizer: Option<PathBuf>,
    /// A model without a tokenizer gets one whose tokens have no text, instead of an error.
    pub placeholder_vocab: bool,
}

/// Opens a model from elsewhere: a GGUF file, a Hugging Face folder, a llama2.c checkpoint, or a recurrent checkpoint (its safetensors file or the
/// TOML file beside it). What it is is decided by its bytes.
///
/// # Errors
/// What is there is none of these, breaks its format's rules, or cannot be expressed.
pub fn open(path: &Path, options: &Options) -> Result<Import> {
    if path.is_dir() {
        return hf::open(path, options);
    }
    let source = Source::open(path)?;
    let bytes = source.bytes();
    if pickle::begins(bytes) {
        Err(Error::Pickle { path: path.to_path_buf() })
    } else if bytes.starts_with(&gguf::MAGIC) {
        match &options.tokenizer {
            Some(_) => Err(source.tokenizer("a GGUF file carries its own tokenizer; leave --tokenizer out")),
            None => gguf::open(source),
        }
    } else if safetensors::begins(bytes) {
        open_safetensors(source, options)
    } else if llama2c::begins(bytes) {
        llama2c::open(source, options)
    } else if path.extension().is_some_and(|end| end == "toml") {
        let weights = path.with_extension("safetensors");
        match weights.is_file() {
            true => recurrent::open(&weights, options),
            false => Err(source.malformed(format!(
                "the weights that it describes, {}, are not beside it",
                shown(&weights.display().to_string())
            ))),
        }
    } else if bytes.starts_with(&siskin_format::header::MAGIC) {
        let problem = "is a siskin model already; siskin-train export writes it in another dtype or format";
        Err(source.unsupported(problem))
    } else if BEFORE_GGUF.iter().any(|magic| bytes.starts_with(magic)) {
        let problem = "is a ggml file from before GGUF; convert the original model with a current llama.cpp";
        Err(source.unsupported(problem))
    } else if path.file_name().is_some_and(|name| name == "config.json") {
        Err(source.unsupported("is a model's config; name the folder that it lies in"))
    } else {
        let first = String::from_utf8_lossy(&bytes[..bytes.len().min(8)]);
        let found = format!("{} bytes that begin with \"{}\"", bytes.len(), shown(&first));
        Err(Error::UnknownSource { path: path.to_path_buf(), found })
    }
}

/// A lone safetensors file is a recurrent checkpoint if a TOML file beside it says so, and part of a folder if a `config.json` is there.
fn open_safetensors(source: Source, options: &Options) -> Result<Import> {
    let path = source.path();
    let folder = path.parent().unwrap_or(Path::new(""));
    let description = path.with_extension("toml");
    if description.is_file() {
        return recurrent::open(path, options);
    }
    if folder.join("config.json").is_file() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        return hf::open(folder, options);
    }
    Err(Error::UnknownSource {
        path: path.to_path_buf(),
        found: format!(
            "weights with neither a config.json beside them, nor the {} of a recurrent model",
            shown(&description.display().to_string())
        ),
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::{copied, golden, opened, refused};

    #[test]
    fn files_that_are_no_source_are_told_what_to_do() {
        let folder = copied(&golden("hf/llama"));
        let siskin = [&siskin_format::header::MAGIC[..], &[0; 64]].concat();
        for (name, bytes, expected) in [
            ("m.siskin", &siskin[..], "is a siskin model already; siskin-train export writes it in"),
            ("empty.gguf", b"", "the file is empty; copy or download it again"),
            ("old.bin", b"tjgg\x01\0\0\0", "is a ggml file from before GGUF; convert the original model"),
            ("lstm.toml", b"family = \"lstm\"", "lstm.safetensors, are not beside it"),
            ("cut.gguf", b"GGUF\x03\0\0\0\x01", "it is cut short or damaged, get it again"),
            (
                "noise.txt",
                b"Once upon a time there was a girl",
                "33 bytes that begin with \"Once upo\"; expected",
            ),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let line = refused(opened(&path));
            assert!(line.contains(name) && line.contains(expected), "{line:?} does not say {expected:?}");
        }
        let line = refused(opened(&folder.path().join("config.json")));
        assert!(line.ends_with("is a model's config; name the folder that it lies in"), "{line}");
    }
}
