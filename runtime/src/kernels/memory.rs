//! Memory that costs nothing before it is used.

use half::f16;

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
unsafe impl Zeroable for usize {}
// SAFETY: every element may be zero bytes, and an array has nothing else.
unsafe impl<T: Zeroable, const N: usize> Zeroable for [T; N] {}

/// `n` zeros, or `None` where there is no memory for them. Large ones are pages that the system fills in when they are first
/// touched, so what is never used takes neither time nor memory.
pub fn zeroed<T: Zeroable>(n: usize) -> Option<Vec<T>> {
    let layout = std::alloc::Layout::array::<T>(n).ok()?;
    if layout.size() == 0 {
        return Some(Vec::new());
    }
    // SAFETY: the layout is not empty.
    let data = unsafe { std::alloc::alloc_zeroed(layout) };
    if data.is_null() {
        return None;
    }
    // SAFETY: the global allocator gave `data` for the layout of `n` elements of T, all of which are zero bytes, which T allows.
    Some(unsafe { Vec::from_raw_parts(data.cast(), n, n) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_as_many_as_asked_for() {
        assert_eq!(zeroed::<f32>(0), Some(vec![]));
        assert_eq!(zeroed::<[i8; 3]>(5), Some(vec![[0; 3]; 5]));
        assert_eq!(zeroed::<f16>(1 << 20).map(|v| v.iter().all(|x| x.to_bits() == 0)), Some(true));
        assert!(zeroed::<usize>(usize::MAX).is_none());
    }
}
