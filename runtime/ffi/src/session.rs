//! Sessions: one thread at a time, which an atomic word sees to.

use crate::arguments::{invalid, out, read};
use crate::guard::{guard, guard_silently, keepable, panicked};
use crate::model::{ModelHandle, model};
use crate::options::{Sampling, SessionOptionsC};
use crate::status::{BUSY, Failed, INTERNAL, INVALID_ARGUMENT, OK, Outcome, Status};
use siskin::kernels::memory::Memory;
use siskin::{CancelFlag, Error, GenerateOptions, Generator, Sampler, Session, SessionOptions};
use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::mem::MaybeUninit;
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
        let (handle, mut options) = unsafe { (self::model(model)?, read(options)?.to_rust()?) };
        needed(handle, &mut options)?;
        let session = Session::new(handle.model.clone(), &options)?;
        let bytes = Sampler::bytes(handle.tokenizer.vocab_size());
        let mut memory = Memory::new(bytes).ok_or(Error::OutOfMemory { bytes })?;
        hand_out(handle, session, &mut memory, place)
    })
}

/// Makes a session in memory of the caller.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_new_in(
    model: *mut ModelHandle,
    options: *const SessionOptionsC,
    memory: *mut c_void,
    size: usize,
    session: *mut *mut SessionHandle,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let place = unsafe { out(session, "the place for the session") }?;
        place.write(null_mut());
        // SAFETY: the caller's promise.
        let (handle, mut options) = unsafe { (self::model(model)?, read(options)?.to_rust()?) };
        let needed = needed(handle, &mut options)?;
        if memory.is_null() {
            return Err(invalid("the memory is null"));
        }
        if needed > size {
            return Err(Error::Budget { needed, max: size }.into());
        }
        // SAFETY: the caller's memory has `size` bytes, which are the session's until it is freed; they are all zero now.
        let memory: &'static mut [u8] = unsafe {
            memory.cast::<u8>().write_bytes(0, needed);
            std::slice::from_raw_parts_mut(memory.cast(), needed)
        };
        let (sampler, state) = memory.split_at_mut(Sampler::bytes(handle.tokenizer.vocab_size()));
        let session = Session::new_in(handle.model.clone(), &options, state)?;
        hand_out(handle, session, &mut Memory::within(sampler), place)
    })
}

/// Bytes that a session takes, once they are found to be within the limit of the options, which is then lifted.
fn needed(handle: &ModelHandle, options: &mut SessionOptions) -> Result<usize, Failed> {
    let max = options.max_bytes.take();
    let state = handle.model.session_bytes(options)?;
    let needed = state.saturating_add(Sampler::bytes(handle.tokenizer.vocab_size()));
    match max {
        Some(max) if needed > max => Err(Error::Budget { needed, max }.into()),
        _ => Ok(needed),
    }
}

/// Gives a session to the caller.
fn hand_out(
    handle: &ModelHandle,
    session: Session,
    memory: &mut Memory,
    place: &mut MaybeUninit<*mut SessionHandle>,
) -> Outcome {
    let cancel = session.cancel_flag().clone();
    let options = GenerateOptions::default();
    let generator = Generator::new_in(session, handle.tokenizer.clone(), &options, memory)?;
    let inner = UnsafeCell::new(Inner { generator, piece: Vec::new(), poisoned: false });
    let (owner, doomed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let session = Box::new(SessionHandle { owner, doomed, cancel, inner });
    keepable()?;
    place.write(Box::into_raw(session));
    Ok(())
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
        let mut options = unsafe { read(options)?.to_rust()? };
        options.max_bytes = None;
        place.write(needed(handle, &mut options)?);
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
                keepable()?;
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

/// Panics in the middle of a call, for tests.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[cfg(feature = "planted-panic")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_planted_panic(session: *mut SessionHandle) -> Status {
    // SAFETY: the caller's promise.
    guard(|| unsafe { with_session(session, |_, _| panic!("planted")) })
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
