//! Logistic function, the gate of LSTM and GRU.

use crate::float::Float;
use crate::ops::pointwise::Pointwise;

/// `y = 1 / (1 + exp(-x))`, `dy/dx = y (1 - y)`.
pub(crate) struct Sigmoid;

impl Pointwise for Sigmoid {
    #[inline(always)]
    fn f<T: Float>(x: T) -> T {
        x.sigmoid()
    }

    #[inline(always)]
    fn df<T: Float>(_: T, y: T) -> T {
        y * (T::ONE - y)
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::pointwise::{Nonlinearity, tests::check};

    #[test]
    fn gradient_and_value() {
        check(Nonlinearity::Sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
    }
}
