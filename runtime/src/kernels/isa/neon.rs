//! NEON: every 64-bit ARM core. What differs between ARM's generations is the integer dot product of a group, so that
//! is a type parameter: [`Plain`] here, [`super::dotprod::Dotprod`] beside it.

use super::super::simd::{Codes, GROUP, LANES, Q4_GROUP, Q8_GROUP, Simd, Tile};
use half::f16;
use std::arch::aarch64::*;
use std::arch::asm;

/// NEON with the group dots of `D`; a value is the proof that this CPU has both.
#[derive(Clone, Copy)]
pub(in super::super) struct Neon<D>(D);

impl<D: Dots> Neon<D> {
    /// The proof, out of that for the group dots.
    pub(in super::super) fn new(dots: D) -> Self {
        Neon(dots)
    }
}

/// The group dots of [`Simd`].
pub(in super::super) trait Dots: Copy {
    /// [`Simd::dot_q8`].
    fn dot_q8<const P: usize, const T: usize>(self, w: [&[i8; Q8_GROUP]; P], x: [Codes; T]) -> [[I; P]; T];
    /// [`Simd::dot_q4`].
    fn dot_q4<const P: usize, const T: usize>(self, w: [&[u8; Q4_GROUP]; P], x: [Codes; T]) -> [[I; P]; T];
}

/// Eight floats in two registers.
#[derive(Clone, Copy)]
pub(in super::super) struct F(float32x4_t, float32x4_t);

/// Eight integers in two registers.
#[derive(Clone, Copy)]
pub(in super::super) struct I(pub(super) int32x4_t, pub(super) int32x4_t);

/// A call of intrinsics that needs nothing but the instruction set.
macro_rules! isa {
    ($body:expr) => {
        // SAFETY: every aarch64 target that this compiles for has NEON in its base (Rust's own std needs it).
        unsafe { $body }
    };
}

/// A call for each half: `each!(F, vaddq_f32, a, b)`.
macro_rules! each {
    ($result:ident, $call:expr, $($x:expr),*) => {
        isa!($result($call($($x.0),*), $call($($x.1),*)))
    };
}

impl<D: Dots> Simd for Neon<D> {
    type F = F;
    type I = I;
    const TILE: Tile = Tile::Single;

    #[inline(always)]
    fn splat(self, x: f32) -> F {
        let x = isa!(vdupq_n_f32(x));
        F(x, x)
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> F {
        // SAFETY: NEON is there; the array is eight readable floats, and the loads need no more than its alignment.
        unsafe { F(vld1q_f32(x.as_ptr()), vld1q_f32(x.as_ptr().add(4))) }
    }
    #[inline(always)]
    fn store(self, x: F, out: &mut [f32; LANES]) {
        // SAFETY: NEON is there; the array is eight writable floats, and the stores need no more than its alignment.
        unsafe {
            vst1q_f32(out.as_mut_ptr(), x.0);
            vst1q_f32(out.as_mut_ptr().add(4), x.1);
        }
    }
    #[inline(always)]
    fn load_f16(self, x: &[f16; LANES]) -> F {
        let (low, high): (float32x4_t, float32x4_t);
        // SAFETY: NEON is there; the array is eight readable halfs. Base NEON converts halfs; only the intrinsics
        // for it are younger than the oldest compiler that siskin builds with.
        unsafe {
            let halfs = vld1q_u16(x.as_ptr().cast());
            asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) low, in(vreg) halfs,
                options(pure, nomem, nostack, preserves_flags));
            asm!("fcvtl2 {0:v}.4s, {1:v}.8h", out(vreg) high, in(vreg) halfs,
                options(pure, nomem, nostack, preserves_flags));
        }
        F(low, high)
    }
    #[inline(always)]
    fn store_f16(self, x: F, out: &mut [f16; LANES]) {
        // SAFETY: NEON is there; the array is eight writable halfs.
        unsafe {
            let halfs: uint16x8_t;
            asm!("fcvtn {0:v}.4h, {1:v}.4s", "fcvtn2 {0:v}.8h, {2:v}.4s",
                out(vreg) halfs, in(vreg) x.0, in(vreg) x.1,
                options(pure, nomem, nostack, preserves_flags));
            vst1q_u16(out.as_mut_ptr().cast(), halfs);
        }
    }

    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        each!(F, vaddq_f32, a, b)
    }
    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        each!(F, vsubq_f32, a, b)
    }
    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        each!(F, vmulq_f32, a, b)
    }
    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        each!(F, vdivq_f32, a, b)
    }
    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        each!(F, vfmaq_f32, c, a, b)
    }
    // FMAX and FMIN treat NaN and signed zeros otherwise than the trait.
    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        self.select(self.lt(b, a), a, b)
    }
    #[inline(always)]
    fn min(self, a: F, b: F) -> F {
        self.select(self.lt(a, b), a, b)
    }
    #[inline(always)]
    fn lt(self, a: F, b: F) -> I {
        isa!(I(vreinterpretq_s32_u32(vcltq_f32(a.0, b.0)), vreinterpretq_s32_u32(vcltq_f32(a.1, b.1))))
    }
    #[inline(always)]
    fn eq(self, a: F, b: F) -> I {
        isa!(I(vreinterpretq_s32_u32(vceqq_f32(a.0, b.0)), vreinterpretq_s32_u32(vceqq_f32(a.1, b.1))))
    }
    #[inline(always)]
    fn select(self, mask: I, a: F, b: F) -> F {
        isa!(F(
            vbslq_f32(vreinterpretq_u32_s32(mask.0), a.0, b.0),
            vbslq_f32(vreinterpretq_u32_s32(mask.1), a.1, b.1)
        ))
    }

    #[inline(always)]
    fn round(self, x: F) -> I {
        each!(I, vcvtnq_s32_f32, x)
    }
    #[inline(always)]
    fn to_float(self, x: I) -> F {
        each!(F, vcvtq_f32_s32, x)
    }
    #[inline(always)]
    fn bits(self, x: F) -> I {
        each!(I, vreinterpretq_s32_f32, x)
    }
    #[inline(always)]
    fn bits_to_float(self, x: I) -> F {
        each!(F, vreinterpretq_f32_s32, x)
    }
    #[inline(always)]
    fn splat_int(self, x: i32) -> I {
        let x = isa!(vdupq_n_s32(x));
        I(x, x)
    }
    #[inline(always)]
    fn add_int(self, a: I, b: I) -> I {
        each!(I, vaddq_s32, a, b)
    }
    #[inline(always)]
    fn sub_int(self, a: I, b: I) -> I {
        each!(I, vsubq_s32, a, b)
    }
    #[inline(always)]
    fn and(self, a: I, b: I) -> I {
        each!(I, vandq_s32, a, b)
    }
    #[inline(always)]
    fn or(self, a: I, b: I) -> I {
        each!(I, vorrq_s32, a, b)
    }
    #[inline(always)]
    fn shl<const N: i32>(self, x: I) -> I {
        each!(I, vshlq_n_s32::<N>, x)
    }
    #[inline(always)]
    fn sar<const N: i32>(self, x: I) -> I {
        each!(I, vshrq_n_s32::<N>, x)
    }
    #[inline(always)]
    fn store_i8(self, x: [I; 4], out: &mut [i8; GROUP]) {
        for (x, out) in x.as_chunks::<2>().0.iter().zip(out.as_chunks_mut::<16>().0) {
            // SAFETY: NEON is there; the array is 16 writable bytes.
            unsafe {
                let [a, b] = x.map(|x| vcombine_s16(vmovn_s32(x.0), vmovn_s32(x.1)));
                vst1q_s8(out.as_mut_ptr(), vcombine_s8(vmovn_s16(a), vmovn_s16(b)));
            }
        }
    }

    #[inline(always)]
    fn dot_q8<const P: usize, const T: usize>(self, w: [&[i8; Q8_GROUP]; P], x: [Codes; T]) -> [[I; P]; T] {
        self.0.dot_q8(w, x)
    }
    #[inline(always)]
    fn dot_q4<const P: usize, const T: usize>(self, w: [&[u8; Q4_GROUP]; P], x: [Codes; T]) -> [[I; P]; T] {
        self.0.dot_q4(w, x)
    }

    #[inline(always)]
    fn prefetch<T>(self, data: &T, bytes: usize) {
        let address = (&raw const *data).cast::<u8>().wrapping_add(bytes);
        // SAFETY: a prefetch never faults, whatever the address, and changes nothing that a program can see.
        unsafe { asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nomem, nostack, preserves_flags)) }
    }
}

/// Group dots of ARMv8.0 (Cortex-A53, A72: Pi 3, Pi 4, Zero 2 W): products of bytes are 16 bits wide.
#[derive(Clone, Copy)]
pub(in super::super) struct Plain;

/// Four codes of a token, for four rows.
#[inline(always)]
fn four(x: Codes, k: usize) -> int8x16_t {
    // SAFETY: NEON is there; every caller asks for k <= 28, so four bytes of 32 are read, without alignment. The empty
    // assembly hides that both halves are alike: else the compiler takes one half for all, and pays for it by moving
    // the weights' upper half down before each product.
    unsafe {
        let mut x = vreinterpretq_s8_s32(vdupq_n_s32(x.codes.as_ptr().add(k).cast::<i32>().read_unaligned()));
        asm!("/* {0:v} */", inout(vreg) x, options(pure, nomem, nostack, preserves_flags));
        x
    }
}

/// The address of a group, as if it were another one for each token: else the compiler keeps the weights of all tokens in
/// more registers than there are.
#[inline(always)]
fn anew<C, const N: usize>(w: &[C; N]) -> *const C {
    let mut address = w.as_ptr();
    // SAFETY: no instruction.
    unsafe { asm!("/* {0} */", inout(reg) address, options(nomem, nostack, preserves_flags)) };
    address
}

impl Dots for Plain {
    // A product needs as long for its arithmetic as for its loads, so tokens share nothing.
    #[inline(always)]
    fn dot_q8<const P: usize, const T: usize>(self, w: [&[i8; Q8_GROUP]; P], x: [Codes; T]) -> [[I; P]; T] {
        let zero = isa!(vdupq_n_s32(0));
        let mut sum = [[I(zero, zero); P]; T];
        for t in 0..T {
            for p in 0..P {
                sum[t][p] = dot_q8(w[p], x[t]);
            }
        }
        sum
    }

    #[inline(always)]
    fn dot_q4<const P: usize, const T: usize>(self, w: [&[u8; Q4_GROUP]; P], x: [Codes; T]) -> [[I; P]; T] {
        let zero = isa!(vdupq_n_s32(0));
        let mut sum = [[I(zero, zero); P]; T];
        for t in 0..T {
            for p in 0..P {
                sum[t][p] = dot_q4(w[p], x[t]);
            }
        }
        sum
    }
}

#[inline(always)]
fn dot_q8(w: &[i8; Q8_GROUP], x: Codes) -> I {
    // SAFETY: NEON is there. Chunk c < 8 and half h < 2 read bytes 32c + 16h .. 32c + 16h + 16 of 256; no read needs
    // alignment. An i16 lane holds two products of |w| <= 128 and |x| <= 127: at most 32,512.
    unsafe {
        let w = anew(w);
        // Two rows a register, two sums a row.
        let mut sum = [vdupq_n_s32(0); 4];
        for c in (0..8).step_by(2) {
            let (x0, x1) = (four(x, 4 * c), four(x, 4 * c + 4));
            for h in 0..2 {
                let w = w.add(32 * c + 16 * h);
                let (w0, w1) = (vld1q_s8(w), vld1q_s8(w.add(32)));
                let low = vmull_s8(vget_low_s8(w0), vget_low_s8(x0));
                let low = vmlal_s8(low, vget_low_s8(w1), vget_low_s8(x1));
                let high = vmlal_high_s8(vmull_high_s8(w0, x0), w1, x1);
                sum[2 * h] = vpadalq_s16(sum[2 * h], low);
                sum[2 * h + 1] = vpadalq_s16(sum[2 * h + 1], high);
            }
        }
        I(vpaddq_s32(sum[0], sum[1]), vpaddq_s32(sum[2], sum[3]))
    }
}

#[inline(always)]
fn dot_q4(w: &[u8; Q4_GROUP], x: Codes) -> I {
    // SAFETY: NEON is there. Chunk c < 4 and half h < 2 read bytes 32c + 16h .. 32c + 16h + 16 of 128; no read needs
    // alignment. An i16 lane sums 8 products of at most 15 * 127, a pair of lanes 30,480: no overflow.
    unsafe {
        let w = anew(w);
        let low_bits = vdupq_n_u8(15);
        let mut sum = [vdupq_n_s16(0); 4];
        for c in 0..4 {
            let (x0, x1) = (four(x, 4 * c), four(x, 16 + 4 * c));
            for h in 0..2 {
                let w = vld1q_u8(w.add(32 * c + 16 * h));
                let w0 = vreinterpretq_s8_u8(vandq_u8(w, low_bits));
                let w1 = vreinterpretq_s8_u8(vshrq_n_u8::<4>(w));
                let low = vmlal_s8(sum[2 * h], vget_low_s8(w0), vget_low_s8(x0));
                sum[2 * h] = vmlal_s8(low, vget_low_s8(w1), vget_low_s8(x1));
                sum[2 * h + 1] = vmlal_high_s8(vmlal_high_s8(sum[2 * h + 1], w0, x0), w1, x1);
            }
        }
        // The codes are the nibbles less 8.
        let offset = vdupq_n_s32(-8 * x.sum);
        let rows = |a, b| vpadalq_s16(offset, vpaddq_s16(a, b));
        I(rows(sum[0], sum[1]), rows(sum[2], sum[3]))
    }
}
