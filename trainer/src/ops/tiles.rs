//! Micro-kernels of matrix products in f32 on x86-64: a few rows times a panel of columns, sums kept in registers.
//!
//! As in GotoBLAS (Goto & van de Geijn 2008) the right operand is cut into panels of [`PANEL`] columns. Of the left operand single
//! elements are broadcast, so it may lie with any strides. A tile runs over all of its depth before it touches the result: on a core
//! with two FMA units it then loads less than it multiplies, and reaches over 95 % of their peak from the second-level cache.

#![expect(unsafe_code, reason = "registers are loaded by pointers")]

use std::arch::x86_64::{
    __m256, __m512, _MM_HINT_T0, _mm_prefetch, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_permute2f128_ps,
    _mm256_set1_ps, _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_storeu_ps,
};

use super::gemm::PANEL;

/// What the columns of a right operand must be a multiple of to be read as it lies: the widest register.
pub(super) const WHOLE: usize = 16;

/// Most rows of a tile.
const MOST_ROWS: usize = 8;

/// The instruction sets that have micro-kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isa {
    /// 16 lanes.
    Avx512,
    /// 8 lanes.
    Avx2,
}

impl Isa {
    /// The best one of this machine.
    pub(super) fn detect() -> Option<Isa> {
        let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        if fma && is_x86_feature_detected!("avx512f") {
            return Some(Isa::Avx512);
        }
        fma.then_some(Isa::Avx2)
    }
}

/// `c = alpha a b`, or `c += alpha a b`, for one panel of columns: a `[rows, depth]`, b `[depth, width]`, c `[rows, width]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    /// Rows of a and c.
    pub(super) rows: usize,
    /// Columns of b and c, at most [`PANEL`].
    pub(super) width: usize,
    /// Columns of a, rows of b.
    pub(super) depth: usize,
    /// The factor.
    pub(super) alpha: f32,
    /// The left operand, and its elements from row to row and from column to column.
    pub(super) a: (*const f32, usize, usize),
    /// The right operand, and its elements from row to row. The width rounded up to [`WHOLE`] columns can be read.
    pub(super) b: (*const f32, usize),
    /// The result, and its elements from row to row.
    pub(super) c: (*mut f32, usize),
    /// Whether the product is added to what c holds.
    pub(super) accumulate: bool,
}

impl Product {
    /// Runs it on `isa`.
    ///
    /// # Safety
    /// The machine has `isa`; the operands can be read and the result written as described, which overlaps neither.
    pub(super) unsafe fn run(self, isa: Isa) {
        // SAFETY: passed on to the caller.
        unsafe {
            match isa {
                Isa::Avx512 => avx512(self),
                Isa::Avx2 => avx2(self),
            }
        }
    }

    /// The same product from row `row` and column `column` of the result.
    #[inline(always)]
    unsafe fn from(self, row: usize, column: usize) -> Product {
        // SAFETY: the caller stays inside the operands.
        unsafe {
            Product {
                a: (self.a.0.add(row * self.a.1), self.a.1, self.a.2),
                b: (self.b.0.add(column), self.b.1),
                c: (self.c.0.add(row * self.c.1 + column), self.c.1),
                ..self
            }
        }
    }
}

/// A vector register of f32.
trait Lanes: Copy {
    const N: usize;
    /// Rows of a tile of two registers each that fit the register file beside the operands.
    const ROWS: usize;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(p: *const f32) -> Self;
    unsafe fn store(self, p: *mut f32);
    /// `self * b + c`.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
}

/// Implements [`Lanes`] by four intrinsics.
macro_rules! lanes {
    ($register:ty, $n:literal, $rows:literal, $splat:ident, $load:ident, $store:ident, $fma:ident) => {
        impl Lanes for $register {
            const N: usize = $n;
            const ROWS: usize = $rows;
            #[inline(always)]
            unsafe fn splat(x: f32) -> Self {
                // SAFETY: the caller runs on a machine with this register.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(p: *const f32) -> Self {
                // SAFETY: as above; the caller has as many elements there.
                unsafe { $load(p) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut f32) {
                // SAFETY: as above.
                unsafe { $store(p, self) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                // SAFETY: as for `splat`.
                unsafe { $fma(self, b, c) }
            }
        }
    };
}

lanes!(__m512, 16, 8, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps);
lanes!(__m256, 8, 6, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps);

#[target_feature(enable = "avx512f")]
unsafe fn avx512(product: Product) {
    // SAFETY: the caller has AVX-512; the rest is passed on.
    unsafe { panel::<__m512>(product) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(product: Product) {
    // SAFETY: the caller has AVX2 with FMA; the rest is passed on.
    unsafe { panel::<__m256>(product) }
}

/// Goes over a panel in columns of two registers, or one where no more are left.
#[inline(always)]
unsafe fn panel<L: Lanes>(product: Product) {
    let mut column = 0;
    while column < product.width {
        let rest = product.width - column;
        // SAFETY: `column` is inside the panel; what reaches past the width goes through a buffer.
        unsafe {
            let part = product.from(0, column);
            match rest {
                _ if rest >= 2 * L::N => rows::<L, 2>(part),
                _ if rest > L::N => narrow::<L, 2>(part, rest),
                _ if rest == L::N => rows::<L, 1>(part),
                _ => narrow::<L, 1>(part, rest),
            }
        }
        column += 2 * L::N;
    }
}

/// Columns that do not fill their registers: by way of a buffer, [`MOST_ROWS`] rows at a time.
#[inline(always)]
unsafe fn narrow<L: Lanes, const V: usize>(product: Product, width: usize) {
    let mut buffer = [0f32; MOST_ROWS * PANEL];
    let mut row = 0;
    while row < product.rows {
        let n = L::ROWS.min(product.rows - row);
        // SAFETY: the buffer holds `n` rows of V registers; c is touched in its width only.
        unsafe {
            let part = product.from(row, 0);
            let c = (buffer.as_mut_ptr(), PANEL);
            rows::<L, V>(Product { rows: n, c, accumulate: false, ..part });
            for r in 0..n {
                for j in 0..width {
                    let c = part.c.0.add(r * part.c.1 + j);
                    *c = buffer[r * PANEL + j] + if part.accumulate { *c } else { 0.0 };
                }
            }
        }
        row += n;
    }
}

/// All rows of V registers of columns, in tiles of about equal height.
#[inline(always)]
unsafe fn rows<L: Lanes, const V: usize>(product: Product) {
    let mut row = 0;
    while row < product.rows {
        let rest = product.rows - row;
        let n = rest.div_ceil(rest.div_ceil(L::ROWS));
        // SAFETY: `row + n` is at most the rows of the product.
        unsafe {
            let part = product.from(row, 0);
            match n {
                1 => tile::<L, 1, V>(part),
                2 => tile::<L, 2, V>(part),
                3 => tile::<L, 3, V>(part),
                4 => tile::<L, 4, V>(part),
                5 => tile::<L, 5, V>(part),
                6 => tile::<L, 6, V>(part),
                7 => tile::<L, 7, V>(part),
                _ => tile::<L, 8, V>(part),
            }
        }
        row += n;
    }
}

/// R rows of V registers of columns.
#[inline(always)]
unsafe fn tile<L: Lanes, const R: usize, const V: usize>(product: Product) {
    let Product {
        depth, alpha, a: (mut a, a_row, a_col), b: (mut b, b_row), c: (c, c_row), accumulate, ..
    } = product;
    // SAFETY: the caller has `R` rows, `depth` columns of a, as many rows of b, and R rows of V registers of c.
    unsafe {
        let zero = L::splat(0.0);
        let mut sums = [[zero; V]; R];
        // The result is seldom near: it is asked for while the sums are made.
        for r in 0..R {
            for v in 0..V {
                _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(r * c_row + v * L::N).cast());
            }
        }
        for _ in 0..depth {
            let mut right = [zero; V];
            for v in 0..V {
                right[v] = L::load(b.add(v * L::N));
            }
            for r in 0..R {
                let left = L::splat(*a.add(r * a_row));
                for v in 0..V {
                    sums[r][v] = left.mul_add(right[v], sums[r][v]);
                }
            }
            a = a.wrapping_add(a_col);
            b = b.wrapping_add(b_row);
        }
        let alpha = L::splat(alpha);
        for r in 0..R {
            for v in 0..V {
                let c = c.add(r * c_row + v * L::N);
                let before = if accumulate { L::load(c) } else { zero };
                alpha.mul_add(sums[r][v], before).store(c);
            }
        }
    }
}

/// `to[i * PANEL + j] = from[j * stride + i]` for `i` below `depth` and `j` below `width`.
///
/// # Safety
/// The machine has AVX2; both sides have these elements and do not overlap.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn transpose(from: *const f32, stride: usize, depth: usize, width: usize, to: *mut f32) {
    let (whole_i, whole_j) = (depth - depth % 8, width - width % 8);
    // SAFETY: every index below is inside `depth` and `width`.
    unsafe {
        for i in (0..whole_i).step_by(8) {
            for j in (0..whole_j).step_by(8) {
                transpose_8x8(from.add(j * stride + i), stride, to.add(i * PANEL + j));
            }
        }
        for i in 0..depth {
            for j in if i < whole_i { whole_j } else { 0 }..width {
                *to.add(i * PANEL + j) = *from.add(j * stride + i);
            }
        }
    }
}

/// Eight rows of eight, a row every `stride` elements, to eight columns, a row every [`PANEL`].
#[target_feature(enable = "avx2")]
unsafe fn transpose_8x8(from: *const f32, stride: usize, to: *mut f32) {
    // SAFETY: the caller has eight elements at each of the eight rows of both sides.
    unsafe {
        let mut rows = [_mm256_set1_ps(0.0); 8];
        for r in 0..8 {
            rows[r] = _mm256_loadu_ps(from.add(r * stride));
        }
        let mut pairs = rows;
        for r in (0..8).step_by(2) {
            pairs[r] = _mm256_unpacklo_ps(rows[r], rows[r + 1]);
            pairs[r + 1] = _mm256_unpackhi_ps(rows[r], rows[r + 1]);
        }
        let mut fours = rows;
        for r in [0, 4] {
            fours[r] = _mm256_shuffle_ps::<0x44>(pairs[r], pairs[r + 2]);
            fours[r + 1] = _mm256_shuffle_ps::<0xee>(pairs[r], pairs[r + 2]);
            fours[r + 2] = _mm256_shuffle_ps::<0x44>(pairs[r + 1], pairs[r + 3]);
            fours[r + 3] = _mm256_shuffle_ps::<0xee>(pairs[r + 1], pairs[r + 3]);
        }
        for r in 0..4 {
            let (low, high) = (fours[r], fours[r + 4]);
            _mm256_storeu_ps(to.add(r * PANEL), _mm256_permute2f128_ps::<0x20>(low, high));
            _mm256_storeu_ps(to.add((r + 4) * PANEL), _mm256_permute2f128_ps::<0x31>(low, high));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, step: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * step).sin()).collect()
    }

    /// Every height and many widths of a tile, on every instruction set that this machine has.
    #[test]
    fn panels_match_three_loops() {
        let best = Isa::detect();
        let sets: &[Isa] = match best {
            Some(Isa::Avx512) => &[Isa::Avx512, Isa::Avx2],
            Some(Isa::Avx2) => &[Isa::Avx2],
            None => &[],
        };
        for (&isa, rows) in sets.iter().flat_map(|isa| (1..20).map(move |rows| (isa, rows))) {
            for (width, depth) in [(32, 7), (31, 1), (17, 9), (16, 5), (15, 3), (9, 4), (8, 2), (1, 6)] {
                let (a, b) = (numbers(rows * depth, 0.7), numbers(depth * PANEL, 0.3));
                let mut c = numbers(rows * 40, 0.1);
                let start = c.clone();
                let accumulate = rows % 2 == 0;
                // SAFETY: a is [rows, depth], b [depth, PANEL], c [rows, 40], all dense; the machine has `isa`.
                unsafe {
                    let (a, b) = ((a.as_ptr(), depth, 1), (b.as_ptr(), PANEL));
                    let c = (c.as_mut_ptr(), 40);
                    Product { rows, width, depth, alpha: 0.5, a, b, c, accumulate }.run(isa);
                }
                for (i, (c, start)) in c.iter().zip(&start).enumerate() {
                    let (r, j) = (i / 40, i % 40);
                    let dot: f32 = (0..depth).map(|k| a[r * depth + k] * b[k * PANEL + j.min(31)]).sum();
                    let before = if accumulate { *start } else { 0.0 };
                    let expected = if j < width { before + 0.5 * dot } else { *start };
                    assert!((c - expected).abs() < 1e-5, "{isa:?} [{rows}, {depth}] x {width} at {r}, {j}");
                }
            }
        }
    }

    #[test]
    fn transposes() {
        if Isa::detect().is_none() {
            return;
        }
        for (depth, width) in [(8, 8), (17, 32), (5, 3), (40, 20)] {
            let from = numbers(width * (depth + 3), 0.7);
            let mut to = vec![9.0; depth * PANEL];
            // SAFETY: `from` has `width` rows of depth + 3, `to` has `depth` rows of PANEL; AVX2 was detected.
            unsafe { transpose(from.as_ptr(), depth + 3, depth, width, to.as_mut_ptr()) };
            for i in 0..depth {
                for j in 0..PANEL {
                    let expected = if j < width { from[j * (depth + 3) + i] } else { 9.0 };
                    assert_eq!(to[i * PANEL + j], expected);
                }
            }
        }
    }
}
