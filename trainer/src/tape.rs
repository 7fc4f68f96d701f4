//! The tape of reverse-mode differentiation: what was computed, in order, so that gradients can flow back.
//!
//! An op's forward method computes its value, saves what its backward needs and records itself; [`Tape::backward`]
//! walks the record from the end. Parameters are not on the tape: ops read them from one flat slice and add their
//! gradients to another of the same shape. Every buffer comes from a [`Pool`] and returns to it as soon as the
//! walk has passed it, so a step after the first allocates nothing.

use crate::float::Float;
use crate::ops::Op;
use crate::pool::Pool;
use crate::tensor::Var;

/// One value: a row-major `[rows, cols]` matrix and, once something has flowed back to it, its gradient.
#[derive(Debug)]
struct Slot<T> {
    rows: usize,
    cols: usize,
    value: Vec<T>, // [rows, cols]; empty when freed, or when an in-place op took it over
    grad: Vec<T>,  // [rows, cols]; empty until a gradient arrives
}

/// How many values and ops a tape had.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    slots: usize,
    ops: usize,
}

/// Values and the ops between them. One thread uses one tape, and keeps it from step to step.
#[derive(Debug)]
pub struct Tape<T> {
    slots: Vec<Slot<T>>,
    ops: Vec<(Op<T>, Var)>, // the op and the value it made
    recording: bool,
    /// Products read what a quantized product of the runtime would.
    pub(crate) quantizes: bool,
    retained: Vec<(Var, Vec<T>)>, // values whose gradient outlives backward
    pub(crate) pool: Pool<T>,
    pub(crate) ids: Pool<u32>,
}

impl<T: Float> Default for Tape<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Float> Tape<T> {
    /// An empty tape that records.
    pub fn new() -> Self {
        Tape {
            slots: Vec::new(),
            ops: Vec::new(),
            recording: true,
            quantizes: false,
            retained: Vec::new(),
            pool: Pool::new(),
            ids: Pool::new(),
        }
    }

    /// Forgets everything and keeps the buffers; with `recording` off, what follows cannot flow back.
    pub fn reset(&mut self, recording: bool) {
        while let Some((op, _)) = self.ops.pop() {
            op.discard(self);
        }
        while let Some(slot) = self.slots.pop() {
            self.pool.give(slot.value);
            self.pool.give(slot.grad);
        }
        while let Some((_, grad)) = self.retained.pop() {
            self.pool.give(grad);
        }
        self.recording = recording;
    }

    /// Whether ops are being recorded.
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    /// A value that no op made: `[rows, cols]`, copied.
    ///
    /// # Panics
    /// If `value` does not have `rows * cols` elements.
    pub fn input(&mut self, rows: usize, cols: usize, value: &[T]) -> Var {
        let value = self.pool.take_copy(value);
        self.push(rows, cols, value)
    }

    /// The elements of a value, row-major.
    ///
    /// # Panics
    /// If it was freed: after backward, or because an in-place op took it over.
    pub fn value(&self, v: Var) -> &[T] {
        let slot = &self.slots[v.0];
        assert_eq!(slot.value.len(), slot.rows * slot.cols, "this value was freed or taken over in place");
        &slot.value
    }

    /// `(rows, cols)` of a value.
    pub fn shape(&self, v: Var) -> (usize, usize) {
        (self.slots[v.0].rows, self.slots[v.0].cols)
    }

    /// Keeps the gradient of `v`, a value that an op made, for [`Tape::grad`] after backward.
    pub fn retain_grad(&mut self, v: Var) {
        self.retained.push((v, Vec::new()));
    }

    /// The gradient, after backward, of an input or of a value that was [retained](Tape::retain_grad); `None` if nothing flowed
    /// to it.
    pub fn grad(&self, v: Var) -> Option<&[T]> {
        let retained = self.retained.iter().find(|(kept, _)| *kept == v);
        let grad = retained.map_or(&self.slots[v.0].grad, |(_, grad)| grad);
        (!grad.is_empty()).then_some(grad)
    }

    /// Adds `seed` to the gradient of `v`: where a walk back begins.
    ///
    /// # Panics
    /// If `seed` has another number of elements than `v`.
    pub fn seed(&mut self, v: Var, seed: &[T]) {
        let seed = self.pool.take_copy(seed);
        self.accumulate(v, seed);
    }

    /// Walks back over everything recorded, adding the parameters' gradients to `grads` (as long as `params`).
    ///
    /// Only the gradients of inputs survive it; values and intermediate gradients go back to the pool on the way.
    ///
    /// # Panics
    /// If `grads` and `params` differ in length.
    pub fn backward(&mut self, params: &[T], grads: &mut [T]) {
        self.walk_back(0, params, grads);
    }

    /// Walks back over what was recorded since `mark`, whose values go with it.
    pub(crate) fn backward_to(&mut self, mark: Mark, params: &[T], grads: &mut [T]) {
        self.walk_back(mark.ops, params, grads);
        self.forget_values(mark);
    }

    /// Walks back to the op number `first`.
    fn walk_back(&mut self, first: usize, params: &[T], grads: &mut [T]) {
        assert_eq!(params.len(), grads.len(), "a gradient per parameter");
        while self.ops.len() > first
            && let Some((op, made)) = self.ops.pop()
        {
            if self.slots[made.0].grad.is_empty() {
                op.discard(self);
            } else {
                self.keep_retained(made);
                op.backward(self, params, grads);
            }
            let value = std::mem::take(&mut self.slots[made.0].value);
            self.pool.give(value);
        }
    }

    /// Where the tape stands.
    pub(crate) fn mark(&self) -> Mark {
        Mark { slots: self.slots.len(), ops: self.ops.len() }
    }

    /// Forgets what was recorded since `mark` but the value of `v`, which becomes an input.
    pub(crate) fn keep_only(&mut self, mark: Mark, v: Var) -> Var {
        let (rows, cols) = self.shape(v);
        let value = self.take_value(v);
        while self.ops.len() > mark.ops
            && let Some((op, _)) = self.ops.pop()
        {
            op.discard(self);
        }
        self.forget_values(mark);
        self.push(rows, cols, value)
    }

    /// Takes the last value `v` off the tape and returns its gradient.
    ///
    /// # Panics
    /// If `v` is not the last value.
    pub(crate) fn pop_gradient(&mut self, v: Var) -> Vec<T> {
        assert_eq!(v.0 + 1, self.slots.len(), "only the last value can be taken off");
        let grad = self.take_grad(v);
        self.forget_values(Mark { slots: v.0, ops: self.ops.len() });
        grad
    }

    /// Gives the buffers of the values since `mark` back.
    fn forget_values(&mut self, mark: Mark) {
        for slot in self.slots.drain(mark.slots..) {
            self.pool.give(slot.value);
            self.pool.give(slot.grad);
        }
    }

    /// Copies the gradient of `v`, which is now whole, if somebody wants to look at it later.
    fn keep_retained(&mut self, v: Var) {
        if let Some((_, kept)) = self.retained.iter_mut().find(|(kept, _)| *kept == v) {
            let copy = self.pool.take_copy(&self.slots[v.0].grad);
            self.pool.give(std::mem::replace(kept, copy));
        }
    }

    /// Bytes of every buffer that this tape holds, in use or free.
    pub fn bytes(&self) -> usize {
        self.pool.allocated() * size_of::<T>() + self.ids.allocated() * size_of::<u32>()
    }

    /// A new value in `value`, a buffer of the pool.
    pub(crate) fn push(&mut self, rows: usize, cols: usize, value: Vec<T>) -> Var {
        assert_eq!(value.len(), rows * cols, "a value of {rows} x {cols}");
        self.slots.push(Slot { rows, cols, value, grad: Vec::new() });
        Var(self.slots.len() - 1)
    }

    /// Records `op`, which made `made`; gives its buffers back at once when not recording.
    pub(crate) fn record(&mut self, op: Op<T>, made: Var) -> Var {
        if self.recording {
            self.ops.push((op, made));
        } else {
            op.discard(self);
        }
        made
    }

    /// What was recorded last.
    pub(crate) fn last_op(&self) -> Option<&Op<T>> {
        self.ops.last().map(|(op, _)| op)
    }

    /// Takes over the buffer of `v`, whose value nobody may need again, for an op that works in place.
    pub(crate) fn take_value(&mut self, v: Var) -> Vec<T> {
        self.value(v);
        std::mem::take(&mut self.slots[v.0].value)
    }

    /// Takes the gradient of an op's own output.
    pub(crate) fn take_grad(&mut self, v: Var) -> Vec<T> {
        std::mem::take(&mut self.slots[v.0].grad)
    }

    /// A buffer to add the gradient of `v` into, and whether it holds something to add to. Goes back by
    /// [`Tape::put_grad`].
    pub(crate) fn grad_buffer(&mut self, v: Var) -> (Vec<T>, bool) {
        let slot = &mut self.slots[v.0];
        let grad = std::mem::take(&mut slot.grad);
        if grad.is_empty() { (self.pool.take(slot.rows * slot.cols), false) } else { (grad, true) }
    }

    /// Stores the gradient of `v`.
    pub(crate) fn put_grad(&mut self, v: Var, grad: Vec<T>) {
        self.slots[v.0].grad = grad;
    }

    /// Adds `delta` to the gradient of `v` and consumes it; a first gradient is moved, not copied.
    pub(crate) fn accumulate(&mut self, v: Var, delta: Vec<T>) {
        let slot = &mut self.slots[v.0];
        assert_eq!(delta.len(), slot.rows * slot.cols, "a gradient has the shape of its value");
        if slot.grad.is_empty() {
            slot.grad = delta;
        } else {
            crate::ops::simd::add_into(&mut slot.grad, &delta);
            self.pool.give(delta);
        }
    }
}
