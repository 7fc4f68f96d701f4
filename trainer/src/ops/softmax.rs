//! Softmax over each row, `y_j = exp(x_j) / Σ_k exp(x_k)`; backward `dx_j = y_j (dy_j - Σ_k dy_k y_k)`.

use crate::float::Float;
use crate::ops::Op;
use crate::ops::simd::{kernel, lane_max, lane_sum};
use crate::tape::Tape;
use crate::tensor::Var;

kernel! {
    fn forward<'a, T>(y: &'a mut [T], cols: usize) {
        for y in y.chunks_exact_mut(cols) {
            let max = lane_max(y);
            y.iter_mut().for_each(|y| *y = (*y - max).exp());
            let inverse = T::ONE / lane_sum(cols, |j| y[j]);
            y.iter_mut().for_each(|y| *y *= inverse);
        }
    }

    /// Turns dy into dx.
    fn backward<'a, T>(dy: &'a mut [T], y: &'a [T], cols: usize) {
        for (dy, y) in dy.chunks_exact_mut(cols).zip(y.chunks_exact(cols)) {
            let dot = lane_sum(cols, |j| dy[j] * y[j]);
            dy.iter_mut().zip(y).for_each(|(dy, &y)| *dy = y * (*dy - dot));
        }
    }
}

/// What the backward pass of [`Tape::softmax`] needs.
#[derive(Debug)]
pub(crate) struct Softmax {
    x: Var,
    y: Var,
}

impl<T: Float> Tape<T> {
    /// Softmax of each row; y has x's shape.
    pub fn softmax(&mut self, x: Var) -> Var {
        let (rows, cols) = self.shape(x);
        let mut out = self.pool.take(rows * cols);
        out.copy_from_slice(self.value(x));
        forward(&mut out, cols);
        let y = self.push(rows, cols, out);
        self.record(Op::Softmax(Softmax { x, y }), y)
    }
}

impl Softmax {
    pub(crate) fn backward<T: Float>(self, tape: &mut Tape<T>, _: &[T], _: &mut [T]) {
        let mut dy = tape.take_grad(self.y);
        backward(&mut dy, tape.value(self.y), tape.shape(self.y).1);
        tape.accumulate(self.x, dy);
    }

    pub(crate) fn discard<T: Float>(self, _: &mut Tape<T>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::check_op;

    #[test]
    fn gradient() {
        check_op(0, &[(3, 5)], |tape, _, x| tape.softmax(x[0]));
        check_op(0, &[(2, 37)], |tape, _, x| tape.softmax(x[0]));
    }

    #[test]
    fn large_inputs_do_not_overflow() {
        let mut tape = Tape::<f32>::new();
        let x = tape.input(1, 3, &[1e30, 1e30, -1e30]);
        let y = tape.softmax(x);
        assert_eq!(tape.value(y), [0.5, 0.5, 0.0]);
    }
}
