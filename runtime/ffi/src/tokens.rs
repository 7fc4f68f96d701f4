//! Tokens: to and from text.

use crate::arguments::{fill, invalid, out, room, slice, text};
use crate::guard::guard;
use crate::model::{ModelHandle, model};
use crate::options::{PROMPT, flags};
use crate::status::{Failed, Status};
use siskin::Tokenizer;
use std::ffi::c_char;

/// The tokens of a text.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_tokenize(
    model: *const ModelHandle,
    text: *const c_char,
    length: usize,
    flags: u32,
    tokens: *mut u32,
    capacity: usize,
    n_tokens: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (inner, n) =
            unsafe { (self::model(model)?, out(n_tokens, "the place for the number of tokens")?) };
        self::flags(flags, PROMPT)?;
        // SAFETY: the caller's promise.
        let text = unsafe { self::text(text, length, "the text") }?;
        let found = match flags & PROMPT {
            0 => inner.tokenizer.encode(text)?,
            _ => inner.model.prompt_tokens(&inner.tokenizer, text)?,
        };
        // SAFETY: the caller's array has room for `capacity`.
        unsafe { fill(&found, tokens, capacity, n) }
    })
}

/// The text of tokens.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_detokenize(
    model: *const ModelHandle,
    tokens: *const u32,
    n_tokens: usize,
    text: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (tokenizer, n) =
            unsafe { (&self::model(model)?.tokenizer, out(length, "the place for the length")?) };
        // SAFETY: the caller's promise.
        let tokens = unsafe { slice(tokens, n_tokens, "the tokens") }?;
        let mut needed = 0usize;
        for &token in tokens {
            needed = needed.saturating_add(token_bytes(tokenizer, token)?.len());
        }
        // The space that SentencePiece's dummy prefix put before a text is no part of it.
        let first = tokens.iter().map(|&token| tokenizer.token_bytes(token)).find(|bytes| !bytes.is_empty());
        let mut skip =
            usize::from(tokenizer.vocab().add_space_prefix() && first.is_some_and(|b| b[0] == b' '));
        needed -= skip;
        n.write(needed);
        room(needed, capacity)?;
        if needed > 0 && text.is_null() {
            return Err(invalid("the buffer is null"));
        }
        let mut at = 0;
        for &token in tokens {
            let mut bytes = tokenizer.token_bytes(token);
            if !bytes.is_empty() {
                bytes = &bytes[std::mem::take(&mut skip)..];
            }
            // SAFETY: the caller's buffer has `capacity` bytes, and those of all tokens, but for `skip`, are no more.
            unsafe { text.cast::<u8>().add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            at += bytes.len();
        }
        Ok(())
    })
}

/// The text of one token.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_token_text(
    model: *const ModelHandle,
    token: u32,
    bytes: *mut *const c_char,
    length: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (place, n) =
            unsafe { (out(bytes, "the place for the text")?, out(length, "the place for the length")?) };
        // SAFETY: the caller's promise.
        let found = token_bytes(&unsafe { self::model(model) }?.tokenizer, token)?;
        place.write(found.as_ptr().cast());
        n.write(found.len());
        Ok(())
    })
}

/// The bytes of a token that the caller names.
fn token_bytes(tokenizer: &Tokenizer, token: u32) -> Result<&[u8], Failed> {
    let n = tokenizer.vocab_size();
    if token as usize >= n {
        return Err(invalid(format_args!("token {token} does not exist, expected an id below {n}")));
    }
    Ok(tokenizer.token_bytes(token))
}
