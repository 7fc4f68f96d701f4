//! Row-major floats to panels and back (SPEC.md, "Quantization").
//!
//! A matrix is packed panel by panel, so a caller can convert 8 rows at a time from whatever it has and hand the
//! panels to as many threads as it likes: the bytes depend on the weights alone.

mod f16;
mod f32;
mod q4;
mod q8;
mod weighted;

pub use weighted::{Codes, best_scale};

use crate::dtype::DType;
use crate::panel::{PANEL_ROWS, PanelLayout, Planes};
use crate::pod::AlignedBytes;
use std::fmt;

/// Why a matrix cannot be stored.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum QuantError {
    /// A weight is NaN or infinite.
    NotFinite {
        /// Row of the weight.
        row: usize,
        /// Column of the weight.
        col: usize,
        /// The weight.
        value: f32,
    },
    /// A weight is beyond what the dtype can hold.
    OutOfRange {
        /// Row of the weight.
        row: usize,
        /// Column of the weight.
        col: usize,
        /// The weight.
        value: f32,
        /// The dtype asked for.
        dtype: DType,
    },
    /// A dimension is 0, or the bytes do not fit into memory.
    Size {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
    },
}

impl fmt::Display for QuantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QuantError::NotFinite { row, col, value } => {
                write!(f, "weight [{row}, {col}] is {value}, expected a finite number")
            }
            QuantError::OutOfRange { row, col, value, dtype } => {
                write!(f, "weight [{row}, {col}] is {value}, beyond what {dtype} can hold; use f32")
            }
            QuantError::Size { rows, cols } => {
                write!(f, "a matrix of {rows} x {cols} is empty or does not fit into memory")
            }
        }
    }
}

impl std::error::Error for QuantError {}

/// A matrix in the panels of its dtype, all zeros until its panels are packed.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    layout: PanelLayout,
    bytes: AlignedBytes,
}

impl PackedMatrix {
    /// A matrix of zeros.
    ///
    /// # Errors
    /// [`QuantError::Size`] for an empty shape or one that does not fit into memory.
    pub fn zeroed(dtype: DType, rows: usize, cols: usize) -> Result<PackedMatrix, QuantError> {
        let size = QuantError::Size { rows, cols };
        let layout = PanelLayout::new(dtype, rows, cols).ok_or(size.clone())?;
        let bytes = AlignedBytes::zeroed(layout.bytes()).ok_or(size)?;
        Ok(PackedMatrix { layout, bytes })
    }

    /// A q8 or q4 matrix of given scales and codes.
    ///
    /// # Errors
    /// [`QuantError::Size`] for an empty shape or one that does not fit into memory.
    ///
    /// # Panics
    /// For another dtype, lengths that are not those of the shape, or a code outside −127..=127 (q8) or −8..=7 (q4).
    pub fn from_codes(
        dtype: DType,
        rows: usize,
        cols: usize,
        codes: &Codes,
    ) -> Result<PackedMatrix, QuantError> {
        let mut packed = PackedMatrix::zeroed(dtype, rows, cols)?;
        weighted::store(&packed.layout, &mut packed.bytes, codes);
        Ok(packed)
    }

    /// Where everything lies.
    pub fn layout(&self) -> &PanelLayout {
        &self.layout
    }

    /// The stored bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The stored bytes, owned.
    pub fn into_bytes(self) -> AlignedBytes {
        self.bytes
    }

    /// The typed planes.
    pub fn planes(&self) -> Planes<'_> {
        self.layout.planes(&self.bytes)
    }

    /// The panels from first to last, each to be packed once, by any thread.
    pub fn panels_mut(&mut self) -> Vec<PanelMut<'_>> {
        let PanelLayout { dtype, rows, cols, n_panels, .. } = self.layout;
        let (scale_stride, code_stride) = (self.layout.scale_stride(), self.layout.code_stride());
        let (head, mut codes) = self.bytes.split_at_mut(self.layout.codes.start);
        let mut scales = &mut head[self.layout.scales.clone()];
        let mut panels = Vec::with_capacity(n_panels);
        for panel in 0..n_panels {
            let first_row = panel * PANEL_ROWS;
            panels.push(PanelMut {
                dtype,
                first_row,
                n_rows: PANEL_ROWS.min(rows - first_row),
                cols,
                scales: scales.split_off_mut(..scale_stride).expect("one stride per panel"),
                codes: codes.split_off_mut(..code_stride).expect("one stride per panel"),
            });
        }
        panels
    }
}

/// One panel of a [`PackedMatrix`]: up to 8 rows.
#[derive(Debug)]
pub struct PanelMut<'a> {
    dtype: DType,
    first_row: usize,
    n_rows: usize,
    cols: usize,
    scales: &'a mut [u8],
    codes: &'a mut [u8],
}

impl PanelMut<'_> {
    /// Row of the matrix that the panel's first row is.
    pub fn first_row(&self) -> usize {
        self.first_row
    }

    /// Rows of the matrix in this panel: 8, fewer in the last one.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Stores the panel's rows, `weights` being `[n_rows, cols]` row-major.
    ///
    /// # Errors
    /// A weight that is not finite, or that the dtype cannot hold.
    ///
    /// # Panics
    /// When `weights` is not `n_rows * cols` long.
    pub fn pack(&mut self, weights: &[std::primitive::f32]) -> Result<(), QuantError> {
        assert_eq!(weights.len(), self.n_rows * self.cols, "weights of one panel");
        let located = |flat: usize| (self.first_row + flat / self.cols, flat % self.cols);
        if let Some(flat) = weights.iter().position(|w| !w.is_finite()) {
            let (row, col) = located(flat);
            return Err(QuantError::NotFinite { row, col, value: weights[flat] });
        }
        let packed = match self.dtype {
            DType::F32 => {
                f32::pack(weights, self.cols, self.codes);
                Ok(())
            }
            DType::F16 => f16::pack(weights, self.cols, self.codes),
            DType::Q8 => q8::pack(weights, self.cols, self.scales, self.codes),
            DType::Q4 => q4::pack(weights, self.cols, self.scales, self.codes),
        };
        packed.map_err(|TooLarge { flat }| {
            let (row, col) = located(flat);
            QuantError::OutOfRange { row, col, value: weights[flat], dtype: self.dtype }
        })
    }
}

/// A weight, by its index in the panel's row-major weights, is beyond the dtype's range.
#[derive(Debug)]
struct TooLarge {
    flat: usize,
}

/// Packs a row-major matrix `[rows, cols]`.
///
/// # Errors
/// A weight that is not finite or that `dtype` cannot hold, or a size that does not fit into memory.
///
/// # Panics
/// When `weights` is not `rows * cols` long.
pub fn pack(
    dtype: DType,
    weights: &[std::primitive::f32],
    rows: usize,
    cols: usize,
) -> Result<PackedMatrix, QuantError> {
    assert_eq!(Some(weights.len()), rows.checked_mul(cols), "weights of a {rows} x {cols} matrix");
    let mut packed = PackedMatrix::zeroed(dtype, rows, cols)?;
    for mut panel in packed.panels_mut() {
        let start = panel.first_row() * cols;
        let end = start + panel.n_rows() * cols;
        panel.pack(&weights[start..end])?;
    }
    Ok(packed)
}

/// The row-major matrix `[rows, cols]` that the kernels compute with.
///
/// # Panics
/// When `bytes` is not as long as `layout` says.
pub fn unpack(layout: &PanelLayout, bytes: &[u8]) -> Vec<std::primitive::f32> {
    let planes = layout.planes(bytes);
    let mut weights = vec![0.0; layout.rows * layout.cols];
    for (row, out) in weights.chunks_exact_mut(layout.cols).enumerate() {
        unpack_row(layout, &planes, row, out);
    }
    weights
}

/// One row of the matrix, `out` being `[cols]`. An embedding looks its tokens up with this.
///
/// # Panics
/// When `row` is not below `layout.rows`, `out` is not `layout.cols` long, or `planes` belong to another layout.
pub fn unpack_row(layout: &PanelLayout, planes: &Planes<'_>, row: usize, out: &mut [std::primitive::f32]) {
    assert!(row < layout.rows, "row {row} of {}", layout.rows);
    assert_eq!(out.len(), layout.cols, "columns of a row");
    match *planes {
        Planes::F32(weights) => {
            let row = &weights[layout.float_index(row, 0)..];
            out.iter_mut().zip(row.iter().step_by(PANEL_ROWS)).for_each(|(o, &w)| *o = w);
        }
        Planes::F16(weights) => {
            let row = &weights[layout.float_index(row, 0)..];
            out.iter_mut().zip(row.iter().step_by(PANEL_ROWS)).for_each(|(o, w)| *o = w.to_f32());
        }
        Planes::Q8 { scales, codes } => q8::unpack_row(layout, scales, codes, row, out),
        Planes::Q4 { scales, codes } => q4::unpack_row(layout, scales, codes, row, out),
    }
}

/// `x` rounded to the nearest integer, ties to even, for |x| < 2^22. Adding 1.5 · 2^23 leaves no fraction bits, and
/// unlike `round_ties_even` it is two plain additions on every target.
fn round_even(x: std::primitive::f32) -> std::primitive::f32 {
    const MAGIC: std::primitive::f32 = 12_582_912.0;
    (x + MAGIC) - MAGIC
}

#[cfg(test)]
mod tests;
