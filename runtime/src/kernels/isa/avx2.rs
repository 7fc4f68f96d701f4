//! AVX2, FMA and F16C: x86-64 since Haswell (2013) and Excavator (2015).

use super::super::simd::{GROUP, LANES, Q4_GROUP, Q8_GROUP, Simd};
use half::f16;
use std::arch::x86_64::*;

/// Proof that this CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx2(());

impl Avx2 {
    /// Whether this CPU, and the operating system, support the three.
    pub(in super::super) fn detected() -> bool {
        is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
    }

    /// The proof.
    ///
    /// # Safety
    /// [`Avx2::detected`] must have returned true.
    pub(in super::super) unsafe fn assume() -> Self {
        Avx2(())
    }
}

/// A call of intrinsics that needs nothing but the instruction set.
macro_rules! isa {
    ($body:expr) => {
        // SAFETY: a value of `Avx2` exists, so the CPU has AVX2, FMA and F16C.
        unsafe { $body }
    };
}

impl Simd for Avx2 {
    type F = __m256;
    type I = __m256i;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        isa!(_mm256_set1_ps(x))
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> __m256 {
        // SAFETY: the CPU has AVX2; the array is eight readable floats, and the load needs no alignment.
        unsafe { _mm256_loadu_ps(x.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, x: __m256, out: &mut [f32; LANES]) {
        // SAFETY: the CPU has AVX2; the array is eight writable floats, and the store needs no alignment.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), x) }
    }
    #[inline(always)]
    fn load_f16(self, x: &[f16; LANES]) -> __m256 {
        // SAFETY: the CPU has F16C; the array is eight readable halfs, and the load needs no alignment.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().cast())) }
    }
    #[inline(always)]
    fn store_f16(self, x: __m256, out: &mut [f16; LANES]) {
        // SAFETY: the CPU has F16C; the array is eight writable halfs, and the store needs no alignment.
        unsafe {
            let halfs = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
            _mm_storeu_si128(out.as_mut_ptr().cast(), halfs);
        }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        isa!(_mm256_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        isa!(_mm256_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        isa!(_mm256_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        isa!(_mm256_div_ps(a, b))
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        isa!(_mm256_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        isa!(_mm256_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        isa!(_mm256_min_ps(a, b))
    }
    #[inline(always)]
    fn lt(self, a: __m256, b: __m256) -> __m256i {
        isa!(_mm256_castps_si256(_mm256_cmp_ps::<_CMP_LT_OQ>(a, b)))
    }
    #[inline(always)]
    fn eq(self, a: __m256, b: __m256) -> __m256i {
        isa!(_mm256_castps_si256(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b)))
    }
    #[inline(always)]
    fn select(self, mask: __m256i, a: __m256, b: __m256) -> __m256 {
        isa!(_mm256_blendv_ps(b, a, _mm256_castsi256_ps(mask)))
    }

    #[inline(always)]
    fn round(self, x: __m256) -> __m256i {
        isa!(_mm256_cvtps_epi32(x))
    }
    #[inline(always)]
    fn to_float(self, x: __m256i) -> __m256 {
        isa!(_mm256_cvtepi32_ps(x))
    }
    #[inline(always)]
    fn bits(self, x: __m256) -> __m256i {
        isa!(_mm256_castps_si256(x))
    }
    #[inline(always)]
    fn bits_to_float(self, x: __m256i) -> __m256 {
        isa!(_mm256_castsi256_ps(x))
    }
    #[inline(always)]
    fn splat_int(self, x: i32) -> __m256i {
        isa!(_mm256_set1_epi32(x))
    }
    #[inline(always)]
    fn add_int(self, a: __m256i, b: __m256i) -> __m256i {
        isa!(_mm256_add_epi32(a, b))
    }
    #[inline(always)]
    fn sub_int(self, a: __m256i, b: __m256i) -> __m256i {
        isa!(_mm256_sub_epi32(a, b))
    }
    #[inline(always)]
    fn and(self, a: __m256i, b: __m256i) -> __m256i {
        isa!(_mm256_and_si256(a, b))
    }
    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        isa!(_mm256_or_si256(a, b))
    }
    #[inline(always)]
    fn shl<const N: i32>(self, x: __m256i) -> __m256i {
        isa!(_mm256_slli_epi32::<N>(x))
    }
    #[inline(always)]
    fn sar<const N: i32>(self, x: __m256i) -> __m256i {
        isa!(_mm256_srai_epi32::<N>(x))
    }
    #[inline(always)]
    fn store_i8(self, x: [__m256i; 4], out: &mut [i8; GROUP]) {
        // SAFETY: the CPU has AVX2; the array is 32 writable bytes, and the store needs no alignment.
        unsafe {
            let low = _mm256_packs_epi32(x[0], x[1]);
            let high = _mm256_packs_epi32(x[2], x[3]);
            // Packing works within 128-bit halves, which leaves the 4-byte words in the order 0 2 4 6 1 3 5 7.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
            _mm256_storeu_si256(out.as_mut_ptr().cast(), bytes);
        }
    }

    #[inline(always)]
    fn dot_q8<const P: usize, const T: usize>(
        self,
        w: [&[i8; Q8_GROUP]; P],
        x: [&[i8; GROUP]; T],
    ) -> [[__m256i; P]; T] {
        // SAFETY: the CPU has AVX2. Chunk c < 8 reads bytes 32c..32c+32 of 256 and 4c..4c+4 of 32; no read needs
        // alignment. `maddubs` takes |w| <= 128 unsigned and x with w's sign, |x| <= 127: a pair sums to at
        // most 32,512, so i16 does not saturate.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            let mut sum = [[_mm256_setzero_si256(); P]; T];
            for c in 0..8 {
                for p in 0..P {
                    let w = _mm256_loadu_si256(w[p].as_ptr().add(32 * c).cast());
                    let magnitude = _mm256_abs_epi8(w);
                    for t in 0..T {
                        let x = _mm256_set1_epi32(x[t].as_ptr().add(4 * c).cast::<i32>().read_unaligned());
                        let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(x, w));
                        sum[t][p] = _mm256_add_epi32(sum[t][p], _mm256_madd_epi16(pairs, ones));
                    }
                }
            }
            sum
        }
    }

    #[inline(always)]
    fn dot_q4<const P: usize, const T: usize>(
        self,
        w: [&[u8; Q4_GROUP]; P],
        x: [&[i8; GROUP]; T],
    ) -> [[__m256i; P]; T] {
        // SAFETY: the CPU has AVX2. Chunk c < 4 reads bytes 32c..32c+32 of 128, 4c..4c+4 and 16+4c..20+4c of 32;
        // no read needs alignment. An i16 lane sums 16 products of at most 15 * 127, 30,480 in all: no overflow.
        unsafe {
            let low_bits = _mm256_set1_epi8(15);
            let mut sum = [[_mm256_setzero_si256(); P]; T];
            for c in 0..4 {
                for p in 0..P {
                    let w = _mm256_loadu_si256(w[p].as_ptr().add(32 * c).cast());
                    let low = _mm256_and_si256(w, low_bits);
                    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(w), low_bits);
                    for t in 0..T {
                        let x = x[t].as_ptr().add(4 * c);
                        let x_low = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
                        let x_high = _mm256_set1_epi32(x.add(16).cast::<i32>().read_unaligned());
                        sum[t][p] = _mm256_add_epi16(sum[t][p], _mm256_maddubs_epi16(low, x_low));
                        sum[t][p] = _mm256_add_epi16(sum[t][p], _mm256_maddubs_epi16(high, x_high));
                    }
                }
            }
            let ones = _mm256_set1_epi16(1);
            for t in 0..T {
                for p in 0..P {
                    sum[t][p] = _mm256_madd_epi16(sum[t][p], ones);
                }
            }
            sum
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, data: &[T], offset: usize) {
        isa!(_mm_prefetch::<_MM_HINT_T0>(data.as_ptr().wrapping_add(offset).cast()))
    }
}
