//! The learning-rate range test (Smith, "Cyclical learning rates for training neural networks", WACV 2017, section 3.3): one
//! short training whose rate grows from step to step, from far too small to far too large.
//!
//! At step k of n the rate is
//!
//! ```text
//! η_k = from · (to / from)^(k / (n − 1))
//! ```
//!
//! and the loss that it led to is that of the next batch, before its update. Losses of single batches are noisy; they are smoothed with the
//! bias correction of Adam,
//!
//! ```text
//! m_k = β m_(k−1) + (1 − β) L_k,   L̂_k = m_k / (1 − β^k),   β = 1 − 20 / n
//! ```
//!
//! The loss first stands still, then falls, and in the end rises or breaks. The test ends as soon as L̂ is more than
//! four times its lowest or not finite. `suggest` reads a rate off the curve.

use crate::error::{Error, Result};
use crate::experiment::prepared::Prepared;
use crate::experiment::trial::Smooth;
use crate::experiment::variant::without_schedule;
use crate::optim::OptimName;
use crate::settings::Settings;
use crate::train::interrupt;

/// The loss that ends a test, as a multiple of the lowest.
const DIVERGED: f64 = 4.0;

/// Which rates of an optimiser are driven. Only Muon has two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// All of them; `adam_lr` keeps its ratio to `lr`.
    #[default]
    Both,
    /// `lr`, of hidden matrices; `adam_lr` stays.
    Lr,
    /// `adam_lr`, of embedding, head and vectors; `lr` stays.
    AdamLr,
}

/// A range test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RangeTest {
    /// The first rate.
    pub from: f64,
    /// The last rate.
    pub to: f64,
    /// Updates from the first to the last.
    pub steps: u64,
    /// The rate that is driven.
    pub which: Which,
}

/// One step of a test.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Sample {
    /// The rate of the update.
    pub lr: f64,
    /// The loss after it, of the next batch, nats per token; NaN when that is not finite.
    pub loss: f64,
    /// The same, smoothed.
    pub smooth: f64,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The loss broke.
    Diverged,
    /// The last rate was reached.
    Reached,
    /// Ctrl-C.
    Interrupted,
}

/// What one test saw.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Sweep {
    /// Seed of initialisation and batches.
    pub seed: u64,
    /// Loss before the first update.
    pub first_loss: f64,
    /// Step by step.
    pub samples: Vec<Sample>,
    /// How it ended.
    pub end: End,
}

impl RangeTest {
    /// Refuses a range that is none.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn check(&self) -> Result<()> {
        let refuse = |key, problem: String| Err(Error::Setting { key, problem });
        let RangeTest { from, to, steps, .. } = *self;
        if !(from.is_finite() && from >= 1e-30) {
            return refuse("from", format!("is {from}, expected a rate of at least 1e-30"));
        }
        if !(to.is_finite() && to <= 1e30 && to >= 2.0 * from) {
            return refuse(
                "to",
                format!("is {to}, expected at least twice --from ({from}) and at most 1e30"),
            );
        }
        if !(20..=100_000).contains(&steps) {
            return refuse("steps", format!("is {steps}, expected 20 to 100000 (200 is usual)"));
        }
        Ok(())
    }

    /// The rate of step `k`.
    pub fn rate(&self, k: u64) -> f64 {
        self.from * (self.to / self.from).powf(k as f64 / (self.steps - 1) as f64)
    }

    /// Trains from the initialisation of `settings`, as they are [`at_constant_rate`]; `each` hears of every step.
    ///
    /// # Errors
    /// Settings that cannot work, a loss that is not finite before the first update, or a damaged token cache.
    pub fn run(
        &self,
        data: &Prepared,
        settings: &Settings,
        each: &mut dyn FnMut(u64, &Sample),
    ) -> Result<Sweep> {
        let mut trainer = data.trainer(settings)?;
        let (lr, adam_lr) = rates_of(settings);
        let mut sweep = Sweep {
            seed: settings.seed.unwrap_or(1),
            first_loss: f64::NAN,
            samples: Vec::with_capacity(self.steps as usize),
            end: End::Reached,
        };
        let mut smooth = Smooth::over(self.steps);
        let mut lowest = f64::INFINITY;
        // One step more than rates: a rate is judged by the batch after its update.
        for k in 0..=self.steps {
            let rate = self.rate(k.min(self.steps - 1));
            match self.which {
                Which::Both => trainer.set_rates(rate as f32, Some((rate * adam_lr / lr) as f32)),
                Which::Lr => trainer.set_rates(rate as f32, Some(adam_lr as f32)),
                Which::AdamLr => trainer.set_rates(lr as f32, Some(rate as f32)),
            }
            let (loss, broken) = match trainer.step(u64::MAX) {
                Ok(report) => (report.loss, report.update.skipped),
                Err(Error::Diverged(_)) => (f64::NAN, true),
                Err(other) => return Err(other),
            };
            if k == 0 {
                if !loss.is_finite() {
                    return Err(no_loss(loss));
                }
                sweep.first_loss = loss;
            } else {
                let sample = Sample { lr: self.rate(k - 1), loss, smooth: smooth.take(loss) };
                sweep.samples.push(sample);
                each(k, &sample);
                lowest = lowest.min(sample.smooth);
                if sample.smooth.is_nan() || sample.smooth > DIVERGED * lowest.max(1e-3) {
                    sweep.end = End::Diverged;
                    break;
                }
            }
            if broken {
                sweep.end = End::Diverged;
                break;
            }
            if interrupt::requested() {
                sweep.end = End::Interrupted;
                break;
            }
        }
        Ok(sweep)
    }
}

/// `settings` without what would move or judge the rate by itself: schedule, warm-ups, averages of weights, early stops.
pub fn at_constant_rate(settings: &Settings) -> Settings {
    Settings {
        schedule: Some("constant".into()),
        warmup: Some(0),
        ema: Some(0.0),
        swa: Some(0.0),
        length_warmup: None,
        patience: None,
        min_delta: None,
        target_loss: None,
        grad_tol: None,
        spike: Some(0.0),
        ..without_schedule(settings.clone())
    }
}

/// The optimiser of filled settings.
pub fn optimizer_of(settings: &Settings) -> OptimName {
    settings.optimizer.as_deref().and_then(OptimName::parse).unwrap_or_default()
}

/// `lr` and `adam_lr` of filled settings.
pub fn rates_of(settings: &Settings) -> (f64, f64) {
    let lr = settings.lr.unwrap_or(optimizer_of(settings).default_lr());
    (f64::from(lr), f64::from(settings.adam_lr.unwrap_or(4e-3)))
}

fn no_loss(loss: f64) -> Error {
    Error::Diverged(format!(
        "the loss is {loss} before the first update, so that no rate is to blame: look at the initialisation (init_std, init_gain)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::prepared::filled;

    #[test]
    fn rates_grow_by_the_same_factor_from_end_to_end() {
        let test = RangeTest { from: 1e-6, to: 10.0, steps: 141, which: Which::Both };
        assert!((test.rate(0) - 1e-6).abs() < 1e-18 && (test.rate(140) - 10.0).abs() < 1e-9);
        assert!((test.rate(70) / 10f64.powf(-2.5) - 1.0).abs() < 1e-9);
        for (from, to, steps) in [(0.0, 1.0, 100), (1.0, 1.5, 100), (1.0, f64::INFINITY, 100), (1e-3, 1.0, 2)]
        {
            assert!(
                RangeTest { from, to, steps, which: Which::Both }.check().is_err(),
                "{from} {to} {steps}"
            );
        }
    }

    #[test]
    fn a_constant_rate_is_what_remains_of_any_settings() {
        for schedule in crate::settings::SCHEDULES {
            let said = Settings {
                schedule: Some((*schedule).into()),
                patience: Some(3),
                ema: Some(0.9),
                steps: Some(50),
                ..Default::default()
            };
            let settings = at_constant_rate(&filled(&said).unwrap());
            let descent = crate::settings::descent::DescentConfig::new(&settings).unwrap();
            let schedule = crate::optim::Schedule::new(&descent.schedule).unwrap();
            assert!((0..50).all(|step| schedule.factor(step, 50) == 1.0));
            assert_eq!((descent.ema, descent.spike, descent.converge.patience), (0.0, 0.0, None));
        }
    }
}
