//! libsiskin: the runtime for C programmers. `include/siskin.h` is the documentation and the contract; here it is kept.
//!
//! Every export is one call of `guard` (guard.rs), which catches panics and gives a status. What callers must uphold, for every
//! function: a pointer that is not null points to what the header says, for as long as the header says.
//!
//! Tests and fuzz targets may call the exports as Rust functions; C programs link `libsiskin`, which has the feature `capi`.

#![deny(unsafe_op_in_unsafe_fn, missing_docs)]
#![allow(unsafe_code)] // a C interface is pointers

mod arguments;
mod feed;
mod guard;
mod model;
mod options;
#[cfg(feature = "capi")]
mod reserve;
mod saved;
mod session;
mod status;
mod steps;
mod tokens;

pub use feed::*;
pub use guard::siskin_error_text;
pub use model::*;
pub use options::*;
pub use saved::*;
pub use session::*;
pub use status::*;
pub use steps::*;
pub use tokens::*;

use std::ffi::c_char;

/// The version of the library.
// SAFETY: no other library uses this prefix.
#[unsafe(no_mangle)]
pub extern "C" fn siskin_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
