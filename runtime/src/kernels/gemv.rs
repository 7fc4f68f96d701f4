//! Matrix times one vector: decoding. Bound by the bytes of the weights, so it streams each panel once, in order.

use super::panels::Input;
use super::simd::{LANES, Simd};
use super::strip::Strip;
use super::tile::Tiles;
use std::ops::Range;

/// Rows of `panels` times token `token`, into row `token` of `out`. `PAIR` panels side by side hide the latency of
/// the floats' accumulators; integer tiles have enough of their own to do.
#[inline(always)]
pub(super) fn gemv<S: Simd, W: Tiles<S>, const PAIR: usize>(
    s: S,
    w: W,
    panels: Range<usize>,
    x: &Input,
    token: usize,
    out: &mut Strip,
) {
    let y = out.row(token);
    let mut panel = panels.start;
    while panel + PAIR <= panels.end {
        let [acc] = w.tile::<PAIR, 1>(s, panel, x, token);
        for (p, acc) in acc.into_iter().enumerate() {
            store(s, acc, y, panel + p - panels.start);
        }
        panel += PAIR;
    }
    while panel < panels.end {
        let [[acc]] = w.tile::<1, 1>(s, panel, x, token);
        store(s, acc, y, panel - panels.start);
        panel += 1;
    }
}

/// Writes the rows of the `index`th panel of the strip, without its padding.
#[inline(always)]
pub(super) fn store<S: Simd>(s: S, acc: S::F, y: &mut [f32], index: usize) {
    let y = &mut y[index * LANES..];
    match y.first_chunk_mut::<LANES>() {
        Some(y) => s.store(acc, y),
        None => {
            let mut rows = [0.0; LANES];
            s.store(acc, &mut rows);
            y.copy_from_slice(&rows[..y.len()]);
        }
    }
}
