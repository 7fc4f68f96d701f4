//! Weight matrices and activations as the kernels read them: borrowed, typed, in the file's panel layout.
//!
//! A panel is eight rows, interleaved so that one vector holds the same column (or the same four columns) of all
//! eight. SPEC.md of the format gives the layouts byte by byte.

use super::simd::{GROUP, LANES, Q4_GROUP, Q8_GROUP};
use half::f16;

/// A weight matrix `[rows, cols]` in panels of eight rows; `y = W x`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
    /// The weights.
    pub data: Panels<'a>,
}

/// The weights of a [`Matrix`]. Rows beyond the last are padding.
#[derive(Clone, Copy, Debug)]
pub enum Panels<'a> {
    /// `[n_panels][cols][8 rows]`.
    F32(&'a [[f32; LANES]]),
    /// `[n_panels][cols][8 rows]`.
    F16(&'a [[f16; LANES]]),
    /// Codes in [-127, 127] with a half scale per row and group of 32 columns.
    Q8 {
        /// `[n_panels][n_groups][8 rows]`.
        scales: &'a [[f16; LANES]],
        /// `[n_panels][n_groups][8 chunks][8 rows][4 k]`.
        codes: &'a [[i8; Q8_GROUP]],
    },
    /// Nibbles, offset by 8, with a half scale per row and group of 32 columns.
    Q4 {
        /// `[n_panels][n_groups][8 rows]`.
        scales: &'a [[f16; LANES]],
        /// `[n_panels][n_groups][4 chunks][8 rows][4]`: columns `4 chunk + j` low, `16 + 4 chunk + j` high.
        codes: &'a [[u8; Q4_GROUP]],
    },
}

impl<'a> Matrix<'a> {
    /// A matrix over its data; `None` when the slices do not have the lengths that the shape asks for.
    pub fn new(rows: usize, cols: usize, data: Panels<'a>) -> Option<Self> {
        let panels = rows.div_ceil(LANES);
        let floats = panels.checked_mul(cols)?;
        let groups = panels.checked_mul(cols.div_ceil(GROUP))?;
        let fits = match data {
            Panels::F32(w) => w.len() == floats,
            Panels::F16(w) => w.len() == floats,
            Panels::Q8 { scales, codes } => scales.len() == groups && codes.len() == groups,
            Panels::Q4 { scales, codes } => scales.len() == groups && codes.len() == groups,
        };
        fits.then_some(Matrix { rows, cols, data })
    }

    /// Panels of eight rows, the last maybe part padding.
    pub fn n_panels(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// Groups of 32 columns, the last maybe part padding.
    pub fn n_groups(&self) -> usize {
        self.cols.div_ceil(GROUP)
    }

    /// Whether the product takes activations in 8-bit codes rather than in floats.
    pub fn is_quantized(&self) -> bool {
        matches!(self.data, Panels::Q8 { .. } | Panels::Q4 { .. })
    }

    /// Bytes of one panel: what a product must stream for eight outputs.
    pub fn panel_bytes(&self) -> usize {
        match self.data {
            Panels::F32(_) => self.cols * LANES * 4,
            Panels::F16(_) => self.cols * LANES * 2,
            Panels::Q8 { .. } => self.n_groups() * (Q8_GROUP + 2 * LANES),
            Panels::Q4 { .. } => self.n_groups() * (Q4_GROUP + 2 * LANES),
        }
    }

    /// Writes row `r`, dequantized, to `out` `[cols]`: how an embedding is read out of its panels.
    ///
    /// # Panics
    /// When `r` is not a row or `out` is not `cols` long.
    pub fn read_row(&self, r: usize, out: &mut [f32]) {
        assert!(r < self.rows && out.len() == self.cols, "row {r} of {}x{}", self.rows, self.cols);
        let (panel, lane) = (r / LANES, r % LANES);
        match self.data {
            Panels::F32(w) => {
                for (out, w) in out.iter_mut().zip(&w[panel * self.cols..]) {
                    *out = w[lane];
                }
            }
            Panels::F16(w) => {
                for (out, w) in out.iter_mut().zip(&w[panel * self.cols..]) {
                    *out = w[lane].to_f32_const();
                }
            }
            Panels::Q8 { scales, codes } => {
                for (g, out) in out.chunks_mut(GROUP).enumerate() {
                    let at = panel * self.n_groups() + g;
                    let scale = scales[at][lane].to_f32_const();
                    for (k, out) in out.iter_mut().enumerate() {
                        *out = scale * codes[at][k / 4 * GROUP + lane * 4 + k % 4] as f32;
                    }
                }
            }
            Panels::Q4 { scales, codes } => {
                for (g, out) in out.chunks_mut(GROUP).enumerate() {
                    let at = panel * self.n_groups() + g;
                    let scale = scales[at][lane].to_f32_const();
                    for (k, out) in out.iter_mut().enumerate() {
                        let byte = codes[at][k % 16 / 4 * GROUP + lane * 4 + k % 4];
                        let nibble = if k < 16 { byte & 15 } else { byte >> 4 };
                        *out = scale * (nibble as i32 - 8) as f32;
                    }
                }
            }
        }
    }
}

/// The right-hand side of a product: `tokens` rows of `cols` activations, as floats and, for quantized weights,
/// as codes (`quantize.rs`).
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Rows.
    pub tokens: usize,
    /// `[tokens, cols]`, read by f32 and f16 weights.
    pub x: &'a [f32],
    /// `[tokens, n_groups]` groups of codes, read by q8 and q4 weights.
    pub codes: &'a [[i8; GROUP]],
    /// `[tokens, n_groups]`: what a code is worth.
    pub scales: &'a [f32],
    /// `[tokens, n_groups]`: sum of a group's codes.
    pub sums: &'a [i32],
}
