//! What comes through a pointer is looked at here, and nowhere else.

use crate::status::{BUFFER_TOO_SMALL, Failed, INVALID_ARGUMENT, Outcome};
use std::mem::MaybeUninit;
use std::slice;

/// Longest text that is taken, `SISKIN_MAX_TEXT`.
pub(crate) const MAX_TEXT: usize = i32::MAX as usize;
/// No struct of any version has as many bytes.
const MAX_STRUCT: usize = 4096;

pub(crate) fn invalid(text: impl std::fmt::Display) -> Failed {
    Failed::new(INVALID_ARGUMENT, text)
}

/// `n` elements at `data`, which may be null when there are none.
///
/// # Safety
/// What is not null has as many elements, until the borrow ends.
pub(crate) unsafe fn slice<'a, T>(data: *const T, n: usize, what: &str) -> Result<&'a [T], Failed> {
    if n == 0 {
        return Ok(&[]);
    }
    check(data, n, what)?;
    // SAFETY: not null, aligned and of a possible length; the rest is the caller's promise.
    Ok(unsafe { slice::from_raw_parts(data, n) })
}

fn check<T>(data: *const T, n: usize, what: &str) -> Outcome {
    if data.is_null() {
        return Err(invalid(format_args!("{what} is null, expected {n} elements")));
    }
    if !data.is_aligned() {
        return Err(invalid(format_args!("{what} is not aligned")));
    }
    if n > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(invalid(format_args!("{what} cannot have {n} elements")));
    }
    Ok(())
}

/// A text of `n` bytes.
///
/// # Safety
/// As [`slice`].
pub(crate) unsafe fn text<'a>(
    data: *const std::ffi::c_char,
    n: usize,
    what: &str,
) -> Result<&'a [u8], Failed> {
    if n > MAX_TEXT {
        return Err(invalid(format_args!("{what} has {n} bytes, expected at most {MAX_TEXT}")));
    }
    // SAFETY: the caller's promise.
    unsafe { slice(data.cast(), n, what) }
}

/// The place for a result.
///
/// # Safety
/// What is not null may be written to, and nobody else has it, until the borrow ends.
pub(crate) unsafe fn out<'a, T>(place: *mut T, what: &str) -> Result<&'a mut MaybeUninit<T>, Failed> {
    check(place, 1, what)?;
    // SAFETY: not null and aligned; the rest is the caller's promise.
    Ok(unsafe { &mut *place.cast::<MaybeUninit<T>>() })
}

/// Copies `from` to the caller's array and its length to `n`, or the length alone when there is no room.
///
/// # Safety
/// As [`out`], of `capacity` elements.
pub(crate) unsafe fn fill<T: Copy>(
    from: &[T],
    to: *mut T,
    capacity: usize,
    n: &mut MaybeUninit<usize>,
) -> Outcome {
    n.write(from.len());
    room(from.len(), capacity)?;
    if !from.is_empty() {
        check(to, from.len(), "the buffer")?;
        // SAFETY: `to` is not null and has `capacity` elements, which suffice; the library's memory is not the caller's.
        unsafe { to.copy_from_nonoverlapping(from.as_ptr(), from.len()) }
    }
    Ok(())
}

/// Whether a buffer is large enough.
pub(crate) fn room(needed: usize, capacity: usize) -> Outcome {
    if needed > capacity {
        let text = format_args!("the buffer has room for {capacity}, expected {needed}");
        return Err(Failed::new(BUFFER_TOO_SMALL, text));
    }
    Ok(())
}

/// A struct of C that begins with its size and consists of numbers and pointers.
///
/// # Safety
/// Its first field is `size: usize`, and all of its bytes may be anything.
pub(crate) unsafe trait Versioned: Copy {
    /// Where fields begin: older versions end at one of them.
    const FIELDS: &'static [usize];
    /// All defaults, and the size.
    fn default_value() -> Self;
}

/// Fills what the struct of the caller's version has.
///
/// # Safety
/// What is not null has `size` bytes.
pub(crate) unsafe fn init<T: Versioned>(place: *mut T, size: usize) {
    if place.is_null() || !place.is_aligned() || !known::<T>(size) {
        return;
    }
    let default = T::default_value();
    // SAFETY: the caller's struct has `size` bytes; those that this version lacks become zero.
    unsafe {
        place.cast::<u8>().write_bytes(0, size);
        place.cast::<u8>().copy_from_nonoverlapping((&raw const default).cast(), size.min(size_of::<T>()));
        place.cast::<usize>().write(size);
    }
}

/// Reads options: defaults where there are none, or where they end early.
///
/// # Safety
/// What is not null begins with its size and has as many bytes.
pub(crate) unsafe fn read<T: Versioned>(place: *const T) -> Result<T, Failed> {
    let mut value = T::default_value();
    if place.is_null() {
        return Ok(value);
    }
    // SAFETY: the caller's promise.
    let size = unsafe { size::<T>(place) }?;
    let known = size.min(size_of::<T>());
    // SAFETY: both have as many bytes, and `T` takes any.
    unsafe { (&raw mut value).cast::<u8>().copy_from_nonoverlapping(place.cast(), known) };
    // SAFETY: the caller's struct has `size` bytes.
    let rest = unsafe { slice::from_raw_parts(place.cast::<u8>().add(known), size - known) };
    if rest.iter().any(|byte| *byte != 0) {
        return Err(invalid(
            "options that this version does not know are set: use a newer libsiskin, or leave them zero",
        ));
    }
    Ok(value)
}

/// The size that a struct of the caller says, if some version may have it.
///
/// # Safety
/// What is not null begins with its size.
pub(crate) unsafe fn size<T: Versioned>(place: *const T) -> Result<usize, Failed> {
    check(place, 1, "the struct")?;
    // SAFETY: not null and aligned; it begins with its size.
    let size = unsafe { place.cast::<usize>().read() };
    if !known::<T>(size) {
        let expected = size_of::<T>();
        return Err(invalid(format_args!(
            "the struct's size is {size}, expected {expected}: set it to sizeof"
        )));
    }
    Ok(size)
}

fn known<T: Versioned>(size: usize) -> bool {
    (size_of::<T>()..=MAX_STRUCT).contains(&size) || T::FIELDS.contains(&size)
}

/// Fills a result, as far as the caller's struct reaches; what it has beyond this version becomes zero.
///
/// # Safety
/// `place` has `size` bytes, which [`size`] told.
pub(crate) unsafe fn write<T: Versioned>(place: *mut T, size: usize, value: &T) {
    let known = size.min(size_of::<T>());
    // SAFETY: the caller's promise; the first field stays what the caller set.
    unsafe {
        let place = place.cast::<u8>();
        place.add(known).write_bytes(0, size - known);
        place.copy_from_nonoverlapping((&raw const *value).cast(), known);
        place.cast::<usize>().write(size);
    }
}

/// Makes a C struct [`Versioned`].
macro_rules! versioned {
    ($type:ty, $default:expr; $($field:ident),+) => {
        // SAFETY: `repr(C)`, `size` first, numbers and pointers only.
        unsafe impl crate::arguments::Versioned for $type {
            const FIELDS: &'static [usize] = &[$(std::mem::offset_of!($type, $field)),+];
            fn default_value() -> $type {
                $default
            }
        }
    };
}
pub(crate) use versioned;
