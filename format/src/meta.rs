//! Typed key/value metadata, the content of the config and receipt sections (SPEC.md, "Metadata").

mod codec;
#[cfg(test)]
mod tests;

use crate::memory::NoMemory;
use std::collections::BTreeMap;
use std::fmt;

/// Longest key, bytes.
pub const MAX_KEY_LEN: usize = 255;
/// Most entries of one section.
pub const MAX_ENTRIES: usize = 4096;
/// Most strings in all string arrays of one section together.
pub const MAX_STRINGS: usize = 65_536;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// An unsigned integer.
    U64(u64),
    /// A signed integer.
    I64(i64),
    /// A number; any bits, NaN included.
    F64(f64),
    /// UTF-8 text.
    Str(String),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// Unsigned integers.
    U64s(Vec<u64>),
    /// Numbers.
    F64s(Vec<f64>),
    /// UTF-8 texts.
    Strs(Vec<String>),
}

impl Value {
    /// Name of the type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Bool(_) => "bool",
            Value::U64(_) => "u64",
            Value::I64(_) => "i64",
            Value::F64(_) => "f64",
            Value::Str(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::U64s(_) => "array of u64",
            Value::F64s(_) => "array of f64",
            Value::Strs(_) => "array of strings",
        }
    }
}

/// Elements and characters that a value shows of itself in a message.
const SHOWN: usize = 8;

/// A short form for messages, however long the value is.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(v) => write!(f, "{v}"),
            Value::U64(v) => write!(f, "{v}"),
            Value::I64(v) => write!(f, "{v}"),
            Value::F64(v) => write!(f, "{v}"),
            Value::Str(v) => quoted(f, v),
            Value::Bytes(v) => list(f, v, |f, v| write!(f, "{v}")),
            Value::U64s(v) => list(f, v, |f, v| write!(f, "{v}")),
            Value::F64s(v) => list(f, v, |f, v| write!(f, "{v}")),
            Value::Strs(v) => list(f, v, |f, v| quoted(f, v)),
        }
    }
}

/// A text as a message shows it: quoted, and short.
pub(crate) fn quote(text: &str) -> String {
    struct Quoted<'a>(&'a str);
    impl fmt::Display for Quoted<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            quoted(f, self.0)
        }
    }
    Quoted(text).to_string()
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    match text.char_indices().nth(4 * SHOWN) {
        Some((end, _)) => write!(f, "{:?}…", &text[..end]),
        None => write!(f, "{text:?}"),
    }
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    values: &[T],
    show: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    f.write_str("[")?;
    for (index, value) in values.iter().take(SHOWN).enumerate() {
        f.write_str(if index == 0 { "" } else { ", " })?;
        show(f, value)?;
    }
    match values.len() {
        0..=SHOWN => f.write_str("]"),
        n => write!(f, ", … {n} in all]"),
    }
}

/// Keys and values, sorted by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    entries: BTreeMap<String, Value>,
}

/// What is wrong with metadata.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetaError {
    /// The bytes end inside an entry.
    Truncated {
        /// Number of the entry.
        entry: usize,
    },
    /// More entries or elements are announced than the remaining bytes can hold.
    Count {
        /// What was announced.
        found: u64,
        /// What the rest can hold at most.
        room: u64,
    },
    /// More entries, or strings in arrays, than a section may have.
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// What was found.
        found: u64,
        /// The limit.
        max: usize,
    },
    /// A string or byte string longer than the bytes that are left.
    StringLength {
        /// Key of the entry.
        key: String,
        /// What was announced.
        found: u64,
        /// Bytes left.
        room: u64,
    },
    /// A key that is empty or too long.
    KeyLength {
        /// Number of the entry.
        entry: usize,
        /// Its key's length.
        found: u64,
    },
    /// A key that is not UTF-8 or has a control character, NUL among them.
    KeyText {
        /// Number of the entry.
        entry: usize,
    },
    /// A key that occurs twice.
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A key that should stand before its predecessor.
    KeyOrder {
        /// The key.
        key: String,
    },
    /// A type code that this version does not know.
    UnknownType {
        /// Key of the entry.
        key: String,
        /// The code.
        code: u32,
    },
    /// A truth value that is neither 0 nor 1.
    BadBool {
        /// Key of the entry.
        key: String,
        /// What was found.
        found: u8,
    },
    /// A text that is not UTF-8.
    NotUtf8 {
        /// Key of the entry.
        key: String,
    },
    /// Bytes follow the last entry.
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// A key that must be there is not.
    MissingKey {
        /// The key.
        key: String,
    },
    /// A key that this version does not know, where an unknown one cannot be skipped.
    UnknownKey {
        /// The key.
        key: String,
    },
    /// A value of another type than the key has.
    WrongType {
        /// The key.
        key: String,
        /// Name of the type found.
        found: &'static str,
        /// Name of the type expected.
        expected: &'static str,
    },
    /// The system has no memory for a value.
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// A value of the right type that means nothing.
    BadValue {
        /// The key.
        key: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
}

impl fmt::Display for MetaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use MetaError::*;
        match self {
            Truncated { entry } => write!(f, "the bytes end inside entry {entry}"),
            Count { found, room } => write!(f, "{found} elements are announced, but at most {room} fit"),
            TooMany { what, found, max } => write!(f, "{found} {what}, expected at most {max}"),
            StringLength { key, found, room } => {
                write!(f, "{key:?} announces {found} bytes, but {room} are left")
            }
            KeyLength { entry, found } => {
                write!(f, "the key of entry {entry} has {found} bytes, expected 1 to {MAX_KEY_LEN}")
            }
            KeyText { entry } => write!(f, "the key of entry {entry} is not printable UTF-8"),
            DuplicateKey { key } => write!(f, "{key:?} occurs twice"),
            KeyOrder { key } => write!(f, "{key:?} is out of order, expected sorted keys"),
            UnknownType { key, code } => write!(f, "{key:?} has the unknown type {code}"),
            BadBool { key, found } => write!(f, "{key:?} is {found}, expected 0 or 1"),
            NotUtf8 { key } => write!(f, "{key:?} is not UTF-8"),
            TrailingBytes { count } => write!(f, "{count} bytes follow the last entry"),
            MissingKey { key } => write!(f, "{key:?} is missing"),
            UnknownKey { key } => {
                write!(
                    f,
                    "{key:?} is unknown: the file was written by a newer version, update siskin to read it"
                )
            }
            WrongType { key, found, expected } => write!(f, "{key:?} is {found}, expected {expected}"),
            OutOfMemory { bytes } => NoMemory { bytes: *bytes }.fmt(f),
            BadValue { key, found, expected } => write!(f, "{key:?} is {found}, expected {expected}"),
        }
    }
}

impl std::error::Error for MetaError {}

impl From<NoMemory> for MetaError {
    fn from(NoMemory { bytes }: NoMemory) -> MetaError {
        MetaError::OutOfMemory { bytes }
    }
}

/// A getter for one type: `NAME(key)` is `None` without the key, `NAME_required(key)` an error.
macro_rules! getter {
    ($name:ident, $required:ident, $variant:ident, $out:ty, $expected:literal, $v:ident => $read:expr) => {
        #[doc = concat!("The ", $expected, " of a key, `None` without it.")]
        ///
        /// # Errors
        /// [`MetaError::WrongType`] when the value has another type.
        pub fn $name(&self, key: &str) -> Result<Option<$out>, MetaError> {
            match self.get(key) {
                None => Ok(None),
                Some(Value::$variant($v)) => Ok(Some($read)),
                Some(other) => Err(wrong_type(key, other, $expected)),
            }
        }

        #[doc = concat!("The ", $expected, " of a key that must be there.")]
        ///
        /// # Errors
        /// [`MetaError::MissingKey`] without it, [`MetaError::WrongType`] when the value has another type.
        pub fn $required(&self, key: &str) -> Result<$out, MetaError> {
            self.$name(key)?.ok_or_else(|| MetaError::MissingKey { key: key.to_string() })
        }
    };
}

fn wrong_type(key: &str, found: &Value, expected: &'static str) -> MetaError {
    MetaError::WrongType { key: key.to_string(), found: found.type_name(), expected }
}

impl Meta {
    /// No entries.
    pub fn new() -> Meta {
        Meta::default()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// All entries, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Sets a key, replacing its old value.
    ///
    /// # Panics
    /// When the key is empty, longer than [`MAX_KEY_LEN`] or holds a control character.
    pub fn set(&mut self, key: &str, value: Value) {
        assert!(is_key(key), "{key:?} as a metadata key");
        self.entries.insert(key.to_string(), value);
    }

    /// The value of a key, set to `default` where it has none.
    pub(crate) fn get_or_set(
        &mut self,
        key: &str,
        default: impl FnOnce() -> Result<Value, NoMemory>,
    ) -> Result<&mut Value, NoMemory> {
        if self.get(key).is_none() {
            self.set(key, default()?);
        }
        Ok(self.entries.get_mut(key).expect("set above"))
    }

    getter!(bool, bool_required, Bool, bool, "bool", v => *v);
    getter!(u64, u64_required, U64, u64, "u64", v => *v);
    getter!(i64, i64_required, I64, i64, "i64", v => *v);
    getter!(f64, f64_required, F64, f64, "f64", v => *v);
    getter!(str, str_required, Str, &str, "string", v => v);
    getter!(bytes, bytes_required, Bytes, &[u8], "bytes", v => v);
    getter!(u64s, u64s_required, U64s, &[u64], "array of u64", v => v);
    getter!(f64s, f64s_required, F64s, &[f64], "array of f64", v => v);
    getter!(strs, strs_required, Strs, &[String], "array of strings", v => v);
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.len() <= MAX_KEY_LEN && !key.chars().any(char::is_control)
}
