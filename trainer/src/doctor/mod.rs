//! The doctor.
mod case;
mod finding;
pub mod planted;
pub use case::Case;
pub use finding::{Finding, Severity, Trouble, flags};
pub mod dump;
