//! A safetensors file of f32, written tensor by tensor.

use siskin_format::TensorSpec;
use siskin_format::atomic::AtomicFile;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::import::Weights;

/// Rows that are transposed together, so that a column of them fills a cache line.
const STRIP: usize = 16;

/// A tensor to be written, and what it is made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) parts: Parts,
}

/// What a tensor is made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Parts {
    /// Tensors of the schema, one behind the other.
    Joined(Vec<TensorSpec>),
    /// Matrices of the schema of equal width, transposed and side by side: `[cols, rows of all]` (GPT-2's Conv1D).
    Transposed(Vec<TensorSpec>),
    /// One number everywhere: what a norm's weight or a bias is that the model does without.
    Constant(f32),
}

impl Output {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }

    fn values(&self, weights: &mut dyn Weights) -> Result<Vec<f32>> {
        match &self.parts {
            Parts::Constant(value) => Ok(vec![*value; self.len()]),
            Parts::Joined(specs) => {
                let mut values = Vec::with_capacity(self.len());
                for spec in specs {
                    values.extend(weights.read(spec)?);
                }
                Ok(values)
            }
            Parts::Transposed(specs) => {
                let width = self.shape[1];
                let mut values = vec![0.0; self.len()]; // [cols, rows of all]
                let mut from = 0;
                for spec in specs {
                    for strip in weights.read(spec)?.chunks(STRIP * spec.cols) {
                        let rows = strip.len() / spec.cols;
                        for col in 0..spec.cols {
                            for row in 0..rows {
                                values[col * width + from + row] = strip[row * spec.cols + col];
                            }
                        }
                        from += rows;
                    }
                }
                Ok(values)
            }
        }
    }
}

/// Writes a file of f32 tensors; no more than one of them is in memory.
pub(crate) fn write_file(path: &Path, outputs: &[Output], weights: &mut dyn Weights) -> Result<()> {
    let failed = |error: siskin_format::Error| match error {
        siskin_format::Error::Io { source, .. } => Error::io("write", path)(source),
        other => Error::Malformed { path: path.to_path_buf(), problem: other.to_string() },
    };
    let mut file = BufWriter::with_capacity(1 << 20, AtomicFile::create(path).map_err(failed)?);
    let write = |file: &mut BufWriter<AtomicFile>, bytes: &[u8]| {
        file.write_all(bytes).map_err(Error::io("write", path))
    };
    let header = header(outputs);
    write(&mut file, &(header.len() as u64).to_le_bytes())?;
    write(&mut file, header.as_bytes())?;
    for output in outputs {
        let values = output.values(weights)?;
        assert_eq!(values.len(), output.len(), "the numbers of {} fill its shape", output.name);
        for chunk in values.chunks(1 << 14) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|value| value.to_le_bytes()).collect();
            write(&mut file, &bytes)?;
        }
    }
    let file = file.into_inner().map_err(|e| Error::io("write", path)(e.into_error()))?;
    file.commit().map_err(failed)
}

/// The header's JSON, with spaces behind it so that the data begins at a multiple of 8.
fn header(outputs: &[Output]) -> String {
    let mut at = 0;
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_string(), serde_json::json!({ "format": "pt" }));
    for output in outputs {
        let end = at + 4 * output.len() as u64;
        let entry = serde_json::json!({ "dtype": "F32", "shape": output.shape, "data_offsets": [at, end] });
        header.insert(output.name.clone(), entry);
        at = end;
    }
    let mut header = serde_json::Value::Object(header).to_string();
    let padded = header.len().next_multiple_of(8);
    header.extend(std::iter::repeat_n(' ', padded - header.len()));
    header
}
