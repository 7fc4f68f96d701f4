//! Elman network over a window (Elman 1990): `h_t = f(x_t + U h_{t-1})`, where `x_t = W x + b` is already projected.
//!
//! Backward (through time, Werbos 1990, truncated at the window): with `δ_t = dh_t f'`, `dh_{t-1} += Uᵀ δ_t`, `dU += Σ_t δ_t h_{t-1}ᵀ`,
//! `dx_t = δ_t`.

use crate::float::Float;
use crate::ops::Op;
use crate::ops::gemm::{Packed, View, ViewMut};
use crate::ops::pointwise::{Nonlinearity, apply_in_place, backward_in_place};
use crate::ops::recurrent::{Window, add_recurrent_gradient};
use crate::tape::Tape;
use crate::tensor::{Layout, Matrix, Var};

/// What the backward pass of [`Tape::rnn`] needs.
#[derive(Debug)]
pub(crate) struct Rnn<T> {
    x: Var,
    y: Var,
    w_h: Matrix,
    kind: Nonlinearity,
    window: Window,
    h0: Vec<T>, // [batch, hidden]
}

impl<T: Float> Tape<T> {
    /// Runs a window of an Elman network: x (projected) and y `[len * batch, hidden]`, time-major. Takes x's buffer over.
    ///
    /// `h` `[batch, hidden]` is the state before the window and becomes the state after it; no gradient flows
    /// through it.
    ///
    /// # Panics
    /// If `kind`'s derivative cannot be told from its value: only tanh, sigmoid, relu and leaky relu work here.
    pub fn rnn(
        &mut self,
        params: &[T],
        x: Var,
        w_h: Matrix,
        kind: Nonlinearity,
        layout: Layout,
        h: &mut [T],
    ) -> Var {
        use Nonlinearity::{LeakyRelu, Relu, Sigmoid, Tanh};
        assert!(matches!(kind, Tanh | Sigmoid | Relu | LeakyRelu), "{kind:?} in a recurrent network");
        let window = Window::new(self, x, w_h, layout, 1);
        let (hidden, step) = (window.hidden, window.step());
        let h0 = self.pool.take_copy(h);
        let u = Packed::new(&mut self.pool, View::new(&params[w_h.range()], hidden, hidden).t());
        let mut y = self.take_value(x);
        for t in 0..window.len {
            let (before, now) = y.split_at_mut(t * step);
            let now = &mut now[..step];
            let previous = if t == 0 { &h0[..] } else { &before[(t - 1) * step..] };
            let sums = ViewMut::new(now, window.batch, hidden);
            u.multiply(View::new(&window.reads(previous), window.batch, hidden), true, sums);
            apply_in_place(kind, now);
        }
        h.copy_from_slice(&y[(window.len - 1) * step..]);
        u.give(&mut self.pool);
        let y = self.push(layout.rows(), hidden, y);
        self.record(Op::Rnn(Rnn { x, y, w_h, kind, window, h0 }), y)
    }
}

impl<T: Float> Rnn<T> {
    pub(crate) fn backward(self, tape: &mut Tape<T>, params: &[T], grads: &mut [T]) {
        let Window { batch, len, hidden, .. } = self.window;
        let step = self.window.step();
        let mut delta = tape.take_grad(self.y);
        let u = Packed::new(&mut tape.pool, View::new(&params[self.w_h.range()], hidden, hidden));
        let y = tape.value(self.y);
        for t in (0..len).rev() {
            let (now, after) = delta[t * step..].split_at_mut(step);
            if t + 1 < len {
                u.multiply(View::new(after, batch, hidden), true, ViewMut::new(now, batch, hidden));
            }
            backward_in_place(self.kind, now, &y[t * step..(t + 1) * step]);
        }
        let dw = &mut grads[self.w_h.range()];
        add_recurrent_gradient(dw, &delta, (hidden, hidden), y, &self.h0, self.window);
        u.give(&mut tape.pool);
        tape.accumulate(self.x, delta);
        tape.pool.give(self.h0);
    }

    pub(crate) fn discard(self, tape: &mut Tape<T>) {
        tape.pool.give(self.h0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check_op, samples};

    const LAYOUT: Layout = Layout { batch: 2, len: 4, time_major: true };

    #[test]
    fn gradient() {
        let w_h = Matrix { offset: 0, rows: 3, cols: 3 };
        for kind in [Nonlinearity::Tanh, Nonlinearity::Relu, Nonlinearity::LeakyRelu] {
            check_op(9, &[(8, 3)], |tape, p, x| tape.rnn(p, x[0], w_h, kind, LAYOUT, &mut samples(6, 5)));
        }
    }

    #[test]
    fn two_windows_are_one_long_one() {
        let (params, x) = (samples(9, 1), samples(24, 2));
        let w_h = Matrix { offset: 0, rows: 3, cols: 3 };
        let run = |parts: usize| {
            let (mut tape, mut h, mut out) = (Tape::new(), vec![0.0; 6], Vec::new());
            for part in x.chunks(24 / parts) {
                let layout = Layout { len: 4 / parts, ..LAYOUT };
                let v = tape.input(layout.rows(), 3, part);
                let y = tape.rnn(&params, v, w_h, Nonlinearity::Tanh, layout, &mut h);
                out.extend_from_slice(tape.value(y));
            }
            out
        };
        assert_eq!(run(1), run(2));
    }
}
