//! Matrix products, each on one core (the trainer is parallel by data): f32 on x86-64 by the micro-kernels of `tiles`, all else by
//! the `gemm` crate.

#[cfg(target_arch = "x86_64")]
use std::cell::RefCell;

use crate::float::Float;
#[cfg(target_arch = "x86_64")]
use crate::ops::tiles::{self, Isa, Product};
use crate::pool::Pool;

/// Columns of a panel: what a micro-kernel multiplies at a time.
pub(super) const PANEL: usize = 32;

/// A strided matrix inside a slice, to read.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// A strided matrix inside a slice, to write.
#[derive(Debug)]
pub struct ViewMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

/// Elements that a matrix of these strides spans.
fn extent(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> usize {
    if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + (cols - 1) * col_stride + 1 }
}

impl<'a, T> View<'a, T> {
    /// `rows` x `cols` at the start of `data`, row-major and dense.
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `rows` x `cols` at the start of `data`, a row every `row_stride` elements.
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn strided(data: &'a [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(extent(rows, cols, row_stride, 1) <= data.len(), "matrix reaches past its slice");
        View { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose: the same elements, axes swapped.
    pub fn t(self) -> Self {
        View {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// Asserts that every element is inside the slice.
    fn check(self) {
        assert!(extent(self.rows, self.cols, self.row_stride, self.col_stride) <= self.data.len());
    }

    /// `rows` x `cols` elements from `row` and `col`.
    pub(crate) fn part(self, (row, col): (usize, usize), (rows, cols): (usize, usize)) -> Self {
        let at = (row * self.row_stride + col * self.col_stride).min(self.data.len());
        View { data: &self.data[at..], rows, cols, ..self }
    }
}

impl<'a, T> ViewMut<'a, T> {
    /// `rows` x `cols` at the start of `data`, row-major and dense.
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `rows` x `cols` at the start of `data`, a row every `row_stride` elements.
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn strided(data: &'a mut [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(extent(rows, cols, row_stride, 1) <= data.len(), "matrix reaches past its slice");
        ViewMut { data, rows, cols, row_stride }
    }
}

/// A type of numbers and who multiplies matrices of them.
pub trait Multiply: Sized {
    /// `c = alpha a b`, or `c += alpha a b`, by kernels of this project; `false` where they do not run, with c as it was. The
    /// sizes agree, and every element is inside its slice.
    #[doc(hidden)]
    fn multiply(_: Self, _: View<'_, Self>, _: View<'_, Self>, _: bool, _: &mut ViewMut<'_, Self>) -> bool {
        false
    }

    /// The same with a right operand in panels.
    #[doc(hidden)]
    fn multiply_packed(_: View<'_, Self>, _: &[Self], _: bool, _: &mut ViewMut<'_, Self>) -> bool {
        false
    }

    /// Copies b, whose columns are contiguous, into a panel; `false` where no kernel does.
    #[doc(hidden)]
    fn transpose(_: View<'_, Self>, _: &mut [Self]) -> bool {
        false
    }
}

impl Multiply for f64 {}

#[cfg(not(target_arch = "x86_64"))]
impl Multiply for f32 {}

#[cfg(target_arch = "x86_64")]
impl Multiply for f32 {
    fn multiply(
        alpha: f32,
        a: View<'_, f32>,
        b: View<'_, f32>,
        accumulate: bool,
        c: &mut ViewMut<'_, f32>,
    ) -> bool {
        let isa = Isa::detect();
        if let Some(isa) = isa {
            multiply_blocked(isa, alpha, a, b, accumulate, c);
        }
        isa.is_some()
    }

    fn multiply_packed(a: View<'_, f32>, panels: &[f32], accumulate: bool, c: &mut ViewMut<'_, f32>) -> bool {
        let isa = Isa::detect();
        if let Some(isa) = isa {
            let columns = c.cols;
            multiply_panels(isa, 1.0, a, Right::Panels(panels), accumulate, c, (0, 0, columns));
        }
        isa.is_some()
    }

    fn transpose(b: View<'_, f32>, panel: &mut [f32]) -> bool {
        b.check();
        assert!(b.row_stride == 1 && b.cols <= PANEL && b.rows * PANEL <= panel.len(), "a panel of columns");
        let isa = Isa::detect();
        if isa.is_some() {
            #[expect(unsafe_code, reason = "the kernel takes pointers")]
            // SAFETY: the checks above; every instruction set of the kernels includes AVX2.
            unsafe {
                tiles::transpose(b.data.as_ptr(), b.col_stride, b.rows, b.cols, panel.as_mut_ptr());
            }
        }
        isa.is_some()
    }
}

/// The right operand as the micro-kernels read it.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
enum Right<'a> {
    /// `[n / PANEL][k][PANEL]`, as [`pack`] writes it.
    Panels(&'a [f32]),
    /// As it lies: contiguous rows, of a multiple of [`tiles::WHOLE`] columns.
    Rows(View<'a, f32>),
}

/// Rows of a block of the left operand: with the depth 128 KiB, which stay in the second-level cache beside a panel of the right one.
#[cfg(target_arch = "x86_64")]
const BLOCK_ROWS: usize = 64;
/// Rows of a block of the right operand, columns of one of the left: sums stay in registers for so long.
#[cfg(target_arch = "x86_64")]
const BLOCK_DEPTH: usize = 512;
/// Columns of a block of the right operand: with the depth 2 MiB, for the third-level cache; a block of the left operand that must be
/// copied is copied once for so many.
#[cfg(target_arch = "x86_64")]
const BLOCK_COLUMNS: usize = 1024;
/// Elements that an operand read by columns, or a right operand, may span without being copied: beyond, its pages are too many.
#[cfg(target_arch = "x86_64")]
const NEAR: usize = 1 << 17;

#[cfg(target_arch = "x86_64")]
thread_local! {
    /// Copies of blocks of the left and right operand, kept from product to product.
    static BLOCKS: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Cuts a product into blocks that stay in the second-level cache, and copies what the micro-kernels cannot read well.
#[cfg(target_arch = "x86_64")]
fn multiply_blocked(
    isa: Isa,
    alpha: f32,
    a: View<'_, f32>,
    b: View<'_, f32>,
    accumulate: bool,
    c: &mut ViewMut<'_, f32>,
) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    let far = |rows: usize, stride: usize| rows * stride > NEAR;
    let copy_left = a.col_stride != 1 && far(k, a.col_stride);
    let copy_right = b.col_stride != 1 || !n.is_multiple_of(tiles::WHOLE) || far(k, b.row_stride);
    BLOCKS.with_borrow_mut(|[left, right]| {
        for l in (0..k.max(1)).step_by(BLOCK_DEPTH) {
            let depth = BLOCK_DEPTH.min(k - l);
            for j in (0..n).step_by(BLOCK_COLUMNS) {
                let columns = BLOCK_COLUMNS.min(n - j);
                let block = b.part((l, j), (depth, columns));
                let right = if copy_right {
                    right.resize(right.len().max(panels_len(depth, columns)), 0.0);
                    pack(block, right);
                    Right::Panels(right)
                } else {
                    Right::Rows(block)
                };
                for i in (0..m).step_by(BLOCK_ROWS) {
                    let rows = BLOCK_ROWS.min(m - i);
                    let mut part = a.part((i, l), (rows, depth));
                    if copy_left {
                        left.resize(BLOCK_ROWS * BLOCK_DEPTH, 0.0);
                        for (to, k) in left.chunks_exact_mut(rows).zip(0..depth) {
                            to.copy_from_slice(&part.data[k * part.col_stride..][..rows]);
                        }
                        part = View { data: left, row_stride: 1, col_stride: rows, ..part };
                    }
                    multiply_panels(isa, alpha, part, right, accumulate || l > 0, c, (i, j, columns));
                }
            }
        }
    });
}

/// The product of a and b, one panel after the other, written to `columns` columns of c from row `i` and column `j`.
#[cfg(target_arch = "x86_64")]
fn multiply_panels(
    isa: Isa,
    alpha: f32,
    a: View<'_, f32>,
    b: Right<'_>,
    accumulate: bool,
    c: &mut ViewMut<'_, f32>,
    (i, j, columns): (usize, usize, usize),
) {
    let (rows, depth, c_row) = (a.rows, a.cols, c.row_stride);
    a.check();
    for first in (0..columns).step_by(PANEL) {
        let width = PANEL.min(columns - first);
        let (right, b_row) = match b {
            Right::Panels(data) => (&data[first * depth..][..depth * PANEL], PANEL),
            Right::Rows(b) => (b.part((0, first), (depth, width)).data, b.row_stride),
        };
        assert!(extent(depth, width.next_multiple_of(tiles::WHOLE), b_row, 1) <= right.len());
        let at = (i * c_row + j + first).min(c.data.len());
        let c = &mut c.data[at..];
        assert!(extent(rows, width, c_row, 1) <= c.len(), "a product must fit its destination");
        let (a, b) = ((a.data.as_ptr(), a.row_stride, a.col_stride), (right.as_ptr(), b_row));
        let product = Product { rows, width, depth, alpha, a, b, c: (c.as_mut_ptr(), c_row), accumulate };
        #[expect(unsafe_code, reason = "the micro-kernels take pointers")]
        // SAFETY: the checks above keep every element inside its slice; c is borrowed mutably, and so overlaps neither operand;
        // `isa` was detected.
        unsafe {
            product.run(isa);
        }
    }
}

/// Elements of a right operand `[k, n]` in panels.
fn panels_len(k: usize, n: usize) -> usize {
    n.next_multiple_of(PANEL) * k
}

/// Copies b `[k, n]` into panels `[n / PANEL][k][PANEL]`; what is past its last column means nothing.
fn pack<T: Float>(b: View<'_, T>, panels: &mut [T]) {
    for (p, panel) in
        panels.chunks_exact_mut((b.rows * PANEL).max(1)).take(b.cols.div_ceil(PANEL)).enumerate()
    {
        let width = PANEL.min(b.cols - p * PANEL);
        let from = b.part((0, p * PANEL), (b.rows, width));
        if from.row_stride == 1 && from.col_stride != 1 && T::transpose(from, panel) {
            continue;
        }
        for (i, to) in panel.chunks_exact_mut(PANEL).enumerate() {
            let row = &from.data[i * from.row_stride..];
            match from.col_stride {
                1 => to[..width].copy_from_slice(&row[..width]),
                stride => to[..width].iter_mut().zip(row.iter().step_by(stride)).for_each(|(t, &f)| *t = f),
            }
        }
    }
}

/// A right operand in the order in which products read it, for many products with few rows each: as it lies in the store it would
/// be read with a stride of up to a page, again for every one of them.
#[derive(Debug)]
pub(crate) struct Packed<T> {
    panels: Vec<T>,
    k: usize,
    n: usize,
}

impl<T: Float> Packed<T> {
    /// Copies b `[k, n]`.
    pub(crate) fn new(pool: &mut Pool<T>, b: View<'_, T>) -> Self {
        b.check();
        let mut panels = pool.take(panels_len(b.rows, b.cols));
        pack(b, &mut panels);
        Packed { panels, k: b.rows, n: b.cols }
    }

    /// `c = a b`, or `c += a b` when `accumulate`: a `[rows, k]`, c `[rows, n]`.
    ///
    /// # Panics
    /// If the sizes disagree.
    pub(crate) fn multiply(&self, a: View<'_, T>, accumulate: bool, mut c: ViewMut<'_, T>) {
        assert_eq!((a.cols, c.rows, c.cols), (self.k, a.rows, self.n), "a product with a packed operand");
        if T::multiply_packed(a, &self.panels, accumulate, &mut c) {
            return;
        }
        for (p, panel) in self.panels.chunks_exact((self.k * PANEL).max(1)).enumerate() {
            let width = PANEL.min(self.n - p * PANEL);
            let c = ViewMut::strided(&mut c.data[p * PANEL..], c.rows, width, c.row_stride);
            gemm(T::ONE, a, View::strided(panel, self.k, width, PANEL), accumulate, c);
        }
    }

    /// Gives the copy back.
    pub(crate) fn give(self, pool: &mut Pool<T>) {
        pool.give(self.panels);
    }
}

/// `c = alpha a b`, or `c += alpha a b` when `accumulate`.
///
/// # Panics
/// If the inner or outer sizes disagree.
pub fn gemm<T: Float>(alpha: T, a: View<'_, T>, b: View<'_, T>, accumulate: bool, mut c: ViewMut<'_, T>) {
    assert_eq!(a.cols, b.rows, "inner sizes of a product must be equal");
    assert_eq!((a.rows, b.cols), (c.rows, c.cols), "a product must fit its destination");
    a.check();
    b.check();
    assert!(extent(c.rows, c.cols, c.row_stride, 1) <= c.data.len());
    if T::multiply(alpha, a, b, accumulate, &mut c) {
        return;
    }
    #[expect(unsafe_code, reason = "the gemm crate takes pointers")]
    // SAFETY: the asserts above keep every element that the strides reach inside its slice; the slices are
    // borrowed for the call, `c` mutably, so that it overlaps neither operand; T is f32 or f64 (`Float` is
    // sealed), both of which the crate implements; strides fit isize because extents do.
    unsafe {
        gemm::gemm(
            c.rows,
            c.cols,
            a.cols,
            c.data.as_mut_ptr(),
            1,
            c.row_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            T::ONE,
            alpha,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, step: f64) -> Vec<f64> {
        (0..n).map(|i| (i as f64 * step).sin()).collect()
    }

    fn narrow(x: &[f64]) -> Vec<f32> {
        x.iter().map(|&x| x as f32).collect()
    }

    /// Sizes with and without rest in every direction, some past one block, in both types and all orders of the operands.
    #[test]
    fn matches_three_loops() {
        let sizes = [
            (1, 1, 1),
            (3, 5, 2),
            (17, 9, 33),
            (40, 70, 65),
            (4, 0, 3),
            (4, 3, 0),
            (16, 64, 32),
            (150, 37, 300),
            (9, 530, 520),
            (70, 1030, 5),
        ];
        for ((m, n, k), order) in sizes.into_iter().flat_map(|size| (0..4).map(move |order| (size, order))) {
            let (a_by_columns, b_by_columns) = (order & 1 > 0, order & 2 > 0);
            let (a, b) = (numbers((m + 2) * (k + 2), 0.7), numbers((n + 2) * (k + 2), 0.3));
            let a_at = |i: usize, l: usize| a[if a_by_columns { l * (m + 2) + i } else { i * (k + 2) + l }];
            let b_at = |l: usize, j: usize| b[if b_by_columns { j * (k + 2) + l } else { l * (n + 2) + j }];
            fn views<'a, T>(
                a: &'a [T],
                b: &'a [T],
                (m, n, k): (usize, usize, usize),
                order: usize,
            ) -> [View<'a, T>; 2] {
                let a = if order & 1 > 0 {
                    View::strided(a, k, m, m + 2).t()
                } else {
                    View::strided(a, m, k, k + 2)
                };
                let b = if order & 2 > 0 {
                    View::strided(b, n, k, k + 2).t()
                } else {
                    View::strided(b, k, n, n + 2)
                };
                [a, b]
            }
            for accumulate in [false, true] {
                let start: Vec<f64> = (0..m * n).map(|i| (i % 10) as f64).collect();
                let (mut c, mut c32) = (start.clone(), narrow(&start));
                let [left, right] = views(&a, &b, (m, n, k), order);
                gemm(0.5, left, right, accumulate, ViewMut::new(&mut c, m, n));
                let (a32, b32) = (narrow(&a), narrow(&b));
                let [left, right] = views(&a32, &b32, (m, n, k), order);
                gemm(0.5, left, right, accumulate, ViewMut::new(&mut c32, m, n));
                for i in 0..m * n {
                    let dot: f64 = (0..k).map(|l| a_at(i / n, l) * b_at(l, i % n)).sum();
                    let expected = 0.5 * dot + if accumulate { start[i] } else { 0.0 };
                    assert!((c[i] - expected).abs() < 1e-12);
                    assert!(
                        (f64::from(c32[i]) - expected).abs() < 1e-4,
                        "[{m}, {k}] [{k}, {n}] order {order}"
                    );
                }
            }
        }
    }

    #[test]
    fn packed_operands_multiply() {
        let (rows, k, n) = (3, 5, 2 * PANEL + 7);
        let (a, w) = (numbers(rows * k, 0.7), numbers(n * k, 0.7));
        let (a32, w32) = (narrow(&a), narrow(&w));
        let mut pools = (Pool::new(), Pool::new());
        for transposed in [true, false] {
            let (mut c, mut c32) = (vec![1.0; rows * n], vec![1f32; rows * n]);
            let b = if transposed { View::new(&w, n, k).t() } else { View::new(&w, k, n) };
            let b32 = if transposed { View::new(&w32, n, k).t() } else { View::new(&w32, k, n) };
            let packed = Packed::new(&mut pools.0, b);
            packed.multiply(View::new(&a, rows, k), true, ViewMut::new(&mut c, rows, n));
            packed.give(&mut pools.0);
            let packed = Packed::new(&mut pools.1, b32);
            packed.multiply(View::new(&a32, rows, k), true, ViewMut::new(&mut c32, rows, n));
            packed.give(&mut pools.1);
            for (i, (&c, &c32)) in c.iter().zip(&c32).enumerate() {
                let (r, j) = (i / n, i % n);
                let b = |l: usize| if transposed { w[j * k + l] } else { w[l * n + j] };
                let expected = 1.0 + (0..k).map(|l| a[r * k + l] * b(l)).sum::<f64>();
                assert!((c - expected).abs() < 1e-12 && (f64::from(c32) - expected).abs() < 1e-5);
            }
        }
    }

    #[test]
    #[should_panic(expected = "past its slice")]
    fn views_are_checked() {
        View::strided(&[0f32; 10], 3, 4, 4);
    }
}
