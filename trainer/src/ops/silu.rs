//! SiLU or swish (Hendrycks & Gimpel 2016; Ramachandran et al. 2017).

use crate::float::Float;
use crate::ops::pointwise::Pointwise;

/// `y = x s` with `s = sigmoid(x)`, `dy/dx = s + y (1 - s)`.
pub(crate) struct Silu;

impl Pointwise for Silu {
    #[inline(always)]
    fn f<T: Float>(x: T) -> T {
        x * x.sigmoid()
    }

    #[inline(always)]
    fn df<T: Float>(x: T, y: T) -> T {
        let s = x.sigmoid();
        s + y * (T::ONE - s)
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::pointwise::{Nonlinearity, tests::check};

    #[test]
    fn gradient_and_value() {
        check(Nonlinearity::Silu, |x| x / (1.0 + (-x).exp()));
    }
}
