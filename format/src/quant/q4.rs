//! q4 panels: 4-bit codes, an f16 scale per row and group of 32 (SPEC.md, "q4").

use super::{TooLarge, round_even};
use crate::panel::{CHUNK, GROUP, PANEL_ROWS, PanelLayout};
use half::f16;

/// What a nibble holds for weight 0: nibble = code + 8, code in [-8, 7].
pub(super) const ZERO_NIBBLE: u8 = 8;
/// A byte of two zero weights.
const ZERO_BYTE: u8 = ZERO_NIBBLE << 4 | ZERO_NIBBLE;
/// Bytes of one group of a panel.
const GROUP_BYTES: usize = PANEL_ROWS * GROUP / 2;

/// Stores `weights` (`[n_rows, cols]`): scales `[n_groups][8]`, codes `[n_groups][4 chunks][8 rows][4]`.
pub(super) fn pack(
    weights: &[f32],
    cols: usize,
    scales: &mut [u8],
    codes: &mut [u8],
) -> Result<(), TooLarge> {
    codes.fill(ZERO_BYTE);
    for (row, row_weights) in weights.chunks_exact(cols).enumerate() {
        for (group, group_weights) in row_weights.chunks(GROUP).enumerate() {
            let mut padded = [0.0; GROUP];
            padded[..group_weights.len()].copy_from_slice(group_weights);
            let scale = search_scale(&padded)
                .map_err(|TooLarge { flat }| TooLarge { flat: row * cols + group * GROUP + flat })?;
            let at = (group * PANEL_ROWS + row) * size_of::<f16>();
            scales[at..at + size_of::<f16>()].copy_from_slice(&scale.to_le_bytes());
            if scale.to_f32() == 0.0 {
                continue;
            }
            let nibbles = padded.map(|w| (code(w / scale.to_f32()) + f32::from(ZERO_NIBBLE)) as u8);
            let panel_group = &mut codes[group * GROUP_BYTES..][..GROUP_BYTES];
            for k in 0..GROUP / 2 {
                let at = (k / CHUNK * PANEL_ROWS + row) * CHUNK + k % CHUNK;
                panel_group[at] = nibbles[k] | nibbles[k + GROUP / 2] << 4;
            }
        }
    }
    Ok(())
}

/// Nearest code of a weight in units of its scale.
fn code(x: f32) -> f32 {
    round_even(x).clamp(-8.0, 7.0)
}

/// Index of the weight of largest magnitude, the first of equals.
pub(super) fn index_of_largest(weights: &[f32]) -> usize {
    let mut largest = 0;
    for (index, weight) in weights.iter().enumerate() {
        if weight.abs() > weights[largest].abs() {
            largest = index;
        }
    }
    largest
}

/// Candidate scales are the largest weight over ±these: 8 (or −8) puts it on the outermost code, more clips it in
/// exchange for finer steps, and less leaves outer codes unused. On Gaussian weights these 24 come within 0.3 % of the
/// squared error of a sweep over 700.
const DIVISORS: [f32; 12] = [8.0, 7.0, 7.25, 7.5, 7.75, 8.25, 8.5, 8.75, 9.0, 9.5, 10.0, 6.5];

/// The f16 scale, of either sign, with the smallest squared error over the group that the search meets.
///
/// The candidates of both signs first; then the best one is refined twice by the least-squares scale of its own
/// codes. Ties go to the earlier candidate. All in f32 with one order of operations: the same weights give the same
/// scale everywhere.
fn search_scale(weights: &[f32; GROUP]) -> Result<f16, TooLarge> {
    let flat = index_of_largest(weights);
    let extreme = weights[flat];
    if f16::from_f32(extreme / 8.0).is_infinite() {
        return Err(TooLarge { flat });
    }
    let mut best = Best { scale: f16::ZERO, error: squared_error(weights, 0.0) };
    for divisor in DIVISORS {
        best.offer(weights, f16::from_f32(extreme / -divisor));
        best.offer(weights, f16::from_f32(extreme / divisor));
    }
    for _ in 0..2 {
        best.offer(weights, f16::from_f32(least_squares(weights, best.scale.to_f32())));
    }
    Ok(best.scale)
}

struct Best {
    scale: f16,
    error: f32,
}

impl Best {
    fn offer(&mut self, weights: &[f32; GROUP], scale: f16) {
        if !scale.is_finite() || scale.to_f32() == 0.0 {
            return;
        }
        let error = squared_error(weights, scale.to_f32());
        if error < self.error {
            *self = Best { scale, error };
        }
    }
}

/// Sum of (w − scale · code)² in 8 lanes; with scale 0 every weight is met by 0.
fn squared_error(weights: &[f32; GROUP], scale: f32) -> f32 {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut lanes = [0.0f32; 8];
    for eight in weights.chunks_exact(8) {
        for (lane, &w) in lanes.iter_mut().zip(eight) {
            let error = w - scale * code(w * inverse);
            *lane += error * error;
        }
    }
    sum(lanes)
}

/// The scale that meets the weights best while their codes stay those of `scale`: Σ w·code / Σ code².
fn least_squares(weights: &[f32; GROUP], scale: f32) -> f32 {
    if scale == 0.0 {
        return 0.0;
    }
    let inverse = 1.0 / scale;
    let (mut wc, mut cc) = ([0.0f32; 8], [0.0f32; 8]);
    for eight in weights.chunks_exact(8) {
        for lane in 0..8 {
            let code = code(eight[lane] * inverse);
            wc[lane] += eight[lane] * code;
            cc[lane] += code * code;
        }
    }
    let cc = sum(cc);
    if cc == 0.0 { scale } else { sum(wc) / cc }
}

fn sum(l: [f32; 8]) -> f32 {
    ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
}

/// Row `row`: scale · (nibble − 8), column by column.
pub(super) fn unpack_row(layout: &PanelLayout, scales: &[f16], codes: &[u8], row: usize, out: &mut [f32]) {
    for (group, out) in out.chunks_mut(GROUP).enumerate() {
        let scale = scales[layout.scale_index(row, group * GROUP)].to_f32();
        for (k, out) in out.iter_mut().enumerate() {
            let (at, high) = layout.q4_index(row, group * GROUP + k);
            let nibble = if high { codes[at] >> 4 } else { codes[at] & 15 };
            *out = scale * f32::from(nibble as i8 - ZERO_NIBBLE as i8);
        }
    }
}
