//! Rotary positions (Su et al. 2021), on rows that hold `[queries | keys | values]`, in place.
//!
//! Channels `i` and `i + head_dim/2` of each query and key head turn by `pos * theta^(-2i/head_dim)`:
//! `a' = a cos - b sin`, `b' = b cos + a sin`. Backward turns the gradient the other way.

use std::sync::Arc;

use crate::float::Float;
use crate::ops::Op;
use crate::ops::qk_norm::Heads;
use crate::ops::simd::kernel;
use crate::tape::Tape;
use crate::tensor::{Layout, Var};

/// Cosines and sines of every position of a context.
#[derive(Clone, Debug)]
pub struct RopeTable<T> {
    cos: Arc<[T]>, // [context, head_dim / 2]
    sin: Arc<[T]>, // [context, head_dim / 2]
}

impl<T: Float> RopeTable<T> {
    /// The table of `context` positions and base `theta`; `divisors` `[head_dim / 2]`, if any, divide the frequencies.
    pub fn new(context: usize, head_dim: usize, theta: f64, divisors: &[f32]) -> Self {
        let half = head_dim / 2;
        let divisor = |i: usize| divisors.get(i).map_or(1.0, |&d| f64::from(d));
        let frequency = |i: usize| theta.powf(-((2 * i) as f64) / head_dim as f64) / divisor(i);
        let angle = |i: usize| (i / half) as f64 * frequency(i % half);
        RopeTable {
            cos: (0..context * half).map(|i| T::from_f64(angle(i).cos())).collect(),
            sin: (0..context * half).map(|i| T::from_f64(angle(i).sin())).collect(),
        }
    }
}

kernel! {
    /// Turns every query and key of `x` forth (`direction` 1) or back (-1).
    fn rotate<'a, T>(x: &'a mut [T], cos: &'a [T], sin: &'a [T], heads: Heads, layout: Layout, direction: T) {
        let half = heads.head_dim / 2;
        for (row, x) in x.chunks_exact_mut(heads.qkv_width()).enumerate() {
            let at = layout.place(row).1 * half;
            let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
            for head in x[..heads.qk_heads() * heads.head_dim].chunks_exact_mut(heads.head_dim) {
                let (a, b) = head.split_at_mut(half);
                for i in 0..half {
                    let (s, (re, im)) = (direction * sin[i], (a[i], b[i]));
                    a[i] = re * cos[i] - im * s;
                    b[i] = im * cos[i] + re * s;
                }
            }
        }
    }
}

/// What the backward pass of [`Tape::rope`] needs.
#[derive(Debug)]
pub(crate) struct Rope<T> {
    x: Var,
    y: Var,
    heads: Heads,
    layout: Layout,
    table: RopeTable<T>,
}

impl<T: Float> Tape<T> {
    /// Rotates queries and keys of x `[rows, heads.qkv_width()]` by their positions. Takes x's buffer over: x's
    /// value must not be needed again.
    ///
    /// # Panics
    /// If a sequence is longer than the table.
    pub fn rope(&mut self, x: Var, heads: Heads, layout: Layout, table: &RopeTable<T>) -> Var {
        let (rows, cols) = self.shape(x);
        assert_eq!((rows, cols), (layout.rows(), heads.qkv_width()), "queries, keys and values side by side");
        let mut value = self.take_value(x);
        rotate(&mut value, &table.cos, &table.sin, heads, layout, T::ONE);
        let y = self.push(rows, cols, value);
        self.record(Op::Rope(Rope { x, y, heads, layout, table: table.clone() }), y)
    }
}

impl<T: Float> Rope<T> {
    pub(crate) fn backward(self, tape: &mut Tape<T>, _: &[T], _: &mut [T]) {
        let mut dy = tape.take_grad(self.y);
        rotate(&mut dy, &self.table.cos, &self.table.sin, self.heads, self.layout, -T::ONE);
        tape.accumulate(self.x, dy);
    }

    pub(crate) fn discard(self, _: &mut Tape<T>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::check_op;

    #[test]
    fn gradient() {
        let heads = Heads { n_heads: 2, n_kv_heads: 1, head_dim: 6 };
        let table = RopeTable::new(5, 6, 10_000.0, &[]);
        for time_major in [false, true] {
            let layout = Layout { batch: 2, len: 4, time_major };
            check_op(0, &[(8, 24)], |tape, _, x| tape.rope(x[0], heads, layout, &table));
        }
    }

    #[test]
    fn the_first_pair_turns_by_the_position() {
        let heads = Heads { n_heads: 1, n_kv_heads: 1, head_dim: 2 };
        let table = RopeTable::new(3, 2, 10_000.0, &[]);
        let mut tape = Tape::<f64>::new();
        let x = tape.input(3, 6, &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0].repeat(3));
        let y = tape.rope(x, heads, Layout { batch: 1, len: 3, time_major: false }, &table);
        let row = &tape.value(y)[12..];
        let expected = [2f64.cos(), 2f64.sin(), 2f64.cos(), 2f64.sin(), 1.0, 0.0];
        assert!(row.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15));
    }
}
