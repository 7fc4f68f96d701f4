//! Long short-term memory over a window (Hochreiter & Schmidhuber 1997; Gers et al. 2000), PyTorch's gate order i f g o.
//!
//! With `a_t = x_t + U h_{t-1}` (`x_t = W x + b` already projected): `i, f, o = σ(a)`, `g = tanh(a)`,
//! `c_t = f c_{t-1} + i g`, `h_t = o tanh(c_t)`. Backward, with `dc += dh o (1 - tanh²c)`: `di = dc g`, `df = dc c_{t-1}`, `dg = dc i`,
//! `do = dh tanh c`, each times its gate's derivative; `dc_{t-1} = dc f`, `dh_{t-1} += Uᵀ da`, `dU += Σ_t da_t h_{t-1}ᵀ`.

use crate::float::Float;
use crate::ops::Op;
use crate::ops::gemm::{Packed, View, ViewMut};
use crate::ops::recurrent::{Window, add_recurrent_gradient};
use crate::ops::simd::kernel;
use crate::tape::Tape;
use crate::tensor::{Layout, Matrix, Var};

kernel! {
    /// One step of every sequence: `a` `[batch, 4 hidden]` turns from sums into gates; the states are `[batch, hidden]`.
    fn cell_forward<'a, T>(a: &'a mut [T], c_prev: &'a [T], c: &'a mut [T], h: &'a mut [T], hidden: usize) {
        let states = c_prev.chunks_exact(hidden).zip(c.chunks_exact_mut(hidden)).zip(h.chunks_exact_mut(hidden));
        for (a, ((c_prev, c), h)) in a.chunks_exact_mut(4 * hidden).zip(states) {
            let (i_f, g_o) = a.split_at_mut(2 * hidden);
            let ((i, f), (g, o)) = (i_f.split_at_mut(hidden), g_o.split_at_mut(hidden));
            // One short loop at a time: over seven slices at once the compiler cannot rule out that they overlap.
            i.iter_mut().for_each(|i| *i = i.sigmoid());
            f.iter_mut().for_each(|f| *f = f.sigmoid());
            g.iter_mut().for_each(|g| *g = g.tanh());
            o.iter_mut().for_each(|o| *o = o.sigmoid());
            for ((((c, &c_prev), &f), &i), &g) in c.iter_mut().zip(c_prev).zip(&*f).zip(&*i).zip(&*g) {
                *c = f * c_prev + i * g;
            }
            for ((h, &c), &o) in h.iter_mut().zip(&*c).zip(&*o) {
                *h = o * c.tanh();
            }
        }
    }

    /// The same step back: `a` turns from gates into the gradient of the sums, `dc` from the gradient of `c` that
    /// later steps left into that of `c_prev`.
    fn cell_backward<'a, T>(a: &'a mut [T], c_prev: &'a [T], c: &'a [T], dh: &'a [T], dc: &'a mut [T], hidden: usize) {
        let states = c_prev.chunks_exact(hidden).zip(c.chunks_exact(hidden));
        let gradients = dh.chunks_exact(hidden).zip(dc.chunks_exact_mut(hidden));
        for (a, ((c_prev, c), (dh, dc))) in a.chunks_exact_mut(4 * hidden).zip(states.zip(gradients)) {
            let (i_f, g_o) = a.split_at_mut(2 * hidden);
            let ((i, f), (g, o)) = (i_f.split_at_mut(hidden), g_o.split_at_mut(hidden));
            for (((o, dc), &dh), &c) in o.iter_mut().zip(&mut *dc).zip(dh).zip(c) {
                let tanh_c = c.tanh();
                *dc += dh * *o * (T::ONE - tanh_c * tanh_c);
                *o = dh * tanh_c * *o * (T::ONE - *o);
            }
            for ((i, g), &dc) in i.iter_mut().zip(g).zip(&*dc) {
                let (di, dg) = (dc * *g, dc * *i);
                *i = di * *i * (T::ONE - *i);
                *g = dg * (T::ONE - *g * *g);
            }
            for ((f, dc), &c_prev) in f.iter_mut().zip(dc).zip(c_prev) {
                let df = *dc * c_prev;
                *dc *= *f;
                *f = df * *f * (T::ONE - *f);
            }
        }
    }
}

/// What the backward pass of [`Tape::lstm`] needs.
#[derive(Debug)]
pub(crate) struct Lstm<T> {
    x: Var,
    y: Var,
    w_h: Matrix,
    window: Window,
    gates: Vec<T>, // [len * batch, 4 hidden]
    c: Vec<T>,     // [len * batch, hidden]
    h0: Vec<T>,    // [batch, hidden]
    c0: Vec<T>,    // [batch, hidden]
}

impl<T: Float> Tape<T> {
    /// Runs a window of an LSTM: x (projected) `[len * batch, 4 hidden]`, y `[len * batch, hidden]`, time-major.
    /// Takes x's buffer over.
    ///
    /// `h` and `c` `[batch, hidden]` are the state before the window and become the state after it; no gradient
    /// flows through them.
    pub fn lstm(
        &mut self,
        params: &[T],
        x: Var,
        w_h: Matrix,
        layout: Layout,
        h: &mut [T],
        c: &mut [T],
    ) -> Var {
        let window = Window::new(self, x, w_h, layout, 4);
        let (hidden, step) = (window.hidden, window.step());
        let (h0, c0) = (self.pool.take_copy(h), self.pool.take_copy(c));
        let u = Packed::new(&mut self.pool, View::new(&params[w_h.range()], 4 * hidden, hidden).t());
        let mut gates = self.take_value(x);
        let (mut cells, mut y) = (self.pool.take(window.len * step), self.pool.take(window.len * step));
        for t in 0..window.len {
            let a = &mut gates[t * 4 * step..(t + 1) * 4 * step];
            let ((h_before, h_now), (c_before, c_now)) =
                (y.split_at_mut(t * step), cells.split_at_mut(t * step));
            let (h_prev, c_prev) = match t {
                0 => (&h0[..], &c0[..]),
                _ => (&h_before[(t - 1) * step..], &c_before[(t - 1) * step..]),
            };
            let sums = ViewMut::new(a, window.batch, 4 * hidden);
            u.multiply(View::new(&window.reads(h_prev), window.batch, hidden), true, sums);
            cell_forward(a, c_prev, &mut c_now[..step], &mut h_now[..step], hidden);
        }
        h.copy_from_slice(&y[(window.len - 1) * step..]);
        c.copy_from_slice(&cells[(window.len - 1) * step..]);
        u.give(&mut self.pool);
        let y = self.push(layout.rows(), hidden, y);
        self.record(Op::Lstm(Lstm { x, y, w_h, window, gates, c: cells, h0, c0 }), y)
    }
}

impl<T> Lstm<T> {
    /// Gates `[len * batch, 4 hidden]` in the order i f g o, and cell states `[len * batch, hidden]`.
    pub(crate) fn gates(&self) -> (&[T], &[T]) {
        (&self.gates, &self.c)
    }
}

impl<T: Float> Lstm<T> {
    pub(crate) fn backward(mut self, tape: &mut Tape<T>, params: &[T], grads: &mut [T]) {
        let Window { batch, len, hidden, .. } = self.window;
        let step = self.window.step();
        let mut dh = tape.take_grad(self.y);
        let mut dc = tape.pool.take_zeroed(step);
        let u = Packed::new(&mut tape.pool, View::new(&params[self.w_h.range()], 4 * hidden, hidden));
        for t in (0..len).rev() {
            let (now, after) = self.gates[t * 4 * step..].split_at_mut(4 * step);
            let dh_now = &mut dh[t * step..(t + 1) * step];
            if t + 1 < len {
                let later = View::new(after, batch, 4 * hidden);
                u.multiply(later, true, ViewMut::new(dh_now, batch, hidden));
            }
            let c_prev = if t == 0 { &self.c0[..] } else { &self.c[(t - 1) * step..t * step] };
            cell_backward(now, c_prev, &self.c[t * step..(t + 1) * step], dh_now, &mut dc, hidden);
        }
        let dw = &mut grads[self.w_h.range()];
        let y = tape.value(self.y);
        add_recurrent_gradient(dw, &self.gates, (4 * hidden, 4 * hidden), y, &self.h0, self.window);
        u.give(&mut tape.pool);
        tape.pool.give(dh);
        tape.pool.give(dc);
        let gates = std::mem::take(&mut self.gates);
        tape.accumulate(self.x, gates);
        self.discard(tape);
    }

    pub(crate) fn discard(self, tape: &mut Tape<T>) {
        for buffer in [self.gates, self.c, self.h0, self.c0] {
            tape.pool.give(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check_op, samples};

    const W_H: Matrix = Matrix { offset: 0, rows: 12, cols: 3 };

    #[test]
    fn gradient() {
        let layout = Layout { batch: 2, len: 4, time_major: true };
        check_op(36, &[(8, 12)], |tape, p, x| {
            tape.lstm(p, x[0], W_H, layout, &mut samples(6, 5), &mut samples(6, 6))
        });
    }

    #[test]
    fn two_windows_are_one_long_one() {
        let (params, x) = (samples(36, 1), samples(96, 2));
        let run = |parts: usize| {
            let (mut tape, mut h, mut c, mut out) = (Tape::new(), vec![0.0; 6], vec![0.0; 6], Vec::new());
            for part in x.chunks(96 / parts) {
                let layout = Layout { batch: 2, len: 4 / parts, time_major: true };
                let v = tape.input(layout.rows(), 12, part);
                let y = tape.lstm(&params, v, W_H, layout, &mut h, &mut c);
                out.extend_from_slice(tape.value(y));
            }
            out
        };
        assert_eq!(run(1), run(2));
    }
}
