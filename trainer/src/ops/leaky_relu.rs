//! Leaky rectifier (Maas, Hannun & Ng 2013) of slope 0.01; its derivative at the kink is taken as 0.01.

use crate::float::Float;
use crate::ops::pointwise::Pointwise;

/// `y = x` above zero, else `0.01 x`.
pub(crate) struct LeakyRelu;

impl Pointwise for LeakyRelu {
    #[inline(always)]
    fn f<T: Float>(x: T) -> T {
        if x > T::ZERO { x } else { x * T::from_f64(0.01) }
    }

    #[inline(always)]
    fn df<T: Float>(x: T, _: T) -> T {
        if x > T::ZERO { T::ONE } else { T::from_f64(0.01) }
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::pointwise::{Nonlinearity, tests::check};

    #[test]
    fn gradient_and_value() {
        check(Nonlinearity::LeakyRelu, |x| if x > 0.0 { x } else { 0.01 * x });
    }
}
