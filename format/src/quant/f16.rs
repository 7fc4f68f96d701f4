//! f16 panels: weights rounded to the nearest half, ties to even, 8 rows interleaved.

use super::TooLarge;
use crate::panel::PANEL_ROWS;
use half::f16;

/// Stores `weights` (`[n_rows, cols]`) as little-endian halves, `[cols][8 rows]`.
pub(super) fn pack(weights: &[f32], cols: usize, codes: &mut [u8]) -> Result<(), TooLarge> {
    for (row, row_weights) in weights.chunks_exact(cols).enumerate() {
        for (col, &weight) in row_weights.iter().enumerate() {
            let half = f16::from_f32(weight);
            if half.is_infinite() {
                return Err(TooLarge { flat: row * cols + col });
            }
            let at = (col * PANEL_ROWS + row) * size_of::<f16>();
            codes[at..at + size_of::<f16>()].copy_from_slice(&half.to_le_bytes());
        }
    }
    Ok(())
}
