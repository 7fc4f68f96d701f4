//! Hyperbolic tangent, the nonlinearity of Elman (1990).

use crate::float::Float;
use crate::ops::pointwise::Pointwise;

/// `y = tanh x`, `dy/dx = 1 - y²`.
pub(crate) struct Tanh;

impl Pointwise for Tanh {
    #[inline(always)]
    fn f<T: Float>(x: T) -> T {
        x.tanh()
    }

    #[inline(always)]
    fn df<T: Float>(_: T, y: T) -> T {
        T::ONE - y * y
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::pointwise::{Nonlinearity, tests::check};

    #[test]
    fn gradient_and_value() {
        check(Nonlinearity::Tanh, f64::tanh);
    }
}
