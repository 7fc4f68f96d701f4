//! Clipping: a bound on how far one batch can throw the weights.
//!
//! By norm (Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", ICML 2013):
//! if ‖g‖ > c, then g ← c g / ‖g‖, over the gradient of all tensors together; the direction stays. By value
//! (Mikolov 2012): every element is clamped to [−c, c]; the direction changes. With both, value comes first.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::config::in_range;
use crate::error::Result;
use crate::ops::simd::{kernel, lane_sum};

/// Elements whose squares one job sums: fixed, so that the sum does not depend on the threads.
const CHUNK: usize = 1 << 14;

/// What to clip at; `None` does not clip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ClipConfig {
    /// Largest Euclidean norm of the whole gradient.
    pub norm: Option<f32>,
    /// Largest magnitude of an element.
    pub value: Option<f32>,
}

/// What [`ClipConfig::clip`] found and decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipped {
    /// Norm of the scaled gradient before clipping by norm.
    pub norm: f32,
    /// What to multiply every gradient by: the given scale, times c / norm where the norm was too large. Hand
    /// it to [`super::Optimizer::step`].
    pub scale: f32,
    /// Whether the norm was too large.
    pub by_norm: bool,
}

impl ClipConfig {
    /// Refuses bounds that are not above zero.
    ///
    /// # Errors
    /// [`crate::Error::Setting`].
    pub fn check(&self) -> Result<()> {
        let smallest = f32::MIN_POSITIVE;
        in_range("clip-norm", self.norm, smallest, f32::INFINITY, false)?;
        in_range("clip-value", self.value, smallest, f32::INFINITY, false)
    }

    /// Clips `scale · grads`. Values are clamped in place; the norm is left to the returned scale, which saves a
    /// pass over memory.
    pub fn clip(&self, grads: &mut [f32], scale: f32) -> Clipped {
        let mut scale = scale;
        if let Some(limit) = self.value {
            grads.par_chunks_mut(CHUNK).for_each(|chunk| {
                chunk.iter_mut().for_each(|g| *g = (scale * *g).clamp(-limit, limit));
            });
            scale = 1.0;
        }
        let norm = (norm(grads) * f64::from(scale).abs()) as f32;
        match self.norm {
            // 1e-6 keeps the product from exceeding c by rounding, as in PyTorch
            Some(limit) if norm > limit => {
                Clipped { norm, scale: scale * limit / (norm + 1e-6), by_norm: true }
            }
            _ => Clipped { norm, scale, by_norm: false },
        }
    }
}

/// The Euclidean norm, NaN or infinite if an element is. The sum has a fixed order.
pub fn norm(x: &[f32]) -> f64 {
    let sums: Vec<f64> = x.par_chunks(CHUNK).map(sum_of_squares).collect();
    sums.iter().sum::<f64>().sqrt()
}

kernel! {
    /// In f64.
    fn sum_of_squares<'a, T>(x: &'a [T]) -> f64 {
        lane_sum(x.len(), |i| x[i].to_f64() * x[i].to_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_gradient_is_scaled_to_the_limit() {
        let mut grads = vec![3.0, 0.0, 4.0, 0.0];
        let config = ClipConfig { norm: Some(1.0), value: None };
        let clipped = config.clip(&mut grads, 2.0);
        assert_eq!((clipped.norm, clipped.by_norm), (10.0, true));
        assert!((norm(&grads) * f64::from(clipped.scale) - 1.0).abs() < 1e-6);
        assert_eq!(grads, [3.0, 0.0, 4.0, 0.0]);
    }

    #[test]
    fn a_small_gradient_is_left_alone() {
        let config = ClipConfig { norm: Some(10.0), value: None };
        let clipped = config.clip(&mut [3.0, 4.0], 1.0);
        assert_eq!(clipped, Clipped { norm: 5.0, scale: 1.0, by_norm: false });
    }

    #[test]
    fn values_are_clamped_after_scaling_and_before_the_norm() {
        let mut grads = vec![3.0, -0.5, 0.25];
        let config = ClipConfig { norm: None, value: Some(1.0) };
        let clipped = config.clip(&mut grads, 2.0);
        assert_eq!(grads, [1.0, -1.0, 0.5]);
        assert_eq!((clipped.norm, clipped.scale), (1.5, 1.0));
    }

    #[test]
    fn the_norm_does_not_depend_on_threads_and_shows_nan() {
        let x: Vec<f32> = (0..100_001).map(|i| ((i * 37) % 1013) as f32 * 1e-3).collect();
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(|| norm(&x));
        let four = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap().install(|| norm(&x));
        assert_eq!(one.to_bits(), four.to_bits());
        let plain = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        assert!((one / plain - 1.0).abs() < 1e-12);
        assert!(norm(&[1.0, f32::NAN]).is_nan());
        assert_eq!(norm(&[1.0, f32::INFINITY]), f64::INFINITY);
    }

    #[test]
    fn a_limit_of_zero_is_refused() {
        let line = ClipConfig { norm: Some(0.0), value: None }.check().unwrap_err().to_string();
        assert!(line.starts_with("clip-norm: is 0"), "{line}");
        assert!(ClipConfig { norm: Some(1.0), value: None }.check().is_ok());
    }
}
