//! Experiments: several short trainings from one prepared text, told apart by what was changed.
//!
//! [`prepared`] tokenizes a text once, for any number of trainers; [`lr_find`] drives the rate of one from too small to too large.

pub mod lr_find;
pub mod prepared;
