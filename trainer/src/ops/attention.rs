//! Scaled-dot-product attention with grouped heads, in blocks (Vaswani et al. 2017; Ainslie et al. 2023): causal, over all of a
//! source as in an encoder, or from one sequence to another as in a decoder's cross-attention.
//!
//! `P = softmax(Q Kᵀ / sqrt(head_dim))` over the positions in reach, `O = P V`. In reach are those up to the query's own, or the first
//! so many of the sequence: what lies behind them is padding. With a window (Beltagy et al. 2020) the last so many up to the query's own
//! are; blocks that no window reaches are skipped, so that a long sequence costs in proportion to its length. As in FlashAttention
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
use std::ops::Range;

/// Queries and keys of a block.
const BLOCK: usize = 64;

/// A block of scores: queries from `i`, keys from `j`.
#[derive(Clone, Copy, Debug)]
struct Block {
    i: usize,
    j: usize,
    rows: usize,
    cols: usize,
    reach: Reach,
}

/// Which keys the queries of a sequence may see.
#[derive(Clone, Copy, Debug)]
enum Reach {
    /// The last so many up to the query's own position.
    Causal(usize),
    /// The first so many.
    First(usize),
}

impl Block {
    /// Keys of the block that query `i + r` may see: one range, which is empty where a window begins behind the block.
    #[inline(always)]
    fn visible(self, r: usize) -> Range<usize> {
        match self.reach {
            Reach::Causal(window) => {
                let seen = self.i + r + 1;
                let first = seen.saturating_sub(window).max(self.j);
                (first - self.j).min(self.cols)..(seen - self.j).min(self.cols)
            }
            Reach::First(_) => 0..self.cols,
        }
    }

    /// Whether no earlier block of [`Block::of_keys`] has the same keys.
    fn is_first_of_keys(self) -> bool {
        self.i == if matches!(self.reach, Reach::Causal(_)) { self.j } else { 0 }
    }

    /// Whether no earlier block of [`Block::of_queries`] has the same queries.
    #[inline(always)]
    fn is_first_of_queries(self) -> bool {
        self.j == self.reach.first_block(self.i)
    }

    /// The blocks of queries from `i` in a sequence of `len`, keys first to last.
    fn of_queries(i: usize, len: usize, reach: Reach) -> impl Iterator<Item = Block> {
        let rows = BLOCK.min(len - i);
        let keys = reach.end(i + rows);
        let first = reach.first_block(i);
        (first..keys).step_by(BLOCK).map(move |j| Block { i, j, rows, cols: BLOCK.min(keys - j), reach })
    }

    /// The blocks of keys from `j` for a sequence of `len` queries, first to last.
    fn of_keys(j: usize, len: usize, reach: Reach) -> impl Iterator<Item = Block> {
        let queries = match reach {
            // The last query that sees the block's last key is a window behind it.
            Reach::Causal(window) => j..len.min((j + BLOCK - 1).saturating_add(window)),
            Reach::First(_) => 0..len,
        };
        queries.step_by(BLOCK).map(move |i| {
            let rows = BLOCK.min(len - i);
            Block { i, j, rows, cols: BLOCK.min(reach.end(i + rows) - j), reach }
        })
    }
}

impl Reach {
    /// The key behind the last one that queries up to `queries` see.
    fn end(self, queries: usize) -> usize {
        match self {
            Reach::Causal(_) => queries,
            Reach::First(n) => n,
        }
    }

    /// The first key of the first block that queries from `i` on see.
    #[inline(always)]
    fn first_block(self, i: usize) -> usize {
        match self {
            Reach::Causal(window) => (i + 1).saturating_sub(window) / BLOCK * BLOCK,
            Reach::First(_) => 0,
        }
    }
}

kernel! {
    /// Turns scores into `exp(score - max)`, with the running `max` and `sum` of each query brought up to date and
    /// what came before (`out`, a row every `stride`) scaled to the new maximum.
    fn softmax_block<'a, T>(s: &'a mut [T], block: Block, max: &'a mut [T], sum: &'a mut [T], out: &'a mut [T], stride: usize, width: usize) {
        for (r, s) in s.chunks_exact_mut(block.cols).take(block.rows).enumerate() {
            let seen = block.visible(r);
            s[..seen.start].fill(T::ZERO);
            s[seen.end..].fill(T::ZERO);
            let s = &mut s[seen];
            let highest = lane_max(s).max(max[r]);
            s.iter_mut().for_each(|s| *s = (*s - highest).exp());
            let total = lane_sum(s.len(), |j| s[j]);
            // A window begins in the first or the second block, so that after the second one each query has a maximum.
            if block.is_first_of_queries() {
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
            let (seen, lse) = (block.visible(r), lse[r]);
            s[..seen.start].fill(T::ZERO);
            s[seen.end..].fill(T::ZERO);
            s[seen].iter_mut().for_each(|s| *s = (*s - lse).exp());
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

/// Where queries, or keys and values, lie: rows of `width` columns, those wanted from column `first` on.
#[derive(Clone, Copy, Debug)]
struct Side {
    layout: Layout,
    width: usize,
    first: usize,
}

impl Side {
    /// First element of what token `t` of sequence `b` has for a head, `at` columns from the first.
    fn at(self, b: usize, t: usize, at: usize) -> usize {
        self.layout.row(b, t) * self.width + self.first + at
    }

    /// Elements between a token's and its successor's.
    fn stride(self) -> usize {
        self.layout.time_stride() * self.width
    }
}

/// Sizes and strides of one attention call.
#[derive(Clone, Copy, Debug)]
struct Shape {
    heads: Heads,
    queries: Side,
    keys: Side, // and values, which stand behind the keys of a row
    dropout: Option<Dropout>,
    window: usize, // of causal attention; usize::MAX for none
}

impl Shape {
    /// Elements between a token's output and its successor's.
    fn out_stride(self) -> usize {
        self.queries.layout.time_stride() * self.heads.q_width()
    }

    /// First element of the query of token `t` of sequence `b`, head `h`.
    fn query(self, b: usize, h: usize, t: usize) -> usize {
        self.queries.at(b, t, h * self.heads.head_dim)
    }

    /// First elements of key and value of token `t` of sequence `b` for the queries of head `h`.
    fn key_value(self, b: usize, h: usize, t: usize) -> [usize; 2] {
        let Heads { n_heads, n_kv_heads, head_dim } = self.heads;
        let kv = h / (n_heads / n_kv_heads);
        [kv, n_kv_heads + kv].map(|part| self.keys.at(b, t, part * head_dim))
    }

    /// First element of the output of token `t` of sequence `b`, head `h`.
    fn out(self, b: usize, h: usize, t: usize) -> usize {
        self.queries.layout.row(b, t) * self.heads.q_width() + h * self.heads.head_dim
    }

    /// Index of sequence `b`, head `h` among all: where its log-sum-exps begin, in units of the queries of a sequence.
    fn index(self, b: usize, h: usize) -> usize {
        b * self.heads.n_heads + h
    }

    fn scale<T: Float>(self) -> T {
        T::from_f64(1.0 / (self.heads.head_dim as f64).sqrt())
    }

    fn drop<T: Float>(self, p: &mut [T], block: Block, index: usize) {
        if let Some(dropout) = self.dropout {
            let (queries, keys) = (self.queries.layout.len, self.keys.layout.len);
            drop_block(p, block, dropout, (index * queries * keys) as u32, keys);
        }
    }
}

/// What the backward pass of [`Tape::attention`] and its siblings needs.
#[derive(Debug)]
pub(crate) struct Attention<T> {
    q: Var,  // [rows of queries, queries.width]
    kv: Var, // [rows of keys, keys.width], or the very same value
    y: Var,  // [rows of queries, q_width]
    shape: Shape,
    lens: Vec<u32>, // [batch]: keys in reach; empty for causal attention
    lse: Vec<T>,    // [batch, n_heads, queries of a sequence]
}

/// Which keys sequence `b` may see.
fn reach(shape: Shape, lens: &[u32], b: usize) -> Reach {
    lens.get(b).map_or(Reach::Causal(shape.window), |len| Reach::First(*len as usize))
}

impl<T: Float> Tape<T> {
    /// Causal attention within each sequence: x `[rows, heads.qkv_width()]` as `[queries | keys | values]`,
    /// y `[rows, heads.q_width()]`. A token sees the last `window` tokens, its own among them; 0 for all before it. `dropout` drops
    /// probabilities.
    pub fn attention(
        &mut self,
        x: Var,
        heads: Heads,
        layout: Layout,
        window: usize,
        dropout: Option<Dropout>,
    ) -> Var {
        let window = if window > 0 { window } else { usize::MAX };
        self.attend_within(x, heads, layout, &[], window, dropout)
    }

    /// As [`Tape::attention`], but every token sees the first `lens[b]` tokens of its sequence `b`, those behind it too.
    ///
    /// # Panics
    /// If there is not a length from 1 to that of the layout for each sequence.
    pub fn attention_to_all(
        &mut self,
        x: Var,
        heads: Heads,
        layout: Layout,
        lens: &[u32],
        dropout: Option<Dropout>,
    ) -> Var {
        assert_eq!(lens.len(), layout.batch, "a length per sequence");
        self.attend_within(x, heads, layout, lens, usize::MAX, dropout)
    }

    fn attend_within(
        &mut self,
        x: Var,
        heads: Heads,
        layout: Layout,
        lens: &[u32],
        window: usize,
        dropout: Option<Dropout>,
    ) -> Var {
        let (rows, cols) = self.shape(x);
        assert_eq!((rows, cols), (layout.rows(), heads.qkv_width()), "queries, keys and values side by side");
        let queries = Side { layout, width: cols, first: 0 };
        self.attend(
            x,
            x,
            Shape { heads, queries, keys: Side { first: heads.q_width(), ..queries }, dropout, window },
            lens,
        )
    }

    /// Attention of every token of `layout`, queries q `[rows, heads.q_width()]`, to the first `lens[b]` tokens of sequence `b` of
    /// `source`, kv `[source rows, 2 * n_kv_heads * head_dim]` as `[keys | values]`; y `[rows, heads.q_width()]`.
    ///
    /// # Panics
    /// If shapes do not fit, or there is not a length from 1 to that of the source for each sequence.
    pub fn cross_attention(
        &mut self,
        (q, layout): (Var, Layout),
        (kv, source): (Var, Layout),
        heads: Heads,
        lens: &[u32],
        dropout: Option<Dropout>,
    ) -> Var {
        let width = 2 * heads.n_kv_heads * heads.head_dim;
        assert_eq!(self.shape(q), (layout.rows(), heads.q_width()), "a row of queries per token");
        assert_eq!(self.shape(kv), (source.rows(), width), "keys and values side by side");
        assert_eq!((lens.len(), source.batch), (layout.batch, layout.batch), "a source per sequence");
        let queries = Side { layout, width: heads.q_width(), first: 0 };
        self.attend(
            q,
            kv,
            Shape {
                heads,
                queries,
                keys: Side { layout: source, width, first: 0 },
                dropout,
                window: usize::MAX,
            },
            lens,
        )
    }

    fn attend(&mut self, q: Var, kv: Var, shape: Shape, lens: &[u32]) -> Var {
        let Shape { heads, queries: Side { layout, .. }, keys, dropout, .. } = shape;
        assert!(heads.n_heads.is_multiple_of(heads.n_kv_heads), "groups of heads of one size");
        assert!(lens.iter().all(|n| (1..=keys.layout.len).contains(&(*n as usize))), "lengths of sources");
        let shape = Shape { dropout: dropout.filter(|d| !d.is_off()), ..shape };
        let rows = layout.rows();
        let mut out = self.pool.take(rows * heads.q_width());
        let mut lse = self.pool.take(layout.batch * heads.n_heads * layout.len);
        let mut scores = self.pool.take(BLOCK * BLOCK);
        let (queries, keys) = (self.value(q), self.value(kv));
        for b in 0..layout.batch {
            for h in 0..heads.n_heads {
                let lse = &mut lse[shape.index(b, h) * layout.len..][..layout.len];
                for i in (0..layout.len).step_by(BLOCK) {
                    let reach = reach(shape, lens, b);
                    forward_queries(shape, queries, keys, &mut out, lse, &mut scores, (b, h, i), reach);
                }
            }
        }
        self.pool.give(scores);
        let lens = self.ids.take_copy(lens);
        let y = self.push(rows, heads.q_width(), out);
        self.record(Op::Attention(Attention { q, kv, y, shape, lens, lse }), y)
    }
}

/// Output and log-sum-exp of one block of queries of one head.
fn forward_queries<T: Float>(
    shape: Shape,
    queries: &[T],
    keys: &[T],
    out: &mut [T],
    lse: &mut [T],
    scores: &mut [T],
    (b, h, i): (usize, usize, usize),
    reach: Reach,
) {
    let (hd, len) = (shape.heads.head_dim, shape.queries.layout.len);
    let (q_stride, stride, out_stride) = (shape.queries.stride(), shape.keys.stride(), shape.out_stride());
    let q = shape.query(b, h, i);
    let out = &mut out[shape.out(b, h, i)..];
    let rows = BLOCK.min(len - i);
    let max = &mut lse[i..i + rows];
    max.fill(T::NEG_INFINITY);
    let mut sum = [T::ZERO; BLOCK];
    for block in Block::of_queries(i, len, reach) {
        let [k, v] = shape.key_value(b, h, block.j);
        let query = View::strided(&queries[q..], rows, hd, q_stride);
        let key = View::strided(&keys[k..], block.cols, hd, stride);
        let value = View::strided(&keys[v..], block.cols, hd, stride);
        let s = &mut scores[..rows * block.cols];
        gemm(shape.scale(), query, key.t(), false, ViewMut::new(s, rows, block.cols));
        softmax_block(s, block, max, &mut sum, out, out_stride, hd);
        shape.drop(s, block, shape.index(b, h));
        let p = View::new(s, rows, block.cols);
        gemm(T::ONE, p, value, !block.is_first_of_queries(), ViewMut::strided(out, rows, hd, out_stride));
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
        let Attention { q, kv, y, shape, lens, lse } = self;
        let Shape { heads, queries: Side { layout, .. }, keys, .. } = shape;
        let dy = tape.take_grad(y);
        let mut grads = Grads { q: tape.pool.take(layout.rows() * shape.queries.width), kv: Vec::new() };
        // Nothing flows to padding.
        match q == kv {
            true if lens.is_empty() => {}
            true => grads.q.fill(T::ZERO),
            false => grads.kv = tape.pool.take_zeroed(keys.layout.rows() * keys.width),
        }
        let mut scratch = Scratch {
            p: tape.pool.take(BLOCK * BLOCK),
            dropped: tape.pool.take(BLOCK * BLOCK),
            dp: tape.pool.take(BLOCK * BLOCK),
            d: tape.pool.take(layout.len),
        };
        let (values, out) = ((tape.value(q), tape.value(kv)), tape.value(y));
        for b in 0..layout.batch {
            let reach = reach(shape, &lens, b);
            let n_keys = reach.end(layout.len);
            for h in 0..heads.n_heads {
                let at = shape.out(b, h, 0);
                row_dots(&mut scratch.d, &out[at..], &dy[at..], shape.out_stride(), heads.head_dim);
                let lse = &lse[shape.index(b, h) * layout.len..][..layout.len];
                for j in (0..n_keys).step_by(BLOCK) {
                    for block in Block::of_keys(j, layout.len, reach) {
                        backward_block(shape, values, &dy, &mut grads, lse, &mut scratch, (b, h), block);
                    }
                }
            }
        }
        for buffer in [scratch.p, scratch.dropped, scratch.dp, scratch.d, dy, lse] {
            tape.pool.give(buffer);
        }
        tape.ids.give(lens);
        tape.accumulate(q, grads.q);
        if q != kv {
            tape.accumulate(kv, grads.kv);
        }
    }

    pub(crate) fn discard(self, tape: &mut Tape<T>) {
        tape.pool.give(self.lse);
        tape.ids.give(self.lens);
    }
}

/// Gradients of queries, and of keys and values where they lie elsewhere.
struct Grads<T> {
    q: Vec<T>,
    kv: Vec<T>, // empty where they lie in the rows of the queries
}

impl<T> Grads<T> {
    fn kv(&mut self) -> &mut [T] {
        if self.kv.is_empty() { &mut self.q } else { &mut self.kv }
    }
}

/// Gradients of one block of scores. The first block that reaches a part of them overwrites it, the others add.
fn backward_block<T: Float>(
    shape: Shape,
    (queries, keys): (&[T], &[T]),
    dy: &[T],
    grads: &mut Grads<T>,
    lse: &[T],
    scratch: &mut Scratch<T>,
    (b, h): (usize, usize),
    block: Block,
) {
    let Block { i, j, rows, cols, .. } = block;
    let (hd, q_stride, stride) = (shape.heads.head_dim, shape.queries.stride(), shape.keys.stride());
    let (q, [k, v]) = (shape.query(b, h, i), shape.key_value(b, h, j));
    let query = View::strided(&queries[q..], rows, hd, q_stride);
    let key = View::strided(&keys[k..], cols, hd, stride);
    let value = View::strided(&keys[v..], cols, hd, stride);
    let d_out = View::strided(&dy[shape.out(b, h, i)..], rows, hd, shape.out_stride());
    let (p, dp) = (&mut scratch.p[..rows * cols], &mut scratch.dp[..rows * cols]);
    gemm(shape.scale(), query, key.t(), false, ViewMut::new(p, rows, cols));
    probabilities(p, block, &lse[i..]);
    gemm(T::ONE, d_out, value.t(), false, ViewMut::new(dp, rows, cols));
    shape.drop(dp, block, shape.index(b, h));
    let group = shape.heads.n_heads / shape.heads.n_kv_heads;
    let first = h.is_multiple_of(group) && block.is_first_of_keys();
    let used = match shape.dropout {
        None => &*p,
        Some(_) => {
            let dropped = &mut scratch.dropped[..rows * cols];
            dropped.copy_from_slice(p);
            shape.drop(dropped, block, shape.index(b, h));
            dropped
        }
    };
    let dv = ViewMut::strided(&mut grads.kv()[v..], cols, hd, stride);
    gemm(T::ONE, View::new(used, rows, cols).t(), d_out, !first, dv);
    score_gradient(dp, p, block, &scratch.d[i..], shape.scale());
    let ds = View::new(dp, rows, cols);
    gemm(
        T::ONE,
        ds,
        key,
        !block.is_first_of_queries(),
        ViewMut::strided(&mut grads.q[q..], rows, hd, q_stride),
    );
    gemm(T::ONE, ds.t(), query, !first, ViewMut::strided(&mut grads.kv()[k..], cols, hd, stride));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check_op, samples};

    const HEADS: Heads = Heads { n_heads: 4, n_kv_heads: 2, head_dim: 3 };

    /// Grouped heads, both orders of rows, padded sources, each with and without dropout.
    #[test]
    fn gradients_of_every_kind_of_attention() {
        let source = Layout { batch: 2, len: 4, time_major: false };
        for time_major in [false, true] {
            let layout = Layout { batch: 2, len: 5, time_major };
            for dropout in [None, Some(Dropout::new(0.3, 5, &[1]))] {
                check_op(0, &[(10, 24)], |tape, _, x| tape.attention(x[0], HEADS, layout, 0, dropout));
                check_op(0, &[(10, 24)], |tape, _, x| {
                    tape.attention_to_all(x[0], HEADS, layout, &[3, 5], dropout)
                });
                check_op(0, &[(10, 12), (8, 12)], |tape, _, x| {
                    tape.cross_attention((x[0], layout), (x[1], source), HEADS, &[4, 1], dropout)
                });
            }
        }
    }

    #[test]
    fn gradients_over_several_blocks() {
        let heads = Heads { n_heads: 1, n_kv_heads: 1, head_dim: 1 };
        let layout = |len| Layout { batch: 1, len, time_major: false };
        let own = layout(2 * BLOCK + 3);
        check_op(0, &[(own.len, 3)], |tape, _, x| tape.attention(x[0], heads, own, 0, None));
        let (queries, source) = (layout(BLOCK + 3), layout(2 * BLOCK + 5));
        let lens = [2 * BLOCK as u32 + 2];
        check_op(0, &[(queries.len, 1), (source.len, 2)], |tape, _, x| {
            tape.cross_attention((x[0], queries), (x[1], source), heads, &lens, None)
        });
    }

    #[test]
    fn gradient_with_a_window() {
        for time_major in [false, true] {
            for window in [1, 2, 4, 5, 9] {
                let layout = Layout { batch: 2, len: 5, time_major };
                for dropout in [None, Some(Dropout::new(0.3, 5, &[1]))] {
                    check_op(0, &[(10, 24)], |tape, _, x| {
                        tape.attention(x[0], HEADS, layout, window, dropout)
                    });
                }
            }
        }
    }

    #[test]
    fn gradient_with_a_window_over_several_blocks() {
        let heads = Heads { n_heads: 1, n_kv_heads: 1, head_dim: 1 };
        let layout = Layout { batch: 1, len: 2 * BLOCK + 3, time_major: false };
        for window in [1, BLOCK - 1, BLOCK, BLOCK + 2] {
            check_op(0, &[(layout.len, 3)], |tape, _, x| tape.attention(x[0], heads, layout, window, None));
        }
    }

    /// Output and gradient of the whole, for a gradient of ones.
    fn run_windowed<T: Float>(x: &[f64], layout: Layout, window: usize) -> (Vec<T>, Vec<T>) {
        let mut tape = Tape::new();
        let x: Vec<T> = x.iter().map(|x| T::from_f64(*x)).collect();
        let v = tape.input(layout.rows(), HEADS.qkv_width(), &x);
        let y = tape.attention(v, HEADS, layout, window, None);
        let out = tape.value(y).to_vec();
        tape.seed(y, &vec![T::ONE; out.len()]);
        tape.backward(&[], &mut []);
        (out, tape.grad(v).expect("it flows to the input").to_vec())
    }

    #[test]
    fn a_window_as_long_as_the_sequence_is_none() {
        for len in [1, 63, 64, 65, 200] {
            let layout = Layout { batch: 2, len, time_major: false };
            let x = samples(layout.rows() * HEADS.qkv_width(), 3);
            let whole = run_windowed::<f32>(&x, layout, 0);
            assert_eq!(run_windowed::<f32>(&x, layout, len), whole);
            assert_eq!(run_windowed::<f32>(&x, layout, usize::MAX - 3), whole);
            assert!(len == 1 || run_windowed::<f32>(&x, layout, len - 1) != whole);
        }
    }

    #[test]
    fn every_pair_in_reach_is_in_one_block_and_blocks_out_of_reach_are_skipped() {
        for len in [1, 64, 65, 200, 321] {
            for window in [1, 2, 63, 64, 65, 100, 128, 129, 400, usize::MAX] {
                let reach = Reach::Causal(window);
                let starts = || (0..len).step_by(BLOCK);
                let by_queries: Vec<Block> =
                    starts().flat_map(|i| Block::of_queries(i, len, reach)).collect();
                let mut by_keys: Vec<Block> = starts().flat_map(|j| Block::of_keys(j, len, reach)).collect();
                by_keys.sort_by_key(|b| (b.i, b.j));
                let names = |blocks: &[Block]| -> Vec<[usize; 4]> {
                    blocks.iter().map(|b| [b.i, b.j, b.rows, b.cols]).collect()
                };
                assert_eq!(names(&by_queries), names(&by_keys), "{len}, {window}");
                let mut seen = vec![0; len * len];
                for block in &by_queries {
                    let visible: usize = (0..block.rows).map(|r| block.visible(r).len()).sum();
                    assert!(visible > 0, "{block:?} is of no use");
                    for r in 0..block.rows {
                        block.visible(r).for_each(|c| seen[(block.i + r) * len + block.j + c] += 1);
                    }
                }
                for (at, seen) in seen.into_iter().enumerate() {
                    let (query, key) = (at / len, at % len);
                    assert_eq!(seen, usize::from(key <= query && query - key < window));
                }
            }
        }
    }

    /// The definition, query by query, over the keys that `visible(b, t)` says.
    fn naive(
        shape: Shape,
        queries: &[f64],
        keys: &[f64],
        visible: impl Fn(usize, usize) -> Range<usize>,
    ) -> Vec<f64> {
        let (heads, layout) = (shape.heads, shape.queries.layout);
        let mut out = vec![0.0; layout.rows() * heads.q_width()];
        for b in 0..layout.batch {
            for h in 0..heads.n_heads {
                for t in 0..layout.len {
                    let q = shape.query(b, h, t);
                    let dot =
                        |k: usize| (0..heads.head_dim).map(|c| queries[q + c] * keys[k + c]).sum::<f64>();
                    let weight = |u: usize| (dot(shape.key_value(b, h, u)[0]) * shape.scale::<f64>()).exp();
                    let weights: Vec<f64> = visible(b, t).map(weight).collect();
                    let total: f64 = weights.iter().sum();
                    for (u, w) in visible(b, t).zip(&weights) {
                        for c in 0..heads.head_dim {
                            out[shape.out(b, h, t) + c] += w / total * keys[shape.key_value(b, h, u)[1] + c];
                        }
                    }
                }
            }
        }
        out
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12));
    }

    #[test]
    fn blocks_give_what_the_definition_gives() {
        for (len, time_major) in [(1, false), (64, false), (65, true), (200, false)] {
            let layout = Layout { batch: 2, len, time_major };
            let x = samples(layout.rows() * HEADS.qkv_width(), 3);
            let mut tape = Tape::new();
            let v = tape.input(layout.rows(), HEADS.qkv_width(), &x);
            let queries = Side { layout, width: HEADS.qkv_width(), first: 0 };
            let keys = Side { first: HEADS.q_width(), ..queries };
            let shape = Shape { heads: HEADS, queries, keys, dropout: None, window: usize::MAX };
            let y = tape.attention(v, HEADS, layout, 0, None);
            assert_close(tape.value(y), &naive(shape, &x, &x, |_, t| 0..t + 1));
            for window in [1, 3, 64, 70, 130] {
                let y = tape.attention(v, HEADS, layout, window, None);
                let visible = |_, t: usize| (t + 1).saturating_sub(window)..t + 1;
                assert_close(tape.value(y), &naive(shape, &x, &x, visible));
            }
            let lens = [len as u32, len as u32 / 2 + 1];
            let y = tape.attention_to_all(v, HEADS, layout, &lens, None);
            assert_close(tape.value(y), &naive(shape, &x, &x, |b, _| 0..lens[b] as usize));
        }
    }

    #[test]
    fn a_source_is_seen_whole_and_its_padding_never() {
        for (len, source_len) in [(3, 7), (65, 1), (2, 130)] {
            let layout = Layout { batch: 2, len, time_major: false };
            let source = Layout { batch: 2, len: source_len, time_major: false };
            let q = samples(layout.rows() * HEADS.q_width(), 3);
            let mut kv = samples(source.rows() * 12, 4);
            let lens = [source_len as u32, source_len as u32 / 2 + 1];
            let queries = Side { layout, width: HEADS.q_width(), first: 0 };
            let keys = Side { layout: source, width: 12, first: 0 };
            let shape = Shape { heads: HEADS, queries, keys, dropout: None, window: usize::MAX };
            let run = |kv: &[f64]| {
                let mut tape = Tape::new();
                let (q, kv) = (tape.input(layout.rows(), 12, &q), tape.input(source.rows(), 12, kv));
                let y = tape.cross_attention((q, layout), (kv, source), HEADS, &lens, None);
                tape.value(y).to_vec()
            };
            let found = run(&kv);
            assert_close(&found, &naive(shape, &q, &kv, |b, _| 0..lens[b] as usize));
            let padding = source.row(1, lens[1] as usize - 1) + 1;
            kv[padding * 12..].fill(1e9);
            assert_eq!(run(&kv), found);
        }
    }
}
