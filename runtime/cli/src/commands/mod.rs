//! One file per command.

pub mod bench;
pub mod chat;
pub mod eval;
pub mod info;
pub mod pairs;
pub mod run;
pub mod score;
pub mod tokenize;
pub mod verify;
