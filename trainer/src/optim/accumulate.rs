//! Gradient accumulation: one step from several batches, for a batch larger than memory holds.
//!
//! The gradient of a mean over all tokens is the token-weighted mean of the batches' gradients, so sums are kept
//! and divided once, by the `grad_scale` of [`super::Optimizer::step`].

/// A running sum of gradients.
#[derive(Clone, Debug, Default)]
pub struct Accumulator {
    sum: Vec<f32>,
    weight: f64,
    batches: u32,
}

impl Accumulator {
    /// An empty sum over `n` parameters.
    pub fn new(n: usize) -> Self {
        Accumulator { sum: vec![0.0; n], weight: 0.0, batches: 0 }
    }

    /// Adds `weight · grads`. With gradients of a batch's mean loss, the weight is its number of tokens (or 1
    /// when all batches are alike).
    ///
    /// # Panics
    /// If the length differs from the sum's.
    pub fn add(&mut self, grads: &[f32], weight: f32) {
        assert_eq!(grads.len(), self.sum.len(), "gradients of the model");
        if self.batches == 0 {
            self.sum.iter_mut().zip(grads).for_each(|(s, g)| *s = weight * g);
        } else {
            self.sum.iter_mut().zip(grads).for_each(|(s, g)| *s += weight * g);
        }
        self.weight += f64::from(weight);
        self.batches += 1;
    }

    /// Batches added since the last [`Accumulator::clear`].
    pub fn batches(&self) -> u32 {
        self.batches
    }

    /// The sum, and the factor that makes it a mean (0 when nothing was added).
    pub fn mean(&mut self) -> (&mut [f32], f32) {
        let scale = if self.weight > 0.0 { (1.0 / self.weight) as f32 } else { 0.0 };
        (&mut self.sum, scale)
    }

    /// Begins the next sum. The buffer is overwritten by the first batch, not zeroed here.
    pub fn clear(&mut self) {
        self.weight = 0.0;
        self.batches = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_weighted_and_a_cleared_sum_begins_anew() {
        let mut sum = Accumulator::new(2);
        sum.add(&[1.0, 10.0], 3.0);
        sum.add(&[5.0, -10.0], 1.0);
        let (grads, scale) = sum.mean();
        assert_eq!((grads[0] * scale, grads[1] * scale), (2.0, 5.0));
        sum.clear();
        sum.add(&[7.0, 7.0], 2.0);
        assert_eq!(sum.batches(), 1);
        let (grads, scale) = sum.mean();
        assert_eq!((grads[0] * scale, grads[1] * scale), (7.0, 7.0));
    }
}
