//! q8 panels: 8-bit codes, an f16 scale per row and group of 32 (SPEC.md, "q8").

use super::{TooLarge, round_even};
use crate::panel::{CHUNK, GROUP, PANEL_ROWS, PanelLayout};
use half::f16;

/// Largest code; -128 is not used, so that negation is exact and i16 pair sums cannot overflow in kernels.
const MAX_CODE: f32 = 127.0;

/// Stores `weights` (`[n_rows, cols]`): scales `[n_groups][8]`, codes `[n_groups][8 chunks][8 rows][4]`.
pub(super) fn pack(
    weights: &[f32],
    cols: usize,
    scales: &mut [u8],
    codes: &mut [u8],
) -> Result<(), TooLarge> {
    for (row, row_weights) in weights.chunks_exact(cols).enumerate() {
        for (group, group_weights) in row_weights.chunks(GROUP).enumerate() {
            let largest = super::q4::index_of_largest(group_weights);
            let scale = scale_for(group_weights[largest].abs())
                .ok_or(TooLarge { flat: row * cols + group * GROUP + largest })?;
            let at = (group * PANEL_ROWS + row) * size_of::<f16>();
            scales[at..at + size_of::<f16>()].copy_from_slice(&scale.to_le_bytes());
            if scale == f16::ZERO {
                continue;
            }
            let panel_group = &mut codes[group * PANEL_ROWS * GROUP..][..PANEL_ROWS * GROUP];
            let step = scale.to_f32();
            for (chunk, chunk_weights) in group_weights.chunks(CHUNK).enumerate() {
                let at = (chunk * PANEL_ROWS + row) * CHUNK;
                for (code, weight) in panel_group[at..at + CHUNK].iter_mut().zip(chunk_weights) {
                    *code = round_even(weight / step).clamp(-MAX_CODE, MAX_CODE) as i8 as u8;
                }
            }
        }
    }
    Ok(())
}

/// `amax / 127` as a half, `None` when that overflows.
///
/// Among subnormal halves rounding down can lose much of the range; there the next half up is taken, so that the
/// largest weight is never clipped and every weight is met within half a step.
fn scale_for(amax: f32) -> Option<f16> {
    let nearest = f16::from_f32(amax / MAX_CODE);
    if nearest.is_infinite() {
        return None;
    }
    let clips = amax > (MAX_CODE + 0.5) * nearest.to_f32();
    Some(if clips { f16::from_bits(nearest.to_bits() + 1) } else { nearest })
}

/// Row `row`: scale · code, column by column.
pub(super) fn unpack_row(layout: &PanelLayout, scales: &[f16], codes: &[i8], row: usize, out: &mut [f32]) {
    for (group, out) in out.chunks_mut(GROUP).enumerate() {
        let scale = scales[layout.scale_index(row, group * GROUP)].to_f32();
        for (chunk, out) in out.chunks_mut(CHUNK).enumerate() {
            let codes = &codes[layout.q8_index(row, group * GROUP + chunk * CHUNK)..];
            out.iter_mut().zip(codes).for_each(|(o, &code)| *o = scale * f32::from(code));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_never_clip_and_never_overflow() {
        assert_eq!(scale_for(0.0), Some(f16::ZERO));
        assert_eq!(scale_for(127.0), Some(f16::ONE));
        assert_eq!(scale_for(65504.0 * 127.0), Some(f16::MAX));
        assert_eq!(scale_for(65520.0 * 127.0), None);
        assert_eq!(scale_for(f32::MAX), None);
        let smallest = f16::from_bits(1);
        assert_eq!(scale_for(f32::from_bits(1)), Some(smallest));
        assert_eq!(scale_for(smallest.to_f32() * 127.0 * 1.4), Some(f16::from_bits(2)));
        let mut amax = 1e-9f32;
        while amax < 8e6 {
            let scale = scale_for(amax).unwrap().to_f32();
            assert!(amax <= 127.5 * scale, "{amax} with scale {scale}");
            amax *= 1.01;
        }
    }
}
