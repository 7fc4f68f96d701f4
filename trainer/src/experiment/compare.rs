//! The same model under several variants of its settings, trained one after the other on the same batches from the same
//! beginning.
//!
//! Every tensor draws its initial weights from a stream of its own ([`crate::optim::init`]), so that two variants whose tensors stand in the
//! same places begin alike. Batches follow from the seed alone. What differs between two runs is then the variant, and, in the
//! seconds, the machine: all variants of one seed are trained before those of the next, so that a machine that gets slower does so for all.

use std::time::{Duration, Instant};

use super::prepared::{Prepared, filled};
use super::trial::{Curve, Ending, Observer, Plan, train};
use super::variant::Variant;
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::settings::model::is_seq2seq;
use crate::train::trainer::Trainer;
use crate::train::{budget, interrupt};

/// How long each variant's speed is measured before a budget in minutes becomes a number of steps.
const CALIBRATION: Duration = Duration::from_millis(700);

/// What a variant came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Name and changes.
    pub variant: Variant,
    /// Everything, filled in.
    pub settings: Settings,
    /// Number of parameters.
    pub n_params: usize,
    /// A training for each seed.
    pub runs: Vec<Run>,
}

/// A training.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Its losses.
    pub curve: Curve,
    /// Loss on the whole validation part, by the trainer; `None` when nothing is held out, NaN when the training diverged.
    pub val: Option<f64>,
}

/// Variants that wait to be trained.
pub struct Comparison {
    /// What was said for all, filled in.
    pub base: Settings,
    /// What they came to so far.
    pub outcomes: Vec<Outcome>,
}

/// Hears of the trainings, one after the other.
pub trait Listener: Observer {
    /// A training begins.
    ///
    /// # Errors
    /// The listener cannot keep what it is to keep.
    fn begin(&mut self, outcome: &Outcome, seed: u64, steps: u64) -> Result<()>;
    /// A training has ended; the run is already among those of its outcome.
    ///
    /// # Errors
    /// As above.
    fn end(&mut self, all: &Comparison, index: usize, trainer: &Trainer) -> Result<()>;
}

impl Comparison {
    /// `variants` of what was `said`. Everything that can be wrong with their settings is said here, before a text is read.
    ///
    /// # Errors
    /// The settings of a variant cannot work; it is named.
    pub fn new(said: &Settings, variants: Vec<Variant>) -> Result<Self> {
        let base = filled(said)?;
        let outcomes = variants.into_iter().map(|variant| {
            let settings = filled(&variant.settings(said, &base)).map_err(|e| variant.error(&e))?;
            if is_seq2seq(&settings) != is_seq2seq(&base) {
                let name = &variant.name;
                return Err(Error::Settings(format!(
                    "variant {name}: seq2seq reads pairs and other models one text, compare them apart"
                )));
            }
            Ok(Outcome { variant, settings, n_params: 0, runs: Vec::new() })
        });
        Ok(Comparison { outcomes: outcomes.collect::<Result<_>>()?, base })
    }

    /// The updates of each training that fit into `minutes` for all of them together, with evaluations, from the speed of some.
    ///
    /// # Errors
    /// Too little text for a variant.
    pub fn steps_for(&self, data: &Prepared, minutes: f64, seeds: u64, plan: &Plan) -> Result<u64> {
        let begin = Instant::now();
        let (mut step, mut eval, mut whole) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        for outcome in &self.outcomes {
            // Whole windows take longest, and are most of a training.
            let settings = Settings { length_warmup: None, ..outcome.settings.clone() };
            let mut trial = data.trainer(&settings).map_err(|e| outcome.variant.error(&e))?;
            // A variant that breaks at once costs nothing, and is shown as broken later.
            if trial.step(1_000_000).is_err() {
                continue;
            }
            let (from, mut steps) = (Instant::now(), 0);
            while (steps == 0 || from.elapsed() < CALIBRATION) && trial.step(1_000_000).is_ok() {
                steps += 1;
            }
            step += from.elapsed() / steps.max(1);
            let from = Instant::now();
            trial.evaluate(plan.eval_tokens)?;
            eval += from.elapsed();
            let share = data.corpus.n_tokens().1 as f64
                / plan.eval_tokens.clamp(1, data.corpus.n_tokens().1.max(1)) as f64;
            whole += from.elapsed().mul_f64(share);
        }
        let times = seeds.clamp(1, 1000) as u32;
        let pauses = [(plan.eval_every, eval * times)];
        Ok(budget::steps_for(minutes, begin.elapsed() + whole * times, step * times, &pauses))
    }

    /// Trains all variants with each of `seeds`. Ends early, with what there is, on Ctrl-C.
    ///
    /// # Errors
    /// Too little text for a variant, or a listener's. Divergence is an outcome, not an error.
    pub fn run(
        &mut self,
        data: &Prepared,
        seeds: &[u64],
        plan: &Plan,
        listener: &mut dyn Listener,
    ) -> Result<()> {
        for &seed in seeds {
            for index in 0..self.outcomes.len() {
                let outcome = &mut self.outcomes[index];
                let settings = Settings { seed: Some(seed), ..outcome.settings.clone() };
                let mut trainer = data.trainer(&settings).map_err(|e| outcome.variant.error(&e))?;
                outcome.n_params = trainer.n_params();
                let plan = Plan { steps: outcome.settings.steps.unwrap_or(plan.steps), ..*plan };
                listener.begin(outcome, seed, plan.steps)?;
                let curve = train(&mut trainer, &plan, listener)?;
                let val = match &curve.ending {
                    Ending::Diverged { .. } => Some(f64::NAN).filter(|_| data.corpus.n_tokens().1 >= 2),
                    Ending::Interrupted => None,
                    _ => trainer.evaluate(u64::MAX)?.map(|loss| loss.mean()),
                };
                outcome.runs.push(Run { seed, curve, val });
                listener.end(self, index, &trainer)?;
                if interrupt::requested() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The variant with the lowest mean loss on the whole validation part, or else in training, among those of which no run diverged.
    pub fn best(&self) -> Option<&Outcome> {
        let of = |o: &Outcome| o.val().map_or_else(|| o.train().mean, |v| v.mean);
        self.outcomes.iter().filter(|o| of(o).is_finite()).min_by(|a, b| of(a).total_cmp(&of(b)))
    }
}

/// Mean and spread of a figure over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean; NaN when a run diverged.
    pub mean: f64,
    /// Sample standard deviation; 0 for one seed.
    pub std: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        Spread { mean, std: if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 } }
    }
}

impl Outcome {
    /// The last training losses ([`Curve::last_loss`]).
    pub fn train(&self) -> Spread {
        Spread::of(&self.runs.iter().map(|r| r.curve.last_loss()).collect::<Vec<_>>())
    }

    /// Losses on the whole validation part; `None` when a run has none.
    pub fn val(&self) -> Option<Spread> {
        let all: Option<Vec<f64>> = self.runs.iter().map(|r| r.val).collect();
        all.filter(|v| !v.is_empty()).map(|v| Spread::of(&v))
    }

    /// Mean seconds of training.
    pub fn seconds(&self) -> f64 {
        Spread::of(&self.runs.iter().map(|r| r.curve.seconds()).collect::<Vec<_>>()).mean
    }

    /// Tokens per second of training, over all runs.
    pub fn tokens_per_second(&self) -> f64 {
        let tokens: u64 = self.runs.iter().map(|r| r.curve.tokens).sum();
        let seconds: f64 = self.runs.iter().map(|r| r.curve.seconds()).sum();
        tokens as f64 / seconds.max(1e-9)
    }

    /// The first run that diverged or was stopped, in words.
    pub fn trouble(&self) -> Option<String> {
        let of_many =
            |run: &Run| if self.runs.len() > 1 { format!(" (seed {})", run.seed) } else { String::new() };
        self.runs.iter().find_map(|run| match &run.curve.ending {
            Ending::Diverged { step, .. } => Some(format!("diverged at step {step}{}", of_many(run))),
            Ending::Stopped { why } => Some(format!("{why}{}", of_many(run))),
            Ending::Interrupted => {
                Some(format!("interrupted after step {}{}", run.curve.steps(), of_many(run)))
            }
            Ending::Finished => None,
        })
    }
}
