//! Seeing gradients: what a run writes down about its inside, and what can be read from it.

pub mod record;
