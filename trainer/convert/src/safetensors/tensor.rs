//! One tensor of a safetensors file, and its numbers.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::header::{Dtype, Entry, Shape};
use crate::error::{Error, Result};
use crate::source::Source;

/// Elements that are decoded at a time.
const CHUNK: usize = 1024;

/// A tensor where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tensor<'a> {
    source: &'a Source,
    name: &'a str,
    entry: &'a Entry,
}

impl<'a> Tensor<'a> {
    pub(super) fn new(source: &'a Source, name: &'a str, entry: &'a Entry) -> Tensor<'a> {
        Tensor { source, name, entry }
    }

    /// Its dimensions.
    pub(crate) fn shape(&self) -> &'a [u64] {
        &self.entry.shape
    }

    /// An error that names it and its file.
    pub(crate) fn error(&self, problem: impl Into<String>) -> Error {
        self.source.tensor(self.name, problem)
    }

    /// Checks that it has a shape, and numbers of a type that can be decoded.
    pub(crate) fn expect(&self, shape: &[usize]) -> Result<()> {
        let found = self.shape();
        if found.len() != shape.len() || found.iter().zip(shape).any(|(&found, &n)| found != n as u64) {
            return Err(self.error(format!("its shape is {:?}, expected {shape:?}", Shape(found))));
        }
        match &self.entry.dtype {
            Dtype::Other(name, _) => {
                Err(self.error(format!("its dtype is {name}, expected F32, F16 or BF16")))
            }
            _ => Ok(()),
        }
    }

    /// All its numbers, row by row.
    ///
    /// # Errors
    /// One of them is NaN or infinite, or of a type that cannot be decoded.
    pub(crate) fn decode(&self) -> Result<Vec<f32>> {
        self.decode_range(0, self.entry.shape.iter().product::<u64>() as usize)
    }

    /// `len` numbers from the `from`th on. The range must lie in the tensor.
    pub(crate) fn decode_range(&self, from: usize, len: usize) -> Result<Vec<f32>> {
        let bytes = self.bytes();
        let values = match &self.entry.dtype {
            Dtype::F32 => {
                let (numbers, _) = bytes[from * 4..][..len * 4].as_chunks::<4>();
                numbers.iter().map(|&b| f32::from_le_bytes(b)).collect()
            }
            Dtype::F16 => halves(&bytes[from * 2..][..len * 2], f16::from_le_bytes),
            Dtype::BF16 => halves(&bytes[from * 2..][..len * 2], bf16::from_le_bytes),
            Dtype::Other(name, _) => {
                return Err(self.error(format!("its dtype is {name}, expected F32, F16 or BF16")));
            }
        };
        self.finite(values, from)
    }

    fn finite(&self, values: Vec<f32>, from: usize) -> Result<Vec<f32>> {
        match values.iter().position(|v| !v.is_finite()) {
            Some(at) => {
                Err(self.error(format!("element {} is {}, expected a number", from + at, values[at])))
            }
            None => Ok(values),
        }
    }

    fn bytes(&self) -> &'a [u8] {
        let Entry { at, len, .. } = *self.entry;
        self.source.get(at, len).expect("the header was compared with the file")
    }
}

/// Halves of either kind as f32, by the processor's own instruction where it has one.
fn halves<H: Copy + Default>(bytes: &[u8], read: impl Fn([u8; 2]) -> H) -> Vec<f32>
where
    [H]: HalfFloatSliceExt,
{
    let (numbers, _) = bytes.as_chunks::<2>();
    let mut values = vec![0.0; numbers.len()];
    let mut chunk = [H::default(); CHUNK];
    for (numbers, values) in numbers.chunks(CHUNK).zip(values.chunks_mut(CHUNK)) {
        let chunk = &mut chunk[..numbers.len()];
        chunk.iter_mut().zip(numbers).for_each(|(half, &bytes)| *half = read(bytes));
        chunk.convert_to_f32_slice(values);
    }
    values
}
