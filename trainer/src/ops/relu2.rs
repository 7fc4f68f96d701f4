//! Squared rectifier (So et al. 2021, "Primer").

use crate::float::Float;
use crate::ops::pointwise::Pointwise;

/// `y = max(0, x)²`, `dy/dx = 2 max(0, x)`.
pub(crate) struct Relu2;

impl Pointwise for Relu2 {
    #[inline(always)]
    fn f<T: Float>(x: T) -> T {
        let r = if x > T::ZERO { x } else { T::ZERO };
        r * r
    }

    #[inline(always)]
    fn df<T: Float>(x: T, _: T) -> T {
        if x > T::ZERO { x + x } else { T::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::pointwise::{Nonlinearity, tests::check};

    #[test]
    fn gradient_and_value() {
        check(Nonlinearity::Relu2, |x| x.max(0.0).powi(2));
    }
}
