//! Where things lie: handles of tape values, ranges of the flat parameter store, rows of a batch.
//!
//! Every activation is a row-major matrix `[rows, cols]`, one row per token of the batch. Every parameter is a
//! range of one flat slice, so that a gradient, an optimiser's moment and an average have the same shape: a `Vec`.

use std::ops::Range;

/// A value on a [`crate::tape::Tape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Var(pub(crate) usize);

/// A weight matrix `[rows = out features, cols = in features]`, row-major, in the flat parameter slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// First element.
    pub offset: usize,
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
}

/// A vector (bias, norm weight) in the flat parameter slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector {
    /// First element.
    pub offset: usize,
    /// Number of elements.
    pub len: usize,
}

impl Matrix {
    /// Its range of the flat slice.
    pub fn range(self) -> Range<usize> {
        self.offset..self.offset + self.rows * self.cols
    }

    /// `self` with the rows of `next`, which must follow it in the store, below its own: one product does both.
    ///
    /// # Panics
    /// If `next` does not follow directly or has other columns.
    pub fn stacked(self, next: Matrix) -> Matrix {
        assert_eq!(self.range().end, next.offset, "stacked matrices must be neighbours in the store");
        assert_eq!(self.cols, next.cols, "stacked matrices need equal columns");
        Matrix { rows: self.rows + next.rows, ..self }
    }
}

impl Vector {
    /// Its range of the flat slice.
    pub fn range(self) -> Range<usize> {
        self.offset..self.offset + self.len
    }

    /// `self` followed by `next`, its neighbour in the store.
    ///
    /// # Panics
    /// If `next` does not follow directly.
    pub fn stacked(self, next: Vector) -> Vector {
        assert_eq!(self.range().end, next.offset, "stacked vectors must be neighbours in the store");
        Vector { len: self.len + next.len, ..self }
    }
}

/// How the rows of an activation map to sequences: `batch` sequences of `len` tokens.
///
/// Recurrent stacks want all sequences' step t side by side (time-major: row `t * batch + b`), so that a step is
/// one contiguous product; pure Transformers keep a sequence together (row `b * len + t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Number of sequences.
    pub batch: usize,
    /// Tokens of each.
    pub len: usize,
    /// Rows go by time first.
    pub time_major: bool,
}

impl Layout {
    /// Number of rows.
    pub fn rows(self) -> usize {
        self.batch * self.len
    }

    /// Row of token `t` of sequence `b`.
    #[inline]
    pub fn row(self, b: usize, t: usize) -> usize {
        if self.time_major { t * self.batch + b } else { b * self.len + t }
    }

    /// Sequence and position of a row.
    #[inline]
    pub fn place(self, row: usize) -> (usize, usize) {
        if self.time_major { (row % self.batch, row / self.batch) } else { (row / self.len, row % self.len) }
    }

    /// Rows between a token and the next token of its sequence.
    #[inline]
    pub fn time_stride(self) -> usize {
        if self.time_major { self.batch } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_places_agree() {
        for time_major in [false, true] {
            let layout = Layout { batch: 3, len: 5, time_major };
            for b in 0..3 {
                for t in 0..5 {
                    assert_eq!(layout.place(layout.row(b, t)), (b, t));
                    if t > 0 {
                        assert_eq!(layout.row(b, t) - layout.row(b, t - 1), layout.time_stride());
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "neighbours")]
    fn only_neighbours_stack() {
        let a = Matrix { offset: 0, rows: 2, cols: 3 };
        a.stacked(Matrix { offset: 7, rows: 2, cols: 3 });
    }
}
