//! Schedules: how the learning rate moves over a run.
//!
//! A schedule gives the factor that multiplies the learning rate at step t of T:
//!
//! | name | factor | from |
//! |---|---|---|
//! | constant | 1 | |
//! | step | γ^⌊t / n⌋ | |
//! | exponential | γᵗ | |
//! | inverse-time | 1 / (1 + ρ t) | Robbins and Monro, 1951 |
//! | polynomial | e + (1 − e)(1 − t/T)ᵖ | |
//! | linear | the same with p = 1 | |
//! | cosine | e + (1 − e)(1 + cos(π t/T)) / 2 | Loshchilov and Hutter, "SGDR", ICLR 2017 |
//! | one-cycle | up from 1/d to 1, then down to 1/(d f) | Smith and Topin, "Super-convergence", 2018 |
//! | wsd | 1, then down to e over the last part | Hu et al., "MiniCPM" (warm-up, stable, decay), 2024 |
//! | plateau | × r whenever the validation loss stands still | |
//!
//! Each begins with a linear warm-up over w steps, (t + 1) / (w + 1), so that the first step already moves; after
//! it t counts from the end of the warm-up and T is what remains. The one schedule with a memory is in [`plateau`].
//!
//! T is given with every call, as a run that is bounded by minutes learns only on its way how many steps it has.

mod config;
mod curve;
pub mod plateau;

pub use config::{Anneal, ScheduleConfig, ScheduleName};

use plateau::Plateau;

use crate::error::Result;

/// A schedule in motion.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    config: ScheduleConfig,
    plateau: Option<Plateau>,
}

impl Schedule {
    /// The schedule that `config` describes.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] for a value out of range or one that the schedule does not use.
    pub fn new(config: &ScheduleConfig) -> Result<Self> {
        config.check()?;
        let plateau = (config.name == ScheduleName::Plateau).then(|| config.plateau());
        Ok(Schedule { config: config.clone(), plateau })
    }

    /// The factor of step `step` (from 0) in a run of `total` steps.
    pub fn factor(&self, step: u64, total: u64) -> f32 {
        let warmup = self.config.warmup;
        let remaining = total.saturating_sub(warmup).max(1) as f64;
        if step < warmup {
            let top = self.curve(0.0, remaining);
            return (top * (step + 1) as f64 / (warmup + 1) as f64) as f32;
        }
        self.curve((step - warmup) as f64, remaining) as f32
    }

    /// Tells the schedule the loss of an evaluation; only a plateau listens. True if it lowered the rate.
    pub fn observe_loss(&mut self, loss: f64) -> bool {
        self.plateau.as_mut().is_some_and(|plateau| plateau.observe(loss))
    }

    /// What the schedule remembers, for a checkpoint: nothing, except for a plateau.
    pub fn state(&self) -> Option<plateau::State> {
        self.plateau.as_ref().map(Plateau::state)
    }

    /// Continues from a saved state; a schedule without memory ignores it.
    pub fn restore(&mut self, state: Option<plateau::State>) {
        if let (Some(plateau), Some(state)) = (&mut self.plateau, state) {
            plateau.restore(state);
        }
    }

    /// The factor at `t` of `total` steps after the warm-up. `t` may pass `total`, where curves that end stay.
    fn curve(&self, t: f64, total: f64) -> f64 {
        let config = &self.config;
        let progress = (t / total).min(1.0);
        match config.name {
            ScheduleName::Constant => 1.0,
            ScheduleName::Step => curve::step(t, config.gamma(), config.step_size()),
            ScheduleName::Exponential => curve::exponential(t, config.gamma()),
            ScheduleName::InverseTime => curve::inverse_time(t, config.rate()),
            ScheduleName::Polynomial => curve::polynomial(progress, config.power(), config.end_factor()),
            ScheduleName::Linear => curve::polynomial(progress, 1.0, config.end_factor()),
            ScheduleName::Cosine => curve::cosine(progress, config.end_factor()),
            ScheduleName::OneCycle => config.one_cycle().factor(t, total),
            ScheduleName::Wsd => {
                curve::wsd(progress, config.decay_fraction(), config.anneal(), config.end_factor())
            }
            ScheduleName::Plateau => self.plateau.as_ref().map_or(1.0, Plateau::factor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(config: ScheduleConfig) -> Schedule {
        Schedule::new(&config).unwrap()
    }

    #[test]
    fn warm_up_rises_evenly_to_the_curve_and_never_begins_at_zero() {
        for name in ScheduleName::ALL {
            let s = schedule(ScheduleConfig { warmup: 4, ..ScheduleConfig::new(name) });
            let at: Vec<f32> = (0..5).map(|t| s.factor(t, 1000)).collect();
            assert!(at[0] > 0.0, "{name:?}");
            for t in 0..4 {
                assert!((at[t] / at[4] - (t + 1) as f32 / 5.0).abs() < 1e-6, "{name:?}: {at:?}");
            }
        }
    }

    #[test]
    fn factors_stay_finite_and_in_range_whatever_the_total() {
        for name in ScheduleName::ALL {
            for warmup in [0, 3, 100] {
                let s = schedule(ScheduleConfig { warmup, ..ScheduleConfig::new(name) });
                for total in [0, 1, 2, 5, 50] {
                    for step in 0..120 {
                        let factor = s.factor(step, total);
                        assert!((0.0..=1.0).contains(&factor), "{name:?} {step} of {total}: {factor}");
                    }
                }
            }
        }
    }

    #[test]
    fn linear_decay_over_the_last_part() {
        let config = ScheduleConfig { decay_fraction: Some(0.6), ..ScheduleConfig::new(ScheduleName::Wsd) };
        let s = schedule(config);
        assert_eq!((s.factor(0, 100), s.factor(40, 100)), (1.0, 1.0));
        assert!((s.factor(70, 100) - 0.5).abs() < 1e-6);
        assert_eq!(s.factor(100, 100), 0.0);
    }

    #[test]
    fn a_plateau_continues_from_its_saved_state() {
        let config = ScheduleConfig { patience: Some(1), ..ScheduleConfig::new(ScheduleName::Plateau) };
        let mut s = schedule(config.clone());
        assert_eq!([1.0, 1.0, 1.0].map(|loss| s.observe_loss(loss)), [false, false, true]);
        assert!(!s.observe_loss(1.0));
        let saved = serde_json::to_string(&s.state()).unwrap();
        let mut again = schedule(config);
        again.restore(serde_json::from_str(&saved).unwrap());
        assert_eq!(again, s);
        assert!(again.observe_loss(1.0) && s.observe_loss(1.0));
        assert_eq!(again.factor(9, 10), s.factor(9, 10));
        assert_eq!(schedule(ScheduleConfig::default()).state(), None);
    }
}
