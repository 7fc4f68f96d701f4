//! Attention of some queries over one head's cache of keys and values.
//!
//! The cache keeps both as panels of f16 or f32, so that scores and values are two products with float weights, by the same
//! arithmetic as any other: scores are `K q` with positions as rows, the output is `V^T e` with channels as rows. The queries of
//! a tile share the loads of keys and values, but each is computed by operations of its own, in one order over the positions
//! that it sees; a prompt in one piece, token by token, and any split over threads give the same bits.
//!
//! With a window a query sees the last positions alone. What lies before adds nothing to any sum, but the lanes of those that
//! it sees are theirs by their place in the cache, modulo 16: work may begin at the multiple of 16 before the first of them, or of
//! 4 for values, and a cache that is moved by a multiple of 16 gives the same bits.

use super::norm::{at, put};
use super::simd::{LANES, Simd, Tile};
use super::softmax::{WIDE, exp_minus_max, load_wide};
use super::strip::Strip;
use super::tile::{Cell, Fetch, float_tile};
use std::ops::Range;

/// Queries that share each load of keys and values, where there are as many.
pub const TILE: usize = 16;
/// Positions whose values are widened at a time.
const BLOCK: usize = 64;

/// Floats of scratch that [`Kernels::attend_f16`](super::Kernels::attend_f16) takes for heads of `head_dim` and up to
/// `capacity` positions; `None` when they cannot be counted.
pub fn attend_scratch(head_dim: usize, capacity: usize) -> Option<usize> {
    let scores = capacity.checked_next_multiple_of(WIDE)?.checked_mul(TILE)?;
    scores.checked_add(head_dim.checked_mul(WIDE)?)
}

/// Keys and values of one head of one block, for up to `capacity` positions, a multiple of 8.
#[derive(Clone, Copy, Debug)]
pub struct HeadCache<'a, C> {
    /// `[capacity / 8][head_dim][8 positions]`.
    pub k: &'a [[C; LANES]],
    /// `[ceil(head_dim / 8)][capacity][8 channels]`.
    pub v: &'a [[C; LANES]],
    /// Positions it has room for.
    pub capacity: usize,
}

/// Which of the first positions each of some consecutive tokens sees.
#[derive(Clone, Copy, Debug)]
pub enum Seen {
    /// Those up to its own, `n` for the first token and one more for each later one, or of these the last `window` (Beltagy et al. 2020).
    Causal {
        /// Positions up to the first token's own.
        n: usize,
        /// Positions that a token sees at most.
        window: usize,
    },
    /// Every token so many: all of a source.
    All(usize),
}

impl Seen {
    /// What token `row` sees.
    #[inline(always)]
    pub fn by(self, row: usize) -> std::ops::Range<usize> {
        match self {
            Seen::Causal { n, window } => (n + row).saturating_sub(window)..n + row,
            Seen::All(n) => 0..n,
        }
    }
}

/// `out = softmax(q K^T * scale) V` (Vaswani et al. 2017, equation 1); row t of `out` sees what `seen` says of token t.
///
/// `q` `[out.rows(), out.width()]`, `out.width()` some heads of `head_dim`; `scratch` as [`attend_scratch`] says.
#[inline(always)]
pub(super) fn attend<S: Simd, C: Cell>(
    s: S,
    q: &[f32],
    head_dim: usize,
    cache: HeadCache<C>,
    seen: Seen,
    scale: f32,
    scratch: &mut [f32],
    out: &mut Strip,
) {
    let group = out.width() / head_dim;
    let (wide, scores) = scratch.split_at_mut(head_dim * WIDE);
    for (tile, q) in q.chunks(TILE * head_dim).enumerate() {
        let queries = q.len() / head_dim;
        // Position and place of query i of the tile.
        let row = |i: usize| (tile * TILE + i) / group;
        // Nothing before the base is looked at; what the query sees is counted from there.
        let base = seen.by(row(0)).start / WIDE * WIDE;
        let sees = |i: usize| seen.by(row(i)).start - base..seen.by(row(i)).end - base;
        let stride = sees(queries - 1).end.next_multiple_of(WIDE);
        let scores = &mut scores[..queries * stride];
        make_scores(s, q, &cache.k[base / LANES * head_dim..], scale, wide.as_chunks_mut().0, scores);
        let mut inverse = [0.0; TILE];
        for (i, scores) in scores.chunks_exact_mut(stride).enumerate() {
            scores[..sees(i).start].fill(f32::NEG_INFINITY);
            inverse[i] = 1.0 / exp_minus_max(s, &mut scores[..sees(i).end]);
        }
        for panel in (0..head_dim.div_ceil(LANES)).step_by(2) {
            let sums = weigh_values(s, cache, base, panel, scores, stride, sees);
            for (i, sums) in sums.iter().enumerate().take(queries) {
                let out = &mut out.row(row(i))[(tile * TILE + i) % group * head_dim..][..head_dim];
                let inverse = s.splat(inverse[i]);
                for (panel, sum) in (panel..head_dim.div_ceil(LANES)).zip(sums) {
                    put(s, s.mul(*sum, inverse), out, panel * LANES);
                }
            }
        }
    }
}

/// Scores of all positions from the first of `k` on that some query sees, each query's in a row of `scores`; `wide` `[head_dim]`
/// is scratch.
#[inline(always)]
fn make_scores<S: Simd, C: Cell>(
    s: S,
    q: &[f32],
    k: &[[C; LANES]],
    scale: f32,
    wide: &mut [[f32; WIDE]],
    scores: &mut [f32],
) {
    let head_dim = wide.len();
    let (queries, factor) = (q.len() / head_dim, s.splat(scale));
    let stride = scores.len() / queries;
    let query = |i: usize| &q[i * head_dim..(i + 1) * head_dim];
    let mut acc = [[[s.splat(0.0); 2]; 4]; TILE];
    let keys = |panel: usize| &k[panel * head_dim..(panel + 1) * head_dim];
    for first in (0..stride).step_by(WIDE) {
        // The last panel may be alone.
        let panel = first / LANES;
        let pair = [keys(panel), keys((panel + 1).min(k.len() / head_dim - 1))];
        if queries == 1 {
            // The next pair follows this one.
            let [[a, b]] = float_tile(s, 2 * head_dim, Fetch::ALL, pair, [query(0)]);
            put(s, s.mul(a, factor), scores, first);
            put(s, s.mul(b, factor), scores, first + LANES);
            continue;
        }
        widen(s, pair, wide);
        let zero = [s.splat(0.0); 2];
        let mut i = 0;
        while fours::<S>() && i + 4 <= queries {
            let tile = [query(i), query(i + 1), query(i + 2), query(i + 3)];
            for j in 0..4 {
                let sums = every_fourth(s, wide, tile, j, [zero; 4]);
                [acc[i][j], acc[i + 1][j], acc[i + 2][j], acc[i + 3][j]] = sums;
            }
            i += 4;
        }
        for i in i..queries {
            for j in 0..4 {
                [acc[i][j]] = every_fourth(s, wide, [query(i)], j, [zero]);
            }
        }
        for (acc, scores) in acc.iter().zip(scores.chunks_exact_mut(stride)) {
            let [a, b] = total(s, acc);
            put(s, s.mul(a, factor), scores, first);
            put(s, s.mul(b, factor), scores, first + LANES);
        }
    }
}

/// Whether four queries share each load; never changes a bit, but takes code.
#[inline(always)]
fn fours<S: Simd>() -> bool {
    !matches!(S::TILE, Tile::Small)
}

/// `(a0 + a1) + (a2 + a3)`.
#[inline(always)]
fn total<S: Simd>(s: S, a: &[[S::F; 2]; 4]) -> [S::F; 2] {
    [
        s.add(s.add(a[0][0], a[1][0]), s.add(a[2][0], a[3][0])),
        s.add(s.add(a[0][1], a[1][1]), s.add(a[2][1], a[3][1])),
    ]
}

/// Two panels side by side, as floats.
#[inline(always)]
fn widen<S: Simd, C: Cell>(s: S, pair: [&[[C; LANES]]; 2], wide: &mut [[f32; WIDE]]) {
    for ((a, b), wide) in pair[0].iter().zip(pair[1]).zip(wide) {
        let [low, high] = wide.as_chunks_mut::<LANES>().0 else {
            unreachable!("sixteen floats are two vectors")
        };
        s.store(C::load(s, a), low);
        s.store(C::load(s, b), high);
    }
}

/// `acc[t] = fma(w[k], x[t][k], acc[t])` for k = j, j + 4, j + 8, …
#[inline(always)]
fn every_fourth<S: Simd, const T: usize>(
    s: S,
    w: &[[f32; WIDE]],
    x: [&[f32]; T],
    j: usize,
    mut acc: [[S::F; 2]; T],
) -> [[S::F; 2]; T] {
    let n = w.len();
    let (w_quads, w_rest) = w.as_chunks::<4>();
    let x_quads: [&[[f32; 4]]; T] = std::array::from_fn(|t| &x[t][..n].as_chunks::<4>().0[..w_quads.len()]);
    for (k, w) in w_quads.iter().enumerate() {
        let (a, b) = load_wide(s, &w[j]);
        for t in 0..T {
            let x = s.splat(x_quads[t][k][j]);
            acc[t] = [s.fma(a, x, acc[t][0]), s.fma(b, x, acc[t][1])];
        }
    }
    if let Some(w) = w_rest.get(j) {
        let (a, b) = load_wide(s, w);
        for t in 0..T {
            let x = s.splat(x[t][n / 4 * 4 + j]);
            acc[t] = [s.fma(a, x, acc[t][0]), s.fma(b, x, acc[t][1])];
        }
    }
    acc
}

/// `sum e[p] v[p]` over the positions that each query sees, counted from `base`, for the channels of two panels from `panel` on. Up to
/// three before a window have an e of 0.
#[inline(always)]
fn weigh_values<S: Simd, C: Cell>(
    s: S,
    cache: HeadCache<C>,
    base: usize,
    panel: usize,
    scores: &[f32],
    stride: usize,
    sees: impl Fn(usize) -> Range<usize>,
) -> [[S::F; 2]; TILE] {
    let queries = scores.len() / stride;
    let values = |panel: usize| {
        // The last panel may be alone.
        let panel = panel.min(cache.v.len() / cache.capacity - 1);
        &cache.v[panel * cache.capacity + base..(panel + 1) * cache.capacity]
    };
    let pair = [values(panel), values(panel + 1)];
    let mut sums = [[s.splat(0.0); 2]; TILE];
    if queries == 1 {
        let Range { start, end } = sees(0);
        let quads = start / 4 * 4..end;
        let (values, e) = (pair.map(|values| &values[quads.clone()]), [&scores[quads.clone()]]);
        [sums[0]] = float_tile(s, BLOCK, Fetch::ALL, values, e);
        return sums;
    }
    let mut acc = [[[s.splat(0.0); 2]; 4]; TILE];
    let mut wide = [[0.0; WIDE]; BLOCK];
    let all = sees(queries - 1).end;
    for first in (0..all).step_by(BLOCK) {
        let block = first..(first + BLOCK).min(all);
        widen(s, pair.map(|values| &values[block.clone()]), &mut wide);
        let here = |i: usize| {
            let Range { start, end } = sees(i);
            (start / 4 * 4).clamp(first, block.end) - first..end.clamp(first, block.end) - first
        };
        // What four queries see together, and what each of them sees alone before and after: a position that is not seen must
        // not take part.
        let common = |i: usize| {
            let group = i / 4 * 4;
            let (start, end) = match fours::<S>() && group + 4 <= queries {
                true => (here(group + 3).start, here(group).end / 4 * 4),
                false => (0, 0),
            };
            if start < end { start..end } else { here(i).start..here(i).start }
        };
        // Only where windows begin is there something before.
        for part in usize::from(sees(queries - 1).start == 0)..2 {
            for i in (0..if fours::<S>() && part == 1 { queries / 4 * 4 } else { 0 }).step_by(4) {
                let common = common(i);
                let e = |i: usize| &scores[i * stride + first..][common.clone()];
                let tile = [e(i), e(i + 1), e(i + 2), e(i + 3)];
                for j in 0..4 {
                    let before = [acc[i][j], acc[i + 1][j], acc[i + 2][j], acc[i + 3][j]];
                    let after = every_fourth(s, &wide[common.clone()], tile, j, before);
                    [acc[i][j], acc[i + 1][j], acc[i + 2][j], acc[i + 3][j]] = after;
                }
            }
            for (i, acc) in acc.iter_mut().enumerate().take(queries) {
                let (here, common) = (here(i), common(i));
                let alone = if part == 0 { here.start..common.start } else { common.end..here.end };
                let e = &scores[i * stride + first..][alone.clone()];
                for (j, acc) in acc.iter_mut().enumerate() {
                    [*acc] = every_fourth(s, &wide[alone.clone()], [e], j, [*acc]);
                }
            }
        }
    }
    for (sum, acc) in sums.iter_mut().zip(&acc) {
        *sum = total(s, acc);
    }
    sums
}

/// Writes the key and the value of one position of one head, both `[head_dim]`, rounded to what the cache keeps.
#[inline(always)]
pub(super) fn remember<S: Simd, C: Cell>(
    s: S,
    key: &[f32],
    value: &[f32],
    position: usize,
    capacity: usize,
    k: &mut [[C; LANES]],
    v: &mut [[C; LANES]],
) {
    let head_dim = key.len();
    let (panel, lane) = (position / LANES, position % LANES);
    let mut cells = [C::ZERO; LANES];
    for i in (0..head_dim).step_by(LANES) {
        C::store(s, at(s, key, i), &mut cells);
        for (j, cell) in cells.iter().enumerate().take(head_dim - i) {
            k[panel * head_dim + i + j][lane] = *cell;
        }
        C::store(s, at(s, value, i), &mut v[i / LANES * capacity + position]);
    }
}
