//! RMS norm (Zhang & Sennrich 2019): each row divided by its root mean square, then scaled.
//!
//! `x̂ = x / sqrt(mean(x²) + eps)`, `y = x̂ w`. Backward, with `g = dy w` and means over the row:
//! `dx = (g - x̂ mean(g x̂)) / sqrt(mean(x²) + eps)`, `dw += dy x̂`.

use crate::float::Float;
use crate::ops::Op;
use crate::ops::simd::{kernel, lane_sum};
use crate::tape::Tape;
use crate::tensor::{Var, Vector};

/// Norms one vector; returns `1 / sqrt(mean(x²) + eps)`.
#[inline(always)]
pub(crate) fn forward_row<T: Float>(y: &mut [T], x: &[T], w: Option<&[T]>, eps: T) -> T {
    let cols = x.len();
    let mean_square = lane_sum(cols, |j| x[j] * x[j]) / T::from_f64(cols as f64);
    let inverse = T::ONE / (mean_square + eps).sqrt();
    match w {
        Some(w) => y.iter_mut().zip(x).zip(w).for_each(|((y, &x), &w)| *y = x * inverse * w),
        None => y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * inverse),
    }
    inverse
}

/// Turns dy into dx for one vector, after `dw += dy x̂` (`dw` is empty without a weight).
#[inline(always)]
pub(crate) fn backward_row<T: Float>(dy: &mut [T], dw: &mut [T], inverse: T, x: &[T], w: Option<&[T]>) {
    let cols = x.len();
    dw.iter_mut().zip(&*dy).zip(x).for_each(|((dw, &dy), &x)| *dw += dy * x * inverse);
    if let Some(w) = w {
        dy.iter_mut().zip(w).for_each(|(dy, &w)| *dy *= w);
    }
    let mean_gx = lane_sum(cols, |j| dy[j] * x[j]) * inverse / T::from_f64(cols as f64);
    dy.iter_mut().zip(x).for_each(|(dy, &x)| *dy = (*dy - x * inverse * mean_gx) * inverse);
}

kernel! {
    fn forward<'a, T>(y: &'a mut [T], inverses: &'a mut [T], x: &'a [T], w: Option<&'a [T]>, cols: usize, eps: T) {
        for ((y, inverse), x) in y.chunks_exact_mut(cols).zip(inverses).zip(x.chunks_exact(cols)) {
            *inverse = forward_row(y, x, w, eps);
        }
    }

    fn backward<'a, T>(dy: &'a mut [T], dw: &'a mut [T], inverses: &'a [T], x: &'a [T], w: Option<&'a [T]>, cols: usize) {
        for ((dy, &inverse), x) in dy.chunks_exact_mut(cols).zip(inverses).zip(x.chunks_exact(cols)) {
            backward_row(dy, dw, inverse, x, w);
        }
    }
}

/// What the backward pass of [`Tape::rms_norm`] needs.
#[derive(Debug)]
pub(crate) struct RmsNorm<T> {
    x: Var,
    y: Var,
    weight: Option<Vector>,
    inverses: Vec<T>, // [rows]
}

impl<T: Float> Tape<T> {
    /// RMS norm of each row; weight `[cols]`, y like x.
    pub fn rms_norm(&mut self, params: &[T], x: Var, weight: Option<Vector>, eps: T) -> Var {
        let (rows, cols) = self.shape(x);
        let (mut out, mut inverses) = (self.pool.take(rows * cols), self.pool.take(rows));
        let w = weight.map(|w| &params[w.range()]);
        forward(&mut out, &mut inverses, self.value(x), w, cols, eps);
        let y = self.push(rows, cols, out);
        self.record(Op::RmsNorm(RmsNorm { x, y, weight, inverses }), y)
    }
}

impl<T: Float> RmsNorm<T> {
    pub(crate) fn backward(self, tape: &mut Tape<T>, params: &[T], grads: &mut [T]) {
        let mut dy = tape.take_grad(self.y);
        let cols = tape.shape(self.y).1;
        let w = self.weight.map(|w| &params[w.range()]);
        let dw = &mut grads[self.weight.map_or(0..0, Vector::range)];
        backward(&mut dy, dw, &self.inverses, tape.value(self.x), w, cols);
        tape.accumulate(self.x, dy);
        tape.pool.give(self.inverses);
    }

    pub(crate) fn discard(self, tape: &mut Tape<T>) {
        tape.pool.give(self.inverses);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::check_op;

    #[test]
    fn gradient() {
        let w = Vector { offset: 0, len: 7 };
        check_op(7, &[(3, 7)], |tape, p, x| tape.rms_norm(p, x[0], Some(w), 1e-5));
        check_op(0, &[(2, 35)], |tape, p, x| tape.rms_norm(p, x[0], None, 1e-2));
    }

    #[test]
    fn value() {
        let mut tape = Tape::<f64>::new();
        let x = tape.input(1, 2, &[3.0, 4.0]);
        let y = tape.rms_norm(&[], x, None, 0.0);
        assert!((tape.value(y)[0] - 3.0 / 12.5f64.sqrt()).abs() < 1e-15);
    }
}
