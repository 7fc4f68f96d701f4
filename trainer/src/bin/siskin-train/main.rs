//! Trains text generators.
fn main() {}
