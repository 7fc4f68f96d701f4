//! States as bytes.

use crate::arguments::{invalid, out, room, slice};
use crate::guard::{guard, keepable};
use crate::session::{SessionHandle, with_session};
use crate::status::Status;

/// Saves all that decides what comes next.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_save(
    session: *mut SessionHandle,
    buffer: *mut std::ffi::c_void,
    capacity: usize,
    needed: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let place = unsafe { out(needed, "the place for the size") }?;
        // SAFETY: the caller's promise.
        unsafe {
            with_session(session, |inner, _| {
                let bytes = inner.generator.saved_bytes();
                place.write(bytes);
                room(bytes, capacity)?;
                if buffer.is_null() {
                    return Err(invalid("the buffer is null"));
                }
                // SAFETY: the caller's buffer has `capacity` bytes, enough; they are cleared first, as they may be uninitialised.
                buffer.cast::<u8>().write_bytes(0, bytes);
                inner.generator.save(std::slice::from_raw_parts_mut(buffer.cast(), bytes));
                Ok(())
            })
        }
    })
}

/// Goes on from a saved state.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_restore(
    session: *mut SessionHandle,
    state: *const std::ffi::c_void,
    size: usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let state = unsafe { slice(state.cast::<u8>(), size, "the state") }?;
        // SAFETY: the caller's promise.
        unsafe {
            with_session(session, |inner, _| {
                keepable()?;
                inner.generator.restore(state)?;
                Ok(())
            })
        }
    })
}
