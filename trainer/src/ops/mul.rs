//! Elementwise product, `y = a b`: the gate. `da = dy b`, `db = dy a`.

use crate::float::Float;
use crate::ops::Op;
use crate::ops::simd::kernel;
use crate::tape::Tape;
use crate::tensor::Var;

kernel! {
    fn product<'a, T>(y: &'a mut [T], a: &'a [T], b: &'a [T]) {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = a * b;
        }
    }
}

/// What the backward pass of [`Tape::mul`] needs.
#[derive(Debug)]
pub(crate) struct Mul {
    a: Var,
    b: Var,
    y: Var,
}

impl<T: Float> Tape<T> {
    /// `y = a b`, element by element; all three have one shape.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn mul(&mut self, a: Var, b: Var) -> Var {
        assert_eq!(self.shape(a), self.shape(b), "a product of different shapes");
        let (rows, cols) = self.shape(a);
        let mut out = self.pool.take(rows * cols);
        product(&mut out, self.value(a), self.value(b));
        let y = self.push(rows, cols, out);
        self.record(Op::Mul(Mul { a, b, y }), y)
    }
}

impl Mul {
    pub(crate) fn backward<T: Float>(self, tape: &mut Tape<T>, _: &[T], _: &mut [T]) {
        let dy = tape.take_grad(self.y);
        for (to, other) in [(self.a, self.b), (self.b, self.a)] {
            let mut delta = tape.pool.take(dy.len());
            product(&mut delta, &dy, tape.value(other));
            tape.accumulate(to, delta);
        }
        tape.pool.give(dy);
    }

    pub(crate) fn discard<T: Float>(self, _: &mut Tape<T>) {}
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::check_op;

    #[test]
    fn gradient() {
        check_op(0, &[(3, 4), (3, 4)], |tape, _, x| tape.mul(x[0], x[1]));
        check_op(0, &[(3, 4)], |tape, _, x| tape.mul(x[0], x[0]));
    }
}
