//! What the tests of several importers need.

pub(crate) mod models;

use siskin_format::{ModelConfig, schema};
use std::path::{Path, PathBuf};

use crate::{Error, Import, Options, open};

/// A file of `tests/goldens/import`.
pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/import").join(name)
}

/// A tensor of a safetensors file: name, dtype, shape, bytes.
pub(crate) type Part = (String, &'static str, Vec<usize>, Vec<u8>);

/// A tensor of f32.
pub(crate) fn part(name: &str, shape: &[usize], values: impl Fn(usize) -> f32) -> Part {
    let bytes = (0..shape.iter().product()).flat_map(|i| values(i).to_le_bytes()).collect();
    (name.to_string(), "F32", shape.to_vec(), bytes)
}

/// A safetensors file of these tensors, in this order.
pub(crate) fn safetensors(parts: &[Part]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in parts {
        let from = data.len();
        data.extend(bytes);
        let entry = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [from, data.len()] });
        assert!(header.insert(name.clone(), entry).is_none(), "{name} twice");
    }
    with_header(&serde_json::Value::Object(header).to_string(), &data)
}

/// A safetensors file of any header and data.
pub(crate) fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// The tensors of a safetensors file.
pub(crate) fn parts_of(path: &Path) -> Vec<Part> {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let data = &bytes[8 + length..];
    let number = |value: &serde_json::Value| value.as_u64().unwrap() as usize;
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
    let part = |(name, entry): (String, serde_json::Value)| {
        let shape = entry["shape"].as_array().unwrap().iter().map(number).collect();
        let (from, to) = (number(&entry["data_offsets"][0]), number(&entry["data_offsets"][1]));
        let dtype = ["F32", "F16", "BF16"].into_iter().find(|d| entry["dtype"] == *d).unwrap();
        (name, dtype, shape, data[from..to].to_vec())
    };
    tensors.map(part).collect()
}

/// Copies a folder's files.
pub(crate) fn copied(from: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

/// Opens a model that has no tokenizer.
pub(crate) fn opened(path: &Path) -> Result<Import, Error> {
    open(path, &Options { placeholder_vocab: true, ..Options::default() })
}

/// Tensors of the schema by name.
pub(crate) type Tensors = Vec<(String, Vec<f32>)>;

/// Opens a model and decodes everything.
pub(crate) fn decoded(path: &Path) -> Result<(ModelConfig, Tensors), Error> {
    let mut import = opened(path)?;
    let read = |spec: siskin_format::TensorSpec| {
        let values = import.weights.read(&spec)?;
        assert_eq!(values.len(), spec.len(), "{}", spec.name);
        Ok((spec.name, values))
    };
    let tensors = schema(&import.config).into_iter().map(read).collect::<Result<_, Error>>()?;
    Ok((import.config, tensors))
}

/// An error's text, which has to be one line of bearable length and to name a file.
pub(crate) fn line(error: &Error) -> String {
    let line = error.to_string();
    assert!(!line.chars().any(char::is_control), "{line:?} is not one line");
    assert!(line.chars().count() < 600, "{line:?} is too long");
    line
}

/// The line of what has to be refused.
pub(crate) fn refused<T>(found: Result<T, Error>) -> String {
    match found {
        Ok(_) => panic!("expected a refusal"),
        Err(error) => line(&error),
    }
}
