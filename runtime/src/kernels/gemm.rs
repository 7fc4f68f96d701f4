//! Matrix times several tokens: prompts. Bound by arithmetic, so a loaded weight serves a tile of tokens.
//!
//! Every output is computed by the very operations that [`super::gemv`] uses, so a prompt in one piece and token by token
//! give the same bits.

use super::gemv::gemv;
use super::panels::{Input, Matrix, Panels};
use super::simd::{LANES, Simd, Tile};
use super::strip::Strip;
use super::tile::{Fetch, Floats, Quantized, Tiles};
use std::ops::Range;

/// `y = W x` for the rows of `panels`, all tokens of `x`; column 0 of `out` is the first row of the first panel.
///
/// # Panics
/// When a slice is shorter than the shape asks for.
#[inline(always)]
pub(super) fn gemm<S: Simd>(s: S, w: &Matrix, panels: Range<usize>, x: &Input, out: &mut Strip) {
    let n_groups = w.n_groups();
    match w.data {
        Panels::F32(data) => floats(s, Floats { w: data, cols: w.cols }, panels, x, out),
        Panels::F16(data) => floats(s, Floats { w: data, cols: w.cols }, panels, x, out),
        Panels::Q8 { scales, codes } => quantized(s, Quantized { scales, codes, n_groups }, panels, x, out),
        Panels::Q4 { scales, codes } => quantized(s, Quantized { scales, codes, n_groups }, panels, x, out),
    }
}

/// Float weights: each output has four accumulators. Two panels at a time hide their latency where there is one token.
#[inline(always)]
fn floats<S: Simd, W: Tiles<S>>(s: S, w: W, panels: Range<usize>, x: &Input, out: &mut Strip) {
    match (x.tokens, S::TILE) {
        (1, _) => gemv::<S, W, 2>(s, w, panels, x, out),
        (_, Tile::Small) => tiles::<S, W, 1, 2>(s, w, panels, x, out),
        (_, Tile::Single | Tile::Narrow) => tiles::<S, W, 1, 3>(s, w, panels, x, out),
        (_, Tile::Wide) => tiles::<S, W, 2, 3>(s, w, panels, x, out),
    }
}

#[inline(always)]
fn quantized<S: Simd, W: Tiles<S>>(s: S, w: W, panels: Range<usize>, x: &Input, out: &mut Strip) {
    match (x.tokens, S::TILE) {
        (1, _) => gemv::<S, W, 1>(s, w, panels, x, out),
        (_, Tile::Small) => tiles::<S, W, 1, 2>(s, w, panels, x, out),
        (_, Tile::Single) => tiles::<S, W, 1, 4>(s, w, panels, x, out),
        (_, Tile::Narrow) => tiles::<S, W, 2, 3>(s, w, panels, x, out),
        (_, Tile::Wide) => tiles::<S, W, 2, 6>(s, w, panels, x, out),
    }
}

/// Tiles of `P` panels and `T` tokens, smaller ones at the ends. The panels are the outer loop: they stay in a near cache while
/// all tokens pass by.
#[inline(always)]
fn tiles<S: Simd, W: Tiles<S>, const P: usize, const T: usize>(
    s: S,
    w: W,
    panels: Range<usize>,
    x: &Input,
    out: &mut Strip,
) {
    let first = panels.start;
    let mut panel = first;
    while panel + P <= panels.end {
        pass::<S, W, P, T>(s, w, panel, first, x, out);
        panel += P;
    }
    while panel < panels.end {
        pass::<S, W, 1, T>(s, w, panel, first, x, out);
        panel += 1;
    }
}

/// All tokens past `P` panels from `panel` on; the strip begins at panel `first`.
#[inline(always)]
fn pass<S: Simd, W: Tiles<S>, const P: usize, const T: usize>(
    s: S,
    w: W,
    panel: usize,
    first: usize,
    x: &Input,
    out: &mut Strip,
) {
    let column = (panel - first) * LANES;
    // The next panels come from memory while these are multiplied.
    let full = x.tokens / T;
    for i in 0..full {
        tile::<S, W, P, T>(s, w, panel, x, i * T, column, Fetch::part(i, full), out);
    }
    let mut token = full * T;
    let fetch = if full == 0 { Fetch::ALL } else { Fetch::NONE };
    if T > 4 && token + 4 <= x.tokens {
        tile::<S, W, P, 4>(s, w, panel, x, token, column, fetch, out);
        token += 4;
    }
    if T > 2 && token + 2 <= x.tokens {
        tile::<S, W, P, 2>(s, w, panel, x, token, column, fetch, out);
        token += 2;
    }
    if token < x.tokens {
        tile::<S, W, P, 1>(s, w, panel, x, token, column, fetch, out);
    }
}

/// One tile, from column `column` of the strip on.
#[inline(always)]
fn tile<S: Simd, W: Tiles<S>, const P: usize, const T: usize>(
    s: S,
    w: W,
    panel: usize,
    x: &Input,
    token: usize,
    column: usize,
    fetch: Fetch,
    out: &mut Strip,
) {
    let acc = w.tile::<P, T>(s, panel, x, token, fetch);
    for (t, acc) in acc.into_iter().enumerate() {
        store(s, acc, &mut out.row(token + t)[column..]);
    }
}

/// Writes the rows of `P` panels, without the last one's padding.
#[inline(always)]
pub(super) fn store<S: Simd, const P: usize>(s: S, acc: [S::F; P], y: &mut [f32]) {
    for (acc, y) in acc.into_iter().zip(y.chunks_mut(LANES)) {
        match y.first_chunk_mut::<LANES>() {
            Some(y) => s.store(acc, y),
            None => {
                let mut rows = [0.0; LANES];
                s.store(acc, &mut rows);
                y.copy_from_slice(&rows[..y.len()]);
            }
        }
    }
}
