//! Scales and codes that were found elsewhere, by somebody who knows how much each column matters.

use super::q4::{ZERO_NIBBLE, index_of_largest};
use super::round_even;
use crate::dtype::DType;
use crate::panel::{GROUP, PanelLayout};
use half::f16;

/// Scales and codes of a matrix, row-major: `weight = scale * code`.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    /// `[rows, ceil(cols / 32)]`.
    pub scales: Vec<f16>,
    /// `[rows, cols]`: −127..=127 for q8, −8..=7 for q4.
    pub codes: Vec<i8>,
}

/// The smallest and the largest code of a dtype.
fn range(dtype: DType) -> (f32, f32) {
    match dtype {
        DType::Q8 => (-127.0, 127.0),
        DType::Q4 => (-8.0, 7.0),
        _ => panic!("{dtype} has no codes"),
    }
}

/// Steps on either side of the scale that uses the whole range, of which each is tried.
const STEPS: i32 = 12;

/// The scale of a group of up to 32 weights with the smallest `sum importance * (weight - scale * code)^2` that a search meets: some
/// forty candidates around the one that puts the largest weight on the outermost code (of either sign for q4, whose codes reach one
/// farther below zero), each followed by the least-squares scale of its own codes. `None` when the scale would be infinite.
///
/// # Panics
/// For a dtype without codes, or lengths that differ.
pub fn best_scale(dtype: DType, weights: &[f32], importance: &[f32]) -> Option<f16> {
    assert_eq!(weights.len(), importance.len(), "an importance for each weight");
    let (least, most) = range(dtype);
    let extreme = weights[index_of_largest(weights)];
    if extreme == 0.0 {
        return Some(f16::ZERO);
    }
    if f16::from_f32(extreme / most).is_infinite() {
        return None;
    }
    let code = |x: f32| round_even(x).clamp(least, most);
    let mut best = (f16::ZERO, f64::INFINITY);
    let mut offer = |scale: f16| {
        let step = scale.to_f32();
        if step == 0.0 || !step.is_finite() {
            return;
        }
        let (mut error, mut wc, mut cc) = (0.0, 0.0, 0.0);
        for (&w, &i) in weights.iter().zip(importance) {
            let c = code(w / step);
            let (miss, i) = (f64::from(w - step * c), f64::from(i));
            error += i * miss * miss;
            wc += i * f64::from(w) * f64::from(c);
            cc += i * f64::from(c * c);
        }
        if error < best.1 {
            best = (scale, error);
        }
        if cc > 0.0 {
            let fitted = f16::from_f32((wc / cc) as f32);
            let step = fitted.to_f32();
            let miss = |w: f32| f64::from(w - step * code(w / step));
            let error =
                weights.iter().zip(importance).map(|(&w, &i)| f64::from(i) * miss(w) * miss(w)).sum::<f64>();
            if step != 0.0 && step.is_finite() && error < best.1 {
                best = (fitted, error);
            }
        }
    };
    for k in -STEPS..=STEPS {
        let divisor = most * (1.0 + k as f32 / 40.0);
        offer(f16::from_f32(extreme.abs() / divisor));
        if dtype == DType::Q4 {
            offer(f16::from_f32(-extreme / (divisor + 1.0)));
            offer(f16::from_f32(extreme / -divisor));
        }
    }
    // Among subnormal halves every candidate may be zero.
    Some(best.0)
}

/// The code that meets a weight best; 0 where the scale is.
pub(super) fn nearest(dtype: DType, weight: f32, scale: f16) -> i8 {
    let (least, most) = range(dtype);
    let step = scale.to_f32();
    if step == 0.0 { 0 } else { round_even(weight / step).clamp(least, most) as i8 }
}

impl Codes {
    /// The code of a weight under a scale: the nearest, 0 where the scale is 0.
    ///
    /// # Panics
    /// For a dtype without codes.
    pub fn nearest(dtype: DType, weight: f32, scale: f16) -> i8 {
        nearest(dtype, weight, scale)
    }
}

/// Writes scales and codes where they belong; `bytes` are all zero before.
pub(super) fn store(layout: &PanelLayout, bytes: &mut [u8], given: &Codes) {
    let PanelLayout { dtype, rows, cols, .. } = *layout;
    let groups = cols.div_ceil(GROUP);
    assert_eq!((given.scales.len(), given.codes.len()), (rows * groups, rows * cols), "scales and codes");
    let (least, most) = range(dtype);
    assert!(given.codes.iter().all(|&c| (least..=most).contains(&f32::from(c))), "codes of {dtype}");
    let (head, codes) = bytes.split_at_mut(layout.codes.start);
    let scales = &mut head[layout.scales.clone()];
    for (row, of_row) in given.scales.chunks_exact(groups).enumerate() {
        for (group, scale) in of_row.iter().enumerate() {
            let at = layout.scale_index(row, group * GROUP) * size_of::<f16>();
            scales[at..at + size_of::<f16>()].copy_from_slice(&scale.to_le_bytes());
        }
    }
    if dtype == DType::Q4 {
        codes.fill(ZERO_NIBBLE << 4 | ZERO_NIBBLE);
    }
    for (row, of_row) in given.codes.chunks_exact(cols).enumerate() {
        for (col, &code) in of_row.iter().enumerate() {
            if dtype == DType::Q8 {
                codes[layout.q8_index(row, col)] = code as u8;
                continue;
            }
            let nibble = (code + ZERO_NIBBLE as i8) as u8;
            let (at, high) = layout.q4_index(row, col);
            codes[at] = if high { codes[at] & 0x0F | nibble << 4 } else { codes[at] & 0xF0 | nibble };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::{PackedMatrix, pack, unpack};

    fn weights(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + 11) % 101) as f32 * 0.02 - 1.0).collect()
    }

    /// What `pack` stores, taken apart and put together again, is the same bytes.
    #[test]
    fn codes_round_trip() {
        for (dtype, rows, cols) in [(DType::Q8, 9, 40), (DType::Q4, 9, 40), (DType::Q4, 8, 64)] {
            let packed = pack(dtype, &weights(rows * cols), rows, cols).unwrap();
            let (layout, values) = (packed.layout().clone(), unpack(packed.layout(), packed.bytes()));
            let groups = cols.div_ceil(GROUP);
            let stored: &[f16] = match packed.planes() {
                crate::Planes::Q8 { scales, .. } | crate::Planes::Q4 { scales, .. } => scales,
                _ => unreachable!("quantized"),
            };
            let scale = |row: usize, group: usize| stored[layout.scale_index(row, group * GROUP)];
            let codes = Codes {
                scales: (0..rows * groups).map(|i| scale(i / groups, i % groups)).collect(),
                codes: (0..rows * cols)
                    .map(|i| nearest(dtype, values[i], scale(i / cols, i % cols / GROUP)))
                    .collect(),
            };
            let again = PackedMatrix::from_codes(dtype, rows, cols, &codes).unwrap();
            assert_eq!(again.bytes(), packed.bytes(), "{dtype}");
        }
    }

    #[test]
    fn a_weighted_search_is_never_worse_by_its_own_measure() {
        for seed in 0..50 {
            let w: Vec<f32> = weights(32 * (seed + 1))[32 * seed..].to_vec();
            let importance: Vec<f32> = (0..32).map(|i| if i % 7 == seed % 7 { 30.0 } else { 0.2 }).collect();
            let error = |scale: f16| -> f64 {
                let s = scale.to_f32();
                let miss = |w: f32| f64::from(w - s * f32::from(nearest(DType::Q4, w, scale)));
                w.iter().zip(&importance).map(|(&w, &i)| f64::from(i) * miss(w).powi(2)).sum()
            };
            let packed = pack(DType::Q4, &w, 1, 32).unwrap();
            let crate::Planes::Q4 { scales, .. } = packed.planes() else { unreachable!("q4") };
            let found = best_scale(DType::Q4, &w, &importance).unwrap();
            assert!(error(found) <= error(scales[0]) * 1.02, "{} {}", error(found), error(scales[0]));
        }
    }

    #[test]
    fn zeros_and_huge_weights() {
        assert_eq!(best_scale(DType::Q4, &[0.0; 5], &[1.0; 5]), Some(f16::ZERO));
        assert_eq!(best_scale(DType::Q8, &[1e9; 5], &[1.0; 5]), None);
        assert_eq!(nearest(DType::Q4, 3.0, f16::ZERO), 0);
    }
}
