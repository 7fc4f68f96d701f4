//! Token by token: feeding, logits, sampling, scoring.

use crate::arguments::{invalid, out, slice};
use crate::guard::{guard, keepable};
use crate::session::{Inner, SessionHandle, with_session};
use crate::status::{Failed, INVALID_ARGUMENT, Outcome, Status};
use crate::steps::cancellable;
use siskin::{CancelFlag, Error};

/// Runs a call that needs tokens fed before.
fn after_tokens(inner: &mut Inner, cancel: &CancelFlag) -> Outcome {
    keepable()?;
    match cancellable(inner.generator.feed(&[]), cancel) {
        Err(Failed(INVALID_ARGUMENT)) => Err(invalid("the session holds no tokens: feed some first")),
        outcome => outcome,
    }
}

/// Feeds tokens.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_feed(
    session: *mut SessionHandle,
    tokens: *const u32,
    n_tokens: usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let tokens = unsafe { slice(tokens, n_tokens, "the tokens") }?;
        if tokens.is_empty() {
            return Err(Error::NoTokens.into());
        }
        // SAFETY: the caller's promise.
        unsafe { with_session(session, |inner, cancel| cancellable(inner.generator.feed(tokens), cancel)) }
    })
}

/// Shows the logits that follow what was fed.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_logits(
    session: *mut SessionHandle,
    logits: *mut *const f32,
    n_logits: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (place, n) =
            unsafe { (out(logits, "the place for the logits")?, out(n_logits, "the place for the number")?) };
        let call = |inner: &mut Inner, cancel: &CancelFlag| {
            after_tokens(inner, cancel)?;
            let found = inner.generator.session().logits().ok_or(Error::NoTokens)?;
            place.write(found.as_ptr());
            n.write(found.len());
            Ok(())
        };
        // SAFETY: the caller's promise.
        unsafe { with_session(session, call) }
    })
}

/// Chooses a token.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_sample(session: *mut SessionHandle, token: *mut u32) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let place = unsafe { out(token, "the place for the token") }?;
        let call = |inner: &mut Inner, cancel: &CancelFlag| {
            after_tokens(inner, cancel)?;
            place.write(inner.generator.sample()?);
            Ok(())
        };
        // SAFETY: the caller's promise.
        unsafe { with_session(session, call) }
    })
}

/// Feeds tokens and tells how probable each was.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_score(
    session: *mut SessionHandle,
    tokens: *const u32,
    n_tokens: usize,
    log_probs: *mut f64,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (tokens, first) =
            unsafe { (slice(tokens, n_tokens, "the tokens")?, out(log_probs, "the place for the result")?) };
        let places = first.as_mut_ptr();
        let call = |inner: &mut Inner, cancel: &CancelFlag| {
            let mut is_first = true;
            // SAFETY: the caller's array has as many elements as there are tokens, and every index is one of theirs.
            let put = |i: usize, log_prob: f64| unsafe { places.add(i).write(log_prob) };
            let scored = inner.generator.score(tokens, |i, log_prob| {
                is_first &= i != 0;
                put(i, log_prob);
            });
            cancellable(scored, cancel)?;
            if is_first {
                put(0, f64::NAN); // nothing predicted it
            }
            Ok(())
        };
        // SAFETY: the caller's promise.
        unsafe { with_session(session, call) }
    })
}
