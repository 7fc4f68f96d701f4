//! The head and its loss in one: logits, soft-cap, softmax and cross-entropy, a block of rows at a time.
//!
//! `z = x Wᵀ + b`, `z' = cap tanh(z / cap)` if capped (Gemma 2), loss `-ln softmax(z')_target`. The gradient
//! `dz' = softmax(z') - [target]` overwrites the logits, and flows to x, W and b before the next block is computed, so
//! that a large vocabulary never holds more than one block of logits.

use crate::float::Float;
use crate::ops::gemm::{View, ViewMut, gemm};
use crate::ops::simd::{add_column_sums, kernel, lane_max, lane_sum};
use crate::tape::Tape;
use crate::tensor::{Layout, Matrix, Var, Vector};

/// A target that counts for nothing (padding).
pub const IGNORE: u32 = u32::MAX;

/// Logits of one block: 4 MiB of f32.
const BLOCK_ELEMENTS: usize = 1 << 20;

/// Fewest rows of a block: below, the product with the head would be bound by memory.
const BLOCK_ROWS: usize = 64;

/// The last map of a model, from its width to logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head {
    /// `[vocab_size, width]`; the embedding's own matrix when tied.
    pub weight: Matrix,
    /// `[vocab_size]`.
    pub bias: Option<Vector>,
    /// 0 for none.
    pub softcap: f64,
}

kernel! {
    /// `cap tanh(z / cap)` of every logit.
    pub(super) fn cap_logits<'a, T>(z: &'a mut [T], cap: T) {
        let inverse = T::ONE / cap;
        for z in z {
            *z = cap * (*z * inverse).tanh();
        }
    }

    /// Turns a row of logits into `scale (softmax - [target])`; returns `-ln softmax_target`.
    fn loss_row<'a, T>(z: &'a mut [T], target: usize, scale: T) -> T {
        let max = lane_max(z);
        let at_target = z[target] - max;
        z.iter_mut().for_each(|z| *z = (*z - max).exp());
        let sum = lane_sum(z.len(), |j| z[j]);
        let factor = scale / sum;
        z.iter_mut().for_each(|z| *z *= factor);
        z[target] -= scale;
        sum.ln() - at_target
    }

    /// `dz *= 1 - (capped / cap)²`: back through the cap.
    pub(super) fn uncap_gradient<'a, T>(dz: &'a mut [T], capped: &'a [T], cap: T) {
        let inverse = T::ONE / cap;
        for (dz, &z) in dz.iter_mut().zip(capped) {
            *dz *= T::ONE - (z * inverse) * (z * inverse);
        }
    }
}

impl<T: Float> Tape<T> {
    /// Sum over the rows of `-ln p(target)`, in nats; rows whose target is [`IGNORE`] count for nothing.
    ///
    /// x is `[rows, width]`; `targets` is `[batch, len]`, sequence by sequence, whatever the layout of the rows. With `grads`, the gradient of
    /// `scale` times that sum is added to the head's parameters there and to x on the tape, ready for
    /// [`Tape::backward`].
    ///
    /// # Panics
    /// If a target is outside the vocabulary.
    pub fn head_loss(
        &mut self,
        params: &[T],
        grads: Option<&mut [T]>,
        x: Var,
        head: Head,
        targets: &[u32],
        layout: Layout,
        scale: T,
    ) -> f64 {
        assert_eq!(targets.len(), layout.rows(), "a target per row");
        let vocab = head.weight.rows;
        let mut capped = self.pool.take(if head.softcap > 0.0 { vocab } else { 0 });
        let loss = self.head_blocks(params, grads, x, head, layout, |first, z| {
            let mut loss = 0.0;
            for (r, z) in z.chunks_exact_mut(vocab).enumerate() {
                let (b, t) = layout.place(first + r);
                loss += row(z, &mut capped, targets[b * layout.len + t], head.softcap, scale);
            }
            loss
        });
        self.pool.give(capped);
        loss
    }

    /// Runs the head over x `[rows, width]`, a block of rows at a time: `rows_loss` is given the block's first row and its logits
    /// before any cap, `[n, vocab_size]`, puts their gradient in their place and returns the rows' loss. With `grads`, that gradient flows
    /// back to the head's parameters there and to x.
    pub(super) fn head_blocks(
        &mut self,
        params: &[T],
        mut grads: Option<&mut [T]>,
        x: Var,
        head: Head,
        layout: Layout,
        mut rows_loss: impl FnMut(usize, &mut [T]) -> f64,
    ) -> f64 {
        let (rows, width) = self.shape(x);
        assert_eq!((rows, width), (layout.rows(), head.weight.cols), "rows of the head's width");
        let vocab = head.weight.rows;
        let block = block_rows(vocab).min(rows);
        let mut logits = self.pool.take(block * vocab);
        let (mut dx, onto) = match grads {
            Some(_) => self.grad_buffer(x),
            None => (Vec::new(), false),
        };
        let mut loss = 0.0;
        for first in (0..rows).step_by(block) {
            let n = block.min(rows - first);
            let input = &self.value(x)[first * width..(first + n) * width];
            let z = &mut logits[..n * vocab];
            head_logits(params, input, head, z);
            loss += rows_loss(first, z);
            if let Some(grads) = grads.as_deref_mut() {
                let dx = &mut dx[first * width..(first + n) * width];
                head_backward(params, grads, input, head, z, dx, onto);
            }
        }
        self.pool.give(logits);
        if grads.is_some() {
            self.put_grad(x, dx);
        }
        loss
    }

    /// Logits of x `[rows, width]`: `[rows, vocab_size]`, in the layout of the rows, not recorded.
    pub fn logits(&mut self, params: &[T], x: Var, head: Head) -> Var {
        let (rows, _) = self.shape(x);
        let mut z = self.pool.take(rows * head.weight.rows);
        head_logits(params, self.value(x), head, &mut z);
        if head.softcap > 0.0 {
            cap_logits(&mut z, T::from_f64(head.softcap));
        }
        self.push(rows, head.weight.rows, z)
    }
}

/// Rows of a block.
pub(super) fn block_rows(vocab: usize) -> usize {
    (BLOCK_ELEMENTS / vocab).max(BLOCK_ROWS)
}

/// `z = x Wᵀ + b`, before any cap.
pub(super) fn head_logits<T: Float>(params: &[T], x: &[T], head: Head, z: &mut [T]) {
    let Matrix { rows: vocab, cols: width, .. } = head.weight;
    if let Some(bias) = head.bias {
        z.chunks_exact_mut(vocab).for_each(|z| z.copy_from_slice(&params[bias.range()]));
    }
    let (n, weight) = (x.len() / width, View::new(&params[head.weight.range()], vocab, width));
    gemm(T::ONE, View::new(x, n, width), weight.t(), head.bias.is_some(), ViewMut::new(z, n, vocab));
}

/// Loss of one row, whose logits become their gradient.
fn row<T: Float>(z: &mut [T], capped: &mut [T], target: u32, softcap: f64, scale: T) -> f64 {
    if target == IGNORE {
        z.fill(T::ZERO);
        return 0.0;
    }
    let target = target as usize;
    assert!(target < z.len(), "target {target} of a vocabulary of {}", z.len());
    if softcap == 0.0 {
        return loss_row(z, target, scale).to_f64();
    }
    let cap = T::from_f64(softcap);
    cap_logits(z, cap);
    capped.copy_from_slice(z);
    let loss = loss_row(z, target, scale).to_f64();
    uncap_gradient(z, capped, cap);
    loss
}

fn head_backward<T: Float>(
    params: &[T],
    grads: &mut [T],
    x: &[T],
    head: Head,
    dz: &[T],
    dx: &mut [T],
    onto: bool,
) {
    let Matrix { rows: vocab, cols: width, .. } = head.weight;
    let n = x.len() / width;
    let dz_view = View::new(dz, n, vocab);
    let weight = View::new(&params[head.weight.range()], vocab, width);
    gemm(T::ONE, dz_view, weight, onto, ViewMut::new(dx, n, width));
    let dw = ViewMut::new(&mut grads[head.weight.range()], vocab, width);
    gemm(T::ONE, dz_view.t(), View::new(x, n, width), true, dw);
    if let Some(bias) = head.bias {
        add_column_sums(&mut grads[bias.range()], dz);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{five_point, relative_error, samples};

    fn head(softcap: f64) -> Head {
        let weight = Matrix { offset: 0, rows: 7, cols: 3 };
        Head { weight, bias: Some(Vector { offset: 21, len: 7 }), softcap }
    }

    const LAYOUT: Layout = Layout { batch: 2, len: 2, time_major: true };
    const TARGETS: [u32; 4] = [3, IGNORE, 0, 6];

    fn loss(params: &[f64], x: &[f64], softcap: f64) -> f64 {
        let mut tape = Tape::new();
        let x = tape.input(4, 3, x);
        0.25 * tape.head_loss(params, None, x, head(softcap), &TARGETS, LAYOUT, 0.25)
    }

    #[test]
    fn gradient_of_head_and_input() {
        for softcap in [0.0, 2.0] {
            let (params, x) = (samples(28, 1), samples(12, 2));
            let (mut tape, mut grads) = (Tape::new(), vec![0.0; 28]);
            let v = tape.input(4, 3, &x);
            tape.head_loss(&params, Some(&mut grads), v, head(softcap), &TARGETS, LAYOUT, 0.25);
            for i in 0..28 {
                let numeric = five_point(&params, i, 1e-3, |p| loss(p, &x, softcap));
                assert!(relative_error(grads[i], numeric, 1e-3) < 1e-6);
            }
            for i in 0..12 {
                let numeric = five_point(&x, i, 1e-3, |x| loss(&params, x, softcap));
                assert!(relative_error(tape.grad(v).unwrap()[i], numeric, 1e-3) < 1e-6);
            }
        }
    }

    #[test]
    fn blocks_make_no_difference() {
        let (vocab, rows) = (1 << 14, 150); // blocks of 64 rows
        let weight = Matrix { offset: 0, rows: vocab, cols: 2 };
        let head = Head { weight, bias: None, softcap: 0.0 };
        let (params, x) = (samples(2 * vocab, 3), samples(2 * rows, 4));
        let targets: Vec<u32> = (0..rows as u32).map(|i| i * 100).collect();
        let mut tape = Tape::new();
        let mut grads = vec![0.0; 2 * vocab];
        let v = tape.input(rows, 2, &x);
        let layout = Layout { batch: 1, len: rows, time_major: false };
        let whole = tape.head_loss(&params, Some(&mut grads), v, head, &targets, layout, 1.0);
        let mut parts = 0.0;
        let mut part_grads = vec![0.0; 2 * vocab];
        for r in 0..rows {
            let v = tape.input(1, 2, &x[2 * r..2 * r + 2]);
            let layout = Layout { batch: 1, len: 1, time_major: false };
            parts += tape.head_loss(&params, Some(&mut part_grads), v, head, &targets[r..=r], layout, 1.0);
        }
        assert!((whole - parts).abs() < 1e-9);
        assert!(grads.iter().zip(&part_grads).all(|(a, b)| (a - b).abs() < 1e-9));
    }

    /// 1,024 tokens of 32,000 would take 131 MB in logits alone, and as much in their gradient.
    #[test]
    fn a_large_vocabulary_is_held_a_block_at_a_time() {
        let (vocab, width, rows) = (32_000, 4, 1024);
        let head = Head { weight: Matrix { offset: 0, rows: vocab, cols: width }, bias: None, softcap: 15.0 };
        let (params, mut grads) = (vec![0.01f32; vocab * width], vec![0.0; vocab * width]);
        let mut tape = Tape::new();
        let x = tape.input(rows, width, &vec![0.5; rows * width]);
        let targets: Vec<u32> = (0..rows as u32).map(|i| i * 31).collect();
        let layout = Layout { batch: 4, len: rows / 4, time_major: false };
        let loss = tape.head_loss(&params, Some(&mut grads), x, head, &targets, layout, 1.0);
        assert!((loss / rows as f64 - (vocab as f64).ln()).abs() < 1e-3);
        let block = BLOCK_ROWS * vocab * 4;
        assert!(tape.bytes() < block + (1 << 20), "{} bytes", tape.bytes());
        assert!(16 * block <= rows * vocab * 4, "a block is a small part of all logits");
    }

    #[test]
    fn uniform_logits_cost_the_log_of_the_vocabulary() {
        let mut tape = Tape::<f64>::new();
        let x = tape.input(1, 3, &[0.0; 3]);
        let layout = Layout { batch: 1, len: 1, time_major: false };
        let loss = tape.head_loss(&[0.0; 28], None, x, head(0.0), &[2], layout, 1.0);
        assert!((loss - 7f64.ln()).abs() < 1e-15);
    }
}
