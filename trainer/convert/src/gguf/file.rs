//! The frame of a GGUF file: header, metadata, tensor directory.
//!
//! Layout (versions 2 and 3, little-endian): `GGUF`, `u32` version, `u64` tensors, `u64` keys; then the keys, each a string, a type and a
//! value; then the directory, for each tensor a name, `u32` dimensions, their `u64` sizes (columns first), `u32` block type and
//! `u64` offset; then, at the next multiple of the alignment, the tensors' bytes, which the offsets count from. A string is a
//! `u64` length and so many bytes.

use std::collections::{HashMap, HashSet};

use super::blocks::{self, BlockType};
use super::cursor::{CUT, Cursor};
use super::value::{Array, Value, show};
use crate::error::Error;

/// What a GGUF file begins with.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";
/// The key of the alignment, and what it is without the key.
pub(super) const ALIGNMENT_KEY: &str = "general.alignment";
pub(super) const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 20;
/// Most keys and tensors; models of a thousand blocks have some 10,000 tensors.
const MAX_KEYS: u64 = 1 << 16;
const MAX_TENSORS: u64 = 1 << 16;
const MAX_KEY_LEN: usize = 65_535;
const MAX_NAME_LEN: usize = 64;
const MAX_DIMS: u32 = 4;
/// Bytes of the smallest key (name of one byte, one-byte value) and of the smallest tensor (name of one byte, one dimension).
const MIN_KEY_BYTES: u64 = 8 + 1 + 4 + 1;
const MIN_TENSOR_BYTES: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// What is wrong with a file.
#[derive(Debug)]
pub(crate) enum Problem {
    /// It breaks the format's rules.
    Malformed(String),
    /// It is sound, but of a kind that is not read.
    Unsupported(String),
    /// A tensor of the directory.
    Tensor(String, String),
    /// The tokenizer does not fit, or cannot be expressed.
    Tokenizer(String),
    /// An error that names the file already.
    Other(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem::Other(error)
    }
}

impl From<String> for Problem {
    fn from(problem: String) -> Problem {
        Problem::Malformed(problem)
    }
}

/// A tensor of the directory: its bytes are known to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TensorInfo {
    pub(crate) name: String,
    /// Columns first; between 1 and 4 sizes, none 0.
    pub(crate) dims: Vec<u64>,
    pub(crate) kind: BlockType,
    /// From the file's start.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl TensorInfo {
    /// `[rows, cols]` with the columns last, as everywhere else, for messages.
    pub(crate) fn shape(&self) -> String {
        let dims: Vec<String> = self.dims.iter().rev().map(u64::to_string).collect();
        format!("[{}]", dims.join(", "))
    }
}

/// Metadata and directory of a file.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    values: HashMap<&'a str, Value<'a>>,
    pub(crate) tensors: Vec<TensorInfo>,
    /// Bytes behind the last tensor that nothing names.
    pub(crate) trailing: u64,
}

impl<'a> Frame<'a> {
    /// Reads and checks everything but the weights.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Frame<'a>, Problem> {
        let mut cursor = Cursor::new(bytes);
        check_version(&mut cursor)?;
        let n_tensors = count(&mut cursor, "tensors", MAX_TENSORS)?;
        let n_keys = count(&mut cursor, "metadata keys", MAX_KEYS)?;
        let needed = n_keys * MIN_KEY_BYTES + n_tensors * MIN_TENSOR_BYTES; // at most 2^16 of either
        if needed > cursor.left() as u64 {
            return Err(format!(
                "the header claims {n_keys} metadata keys and {n_tensors} tensors, which need {needed} bytes at least, \
                 but {} are left; {CUT}",
                cursor.left()
            )
            .into());
        }
        let values = read_values(&mut cursor, n_keys)?;
        let mut frame = Frame { values, tensors: Vec::new(), trailing: 0 };
        let alignment = frame.alignment()?;
        let mut seen = HashSet::new();
        for at in 0..n_tensors {
            let tensor = read_tensor(&mut cursor, alignment).map_err(|problem| match problem {
                Problem::Malformed(e) => Problem::Malformed(format!("tensor {at} of {n_tensors}: {e}")),
                other => other,
            })?;
            if !seen.insert(tensor.name.clone()) {
                return Err(Problem::Tensor(tensor.name, "stands in the directory twice".to_string()));
            }
            frame.tensors.push(tensor);
        }
        frame.place(cursor.at() as u64, alignment, bytes.len() as u64)?;
        Ok(frame)
    }

    fn alignment(&self) -> Result<u64, Problem> {
        match self.values.get(ALIGNMENT_KEY) {
            None => Ok(DEFAULT_ALIGNMENT),
            Some(&Value::Unsigned(a)) if a.is_power_of_two() && (8..=MAX_ALIGNMENT).contains(&a) => Ok(a),
            Some(other) => Err(format!(
                "{ALIGNMENT_KEY} is {}, expected a power of two from 8 to {MAX_ALIGNMENT}",
                other.describe()
            )
            .into()),
        }
    }

    /// Turns offsets into places of the file and checks that the tensors fill it without overlap or hole.
    fn place(&mut self, directory_end: u64, alignment: u64, file_len: u64) -> Result<(), Problem> {
        let start = directory_end.next_multiple_of(alignment);
        for tensor in &mut self.tensors {
            let place =
                start.checked_add(tensor.offset).and_then(|at| Some((at, at.checked_add(tensor.bytes)?)));
            match place {
                Some((at, end)) if end <= file_len => tensor.offset = at,
                _ => {
                    let problem = format!(
                        "its {} bytes at offset {} reach beyond the file, which has {} bytes of weights; it may be cut short",
                        tensor.bytes,
                        tensor.offset,
                        file_len.saturating_sub(start)
                    );
                    return Err(Problem::Tensor(tensor.name.clone(), problem));
                }
            }
        }
        let mut order: Vec<&TensorInfo> = self.tensors.iter().collect();
        order.sort_by_key(|tensor| tensor.offset);
        let (mut end, mut before) = (start, "the directory");
        for tensor in order {
            let expected = end.next_multiple_of(alignment);
            if tensor.offset != expected {
                let relation = if tensor.offset < expected { "overlaps" } else { "leaves a hole behind" };
                let problem =
                    format!("{relation} {before}: it begins at byte {}, expected {expected}", tensor.offset);
                return Err(Problem::Tensor(tensor.name.clone(), problem));
            }
            (end, before) = (tensor.offset + tensor.bytes, &tensor.name);
        }
        self.trailing = file_len.saturating_sub(end.next_multiple_of(alignment));
        Ok(())
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<Value<'a>> {
        self.values.get(key).copied()
    }

    /// An unsigned number, whatever its width.
    pub(crate) fn unsigned(&self, key: &str) -> Result<Option<u64>, String> {
        self.typed(key, "an unsigned number", |value| match value {
            Value::Unsigned(v) => Some(v),
            Value::Signed(v) => u64::try_from(v).ok(),
            _ => None,
        })
    }

    /// A floating-point number, as f32.
    pub(crate) fn float(&self, key: &str) -> Result<Option<f32>, String> {
        self.typed(key, "a floating-point number", |value| match value {
            Value::Float(v) => Some(v as f32),
            _ => None,
        })
    }

    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, String> {
        self.typed(key, "a bool", |value| match value {
            Value::Bool(v) => Some(v),
            _ => None,
        })
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        self.typed(key, "a text in UTF-8", |value| match value {
            Value::String(v) => std::str::from_utf8(v).ok(),
            _ => None,
        })
    }

    pub(crate) fn array(&self, key: &str) -> Result<Option<Array<'a>>, String> {
        self.typed(key, "an array", |value| match value {
            Value::Array(v) => Some(v),
            _ => None,
        })
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        convert: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, String> {
        self.get(key)
            .map(|value| {
                convert(value).ok_or_else(|| format!("{key} is {}, expected {expected}", value.describe()))
            })
            .transpose()
    }
}

fn check_version(cursor: &mut Cursor<'_>) -> Result<(), Problem> {
    let magic: [u8; 4] = cursor.array().map_err(String::from)?;
    if magic != MAGIC {
        return Err(format!("begins with the bytes {magic:02x?}, expected \"GGUF\"").into());
    }
    match cursor.u32().map_err(String::from)? {
        2..=3 => Ok(()),
        version if matches!(version.swap_bytes(), 1..=3) => Err(Problem::Unsupported(
            "is a big-endian GGUF file; convert it where it came from: gguf-py's gguf_convert_endian.py makes it little-endian"
                .to_string(),
        )),
        1 => Err(Problem::Unsupported(
            "is GGUF version 1, expected 2 or 3; convert the original model again with a current llama.cpp"
                .to_string(),
        )),
        version => Err(Problem::Unsupported(format!("is GGUF version {version}, expected 2 or 3"))),
    }
}

fn count(cursor: &mut Cursor<'_>, what: &str, max: u64) -> Result<u64, Problem> {
    match cursor.u64().map_err(String::from)? {
        n if n > max => Err(format!("the header claims {n} {what}, expected at most {max}").into()),
        n => Ok(n),
    }
}

fn read_values<'a>(cursor: &mut Cursor<'a>, n_keys: u64) -> Result<HashMap<&'a str, Value<'a>>, Problem> {
    let mut values = HashMap::with_capacity(n_keys as usize); // compared with the bytes that are left
    for at in 0..n_keys {
        let key = cursor.string().map_err(|e| format!("metadata key {at} of {n_keys}: {e}"))?;
        let name = checked_text(key, MAX_KEY_LEN)
            .map_err(|e| format!("metadata key {at} of {n_keys}, \"{}\": {e}", show(key)))?;
        let value = Value::read(cursor).map_err(|e| format!("metadata key {name}: {e}"))?;
        if values.insert(name, value).is_some() {
            return Err(format!("metadata key {name} stands in the file twice").into());
        }
    }
    Ok(values)
}

/// A name: not empty, not too long, UTF-8 without control characters.
fn checked_text(bytes: &[u8], max: usize) -> Result<&str, String> {
    if bytes.is_empty() {
        return Err("an empty name".to_string());
    }
    if bytes.len() > max {
        return Err(format!("a name of {} bytes, expected at most {max}", bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "a name that is not UTF-8".to_string())?;
    if text.chars().any(char::is_control) {
        return Err("a name with control characters".to_string());
    }
    Ok(text)
}

/// One line of the directory; `offset` still counts from the weights' start.
fn read_tensor(cursor: &mut Cursor<'_>, alignment: u64) -> Result<TensorInfo, Problem> {
    let name = cursor.string()?;
    let name = checked_text(name, MAX_NAME_LEN).map_err(|e| format!("\"{}\": {e}", show(name)))?.to_string();
    let wrong = |problem: String| Problem::Tensor(name.clone(), problem);
    let short = |short| wrong(String::from(short));
    let n_dims = cursor.u32().map_err(short)?;
    if !(1..=MAX_DIMS).contains(&n_dims) {
        return Err(wrong(format!("has {n_dims} dimensions, expected 1 to {MAX_DIMS}")));
    }
    let mut dims = Vec::with_capacity(n_dims as usize);
    for _ in 0..n_dims {
        dims.push(cursor.u64().map_err(short)?);
    }
    let code = cursor.u32().map_err(short)?;
    let offset = cursor.u64().map_err(short)?;
    if dims.contains(&0) {
        return Err(wrong(format!("has a dimension of 0: {dims:?}")));
    }
    let kind = BlockType::from_code(code).ok_or_else(|| {
        let known = blocks::foreign_name(code).map_or_else(|| format!("code {code}"), str::to_string);
        wrong(format!("is of type {known}, which is not supported; supported are {}", blocks::supported()))
    })?;
    let weights = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
    let weights = weights.ok_or_else(|| wrong(format!("has more weights than can be counted: {dims:?}")))?;
    if !dims[0].is_multiple_of(kind.weights()) {
        return Err(wrong(format!(
            "has rows of {} weights, expected a multiple of {}, the block of {}",
            dims[0],
            kind.weights(),
            kind.name()
        )));
    }
    let bytes = kind
        .bytes_for(weights)
        .ok_or_else(|| wrong(format!("has more bytes than can be counted: {dims:?}")))?;
    if !offset.is_multiple_of(alignment) {
        return Err(wrong(format!(
            "begins at offset {offset}, expected a multiple of the alignment {alignment}"
        )));
    }
    Ok(TensorInfo { name, dims, kind, offset, bytes })
}
