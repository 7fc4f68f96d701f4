//! Activations rounded as the runtime rounds them before a quantized product, for training that knows of it.
//!
//! Per row and group of 32 columns: `scale = max |x| / 127`, `y = scale · round(x / scale)` (format/SPEC.md; the runtime's
//! `kernels/quantize.rs`). Backward: the straight-through estimator, `dx = dy` (Bengio, Léonard & Courville 2013).

use crate::float::Float;
use crate::ops::Op;
use crate::ops::simd::{kernel, lane_max};
use crate::tape::Tape;
use crate::tensor::Var;

/// Columns that share a scale.
const GROUP: usize = 32;
/// Largest code.
const MAX_CODE: f64 = 127.0;

/// What the backward pass of [`Tape::fake_quantize`] needs.
#[derive(Debug)]
pub(crate) struct FakeQuantize {
    x: Var,
    y: Var,
}

kernel! {
    /// Rounds `x` `[rows, cols]` in place.
    pub(crate) fn fake_quantize_rows<'a, T>(x: &'a mut [T], cols: usize) {
        let (limit, magic) = (T::from_f64(MAX_CODE), T::ROUNDING);
        for row in x.chunks_exact_mut(cols) {
            for group in row.chunks_mut(GROUP) {
                let (low, high) = (group.iter().fold(T::ZERO, |m, &x| m.max(-x)), lane_max(group));
                let largest = low.max(high);
                if largest > T::ZERO {
                    let (inverse, scale) = (limit / largest, largest / limit);
                    // Adding and taking away 1.5 · 2^(mantissa bits) rounds to the nearest integer, ties to even.
                    group.iter_mut().for_each(|x| *x = scale * ((*x * inverse + magic) - magic));
                }
            }
        }
    }
}

impl<T: Float> Tape<T> {
    /// What a product reads of `x` `[rows, cols]`: `x` itself, or its fake quantization where the tape is told to.
    pub(crate) fn product_input(&mut self, x: Var) -> Var {
        if self.quantizes { self.fake_quantize(x) } else { x }
    }

    /// `x` `[rows, cols]` rounded per row and group of 32 columns.
    pub fn fake_quantize(&mut self, x: Var) -> Var {
        let (rows, cols) = self.shape(x);
        let mut out = self.pool.take(rows * cols);
        out.copy_from_slice(self.value(x));
        fake_quantize_rows(&mut out, cols);
        let y = self.push(rows, cols, out);
        self.record(Op::FakeQuantize(FakeQuantize { x, y }), y)
    }
}

impl FakeQuantize {
    pub(crate) fn backward<T: Float>(self, tape: &mut Tape<T>, _: &[T], _: &mut [T]) {
        let dy = tape.take_grad(self.y);
        tape.accumulate(self.x, dy);
    }

    pub(crate) fn discard<T: Float>(self, _: &mut Tape<T>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_whole_steps_of_their_group() {
        let mut x: Vec<f32> = (0..2 * 40).map(|i| ((i * 37) % 101) as f32 * 0.3 - 15.0).collect();
        let exact = x.clone();
        fake_quantize_rows(&mut x, 40);
        for (row, exact) in x.chunks(40).zip(exact.chunks(40)) {
            for (group, exact) in row.chunks(GROUP).zip(exact.chunks(GROUP)) {
                let largest = exact.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                for (y, x) in group.iter().zip(exact) {
                    let code = y / (largest / 127.0);
                    assert!((code - code.round()).abs() < 1e-3 && code.abs() < 127.5, "{code}");
                    assert!((y - x).abs() <= 0.501 * largest / 127.0, "{x} became {y}");
                }
            }
        }
        let mut zeros = [0.0f32; 33];
        fake_quantize_rows(&mut zeros, 33);
        assert_eq!(zeros, [0.0; 33]);
    }

    #[test]
    fn the_gradient_passes_straight_through() {
        let mut tape = Tape::<f64>::new();
        let x = tape.input(1, 3, &[0.1, -0.77, 0.5]);
        let y = tape.fake_quantize(x);
        tape.seed(y, &[1.0, 2.0, 3.0]);
        tape.backward(&[], &mut []);
        assert_eq!(tape.grad(x).unwrap(), [1.0, 2.0, 3.0]);
    }
}
