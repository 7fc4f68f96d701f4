//! Matrix times one vector: decoding. Bound by the bytes of the weights, so it streams each panel once, in order.

use super::gemm::store;
use super::panels::Input;
use super::simd::{LANES, Simd};
use super::strip::Strip;
use super::tile::{Fetch, Tiles};
use std::ops::Range;

/// Rows of `panels` times the one token of `x`, `P` panels at a time.
#[inline(always)]
pub(super) fn gemv<S: Simd, W: Tiles<S>, const P: usize>(
    s: S,
    w: W,
    panels: Range<usize>,
    x: &Input,
    out: &mut Strip,
) {
    let y = out.row(0);
    let mut panel = panels.start;
    while panel + P <= panels.end {
        let [acc] = w.tile::<P, 1>(s, panel, x, 0, Fetch::ALL);
        store(s, acc, &mut y[(panel - panels.start) * LANES..]);
        panel += P;
    }
    while panel < panels.end {
        let [acc] = w.tile::<1, 1>(s, panel, x, 0, Fetch::ALL);
        store(s, acc, &mut y[(panel - panels.start) * LANES..]);
        panel += 1;
    }
}
