//! Activations to 8-bit codes, per group of 32 columns.

use super::math;
use super::simd::{GROUP, LANES, Simd};

/// Quantizes one row of activations.
///
/// Per group: `scale = amax / 127`, `code = round(x * (127 / amax))`, ties to even. A group of zeros has scale 0. A group
/// with a NaN or an infinity has scale NaN, so that the fault reaches the logits instead of vanishing in the codes.
///
/// `x` `[cols]`, `codes`, `scales` and `sums` `[ceil(cols / 32)]`; columns that pad the last group get code 0.
#[inline(always)]
pub(super) fn quantize<S: Simd>(
    s: S,
    x: &[f32],
    codes: &mut [[i8; GROUP]],
    scales: &mut [f32],
    sums: &mut [i32],
) {
    let (groups, rest) = x.as_chunks::<GROUP>();
    let outputs = codes.iter_mut().zip(scales.iter_mut()).zip(sums.iter_mut());
    for (group, ((codes, scale), sum)) in groups.iter().zip(outputs) {
        *scale = quantize_group(s, group, codes);
        *sum = codes.iter().map(|c| *c as i32).sum();
    }
    if !rest.is_empty() {
        let mut group = [0.0; GROUP];
        group[..rest.len()].copy_from_slice(rest);
        let last = groups.len();
        scales[last] = quantize_group(s, &group, &mut codes[last]);
        sums[last] = codes[last].iter().map(|c| *c as i32).sum();
    }
}

#[inline(always)]
fn quantize_group<S: Simd>(s: S, x: &[f32; GROUP], codes: &mut [i8; GROUP]) -> f32 {
    let mut v = [s.splat(0.0); GROUP / LANES];
    let mut largest = s.splat(0.0);
    // x - x is 0, or NaN where x is not finite.
    let mut poison = s.splat(0.0);
    for (v, x) in v.iter_mut().zip(x.as_chunks::<LANES>().0) {
        *v = s.load(x);
        largest = s.max(math::abs(s, *v), largest);
        poison = s.add(poison, s.sub(*v, *v));
    }
    let amax = s.max_lane(largest);
    let inverse = s.splat(if amax > 0.0 { 127.0 / amax } else { 0.0 });
    let limit = s.splat(127.0);
    let mut rounded = [s.splat_int(0); GROUP / LANES];
    for (rounded, v) in rounded.iter_mut().zip(v) {
        let t = s.mul(v, inverse);
        let t = s.select(s.eq(t, t), t, s.splat(0.0));
        *rounded = s.round(s.min(s.max(t, s.splat(-127.0)), limit));
    }
    s.store_i8(rounded, codes);
    amax / 127.0 + s.sum(poison)
}
