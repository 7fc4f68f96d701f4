//! The siskin trainer.
