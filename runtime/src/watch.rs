//! Looking at what matrices multiply, for whoever wants to round their weights where it hurts least.

/// Told of every product of a step, before it is computed: the names of the matrices that read the same input, its rows, `[tokens, cols]`
/// one after the other, and how many they are.
pub type Watch = Box<dyn FnMut(&[&str], &[f32], usize) + Send>;
