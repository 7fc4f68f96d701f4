//! f32 panels: the weights themselves, 8 rows interleaved.

use crate::panel::PANEL_ROWS;

/// Stores `weights` (`[n_rows, cols]`) as little-endian floats, `[cols][8 rows]`.
pub(super) fn pack(weights: &[f32], cols: usize, codes: &mut [u8]) {
    for (row, weights) in weights.chunks_exact(cols).enumerate() {
        for (col, weight) in weights.iter().enumerate() {
            let at = (col * PANEL_ROWS + row) * size_of::<f32>();
            codes[at..at + size_of::<f32>()].copy_from_slice(&weight.to_le_bytes());
        }
    }
}
