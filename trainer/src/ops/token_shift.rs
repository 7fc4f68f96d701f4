//! Token shift (Peng et al. 2023, RWKV): `y_t = x_t + mu (x_{t-1} - x_t)`, channel by channel, `x_{-1} = 0`.
//!
//! `dx_t = (1 - mu) dy_t + mu dy_{t+1}`, `dmu = sum_t dy_t (x_{t-1} - x_t)`.

use crate::float::Float;
use crate::ops::Op;
use crate::ops::simd::kernel;
use crate::tape::Tape;
use crate::tensor::{Layout, Var, Vector};

kernel! {
    /// `y = x + mu (before - x)`, one token.
    fn mix<'a, T>(y: &'a mut [T], x: &'a [T], before: &'a [T], mu: &'a [T]) {
        for (((y, &x), &before), &mu) in y.iter_mut().zip(x).zip(before).zip(mu) {
            *y = x + mu * (before - x);
        }
    }

    /// Adds `dy (before - x)` to `dmu`.
    fn mix_gradient<'a, T>(dmu: &'a mut [T], dy: &'a [T], x: &'a [T], before: &'a [T]) {
        for (((dmu, &dy), &x), &before) in dmu.iter_mut().zip(dy).zip(x).zip(before) {
            *dmu += dy * (before - x);
        }
    }
}

/// What the backward pass of [`Tape::token_shift`] needs.
#[derive(Debug)]
pub(crate) struct TokenShift {
    x: Var, // [rows, cols]
    y: Var, // [rows, cols]
    mu: Vector,
    layout: Layout,
}

impl<T: Float> Tape<T> {
    /// Each token mixed with the one before it in its sequence; x and y `[rows, cols]`, mu `[cols]`. Zeros stand before the
    /// first token of a window.
    ///
    /// # Panics
    /// If x does not have a row for each token of `layout` and a column for each element of `mu`.
    pub fn token_shift(&mut self, params: &[T], x: Var, mu: Vector, layout: Layout) -> Var {
        let (rows, cols) = self.shape(x);
        assert_eq!((rows, cols), (layout.rows(), mu.len), "a row per token, a weight per channel");
        let mut out = self.pool.take(rows * cols);
        let zeros = self.pool.take_zeroed(cols);
        let (value, weights) = (self.value(x), &params[mu.range()]);
        for b in 0..layout.batch {
            let mut before = &zeros[..];
            for t in 0..layout.len {
                let at = layout.row(b, t) * cols;
                let now = &value[at..at + cols];
                mix(&mut out[at..at + cols], now, before, weights);
                before = now;
            }
        }
        self.pool.give(zeros);
        let y = self.push(rows, cols, out);
        self.record(Op::TokenShift(TokenShift { x, y, mu, layout }), y)
    }
}

impl TokenShift {
    pub(crate) fn backward<T: Float>(self, tape: &mut Tape<T>, params: &[T], grads: &mut [T]) {
        let TokenShift { layout, mu, .. } = self;
        let (dy, cols) = (tape.take_grad(self.y), mu.len);
        let mut dx = tape.pool.take(dy.len());
        let zeros = tape.pool.take_zeroed(cols);
        let (x, weights) = (tape.value(self.x), &params[mu.range()]);
        let dmu = &mut grads[mu.range()];
        for b in 0..layout.batch {
            let row = |t: usize| layout.row(b, t) * cols..(layout.row(b, t) + 1) * cols;
            for t in 0..layout.len {
                let before = if t == 0 { &zeros[..] } else { &x[row(t - 1)] };
                let after = if t + 1 == layout.len { &zeros[..] } else { &dy[row(t + 1)] };
                mix_gradient(dmu, &dy[row(t)], &x[row(t)], before);
                mix(&mut dx[row(t)], &dy[row(t)], after, weights);
            }
        }
        for buffer in [zeros, dy] {
            tape.pool.give(buffer);
        }
        tape.accumulate(self.x, dx);
    }

    pub(crate) fn discard<T: Float>(self, _: &mut Tape<T>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::check_op;

    const MU: Vector = Vector { offset: 0, len: 3 };

    #[test]
    fn gradient() {
        for time_major in [false, true] {
            let layout = Layout { batch: 2, len: 4, time_major };
            check_op(3, &[(8, 3)], |tape, p, x| tape.token_shift(p, x[0], MU, layout));
        }
    }

    #[test]
    fn a_token_takes_its_part_of_the_one_before() {
        let layout = Layout { batch: 2, len: 2, time_major: false };
        let mut tape = Tape::<f64>::new();
        let x = tape.input(4, 3, &[1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 10.0, 20.0, 30.0, 50.0, 60.0, 70.0]);
        let y = tape.token_shift(&[0.0, 1.0, 0.25], x, MU, layout);
        assert_eq!(tape.value(y), [1.0, 0.0, 2.25, 5.0, 2.0, 6.0, 10.0, 0.0, 22.5, 50.0, 20.0, 60.0]);
    }
}
