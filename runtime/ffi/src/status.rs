//! What functions return, and which error of the runtime becomes which status.

use siskin::{Error, SamplerError, StopError, TokenizerError};
use siskin_format::Error as FormatError;
use std::ffi::c_char;
use std::fmt;
use std::io;

/// `siskin_status`
pub type Status = i32;

macro_rules! statuses {
    ($($name:ident = $number:literal, $text:literal;)+) => {
        $(#[doc = concat!("`SISKIN_", $text, "`")] pub const $name: Status = $number;)+

        /// The name of a status.
        // SAFETY: no other library uses this prefix.
        #[unsafe(no_mangle)]
        pub extern "C" fn siskin_status_name(status: Status) -> *const c_char {
            let name = match status {
                $($number => concat!($text, "\0"),)+
                _ => "UNKNOWN\0",
            };
            name.as_ptr().cast()
        }
    };
}

statuses! {
    OK = 0, "OK";
    INVALID_ARGUMENT = 1, "INVALID_ARGUMENT";
    NO_MEMORY = 2, "NO_MEMORY";
    IO = 3, "IO";
    BAD_FILE = 4, "BAD_FILE";
    UNSUPPORTED = 5, "UNSUPPORTED";
    BUDGET = 6, "BUDGET";
    BAD_TEXT = 7, "BAD_TEXT";
    CONTEXT_FULL = 8, "CONTEXT_FULL";
    CANCELLED = 9, "CANCELLED";
    BUSY = 10, "BUSY";
    BUFFER_TOO_SMALL = 11, "BUFFER_TOO_SMALL";
    NO_CANDIDATE = 12, "NO_CANDIDATE";
    BAD_STATE = 13, "BAD_STATE";
    INTERNAL = 14, "INTERNAL";
}

/// A status that is not [`OK`], whose text the thread already has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed(pub(crate) Status);

/// What the body of an export gives.
pub(crate) type Outcome = Result<(), Failed>;

impl Failed {
    /// Notes the text and gives the status.
    pub(crate) fn new(status: Status, text: impl fmt::Display) -> Failed {
        crate::guard::note(format_args!("{text}"));
        Failed(status)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::new(status(&error), &error)
    }
}

impl From<FormatError> for Failed {
    fn from(error: FormatError) -> Failed {
        Failed::new(format_status(&error), &error)
    }
}

impl From<TokenizerError> for Failed {
    fn from(error: TokenizerError) -> Failed {
        Failed::new(tokenizer_status(&error), &error)
    }
}

fn status(error: &Error) -> Status {
    match error {
        Error::Isa { .. } => UNSUPPORTED,
        Error::Format(error) => format_status(error),
        Error::Tensor { .. } => BAD_FILE,
        Error::Context { .. } | Error::Token { .. } | Error::NoTokens => INVALID_ARGUMENT,
        Error::NoSource | Error::NoEncoder => INVALID_ARGUMENT,
        Error::ContextFull { .. } => CONTEXT_FULL,
        Error::SavedState(_) => BAD_STATE,
        Error::Cancelled => CANCELLED,
        Error::Budget { .. } => BUDGET,
        Error::OutOfMemory { .. } | Error::Threads(_) => NO_MEMORY,
        Error::Sampler(SamplerError::NoCandidate) => NO_CANDIDATE,
        Error::Sampler(SamplerError::OutOfMemory { .. }) | Error::Stop(StopError::OutOfMemory) => NO_MEMORY,
        Error::Sampler(_) | Error::Stop(_) => INVALID_ARGUMENT,
        Error::Tokenizer(error) => tokenizer_status(error),
        _ => INTERNAL,
    }
}

fn format_status(error: &FormatError) -> Status {
    match error {
        FormatError::Io { source, .. } if source.kind() == io::ErrorKind::OutOfMemory => NO_MEMORY,
        FormatError::Io { .. } | FormatError::NotAFile { .. } => IO,
        FormatError::UnsupportedVersion { .. } => UNSUPPORTED,
        FormatError::TooLarge { .. } | FormatError::OutOfMemory { .. } => NO_MEMORY,
        _ => BAD_FILE,
    }
}

fn tokenizer_status(error: &TokenizerError) -> Status {
    match error {
        TokenizerError::UnsupportedVocab => UNSUPPORTED,
        TokenizerError::OutOfMemory { .. } => NO_MEMORY,
        _ => BAD_TEXT,
    }
}
