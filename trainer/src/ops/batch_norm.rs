//! Batch norm (Ioffe & Szegedy 2015): each channel to mean 0 and variance 1 over all rows, then scaled and shifted.
//!
//! `x̂ = (x - mean) / sqrt(var + eps)`, `y = x̂ w + b`, statistics over the rows of the batch. Backward, with means over the rows:
//! `dx = w (dy - mean(dy) - x̂ mean(dy x̂)) / sqrt(var + eps)`, `dw += Σ dy x̂`, `db += Σ dy`. Evaluation uses
//! running statistics instead and is an affine map.

use crate::float::Float;
use crate::ops::Op;
use crate::ops::layer_norm::two_mut;
use crate::ops::simd::{add_column_sums, kernel};
use crate::tape::Tape;
use crate::tensor::{Var, Vector};

/// Where the statistics come from, and where they go.
#[derive(Debug)]
pub enum Statistics<'a, T> {
    /// From these rows; the mean and the mean square of each channel are added to `moments`.
    Batch {
        /// `[2, cols]`: sums of means, sums of mean squares.
        moments: &'a mut [T],
    },
    /// From training.
    Running {
        /// `[cols]`.
        mean: &'a [T],
        /// `[cols]`.
        var: &'a [T],
    },
}

kernel! {
    /// `sums += Σ_rows (x - mean)²`.
    fn add_squares<'a, T>(sums: &'a mut [T], x: &'a [T], mean: &'a [T]) {
        for x in x.chunks_exact(sums.len()) {
            for j in 0..sums.len() {
                sums[j] += (x[j] - mean[j]) * (x[j] - mean[j]);
            }
        }
    }

    fn normalise<'a, T>(y: &'a mut [T], x: &'a [T], mean: &'a [T], inverse: &'a [T], w: &'a [T], b: &'a [T]) {
        let cols = mean.len();
        for (y, x) in y.chunks_exact_mut(cols).zip(x.chunks_exact(cols)) {
            for j in 0..cols {
                y[j] = (x[j] - mean[j]) * inverse[j] * w[j] + b[j];
            }
        }
    }

    /// `sums += Σ_rows dy x̂`.
    fn add_weighted<'a, T>(sums: &'a mut [T], dy: &'a [T], x: &'a [T], mean: &'a [T], inverse: &'a [T]) {
        let cols = mean.len();
        for (dy, x) in dy.chunks_exact(cols).zip(x.chunks_exact(cols)) {
            for j in 0..cols {
                sums[j] += dy[j] * (x[j] - mean[j]) * inverse[j];
            }
        }
    }

    /// Turns dy into dx, from the sums over the rows of dy and of dy x̂.
    fn backward<'a, T>(dy: &'a mut [T], x: &'a [T], stats: &'a [T], sums: &'a [T], w: &'a [T]) {
        let cols = w.len();
        let one_over_n = T::ONE / T::from_f64((x.len() / cols) as f64);
        let ((mean, inverse), (sum_dy, sum_dy_hat)) = (stats.split_at(cols), sums.split_at(cols));
        for (dy, x) in dy.chunks_exact_mut(cols).zip(x.chunks_exact(cols)) {
            for j in 0..cols {
                let hat = (x[j] - mean[j]) * inverse[j];
                let centred = dy[j] - (sum_dy[j] + hat * sum_dy_hat[j]) * one_over_n;
                dy[j] = centred * w[j] * inverse[j];
            }
        }
    }
}

/// What the backward pass of [`Tape::batch_norm`] needs.
#[derive(Debug)]
pub(crate) struct BatchNorm<T> {
    x: Var,
    y: Var,
    weight: Vector,
    bias: Vector,
    stats: Vec<T>, // [2, cols]: mean, 1 / sqrt(var + eps)
    batch: bool,   // the statistics are those of x
}

impl<T: Float> Tape<T> {
    /// Batch norm of each column; weight and bias `[cols]`, y like x.
    pub fn batch_norm(
        &mut self,
        params: &[T],
        x: Var,
        weight: Vector,
        bias: Vector,
        eps: T,
        statistics: Statistics<'_, T>,
    ) -> Var {
        let (rows, cols) = self.shape(x);
        let (mut out, mut stats) = (self.pool.take(rows * cols), self.pool.take_zeroed(2 * cols));
        let input = self.value(x);
        let (mean, inverse) = stats.split_at_mut(cols);
        let batch = matches!(statistics, Statistics::Batch { .. });
        match statistics {
            Statistics::Batch { moments } => {
                let one_over_n = T::ONE / T::from_f64(rows as f64);
                add_column_sums(mean, input);
                mean.iter_mut().for_each(|m| *m *= one_over_n);
                add_squares(inverse, input, mean);
                let (means, mean_squares) = moments.split_at_mut(cols);
                for j in 0..cols {
                    let var = inverse[j] * one_over_n;
                    means[j] += mean[j];
                    mean_squares[j] += var + mean[j] * mean[j];
                    inverse[j] = T::ONE / (var + eps).sqrt();
                }
            }
            Statistics::Running { mean: running, var } => {
                mean.copy_from_slice(running);
                inverse.iter_mut().zip(var).for_each(|(i, &v)| *i = T::ONE / (v + eps).sqrt());
            }
        }
        normalise(&mut out, input, mean, inverse, &params[weight.range()], &params[bias.range()]);
        let y = self.push(rows, cols, out);
        self.record(Op::BatchNorm(BatchNorm { x, y, weight, bias, stats, batch }), y)
    }
}

impl<T: Float> BatchNorm<T> {
    pub(crate) fn backward(self, tape: &mut Tape<T>, params: &[T], grads: &mut [T]) {
        let mut dy = tape.take_grad(self.y);
        let cols = tape.shape(self.y).1;
        let mut sums = tape.pool.take_zeroed(2 * cols);
        let (mean, inverse) = self.stats.split_at(cols);
        let (sum_dy, sum_dy_hat) = sums.split_at_mut(cols);
        add_column_sums(sum_dy, &dy);
        add_weighted(sum_dy_hat, &dy, tape.value(self.x), mean, inverse);
        let (dw, db) = two_mut(grads, Some(self.weight), Some(self.bias));
        for j in 0..cols {
            dw[j] += sum_dy_hat[j];
            db[j] += sum_dy[j];
        }
        if !self.batch {
            sums.fill(T::ZERO); // running statistics do not depend on x
        }
        backward(&mut dy, tape.value(self.x), &self.stats, &sums, &params[self.weight.range()]);
        tape.accumulate(self.x, dy);
        tape.pool.give(sums);
        tape.pool.give(self.stats);
    }

    pub(crate) fn discard(self, tape: &mut Tape<T>) {
        tape.pool.give(self.stats);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::check_op;

    const W: Vector = Vector { offset: 0, len: 4 };
    const B: Vector = Vector { offset: 4, len: 4 };

    #[test]
    fn gradient_with_batch_statistics() {
        check_op(8, &[(6, 4)], |tape, p, x| {
            tape.batch_norm(p, x[0], W, B, 1e-3, Statistics::Batch { moments: &mut [0.0; 8] })
        });
    }

    #[test]
    fn gradient_with_running_statistics() {
        let (mean, var) = ([0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0, 4.0]);
        check_op(8, &[(6, 4)], |tape, p, x| {
            tape.batch_norm(p, x[0], W, B, 1e-3, Statistics::Running { mean: &mean, var: &var })
        });
    }

    #[test]
    fn columns_are_normalised_and_moments_reported() {
        let mut tape = Tape::<f64>::new();
        let x = tape.input(2, 1, &[1.0, 5.0]);
        let mut moments = [0.0; 2];
        let (w, b) = (Vector { offset: 0, len: 1 }, Vector { offset: 1, len: 1 });
        let y = tape.batch_norm(&[2.0, 1.0], x, w, b, 0.0, Statistics::Batch { moments: &mut moments });
        assert_eq!(tape.value(y), [-1.0, 3.0]);
        assert_eq!(moments, [3.0, 13.0]);
    }
}
