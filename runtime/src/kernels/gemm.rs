//! Matrix times several tokens: prompts. Bound by arithmetic, so a loaded weight serves a tile of tokens.
//!
//! Every output is computed by the very operations that [`super::gemv`] uses, so a prompt in one piece and token by token
//! give the same bits.

use super::gemv::{gemv, store};
use super::panels::{Input, Matrix, Panels};
use super::simd::Simd;
use super::strip::Strip;
use super::tile::{Floats, Q4, Q8, Tiles};
use std::ops::Range;

/// `y = W x` for the rows of `panels`, all tokens of `x`; column 0 of `out` is the first row of the first panel.
///
/// # Panics
/// When a slice is shorter than the shape asks for.
#[inline(always)]
pub(super) fn gemm<S: Simd>(s: S, w: &Matrix, panels: Range<usize>, x: &Input, out: &mut Strip) {
    let n_groups = w.n_groups();
    match w.data {
        Panels::F32(data) => tiles::<S, _, 2, 2>(s, Floats { w: data, cols: w.cols }, panels, x, out),
        Panels::F16(data) => tiles::<S, _, 2, 2>(s, Floats { w: data, cols: w.cols }, panels, x, out),
        Panels::Q8 { scales, codes } => {
            tiles::<S, _, 1, 4>(s, Q8 { scales, codes, n_groups }, panels, x, out);
        }
        Panels::Q4 { scales, codes } => {
            tiles::<S, _, 1, 4>(s, Q4 { scales, codes, n_groups }, panels, x, out);
        }
    }
}

/// One token goes to [`gemv`]; more are cut in tiles of `TILE`, and what remains goes token by token. The panel is the
/// outer loop: it stays in the first-level cache while all tokens pass by.
#[inline(always)]
fn tiles<S: Simd, W: Tiles<S>, const PAIR: usize, const TILE: usize>(
    s: S,
    w: W,
    panels: Range<usize>,
    x: &Input,
    out: &mut Strip,
) {
    let tiled = if x.tokens == 1 { 0 } else { x.tokens / TILE * TILE };
    if tiled > 0 {
        for panel in panels.clone() {
            for token in (0..tiled).step_by(TILE) {
                let acc = w.tile::<1, TILE>(s, panel, x, token);
                for (t, [acc]) in acc.into_iter().enumerate() {
                    store(s, acc, out.row(token + t), panel - panels.start);
                }
            }
        }
    }
    for token in tiled..x.tokens {
        gemv::<S, W, PAIR>(s, w, panels.clone(), x, token, out);
    }
}
