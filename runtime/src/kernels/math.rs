//! Elementary functions by fixed polynomials: the same bits on every CPU, no libm.
//!
//! The `f32` functions work on vectors and cost a few dozen operations; their largest errors, measured over the
//! whole range in `tests.rs`, stand at each. The `f64` functions serve what is computed once per
//! position (angles) or per token (logarithms); they use no fused operation, so that a CPU without one is not slow.
//! Coefficients: Cephes (Moshier) for `f32`, fdlibm (Sun) for the sine and cosine.

// Coefficients stand as published; the nearest float is the compiler's business.
#![allow(clippy::excessive_precision)]

use super::simd::Simd;

const SIGN: i32 = i32::MIN;

/// `|x|`.
#[inline(always)]
pub(super) fn abs<S: Simd>(s: S, x: S::F) -> S::F {
    s.bits_to_float(s.and(s.bits(x), s.splat_int(!SIGN)))
}

/// `e^x`, at most 1 ulp off where the result is normal; 0 and infinity beyond the range, NaN for NaN.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    // Written so that NaN survives until it meets the integers, and is put back at the end.
    let clamped = s.min(s.splat(89.0), s.max(s.splat(-104.5), x));
    let number = s.select(s.eq(x, x), clamped, s.splat(0.0));
    let n = s.round(s.mul(number, s.splat(std::f32::consts::LOG2_E)));
    let nf = s.to_float(n);
    let r = s.fma(nf, s.splat(-0.693_359_4), number);
    let r = s.fma(nf, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.987_569_1e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = s.fma(p, r, s.splat(c));
    }
    let y = s.add(s.fma(p, s.mul(r, r), r), s.splat(1.0));
    // 2^n in two factors, since n reaches -151 and 128; only the second product can round.
    let half = s.sar::<1>(n);
    let y = s.mul(s.mul(y, power_of_two(s, half)), power_of_two(s, s.sub_int(n, half)));
    s.select(s.eq(x, x), y, x)
}

/// `2^n` for -126 <= n <= 127.
#[inline(always)]
fn power_of_two<S: Simd>(s: S, n: S::I) -> S::F {
    s.bits_to_float(s.shl::<23>(s.add_int(n, s.splat_int(127))))
}

/// `1 / (1 + e^-x)`, at most 3 ulp off, also where it is tiny.
#[inline(always)]
pub(super) fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let e = exp(s, s.sub(s.splat(0.0), abs(s, x)));
    let one = s.splat(1.0);
    let numerator = s.select(s.lt(x, s.splat(0.0)), e, one);
    s.div(numerator, s.add(one, e))
}

/// Hyperbolic tangent, at most 2 ulp off.
#[inline(always)]
pub(super) fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let a = abs(s, x);
    let z = s.mul(a, a);
    let mut p = s.splat(-5.704_988_7e-3);
    for c in [2.063_908_9e-2, -5.373_971_6e-2, 0.133_314_42, -0.333_332_82] {
        p = s.fma(p, z, s.splat(c));
    }
    let small = s.fma(s.mul(p, z), a, a);
    let one = s.splat(1.0);
    let large = s.sub(one, s.div(s.splat(2.0), s.add(exp(s, s.add(a, a)), one)));
    let y = s.select(s.lt(a, s.splat(0.625)), small, large);
    s.bits_to_float(s.or(s.bits(y), s.and(s.bits(x), s.splat_int(SIGN))))
}

/// `x * sigmoid(x)` (Elfwing et al. 2017); -0 for minus infinity.
#[inline(always)]
pub(super) fn silu<S: Simd>(s: S, x: S::F) -> S::F {
    let finite = s.max(s.splat(f32::MIN), x);
    s.mul(finite, sigmoid(s, x))
}

/// `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))` (Hendrycks & Gimpel 2016), as `x * sigmoid(2 ...)`, which is
/// the same function and keeps its digits for negative x; -0 for minus infinity.
#[inline(always)]
pub(super) fn gelu<S: Simd>(s: S, x: S::F) -> S::F {
    let finite = s.max(s.splat(f32::MIN), x);
    let cubic = s.fma(s.mul(finite, finite), s.splat(0.044_715), s.splat(1.0));
    // 2 sqrt(2/pi)
    let u = s.mul(s.mul(finite, cubic), s.splat(1.595_769_1));
    s.mul(finite, sigmoid(s, u))
}

/// `e^x` in double precision, for finite `x` within [-700, 700]; outside it is clamped.
pub fn exp_f64(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let n = (x * std::f64::consts::LOG2_E).round_ties_even();
    let r = (x - n * 6.931_471_803_691_238e-1) - n * 1.908_214_929_270_587_7e-10;
    let mut sum = 1.0;
    for k in (1..=14).rev() {
        sum = sum * r / k as f64 + 1.0;
    }
    sum * f64::from_bits(((n as i64 + 1023) as u64) << 52)
}

/// Natural logarithm in double precision; minus infinity at 0, NaN below.
pub fn ln_f64(x: f64) -> f64 {
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 || x == f64::INFINITY {
        return if x == 0.0 { f64::NEG_INFINITY } else { x };
    }
    // A subnormal is brought into the normal range first.
    let (x, shift) = if x < f64::MIN_POSITIVE { (x * (1u64 << 54) as f64, -54) } else { (x, 0) };
    let bits = x.to_bits();
    let mut e = ((bits >> 52) as i64 - 1023 + shift) as f64;
    let mut m = f64::from_bits(bits & 0x000F_FFFF_FFFF_FFFF | 1023 << 52);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        e += 1.0;
    }
    // ln m = 2 artanh t, t = (m - 1) / (m + 1), |t| <= 0.1716
    let t = (m - 1.0) / (m + 1.0);
    let z = t * t;
    let mut sum = 0.0;
    for k in (1..=11).rev() {
        sum = (sum + 1.0 / (2 * k + 1) as f64) * z;
    }
    e * 6.931_471_803_691_238e-1 + (e * 1.908_214_929_270_587_7e-10 + (2.0 * t + 2.0 * t * sum))
}

/// `base^exponent` in double precision, for a positive base.
pub fn pow_f64(base: f64, exponent: f64) -> f64 {
    exp_f64(exponent * ln_f64(base))
}

/// Sine and cosine of `x` radians, `0 <= x <= 2^25`, within `1e-15 + 2.3e-16 x`: three-part reduction by pi/2, then
/// fdlibm's polynomials.
pub fn sin_cos_f64(x: f64) -> (f64, f64) {
    let n = (x * std::f64::consts::FRAC_2_PI).round_ties_even();
    let r =
        ((x - n * 1.570_796_326_734_125_6) - n * 6.077_100_506_303_966e-11) - n * 2.022_266_248_795_950_6e-21;
    let z = r * r;
    let mut p = 1.589_690_995_211_55e-10;
    for c in [
        -2.505_076_025_340_686_3e-8,
        2.755_731_370_707_006_8e-6,
        -1.984_126_982_985_795e-4,
        8.333_333_333_322_49e-3,
        -1.666_666_666_666_663_2e-1,
    ] {
        p = p * z + c;
    }
    let sin = r + r * z * p;
    let mut p = -1.135_964_755_778_819_5e-11;
    for c in [
        2.087_572_321_298_175e-9,
        -2.755_731_435_139_066_3e-7,
        2.480_158_728_947_673e-5,
        -1.388_888_888_887_411e-3,
        4.166_666_666_666_66e-2,
    ] {
        p = p * z + c;
    }
    let cos = (1.0 - 0.5 * z) + z * z * p;
    match n as i64 & 3 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}
