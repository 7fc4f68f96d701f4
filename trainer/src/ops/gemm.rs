//! Matrix products: a safe face on the `gemm` crate, single-threaded (the trainer is parallel by data).

use crate::float::Float;

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
    col_stride: usize,
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
        ViewMut { data, rows, cols, row_stride, col_stride: 1 }
    }
}

/// `c = alpha a b`, or `c += alpha a b` when `accumulate`.
///
/// # Panics
/// If the inner or outer sizes disagree.
pub fn gemm<T: Float>(alpha: T, a: View<'_, T>, b: View<'_, T>, accumulate: bool, c: ViewMut<'_, T>) {
    assert_eq!(a.cols, b.rows, "inner sizes of a product must be equal");
    assert_eq!((a.rows, b.cols), (c.rows, c.cols), "a product must fit its destination");
    assert!(extent(a.rows, a.cols, a.row_stride, a.col_stride) <= a.data.len());
    assert!(extent(b.rows, b.cols, b.row_stride, b.col_stride) <= b.data.len());
    assert!(extent(c.rows, c.cols, c.row_stride, c.col_stride) <= c.data.len());
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
            c.col_stride as isize,
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

    #[test]
    fn matches_three_loops() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 2), (17, 9, 33), (40, 70, 65), (4, 0, 3), (4, 3, 0)] {
            let a: Vec<f64> = (0..m * (k + 2)).map(|i| (i as f64 * 0.7).sin()).collect();
            let b: Vec<f64> = (0..n * k).map(|i| (i as f64 * 0.3).cos()).collect();
            let start: Vec<f64> = (0..m * n).map(|i| i as f64).collect();
            for accumulate in [false, true] {
                let mut c = start.clone();
                let (left, right) = (View::strided(&a, m, k, k + 2), View::new(&b, n, k).t());
                gemm(0.5, left, right, accumulate, ViewMut::new(&mut c, m, n));
                for i in 0..m {
                    for j in 0..n {
                        let dot: f64 = (0..k).map(|l| a[i * (k + 2) + l] * b[j * k + l]).sum();
                        let expected = 0.5 * dot + if accumulate { start[i * n + j] } else { 0.0 };
                        assert!((c[i * n + j] - expected).abs() < 1e-12);
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "past its slice")]
    fn views_are_checked() {
        View::strided(&[0f32; 10], 3, 4, 4);
    }
}
