//! Plain Rust: the reference that every other ISA must equal bit for bit, and the fallback of any CPU.

use super::super::simd::{Codes, GROUP, LANES, Q4_GROUP, Q8_GROUP, Simd, Tile};
use half::f16;
use std::array;

/// No instruction set beyond what Rust itself needs.
#[derive(Clone, Copy)]
pub(in super::super) struct Scalar;

type F = [f32; LANES];
type I = [i32; LANES];

#[inline(always)]
fn map2<A: Copy, B: Copy, C>(a: [A; LANES], b: [B; LANES], f: impl Fn(A, B) -> C) -> [C; LANES] {
    array::from_fn(|l| f(a[l], b[l]))
}

#[inline(always)]
fn mask(x: bool) -> i32 {
    -(x as i32)
}

impl Simd for Scalar {
    type F = F;
    type I = I;
    const TILE: Tile = Tile::Small;

    #[inline(always)]
    fn splat(self, x: f32) -> F {
        [x; LANES]
    }
    #[inline(always)]
    fn load(self, x: &F) -> F {
        *x
    }
    #[inline(always)]
    fn store(self, x: F, out: &mut F) {
        *out = x;
    }
    #[inline(always)]
    fn load_f16(self, x: &[f16; LANES]) -> F {
        x.map(f16::to_f32_const)
    }
    #[inline(always)]
    fn store_f16(self, x: F, out: &mut [f16; LANES]) {
        *out = x.map(f16::from_f32_const);
    }

    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        array::from_fn(|l| a[l].mul_add(b[l], c[l]))
    }
    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: F, b: F) -> F {
        map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn lt(self, a: F, b: F) -> I {
        map2(a, b, |a, b| mask(a < b))
    }
    #[inline(always)]
    fn eq(self, a: F, b: F) -> I {
        map2(a, b, |a, b| mask(a == b))
    }
    #[inline(always)]
    fn select(self, mask: I, a: F, b: F) -> F {
        array::from_fn(|l| if mask[l] != 0 { a[l] } else { b[l] })
    }

    #[inline(always)]
    fn round(self, x: F) -> I {
        x.map(|v| v.round_ties_even() as i32)
    }
    #[inline(always)]
    fn to_float(self, x: I) -> F {
        x.map(|v| v as f32)
    }
    #[inline(always)]
    fn bits(self, x: F) -> I {
        x.map(|v| v.to_bits() as i32)
    }
    #[inline(always)]
    fn bits_to_float(self, x: I) -> F {
        x.map(|v| f32::from_bits(v as u32))
    }
    #[inline(always)]
    fn splat_int(self, x: i32) -> I {
        [x; LANES]
    }
    #[inline(always)]
    fn add_int(self, a: I, b: I) -> I {
        map2(a, b, i32::wrapping_add)
    }
    #[inline(always)]
    fn sub_int(self, a: I, b: I) -> I {
        map2(a, b, i32::wrapping_sub)
    }
    #[inline(always)]
    fn and(self, a: I, b: I) -> I {
        map2(a, b, |a, b| a & b)
    }
    #[inline(always)]
    fn or(self, a: I, b: I) -> I {
        map2(a, b, |a, b| a | b)
    }
    #[inline(always)]
    fn shl<const N: i32>(self, x: I) -> I {
        x.map(|v| v << N)
    }
    #[inline(always)]
    fn sar<const N: i32>(self, x: I) -> I {
        x.map(|v| v >> N)
    }
    #[inline(always)]
    fn store_i8(self, x: [I; 4], out: &mut [i8; GROUP]) {
        for (lanes, out) in x.iter().zip(out.as_chunks_mut::<LANES>().0) {
            *out = lanes.map(|v| v as i8);
        }
    }

    #[inline(always)]
    fn dot_q8<const P: usize, const T: usize>(self, w: [&[i8; Q8_GROUP]; P], x: [Codes; T]) -> [[I; P]; T] {
        array::from_fn(|t| array::from_fn(|p| dot_q8(w[p], x[t].codes)))
    }

    #[inline(always)]
    fn dot_q4<const P: usize, const T: usize>(self, w: [&[u8; Q4_GROUP]; P], x: [Codes; T]) -> [[I; P]; T] {
        array::from_fn(|t| array::from_fn(|p| dot_q4(w[p], x[t].codes)))
    }

    #[inline(always)]
    fn prefetch<T>(self, _data: &T, _bytes: usize) {}
}

#[inline(always)]
fn dot_q8(w: &[i8; Q8_GROUP], x: &[i8; GROUP]) -> I {
    let mut sum = [0; LANES];
    for (w, x) in w.as_chunks::<GROUP>().0.iter().zip(x.as_chunks::<4>().0) {
        for (sum, w) in sum.iter_mut().zip(w.as_chunks::<4>().0) {
            for (w, x) in w.iter().zip(x) {
                *sum += *w as i32 * *x as i32;
            }
        }
    }
    sum
}

#[inline(always)]
fn dot_q4(w: &[u8; Q4_GROUP], x: &[i8; GROUP]) -> I {
    let mut sum = [0; LANES];
    let (low, high) = x.split_at(GROUP / 2);
    let chunks = low.as_chunks::<4>().0.iter().zip(high.as_chunks::<4>().0);
    for (w, (low, high)) in w.as_chunks::<GROUP>().0.iter().zip(chunks) {
        for (sum, w) in sum.iter_mut().zip(w.as_chunks::<4>().0) {
            for ((w, low), high) in w.iter().zip(low).zip(high) {
                *sum += ((*w & 15) as i32 - 8) * *low as i32 + ((*w >> 4) as i32 - 8) * *high as i32;
            }
        }
    }
    sum
}
