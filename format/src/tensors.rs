//! The tensor directory: which tensors a file holds, and where (SPEC.md, "Tensor directory").

use crate::config::ModelConfig;
use crate::cursor::{Cursor, Ended};
use crate::dtype::DType;
use crate::error::{DirectoryError, Error, TensorError};
use crate::memory;
use crate::panel::{ALIGN, PanelLayout, align_up};
use crate::schema::{self, TensorSpec};
use std::ops::Range;

/// Bytes of an entry before its dimensions and its name.
const FIXED_LEN: usize = 24;
/// Bytes of the smallest entry: one dimension and a name of up to 8 bytes.
const MIN_ENTRY: u64 = FIXED_LEN as u64 + 8 + 8;
/// Longest name, bytes.
const MAX_NAME_LEN: u16 = 255;

/// Place and shape of one tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name in the schema.
    pub name: String,
    /// How it is stored.
    pub dtype: DType,
    /// Output features of a matrix, elements of a vector.
    pub rows: usize,
    /// Input features of a matrix, 1 for a vector.
    pub cols: usize,
    /// Stored as plain f32 instead of in panels.
    pub is_vector: bool,
    /// Its bytes in the file; starts at a multiple of 64.
    pub range: Range<usize>,
}

impl TensorInfo {
    /// Where the weights of a matrix lie inside [`Self::range`]; `None` for a vector.
    pub fn layout(&self) -> Option<PanelLayout> {
        if self.is_vector { None } else { PanelLayout::new(self.dtype, self.rows, self.cols) }
    }
}

/// Bytes that a tensor takes, `None` for an empty or uncountable shape.
fn stored_len(dtype: DType, rows: usize, cols: usize, is_vector: bool) -> Option<usize> {
    if is_vector {
        return rows.checked_mul(size_of::<f32>()).filter(|&n| n > 0);
    }
    Some(PanelLayout::new(dtype, rows, cols)?.bytes())
}

/// Lays every tensor of `specs` out in a data section that starts at 0; also the section's length.
pub(crate) fn plan(
    specs: &[TensorSpec],
    dtype_for: impl Fn(&TensorSpec) -> DType,
) -> Result<(Vec<TensorInfo>, usize), Error> {
    let mut at = 0;
    let mut tensors = Vec::with_capacity(specs.len());
    for spec in specs {
        let fail = |error| Error::Tensor { name: spec.name.clone(), error };
        let (dtype, is_vector) = (dtype_for(spec), spec.is_vector());
        if !spec.allows(dtype) {
            return Err(fail(TensorError::DTypeNotAllowed { found: dtype }));
        }
        let len = stored_len(dtype, spec.rows, spec.cols, is_vector);
        let end = len.and_then(|len| at_checked(at, len)).ok_or_else(|| fail(TensorError::ShapeOverflow))?;
        let name = spec.name.clone();
        tensors.push(TensorInfo { name, dtype, rows: spec.rows, cols: spec.cols, is_vector, range: at..end });
        at = align_up(end).ok_or_else(|| fail(TensorError::ShapeOverflow))?;
    }
    Ok((tensors, at))
}

fn at_checked(at: usize, len: usize) -> Option<usize> {
    at.checked_add(len).filter(|&end| end <= isize::MAX as usize)
}

/// The directory's bytes; the ranges of `tensors` count from the start of the data section.
pub(crate) fn to_bytes(tensors: &[TensorInfo]) -> Vec<u8> {
    let mut out = (tensors.len() as u64).to_le_bytes().to_vec();
    for tensor in tensors {
        out.extend((tensor.name.len() as u16).to_le_bytes());
        out.push(tensor.dtype.code());
        out.push(if tensor.is_vector { 1 } else { 2 });
        out.extend([0; 4]);
        out.extend((tensor.range.start as u64).to_le_bytes());
        out.extend((tensor.range.len() as u64).to_le_bytes());
        out.extend((tensor.rows as u64).to_le_bytes());
        if !tensor.is_vector {
            out.extend((tensor.cols as u64).to_le_bytes());
        }
        out.extend(tensor.name.as_bytes());
        out.resize(out.len().next_multiple_of(8), 0);
    }
    out
}

/// An entry as it stands in the file.
struct Entry<'a> {
    name: &'a str,
    dtype_code: u8,
    rank: u8,
    offset: u64,
    len: u64,
    dims: Cursor<'a>,
}

/// Reads the directory of a model of `config` whose data section lies at `data` in the file.
pub(crate) fn read(
    bytes: &[u8],
    config: &ModelConfig,
    data: &Range<usize>,
) -> Result<Vec<TensorInfo>, Error> {
    let mut cursor = Cursor::new(bytes);
    let count = cursor.u64().map_err(|Ended| DirectoryError::Truncated { entry: 0 })?;
    let room = cursor.remaining() as u64 / MIN_ENTRY;
    if count > room {
        return Err(DirectoryError::Count { found: count, room }.into());
    }
    // Reserves less than twice the bytes that are there, whatever `count` claims.
    const { assert!(size_of::<TensorInfo>() < 2 * MIN_ENTRY as usize) };
    let mut tensors: Vec<TensorInfo> = memory::with_capacity(count as usize)?;
    let mut specs = schema::tensors(config);
    let mut end = 0;
    for index in 0..count as usize {
        let entry = read_entry(&mut cursor, index)?;
        let fail = |error| Error::Tensor { name: entry.name.to_string(), error };
        let (dtype, rows, cols, expected_len) = geometry(&entry).map_err(fail)?;
        let spec = match specs.next() {
            Some(spec) if spec.name == entry.name => spec,
            _ => return Err(misplaced(entry.name, index, count as usize, config)),
        };
        check_spec(&spec, &entry, dtype, rows, cols).map_err(fail)?;
        let start = placement(&entry, expected_len, end, data.len()).map_err(fail)?;
        end = start + expected_len;
        tensors.push(TensorInfo {
            is_vector: spec.is_vector(),
            name: spec.name,
            dtype,
            rows,
            cols,
            range: data.start + start..data.start + end,
        });
    }
    if cursor.remaining() > 0 {
        return Err(DirectoryError::TrailingBytes { count: cursor.remaining() }.into());
    }
    if let Some(missing) = specs.next() {
        return Err(Error::Tensor { name: missing.name, error: TensorError::Missing });
    }
    match tensors.last() {
        Some(last) if align_up(end) != Some(data.len()) => {
            Err(Error::Tensor { name: last.name.clone(), error: TensorError::Hole { end: end as u64 } })
        }
        _ => Ok(tensors),
    }
}

fn read_entry<'a>(cursor: &mut Cursor<'a>, entry: usize) -> Result<Entry<'a>, Error> {
    let ended = |Ended| DirectoryError::Truncated { entry };
    let before = cursor.remaining();
    let name_len = cursor.u16().map_err(ended)?;
    let dtype_code = cursor.u8().map_err(ended)?;
    let rank = cursor.u8().map_err(ended)?;
    let reserved = cursor.u32().map_err(ended)?;
    let offset = cursor.u64().map_err(ended)?;
    let len = cursor.u64().map_err(ended)?;
    let dims = Cursor::new(cursor.bytes(u64::from(rank) * 8).map_err(ended)?);
    if name_len == 0 || name_len > MAX_NAME_LEN {
        return Err(DirectoryError::NameLength { entry, found: name_len }.into());
    }
    let name = cursor.bytes(u64::from(name_len)).map_err(ended)?;
    let name = match std::str::from_utf8(name) {
        Ok(name) if !name.chars().any(char::is_control) => name,
        _ => return Err(DirectoryError::NameText { entry }.into()),
    };
    let used = before - cursor.remaining();
    let padding = cursor.bytes((used.next_multiple_of(8) - used) as u64).map_err(ended)?;
    if reserved != 0 || padding.iter().any(|&b| b != 0) {
        return Err(DirectoryError::Reserved { entry }.into());
    }
    Ok(Entry { name, dtype_code, rank, offset, len, dims })
}

/// Type, shape and computed bytes of an entry.
fn geometry(entry: &Entry<'_>) -> Result<(DType, usize, usize, usize), TensorError> {
    if !(1..=2).contains(&entry.rank) {
        return Err(TensorError::Rank { found: entry.rank });
    }
    let dtype =
        DType::from_code(entry.dtype_code).ok_or(TensorError::UnknownDType { code: entry.dtype_code })?;
    let is_vector = entry.rank == 1;
    let dims = dims_of(entry);
    if dims.contains(&0) {
        return Err(TensorError::ZeroDim);
    }
    let in_memory = |dim: u64| usize::try_from(dim).map_err(|_| TensorError::ShapeOverflow);
    let rows = in_memory(dims[0])?;
    let cols = if is_vector { 1 } else { in_memory(dims[1])? };
    if is_vector && dtype != DType::F32 {
        return Err(TensorError::DTypeNotAllowed { found: dtype });
    }
    let expected = stored_len(dtype, rows, cols, is_vector).ok_or(TensorError::ShapeOverflow)?;
    if entry.len != expected as u64 {
        return Err(TensorError::Length { found: entry.len, expected: expected as u64 });
    }
    Ok((dtype, rows, cols, expected))
}

/// The dimensions of an entry of rank 1 or 2.
fn dims_of(entry: &Entry<'_>) -> Vec<u64> {
    let mut dims = entry.dims.clone();
    std::iter::from_fn(|| dims.u64().ok()).collect()
}

/// Why `name` does not stand at `index` of `count` tensors, when all before it stand where they should.
fn misplaced(name: &str, index: usize, count: usize, config: &ModelConfig) -> Error {
    let fail = |name: &str, error| Error::Tensor { name: name.to_string(), error };
    let position = schema::tensors(config).position(|spec| spec.name == name);
    match (position, schema::tensors(config).nth(index)) {
        (Some(position), _) if position < index => fail(name, TensorError::Duplicate),
        (Some(_), Some(expected)) if count < schema::tensors(config).count() => {
            fail(&expected.name, TensorError::Missing)
        }
        (Some(_), Some(expected)) => fail(name, TensorError::Order { expected: expected.name }),
        _ => fail(name, TensorError::Unexpected),
    }
}

fn check_spec(
    spec: &TensorSpec,
    entry: &Entry<'_>,
    dtype: DType,
    rows: usize,
    cols: usize,
) -> Result<(), TensorError> {
    if (rows, cols, entry.rank == 1) != (spec.rows, spec.cols, spec.is_vector()) {
        let expected =
            if spec.is_vector() { vec![spec.rows as u64] } else { vec![spec.rows as u64, spec.cols as u64] };
        return Err(TensorError::Shape { found: dims_of(entry), expected });
    }
    if !spec.allows(dtype) {
        return Err(TensorError::DTypeNotAllowed { found: dtype });
    }
    Ok(())
}

/// Where the entry starts in the data section, which must be right behind the tensor that ends at `previous_end`.
fn placement(
    entry: &Entry<'_>,
    len: usize,
    previous_end: usize,
    section_len: usize,
) -> Result<usize, TensorError> {
    let offset = entry.offset;
    if !offset.is_multiple_of(ALIGN as u64) {
        return Err(TensorError::Misaligned { offset });
    }
    let end = offset.checked_add(len as u64).ok_or(TensorError::OffsetOverflow)?;
    if end > section_len as u64 {
        return Err(TensorError::PastEnd { end, section_len: section_len as u64 });
    }
    // Both are at most `section_len`, a usize.
    match (offset as usize).cmp(&previous_end.next_multiple_of(ALIGN)) {
        std::cmp::Ordering::Less => Err(TensorError::Overlap { offset }),
        std::cmp::Ordering::Greater => Err(TensorError::Hole { end: previous_end as u64 }),
        std::cmp::Ordering::Equal => Ok(offset as usize),
    }
}
