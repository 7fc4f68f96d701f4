//! The header of a safetensors file: a length, then JSON that names each tensor's type, shape and place.
//!
//! ```text
//! u64 little-endian   length of the header
//! JSON                {"__metadata__": {...}, "NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
//! data                the tensors, one after the other without a gap; offsets count from here
//! ```
//!
//! Format: <https://github.com/huggingface/safetensors#format>. The checks are those of its reference implementation: a header of
//! at most 100 MB, no name twice, and tensors that cover the data without hole or overlap.

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use std::collections::HashMap;
use std::fmt;

use crate::error::Result;
use crate::source::{Source, shown, shown_error};

/// Longest header, bytes.
pub(crate) const MAX_HEADER: u64 = 100_000_000;

/// Most tensors of one file; the largest model that siskin can describe has fewer.
pub(crate) const MAX_TENSORS: usize = 100_000;

/// Most dimensions of a tensor, as in PyTorch.
const MAX_RANK: usize = 64;

/// Where a tensor lies in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<u64>,
    /// First byte, from the start of the file.
    pub(crate) at: u64,
    /// Number of bytes.
    pub(crate) len: u64,
}

/// How an element is stored: the types that are decoded, and the others by name and size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dtype {
    F32,
    F16,
    BF16,
    /// Another type of the format, and its bits.
    Other(&'static str, u64),
}

/// Types that the format has and that hold no weights that siskin knows, with their bits.
const OTHERS: [(&str, u64); 18] = [
    ("BOOL", 8),
    ("U8", 8),
    ("I8", 8),
    ("U16", 16),
    ("I16", 16),
    ("U32", 32),
    ("I32", 32),
    ("U64", 64),
    ("I64", 64),
    ("F64", 64),
    ("C64", 64),
    ("F8_E4M3", 8),
    ("F8_E5M2", 8),
    ("F8_E8M0", 8),
    ("F8_E4M3FNUZ", 8),
    ("F8_E5M2FNUZ", 8),
    ("F6_E2M3", 6),
    ("F4", 4),
];

impl Dtype {
    fn from_name(name: &str) -> Option<Dtype> {
        Some(match name {
            "F32" => Dtype::F32,
            "F16" => Dtype::F16,
            "BF16" => Dtype::BF16,
            _ => {
                let &(name, bits) = OTHERS.iter().find(|(known, _)| *known == name)?;
                Dtype::Other(name, bits)
            }
        })
    }

    fn bits(&self) -> u64 {
        match self {
            Dtype::F32 => 32,
            Dtype::F16 | Dtype::BF16 => 16,
            Dtype::Other(_, bits) => *bits,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
            Dtype::Other(name, _) => name,
        })
    }
}

/// Whether the file begins as a safetensors file does: with a length that it can hold, and a JSON object.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return false };
    u64::from_le_bytes(*length) <= rest.len() as u64 && rest.first() == Some(&b'{')
}

/// Every tensor of the file by name, each inside the file.
pub(crate) fn read(source: &Source) -> Result<HashMap<String, Entry>> {
    let (raw, data_at) = parse(source)?;
    let data_len = source.bytes().len() as u64 - data_at;
    let mut entries = HashMap::with_capacity(raw.len());
    let mut places: Vec<(u64, u64, &str)> =
        raw.iter().map(|(name, e)| (e.data_offsets.0, e.data_offsets.1, name.as_str())).collect();
    places.sort_unstable();
    check_places(source, &places, data_len)?;
    for (name, entry) in &raw {
        entries.insert(name.clone(), checked(source, name, entry, data_at)?);
    }
    Ok(entries)
}

fn parse(source: &Source) -> Result<(HashMap<String, RawEntry>, u64)> {
    let bytes = source.bytes();
    let Some((length, _)) = bytes.split_first_chunk::<8>() else {
        return Err(source
            .malformed(format!("{} bytes, expected a safetensors file, which has at least 8", bytes.len())));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        return Err(source.malformed(format!("a header of {length} bytes, expected at most {MAX_HEADER}")));
    }
    let Some(header) = source.get(8, length) else {
        let rest = bytes.len() - 8;
        return Err(source.malformed(format!(
            "a header of {length} bytes, but only {rest} follow; the file is cut short"
        )));
    };
    let Names(raw) = serde_json::from_slice(header)
        .map_err(|e| source.malformed(format!("the safetensors header is wrong: {}", shown_error(&e))))?;
    Ok((raw, 8 + length))
}

/// Tensors in the order of their places lie side by side, from the first byte of the data to the last.
fn check_places(source: &Source, places: &[(u64, u64, &str)], data_len: u64) -> Result<()> {
    let mut end = 0;
    for &(from, to, name) in places {
        let problem = if to < from {
            format!("data_offsets {from} to {to} run backwards")
        } else if to > data_len {
            format!(
                "data_offsets end at {to}, but the data has {data_len} bytes; the file is cut short or wrong"
            )
        } else if from < end {
            format!("data_offsets begin at {from}, inside the tensor before it, which ends at {end}")
        } else if from > end {
            format!("data_offsets begin at {from}, but the tensor before it ends at {end}; expected no gap")
        } else {
            end = to;
            continue;
        };
        return Err(source.tensor(name, problem));
    }
    if end != data_len {
        return Err(source.malformed(format!(
            "the tensors end at byte {end} of {data_len}; expected nothing behind them"
        )));
    }
    Ok(())
}

fn checked(source: &Source, name: &str, raw: &RawEntry, data_at: u64) -> Result<Entry> {
    let Some(dtype) = Dtype::from_name(&raw.dtype) else {
        return Err(source.tensor(name, format!("unknown dtype {}", shown(&raw.dtype))));
    };
    let (from, to) = raw.data_offsets;
    let elements = raw.shape.iter().try_fold(1u64, |product, &n| product.checked_mul(n));
    let bits = elements.and_then(|n| n.checked_mul(dtype.bits()));
    match bits {
        Some(bits) if bits.is_multiple_of(8) && bits / 8 == to - from => {}
        _ => {
            let problem = format!(
                "{dtype} of shape {:?} lies in {} bytes, which is another size",
                Shape(&raw.shape),
                to - from
            );
            return Err(source.tensor(name, problem));
        }
    }
    Ok(Entry { dtype, shape: raw.shape.clone(), at: data_at + from, len: to - from })
}

/// A shape in an error, which may have been given any number of dimensions.
pub(crate) struct Shape<'a>(pub(crate) &'a [u64]);

impl fmt::Debug for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            short if short.len() <= 8 => write!(f, "{short:?}"),
            long => write!(f, "of {} dimensions", long.len()),
        }
    }
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    #[serde(deserialize_with = "shape")]
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// A list of dimensions that ends before it fills the memory.
fn shape<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<u64>, D::Error> {
    struct Dimensions;
    impl<'de> Visitor<'de> for Dimensions {
        type Value = Vec<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of dimensions")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Vec<u64>, A::Error> {
            let mut shape = Vec::new();
            while let Some(n) = list.next_element()? {
                if shape.len() == MAX_RANK {
                    return Err(de::Error::custom(format_args!(
                        "a shape of more than {MAX_RANK} dimensions"
                    )));
                }
                shape.push(n);
            }
            Ok(shape)
        }
    }
    deserializer.deserialize_seq(Dimensions)
}

/// The header's object, in which no name may occur twice.
struct Names(HashMap<String, RawEntry>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Names, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Names, A::Error> {
                let mut names = HashMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<de::IgnoredAny>()?;
                    } else if names.contains_key(&name) {
                        return Err(de::Error::custom(format_args!("tensor {} occurs twice", shown(&name))));
                    } else if names.len() == MAX_TENSORS {
                        return Err(de::Error::custom(format_args!("more than {MAX_TENSORS} tensors")));
                    } else {
                        names.insert(name, map.next_value()?);
                    }
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Object)
    }
}
