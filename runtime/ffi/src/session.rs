//! Sessions: one thread at a time, which an atomic word sees to.

use crate::arguments::{invalid, out, read};
use crate::guard::{guard, guard_silently, panicked};
use crate::model::{ModelHandle, model};
use crate::options::{Sampling, SessionOptionsC};
use crate::status::{BUSY, Failed, INTERNAL, INVALID_ARGUMENT, OK, Outcome, Status};
use siskin::{CancelFlag, GenerateOptions, Generator, Session};
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// `siskin_session`
pub struct SessionHandle {
    /// Which thread is in a call; 0 when none is.
    owner: AtomicUsize,
    /// Whether the running call frees the session when it ends.
    doomed: AtomicBool,
    pub(crate) cancel: CancelFlag,
    inner: UnsafeCell<Inner>,
}

/// What a call on a session has to itself.
pub(crate) struct Inner {
    pub(crate) generator: Generator,
    /// The last piece of text, with a NUL behind it.
    pub(crate) piece: Vec<u8>,
    /// A call panicked: what is in here may be half done.
    poisoned: bool,
}

/// A number that no other living thread has, and that is not 0.
fn this_thread() -> usize {
    thread_local! {
        static HERE: Cell<u8> = const { Cell::new(0) };
    }
    HERE.with(|here| (&raw const *here).addr())
}

/// Runs a call on a session, unless another one is running.
///
/// # Safety
/// What is not null came from this library and was not freed.
pub(crate) unsafe fn with_session(
    handle: *const SessionHandle,
    call: impl FnOnce(&mut Inner, &CancelFlag) -> Outcome,
) -> Outcome {
    // SAFETY: the caller's promise.
    let session = unsafe { handle.as_ref() }.ok_or_else(|| invalid("the session is null"))?;
    if session.owner.compare_exchange(0, this_thread(), Ordering::Acquire, Ordering::Relaxed).is_err() {
        return Err(Failed::new(
            BUSY,
            "the session is in use by another call; give every thread a session of its own",
        ));
    }
    // SAFETY: the word that was just taken gives this call alone what is inside, until it is given back.
    let inner = unsafe { &mut *session.inner.get() };
    let outcome = if inner.poisoned {
        Err(Failed::new(
            INTERNAL,
            "a bug in siskin ended an earlier call on this session: free it and make another",
        ))
    } else {
        catch_unwind(AssertUnwindSafe(|| call(inner, &session.cancel))).unwrap_or_else(|payload| {
            inner.poisoned = true;
            Err(Failed(panicked(payload)))
        })
    };
    if session.doomed.load(Ordering::Relaxed) {
        // SAFETY: only this thread's callback sets the word, which is `siskin_session_free`: nobody else may use the handle.
        drop(unsafe { Box::from_raw(handle.cast_mut()) });
    } else {
        session.owner.store(0, Ordering::Release);
    }
    outcome
}

/// Makes a session.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_new(
    model: *mut ModelHandle,
    options: *const SessionOptionsC,
    session: *mut *mut SessionHandle,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let place = unsafe { out(session, "the place for the session") }?;
        place.write(null_mut());
        // SAFETY: the caller's promise.
        let (handle, options) = unsafe { (self::model(model)?, read(options)?.to_rust()?) };
        place.write(hand_out(handle, Session::new(handle.model.clone(), &options)?)?);
        Ok(())
    })
}

/// Gives a session to the caller.
fn hand_out(handle: &ModelHandle, session: Session) -> Result<*mut SessionHandle, Failed> {
    let cancel = session.cancel_flag().clone();
    let generator = Generator::new(session, handle.tokenizer.clone(), &GenerateOptions::default())?;
    let inner = UnsafeCell::new(Inner { generator, piece: Vec::new(), poisoned: false });
    let (owner, doomed) = (AtomicUsize::new(0), AtomicBool::new(false));
    Ok(Box::into_raw(Box::new(SessionHandle { owner, doomed, cancel, inner })))
}

/// Frees a session: now, or when the call of this very thread ends, or after the call of another thread was cancelled.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_free(session: *mut SessionHandle) {
    guard_silently(|| {
        // SAFETY: the caller's promise.
        let Some(handle) = (unsafe { session.as_ref() }) else { return };
        loop {
            match handle.owner.compare_exchange(0, this_thread(), Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break,
                Err(owner) if owner == this_thread() => {
                    handle.cancel.cancel();
                    handle.doomed.store(true, Ordering::Relaxed);
                    return;
                }
                Err(_) => {
                    handle.cancel.cancel();
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
        }
        // SAFETY: no call is running, and none may begin.
        drop(unsafe { Box::from_raw(session) });
    });
}

/// Stores how many bytes a session takes.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_bytes(
    model: *const ModelHandle,
    options: *const SessionOptionsC,
    bytes: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (place, handle) = unsafe { (out(bytes, "the place for the size")?, self::model(model)?) };
        // SAFETY: the caller's promise.
        let options = unsafe { read(options)?.to_rust()? };
        place.write(handle.model.session_bytes(&options)?);
        Ok(())
    })
}

/// Sets how tokens are chosen.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_set_sampling(
    session: *mut SessionHandle,
    sampling: *const Sampling,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let options = unsafe { read(sampling)?.to_rust()? };
        // SAFETY: the caller's promise.
        unsafe {
            with_session(session, |inner, _| {
                inner.generator.set_options(&options)?;
                Ok(())
            })
        }
    })
}

/// Cancels: nothing here but one atomic store.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_cancel(session: *mut SessionHandle) -> Status {
    // SAFETY: the caller's promise.
    match unsafe { session.as_ref() } {
        Some(session) => {
            session.cancel.cancel();
            OK
        }
        None => INVALID_ARGUMENT,
    }
}

/// Forgets the text.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_reset(session: *mut SessionHandle) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe {
            with_session(session, |inner, cancel| {
                inner.generator.reset();
                cancel.clear();
                Ok(())
            })
        }
    })
}

/// Tells how much a session holds, and how much it can hold.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_position(
    session: *const SessionHandle,
    position: *mut usize,
    context: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe {
            with_session(session, |inner, _| {
                let held = inner.generator.session();
                if !position.is_null() {
                    out(position, "the place for the position")?.write(held.position());
                }
                if !context.is_null() {
                    out(context, "the place for the context")?.write(held.context().unwrap_or(0));
                }
                Ok(())
            })
        }
    })
}
