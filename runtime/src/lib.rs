//! The siskin inference runtime.
