//! Rounding with error feedback (Hassibi & Stork 1993; GPTQ, Frantar et al. 2022).
//!
//! Columns are rounded one by one. With U of [`Factor`], what column j lost in a row, `e = (w_j - q_j) / U_jj`, moves the columns that
//! follow by `w_k -= e U_jk`: the step that, to second order, keeps the row's answers where they were. Two ways are tried for every matrix,
//! and the one whose answers are nearer is taken: the file's order, in which each group's scale fits the weights as they are when the
//! group comes; and largest inputs first, with scales of the weights as they were. Either may be the better one.

use half::f16;
use rayon::prelude::*;
use siskin_format::DType;
use siskin_format::panel::GROUP;
use siskin_format::quant::{Codes, PackedMatrix, QuantError, best_scale, unpack};

use super::Inputs;
use super::hessian::{Factor, Hessian};

/// Rows that share each reading of the factor.
const ROWS: usize = 8;

/// `weights` `[rows, cols]` as a q8 or q4 matrix whose answers to the inputs come near those of the weights.
///
/// # Errors
/// A weight that is not finite or that the dtype cannot hold, or a size that does not fit into memory.
///
/// # Panics
/// For another dtype, or inputs of another width.
pub fn quantize(
    dtype: DType,
    weights: &[f32],
    (rows, cols): (usize, usize),
    inputs: &Inputs,
) -> Result<PackedMatrix, QuantError> {
    let hessian = inputs.hessian();
    assert_eq!((weights.len(), hessian.cols()), (rows * cols, cols), "inputs of the matrix's width");
    let at = |flat: usize| (flat / cols, flat % cols, weights[flat]);
    if let Some(flat) = weights.iter().position(|w| !w.is_finite()) {
        let (row, col, value) = at(flat);
        return Err(QuantError::NotFinite { row, col, value });
    }
    let mut best: Option<(f64, PackedMatrix)> = None;
    for way in inputs.ways() {
        let codes = way.round(dtype, weights).map_err(|flat| {
            let (row, col, value) = at(flat);
            QuantError::OutOfRange { row, col, value, dtype }
        })?;
        let packed = PackedMatrix::from_codes(dtype, rows, cols, &codes)?;
        let q = unpack(packed.layout(), packed.bytes());
        let lost: Vec<f32> = weights.iter().zip(&q).map(|(w, q)| w - q).collect();
        let error = hessian.error(&lost);
        if best.as_ref().is_none_or(|(least, _)| error < *least) {
            best = Some((error, packed));
        }
    }
    Ok(best.expect("two ways").1)
}

/// A way through the columns of a matrix.
#[derive(Debug)]
pub(super) struct Way {
    order: Vec<usize>,
    factor: Option<Factor>, // of this order
    importance: Vec<f32>,
    /// All scales are chosen before the first column, not each when its group comes.
    scales_first: bool,
}

impl Way {
    /// The file's order, and that of the importance.
    pub(super) fn both(hessian: &Hessian) -> [Way; 2] {
        let way = |order: Vec<usize>, scales_first| Way {
            factor: hessian.factor(&order),
            importance: hessian.importance(),
            order,
            scales_first,
        };
        [way((0..hessian.cols()).collect(), false), way(hessian.order(), true)]
    }

    /// Scales and codes of all rows, or the index of a weight that the dtype cannot hold.
    fn round(&self, dtype: DType, weights: &[f32]) -> Result<Codes, usize> {
        let cols = self.order.len();
        let (rows, groups) = (weights.len() / cols, cols.div_ceil(GROUP));
        let mut codes = Codes { scales: vec![f16::ZERO; rows * groups], codes: vec![0; rows * cols] };
        let parts = codes.scales.par_chunks_mut(ROWS * groups).zip(codes.codes.par_chunks_mut(ROWS * cols));
        let too_large =
            parts.zip(weights.par_chunks(ROWS * cols)).enumerate().find_map_any(|(part, ((s, c), w))| {
                self.round_rows(dtype, w, s, c).err().map(|flat| part * ROWS * cols + flat)
            });
        too_large.map_or(Ok(codes), Err)
    }

    /// Rounds some rows, or gives the index of the first weight of a group that the dtype cannot hold.
    fn round_rows(
        &self,
        dtype: DType,
        weights: &[f32],
        scales: &mut [f16],
        codes: &mut [i8],
    ) -> Result<(), usize> {
        let cols = self.order.len();
        let groups = cols.div_ceil(GROUP);
        // Columns in their order, so that those that follow lie side by side.
        let mut w: Vec<f32> =
            weights.chunks_exact(cols).flat_map(|w| self.order.iter().map(|&j| w[j])).collect();
        if self.scales_first {
            for group in 0..groups {
                self.choose_scales(dtype, weights, group, scales)?;
            }
        }
        for (i, &j) in self.order.iter().enumerate() {
            if !self.scales_first && i % GROUP == 0 {
                self.choose_scales(dtype, &w, i / GROUP, scales)?;
            }
            let upper = self.factor.as_ref().map(|factor| factor.row(i));
            for (row, w) in w.chunks_exact_mut(cols).enumerate() {
                let scale = scales[row * groups + j / GROUP];
                let code = Codes::nearest(dtype, w[i], scale);
                codes[row * cols + j] = code;
                if let Some(upper) = upper {
                    let lost = (w[i] - scale.to_f32() * f32::from(code)) / upper[0];
                    w[i + 1..].iter_mut().zip(&upper[1..]).for_each(|(w, u)| *w -= lost * u);
                }
            }
        }
        Ok(())
    }

    /// The scales of one group of columns, from the weights of some rows.
    fn choose_scales(
        &self,
        dtype: DType,
        weights: &[f32],
        group: usize,
        scales: &mut [f16],
    ) -> Result<(), usize> {
        let cols = self.order.len();
        let (groups, columns) = (cols.div_ceil(GROUP), group * GROUP..(group * GROUP + GROUP).min(cols));
        for (row, w) in weights.chunks_exact(cols).enumerate() {
            let importance = &self.importance[columns.clone()];
            scales[row * groups + group] =
                best_scale(dtype, &w[columns.clone()], importance).ok_or(row * cols + columns.start)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin_format::quant::pack;

    /// Inputs whose channels go together, as those of a network do.
    fn samples(rows: usize, cols: usize) -> Vec<f32> {
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
        hessian.add(&samples(200, cols), 200);
        let inputs = Inputs::new(hessian.clone());
        for dtype in [DType::Q4, DType::Q8] {
            let error = |packed: &PackedMatrix| {
                let q = unpack(packed.layout(), packed.bytes());
                hessian.error(&w.iter().zip(&q).map(|(w, q)| w - q).collect::<Vec<f32>>())
            };
            let plain = error(&pack(dtype, &w, rows, cols).unwrap());
            let fed_back = error(&quantize(dtype, &w, (rows, cols), &inputs).unwrap());
            assert!(fed_back < 0.5 * plain, "{dtype}: {fed_back} against {plain}");
        }
    }

    #[test]
    fn weights_that_cannot_be_held_are_named() {
        let mut w = weights(3 * 40);
        w[45] = f32::NAN;
        let found = quantize(DType::Q4, &w, (3, 40), &Inputs::new(Hessian::new(40))).unwrap_err();
        assert!(matches!(found, QuantError::NotFinite { row: 1, col: 5, .. }));
        w[45] = 1e9;
        let found = quantize(DType::Q4, &w, (3, 40), &Inputs::new(Hessian::new(40))).unwrap_err();
        assert!(matches!(found, QuantError::OutOfRange { row: 1, .. }), "{found}");
    }
}
