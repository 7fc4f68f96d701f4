//! The memory of a session: one region, from the system or from the caller, that buffers are cut from.

use half::f16;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fmt;
use std::mem::needs_drop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

/// Buffers begin at multiples of this many bytes, a cache line.
const ALIGN: usize = 64;

/// A value whose bytes may all be zero.
///
/// # Safety
/// All-zero bytes must be a valid value of the type.
pub unsafe trait Zeroable: Copy {}

// SAFETY: zero bytes are 0.
unsafe impl Zeroable for f32 {}
// SAFETY: zero bytes are 0.
unsafe impl Zeroable for f16 {}
// SAFETY: zero bytes are 0.
unsafe impl Zeroable for i8 {}
// SAFETY: zero bytes are 0.
unsafe impl Zeroable for i32 {}
// SAFETY: zero bytes are 0.
unsafe impl Zeroable for u32 {}
// SAFETY: zero bytes are 0.
unsafe impl Zeroable for usize {}
// SAFETY: every element may be zero bytes, and an array has nothing else.
unsafe impl<T: Zeroable, const N: usize> Zeroable for [T; N] {}

/// Zero bytes that buffers are cut from, one after the other; they keep the region alive.
///
/// One without a region counts only: what is built in it tells how large the region must be.
#[derive(Debug)]
pub struct Memory {
    region: Option<Arc<Region>>,
    /// Bytes cut so far, from the first multiple of [`ALIGN`] on.
    used: usize,
}

#[derive(Debug)]
struct Region {
    data: NonNull<u8>,
    /// From the first multiple of [`ALIGN`] on.
    start: NonNull<u8>,
    bytes: usize,
    /// How the region was allocated; `None` when it is the caller's.
    layout: Option<Layout>,
}

// SAFETY: a region is bytes; nobody reaches them but through the buffers, each of which has its own.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Drop for Region {
    fn drop(&mut self) {
        if let Some(layout) = self.layout {
            // SAFETY: `Memory::new` allocated `data` with this very layout, and no buffer is left.
            unsafe { dealloc(self.data.as_ptr(), layout) }
        }
    }
}

impl Memory {
    /// Memory that only counts.
    pub fn counting() -> Memory {
        Memory { region: None, used: 0 }
    }

    /// As many bytes as a counting memory has told, or `None` where the system has none. They are pages that the system fills
    /// in when they are first touched, so what is never used takes neither time nor memory.
    pub fn new(bytes: usize) -> Option<Memory> {
        // No larger alignment, or the system's zero pages would be written to.
        let layout = Layout::array::<u64>(bytes.div_ceil(size_of::<u64>()).max(1)).ok()?;
        // SAFETY: the layout is not empty.
        let data = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Memory::of(data, layout.size(), Some(layout)))
    }

    /// The caller's bytes, which are cleared.
    pub fn within(bytes: &'static mut [u8]) -> Memory {
        bytes.fill(0);
        let data = NonNull::from(&mut *bytes).cast();
        Memory::of(data, bytes.len(), None)
    }

    fn of(data: NonNull<u8>, bytes: usize, layout: Option<Layout>) -> Memory {
        let skipped = data.align_offset(ALIGN).min(bytes);
        // SAFETY: `skipped` is at most the region's length.
        let start = unsafe { data.add(skipped) };
        Memory { region: Some(Arc::new(Region { data, start, bytes: bytes - skipped, layout })), used: 0 }
    }

    /// Bytes that a region for all that was cut needs, wherever it begins.
    pub fn bytes(&self) -> usize {
        self.used.saturating_add(ALIGN)
    }

    /// Cuts off room for as many elements as the product of `shape`; `None` where it cannot be counted or is not there.
    fn cut<T>(&mut self, shape: &[usize]) -> Option<Buffer<T>> {
        const { assert!(align_of::<T>() <= ALIGN && !needs_drop::<T>()) }
        let capacity = shape.iter().try_fold(1usize, |product, n| product.checked_mul(*n))?;
        let start = self.used;
        let end =
            capacity.checked_mul(size_of::<T>())?.checked_add(start)?.checked_next_multiple_of(ALIGN)?;
        self.used = end;
        let Some(region) = &self.region else {
            return Some(Buffer { data: NonNull::dangling(), len: 0, capacity: 0, _region: None });
        };
        if end > region.bytes {
            return None;
        }
        // SAFETY: the bytes from `start` on lie in the region, which was just checked.
        let data = unsafe { region.start.add(start) }.cast();
        Some(Buffer { data, len: 0, capacity, _region: Some(region.clone()) })
    }

    /// A list with room for as many elements as the product of `shape`; `None` where there is no room.
    pub fn list<T>(&mut self, shape: &[usize]) -> Option<Buffer<T>> {
        self.cut(shape)
    }

    /// As many zeros as the product of `shape`; `None` where there is no room.
    pub fn zeros<T: Zeroable>(&mut self, shape: &[usize]) -> Option<Buffer<T>> {
        let mut buffer = self.cut(shape)?;
        // The region was all zeros, and this part of it is nobody else's.
        buffer.len = buffer.capacity;
        Some(buffer)
    }
}

/// A part of a [`Memory`]: a slice that may grow up to the room that it was made with.
pub struct Buffer<T> {
    data: NonNull<T>,
    len: usize,
    capacity: usize,
    /// Keeps the memory alive.
    _region: Option<Arc<Region>>,
}

// SAFETY: a buffer owns its elements, as a vector does.
unsafe impl<T: Send> Send for Buffer<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Buffer<T> {}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `data` has room for `capacity` elements, in a region that lives as long as the buffer; the first `len` were
        // written or are zeros that `Zeroable` allows.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above; no other buffer has these bytes.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

impl<T> Buffer<T> {
    /// Removes all elements; the room stays.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Keeps the first `len` elements.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Adds an element.
    ///
    /// # Panics
    /// When there is no room.
    #[inline]
    pub fn push(&mut self, value: T) {
        assert!(self.len < self.capacity, "a list with room for {}", self.capacity);
        // SAFETY: there is room behind the first `len` elements.
        unsafe { self.data.add(self.len).write(value) }
        self.len += 1;
    }

    /// Adds some elements.
    ///
    /// # Panics
    /// When there is no room for them.
    pub fn extend_from_slice(&mut self, values: &[T])
    where
        T: Copy,
    {
        assert!(values.len() <= self.capacity - self.len, "a list with room for {}", self.capacity);
        // SAFETY: there is room for `values` behind the first `len` elements, and they cannot overlap what this buffer owns.
        unsafe {
            self.data.add(self.len).copy_from_nonoverlapping(NonNull::from(values).cast(), values.len())
        }
        self.len += values.len();
    }

    /// Elements that there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

impl<T> Extend<T> for Buffer<T> {
    /// # Panics
    /// When there is no room.
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        for value in values {
            self.push(value);
        }
    }
}

impl<'a, T> IntoIterator for &'a Buffer<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut Buffer<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl<T: fmt::Debug> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Some4 = (Buffer<f32>, Buffer<[i8; 3]>, Buffer<usize>, Buffer<f16>);

    fn cut(memory: &mut Memory) -> Option<Some4> {
        Some((memory.zeros(&[3, 5])?, memory.zeros(&[7])?, memory.list(&[2])?, memory.zeros(&[0, 9])?))
    }

    fn needed() -> usize {
        let mut counting = Memory::counting();
        cut(&mut counting).unwrap();
        counting.bytes()
    }

    #[test]
    fn what_was_counted_suffices_wherever_it_begins() {
        assert_eq!(needed(), 3 * 64 + 64);
        for skipped in 0..64 {
            let bytes = Vec::leak(vec![0xA5; needed() + skipped]);
            let (a, b, mut c, d) = cut(&mut Memory::within(&mut bytes[skipped..])).unwrap();
            assert_eq!((&a[..], &b[..], c.len(), d.len()), (&[0.0; 15][..], &[[0; 3]; 7][..], 0, 0));
            assert!(a.as_ptr().addr().is_multiple_of(64) && b.as_ptr().addr().is_multiple_of(64));
            c.extend([1, 2]);
            assert_eq!((&b[6], &c[..]), (&[0; 3], &[1, 2][..]));
        }
        let (mut a, ..) = cut(&mut Memory::new(needed()).unwrap()).unwrap();
        a.fill(1.0);
        assert_eq!(std::thread::spawn(move || a.iter().sum::<f32>()).join().unwrap(), 15.0);
    }

    #[test]
    fn too_little_room_is_told() {
        for len in 0..2 * 64 {
            assert!(cut(&mut Memory::within(Vec::leak(vec![0; len]))).is_none(), "{len}");
        }
        assert!(Memory::new(usize::MAX).is_none());
        for shape in [&[usize::MAX, 2][..], &[usize::MAX / 4], &[usize::MAX / 2, 1]] {
            assert!(Memory::counting().zeros::<f32>(shape).is_none());
        }
    }

    #[test]
    fn a_list_grows_up_to_its_room() {
        let mut list = Memory::new(1 << 10).unwrap().list::<u32>(&[2, 2]).unwrap();
        list.extend_from_slice(&[1, 2, 3]);
        list.push(4);
        let overfull = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| list.push(5)));
        assert!(overfull.is_err());
        assert_eq!((&list[..], list.capacity()), (&[1, 2, 3, 4][..], 4));
        list.truncate(1);
        assert_eq!(list[..], [1]);
        list.clear();
        assert!(list.is_empty());
    }
}
