//! The lane trait: what an instruction set must offer, and nothing more.
//!
//! Every algorithm of this directory is written once over [`Simd`]. The vector of the trait has eight lanes, one
//! for each row of a weight panel; float reductions use two of them side by side, sixteen lanes. A method is a
//! single IEEE operation per lane (or an exact integer dot), so that every ISA gives the same bits; what is not
//! exact by itself, such as `exp`, is built from these in [`super::math`].

use half::f16;

/// Lanes of a vector, and rows of a weight panel.
pub const LANES: usize = 8;
/// Columns that share a scale, in weights and in activations.
pub const GROUP: usize = 32;
/// Bytes of one q8 group of one panel: `[8 chunks][8 rows][4 k]`.
pub const Q8_GROUP: usize = 256;
/// Bytes of one q4 group of one panel: `[4 chunks][8 rows][4]`, two codes a byte.
pub const Q4_GROUP: usize = 128;

/// How many panels and tokens share their loads in a quantized product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tile {
    /// One panel and two tokens: no vector registers, and little code.
    Small,
    /// One panel and four tokens, or three of floats: thirty-two registers of half a vector.
    Single,
    /// Two panels, or one of floats, and three tokens: sixteen vector registers.
    Narrow,
    /// Two panels and six tokens, or three of floats: thirty-two vector registers.
    Wide,
}

/// One token's activations of one group, as quantized products read them.
#[derive(Clone, Copy, Debug)]
pub struct Codes<'a> {
    /// Within [-127, 127].
    pub codes: &'a [i8; GROUP],
    /// Sum of the codes: what an instruction set that offsets the weights' codes takes away again.
    pub sum: i32,
}

/// An instruction set. A value of an implementing type is the proof that this CPU has it.
///
/// Comparisons are IEEE: false when an operand is NaN. Everything rounds to nearest, ties to even.
pub trait Simd: Copy {
    /// Eight `f32` lanes.
    type F: Copy;
    /// Eight `i32` lanes, and the masks that comparisons give: all ones or all zeros in a lane.
    type I: Copy;
    /// Panels and tokens of the tiles that quantized products are cut in: as many accumulators as the registers hold.
    const TILE: Tile;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::F;
    /// Eight consecutive floats.
    fn load(self, x: &[f32; LANES]) -> Self::F;
    /// Writes eight consecutive floats.
    fn store(self, x: Self::F, out: &mut [f32; LANES]);
    /// Eight halfs, widened exactly.
    fn load_f16(self, x: &[f16; LANES]) -> Self::F;
    /// Rounds to halfs.
    fn store_f16(self, x: Self::F, out: &mut [f16; LANES]);

    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c` with one rounding.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `if a > b { a } else { b }`: the second operand where one is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a < b { a } else { b }`: the second operand where one is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// Mask of `a < b`.
    fn lt(self, a: Self::F, b: Self::F) -> Self::I;
    /// Mask of `a == b`.
    fn eq(self, a: Self::F, b: Self::F) -> Self::I;
    /// `mask ? a : b`.
    fn select(self, mask: Self::I, a: Self::F, b: Self::F) -> Self::F;

    /// The nearest integer, ties to even. Lanes must be within the range of `i32`.
    fn round(self, x: Self::F) -> Self::I;
    /// The float of an integer.
    fn to_float(self, x: Self::I) -> Self::F;
    /// The bits of a float.
    fn bits(self, x: Self::F) -> Self::I;
    /// The float with these bits.
    fn bits_to_float(self, x: Self::I) -> Self::F;
    /// `x` in every lane.
    fn splat_int(self, x: i32) -> Self::I;
    /// `a + b`, wrapping.
    fn add_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a - b`, wrapping.
    fn sub_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a & b`.
    fn and(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a | b`.
    fn or(self, a: Self::I, b: Self::I) -> Self::I;
    /// `x << N`.
    fn shl<const N: i32>(self, x: Self::I) -> Self::I;
    /// `x >> N`, keeping the sign.
    fn sar<const N: i32>(self, x: Self::I) -> Self::I;
    /// Writes 32 integers as bytes. Lanes must be within the range of `i8`.
    fn store_i8(self, x: [Self::I; 4], out: &mut [i8; GROUP]);

    /// Exact dot products of one group of `P` q8 panels with `T` tokens: eight rows of each panel.
    fn dot_q8<const P: usize, const T: usize>(
        self,
        w: [&[i8; Q8_GROUP]; P],
        x: [Codes; T],
    ) -> [[Self::I; P]; T];

    /// The same of q4 panels, whose codes are the nibbles less 8.
    fn dot_q4<const P: usize, const T: usize>(
        self,
        w: [&[u8; Q4_GROUP]; P],
        x: [Codes; T],
    ) -> [[Self::I; P]; T];

    /// Asks for the cache line `bytes` after the start of `data`; may lie past its end.
    fn prefetch<T>(self, data: &T, bytes: usize);

    /// Sum of the lanes by the fixed tree 4+4, 2+2, 1+1.
    #[inline(always)]
    fn sum(self, x: Self::F) -> f32 {
        let mut v = [0.0; LANES];
        self.store(x, &mut v);
        let (a, b, c, d) = (v[0] + v[4], v[1] + v[5], v[2] + v[6], v[3] + v[7]);
        (a + c) + (b + d)
    }

    /// Largest lane by the same tree.
    #[inline(always)]
    fn max_lane(self, x: Self::F) -> f32 {
        let mut v = [0.0; LANES];
        self.store(x, &mut v);
        let m = |a: f32, b: f32| if a > b { a } else { b };
        let (a, b, c, d) = (m(v[0], v[4]), m(v[1], v[5]), m(v[2], v[6]), m(v[3], v[7]));
        m(m(a, c), m(b, d))
    }
}
