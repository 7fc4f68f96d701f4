//! Gated feed-forward unit, `y = f(g) u`, on a gate and an up projection that one product has made (Shazeer 2020).
//!
//! Backward: `dg = dy u f'(g)`, `du = dy f(g)`.

use crate::float::Float;
use crate::ops::Op;
use crate::ops::pointwise::{Nonlinearity, Pointwise, with_function};
use crate::ops::simd::kernel;
use crate::ops::{
    gelu::Gelu, leaky_relu::LeakyRelu, relu::Relu, relu2::Relu2, sigmoid::Sigmoid, silu::Silu, tanh::Tanh,
};
use crate::tape::Tape;
use crate::tensor::Var;

kernel! {
    fn forward<'a, T, F: Pointwise>(y: &'a mut [T], x: &'a [T], width: usize) {
        for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(2 * width)) {
            let (g, u) = x.split_at(width);
            for j in 0..width {
                y[j] = F::f(g[j]) * u[j];
            }
        }
    }

    fn backward<'a, T, F: Pointwise>(dx: &'a mut [T], dy: &'a [T], x: &'a [T], width: usize) {
        let rows = dx.chunks_exact_mut(2 * width).zip(dy.chunks_exact(width)).zip(x.chunks_exact(2 * width));
        for ((dx, dy), x) in rows {
            let ((dg, du), (g, u)) = (dx.split_at_mut(width), x.split_at(width));
            for j in 0..width {
                let y = F::f(g[j]);
                dg[j] = dy[j] * u[j] * F::df(g[j], y);
                du[j] = dy[j] * y;
            }
        }
    }
}

/// What the backward pass of [`Tape::gated`] needs.
#[derive(Debug)]
pub(crate) struct Gated {
    x: Var, // [rows, 2 * width]
    y: Var, // [rows, width]
    kind: Nonlinearity,
}

impl<T: Float> Tape<T> {
    /// `y = f(g) u`, where each row of x is `[g | u]`: x `[rows, 2 d_ff]`, y `[rows, d_ff]`.
    ///
    /// # Panics
    /// If x has an odd number of columns.
    pub fn gated(&mut self, x: Var, kind: Nonlinearity) -> Var {
        let (rows, cols) = self.shape(x);
        assert!(cols.is_multiple_of(2), "gate and up projection side by side");
        let width = cols / 2;
        let mut out = self.pool.take(rows * width);
        with_function!(kind, forward::<T>(&mut out, self.value(x), width));
        let y = self.push(rows, width, out);
        self.record(Op::Gated(Gated { x, y, kind }), y)
    }
}

impl Gated {
    pub(crate) fn backward<T: Float>(self, tape: &mut Tape<T>, _: &[T], _: &mut [T]) {
        let dy = tape.take_grad(self.y);
        let width = tape.shape(self.y).1;
        let mut dx = tape.pool.take(2 * dy.len());
        with_function!(self.kind, backward::<T>(&mut dx, &dy, tape.value(self.x), width));
        tape.pool.give(dy);
        tape.accumulate(self.x, dx);
    }

    pub(crate) fn discard<T: Float>(self, _: &mut Tape<T>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::check_op;

    #[test]
    fn gradient() {
        for kind in [Nonlinearity::Silu, Nonlinearity::Gelu, Nonlinearity::Sigmoid] {
            check_op(0, &[(3, 10)], |tape, _, x| tape.gated(x[0], kind));
        }
    }

    #[test]
    fn value() {
        let mut tape = Tape::<f64>::new();
        let x = tape.input(1, 2, &[1.0, 3.0]);
        let y = tape.gated(x, Nonlinearity::Silu);
        assert!((tape.value(y)[0] - 3.0 / (1.0 + (-1f64).exp())).abs() < 1e-15);
    }
}
