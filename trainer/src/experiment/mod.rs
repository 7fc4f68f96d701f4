//! Experiments: several short trainings from one prepared text, told apart by what was changed.
//!
//! [`prepared`] tokenizes a text once, for any number of trainers; [`trial`] trains one and takes its losses and seconds; [`variant`] and
//! [`presets`] say what is changed. Upon them stand [`compare`], which trains variants side by side, keeps them if wanted ([`keep`]) and draws them ([`picture`]), and
//! [`lr_find`], which drives the rate of one training from too small to too large and [suggests](suggest) one; both refuse what they would not use ([`unused`]).

pub mod compare;
pub mod flags;
pub mod keep;
pub mod lr_find;
pub mod picture;
pub mod prepared;
pub mod presets;
pub mod suggest;
pub mod trial;
pub mod unused;
pub mod variant;
