//! GELU in its tanh form (Hendrycks & Gimpel 2016), as GPT-2 uses it.

use crate::float::Float;
use crate::ops::pointwise::Pointwise;

/// `y = x/2 (1 + tanh u) = x sigmoid(2u)` with `u = sqrt(2/π) (x + 0.044715 x³)`.
pub(crate) struct Gelu;

const TWO_ROOT_2_OVER_PI: f64 = 1.595_769_121_605_730_7; // 2 sqrt(2/π)
const CUBIC: f64 = 0.044715;

#[inline(always)]
fn double_u<T: Float>(x: T) -> T {
    T::from_f64(TWO_ROOT_2_OVER_PI) * (x + T::from_f64(CUBIC) * x * x * x)
}

impl Pointwise for Gelu {
    #[inline(always)]
    fn f<T: Float>(x: T) -> T {
        x * double_u(x).sigmoid()
    }

    #[inline(always)]
    fn df<T: Float>(x: T, y: T) -> T {
        let s = double_u(x).sigmoid();
        let slope = T::from_f64(TWO_ROOT_2_OVER_PI) * (T::ONE + T::from_f64(3.0 * CUBIC) * x * x);
        s + y * (T::ONE - s) * slope
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::pointwise::{Nonlinearity, tests::check};

    #[test]
    fn gradient_and_value() {
        check(Nonlinearity::Gelu, |x: f64| {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        });
    }
}
