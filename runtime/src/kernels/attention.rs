//! Causal attention of one query of one head over a cache of keys and values.
//!
//! The cache keeps both as panels of f16 or f32, so that scores and values are two products with float weights, by the same
//! arithmetic as any other: scores are `K q` with positions as rows, the output is `V^T e` with channels as rows. Each
//! (query, head) pair is computed alone, in one order over all positions; a prompt in one piece, token by token, and any
//! split over threads give the same bits.

use super::norm::{at, put};
use super::simd::{LANES, Simd};
use super::softmax::exp_minus_max;
use super::strip::Strip;
use super::tile::{Cell, float_tile};

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

/// `out = softmax(q K^T * scale) V` (Vaswani et al. 2017, equation 1); row t of `out` sees the first `n + t` positions.
///
/// `q` `[out.rows(), out.width()]`, `out.width()` some heads of `head_dim`; `scratch` is for as many floats as the
/// positions of `cache`.
#[inline(always)]
pub(super) fn attend<S: Simd, C: Cell>(
    s: S,
    q: &[f32],
    head_dim: usize,
    cache: HeadCache<C>,
    n: usize,
    scale: f32,
    scratch: &mut [f32],
    out: &mut Strip,
) {
    for (t, q) in q.chunks_exact(out.width()).enumerate() {
        for (q, out) in q.chunks_exact(head_dim).zip(out.row(t).chunks_exact_mut(head_dim)) {
            attend_one(s, q, cache, n + t, scale, scratch, out);
        }
    }
}

/// One query of one head.
#[inline(always)]
fn attend_one<S: Simd, C: Cell>(
    s: S,
    q: &[f32],
    cache: HeadCache<C>,
    n: usize,
    scale: f32,
    scores: &mut [f32],
    out: &mut [f32],
) {
    let head_dim = q.len();
    let panels = n.div_ceil(LANES);
    let keys = |panel: usize| &cache.k[panel * head_dim..(panel + 1) * head_dim];
    let factor = s.splat(scale);
    let mut panel = 0;
    while panel + 2 <= panels {
        let [[a, b]] = float_tile(s, 0, [keys(panel), keys(panel + 1)], [q]);
        put(s, s.mul(a, factor), scores, panel * LANES);
        put(s, s.mul(b, factor), scores, (panel + 1) * LANES);
        panel += 2;
    }
    if panel < panels {
        let [[a]] = float_tile(s, 0, [keys(panel)], [q]);
        put(s, s.mul(a, factor), scores, panel * LANES);
    }
    let e = &mut scores[..n];
    let inverse = s.splat(1.0 / exp_minus_max(s, e));
    let values = |panel: usize| &cache.v[panel * cache.capacity..panel * cache.capacity + n];
    let panels = head_dim.div_ceil(LANES);
    let mut panel = 0;
    while panel + 2 <= panels {
        let [[a, b]] = float_tile(s, 0, [values(panel), values(panel + 1)], [&*e]);
        put(s, s.mul(a, inverse), out, panel * LANES);
        put(s, s.mul(b, inverse), out, (panel + 1) * LANES);
        panel += 2;
    }
    if panel < panels {
        let [[a]] = float_tile(s, 0, [values(panel)], [&*e]);
        put(s, s.mul(a, inverse), out, panel * LANES);
    }
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
