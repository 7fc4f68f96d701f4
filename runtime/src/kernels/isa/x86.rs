//! x86-64: AVX2, FMA and F16C, since Haswell (2013) and Excavator (2015); the same with the dot products of AVX-512
//! VNNI on 256-bit vectors, since Ice Lake (2019) and Zen 4 (2022).

use super::super::simd::{Codes, GROUP, LANES, Q4_GROUP, Q8_GROUP, Simd, Tile};
use half::f16;
use std::arch::x86_64::*;
use std::marker::PhantomData;

/// Proof that this CPU has AVX2, FMA and F16C, and what `D` needs for its dot products.
#[derive(Clone, Copy)]
pub(in super::super) struct X86<D> {
    dots: PhantomData<D>,
}

/// AVX2, FMA and F16C.
pub(in super::super) type Avx2 = X86<Maddubs>;
/// The same and AVX-512 VNNI.
pub(in super::super) type Vnni = X86<Dpbusd>;

impl<D: Dots> X86<D> {
    /// Whether this CPU, and the operating system, support what is needed.
    pub(in super::super) fn detected() -> bool {
        is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && D::detected()
    }

    /// The proof.
    ///
    /// # Safety
    /// [`X86::detected`] must have returned true.
    pub(in super::super) unsafe fn assume() -> Self {
        X86 { dots: PhantomData }
    }
}

/// The dot products of a group: what the x86 instruction sets differ in.
pub(in super::super) trait Dots: Copy {
    const TILE: Tile;

    /// Whether the CPU has what these need beyond AVX2.
    fn detected() -> bool;

    /// [`Simd::dot_q8`].
    ///
    /// # Safety
    /// The CPU must have AVX2, and [`Dots::detected`] must hold.
    unsafe fn dot_q8<const P: usize, const T: usize>(
        w: [&[i8; Q8_GROUP]; P],
        x: [Codes; T],
    ) -> [[__m256i; P]; T];

    /// [`Simd::dot_q4`].
    ///
    /// # Safety
    /// The CPU must have AVX2, and [`Dots::detected`] must hold.
    unsafe fn dot_q4<const P: usize, const T: usize>(
        w: [&[u8; Q4_GROUP]; P],
        x: [Codes; T],
    ) -> [[__m256i; P]; T];
}

/// A call of intrinsics that needs nothing but the instruction set.
macro_rules! isa {
    ($body:expr) => {
        // SAFETY: a value of `X86` exists, so the CPU has AVX2, FMA and F16C.
        unsafe { $body }
    };
}

impl<D: Dots> Simd for X86<D> {
    type F = __m256;
    type I = __m256i;
    const TILE: Tile = D::TILE;

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
        x: [Codes; T],
    ) -> [[__m256i; P]; T] {
        // SAFETY: a value of `X86<D>` exists, so the CPU has AVX2 and what D needs.
        unsafe { D::dot_q8(w, x) }
    }

    #[inline(always)]
    fn dot_q4<const P: usize, const T: usize>(
        self,
        w: [&[u8; Q4_GROUP]; P],
        x: [Codes; T],
    ) -> [[__m256i; P]; T] {
        // SAFETY: a value of `X86<D>` exists, so the CPU has AVX2 and what D needs.
        unsafe { D::dot_q4(w, x) }
    }

    #[inline(always)]
    fn prefetch<T>(self, data: &T, bytes: usize) {
        isa!(_mm_prefetch::<_MM_HINT_T0>((&raw const *data).wrapping_byte_add(bytes).cast()))
    }
}

/// Chunk `c` of a group of panel codes: 32 bytes.
///
/// # Safety
/// The CPU must have AVX2, and `w` must have the chunk.
#[inline(always)]
unsafe fn chunk<G>(w: &G, c: usize) -> __m256i {
    debug_assert!(32 * c + 32 <= size_of::<G>());
    // SAFETY: the chunk lies in `w`, and the load needs no alignment.
    unsafe { _mm256_loadu_si256((&raw const *w).cast::<__m256i>().add(c)) }
}

/// Four codes of a token from column `k` on, eight times.
///
/// # Safety
/// The CPU must have AVX2, and `k` must be at most 28.
#[inline(always)]
unsafe fn broadcast(x: &[i8; GROUP], k: usize) -> __m256i {
    debug_assert!(k + 4 <= GROUP);
    // SAFETY: the four bytes lie in `x`, and the read needs no alignment.
    unsafe { _mm256_set1_epi32(x.as_ptr().add(k).cast::<i32>().read_unaligned()) }
}

/// Dot products of AVX2.
#[derive(Clone, Copy)]
pub(in super::super) struct Maddubs;

impl Dots for Maddubs {
    const TILE: Tile = Tile::Narrow;

    fn detected() -> bool {
        true
    }

    // SAFETY: the caller keeps the promise of `Dots::dot_q8`.
    #[inline(always)]
    unsafe fn dot_q8<const P: usize, const T: usize>(
        w: [&[i8; Q8_GROUP]; P],
        x: [Codes; T],
    ) -> [[__m256i; P]; T] {
        // SAFETY: the CPU has AVX2; there are 8 chunks of 32 bytes and of 4 codes. `maddubs` takes |w| <= 128 unsigned and
        // x with w's sign, |x| <= 127: a pair sums to at most 32,512, so i16 does not saturate.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            let mut sum = [[_mm256_setzero_si256(); P]; T];
            for c in 0..8 {
                for p in 0..P {
                    let w = chunk(w[p], c);
                    let magnitude = _mm256_abs_epi8(w);
                    for t in 0..T {
                        let x = broadcast(x[t].codes, 4 * c);
                        let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(x, w));
                        sum[t][p] = _mm256_add_epi32(sum[t][p], _mm256_madd_epi16(pairs, ones));
                    }
                }
            }
            sum
        }
    }

    // SAFETY: the caller keeps the promise of `Dots::dot_q4`.
    #[inline(always)]
    unsafe fn dot_q4<const P: usize, const T: usize>(
        w: [&[u8; Q4_GROUP]; P],
        x: [Codes; T],
    ) -> [[__m256i; P]; T] {
        // SAFETY: the CPU has AVX2; there are 4 chunks of 32 bytes and 8 of 4 codes. An i16 lane sums 16 products of at
        // most 15 * 127, 30,480 in all: no overflow.
        unsafe {
            let low_bits = _mm256_set1_epi8(15);
            let mut sum = [[_mm256_setzero_si256(); P]; T];
            for c in 0..4 {
                for p in 0..P {
                    let w = chunk(w[p], c);
                    let low = _mm256_and_si256(w, low_bits);
                    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(w), low_bits);
                    for t in 0..T {
                        let (x_low, x_high) =
                            (broadcast(x[t].codes, 4 * c), broadcast(x[t].codes, 16 + 4 * c));
                        sum[t][p] = _mm256_add_epi16(sum[t][p], _mm256_maddubs_epi16(low, x_low));
                        sum[t][p] = _mm256_add_epi16(sum[t][p], _mm256_maddubs_epi16(high, x_high));
                    }
                }
            }
            let ones = _mm256_set1_epi16(1);
            for t in 0..T {
                let offset = _mm256_set1_epi32(8 * x[t].sum);
                for p in 0..P {
                    sum[t][p] = _mm256_sub_epi32(_mm256_madd_epi16(sum[t][p], ones), offset);
                }
            }
            sum
        }
    }
}

/// Dot products of AVX-512 VNNI, on 256-bit vectors.
#[derive(Clone, Copy)]
pub(in super::super) struct Dpbusd;

impl Dots for Dpbusd {
    const TILE: Tile = Tile::Wide;

    fn detected() -> bool {
        // The compiler may use all of these in the kernels' floats too: see their table in `kernels/mod.rs`.
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni")
    }

    // SAFETY: the caller keeps the promise of `Dots::dot_q8`.
    #[inline(always)]
    unsafe fn dot_q8<const P: usize, const T: usize>(
        w: [&[i8; Q8_GROUP]; P],
        x: [Codes; T],
    ) -> [[__m256i; P]; T] {
        // SAFETY: the CPU has AVX2 and VNNI; there are 8 chunks of 32 bytes and of 4 codes. `dpbusd` wants unsigned
        // weights: w + 128, which is w with its sign bit flipped, adds 128 times the sum of x, taken off beforehand. A lane
        // sums 32 products of at most 255 * 127: no overflow.
        unsafe {
            let flip = _mm256_set1_epi8(-128);
            let mut sum = [[_mm256_setzero_si256(); P]; T];
            for t in 0..T {
                sum[t] = [_mm256_set1_epi32(-128 * x[t].sum); P];
            }
            for c in 0..8 {
                for p in 0..P {
                    let w = _mm256_xor_si256(chunk(w[p], c), flip);
                    for t in 0..T {
                        sum[t][p] = _mm256_dpbusd_epi32(sum[t][p], w, broadcast(x[t].codes, 4 * c));
                    }
                }
            }
            sum
        }
    }

    // SAFETY: the caller keeps the promise of `Dots::dot_q4`.
    #[inline(always)]
    unsafe fn dot_q4<const P: usize, const T: usize>(
        w: [&[u8; Q4_GROUP]; P],
        x: [Codes; T],
    ) -> [[__m256i; P]; T] {
        // SAFETY: the CPU has AVX2 and VNNI; there are 4 chunks of 32 bytes and 8 of 4 codes. Nibbles are the codes plus 8,
        // which is taken off beforehand.
        unsafe {
            let low_bits = _mm256_set1_epi8(15);
            let mut sum = [[_mm256_setzero_si256(); P]; T];
            for t in 0..T {
                sum[t] = [_mm256_set1_epi32(-8 * x[t].sum); P];
            }
            for c in 0..4 {
                for p in 0..P {
                    let w = chunk(w[p], c);
                    let low = _mm256_and_si256(w, low_bits);
                    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(w), low_bits);
                    for t in 0..T {
                        let x = x[t].codes;
                        sum[t][p] = _mm256_dpbusd_epi32(sum[t][p], low, broadcast(x, 4 * c));
                        sum[t][p] = _mm256_dpbusd_epi32(sum[t][p], high, broadcast(x, 16 + 4 * c));
                    }
                }
            }
            sum
        }
    }
}
