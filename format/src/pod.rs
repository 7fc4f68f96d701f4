//! Bytes seen as numbers, without a copy. The only `unsafe` beside `mmap.rs`.
//!
//! Everything here is plain old data on a little-endian machine: any bit pattern is a value, so a cast is
//! sound as soon as the address is aligned and the length is a whole number of elements. Both are checked.

#![allow(unsafe_code)]

use half::f16;
use std::ops::{Deref, DerefMut};

#[cfg(target_endian = "big")]
compile_error!(
    "siskin maps little-endian numbers straight from the file; big-endian machines are not supported"
);

/// Types that any bytes are a valid value of.
///
/// # Safety
/// Every bit pattern of `size_of::<Self>()` bytes must be valid, with no padding and no interior mutability.
unsafe trait Pod: Copy + 'static {}

// SAFETY: integers and IEEE floats accept every bit pattern; `f16` is a transparent `u16`.
unsafe impl Pod for f32 {}
// SAFETY: as above.
unsafe impl Pod for f16 {}
// SAFETY: as above.
unsafe impl Pod for i8 {}

fn cast<T: Pod>(bytes: &[u8]) -> &[T] {
    assert!(bytes.as_ptr().cast::<T>().is_aligned(), "{} bytes are not aligned", std::any::type_name::<T>());
    assert!(
        bytes.len().is_multiple_of(size_of::<T>()),
        "{} bytes end mid-element",
        std::any::type_name::<T>()
    );
    // SAFETY: alignment and length were checked above; `T: Pod` accepts any bits; the borrow keeps `bytes` alive
    // and unchanged.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<T>(), bytes.len() / size_of::<T>()) }
}

/// `bytes` as little-endian single-precision floats.
///
/// # Panics
/// When `bytes` is not 4-byte aligned or its length is not a multiple of 4.
pub fn f32s(bytes: &[u8]) -> &[f32] {
    cast(bytes)
}

/// `bytes` as little-endian half-precision floats.
///
/// # Panics
/// When `bytes` is not 2-byte aligned or its length is odd.
pub fn f16s(bytes: &[u8]) -> &[f16] {
    cast(bytes)
}

/// `bytes` as signed bytes.
pub fn i8s(bytes: &[u8]) -> &[i8] {
    cast(bytes)
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Bytes on the heap that start at a multiple of 64, as every section and tensor of a file does.
#[derive(Clone)]
pub struct AlignedBytes {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBytes {
    /// `len` zero bytes, or `None` when the memory cannot be had.
    pub fn zeroed(len: usize) -> Option<AlignedBytes> {
        let n_lines = len.div_ceil(size_of::<Line>());
        let mut lines = Vec::new();
        lines.try_reserve_exact(n_lines).ok()?;
        lines.resize(n_lines, Line([0; 64]));
        Some(AlignedBytes { lines, len })
    }

    /// A copy of `bytes`, or `None` when the memory cannot be had.
    pub fn copy_of(bytes: &[u8]) -> Option<AlignedBytes> {
        let mut copy = AlignedBytes::zeroed(bytes.len())?;
        copy.copy_from_slice(bytes);
        Some(copy)
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `lines` holds at least `len` initialised bytes (`zeroed` sized it so, and nothing shrinks it).
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast::<u8>(), self.len) }
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes the borrow unique.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<u8>(), self.len) }
    }
}

impl std::fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBytes({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_bytes_start_at_multiples_of_64() {
        for len in [0, 1, 63, 64, 65, 1000] {
            let bytes = AlignedBytes::zeroed(len).unwrap();
            assert_eq!(bytes.len(), len);
            assert!(bytes.as_ptr().addr().is_multiple_of(64));
        }
        assert!(AlignedBytes::zeroed(usize::MAX / 2).is_none());
    }

    #[test]
    fn casts_read_little_endian() {
        let bytes = AlignedBytes::copy_of(&[0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]).unwrap();
        assert_eq!(f32s(&bytes), [1.0, -2.0]);
        assert_eq!(f16s(&bytes[6..8]), [f16::from_f32(-2.0)]);
        assert_eq!(i8s(&bytes[2..3]), [-128]);
    }

    #[test]
    #[should_panic(expected = "aligned")]
    fn a_misaligned_cast_panics() {
        let bytes = AlignedBytes::zeroed(8).unwrap();
        f32s(&bytes[1..5]);
    }

    #[test]
    #[should_panic(expected = "mid-element")]
    fn a_cut_cast_panics() {
        let bytes = AlignedBytes::zeroed(8).unwrap();
        f32s(&bytes[..6]);
    }
}
