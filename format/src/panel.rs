//! Where each weight of a matrix lies: panels of 8 interleaved rows, groups of 32 columns (SPEC.md, "Tensor data").
//!
//! A kernel walks one panel front to back and feeds 8 output rows at once, so the layout on disk is the order in
//! which memory is streamed. Any number of rows and columns works: the last panel and the last group are padded
//! with zeros.

use crate::dtype::DType;
use crate::pod;
use half::f16;
use std::ops::Range;

/// Output rows that a panel interleaves.
pub const PANEL_ROWS: usize = 8;
/// Columns that share one scale per row.
pub const GROUP: usize = 32;
/// Consecutive columns of a row that lie side by side in a quantized panel.
pub const CHUNK: usize = 4;
/// Alignment of sections, tensors and planes in the file, bytes.
pub const ALIGN: usize = 64;

/// Bytes and planes of one matrix of `rows` outputs and `cols` inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanelLayout {
    /// Storage type.
    pub dtype: DType,
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
    /// `ceil(rows / 8)`.
    pub n_panels: usize,
    /// `ceil(cols / 32)`; unused by f32 and f16.
    pub n_groups: usize,
    /// Bytes of the scales plane, `f16 [n_panels][n_groups][8]`; empty for f32 and f16.
    pub scales: Range<usize>,
    /// Bytes of the weights (f32, f16) or codes (q8, q4); starts at a multiple of 64.
    pub codes: Range<usize>,
}

/// `n` rounded up to a multiple of [`ALIGN`], `None` when that overflows.
pub fn align_up(n: usize) -> Option<usize> {
    n.checked_next_multiple_of(ALIGN)
}

impl PanelLayout {
    /// The layout of a matrix, `None` when a dimension is 0 or the bytes do not fit the address space.
    pub fn new(dtype: DType, rows: usize, cols: usize) -> Option<PanelLayout> {
        if rows == 0 || cols == 0 {
            return None;
        }
        let n_panels = rows.div_ceil(PANEL_ROWS);
        let n_groups = cols.div_ceil(GROUP);
        let per_panel = |bytes_per_panel: usize| n_panels.checked_mul(bytes_per_panel);
        let scale_bytes = if dtype.is_quantized() {
            per_panel(n_groups.checked_mul(PANEL_ROWS * size_of::<f16>())?)?
        } else {
            0
        };
        let code_bytes = match dtype {
            DType::F32 => per_panel(cols.checked_mul(PANEL_ROWS * size_of::<f32>())?)?,
            DType::F16 => per_panel(cols.checked_mul(PANEL_ROWS * size_of::<f16>())?)?,
            DType::Q8 => per_panel(n_groups.checked_mul(PANEL_ROWS * GROUP)?)?,
            DType::Q4 => per_panel(n_groups.checked_mul(PANEL_ROWS * GROUP / 2)?)?,
        };
        let codes_at = align_up(scale_bytes)?;
        let end = codes_at.checked_add(code_bytes).filter(|&end| end <= isize::MAX as usize)?;
        Some(PanelLayout {
            dtype,
            rows,
            cols,
            n_panels,
            n_groups,
            scales: 0..scale_bytes,
            codes: codes_at..end,
        })
    }

    /// Bytes of the whole tensor, without the padding that follows it in the file.
    pub fn bytes(&self) -> usize {
        self.codes.end
    }

    /// Bytes of one panel in the scales plane.
    pub fn scale_stride(&self) -> usize {
        self.scales.len() / self.n_panels
    }

    /// Bytes of one panel in the codes plane.
    pub fn code_stride(&self) -> usize {
        self.codes.len() / self.n_panels
    }

    /// The typed planes of a tensor stored in `bytes`.
    ///
    /// # Panics
    /// When `bytes` is not [`Self::bytes`] long or not aligned for its element type; a file's tensors always are.
    pub fn planes<'a>(&self, bytes: &'a [u8]) -> Planes<'a> {
        assert_eq!(bytes.len(), self.bytes(), "bytes of a {}x{} {} matrix", self.rows, self.cols, self.dtype);
        let scales = pod::f16s(&bytes[self.scales.clone()]);
        let codes = &bytes[self.codes.clone()];
        match self.dtype {
            DType::F32 => Planes::F32(pod::f32s(codes)),
            DType::F16 => Planes::F16(pod::f16s(codes)),
            DType::Q8 => Planes::Q8 { scales, codes: pod::i8s(codes) },
            DType::Q4 => Planes::Q4 { scales, codes },
        }
    }

    /// Index of weight (`row`, `col`) in an f32 or f16 plane, elements.
    pub fn float_index(&self, row: usize, col: usize) -> usize {
        (row / PANEL_ROWS * self.cols + col) * PANEL_ROWS + row % PANEL_ROWS
    }

    /// Index of the scale of (`row`, `col`) in the scales plane, elements.
    pub fn scale_index(&self, row: usize, col: usize) -> usize {
        (row / PANEL_ROWS * self.n_groups + col / GROUP) * PANEL_ROWS + row % PANEL_ROWS
    }

    /// Index of the code of (`row`, `col`) in a q8 plane, bytes.
    pub fn q8_index(&self, row: usize, col: usize) -> usize {
        let group = row / PANEL_ROWS * self.n_groups + col / GROUP;
        group * PANEL_ROWS * GROUP + in_group(row, col % GROUP)
    }

    /// Index of the byte that holds (`row`, `col`) in a q4 plane, and whether it is the high nibble.
    pub fn q4_index(&self, row: usize, col: usize) -> (usize, bool) {
        let group = row / PANEL_ROWS * self.n_groups + col / GROUP;
        let k = col % GROUP;
        let high = k >= GROUP / 2;
        (group * PANEL_ROWS * GROUP / 2 + in_group(row, k % (GROUP / 2)), high)
    }
}

/// Offset of column `k` of `row` inside a group of `[chunks][8 rows][4 k]`.
fn in_group(row: usize, k: usize) -> usize {
    (k / CHUNK * PANEL_ROWS + row % PANEL_ROWS) * CHUNK + k % CHUNK
}

/// The typed planes of a matrix. Element orders are those of [`PanelLayout`].
#[derive(Clone, Copy, Debug)]
pub enum Planes<'a> {
    /// `[n_panels][cols][8 rows]`.
    F32(&'a [f32]),
    /// `[n_panels][cols][8 rows]`.
    F16(&'a [f16]),
    /// Weight = scale · code, code in [-127, 127].
    Q8 {
        /// `[n_panels][n_groups][8 rows]`.
        scales: &'a [f16],
        /// `[n_panels][n_groups][8 chunks][8 rows][4 k]`, column `32 group + 4 chunk + k`.
        codes: &'a [i8],
    },
    /// Weight = scale · (nibble − 8).
    Q4 {
        /// `[n_panels][n_groups][8 rows]`.
        scales: &'a [f16],
        /// `[n_panels][n_groups][4 chunks][8 rows][4 k]`, low nibble column `32 group + 4 chunk + k`, high
        /// nibble the column 16 after it.
        codes: &'a [u8],
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_by_hand() {
        let f32s = PanelLayout::new(DType::F32, 9, 33).unwrap();
        assert_eq!((f32s.n_panels, f32s.codes.clone(), f32s.bytes()), (2, 0..2 * 33 * 32, 2112));
        let f16s = PanelLayout::new(DType::F16, 1, 1).unwrap();
        assert_eq!(f16s.bytes(), 16);
        let q8 = PanelLayout::new(DType::Q8, 9, 33).unwrap();
        assert_eq!((q8.n_groups, q8.scales.clone(), q8.codes.clone()), (2, 0..64, 64..64 + 1024));
        let q8 = PanelLayout::new(DType::Q8, 1, 1).unwrap();
        assert_eq!((q8.scales.clone(), q8.codes.clone()), (0..16, 64..64 + 256));
        let q4 = PanelLayout::new(DType::Q4, 64, 96).unwrap();
        assert_eq!((q4.scales.clone(), q4.codes.clone()), (0..384, 384..384 + 8 * 3 * 128));
    }

    #[test]
    fn empty_and_overflowing_shapes_have_no_layout() {
        for dtype in DType::ALL {
            for (rows, cols) in [(0, 1), (1, 0), (usize::MAX, 1), (1, usize::MAX), (1 << 33, 1 << 33)] {
                assert_eq!(PanelLayout::new(dtype, rows, cols), None, "{rows}x{cols} {dtype}");
            }
        }
        // 2^30 panels of 2^28 columns: the product with 8 rows and 4 bytes passes isize::MAX by one.
        assert_eq!(PanelLayout::new(DType::F32, 1 << 33, 1 << 28), None);
        assert!(PanelLayout::new(DType::F32, 1 << 33, (1 << 28) - 1).is_some());
    }

    /// Every weight has its own place, and padding takes the rest.
    #[test]
    fn indices_are_unique_and_in_range() {
        for (rows, cols) in [(1, 1), (7, 31), (8, 32), (9, 33), (17, 70)] {
            let q8 = PanelLayout::new(DType::Q8, rows, cols).unwrap();
            let q4 = PanelLayout::new(DType::Q4, rows, cols).unwrap();
            let f32 = PanelLayout::new(DType::F32, rows, cols).unwrap();
            let mut seen =
                [vec![0u8; q8.codes.len()], vec![0; 2 * q4.codes.len()], vec![0; f32.codes.len() / 4]];
            for row in 0..rows {
                for col in 0..cols {
                    seen[0][q8.q8_index(row, col)] += 1;
                    let (byte, high) = q4.q4_index(row, col);
                    seen[1][2 * byte + high as usize] += 1;
                    seen[2][f32.float_index(row, col)] += 1;
                    assert!(q8.scale_index(row, col) < q8.scales.len() / 2);
                }
            }
            for plane in seen {
                assert!(plane.iter().all(|&n| n <= 1));
                assert_eq!(plane.iter().filter(|&&n| n == 1).count(), rows * cols);
            }
        }
    }
}
