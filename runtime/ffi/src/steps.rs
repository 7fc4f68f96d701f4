//! Text: a prompt in, pieces out.

use crate::arguments::{invalid, out, size, text, write};
use crate::guard::guard;
use crate::options::Piece;
use crate::session::{Inner, SessionHandle, with_session};
use crate::status::{Failed, NO_MEMORY, Outcome, Status};
use siskin::{CancelFlag, Error, Stop};
use std::ffi::{c_char, c_int, c_void};

/// `siskin_text_fn`
///
/// # Safety
/// It takes a text of as many bytes as it is told.
pub type TextFn = Option<unsafe extern "C" fn(*const c_char, usize, *mut c_void) -> c_int>;

/// `SISKIN_STOP_NONE`
pub const STOP_NONE: i32 = 0;
/// `SISKIN_STOP_MAX_TOKENS`
pub const STOP_MAX_TOKENS: i32 = 1;
/// `SISKIN_STOP_STRING`
pub const STOP_STRING: i32 = 2;
/// `SISKIN_STOP_END_OF_TEXT`
pub const STOP_END_OF_TEXT: i32 = 3;
/// `SISKIN_STOP_CONTEXT_FULL`
pub const STOP_CONTEXT_FULL: i32 = 4;
/// `SISKIN_STOP_CALLBACK`
pub const STOP_CALLBACK: i32 = 5;

fn stop_number(stop: Option<Stop>) -> i32 {
    match stop {
        None => STOP_NONE,
        Some(Stop::MaxTokens) => STOP_MAX_TOKENS,
        Some(Stop::StopString(_)) => STOP_STRING,
        Some(Stop::EndOfText) => STOP_END_OF_TEXT,
        Some(Stop::ContextFull) => STOP_CONTEXT_FULL,
        Some(_) => STOP_NONE,
    }
}

/// Gives a call's outcome, after the flag that cancelled it was cleared for the next one.
pub(crate) fn cancellable<T>(result: Result<T, Error>, cancel: &CancelFlag) -> Result<T, Failed> {
    if matches!(result, Err(Error::Cancelled)) {
        cancel.clear();
    }
    Ok(result?)
}

/// Feeds a prompt: the beginning of a text in a new session, the next words in any other; in a model with an encoder always the
/// source of a new text.
fn start(inner: &mut Inner, cancel: &CancelFlag, prompt: &[u8], max_tokens: usize) -> Outcome {
    if cancel.is_cancelled() {
        return cancellable(Err(Error::Cancelled), cancel);
    }
    let generator = &mut inner.generator;
    let tokenizer = generator.tokenizer();
    // A prompt of gigabytes need not be tokenized to know that it does not fit: no token has more bytes, no character more than 4.
    let session = generator.session();
    let is_source = session.model().config().has_encoder();
    let room = if is_source { session.context() } else { session.remaining() };
    if let Some(left) = room.filter(|left| prompt.len() > *left) {
        let fewest = prompt.len() / tokenizer.longest_token().max(4);
        if fewest > left {
            let ctx = session.context().unwrap_or(0);
            let position = ctx - left;
            return Err(Error::ContextFull { position, tokens: fewest, ctx }.into());
        }
    }
    let tokens = match session.position() {
        0 => session.model().prompt_tokens(tokenizer, prompt)?,
        _ => tokenizer.encode(prompt)?,
    };
    cancellable(generator.start(&tokens, max_tokens), cancel)
}

/// Computes one token; its text is then in `inner.piece`, with a NUL behind it.
fn next(inner: &mut Inner, cancel: &CancelFlag) -> Outcome {
    inner.piece.clear();
    let piece = cancellable(inner.generator.next_piece(), cancel)?.unwrap_or_default();
    let room = piece.len() + 1;
    inner.piece.try_reserve(room).map_err(|_| Failed::new(NO_MEMORY, "no memory for a piece of text"))?;
    inner.piece.extend_from_slice(piece.as_bytes());
    inner.piece.push(0);
    Ok(())
}

/// Feeds a prompt and tells a function of the text.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_generate(
    session: *mut SessionHandle,
    prompt: *const c_char,
    prompt_length: usize,
    max_tokens: usize,
    function: TextFn,
    user: *mut c_void,
    stop: *mut i32,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let prompt = unsafe { text(prompt, prompt_length, "the prompt") }?;
        let call = |inner: &mut Inner, cancel: &CancelFlag| {
            start(inner, cancel, prompt, max_tokens)?;
            let mut reason = stop_number(inner.generator.stop());
            while reason == STOP_NONE {
                next(inner, cancel)?;
                reason = stop_number(inner.generator.stop());
                let Some((_, piece @ [_, ..])) = inner.piece.split_last() else { continue };
                // SAFETY: the function takes the bytes of a text, as the caller promised.
                if function.is_some_and(|f| unsafe { f(piece.as_ptr().cast(), piece.len(), user) } != 0) {
                    reason = STOP_CALLBACK;
                }
            }
            if !stop.is_null() {
                // SAFETY: the caller's promise.
                unsafe { out(stop, "the place for the reason")? }.write(reason);
            }
            Ok(())
        };
        // SAFETY: the caller's promise.
        unsafe { with_session(session, call) }
    })
}

/// Feeds a prompt and begins a text.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_start(
    session: *mut SessionHandle,
    prompt: *const c_char,
    prompt_length: usize,
    max_tokens: usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let prompt = unsafe { text(prompt, prompt_length, "the prompt") }?;
        // SAFETY: the caller's promise.
        unsafe { with_session(session, |inner, cancel| start(inner, cancel, prompt, max_tokens)) }
    })
}

/// Computes one token.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_next(session: *mut SessionHandle, piece: *mut Piece) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let size = unsafe { size(piece) }?;
        let call = |inner: &mut Inner, cancel: &CancelFlag| {
            if !inner.generator.has_begun() {
                return Err(invalid(
                    "no text was begun: call siskin_session_start before siskin_session_next",
                ));
            }
            next(inner, cancel)?;
            let value = Piece {
                size,
                text: inner.piece.as_ptr().cast(),
                length: inner.piece.len() - 1,
                token: inner.generator.token().map_or(-1, |token| token as i32),
                stop: stop_number(inner.generator.stop()),
            };
            // SAFETY: the struct has `size` bytes.
            unsafe { write(piece, size, &value) };
            Ok(())
        };
        // SAFETY: the caller's promise.
        unsafe { with_session(session, call) }
    })
}
