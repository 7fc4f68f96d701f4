//! Causal scaled-dot-product attention with grouped heads, in blocks (Vaswani et al. 2017; Ainslie et al. 2023).
//!
//! `P = softmax(Q Kᵀ / sqrt(head_dim))` over the positions up to the query's own, `O = P V`. As in FlashAttention
//! (Dao et al. 2022) only one block of P exists at a time: the forward pass keeps a running maximum and sum per query, and saves the
//! log-sum-exp, from which the backward pass computes P again. With `D = Σ_channels dO O`:
//! `dV += Pᵀ dO`, `dS = P (dO Vᵀ - D) / sqrt(head_dim)`, `dQ += dS K`, `dK += dSᵀ Q`.

use crate::float::Float;
use crate::ops::Op;
use crate::ops::dropout::Dropout;
use crate::ops::gemm::{View, ViewMut, gemm};
use crate::ops::qk_norm::Heads;
use crate::ops::simd::{kernel, lane_max, lane_sum};
use crate::tape::Tape;
use crate::tensor::{Layout, Var};

/// Queries and keys of a block.
const BLOCK: usize = 64;

/// A block of scores: queries from `i`, keys from `j`.
#[derive(Clone, Copy, Debug)]
struct Block {
    i: usize,
    j: usize,
    rows: usize,
    cols: usize,
}

impl Block {
    /// Keys of the block that query `i + r` may see.
    #[inline(always)]
    fn visible(self, r: usize) -> usize {
        (self.i + r + 1 - self.j).min(self.cols)
    }

    /// The blocks of queries from `i` in a sequence of `len`, keys first to last.
    fn of_queries(i: usize, len: usize) -> impl Iterator<Item = Block> {
        let rows = BLOCK.min(len - i);
        (0..i + rows).step_by(BLOCK).map(move |j| Block { i, j, rows, cols: BLOCK.min(i + rows - j) })
    }

    /// The blocks of keys from `j` in a sequence of `len`, queries first to last.
    fn of_keys(j: usize, len: usize) -> impl Iterator<Item = Block> {
        (j..len).step_by(BLOCK).map(move |i| {
            let rows = BLOCK.min(len - i);
            Block { i, j, rows, cols: BLOCK.min(i + rows - j) }
        })
    }
}

kernel! {
    /// Turns scores into `exp(score - max)`, with the running `max` and `sum` of each query brought up to date and
    /// what came before (`out`, a row every `stride`) scaled to the new maximum.
    fn softmax_block<'a, T>(s: &'a mut [T], block: Block, max: &'a mut [T], sum: &'a mut [T], out: &'a mut [T], stride: usize, width: usize) {
        for (r, s) in s.chunks_exact_mut(block.cols).take(block.rows).enumerate() {
            let (s, hidden) = s.split_at_mut(block.visible(r));
            let highest = lane_max(s).max(max[r]);
            s.iter_mut().for_each(|s| *s = (*s - highest).exp());
            hidden.fill(T::ZERO);
            let total = lane_sum(s.len(), |j| s[j]);
            if block.j == 0 {
                sum[r] = total;
            } else {
                let shrink = (max[r] - highest).exp();
                sum[r] = sum[r] * shrink + total;
                out[r * stride..][..width].iter_mut().for_each(|o| *o *= shrink);
            }
            max[r] = highest;
        }
    }

    /// `out /= sum` for each query; `max` becomes the log-sum-exp.
    fn finish_block<'a, T>(rows: usize, max: &'a mut [T], sum: &'a [T], out: &'a mut [T], stride: usize, width: usize) {
        for r in 0..rows {
            let inverse = T::ONE / sum[r];
            out[r * stride..][..width].iter_mut().for_each(|o| *o *= inverse);
            max[r] += sum[r].ln();
        }
    }

    /// Turns scores into probabilities, by the saved log-sum-exp.
    fn probabilities<'a, T>(s: &'a mut [T], block: Block, lse: &'a [T]) {
        for (r, s) in s.chunks_exact_mut(block.cols).take(block.rows).enumerate() {
            let (s, hidden) = s.split_at_mut(block.visible(r));
            let lse = lse[r];
            s.iter_mut().for_each(|s| *s = (*s - lse).exp());
            hidden.fill(T::ZERO);
        }
    }

    /// Turns `dO Vᵀ` into `dS = P (dP - D) scale`.
    fn score_gradient<'a, T>(dp: &'a mut [T], p: &'a [T], block: Block, d: &'a [T], scale: T) {
        let rows = dp.chunks_exact_mut(block.cols).zip(p.chunks_exact(block.cols)).take(block.rows);
        for (r, (dp, p)) in rows.enumerate() {
            let d = d[r];
            dp.iter_mut().zip(p).for_each(|(dp, &p)| *dp = p * (*dp - d) * scale);
        }
    }

    /// `d[r] = Σ_channels dO O` of one head.
    fn row_dots<'a, T>(d: &'a mut [T], a: &'a [T], b: &'a [T], stride: usize, width: usize) {
        for (r, d) in d.iter_mut().enumerate() {
            let (a, b) = (&a[r * stride..][..width], &b[r * stride..][..width]);
            *d = lane_sum(width, |j| a[j] * b[j]);
        }
    }

    /// Multiplies a block by its part of a dropout mask; `first` is the index of its sequence's and head's scores.
    fn drop_block<'a, T>(p: &'a mut [T], block: Block, dropout: Dropout, first: u32, len: usize) {
        for (r, p) in p.chunks_exact_mut(block.cols).take(block.rows).enumerate() {
            let at = first.wrapping_add(((block.i + r) * len + block.j) as u32);
            for (c, p) in p.iter_mut().enumerate() {
                *p *= dropout.factor::<T>(at.wrapping_add(c as u32));
            }
        }
    }
}

/// Sizes and strides of one attention call.
#[derive(Clone, Copy, Debug)]
struct Shape {
    heads: Heads,
    layout: Layout,
    dropout: Option<Dropout>,
}

impl Shape {
    /// Elements between a token's `[q | k | v]` and its successor's.
    fn qkv_stride(self) -> usize {
        self.layout.time_stride() * self.heads.qkv_width()
    }

    /// Elements between a token's output and its successor's.
    fn out_stride(self) -> usize {
        self.layout.time_stride() * self.heads.q_width()
    }

    /// First elements of query, key and value of token `t` of sequence `b`, head `h`.
    fn qkv(self, b: usize, h: usize, t: usize) -> [usize; 3] {
        let Heads { n_heads, n_kv_heads, head_dim } = self.heads;
        let row = self.layout.row(b, t) * self.heads.qkv_width();
        let kv = h / (n_heads / n_kv_heads);
        [h, n_heads + kv, n_heads + n_kv_heads + kv].map(|part| row + part * head_dim)
    }

    /// First element of the output of token `t` of sequence `b`, head `h`.
    fn out(self, b: usize, h: usize, t: usize) -> usize {
        self.layout.row(b, t) * self.heads.q_width() + h * self.heads.head_dim
    }

    /// Index of sequence `b`, head `h` among all: where its log-sum-exps begin, in units of `len`.
    fn index(self, b: usize, h: usize) -> usize {
        b * self.heads.n_heads + h
    }

    fn scale<T: Float>(self) -> T {
        T::from_f64(1.0 / (self.heads.head_dim as f64).sqrt())
    }

    fn drop<T: Float>(self, p: &mut [T], block: Block, index: usize) {
        if let Some(dropout) = self.dropout {
            let len = self.layout.len;
            drop_block(p, block, dropout, (index * len * len) as u32, len);
        }
    }
}

/// What the backward pass of [`Tape::attention`] needs.
#[derive(Debug)]
pub(crate) struct Attention<T> {
    x: Var, // [rows, qkv_width]
    y: Var, // [rows, q_width]
    shape: Shape,
    lse: Vec<T>, // [batch, n_heads, len]
}

impl<T: Float> Tape<T> {
    /// Causal attention within each sequence: x `[rows, heads.qkv_width()]` as `[queries | keys | values]`,
    /// y `[rows, heads.q_width()]`. `dropout` drops probabilities.
    pub fn attention(&mut self, x: Var, heads: Heads, layout: Layout, dropout: Option<Dropout>) -> Var {
        let (rows, cols) = self.shape(x);
        assert_eq!((rows, cols), (layout.rows(), heads.qkv_width()), "queries, keys and values side by side");
        assert!(heads.n_heads.is_multiple_of(heads.n_kv_heads), "groups of heads of one size");
        let shape = Shape { heads, layout, dropout: dropout.filter(|d| !d.is_off()) };
        let mut out = self.pool.take(rows * heads.q_width());
        let mut lse = self.pool.take(layout.batch * heads.n_heads * layout.len);
        let mut scores = self.pool.take(BLOCK * BLOCK);
        let qkv = self.value(x);
        for b in 0..layout.batch {
            for h in 0..heads.n_heads {
                let lse = &mut lse[shape.index(b, h) * layout.len..][..layout.len];
                for i in (0..layout.len).step_by(BLOCK) {
                    forward_queries(shape, qkv, &mut out, lse, &mut scores, (b, h, i));
                }
            }
        }
        self.pool.give(scores);
        let y = self.push(rows, heads.q_width(), out);
        self.record(Op::Attention(Attention { x, y, shape, lse }), y)
    }
}

/// Output and log-sum-exp of one block of queries of one head.
fn forward_queries<T: Float>(
    shape: Shape,
    qkv: &[T],
    out: &mut [T],
    lse: &mut [T],
    scores: &mut [T],
    (b, h, i): (usize, usize, usize),
) {
    let (hd, len) = (shape.heads.head_dim, shape.layout.len);
    let (stride, out_stride) = (shape.qkv_stride(), shape.out_stride());
    let [q, ..] = shape.qkv(b, h, i);
    let out = &mut out[shape.out(b, h, i)..];
    let rows = BLOCK.min(len - i);
    let max = &mut lse[i..i + rows];
    max.fill(T::NEG_INFINITY);
    let mut sum = [T::ZERO; BLOCK];
    for block in Block::of_queries(i, len) {
        let [_, k, v] = shape.qkv(b, h, block.j);
        let query = View::strided(&qkv[q..], rows, hd, stride);
        let key = View::strided(&qkv[k..], block.cols, hd, stride);
        let value = View::strided(&qkv[v..], block.cols, hd, stride);
        let s = &mut scores[..rows * block.cols];
        gemm(shape.scale(), query, key.t(), false, ViewMut::new(s, rows, block.cols));
        softmax_block(s, block, max, &mut sum, out, out_stride, hd);
        shape.drop(s, block, shape.index(b, h));
        let p = View::new(s, rows, block.cols);
        gemm(T::ONE, p, value, block.j > 0, ViewMut::strided(out, rows, hd, out_stride));
    }
    finish_block(rows, max, &sum, out, out_stride, hd);
}

/// Buffers of the backward pass.
struct Scratch<T> {
    p: Vec<T>,       // [BLOCK, BLOCK]
    dropped: Vec<T>, // [BLOCK, BLOCK]: p times the dropout mask
    dp: Vec<T>,      // [BLOCK, BLOCK]
    d: Vec<T>,       // [len]
}

impl<T: Float> Attention<T> {
    pub(crate) fn backward(self, tape: &mut Tape<T>, _: &[T], _: &mut [T]) {
        let Shape { heads, layout, .. } = self.shape;
        let dy = tape.take_grad(self.y);
        let mut dx = tape.pool.take(layout.rows() * heads.qkv_width());
        let mut scratch = Scratch {
            p: tape.pool.take(BLOCK * BLOCK),
            dropped: tape.pool.take(BLOCK * BLOCK),
            dp: tape.pool.take(BLOCK * BLOCK),
            d: tape.pool.take(layout.len),
        };
        let (qkv, y) = (tape.value(self.x), tape.value(self.y));
        for b in 0..layout.batch {
            for h in 0..heads.n_heads {
                let at = self.shape.out(b, h, 0);
                row_dots(&mut scratch.d, &y[at..], &dy[at..], self.shape.out_stride(), heads.head_dim);
                let lse = &self.lse[self.shape.index(b, h) * layout.len..][..layout.len];
                for j in (0..layout.len).step_by(BLOCK) {
                    for block in Block::of_keys(j, layout.len) {
                        backward_block(self.shape, qkv, &dy, &mut dx, lse, &mut scratch, (b, h), block);
                    }
                }
            }
        }
        for buffer in [scratch.p, scratch.dropped, scratch.dp, scratch.d, dy, self.lse] {
            tape.pool.give(buffer);
        }
        tape.accumulate(self.x, dx);
    }

    pub(crate) fn discard(self, tape: &mut Tape<T>) {
        tape.pool.give(self.lse);
    }
}

/// Gradients of one block of scores. The first block that reaches a part of `dx` overwrites it, the others add.
fn backward_block<T: Float>(
    shape: Shape,
    qkv: &[T],
    dy: &[T],
    dx: &mut [T],
    lse: &[T],
    scratch: &mut Scratch<T>,
    (b, h): (usize, usize),
    block: Block,
) {
    let Block { i, j, rows, cols } = block;
    let (hd, stride) = (shape.heads.head_dim, shape.qkv_stride());
    let ([q, ..], [_, k, v]) = (shape.qkv(b, h, i), shape.qkv(b, h, j));
    let query = View::strided(&qkv[q..], rows, hd, stride);
    let key = View::strided(&qkv[k..], cols, hd, stride);
    let value = View::strided(&qkv[v..], cols, hd, stride);
    let d_out = View::strided(&dy[shape.out(b, h, i)..], rows, hd, shape.out_stride());
    let (p, dp) = (&mut scratch.p[..rows * cols], &mut scratch.dp[..rows * cols]);
    gemm(shape.scale(), query, key.t(), false, ViewMut::new(p, rows, cols));
    probabilities(p, block, &lse[i..]);
    gemm(T::ONE, d_out, value.t(), false, ViewMut::new(dp, rows, cols));
    shape.drop(dp, block, shape.index(b, h));
    let group = shape.heads.n_heads / shape.heads.n_kv_heads;
    let first = h.is_multiple_of(group) && i == j;
    let used = match shape.dropout {
        None => &*p,
        Some(_) => {
            let dropped = &mut scratch.dropped[..rows * cols];
            dropped.copy_from_slice(p);
            shape.drop(dropped, block, shape.index(b, h));
            dropped
        }
    };
    let dv = ViewMut::strided(&mut dx[v..], cols, hd, stride);
    gemm(T::ONE, View::new(used, rows, cols).t(), d_out, !first, dv);
    score_gradient(dp, p, block, &scratch.d[i..], shape.scale());
    let ds = View::new(dp, rows, cols);
    gemm(T::ONE, ds, key, j > 0, ViewMut::strided(&mut dx[q..], rows, hd, stride));
    gemm(T::ONE, ds.t(), query, !first, ViewMut::strided(&mut dx[k..], cols, hd, stride));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check_op, samples};

    const HEADS: Heads = Heads { n_heads: 4, n_kv_heads: 2, head_dim: 3 };

    #[test]
    fn gradient_with_grouped_heads() {
        for time_major in [false, true] {
            let layout = Layout { batch: 2, len: 5, time_major };
            check_op(0, &[(10, 24)], |tape, _, x| tape.attention(x[0], HEADS, layout, None));
        }
    }

    #[test]
    fn gradient_with_dropout() {
        let layout = Layout { batch: 2, len: 5, time_major: false };
        let dropout = Some(Dropout::new(0.3, 5, &[1]));
        check_op(0, &[(10, 24)], |tape, _, x| tape.attention(x[0], HEADS, layout, dropout));
    }

    #[test]
    fn gradient_over_several_blocks() {
        let heads = Heads { n_heads: 1, n_kv_heads: 1, head_dim: 1 };
        let layout = Layout { batch: 1, len: 2 * BLOCK + 3, time_major: false };
        check_op(0, &[(layout.len, 3)], |tape, _, x| tape.attention(x[0], heads, layout, None));
    }

    /// The definition, query by query.
    fn naive(x: &[f64], heads: Heads, layout: Layout) -> Vec<f64> {
        let shape = Shape { heads, layout, dropout: None };
        let mut out = vec![0.0; layout.rows() * heads.q_width()];
        for b in 0..layout.batch {
            for h in 0..heads.n_heads {
                for t in 0..layout.len {
                    let [q, ..] = shape.qkv(b, h, t);
                    let dot = |k: usize| (0..heads.head_dim).map(|c| x[q + c] * x[k + c]).sum::<f64>();
                    let weights: Vec<f64> =
                        (0..=t).map(|u| (dot(shape.qkv(b, h, u)[1]) * shape.scale::<f64>()).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    for (u, w) in weights.iter().enumerate() {
                        for c in 0..heads.head_dim {
                            out[shape.out(b, h, t) + c] += w / total * x[shape.qkv(b, h, u)[2] + c];
                        }
                    }
                }
            }
        }
        out
    }

    #[test]
    fn blocks_give_what_the_definition_gives() {
        for (len, time_major) in [(1, false), (64, false), (65, true), (200, false)] {
            let layout = Layout { batch: 2, len, time_major };
            let x = samples(layout.rows() * HEADS.qkv_width(), 3);
            let mut tape = Tape::new();
            let v = tape.input(layout.rows(), HEADS.qkv_width(), &x);
            let y = tape.attention(v, HEADS, layout, None);
            let expected = naive(&x, HEADS, layout);
            assert!(tape.value(y).iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }
}
