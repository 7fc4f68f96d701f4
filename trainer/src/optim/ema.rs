//! An exponential moving average of the weights, for evaluation and export.
//!
//! Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992): late in training the weights
//! circle around a minimum, and their average lies closer to it than any of them.
//!
//! ```text
//! θ̄ ← d θ̄ + (1 − d) θ,   d = min(decay, (1 + t) / (10 + t))
//! ```
//!
//! The second bound, on by default, lets the average follow quickly while it is young.

use rayon::prelude::*;

const CHUNK: usize = 1 << 14;

/// The averaged weights.
#[derive(Clone, Debug)]
pub struct Ema {
    decay: f32,
    ramp: bool,
    average: Vec<f32>,
    updates: u64,
}

impl Ema {
    /// An average that begins at `params`; `decay` near 1 averages over about 1 / (1 − decay) steps. `ramp`
    /// shortens it while it is young.
    ///
    /// # Panics
    /// If `decay` is not in [0, 1).
    pub fn new(params: &[f32], decay: f32, ramp: bool) -> Self {
        assert!((0.0..1.0).contains(&decay), "decay is {decay}, expected at least 0 and below 1");
        Ema { decay, ramp, average: params.to_vec(), updates: 0 }
    }

    /// Takes the weights of one more step in.
    ///
    /// # Panics
    /// If the length changed.
    pub fn update(&mut self, params: &[f32]) {
        assert_eq!(params.len(), self.average.len(), "parameters of the model");
        let t = self.updates as f32;
        let decay = if self.ramp { self.decay.min((1.0 + t) / (10.0 + t)) } else { self.decay };
        self.updates += 1;
        let step = |average: &mut [f32], params: &[f32]| {
            average.iter_mut().zip(params).for_each(|(a, p)| *a += (1.0 - decay) * (p - *a));
        };
        self.average.par_chunks_mut(CHUNK).zip(params.par_chunks(CHUNK)).for_each(|(a, p)| step(a, p));
    }

    /// The averaged weights.
    pub fn average(&self) -> &[f32] {
        &self.average
    }

    /// Exchanges the average and `params`: once to evaluate the average, once more to go on training.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn swap(&mut self, params: &mut [f32]) {
        self.average.swap_with_slice(params);
    }

    /// Updates so far; with [`Ema::average`] the whole state.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Continues from a saved state.
    ///
    /// # Panics
    /// If the length differs.
    pub fn restore(&mut self, updates: u64, average: &[f32]) {
        self.updates = updates;
        self.average.copy_from_slice(average);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_formula() {
        let mut ema = Ema::new(&[1.0, -2.0], 0.9, false);
        ema.update(&[2.0, 0.0]);
        ema.update(&[3.0, 0.0]);
        let expected = [0.9 * (0.9 + 0.1 * 2.0) + 0.1 * 3.0, 0.81 * -2.0];
        assert!(ema.average().iter().zip(expected).all(|(a, e): (&f32, f32)| (a - e).abs() < 1e-6));
    }

    #[test]
    fn a_young_average_follows_quickly() {
        let mut ema = Ema::new(&[0.0], 0.999, true);
        ema.update(&[1.0]);
        assert!((ema.average()[0] - 0.9).abs() < 1e-6);
        (0..20).for_each(|_| ema.update(&[1.0]));
        assert!(ema.average()[0] > 0.999);
    }

    #[test]
    fn swap_and_restore() {
        let mut ema = Ema::new(&[1.0], 0.5, false);
        let mut params = [3.0];
        ema.update(&params);
        ema.swap(&mut params);
        assert_eq!((params, ema.average()), ([2.0], &[3.0f32][..]));
        let mut other = Ema::new(&[0.0], 0.5, false);
        other.restore(ema.updates(), ema.average());
        assert_eq!((other.updates(), other.average()), (1, &[3.0f32][..]));
    }
}
