//! Rectifier (Nair & Hinton 2010); its derivative at the kink is taken as 0.

use crate::float::Float;
use crate::ops::pointwise::Pointwise;

/// `y = max(0, x)`, `dy/dx = [x > 0]`.
pub(crate) struct Relu;

impl Pointwise for Relu {
    #[inline(always)]
    fn f<T: Float>(x: T) -> T {
        if x > T::ZERO { x } else { T::ZERO }
    }

    #[inline(always)]
    fn df<T: Float>(x: T, _: T) -> T {
        if x > T::ZERO { T::ONE } else { T::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::pointwise::{Nonlinearity, tests::check};

    #[test]
    fn gradient_and_value() {
        check(Nonlinearity::Relu, |x| x.max(0.0));
    }
}
