//! Reductions over a row and softmax, in the canonical order: element `i` goes to lane `i % 16`, each lane in order, then
//! the lanes by the tree 8+8, 4+4, 2+2, 1+1. A row whose length is not a multiple of 16 is padded.

use super::math;
use super::simd::{LANES, Simd};

/// Lanes of a reduction.
pub(super) const WIDE: usize = 2 * LANES;

/// The two vectors of sixteen floats.
#[inline(always)]
pub(super) fn load_wide<S: Simd>(s: S, x: &[f32; WIDE]) -> (S::F, S::F) {
    let [a, b] = x.as_chunks::<LANES>().0 else { unreachable!("sixteen floats are two vectors") };
    (s.load(a), s.load(b))
}

/// The last, incomplete sixteen floats of a row, filled up with `pad`.
#[inline(always)]
pub(super) fn padded(rest: &[f32], pad: f32) -> [f32; WIDE] {
    let mut all = [pad; WIDE];
    all[..rest.len()].copy_from_slice(rest);
    all
}

/// Calls `$body` with every sixteen floats of `$x`, the last ones padded: a loop that inlines without a closure.
macro_rules! each_wide {
    ($x:expr, $pad:expr, |$chunk:ident| $body:block) => {{
        let (chunks, rest) = $x.as_chunks::<{ $crate::kernels::softmax::WIDE }>();
        for $chunk in chunks $body
        if !rest.is_empty() {
            let $chunk = &$crate::kernels::softmax::padded(rest, $pad);
            $body
        }
    }};
}
pub(super) use each_wide;

/// Largest element; minus infinity for an empty row. NaN elements are passed over.
#[inline(always)]
pub(super) fn max<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut m = (s.splat(f32::NEG_INFINITY), s.splat(f32::NEG_INFINITY));
    each_wide!(x, f32::NEG_INFINITY, |chunk| {
        let (a, b) = load_wide(s, chunk);
        m = (s.max(a, m.0), s.max(b, m.1));
    });
    s.max_lane(s.max(m.0, m.1))
}

/// Sum of `e^(x - shift)` over the row.
#[inline(always)]
pub(super) fn sum_exp<S: Simd>(s: S, x: &[f32], shift: f32) -> f32 {
    let shift = s.splat(shift);
    let mut sum = (s.splat(0.0), s.splat(0.0));
    each_wide!(x, f32::NEG_INFINITY, |chunk| {
        let (a, b) = load_wide(s, chunk);
        sum.0 = s.add(sum.0, math::exp(s, s.sub(a, shift)));
        sum.1 = s.add(sum.1, math::exp(s, s.sub(b, shift)));
    });
    s.sum(s.add(sum.0, sum.1))
}

/// Replaces each `x` by `e^(x - max)` and returns their sum: a softmax before its division.
#[inline(always)]
pub(super) fn exp_minus_max<S: Simd>(s: S, x: &mut [f32]) -> f32 {
    let shift = s.splat(max(s, x));
    let mut sum = (s.splat(0.0), s.splat(0.0));
    let (chunks, rest) = x.as_chunks_mut::<WIDE>();
    for chunk in chunks {
        exp_wide(s, chunk, shift, &mut sum);
    }
    if !rest.is_empty() {
        let mut chunk = padded(rest, f32::NEG_INFINITY);
        exp_wide(s, &mut chunk, shift, &mut sum);
        rest.copy_from_slice(&chunk[..rest.len()]);
    }
    s.sum(s.add(sum.0, sum.1))
}

#[inline(always)]
fn exp_wide<S: Simd>(s: S, chunk: &mut [f32; WIDE], shift: S::F, sum: &mut (S::F, S::F)) {
    let (a, b) = load_wide(s, chunk);
    let (a, b) = (math::exp(s, s.sub(a, shift)), math::exp(s, s.sub(b, shift)));
    *sum = (s.add(sum.0, a), s.add(sum.1, b));
    let [low, high] = chunk.as_chunks_mut::<LANES>().0 else {
        unreachable!("sixteen floats are two vectors")
    };
    s.store(a, low);
    s.store(b, high);
}

/// Softmax of a row, in place: `e^(x - max) * (1 / sum)`.
#[inline(always)]
pub(super) fn softmax<S: Simd>(s: S, x: &mut [f32]) {
    let inverse = 1.0 / exp_minus_max(s, x);
    for x in x {
        *x *= inverse;
    }
}
