//! Gated recurrent unit over a window (Cho et al. 2014), in the form and gate order (r z n) of cuDNN and PyTorch.
//!
//! With `x_t = W x + b_x` already projected and `u_t = U h_{t-1} + b_h`: `r, z = σ(x + u)`, `n = tanh(x_n + r u_n)`,
//! `h_t = (1 - z) n + z h_{t-1}`. Backward, for the sums inside the nonlinearities: `dn = dh (1 - z)(1 - n²)`,
//! `dz = dh (h_{t-1} - n) z (1 - z)`, `dr = dn u_n r (1 - r)`; then `dx = (dr, dz, dn)`, `du = (dr, dz, r dn)`,
//! `dh_{t-1} += dh z + Uᵀ du`, `dU += Σ_t du_t h_{t-1}ᵀ`, `db_h += Σ_t du_t`.

use crate::float::Float;
use crate::ops::Op;
use crate::ops::gemm::{Packed, View, ViewMut};
use crate::ops::recurrent::{Window, add_recurrent_gradient};
use crate::ops::simd::{add_column_sums, kernel};
use crate::tape::Tape;
use crate::tensor::{Layout, Matrix, Var, Vector};

kernel! {
    /// One step of every sequence: `a` `[batch, 3 hidden]` turns from sums (of `x_n` alone in the third part) into
    /// gates; `u_n`, `h_prev` and `h` are `[batch, hidden]`.
    fn cell_forward<'a, T>(a: &'a mut [T], u_n: &'a [T], h_prev: &'a [T], h: &'a mut [T], hidden: usize) {
        let states = u_n.chunks_exact(hidden).zip(h_prev.chunks_exact(hidden)).zip(h.chunks_exact_mut(hidden));
        for (a, ((u_n, h_prev), h)) in a.chunks_exact_mut(3 * hidden).zip(states) {
            let (r, z_n) = a.split_at_mut(hidden);
            let (z, n) = z_n.split_at_mut(hidden);
            // One short loop at a time: over six slices at once the compiler cannot rule out that they overlap.
            r.iter_mut().for_each(|r| *r = r.sigmoid());
            z.iter_mut().for_each(|z| *z = z.sigmoid());
            for ((n, &u_n), &r) in n.iter_mut().zip(u_n).zip(&*r) {
                *n = (*n + r * u_n).tanh();
            }
            for (((h, &h_prev), &n), &z) in h.iter_mut().zip(h_prev).zip(&*n).zip(&*z) {
                *h = (T::ONE - z) * n + z * h_prev;
            }
        }
    }

    /// The same step back: `a` turns from gates into `dx`, `u_n` into its own gradient, `dh` into the share of it that
    /// goes straight to `h_prev`.
    fn cell_backward<'a, T>(a: &'a mut [T], u_n: &'a mut [T], h_prev: &'a [T], dh: &'a mut [T], hidden: usize) {
        let states = u_n.chunks_exact_mut(hidden).zip(h_prev.chunks_exact(hidden)).zip(dh.chunks_exact_mut(hidden));
        for (a, ((u_n, h_prev), dh)) in a.chunks_exact_mut(3 * hidden).zip(states) {
            let (r, z_n) = a.split_at_mut(hidden);
            let (z, n) = z_n.split_at_mut(hidden);
            for (((n, z), dh), &h_prev) in n.iter_mut().zip(z).zip(dh).zip(h_prev) {
                let dz = *dh * (h_prev - *n) * *z * (T::ONE - *z);
                *n = *dh * (T::ONE - *z) * (T::ONE - *n * *n);
                *dh *= *z;
                *z = dz;
            }
            for ((r, u_n), &dn) in r.iter_mut().zip(u_n).zip(&*n) {
                let dr = dn * *u_n * *r * (T::ONE - *r);
                *u_n = dn * *r;
                *r = dr;
            }
        }
    }

    /// `a += b` for the first columns of each row of `a`.
    fn add_bias<'a, T>(a: &'a mut [T], b: &'a [T], stride: usize) {
        for a in a.chunks_exact_mut(stride) {
            for (a, &b) in a.iter_mut().zip(b) {
                *a += b;
            }
        }
    }

    /// `sums += ` the column sums of the first columns of each row of `a`.
    fn add_strided_sums<'a, T>(sums: &'a mut [T], a: &'a [T], stride: usize) {
        for a in a.chunks_exact(stride) {
            for (s, &a) in sums.iter_mut().zip(a) {
                *s += a;
            }
        }
    }
}

/// What the backward pass of [`Tape::gru`] needs.
#[derive(Debug)]
pub(crate) struct Gru<T> {
    x: Var,
    y: Var,
    w_h: Matrix,
    b_h: Option<Vector>,
    window: Window,
    gates: Vec<T>, // [len * batch, 3 hidden]
    u_n: Vec<T>,   // [len * batch, hidden]
    h0: Vec<T>,    // [batch, hidden]
}

impl<T: Float> Tape<T> {
    /// Runs a window of a GRU: x (projected) `[len * batch, 3 hidden]`, y `[len * batch, hidden]`, time-major; `b_h`
    /// `[3 hidden]`. Takes x's buffer over.
    ///
    /// `h` `[batch, hidden]` is the state before the window and becomes the state after it; no gradient flows
    /// through it.
    pub fn gru(
        &mut self,
        params: &[T],
        x: Var,
        w_h: Matrix,
        b_h: Option<Vector>,
        layout: Layout,
        h: &mut [T],
    ) -> Var {
        let window = Window::new(self, x, w_h, layout, 3);
        let Window { batch, len, hidden, .. } = window;
        let step = window.step();
        let h0 = self.pool.take_copy(h);
        let (w_rz, w_n) = params[w_h.range()].split_at(2 * hidden * hidden);
        let u_rz = Packed::new(&mut self.pool, View::new(w_rz, 2 * hidden, hidden).t());
        let matrix_n = Packed::new(&mut self.pool, View::new(w_n, hidden, hidden).t());
        let mut gates = self.take_value(x);
        let (mut u_n, mut y) = (self.pool.take(len * step), self.pool.take(len * step));
        if let Some(b) = b_h {
            let (b_rz, b_n) = params[b.range()].split_at(2 * hidden);
            add_bias(&mut gates, b_rz, 3 * hidden);
            u_n.chunks_exact_mut(hidden).for_each(|u_n| u_n.copy_from_slice(b_n));
        }
        for t in 0..len {
            let a = &mut gates[t * 3 * step..(t + 1) * 3 * step];
            let u_n = &mut u_n[t * step..(t + 1) * step];
            let (before, now) = y.split_at_mut(t * step);
            let h_prev = if t == 0 { &h0[..] } else { &before[(t - 1) * step..] };
            let read = window.reads(h_prev);
            let before = View::new(&read, batch, hidden);
            u_rz.multiply(before, true, ViewMut::strided(a, batch, 2 * hidden, 3 * hidden));
            matrix_n.multiply(before, b_h.is_some(), ViewMut::new(u_n, batch, hidden));
            cell_forward(a, u_n, h_prev, &mut now[..step], hidden);
        }
        h.copy_from_slice(&y[(len - 1) * step..]);
        u_rz.give(&mut self.pool);
        matrix_n.give(&mut self.pool);
        let y = self.push(layout.rows(), hidden, y);
        self.record(Op::Gru(Gru { x, y, w_h, b_h, window, gates, u_n, h0 }), y)
    }
}

impl<T> Gru<T> {
    /// Gates `[len * batch, 3 hidden]` in the order r z n.
    pub(crate) fn gates(&self) -> &[T] {
        &self.gates
    }
}

impl<T: Float> Gru<T> {
    pub(crate) fn backward(mut self, tape: &mut Tape<T>, params: &[T], grads: &mut [T]) {
        let Window { batch, len, hidden, .. } = self.window;
        let step = self.window.step();
        let mut dh = tape.take_grad(self.y);
        let (w_rz, w_n) = params[self.w_h.range()].split_at(2 * hidden * hidden);
        let (u_rz, matrix_n) = (
            Packed::new(&mut tape.pool, View::new(w_rz, 2 * hidden, hidden)),
            Packed::new(&mut tape.pool, View::new(w_n, hidden, hidden)),
        );
        let y = tape.value(self.y);
        for t in (0..len).rev() {
            let a = &mut self.gates[t * 3 * step..(t + 1) * 3 * step];
            let u_n = &mut self.u_n[t * step..(t + 1) * step];
            let h_prev = if t == 0 { &self.h0[..] } else { &y[(t - 1) * step..t * step] };
            let (before, now) = dh.split_at_mut(t * step);
            cell_backward(a, u_n, h_prev, &mut now[..step], hidden);
            if t > 0 {
                let dh_prev = &mut before[(t - 1) * step..];
                dh_prev.iter_mut().zip(&now[..step]).for_each(|(d, &n)| *d += n);
                let d_rz = View::strided(a, batch, 2 * hidden, 3 * hidden);
                u_rz.multiply(d_rz, true, ViewMut::new(dh_prev, batch, hidden));
                matrix_n.multiply(View::new(u_n, batch, hidden), true, ViewMut::new(dh_prev, batch, hidden));
            }
        }
        let (dw_rz, dw_n) = grads[self.w_h.range()].split_at_mut(2 * hidden * hidden);
        add_recurrent_gradient(dw_rz, &self.gates, (2 * hidden, 3 * hidden), y, &self.h0, self.window);
        add_recurrent_gradient(dw_n, &self.u_n, (hidden, hidden), y, &self.h0, self.window);
        if let Some(b) = self.b_h {
            let (db_rz, db_n) = grads[b.range()].split_at_mut(2 * hidden);
            add_strided_sums(db_rz, &self.gates, 3 * hidden);
            add_column_sums(db_n, &self.u_n);
        }
        u_rz.give(&mut tape.pool);
        matrix_n.give(&mut tape.pool);
        tape.pool.give(dh);
        let gates = std::mem::take(&mut self.gates);
        tape.accumulate(self.x, gates);
        self.discard(tape);
    }

    pub(crate) fn discard(self, tape: &mut Tape<T>) {
        for buffer in [self.gates, self.u_n, self.h0] {
            tape.pool.give(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check_op, samples};

    const W_H: Matrix = Matrix { offset: 0, rows: 9, cols: 3 };
    const B_H: Option<Vector> = Some(Vector { offset: 27, len: 9 });

    #[test]
    fn gradient() {
        let layout = Layout { batch: 2, len: 4, time_major: true };
        check_op(36, &[(8, 9)], |tape, p, x| tape.gru(p, x[0], W_H, B_H, layout, &mut samples(6, 5)));
        check_op(27, &[(8, 9)], |tape, p, x| tape.gru(p, x[0], W_H, None, layout, &mut samples(6, 5)));
    }

    #[test]
    fn two_windows_are_one_long_one() {
        let (params, x) = (samples(36, 1), samples(72, 2));
        let run = |parts: usize| {
            let (mut tape, mut h, mut out) = (Tape::new(), vec![0.0; 6], Vec::new());
            for part in x.chunks(72 / parts) {
                let layout = Layout { batch: 2, len: 4 / parts, time_major: true };
                let v = tape.input(layout.rows(), 9, part);
                let y = tape.gru(&params, v, W_H, B_H, layout, &mut h);
                out.extend_from_slice(tape.value(y));
            }
            out
        };
        assert_eq!(run(1), run(2));
    }
}
