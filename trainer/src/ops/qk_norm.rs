//! RMS norm of each head's query and key (Henry et al. 2020), on rows that hold `[queries | keys | values]`.
//!
//! Values pass through. The formulas are those of [`crate::ops::rms_norm`], per head.

use crate::float::Float;
use crate::ops::Op;
use crate::ops::layer_norm::two_mut;
use crate::ops::rms_norm::{backward_row, forward_row};
use crate::ops::simd::kernel;
use crate::tape::Tape;
use crate::tensor::{Var, Vector};

/// The heads of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub n_heads: usize,
    /// Key heads and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Channels per head.
    pub head_dim: usize,
}

impl Heads {
    /// Columns of a row of `[queries | keys | values]`.
    pub fn qkv_width(self) -> usize {
        (self.n_heads + 2 * self.n_kv_heads) * self.head_dim
    }

    /// Columns of the queries, and of the attention's output.
    pub fn q_width(self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Heads that are queries or keys: those that are normed and rotated.
    pub fn qk_heads(self) -> usize {
        self.n_heads + self.n_kv_heads
    }
}

kernel! {
    fn forward<'a, T>(y: &'a mut [T], inverses: &'a mut [T], x: &'a [T], wq: Option<&'a [T]>, wk: Option<&'a [T]>, heads: Heads, eps: T) {
        let (width, normed) = (heads.qkv_width(), heads.qk_heads());
        let rows = y.chunks_exact_mut(width).zip(inverses.chunks_exact_mut(normed)).zip(x.chunks_exact(width));
        for ((y, inverses), x) in rows {
            let (y_qk, y_v) = y.split_at_mut(normed * heads.head_dim);
            let (x_qk, x_v) = x.split_at(normed * heads.head_dim);
            let parts = y_qk.chunks_exact_mut(heads.head_dim).zip(x_qk.chunks_exact(heads.head_dim));
            for (h, (y, x)) in parts.enumerate() {
                inverses[h] = forward_row(y, x, if h < heads.n_heads { wq } else { wk }, eps);
            }
            y_v.copy_from_slice(x_v);
        }
    }

    fn backward<'a, T>(dy: &'a mut [T], dwq: &'a mut [T], dwk: &'a mut [T], inverses: &'a [T], x: &'a [T], wq: Option<&'a [T]>, wk: Option<&'a [T]>, heads: Heads) {
        let (width, normed) = (heads.qkv_width(), heads.qk_heads());
        let rows = dy.chunks_exact_mut(width).zip(inverses.chunks_exact(normed)).zip(x.chunks_exact(width));
        for ((dy, inverses), x) in rows {
            let parts = dy.chunks_exact_mut(heads.head_dim).zip(x.chunks_exact(heads.head_dim)).zip(inverses);
            for (h, ((dy, x), &inverse)) in parts.enumerate() {
                if h < heads.n_heads {
                    backward_row(dy, dwq, inverse, x, wq);
                } else {
                    backward_row(dy, dwk, inverse, x, wk);
                }
            }
        }
    }
}

/// What the backward pass of [`Tape::qk_norm`] needs.
#[derive(Debug)]
pub(crate) struct QkNorm<T> {
    x: Var, // [rows, qkv_width]
    y: Var, // [rows, qkv_width]
    wq: Option<Vector>,
    wk: Option<Vector>,
    heads: Heads,
    inverses: Vec<T>, // [rows, n_heads + n_kv_heads]
}

impl<T: Float> Tape<T> {
    /// RMS norm per head of queries (scaled by `wq`) and keys (by `wk`), both `[head_dim]`; x and y
    /// `[rows, heads.qkv_width()]`.
    pub fn qk_norm(
        &mut self,
        params: &[T],
        x: Var,
        wq: Option<Vector>,
        wk: Option<Vector>,
        heads: Heads,
        eps: T,
    ) -> Var {
        let (rows, cols) = self.shape(x);
        assert_eq!(cols, heads.qkv_width(), "queries, keys and values side by side");
        let (mut out, mut inverses) = (self.pool.take(rows * cols), self.pool.take(rows * heads.qk_heads()));
        let (q, k) = (wq.map(|w| &params[w.range()]), wk.map(|w| &params[w.range()]));
        forward(&mut out, &mut inverses, self.value(x), q, k, heads, eps);
        let y = self.push(rows, cols, out);
        self.record(Op::QkNorm(QkNorm { x, y, wq, wk, heads, inverses }), y)
    }
}

impl<T: Float> QkNorm<T> {
    pub(crate) fn backward(self, tape: &mut Tape<T>, params: &[T], grads: &mut [T]) {
        let mut dy = tape.take_grad(self.y);
        let (wq, wk) = (self.wq.map(|w| &params[w.range()]), self.wk.map(|w| &params[w.range()]));
        let (dwq, dwk) = two_mut(grads, self.wq, self.wk);
        backward(&mut dy, dwq, dwk, &self.inverses, tape.value(self.x), wq, wk, self.heads);
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
        let heads = Heads { n_heads: 4, n_kv_heads: 2, head_dim: 3 };
        let (wq, wk) = (Some(Vector { offset: 0, len: 3 }), Some(Vector { offset: 3, len: 3 }));
        check_op(6, &[(2, 24)], |tape, p, x| tape.qk_norm(p, x[0], wq, wk, heads, 1e-5));
        check_op(0, &[(2, 24)], |tape, p, x| tape.qk_norm(p, x[0], None, None, heads, 1e-5));
    }
}
