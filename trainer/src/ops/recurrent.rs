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

/// `Wᵀ`, row-major: the product of each step then streams it without packing.
pub(crate) fn transpose<T: Float>(out: &mut [T], w: &[T], rows: usize, cols: usize) {
    const TILE: usize = 16;
    for r0 in (0..rows).step_by(TILE) {
        for c0 in (0..cols).step_by(TILE) {
            for r in r0..(r0 + TILE).min(rows) {
                for c in c0..(c0 + TILE).min(cols) {
                    out[c * rows + r] = w[r * cols + c];
                }
            }
        }
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
    fn transposes() {
        let (rows, cols) = (37, 19);
        let w: Vec<f64> = (0..rows * cols).map(|i| i as f64).collect();
        let mut out = vec![0.0; rows * cols];
        transpose(&mut out, &w, rows, cols);
        for r in 0..rows {
            for c in 0..cols {
                assert_eq!(out[c * rows + r], w[r * cols + c]);
            }
        }
    }
}
