//! Elementwise nonlinearities: the driver that every activation's file plugs into.

use crate::float::Float;
use crate::ops::simd::kernel;
use crate::ops::{
    Op, gelu::Gelu, leaky_relu::LeakyRelu, relu::Relu, relu2::Relu2, sigmoid::Sigmoid, silu::Silu, tanh::Tanh,
};
use crate::tape::Tape;
use crate::tensor::Var;

/// A scalar function and its derivative, written so that a loop over them vectorises.
pub(crate) trait Pointwise {
    /// The function.
    fn f<T: Float>(x: T) -> T;
    /// Its derivative at `x`, where the function is `y`.
    fn df<T: Float>(x: T, y: T) -> T;
}

/// Which nonlinearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonlinearity {
    /// tanh.
    Tanh,
    /// Logistic.
    Sigmoid,
    /// max(0, x).
    Relu,
    /// x, or 0.01 x below zero.
    LeakyRelu,
    /// max(0, x)².
    Relu2,
    /// GELU, tanh form.
    Gelu,
    /// x sigmoid(x).
    Silu,
}

/// Calls `$run::<F>(args)` with the type of a [`Nonlinearity`].
macro_rules! with_function {
    ($kind:expr, $run:ident::<$T:ident>($($arg:expr),* $(,)?)) => {
        match $kind {
            Nonlinearity::Tanh => $run::<$T, Tanh>($($arg),*),
            Nonlinearity::Sigmoid => $run::<$T, Sigmoid>($($arg),*),
            Nonlinearity::Relu => $run::<$T, Relu>($($arg),*),
            Nonlinearity::LeakyRelu => $run::<$T, LeakyRelu>($($arg),*),
            Nonlinearity::Relu2 => $run::<$T, Relu2>($($arg),*),
            Nonlinearity::Gelu => $run::<$T, Gelu>($($arg),*),
            Nonlinearity::Silu => $run::<$T, Silu>($($arg),*),
        }
    };
}
pub(crate) use with_function;

kernel! {
    fn forward<'a, T, F: Pointwise>(y: &'a mut [T], x: &'a [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = F::f(x);
        }
    }

    /// Turns dy into dx.
    fn backward<'a, T, F: Pointwise>(dy: &'a mut [T], x: &'a [T], y: &'a [T]) {
        for ((dy, &x), &y) in dy.iter_mut().zip(x).zip(y) {
            *dy *= F::df(x, y);
        }
    }
}

kernel! {
    fn forward_in_place<'a, T, F: Pointwise>(y: &'a mut [T]) {
        for y in y {
            *y = F::f(*y);
        }
    }

    fn backward_from_value<'a, T, F: Pointwise>(dy: &'a mut [T], y: &'a [T]) {
        for (dy, &y) in dy.iter_mut().zip(y) {
            *dy *= F::df(y, y);
        }
    }
}

/// `x = f(x)` for each element.
pub(crate) fn apply_in_place<T: Float>(kind: Nonlinearity, x: &mut [T]) {
    with_function!(kind, forward_in_place::<T>(x));
}

/// Turns dy into dx by the value alone, for functions whose value has x's sign or tells the derivative.
pub(crate) fn backward_in_place<T: Float>(kind: Nonlinearity, dy: &mut [T], y: &[T]) {
    with_function!(kind, backward_from_value::<T>(dy, y));
}

/// What the backward pass of [`Tape::pointwise`] needs.
#[derive(Debug)]
pub(crate) struct Elementwise {
    x: Var,
    y: Var,
    kind: Nonlinearity,
}

impl<T: Float> Tape<T> {
    /// `y = f(x)`, element by element; y has x's shape.
    pub fn pointwise(&mut self, x: Var, kind: Nonlinearity) -> Var {
        let (rows, cols) = self.shape(x);
        let mut out = self.pool.take(rows * cols);
        with_function!(kind, forward::<T>(&mut out, self.value(x)));
        let y = self.push(rows, cols, out);
        self.record(Op::Elementwise(Elementwise { x, y, kind }), y)
    }
}

impl Elementwise {
    pub(crate) fn backward<T: Float>(self, tape: &mut Tape<T>, _: &[T], _: &mut [T]) {
        let mut dy = tape.take_grad(self.y);
        with_function!(self.kind, backward::<T>(&mut dy, tape.value(self.x), tape.value(self.y)));
        tape.accumulate(self.x, dy);
    }

    pub(crate) fn discard<T: Float>(self, _: &mut Tape<T>) {}
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::gradcheck::check_op_at;

    /// Checks the gradient of `kind` from -4 to 4, at least 0.01 away from the kink at zero, and its values
    /// against `expected`.
    pub(crate) fn check(kind: Nonlinearity, expected: impl Fn(f64) -> f64) {
        let inputs: Vec<f64> = (0..80).map(|i| (f64::from(i) - 39.5) / 10.0).collect();
        check_op_at(&[], &[(8, 10)], std::slice::from_ref(&inputs), |tape, _, x| tape.pointwise(x[0], kind));
        let mut tape = Tape::<f64>::new();
        let x = tape.input(8, 10, &inputs);
        let y = tape.pointwise(x, kind);
        let mut single = Tape::<f32>::new();
        let narrow: Vec<f32> = inputs.iter().map(|&x| x as f32).collect();
        let x32 = single.input(8, 10, &narrow);
        let y32 = single.pointwise(x32, kind);
        for i in 0..80 {
            let e = expected(inputs[i]);
            assert!((tape.value(y)[i] - e).abs() < 1e-12);
            let e32 = expected(f64::from(narrow[i]));
            assert!((f64::from(single.value(y32)[i]) - e32).abs() <= 2e-6 * e32.abs().max(1e-3));
        }
    }
}
