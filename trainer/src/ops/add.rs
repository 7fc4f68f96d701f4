//! Residual addition, `y = a + b` (He et al. 2015): the gradient flows to both unchanged.

use crate::float::Float;
use crate::ops::{Op, simd};
use crate::tape::Tape;
use crate::tensor::Var;

/// What the backward pass of [`Tape::add`] needs.
#[derive(Debug)]
pub(crate) struct Add {
    a: Var,
    b: Var,
    y: Var,
}

impl<T: Float> Tape<T> {
    /// `y = a + b`; all three have one shape.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn add(&mut self, a: Var, b: Var) -> Var {
        assert_eq!(self.shape(a), self.shape(b), "a sum of different shapes");
        let (rows, cols) = self.shape(a);
        let mut out = self.pool.take(rows * cols);
        out.copy_from_slice(self.value(a));
        simd::add_into(&mut out, self.value(b));
        let y = self.push(rows, cols, out);
        self.record(Op::Add(Add { a, b, y }), y)
    }
}

impl Add {
    pub(crate) fn backward<T: Float>(self, tape: &mut Tape<T>, _: &[T], _: &mut [T]) {
        let dy = tape.take_grad(self.y);
        let copy = tape.pool.take_copy(&dy);
        tape.accumulate(self.b, copy);
        tape.accumulate(self.a, dy);
    }

    pub(crate) fn discard<T: Float>(self, _: &mut Tape<T>) {}
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::check_op;

    #[test]
    fn gradient() {
        check_op(0, &[(3, 4), (3, 4)], |tape, _, x| tape.add(x[0], x[1]));
        check_op(0, &[(3, 4)], |tape, _, x| tape.add(x[0], x[0]));
    }
}
