//! Metadata to bytes and back.

use super::{MAX_ENTRIES, MAX_KEY_LEN, MAX_STRINGS, Meta, MetaError, Value, is_key};
use crate::cursor::{Cursor, Ended};
use crate::memory;

/// Bytes of the smallest entry: key length, type, one byte of key, a truth value.
const MIN_ENTRY: u64 = 4 + 4 + 1 + 1;

/// Type codes in the file.
mod code {
    pub const BOOL: u32 = 1;
    pub const U64: u32 = 2;
    pub const I64: u32 = 3;
    pub const F64: u32 = 4;
    pub const STR: u32 = 5;
    pub const BYTES: u32 = 6;
    pub const U64S: u32 = 7;
    pub const F64S: u32 = 8;
    pub const STRS: u32 = 9;
}

impl Meta {
    /// The bytes of the section.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = (self.len() as u64).to_le_bytes().to_vec();
        for (key, value) in self.iter() {
            out.extend((key.len() as u32).to_le_bytes());
            out.extend(type_code(value).to_le_bytes());
            out.extend(key.as_bytes());
            write_value(&mut out, value);
        }
        out
    }

    /// Reads a section, trusting nothing.
    ///
    /// # Errors
    /// The first thing that breaks a rule of SPEC.md.
    pub fn from_bytes(bytes: &[u8]) -> Result<Meta, MetaError> {
        let mut cursor = Cursor::new(bytes);
        let count = cursor.u64().map_err(|Ended| MetaError::Truncated { entry: 0 })?;
        let room = cursor.remaining() as u64 / MIN_ENTRY;
        if count > room {
            return Err(MetaError::Count { found: count, room });
        }
        if count > MAX_ENTRIES as u64 {
            return Err(MetaError::TooMany { what: "entries", found: count, max: MAX_ENTRIES });
        }
        let mut meta = Meta::new();
        let mut n_strings = 0;
        for entry in 0..count as usize {
            let (key, type_code) = read_key(&mut cursor, entry)?;
            if let Some((last, _)) = meta.entries.last_key_value() {
                match key.cmp(last.as_str()) {
                    std::cmp::Ordering::Less => return Err(MetaError::KeyOrder { key: key.into() }),
                    std::cmp::Ordering::Equal => return Err(MetaError::DuplicateKey { key: key.into() }),
                    std::cmp::Ordering::Greater => {}
                }
            }
            let value =
                Reader { cursor: &mut cursor, entry, key, n_strings: &mut n_strings }.value(type_code)?;
            meta.entries.insert(key.to_string(), value);
        }
        match cursor.remaining() {
            0 => Ok(meta),
            count => Err(MetaError::TrailingBytes { count }),
        }
    }
}

fn type_code(value: &Value) -> u32 {
    match value {
        Value::Bool(_) => code::BOOL,
        Value::U64(_) => code::U64,
        Value::I64(_) => code::I64,
        Value::F64(_) => code::F64,
        Value::Str(_) => code::STR,
        Value::Bytes(_) => code::BYTES,
        Value::U64s(_) => code::U64S,
        Value::F64s(_) => code::F64S,
        Value::Strs(_) => code::STRS,
    }
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    let length = |out: &mut Vec<u8>, n: usize| out.extend((n as u64).to_le_bytes());
    match value {
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Str(v) => {
            length(out, v.len());
            out.extend(v.as_bytes());
        }
        Value::Bytes(v) => {
            length(out, v.len());
            out.extend(v);
        }
        Value::U64s(v) => {
            length(out, v.len());
            v.iter().for_each(|v| out.extend(v.to_le_bytes()));
        }
        Value::F64s(v) => {
            length(out, v.len());
            v.iter().for_each(|v| out.extend(v.to_le_bytes()));
        }
        Value::Strs(v) => {
            length(out, v.len());
            for v in v {
                length(out, v.len());
                out.extend(v.as_bytes());
            }
        }
    }
}

fn read_key<'a>(cursor: &mut Cursor<'a>, entry: usize) -> Result<(&'a str, u32), MetaError> {
    let ended = |Ended| MetaError::Truncated { entry };
    let len = cursor.u32().map_err(ended)?;
    let type_code = cursor.u32().map_err(ended)?;
    if len == 0 || len as usize > MAX_KEY_LEN {
        return Err(MetaError::KeyLength { entry, found: u64::from(len) });
    }
    let key = cursor.bytes(u64::from(len)).map_err(ended)?;
    match std::str::from_utf8(key) {
        Ok(key) if is_key(key) => Ok((key, type_code)),
        _ => Err(MetaError::KeyText { entry }),
    }
}

/// Reads the value of one entry.
struct Reader<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    entry: usize,
    key: &'a str,
    n_strings: &'c mut u64,
}

impl<'a> Reader<'_, 'a> {
    fn value(&mut self, type_code: u32) -> Result<Value, MetaError> {
        Ok(match type_code {
            code::BOOL => Value::Bool(self.bool()?),
            code::U64 => Value::U64(self.word()?),
            code::I64 => Value::I64(self.word()?.cast_signed()),
            code::F64 => Value::F64(f64::from_bits(self.word()?)),
            code::STR => Value::Str(self.string()?),
            code::BYTES => Value::Bytes(memory::collect(self.byte_string()?.iter().copied())?),
            code::U64S => Value::U64s(memory::collect(self.words()?.map(u64::from_le_bytes))?),
            code::F64S => Value::F64s(memory::collect(self.words()?.map(f64::from_le_bytes))?),
            code::STRS => Value::Strs(self.strings()?),
            code => return Err(MetaError::UnknownType { key: self.key.to_string(), code }),
        })
    }

    fn ended(&self) -> MetaError {
        MetaError::Truncated { entry: self.entry }
    }

    fn word(&mut self) -> Result<u64, MetaError> {
        self.cursor.u64().map_err(|Ended| self.ended())
    }

    fn bool(&mut self) -> Result<bool, MetaError> {
        match self.cursor.u8().map_err(|Ended| self.ended())? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(MetaError::BadBool { key: self.key.to_string(), found }),
        }
    }

    fn byte_string(&mut self) -> Result<&'a [u8], MetaError> {
        let found = self.word()?;
        let room = self.cursor.remaining() as u64;
        let too_long = |Ended| MetaError::StringLength { key: self.key.to_string(), found, room };
        self.cursor.bytes(found).map_err(too_long)
    }

    fn string(&mut self) -> Result<String, MetaError> {
        match std::str::from_utf8(self.byte_string()?) {
            Ok(text) => Ok(memory::text(text)?),
            Err(_) => Err(MetaError::NotUtf8 { key: self.key.to_string() }),
        }
    }

    /// A count of elements of at least `size` bytes, refused when the rest cannot hold as many.
    fn count(&mut self, size: u64) -> Result<u64, MetaError> {
        let found = self.word()?;
        let room = self.cursor.remaining() as u64 / size;
        if found > room { Err(MetaError::Count { found, room }) } else { Ok(found) }
    }

    fn words(&mut self) -> Result<impl ExactSizeIterator<Item = [u8; 8]> + use<'a>, MetaError> {
        let count = self.count(8)?;
        let bytes = self.cursor.bytes(count * 8).map_err(|Ended| self.ended())?;
        Ok(bytes.as_chunks::<8>().0.iter().copied())
    }

    fn strings(&mut self) -> Result<Vec<String>, MetaError> {
        let count = self.count(8)?;
        *self.n_strings += count;
        if *self.n_strings > MAX_STRINGS as u64 {
            return Err(MetaError::TooMany {
                what: "strings in arrays",
                found: *self.n_strings,
                max: MAX_STRINGS,
            });
        }
        // Room for all at once: growing would hold the strings almost twice.
        let mut strings = memory::with_capacity(count as usize)?;
        for _ in 0..count {
            strings.push(self.string()?);
        }
        Ok(strings)
    }
}
