//! Layer norm (Ba, Kiros & Hinton 2016): each row to mean 0 and variance 1, then scaled and shifted.
//!
//! `x̂ = (x - mean) / sqrt(var + eps)`, `y = x̂ w + b`. Backward, with `g = dy w` and means over the row:
//! `dx = (g - mean(g) - x̂ mean(g x̂)) / sqrt(var + eps)`, `dw += dy x̂`, `db += dy`.

use crate::float::Float;
use crate::ops::Op;
use crate::ops::simd::{kernel, lane_sum};
use crate::tape::Tape;
use crate::tensor::{Var, Vector};

kernel! {
    /// `stats` gets `[mean, 1 / sqrt(var + eps)]` of each row.
    fn forward<'a, T>(y: &'a mut [T], stats: &'a mut [T], x: &'a [T], w: Option<&'a [T]>, b: Option<&'a [T]>, cols: usize, eps: T) {
        let n = T::from_f64(cols as f64);
        for ((y, stats), x) in y.chunks_exact_mut(cols).zip(stats.chunks_exact_mut(2)).zip(x.chunks_exact(cols)) {
            let mean = lane_sum(cols, |j| x[j]) / n;
            let var = lane_sum(cols, |j| (x[j] - mean) * (x[j] - mean)) / n;
            let inverse = T::ONE / (var + eps).sqrt();
            stats.copy_from_slice(&[mean, inverse]);
            match (w, b) {
                (Some(w), Some(b)) => (0..cols).for_each(|j| y[j] = (x[j] - mean) * inverse * w[j] + b[j]),
                (Some(w), None) => (0..cols).for_each(|j| y[j] = (x[j] - mean) * inverse * w[j]),
                (None, Some(b)) => (0..cols).for_each(|j| y[j] = (x[j] - mean) * inverse + b[j]),
                (None, None) => (0..cols).for_each(|j| y[j] = (x[j] - mean) * inverse),
            }
        }
    }

    /// Turns dy into dx, after `db += dy` and `dw += dy x̂`.
    fn backward<'a, T>(dy: &'a mut [T], dw: &'a mut [T], db: &'a mut [T], stats: &'a [T], x: &'a [T], w: Option<&'a [T]>, cols: usize) {
        let n = T::from_f64(cols as f64);
        for ((dy, stats), x) in dy.chunks_exact_mut(cols).zip(stats.chunks_exact(2)).zip(x.chunks_exact(cols)) {
            let (mean, inverse) = (stats[0], stats[1]);
            db.iter_mut().zip(&*dy).for_each(|(db, &dy)| *db += dy);
            dw.iter_mut().zip(&*dy).zip(x).for_each(|((dw, &dy), &x)| *dw += dy * (x - mean) * inverse);
            if let Some(w) = w {
                dy.iter_mut().zip(w).for_each(|(dy, &w)| *dy *= w);
            }
            let mean_g = lane_sum(cols, |j| dy[j]) / n;
            let mean_gx = lane_sum(cols, |j| dy[j] * (x[j] - mean)) * inverse / n;
            for j in 0..cols {
                let hat = (x[j] - mean) * inverse;
                dy[j] = (dy[j] - mean_g - hat * mean_gx) * inverse;
            }
        }
    }
}

/// What the backward pass of [`Tape::layer_norm`] needs.
#[derive(Debug)]
pub(crate) struct LayerNorm<T> {
    x: Var,
    y: Var,
    weight: Option<Vector>,
    bias: Option<Vector>,
    stats: Vec<T>, // [rows, 2]: mean, 1 / sqrt(var + eps)
}

impl<T: Float> Tape<T> {
    /// Layer norm of each row; weight and bias `[cols]`, y like x.
    pub fn layer_norm(
        &mut self,
        params: &[T],
        x: Var,
        weight: Option<Vector>,
        bias: Option<Vector>,
        eps: T,
    ) -> Var {
        let (rows, cols) = self.shape(x);
        let (mut out, mut stats) = (self.pool.take(rows * cols), self.pool.take(rows * 2));
        let (w, b) = (weight.map(|w| &params[w.range()]), bias.map(|b| &params[b.range()]));
        forward(&mut out, &mut stats, self.value(x), w, b, cols, eps);
        let y = self.push(rows, cols, out);
        self.record(Op::LayerNorm(LayerNorm { x, y, weight, bias, stats }), y)
    }
}

impl<T: Float> LayerNorm<T> {
    pub(crate) fn backward(self, tape: &mut Tape<T>, params: &[T], grads: &mut [T]) {
        let mut dy = tape.take_grad(self.y);
        let cols = tape.shape(self.y).1;
        let w = self.weight.map(|w| &params[w.range()]);
        let (dw, db) = two_mut(grads, self.weight, self.bias);
        backward(&mut dy, dw, db, &self.stats, tape.value(self.x), w, cols);
        tape.accumulate(self.x, dy);
        tape.pool.give(self.stats);
    }

    pub(crate) fn discard(self, tape: &mut Tape<T>) {
        tape.pool.give(self.stats);
    }
}

/// Two disjoint ranges of a slice, `first` before `second`; an absent one is empty.
pub(crate) fn two_mut<T>(
    all: &mut [T],
    first: Option<Vector>,
    second: Option<Vector>,
) -> (&mut [T], &mut [T]) {
    let first = first.map_or(0..0, Vector::range);
    let (head, tail) = all.split_at_mut(first.end);
    let second = second.map_or(0..0, |v| v.offset - first.end..v.range().end - first.end);
    (&mut head[first], &mut tail[second])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::check_op;

    const W: Vector = Vector { offset: 0, len: 7 };
    const B: Vector = Vector { offset: 7, len: 7 };
    const B_ALONE: Vector = Vector { offset: 0, len: 7 };

    #[test]
    fn gradient() {
        check_op(14, &[(3, 7)], |tape, p, x| tape.layer_norm(p, x[0], Some(W), Some(B), 1e-5));
        check_op(7, &[(3, 7)], |tape, p, x| tape.layer_norm(p, x[0], Some(W), None, 1e-5));
        check_op(7, &[(3, 7)], |tape, p, x| tape.layer_norm(p, x[0], None, Some(B_ALONE), 1e-5));
        check_op(0, &[(2, 35)], |tape, p, x| tape.layer_norm(p, x[0], None, None, 1e-2));
    }

    #[test]
    fn value() {
        let mut tape = Tape::<f64>::new();
        let x = tape.input(1, 2, &[1.0, 3.0]);
        let y = tape.layer_norm(&[], x, None, None, 1e-12);
        assert!((tape.value(y)[0] + 1.0).abs() < 1e-9 && (tape.value(y)[1] - 1.0).abs() < 1e-9);
    }
}
