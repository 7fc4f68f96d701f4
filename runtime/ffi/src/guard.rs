//! The border to C: no panic crosses it, and a failure leaves its text with the thread.

#[cfg(feature = "capi")]
use crate::status::{Failed, NO_MEMORY};
use crate::status::{INTERNAL, OK, Outcome, Status};
use std::any::Any;
use std::cell::Cell;
use std::ffi::c_char;
use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the body of an export.
pub(crate) fn guard(body: impl FnOnce() -> Outcome) -> Status {
    #[cfg(feature = "capi")]
    {
        quiet();
        if !crate::reserve::begin() {
            return Failed::new(NO_MEMORY, "the system has no memory").0;
        }
    }
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => OK,
        Ok(Err(failed)) => failed.0,
        Err(payload) => panicked(payload),
    }
}

/// Whether what a call has made so far may stay: not when a part of it lies in the reserve, as the system had no memory for it. The
/// call must then give up, and drop what it made.
pub(crate) fn keepable() -> Outcome {
    #[cfg(feature = "capi")]
    if crate::reserve::held() > 0 {
        return Err(Failed::new(NO_MEMORY, "the system has no memory"));
    }
    Ok(())
}

/// Runs what has no status to give.
pub(crate) fn guard_silently(body: impl FnOnce()) {
    #[cfg(feature = "capi")]
    quiet();
    if let Err(payload) = catch_unwind(AssertUnwindSafe(body)) {
        panicked(payload);
    }
}

/// Notes a panic; what it carried may itself panic when it is dropped.
pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> Status {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given");
    note(format_args!("a bug in siskin, please report it: {text}"));
    let _ = catch_unwind(AssertUnwindSafe(|| drop(payload))).map_err(std::mem::forget);
    INTERNAL
}

/// A panic says nothing on standard error. The library's standard library is its own, so nobody else's hook is replaced; in a Rust
/// program that links this crate (without `capi`) the hook is the program's, and stays.
#[cfg(feature = "capi")]
fn quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|_| ())));
}

/// Bytes of an error's text that are kept, with the NUL.
const TEXT: usize = 512;

/// The text of an error: no allocation, and nothing to be done when its thread ends.
#[derive(Clone, Copy)]
struct Kept {
    bytes: [u8; TEXT],
    len: usize, // without the NUL
}

thread_local! {
    static ERROR: Cell<Kept> = const { Cell::new(Kept { bytes: [0; TEXT], len: 0 }) };
}

/// Keeps the text of an error.
pub(crate) fn note(text: fmt::Arguments) {
    let mut kept = Kept { bytes: [0; TEXT], len: 0 };
    let _ = kept.write_fmt(text); // what does not fit is cut
    ERROR.set(kept);
}

impl Write for Kept {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let text = cut(text, TEXT - 1 - self.len);
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

/// As many whole characters as fit into `room` bytes.
fn cut(text: &str, room: usize) -> &str {
    let fits = |n: &usize| text.is_char_boundary(*n);
    &text[..(0..=room.min(text.len())).rev().find(fits).unwrap_or(0)]
}

/// Copies the text of this thread's last error.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_error_text(buffer: *mut c_char, size: usize) -> usize {
    let error = ERROR.get();
    if !buffer.is_null() && size > 0 {
        let text = std::str::from_utf8(&error.bytes[..error.len]).unwrap_or_default();
        let text = cut(text, size - 1);
        // SAFETY: the caller has `size` bytes at `buffer`, more than the text has.
        unsafe {
            buffer.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
            buffer.add(text.len()).write(0);
        }
    }
    error.len + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{BAD_TEXT, Failed};

    fn text() -> String {
        let mut buffer = [1u8; 600];
        // SAFETY: the buffer has as many bytes.
        let needed = unsafe { siskin_error_text(buffer.as_mut_ptr().cast(), buffer.len()) };
        assert_eq!(buffer[needed - 1], 0);
        String::from_utf8(buffer[..needed - 1].to_vec()).unwrap()
    }

    #[test]
    fn a_panic_becomes_a_status() {
        assert_eq!(guard(|| Ok(())), OK);
        assert_eq!(guard(|| panic!("planted {}", 1)), INTERNAL);
        assert_eq!(text(), "a bug in siskin, please report it: planted 1");
        assert_eq!(guard(|| std::panic::panic_any(7)), INTERNAL);
        assert_eq!(text(), "a bug in siskin, please report it: no reason given");
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        assert_eq!(guard(|| std::panic::panic_any(Bomb)), INTERNAL);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(guard(|| Err(Failed::new(BAD_TEXT, "ü".repeat(400)))), BAD_TEXT);
        assert_eq!(text(), "ü".repeat(255));
        let mut buffer = [1u8; 4];
        // SAFETY: the buffer has as many bytes.
        assert_eq!(unsafe { siskin_error_text(buffer.as_mut_ptr().cast(), 4) }, 511);
        assert_eq!(buffer, [0xC3, 0xBC, 0, 1]);
        // SAFETY: no bytes are written.
        assert_eq!(unsafe { siskin_error_text(std::ptr::null_mut(), 0) }, 511);
    }

    #[test]
    fn a_text_belongs_to_its_thread() {
        guard(|| Err(Failed::new(BAD_TEXT, "here")));
        let there = std::thread::spawn(text).join().unwrap();
        assert_eq!((text().as_str(), there.as_str()), ("here", ""));
    }
}
