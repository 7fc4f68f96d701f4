//! Norms of one row: layer (Ba et al. 2016), RMS (Zhang & Sennrich 2019), and a per-channel affine map, which is what is
//! left of batch norm (Ioffe & Szegedy 2015) once training is over.

use super::simd::{LANES, Simd};
use super::softmax::{each_wide, load_wide};

/// `y = x / sqrt(mean(x^2) + eps) * weight`; an empty weight counts as ones.
#[inline(always)]
pub(super) fn rms_norm<S: Simd>(s: S, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let mut sum = (s.splat(0.0), s.splat(0.0));
    each_wide!(x, 0.0, |chunk| {
        let (a, b) = load_wide(s, chunk);
        sum = (s.fma(a, a, sum.0), s.fma(b, b, sum.1));
    });
    let mean_square = s.sum(s.add(sum.0, sum.1)) / x.len() as f32;
    let r = 1.0 / (mean_square + eps).sqrt();
    scale(s, x, 0.0, r, weight, &[], y);
}

/// `y = (x - mean) / sqrt(var + eps) * weight + bias`; an empty weight counts as ones, an empty bias as zeros.
#[inline(always)]
pub(super) fn layer_norm<S: Simd>(s: S, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    let n = x.len() as f32;
    let mut sum = (s.splat(0.0), s.splat(0.0));
    each_wide!(x, 0.0, |chunk| {
        let (a, b) = load_wide(s, chunk);
        sum = (s.add(sum.0, a), s.add(sum.1, b));
    });
    let mean = s.sum(s.add(sum.0, sum.1)) / n;
    let m = s.splat(mean);
    let mut sum = (s.splat(0.0), s.splat(0.0));
    // Padding with the mean adds nothing.
    each_wide!(x, mean, |chunk| {
        let (a, b) = load_wide(s, chunk);
        let (a, b) = (s.sub(a, m), s.sub(b, m));
        sum = (s.fma(a, a, sum.0), s.fma(b, b, sum.1));
    });
    let variance = s.sum(s.add(sum.0, sum.1)) / n;
    scale(s, x, mean, 1.0 / (variance + eps).sqrt(), weight, bias, y);
}

/// `y = x * weight + bias`, one rounding.
#[inline(always)]
pub(super) fn affine<S: Simd>(s: S, x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
    let n = x.len();
    assert!(weight.len() == n && bias.len() == n && y.len() == n, "affine norm of {n} channels");
    for i in (0..n).step_by(LANES) {
        let v = s.fma(at(s, x, i), at(s, weight, i), at(s, bias, i));
        put(s, v, y, i);
    }
}

/// `y = ((x - mean) * r) * weight + bias`: a product when there is no bias, fused when there is one.
#[inline(always)]
fn scale<S: Simd>(s: S, x: &[f32], mean: f32, r: f32, weight: &[f32], bias: &[f32], y: &mut [f32]) {
    let n = x.len();
    let fits = |v: &[f32]| v.is_empty() || v.len() == n;
    assert!(fits(weight) && fits(bias) && y.len() == n, "norm of {n} channels");
    let (mean, r) = (s.splat(mean), s.splat(r));
    for i in (0..n).step_by(LANES) {
        let mut v = s.mul(s.sub(at(s, x, i), mean), r);
        v = match (weight.is_empty(), bias.is_empty()) {
            (true, true) => v,
            (false, true) => s.mul(v, at(s, weight, i)),
            (true, false) => s.add(v, at(s, bias, i)),
            (false, false) => s.fma(v, at(s, weight, i), at(s, bias, i)),
        };
        put(s, v, y, i);
    }
}

/// Eight floats from `i`, zeros beyond the end.
#[inline(always)]
pub(super) fn at<S: Simd>(s: S, x: &[f32], i: usize) -> S::F {
    match x[i..].first_chunk::<LANES>() {
        Some(chunk) => s.load(chunk),
        None => {
            let mut chunk = [0.0; LANES];
            chunk[..x.len() - i].copy_from_slice(&x[i..]);
            s.load(&chunk)
        }
    }
}

/// Writes eight floats from `i`, dropping what lies beyond the end.
#[inline(always)]
pub(super) fn put<S: Simd>(s: S, v: S::F, y: &mut [f32], i: usize) {
    let y = &mut y[i..];
    match y.first_chunk_mut::<LANES>() {
        Some(chunk) => s.store(v, chunk),
        None => {
            let mut chunk = [0.0; LANES];
            s.store(v, &mut chunk);
            y.copy_from_slice(&chunk[..y.len()]);
        }
    }
}
