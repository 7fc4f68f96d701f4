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

/// Columns of a row-major matrix: `width` elements of every row, rows `stride` apart.
#[derive(Debug)]
pub struct Strip<'a, T = f32> {
    data: *mut T,
    rows: usize,
    stride: usize,
    width: usize,
    life: PhantomData<&'a mut [T]>,
}

impl<'a, T> Strip<'a, T> {
    /// All columns of `data` `[rows, width]`.
    ///
    /// # Panics
    /// When `data` has another length.
    pub fn new(data: &'a mut [T], rows: usize, width: usize) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(width), "a strip of {rows} rows of {width}");
        Strip { data: data.as_mut_ptr(), rows, stride: width, width, life: PhantomData }
    }

    /// Rows, one a token.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The strip's part of row `i`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: whoever made the strip had exclusive use of `width` elements from `data + i * stride` for every
        // i < rows, for 'a; the borrow of self keeps a row from being handed out twice.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(i * self.stride), self.width) }
    }

    /// The columns before `at` and those from `at` on.
    ///
    /// # Panics
    /// When the strip has fewer than `at` columns.
    pub fn split(self, at: usize) -> (Strip<'a, T>, Strip<'a, T>) {
        assert!(at <= self.width, "column {at} of {}", self.width);
        let Strip { data, rows, stride, width, life } = self;
        // SAFETY: at <= width, so the pointer stays inside the first row or at its end.
        let second = unsafe { data.add(at) };
        (
            Strip { data, rows, stride, width: at, life },
            Strip { data: second, rows, stride, width: width - at, life },
        )
    }

    /// Columns `start..end` for as long as the borrow lasts.
    ///
    /// # Panics
    /// When the strip has fewer columns.
    pub fn columns(&mut self, columns: Range<usize>) -> Strip<'_, T> {
        assert!(
            columns.start <= columns.end && columns.end <= self.width,
            "columns {columns:?} of {}",
            self.width
        );
        // SAFETY: start <= width, so the pointer stays inside the first row or at its end.
        let data = unsafe { self.data.add(columns.start) };
        Strip { data, rows: self.rows, stride: self.stride, width: columns.len(), life: PhantomData }
    }
}

// SAFETY: a strip is an exclusive borrow of its elements, and they may be written from any thread.
unsafe impl<T: Send> Send for Strip<'_, T> {}

/// A strip that the team cuts in narrower ones, `unit` columns an item.
#[derive(Debug)]
pub struct Columns<'a, T = f32> {
    strip: Strip<'a, T>,
    unit: usize,
}

impl<'a, T: Send> Columns<'a, T> {
    /// Cuts `strip`; the last item may have fewer than `unit` columns.
    pub fn new(strip: Strip<'a, T>, unit: usize) -> Self {
        Columns { strip, unit }
    }
}

// SAFETY: sharing it gives no access to the elements but through the unsafe `part`, and they are Send.
unsafe impl<T: Send> Sync for Columns<'_, T> {}

// SAFETY: items are disjoint ranges of columns, borrowed for 'a.
unsafe impl<'a, T: Send> Split for Columns<'a, T> {
    type Part = Strip<'a, T>;

    // SAFETY: the caller keeps the promise of `Split::part`.
    unsafe fn part(&self, items: Range<usize>) -> Strip<'a, T> {
        let Strip { data, rows, stride, width, life } = self.strip;
        let start = (items.start * self.unit).min(width);
        let end = (items.end * self.unit).min(width).max(start);
        // SAFETY: start <= width, so the pointer stays inside the first row or at its end.
        let data = unsafe { data.add(start) };
        Strip { data, rows, stride, width: end - start, life }
    }
}

/// A row-major matrix that the team cuts in rectangles: item `i` is the rows of band `i % bands` and the `unit` columns from
/// `i / bands * unit` on. Bands may be empty.
#[derive(Debug)]
pub struct Grid<'a, T = f32> {
    strip: Strip<'a, T>,
    bands: &'a [Range<usize>],
    unit: usize,
}

impl<'a, T: Send> Grid<'a, T> {
    /// Cuts `strip`; the last columns of a band may be fewer than `unit`.
    ///
    /// # Panics
    /// When the bands overlap, descend or leave the matrix.
    pub fn new(strip: Strip<'a, T>, bands: &'a [Range<usize>], unit: usize) -> Self {
        let mut end = 0;
        for band in bands.iter().filter(|band| !band.is_empty()) {
            assert!(end <= band.start && band.end <= strip.rows, "rows {band:?} of {}", strip.rows);
            end = band.end;
        }
        Grid { strip, bands, unit }
    }
}

// SAFETY: sharing it gives no access to the elements but through the unsafe `part`, and they are Send.
unsafe impl<T: Send> Sync for Grid<'_, T> {}

// SAFETY: items are disjoint rectangles, borrowed for 'a: bands do not overlap, as `new` has checked.
unsafe impl<'a, T: Send> Split for Grid<'a, T> {
    type Part = Rectangles<'a, T>;

    // SAFETY: the caller keeps the promise of `Split::part`.
    unsafe fn part(&self, items: Range<usize>) -> Rectangles<'a, T> {
        let Strip { data, rows, stride, width, life } = self.strip;
        let strip = Strip { data, rows, stride, width, life };
        Rectangles { strip, bands: self.bands, unit: self.unit, items }
    }
}

/// A thread's part of a [`Grid`].
#[derive(Debug)]
pub struct Rectangles<'a, T = f32> {
    /// The whole matrix, of which only the rectangles of `items` belong to this thread.
    strip: Strip<'a, T>,
    bands: &'a [Range<usize>],
    unit: usize,
    items: Range<usize>,
}

impl<T> Rectangles<'_, T> {
    /// The rectangle of `item`, its rows counted from the start of its band.
    ///
    /// # Panics
    /// When the item belongs to another thread.
    pub fn get(&mut self, item: usize) -> Strip<'_, T> {
        assert!(self.items.contains(&item), "item {item} of {:?}", self.items);
        let band = &self.bands[item % self.bands.len()];
        let Strip { data, stride, width, .. } = self.strip;
        let start = (item / self.bands.len() * self.unit).min(width);
        let rows = band.len();
        let first = if rows == 0 { 0 } else { band.start * stride + start };
        // SAFETY: a band that is not empty lies inside the matrix (`Grid::new`), and start <= width <= stride.
        let data = unsafe { data.add(first) };
        Strip { data, rows, stride, width: self.unit.min(width - start), life: PhantomData }
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

    // SAFETY: the caller keeps the promise of `Split::part`.
    unsafe fn part(&self, items: Range<usize>) -> &'a mut [T] {
        let start = (items.start * self.unit).min(self.len);
        let end = (items.end * self.unit).min(self.len).max(start);
        // SAFETY: start..end is inside the slice, exclusively borrowed for 'a, and no other part has these
        // items.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), end - start) }
    }
}

/// Outputs one after the other: the first `items[0]` items are those of `parts[0]`, and so on. A thread gets its share of
/// each, with the items counted from that output's own start.
#[derive(Debug)]
pub struct Chain<P, const N: usize> {
    /// The outputs.
    pub parts: [P; N],
    /// Items of each.
    pub items: [usize; N],
}

// SAFETY: an item belongs to one output, and each output keeps its own promise.
unsafe impl<P: Split, const N: usize> Split for Chain<P, N> {
    type Part = [(Range<usize>, P::Part); N];

    // SAFETY: the caller keeps the promise of `Split::part`.
    unsafe fn part(&self, items: Range<usize>) -> Self::Part {
        let mut start = 0;
        std::array::from_fn(|i| {
            let end = start + self.items[i];
            let own = items.start.clamp(start, end) - start..items.end.clamp(start, end) - start;
            start = end;
            // SAFETY: the caller asks for no item twice, and this maps items one to one.
            (own.clone(), unsafe { self.parts[i].part(own) })
        })
    }
}

// SAFETY: each output is split by the same items and keeps its own promise.
unsafe impl<P: Split, const N: usize> Split for [P; N] {
    type Part = [P::Part; N];

    // SAFETY: the caller keeps the promise of `Split::part`.
    unsafe fn part(&self, items: Range<usize>) -> Self::Part {
        // SAFETY: the caller's promise holds for every output.
        std::array::from_fn(|i| unsafe { self[i].part(items.clone()) })
    }
}

// SAFETY: nothing is shared.
unsafe impl Split for () {
    type Part = ();

    // SAFETY: the caller keeps the promise of `Split::part`.
    unsafe fn part(&self, _items: Range<usize>) {}
}

macro_rules! split_tuple {
    ($($name:ident $index:tt),+) => {
        // SAFETY: each member is split by the same items and keeps its own promise.
        unsafe impl<$($name: Split),+> Split for ($($name,)+) {
            type Part = ($($name::Part,)+);

            // SAFETY: the caller keeps the promise of `Split::part`.
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
split_tuple!(A 0, B 1, C 2, D 3, E 4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_cover_the_matrix_once() {
        let mut data = vec![0.0; 3 * 21];
        let columns = Columns::new(Strip::new(&mut data, 3, 21), 8);
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
    fn a_chain_counts_items_from_each_start() {
        let (mut a, mut b) = (vec![0; 3], vec![0; 4]);
        let chain = Chain { parts: [Blocks::new(&mut a, 1), Blocks::new(&mut b, 2)], items: [3, 2] };
        // SAFETY: each item is asked for once.
        let [(a_items, a), (b_items, b)] = unsafe { chain.part(2..4) };
        assert_eq!((a_items, a.len(), b_items, b.len()), (2..3, 1, 0..1, 2));
        // SAFETY: each item is asked for once.
        let [(a_items, a), (b_items, b)] = unsafe { chain.part(4..5) };
        assert_eq!((a_items, a.len(), b_items, b.len()), (3..3, 0, 1..2, 2));
    }

    #[test]
    fn rectangles_cover_the_bands_once() {
        let mut data = vec![0; 5 * 7];
        let bands = [0..2, 0..0, 3..5];
        let grid = Grid::new(Strip::new(&mut data, 5, 7), &bands, 3);
        for items in [0..4, 4..9] {
            // SAFETY: each item is asked for once.
            let mut part = unsafe { grid.part(items.clone()) };
            for item in items {
                let mut cell = part.get(item);
                let (rows, width) = (if item % 3 == 1 { 0 } else { 2 }, if item / 3 == 2 { 1 } else { 3 });
                assert_eq!((cell.rows(), cell.width()), (rows, width), "item {item}");
                for row in 0..rows {
                    cell.row(row).iter_mut().for_each(|x| *x += 1);
                }
            }
        }
        let expected: Vec<i32> = (0..35).map(|i| if i / 7 == 2 { 0 } else { 1 }).collect();
        assert_eq!(data, expected);
    }

    #[test]
    #[should_panic(expected = "rows 1..3 of 5")]
    fn overlapping_bands_are_refused() {
        Grid::new(Strip::new(&mut [0; 10], 5, 2), &[0..2, 1..3], 1);
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
