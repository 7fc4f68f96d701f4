//! What the recurrent ops share: their rows are time-major, so that each step is one contiguous block.

use std::borrow::Cow;

use crate::float::Float;
use crate::ops::fake_quantize::fake_quantize_rows;
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
    quantizes: bool,
}

impl Window {
    /// Checks that a projected input `[rows, gates * hidden]` and a recurrent matrix fit together.
    pub(crate) fn new<T: Float>(tape: &Tape<T>, x: Var, w_h: Matrix, layout: Layout, gates: usize) -> Window {
        assert!(layout.time_major, "recurrent ops walk rows by time");
        let hidden = w_h.cols;
        assert_eq!(w_h.rows, gates * hidden, "a recurrent matrix of {gates} gates");
        assert_eq!(tape.shape(x), (layout.rows(), w_h.rows), "the projected input of every step");
        Window { batch: layout.batch, len: layout.len, hidden, quantizes: tape.quantizes }
    }

    /// What the recurrent product reads of states `[rows, hidden]`: the states, or what is left of them after
    /// [fake quantization](crate::ops::fake_quantize).
    pub(crate) fn reads<T: Float>(self, states: &[T]) -> Cow<'_, [T]> {
        if !self.quantizes {
            return Cow::Borrowed(states);
        }
        let mut rounded = states.to_vec();
        fake_quantize_rows(&mut rounded, self.hidden);
        Cow::Owned(rounded)
    }

    /// Elements of one step's state.
    pub(crate) fn step(self) -> usize {
        self.batch * self.hidden
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
    let Window { batch, len, hidden, .. } = window;
    let (h, h0) = (window.reads(&h[..(len - 1) * window.step()]), window.reads(h0));
    let first = View::strided(dpre, batch, width, stride);
    gemm(T::ONE, first.t(), View::new(&h0, batch, hidden), true, ViewMut::new(dw, width, hidden));
    if len > 1 {
        let rows = (len - 1) * batch;
        let rest = View::strided(&dpre[batch * stride..], rows, width, stride);
        gemm(T::ONE, rest.t(), View::new(&h, rows, hidden), true, ViewMut::new(dw, width, hidden));
    }
}
