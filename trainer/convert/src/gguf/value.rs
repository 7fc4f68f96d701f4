//! Metadata values, borrowed from the file: nothing is allocated for them, whatever they claim to hold.

use super::cursor::{Cursor, Short};

/// Type of a metadata value. The codes are GGUF's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

/// Arrays inside arrays that are followed; no known key nests at all.
const MAX_DEPTH: u32 = 8;

impl ValueType {
    /// Every type; the index is the code.
    const ALL: [(ValueType, &str, u64); 13] = [
        (ValueType::U8, "u8", 1),
        (ValueType::I8, "i8", 1),
        (ValueType::U16, "u16", 2),
        (ValueType::I16, "i16", 2),
        (ValueType::U32, "u32", 4),
        (ValueType::I32, "i32", 4),
        (ValueType::F32, "f32", 4),
        (ValueType::Bool, "bool", 1),
        (ValueType::String, "string", 0),
        (ValueType::Array, "array", 0),
        (ValueType::U64, "u64", 8),
        (ValueType::I64, "i64", 8),
        (ValueType::F64, "f64", 8),
    ];

    /// The code that stands in a file.
    pub(crate) fn code(self) -> u32 {
        self as u32
    }

    fn from_code(code: u32) -> Result<ValueType, String> {
        ValueType::ALL
            .get(code as usize)
            .map(|row| row.0)
            .ok_or_else(|| format!("value type {code} is unknown, expected 0 to 12"))
    }

    fn name(self) -> &'static str {
        ValueType::ALL[self as usize].1
    }

    /// Bytes of one value, `None` for those that vary.
    fn size(self) -> Option<u64> {
        Some(ValueType::ALL[self as usize].2).filter(|&size| size > 0)
    }
}

/// A value, as the file holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(&'a [u8]),
    Array(Array<'a>),
}

/// An array whose elements were walked over once and are all there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Array<'a> {
    element: ValueType,
    len: u64,
    bytes: &'a [u8],
}

impl<'a> Value<'a> {
    /// Reads a type and a value of it.
    pub(crate) fn read(cursor: &mut Cursor<'a>) -> Result<Value<'a>, String> {
        let kind = ValueType::from_code(cursor.u32()?)?;
        Value::read_as(cursor, kind, 0)
    }

    fn read_as(cursor: &mut Cursor<'a>, kind: ValueType, depth: u32) -> Result<Value<'a>, String> {
        Ok(match kind {
            ValueType::U8 => Value::Unsigned(cursor.u8()?.into()),
            ValueType::U16 => Value::Unsigned(u16::from_le_bytes(cursor.array()?).into()),
            ValueType::U32 => Value::Unsigned(cursor.u32()?.into()),
            ValueType::U64 => Value::Unsigned(cursor.u64()?),
            ValueType::I8 => Value::Signed(i8::from_le_bytes(cursor.array()?).into()),
            ValueType::I16 => Value::Signed(i16::from_le_bytes(cursor.array()?).into()),
            ValueType::I32 => Value::Signed(i32::from_le_bytes(cursor.array()?).into()),
            ValueType::I64 => Value::Signed(i64::from_le_bytes(cursor.array()?)),
            ValueType::F32 => Value::Float(f32::from_le_bytes(cursor.array()?).into()),
            ValueType::F64 => Value::Float(f64::from_le_bytes(cursor.array()?)),
            ValueType::Bool => match cursor.u8()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(format!("a bool is {other}, expected 0 or 1")),
            },
            ValueType::String => Value::String(cursor.string()?),
            ValueType::Array => Value::Array(Array::read(cursor, depth)?),
        })
    }

    /// What it is, for messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Value::Unsigned(v) => v.to_string(),
            Value::Signed(v) => v.to_string(),
            Value::Float(v) => v.to_string(),
            Value::Bool(v) => v.to_string(),
            Value::String(v) => format!("\"{}\"", show(v)),
            Value::Array(a) => format!("an array of {} {} values", a.len, a.element.name()),
        }
    }
}

impl<'a> Array<'a> {
    fn read(cursor: &mut Cursor<'a>, depth: u32) -> Result<Array<'a>, String> {
        if depth == MAX_DEPTH {
            return Err(format!("arrays are nested more than {MAX_DEPTH} deep"));
        }
        let element = ValueType::from_code(cursor.u32()?)?;
        let len = cursor.u64()?;
        let start = cursor.clone();
        match element.size() {
            Some(size) => {
                let bytes = len.checked_mul(size).ok_or_else(|| {
                    format!("an array claims {len} values of {size} bytes, more than can be counted")
                })?;
                cursor.take(bytes).map_err(|Short { left, .. }| {
                    format!("an array claims {len} values of {size} bytes, but {left} bytes are left")
                })?;
            }
            None => {
                // Each element takes bytes, so that the file's length bounds the loop.
                for at in 0..len {
                    Value::read_as(cursor, element, depth + 1)
                        .map_err(|e| format!("value {at} of {len} in an array: {e}"))?;
                }
            }
        }
        Ok(Array { element, len, bytes: start.since(cursor) })
    }

    /// Number of values.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The values one after the other.
    pub(crate) fn values(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let (mut cursor, element) = (Cursor::new(self.bytes), self.element);
        (0..self.len).map_while(move |_| Value::read_as(&mut cursor, element, 1).ok())
    }
}

/// A foreign text for a message: short, without control characters.
pub(crate) fn show(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        shown.push('…');
    }
    shown
}
