//! What the recurrent ops share: their rows are time-major, so that each step is one contiguous block.

use crate::float::Float;
use crate::ops::gemm::{View, ViewMut, gemm};
use crate::tape::Tape;
use crate::tensor::{Layout, Matrix, Var};

/// Sizes of a window that a recurrent op walks through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Sequences side by side.
    pub(crate) batch: usize,
    /// Steps.
    pub(crate) len: usize,
    /// Width of the state.
    pub(crate) hidden: usize,
}

impl Window {
    /// Checks that a projected input `[rows, gates * hidden]` and a recurrent matrix fit together.
    pub(crate) fn new<T: Float>(tape: &Tape<T>, x: Var, w_h: Matrix, layout: Layout, gates: usize) -> Window {
        assert!(layout.time_major, "recurrent ops walk rows by time");
        let hidden = w_h.cols;
        assert_eq!(w_h.rows, gates * hidden, "a recurrent matrix of {gates} gates");
        assert_eq!(tape.shape(x), (layout.rows(), w_h.rows), "the projected input of every step");
        Window { batch: layout.batch, len: layout.len, hidden }
    }

    /// Elements of one step's state.
    pub(crate) fn step(self) -> usize {
        self.batch * self.hidden
    }
}

/// Columns of a panel.
const PANEL: usize = 64;

/// The right operand `B` of the product of every step, copied into panels of [`PANEL`] columns: a step streams them from
/// start to end. As it lies in the store it would be read with a stride of up to a page, and caches keep little of
/// rows whose distance is a power of two.
#[derive(Debug)]
pub(crate) struct Panels<T> {
    data: Vec<T>, // [n / PANEL][k][PANEL], the last panel narrower
    k: usize,
    n: usize,
}

impl<T: Float> Panels<T> {
    /// `B = Wᵀ`, for the step forward: W is `[n, k]`.
    pub(crate) fn of_transpose(tape: &mut Tape<T>, w: &[T], n: usize, k: usize) -> Self {
        let mut data = tape.pool.take(n * k);
        for (p, panel) in data.chunks_mut(k * PANEL).enumerate() {
            let width = panel.len() / k;
            for (row, w) in w[p * PANEL * k..].chunks_exact(k).take(width).enumerate() {
                for (i, &w) in w.iter().enumerate() {
                    panel[i * width + row] = w;
                }
            }
        }
        Panels { data, k, n }
    }

    /// `B = W`, for the step back: W is `[k, n]`.
    pub(crate) fn of(tape: &mut Tape<T>, w: &[T], k: usize, n: usize) -> Self {
        let mut data = tape.pool.take(n * k);
        for (p, panel) in data.chunks_mut(k * PANEL).enumerate() {
            let width = panel.len() / k;
            for (row, w) in panel.chunks_exact_mut(width).zip(w.chunks_exact(n)) {
                row.copy_from_slice(&w[p * PANEL..][..width]);
            }
        }
        Panels { data, k, n }
    }

    /// `c += a B`, or `c = a B`: a `[rows, k]` and c `[rows, n]`, with a row every so many elements.
    pub(crate) fn product(
        &self,
        rows: usize,
        (a, a_stride): (&[T], usize),
        accumulate: bool,
        (c, c_stride): (&mut [T], usize),
    ) {
        let a = View::strided(a, rows, self.k, a_stride);
        for (p, panel) in self.data.chunks(self.k * PANEL).enumerate() {
            let width = PANEL.min(self.n - p * PANEL);
            let c = ViewMut::strided(&mut c[p * PANEL..], rows, width, c_stride);
            gemm(T::ONE, a, View::new(panel, self.k, width), accumulate, c);
        }
    }

    /// Gives the copy back.
    pub(crate) fn give(self, tape: &mut Tape<T>) {
        tape.pool.give(self.data);
    }
}

/// `dW += Σ_t dpre_tᵀ h_{t-1}`: one product for the steps after the first, one for the state before the window.
///
/// `dpre` is `[len * batch, width]` with a row every `stride`; `h` `[len * batch, hidden]`, `h0` `[batch, hidden]`, `dw`
/// `[width, hidden]`.
pub(crate) fn add_recurrent_gradient<T: Float>(
    dw: &mut [T],
    dpre: &[T],
    (width, stride): (usize, usize),
    h: &[T],
    h0: &[T],
    window: Window,
) {
    let Window { batch, len, hidden } = window;
    let first = View::strided(dpre, batch, width, stride);
    gemm(T::ONE, first.t(), View::new(h0, batch, hidden), true, ViewMut::new(dw, width, hidden));
    if len > 1 {
        let rows = (len - 1) * batch;
        let rest = View::strided(&dpre[batch * stride..], rows, width, stride);
        gemm(T::ONE, rest.t(), View::new(h, rows, hidden), true, ViewMut::new(dw, width, hidden));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_multiply() {
        let (rows, k, n) = (3, 5, 2 * PANEL + 7);
        let numbers = |len: usize| (0..len).map(|i| (i as f64 * 0.7).sin()).collect::<Vec<f64>>();
        let (a, w) = (numbers(rows * k), numbers(n * k));
        let mut tape = Tape::new();
        for transposed in [true, false] {
            let panels = match transposed {
                true => Panels::of_transpose(&mut tape, &w, n, k),
                false => Panels::of(&mut tape, &w, k, n),
            };
            let mut c = vec![1.0; rows * n];
            panels.product(rows, (&a, k), true, (&mut c, n));
            for r in 0..rows {
                for j in 0..n {
                    let b = |i: usize| if transposed { w[j * k + i] } else { w[i * n + j] };
                    let expected = 1.0 + (0..k).map(|i| a[r * k + i] * b(i)).sum::<f64>();
                    assert!((c[r * n + j] - expected).abs() < 1e-12);
                }
            }
            panels.give(&mut tape);
        }
    }
}
