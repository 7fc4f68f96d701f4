//! The plain mean of the weights over the last part of a run, for evaluation and export.
//!
//! Izmailov, Podoprikhin, Garipov, Vetrov & Wilson, "Averaging weights leads to wider optima and better generalization" (2018), with a sample
//! after every update: the tail average of Polyak & Juditsky (1992).
//!
//! ```text
//! θ̄ = (θ_{T−n+1} + … + θ_T) / n,   n = ⌈fraction · T⌉
//! ```
//!
//! Running statistics of batch norms belong to the weights that they were collected with; those of the mean are collected anew, by
//! [`crate::train::trainer::Trainer`].

use rayon::prelude::*;

const CHUNK: usize = 1 << 14;

/// The mean of the weights so far. A running mean in f32 alone would stop to move after some thousand updates: each weight is a pair of
/// floats whose sum holds 48 bits.
#[derive(Clone, Debug)]
pub struct Swa {
    fraction: f64,
    /// The mean, rounded, of every weight; then what the rounding left. Empty before the first.
    numbers: Vec<f32>,
    count: u64,
}

impl Swa {
    /// The mean over the last `fraction` of the updates.
    ///
    /// # Panics
    /// If `fraction` is not in (0, 1].
    pub fn new(fraction: f64) -> Self {
        assert!(fraction > 0.0 && fraction <= 1.0, "fraction is {fraction}, expected above 0 and at most 1");
        Swa { fraction, numbers: Vec::new(), count: 0 }
    }

    /// Updates of a run of `total` that count.
    pub fn updates_of(&self, total: u64) -> u64 {
        ((self.fraction * total as f64).ceil() as u64).clamp(1, total.max(1))
    }

    /// Takes the weights after update number `step` (from 1) of `total` in, if they count.
    ///
    /// # Panics
    /// If the length changed.
    pub fn update(&mut self, params: &[f32], step: u64, total: u64) {
        if step.saturating_add(self.updates_of(total)) <= total {
            return;
        }
        let n = params.len();
        self.numbers.resize(2 * n, 0.0);
        assert_eq!(self.numbers.len(), 2 * n, "parameters of the model");
        self.count += 1;
        let share = 1.0 / self.count as f64;
        let (mean, rest) = self.numbers.split_at_mut(n);
        let chunks = mean.par_chunks_mut(CHUNK).zip(rest.par_chunks_mut(CHUNK)).zip(params.par_chunks(CHUNK));
        chunks.for_each(|((mean, rest), params)| {
            for ((mean, rest), p) in mean.iter_mut().zip(rest).zip(params) {
                let before = f64::from(*mean) + f64::from(*rest);
                let now = before + (f64::from(*p) - before) * share;
                *mean = now as f32;
                *rest = (now - f64::from(*mean)) as f32;
            }
        });
    }

    /// Weights that were taken in.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The means, then what their rounding left: with [`Swa::count`] the whole state. Empty before the first.
    pub fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    /// Exchanges the mean, if there is one, and `params`: once to evaluate the mean, once more to go on training.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn swap(&mut self, params: &mut [f32]) {
        if self.count > 0 {
            self.numbers[..params.len()].swap_with_slice(params);
        }
    }

    /// Goes on from a saved state.
    pub fn restore(&mut self, count: u64, numbers: &[f32]) {
        self.count = count;
        self.numbers.clear();
        self.numbers.extend_from_slice(numbers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// 20,000 updates, the last 30 % of which count; an f32 running mean would be off by thousands of times as much.
    #[test]
    fn the_mean_is_that_of_f64() {
        let (total, n) = (20_000u64, 6_000u64);
        let (mut swa, mut rng) = (Swa::new(0.3), Rng::new(5));
        let mut sums = [0.0f64; 5];
        for step in 1..=total {
            let params: Vec<f32> =
                (0..5).map(|j| (1.0 + 0.01 * rng.normal() + f64::from(j)) as f32).collect();
            swa.update(&params, step, total);
            if step > total - n {
                sums.iter_mut().zip(&params).for_each(|(sum, p)| *sum += f64::from(*p));
            }
        }
        assert_eq!(swa.count(), n);
        let mut mean = [0.0f32; 5];
        swa.swap(&mut mean);
        for (found, sum) in mean.iter().zip(sums) {
            assert_eq!(*found, (sum / n as f64) as f32);
        }
    }

    #[test]
    fn nothing_is_exchanged_before_the_first() {
        let mut swa = Swa::new(0.25);
        let mut params = [1.0f32, 2.0];
        for step in 1..=3 {
            swa.update(&params, step, 4);
            swa.swap(&mut params);
            assert_eq!((params, swa.count()), ([1.0, 2.0], 0));
        }
        swa.update(&params, 4, 4);
        params = [9.0, 9.0];
        swa.swap(&mut params);
        assert_eq!((params, swa.count()), ([1.0, 2.0], 1));
        swa.swap(&mut params);
        let mut other = Swa::new(0.25);
        other.restore(swa.count(), swa.numbers());
        other.swap(&mut params);
        assert_eq!(params, [1.0, 2.0]);
    }

    #[test]
    fn at_least_one_update_counts() {
        assert_eq!(Swa::new(1e-9).updates_of(100), 1);
        assert_eq!(Swa::new(1.0).updates_of(100), 100);
        assert_eq!(Swa::new(0.25).updates_of(10), 3);
    }
}
