//! Outputs that a team of threads writes together, each its own part.
//!
//! [`Split`] is what makes this safe to use: the team hands every part of an output to exactly one thread, and a part
//! is all of the output that the thread can reach.

use std::marker::PhantomData;
use std::ops::Range;

/// An output that can be cut in disjoint parts, one per range of work items.
///
/// # Safety
/// The parts of two ranges without a common item must not share memory, and a part must stay valid without `self`.
pub unsafe trait Split: Sync {
    /// What the thread that works on the items gets.
    type Part;

    /// The part of `items`.
    ///
    /// # Safety
    /// No item may be asked for twice in the life of `self`.
    unsafe fn part(&self, items: Range<usize>) -> Self::Part;
}

/// Columns of a row-major matrix, `width` of every row `stride` apart.
#[derive(Debug)]
pub struct Strip<'a> {
    data: *mut f32,
    rows: usize,
    stride: usize,
    width: usize,
    life: PhantomData<&'a mut [f32]>,
}

impl<'a> Strip<'a> {
    /// All columns of `data` `[rows, width]`.
    ///
    /// # Panics
    /// When `data` has another length.
    pub fn new(data: &'a mut [f32], rows: usize, width: usize) -> Self {
        assert_eq!(data.len(), rows * width, "a strip of {rows} rows of {width}");
        Strip { data: data.as_mut_ptr(), rows, stride: width, width, life: PhantomData }
    }

    /// Rows, one a token.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The strip's part of row `i`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: whoever made the strip had exclusive use of `width` floats from `data + i * stride` for every
        // i < rows, for 'a; the borrow of self keeps rows from being handed out twice.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(i * self.stride), self.width) }
    }
}

// SAFETY: a strip is an exclusive borrow of its floats, and floats may be written from any thread.
unsafe impl Send for Strip<'_> {}

/// A matrix `[rows, width]` that is cut in strips of columns, `unit` of them an item.
#[derive(Debug)]
pub struct Columns<'a> {
    data: *mut f32,
    rows: usize,
    width: usize,
    unit: usize,
    life: PhantomData<&'a mut [f32]>,
}

impl<'a> Columns<'a> {
    /// Cuts `data` `[rows, width]`; the last item may have fewer than `unit` columns.
    ///
    /// # Panics
    /// When `data` has another length.
    pub fn new(data: &'a mut [f32], rows: usize, width: usize, unit: usize) -> Self {
        assert_eq!(data.len(), rows * width, "columns of {rows} rows of {width}");
        Columns { data: data.as_mut_ptr(), rows, width, unit, life: PhantomData }
    }
}

// SAFETY: sharing it gives no access to the floats but through the unsafe `part`.
unsafe impl Sync for Columns<'_> {}

// SAFETY: items are disjoint ranges of columns.
unsafe impl<'a> Split for Columns<'a> {
    type Part = Strip<'a>;

    unsafe fn part(&self, items: Range<usize>) -> Strip<'a> {
        let start = (items.start * self.unit).min(self.width);
        let end = (items.end * self.unit).min(self.width);
        // SAFETY: start <= width, so the pointer stays inside the matrix or at its first row's end.
        let data = unsafe { self.data.add(start) };
        Strip { data, rows: self.rows, stride: self.width, width: end.max(start) - start, life: PhantomData }
    }
}

/// A slice that is cut in blocks of `unit` elements, one an item.
#[derive(Debug)]
pub struct Blocks<'a, T> {
    data: *mut T,
    len: usize,
    unit: usize,
    life: PhantomData<&'a mut [T]>,
}

impl<'a, T: Send> Blocks<'a, T> {
    /// Cuts `data`; the last block may be shorter.
    pub fn new(data: &'a mut [T], unit: usize) -> Self {
        Blocks { data: data.as_mut_ptr(), len: data.len(), unit, life: PhantomData }
    }
}

// SAFETY: sharing it gives no access to the elements but through the unsafe `part`, and they are Send.
unsafe impl<T: Send> Sync for Blocks<'_, T> {}

// SAFETY: items are disjoint blocks.
unsafe impl<'a, T: Send> Split for Blocks<'a, T> {
    type Part = &'a mut [T];

    unsafe fn part(&self, items: Range<usize>) -> &'a mut [T] {
        let start = (items.start * self.unit).min(self.len);
        let end = (items.end * self.unit).min(self.len).max(start);
        // SAFETY: start..end is inside the slice, exclusively borrowed for 'a, and no other part has these
        // items.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), end - start) }
    }
}

macro_rules! split_tuple {
    ($($name:ident $index:tt),+) => {
        // SAFETY: each member is split by the same items and keeps its own promise.
        unsafe impl<$($name: Split),+> Split for ($($name,)+) {
            type Part = ($($name::Part,)+);

            unsafe fn part(&self, items: Range<usize>) -> Self::Part {
                // SAFETY: the caller's promise holds for every member.
                unsafe { ($(self.$index.part(items.clone()),)+) }
            }
        }
    };
}

split_tuple!(A 0, B 1);
split_tuple!(A 0, B 1, C 2);
split_tuple!(A 0, B 1, C 2, D 3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_cover_the_matrix_once() {
        let mut data = vec![0.0; 3 * 21];
        let columns = Columns::new(&mut data, 3, 21, 8);
        for item in 0..3 {
            // SAFETY: each item is asked for once.
            let mut strip = unsafe { columns.part(item..item + 1) };
            for row in 0..3 {
                assert_eq!(strip.row(row).len(), if item == 2 { 5 } else { 8 });
                strip.row(row).iter_mut().for_each(|x| *x += 1.0);
            }
        }
        assert!(data.iter().all(|x| *x == 1.0));
    }

    #[test]
    fn items_beyond_the_end_are_empty() {
        let mut data = vec![0u8; 10];
        let blocks = Blocks::new(&mut data, 4);
        // SAFETY: each item is asked for once.
        unsafe {
            assert_eq!(blocks.part(2..3).len(), 2);
            assert_eq!(blocks.part(3..9).len(), 0);
        }
    }
}
