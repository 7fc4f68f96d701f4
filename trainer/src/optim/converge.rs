//! When to stop: the loss no longer improves, the gradient has vanished, or the goal is reached.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::config::in_range;
use crate::error::{Error, Result};

/// What counts as converged; everything off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ConvergeConfig {
    /// Evaluations in a row without improvement after which to stop.
    pub patience: Option<u32>,
    /// How much lower than the best a validation loss must be to count as an improvement, in nats.
    pub min_delta: f64,
    /// Gradient norm under which to stop.
    pub grad_tol: Option<f64>,
    /// Validation loss at which to stop, in nats.
    pub target_loss: Option<f64>,
}

impl ConvergeConfig {
    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn check(&self) -> Result<()> {
        if self.patience == Some(0) {
            let problem = "is 0, expected at least 1 evaluation".to_string();
            return Err(Error::Setting { key: "patience", problem });
        }
        in_range("min-delta", Some(self.min_delta as f32), 0.0, f32::INFINITY, false)?;
        in_range("grad-tol", self.grad_tol.map(|x| x as f32), 0.0, f32::INFINITY, false)?;
        in_range("target-loss", self.target_loss.map(|x| x as f32), f32::MIN, f32::INFINITY, false)
    }
}

/// Why training stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StopReason {
    /// No improvement for `patience` evaluations.
    NoImprovement {
        /// Step of the last evaluation.
        step: u64,
        /// Evaluations since the best.
        evaluations: u32,
        /// What an improvement had to be.
        min_delta: f64,
        /// The lowest loss.
        best_loss: f64,
        /// Its step.
        best_step: u64,
    },
    /// The gradient norm fell under the tolerance.
    SmallGradient {
        /// The step.
        step: u64,
        /// The norm.
        norm: f64,
        /// The tolerance.
        tolerance: f64,
    },
    /// The loss reached the target.
    TargetReached {
        /// The step.
        step: u64,
        /// The loss.
        loss: f64,
        /// The target.
        target: f64,
    },
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopReason::NoImprovement { step, evaluations, min_delta, best_loss, best_step } => write!(
                f,
                "converged at step {step}: no improvement of more than {min_delta} in {evaluations} evaluations, \
                 best validation loss {best_loss:.4} at step {best_step}"
            ),
            StopReason::SmallGradient { step, norm, tolerance } => {
                write!(
                    f,
                    "converged at step {step}: gradient norm {norm:.3e} is under the tolerance {tolerance:.3e}"
                )
            }
            StopReason::TargetReached { step, loss, target } => {
                write!(f, "target reached at step {step}: validation loss {loss:.4} is at or under {target}")
            }
        }
    }
}

/// Watches losses and gradients and says when to stop. Serialisable whole, for a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Convergence {
    config: ConvergeConfig,
    /// Loss and step of the best evaluation, `None` before the first finite one.
    best: Option<(f64, u64)>,
    since_best: u32,
}

impl Convergence {
    /// Nothing seen yet.
    pub fn new(config: ConvergeConfig) -> Self {
        Convergence { config, best: None, since_best: 0 }
    }

    /// Takes the validation loss after `step` in. A NaN is no improvement.
    pub fn observe_loss(&mut self, step: u64, loss: f64) -> Option<StopReason> {
        let improved = match self.best {
            None => loss.is_finite(),
            Some((best, _)) => loss < best - self.config.min_delta,
        };
        if improved {
            self.best = Some((loss, step));
            self.since_best = 0;
        } else {
            self.since_best += 1;
        }
        if let Some(target) = self.config.target_loss.filter(|target| loss <= *target) {
            return Some(StopReason::TargetReached { step, loss, target });
        }
        let evaluations = self.since_best;
        let patience = self.config.patience?;
        let (best_loss, best_step) = self.best.unwrap_or((f64::NAN, step));
        (evaluations >= patience).then_some(StopReason::NoImprovement {
            step,
            evaluations,
            min_delta: self.config.min_delta,
            best_loss,
            best_step,
        })
    }

    /// Takes the norm of the gradient of `step` in.
    pub fn observe_gradient(&self, step: u64, norm: f64) -> Option<StopReason> {
        let tolerance = self.config.grad_tol.filter(|tolerance| norm < *tolerance)?;
        Some(StopReason::SmallGradient { step, norm, tolerance })
    }

    /// Loss and step of the best evaluation so far.
    pub fn best(&self) -> Option<(f64, u64)> {
        self.best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_counts_evaluations_without_a_real_improvement() {
        let config = ConvergeConfig { patience: Some(2), min_delta: 0.01, ..Default::default() };
        let mut watch = Convergence::new(config);
        assert_eq!(watch.observe_loss(10, 2.0), None);
        assert_eq!(watch.observe_loss(20, 1.995), None); // under min_delta: not an improvement
        assert_eq!(watch.observe_loss(30, 1.5), None); // starts the count again
        assert_eq!(watch.observe_loss(40, f64::NAN), None);
        let why = watch.observe_loss(50, 1.6).unwrap();
        assert_eq!(
            why.to_string(),
            "converged at step 50: no improvement of more than 0.01 in 2 evaluations, best validation loss \
             1.5000 at step 30"
        );
        assert_eq!(watch.best(), Some((1.5, 30)));
    }

    #[test]
    fn a_saved_watch_goes_on_counting() {
        let config = ConvergeConfig { patience: Some(2), ..Default::default() };
        let mut watch = Convergence::new(config);
        watch.observe_loss(1, 1.0);
        watch.observe_loss(2, 1.0);
        let saved = serde_json::to_string(&watch).unwrap();
        let mut again: Convergence = serde_json::from_str(&saved).unwrap();
        assert!(again.observe_loss(3, 1.0).is_some());
    }

    #[test]
    fn target_and_gradient() {
        let config = ConvergeConfig { target_loss: Some(1.0), grad_tol: Some(1e-3), ..Default::default() };
        let mut watch = Convergence::new(config);
        assert_eq!(watch.observe_loss(1, 1.01), None);
        let line = watch.observe_loss(2, 1.0).unwrap().to_string();
        assert_eq!(line, "target reached at step 2: validation loss 1.0000 is at or under 1");
        assert_eq!(watch.observe_gradient(3, 1e-3), None);
        let line = watch.observe_gradient(4, 5e-4).unwrap().to_string();
        assert_eq!(line, "converged at step 4: gradient norm 5.000e-4 is under the tolerance 1.000e-3");
    }

    #[test]
    fn nothing_configured_never_stops() {
        let mut watch = Convergence::new(ConvergeConfig::default());
        assert!(
            (0..1000)
                .all(|i| watch.observe_loss(i, 1.0).is_none() && watch.observe_gradient(i, 0.0).is_none())
        );
        assert!(ConvergeConfig { patience: Some(0), ..Default::default() }.check().is_err());
    }
}
