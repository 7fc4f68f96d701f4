//! Rounding with error feedback (Hassibi & Stork 1993; GPTQ, Frantar et al. 2022).
//!
//! Columns are rounded from first to last. With U of [`Factor`], what column j lost in a row, `e = (w_j - q_j) / U_jj`, moves the columns that
//! follow by `w_k -= e U_jk`: the step that, to second order, keeps the row's answers where they were. The scale of a group is chosen when
//! its first column comes, from the weights as they are by then.

use half::f16;
use rayon::prelude::*;
use siskin_format::DType;
use siskin_format::panel::GROUP;
use siskin_format::quant::{Codes, PackedMatrix, QuantError, best_scale};

use super::hessian::{Factor, Hessian};

/// Rows that share each reading of the factor.
const ROWS: usize = 8;

/// `weights` `[rows, cols]` as a q8 or q4 matrix whose answers to the inputs of `hessian` come near those of the weights.
///
/// # Errors
/// A weight that is not finite or that the dtype cannot hold, or a size that does not fit into memory.
///
/// # Panics
/// For another dtype, or a Hessian of another width.
pub fn quantize(
    dtype: DType,
    weights: &[f32],
    (rows, cols): (usize, usize),
    hessian: &Hessian,
) -> Result<PackedMatrix, QuantError> {
    assert_eq!((weights.len(), hessian.cols()), (rows * cols, cols), "a Hessian of the matrix's width");
    let at = |flat: usize| (flat / cols, flat % cols, weights[flat]);
    if let Some(flat) = weights.iter().position(|w| !w.is_finite()) {
        let (row, col, value) = at(flat);
        return Err(QuantError::NotFinite { row, col, value });
    }
    let (importance, factor) = (hessian.importance(), hessian.factor());
    let groups = cols.div_ceil(GROUP);
    let mut codes = Codes { scales: vec![f16::ZERO; rows * groups], codes: vec![0; rows * cols] };
    let parts = codes.scales.par_chunks_mut(ROWS * groups).zip(codes.codes.par_chunks_mut(ROWS * cols));
    let too_large =
        parts.zip(weights.par_chunks(ROWS * cols)).enumerate().find_map_any(|(part, ((s, c), w))| {
            let mut w = w.to_vec();
            let group = round_rows(dtype, &mut w, cols, &importance, factor.as_ref(), s, c)?;
            Some(part * ROWS * cols + group)
        });
    if let Some(flat) = too_large {
        let (row, col, value) = at(flat);
        return Err(QuantError::OutOfRange { row, col, value, dtype });
    }
    PackedMatrix::from_codes(dtype, rows, cols, &codes)
}

/// Rounds some rows; gives the index of the first weight of a group that the dtype cannot hold, if there is one.
fn round_rows(
    dtype: DType,
    w: &mut [f32],
    cols: usize,
    importance: &[f32],
    factor: Option<&Factor>,
    scales: &mut [f16],
    codes: &mut [i8],
) -> Option<usize> {
    let groups = cols.div_ceil(GROUP);
    for j in 0..cols {
        let (group, last) = (j / GROUP, (j / GROUP * GROUP + GROUP).min(cols));
        if j % GROUP == 0 {
            for (row, w) in w.chunks_exact(cols).enumerate() {
                let Some(scale) = best_scale(dtype, &w[j..last], &importance[j..last]) else {
                    return Some(row * cols + j);
                };
                scales[row * groups + group] = scale;
            }
        }
        let upper = factor.map(|factor| factor.row(j));
        for (row, w) in w.chunks_exact_mut(cols).enumerate() {
            let scale = scales[row * groups + group];
            let code = Codes::nearest(dtype, w[j], scale);
            codes[row * cols + j] = code;
            if let Some(upper) = upper {
                let lost = (w[j] - scale.to_f32() * f32::from(code)) / upper[0];
                w[j + 1..].iter_mut().zip(&upper[1..]).for_each(|(w, u)| *w -= lost * u);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin_format::quant::{pack, unpack};

    /// Inputs whose channels go together, as those of a network do.
    fn inputs(rows: usize, cols: usize) -> Vec<f32> {
        let wave = |r: usize, c: usize, k: usize| {
            ((r * (k + 3)) as f32 * 0.7 + (c * (2 * k + 1)) as f32 * 0.31).sin()
        };
        (0..rows * cols)
            .map(|i| {
                let (r, c) = (i / cols, i % cols);
                (0..6).map(|k| wave(r, c, k) / (k + 1) as f32).sum::<f32>()
                    + 0.1 * ((i * 7919 % 101) as f32 * 0.02 - 1.0)
            })
            .collect()
    }

    fn weights(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 5003 + i / 7) % 211) as f32 * 0.01 - 1.05).collect()
    }

    #[test]
    fn answers_are_nearer_than_with_plain_rounding() {
        let (rows, cols) = (19, 70);
        let (w, mut hessian) = (weights(rows * cols), Hessian::new(cols));
        hessian.add(&inputs(200, cols), 200);
        for dtype in [DType::Q4, DType::Q8] {
            let error = |packed: &PackedMatrix| {
                let q = unpack(packed.layout(), packed.bytes());
                hessian.error(&w.iter().zip(&q).map(|(w, q)| w - q).collect::<Vec<f32>>())
            };
            let plain = error(&pack(dtype, &w, rows, cols).unwrap());
            let fed_back = error(&quantize(dtype, &w, (rows, cols), &hessian).unwrap());
            assert!(fed_back < 0.5 * plain, "{dtype}: {fed_back} against {plain}");
        }
    }

    #[test]
    fn weights_that_cannot_be_held_are_named() {
        let mut w = weights(3 * 40);
        w[45] = f32::NAN;
        let found = quantize(DType::Q4, &w, (3, 40), &Hessian::new(40)).unwrap_err();
        assert!(matches!(found, QuantError::NotFinite { row: 1, col: 5, .. }));
        w[45] = 1e9;
        let found = quantize(DType::Q4, &w, (3, 40), &Hessian::new(40)).unwrap_err();
        assert!(matches!(found, QuantError::OutOfRange { row: 1, .. }), "{found}");
    }
}
