//! One training of an experiment: its losses, and the seconds that training itself took.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::optim::converge::StopReason;
use crate::train::interrupt;
use crate::train::trainer::{Evaluation, StepReport, Trainer};

/// Losses that one smoothed loss averages over: a share of all.
const SMOOTH_SHARE: f64 = 1.0 / 20.0;

/// How far and how often.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Updates.
    pub steps: u64,
    /// Updates between evaluations; 0 is never but at the beginning.
    pub eval_every: u64,
    /// Validation tokens of each.
    pub eval_tokens: u64,
}

/// One update.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Point {
    /// Updates so far.
    pub step: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Loss of the batch before the update, nats per token.
    pub loss: f64,
}

/// Hears of a training while it goes on.
pub trait Observer {
    /// After an update.
    fn step(&mut self, report: &StepReport);
    /// After an evaluation.
    fn evaluated(&mut self, _at: &Point, _found: &Evaluation) {}
}

/// How a training ended.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "ending")]
pub enum Ending {
    /// All updates were made.
    Finished,
    /// The loss or numbers that stay were not finite.
    Diverged {
        /// At this update.
        step: u64,
        /// Why, as one line.
        why: String,
    },
    /// A setting of the run said so.
    Stopped {
        /// Why, as one line.
        why: String,
    },
    /// Ctrl-C.
    Interrupted,
}

/// What a training showed.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Curve {
    /// Every update.
    pub points: Vec<Point>,
    /// Losses on the first tokens of the validation part.
    pub evals: Vec<Point>,
    /// Tokens of all updates.
    pub tokens: u64,
    /// How it ended.
    pub ending: Ending,
}

impl Curve {
    /// Seconds of all updates; evaluations do not count.
    pub fn seconds(&self) -> f64 {
        self.points.last().map_or(0.0, |p| p.seconds)
    }

    /// Updates made.
    pub fn steps(&self) -> u64 {
        self.points.last().map_or(0, |p| p.step)
    }

    /// Mean loss of the last fiftieth of the updates, at least 5; NaN when the training diverged.
    pub fn last_loss(&self) -> f64 {
        if matches!(self.ending, Ending::Diverged { .. }) {
            return f64::NAN;
        }
        let n = (self.points.len() / 50).max(5).min(self.points.len());
        self.points[self.points.len() - n..].iter().map(|p| p.loss).sum::<f64>() / n as f64
    }
}

/// Trains `trainer` by `plan`; `observer` hears of every update.
///
/// The loss on the validation part is taken at step 0, at every multiple of [`Plan::eval_every`] and never within the seconds. The first
/// evaluation also touches what the first update needs, so that seconds begin warm.
///
/// # Errors
/// A damaged token cache. Divergence is an [`Ending`], not an error.
pub fn train(trainer: &mut Trainer, plan: &Plan, observer: &mut dyn Observer) -> Result<Curve> {
    let mut curve = Curve { points: Vec::new(), evals: Vec::new(), tokens: 0, ending: Ending::Finished };
    let mut spent = Duration::ZERO;
    evaluate(trainer, plan, spent, &mut curve, observer)?;
    while trainer.steps() < plan.steps {
        let step = trainer.steps() + 1;
        let begin = Instant::now();
        let done = trainer.step(plan.steps);
        spent += begin.elapsed();
        let report = match done {
            Ok(report) => report,
            Err(Error::Diverged(why)) => {
                curve.ending = Ending::Diverged { step, why };
                break;
            }
            Err(other) => return Err(other),
        };
        let point = Point { step, seconds: spent.as_secs_f64(), loss: report.loss };
        curve.points.push(point);
        curve.tokens += report.tokens;
        observer.step(&report);
        let mut stop = report.update.stop;
        let due = plan.eval_every > 0 && step.is_multiple_of(plan.eval_every);
        if due || step == plan.steps {
            stop = stop.or(evaluate(trainer, plan, spent, &mut curve, observer)?);
        }
        if let Some(reason) = stop.filter(|_| step < plan.steps) {
            curve.ending = Ending::Stopped { why: reason.to_string() };
            break;
        }
        if interrupt::requested() {
            curve.ending = if step < plan.steps { Ending::Interrupted } else { Ending::Finished };
            break;
        }
    }
    Ok(curve)
}

/// Loss on the validation part, and why to stop, if so.
fn evaluate(
    trainer: &mut Trainer,
    plan: &Plan,
    spent: Duration,
    curve: &mut Curve,
    observer: &mut dyn Observer,
) -> Result<Option<StopReason>> {
    let Some(found) = trainer.evaluate(plan.eval_tokens)? else { return Ok(None) };
    let loss = found.mean();
    let point = Point { step: trainer.steps(), seconds: spent.as_secs_f64(), loss };
    curve.evals.push(point);
    observer.evaluated(&point, &found);
    // The initialisation is no result: a schedule or a patience that listens begins with the first update.
    Ok(if trainer.steps() > 0 { trainer.observe_validation(loss) } else { None })
}

/// A running mean that leans on recent losses, corrected for having begun at 0.
#[derive(Clone, Debug)]
pub struct Smooth {
    keep: f64,
    sum: f64,
    weight: f64,
}

impl Smooth {
    /// Over about a twentieth of `steps` losses.
    pub fn over(steps: u64) -> Self {
        let window = (steps as f64 * SMOOTH_SHARE).max(2.0);
        Smooth { keep: 1.0 - 1.0 / window, sum: 0.0, weight: 0.0 }
    }

    /// Takes a loss in and gives the mean.
    pub fn take(&mut self, loss: f64) -> f64 {
        self.sum = self.keep * self.sum + (1.0 - self.keep) * loss;
        self.weight = self.keep * self.weight + (1.0 - self.keep);
        self.sum / self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_begins_at_the_first_loss_and_forgets() {
        let mut smooth = Smooth::over(200);
        assert_eq!(smooth.take(4.0), 4.0);
        assert!((0..5).all(|_| (smooth.take(4.0) - 4.0).abs() < 1e-12));
        let after: Vec<f64> = (0..100).map(|_| smooth.take(2.0)).collect();
        assert!(after.windows(2).all(|w| w[1] < w[0]) && after[99] < 2.001, "{after:?}");
        assert!(smooth.take(f64::NAN).is_nan());
    }

    #[test]
    fn the_last_loss_is_a_mean_of_the_end_and_none_of_what_diverged() {
        let point =
            |step: u64| Point { step, seconds: step as f64, loss: if step > 990 { 1.0 } else { 3.0 } };
        let points: Vec<Point> = (1..=1000).map(point).collect();
        let mut curve = Curve { points, evals: Vec::new(), tokens: 0, ending: Ending::Finished };
        assert_eq!((curve.last_loss(), curve.steps(), curve.seconds()), (2.0, 1000, 1000.0));
        curve.ending = Ending::Diverged { step: 1001, why: String::new() };
        assert!(curve.last_loss().is_nan());
        curve.points.clear();
        assert_eq!((curve.steps(), curve.seconds()), (0, 0.0));
    }
}
