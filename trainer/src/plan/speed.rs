//! How fast this machine trains: a few short trials, and everything between them by the operations that a step takes.

use std::time::{Duration, Instant};

use siskin_format::ModelConfig;

use super::flops;
use crate::data::Tokens;
use crate::error::Result;
use crate::rng::Rng;
use crate::settings::Settings;
use crate::train::run::trainer_config;
use crate::train::trainer::{Trainer, TrainerConfig};

/// Operations of a step, and how many of them a second takes.
#[derive(Clone, Copy, Debug)]
struct Trial {
    flops: f64,
    rate: f64,
}

/// The sizes take turns, so that what else the machine does meanwhile falls on all of them alike.
const ROUNDS: u32 = 4;

/// A size that is being timed.
struct Timed {
    trainer: Trainer,
    flops: f64,
    /// Seconds of the first step.
    first: f64,
    seconds: f64,
    steps: u32,
}

impl Timed {
    fn begin(config: TrainerConfig, flops: f64, windows: usize, vocab_size: usize) -> Result<Self> {
        let mut rng = Rng::new(1);
        let text = (4 * windows * config.seq_len).max(4096);
        let tokens = (0..text).map(|_| rng.below(vocab_size as u64) as u32).collect();
        let mut trainer = Trainer::new(config, Tokens::from_vec(tokens), Tokens::from_vec(Vec::new()))?;
        let begin = Instant::now();
        trainer.step(u64::MAX)?;
        Ok(Timed { trainer, flops, first: begin.elapsed().as_secs_f64(), seconds: 0.0, steps: 0 })
    }

    /// Steps for about `time`, at least one.
    fn go_on(&mut self, time: Duration) -> Result<()> {
        let begin = Instant::now();
        loop {
            self.trainer.step(u64::MAX)?;
            self.steps += 1;
            if begin.elapsed() >= time {
                self.seconds += begin.elapsed().as_secs_f64();
                return Ok(());
            }
        }
    }

    /// By the mean of its steps: see `train::budget`.
    fn trial(&self) -> Trial {
        Trial { flops: self.flops, rate: self.flops * f64::from(self.steps) / self.seconds.max(1e-9) }
    }
}

/// Speed of training steps by their size.
#[derive(Clone, Debug)]
pub struct Speed {
    trials: Vec<Trial>, // by flops, rising
}

/// Operations of one update: forward and backward of its tokens, and Muon's own.
pub fn flops_of_step(settings: &Settings, config: &ModelConfig, windows: usize) -> f64 {
    let tokens = (windows * config.context) as f64;
    let muon = match settings.optimizer.as_deref() {
        Some("muon") => flops::of_muon(config, settings.ns_steps.unwrap_or(5) as usize),
        _ => 0.0,
    };
    tokens * flops::per_token(config, config.context) + muon
}

impl Speed {
    /// Times steps of `settings`, each filled and smallest first, on random tokens of a vocabulary of `vocab_size`, for about `limit`
    /// together. Sizes whose steps would take more than that are left out, but for the first.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub fn measure(settings: &[Settings], vocab_size: usize, limit: Duration) -> Result<Speed> {
        let each = limit.div_f64(settings.len().max(1) as f64);
        let mut timed: Vec<Timed> = Vec::new();
        for s in settings {
            // Whole windows take longest, and are most of a run.
            let config = TrainerConfig { length_warmup: 0.0, ..trainer_config(s, vocab_size)? };
            let windows = s.batch_size.as_deref().and_then(|b| b.parse().ok()).unwrap_or(1);
            let flops = flops_of_step(s, &config.model, windows);
            // The first step, which allocates, takes about as long as another.
            if timed.last().is_some_and(|last| 2.0 * flops / last.flops * last.first > each.as_secs_f64()) {
                break;
            }
            timed.push(Timed::begin(config, flops, windows, vocab_size)?);
        }
        for _ in 0..ROUNDS {
            for one in &mut timed {
                one.go_on(each / ROUNDS)?;
            }
        }
        let mut trials: Vec<Trial> = timed.iter().map(Timed::trial).collect();
        trials.sort_by(|a, b| a.flops.total_cmp(&b.flops));
        Ok(Speed { trials })
    }

    /// Seconds of a step of so many operations: the rates of the two trials around it, in logarithms; beyond them that of the nearest.
    pub fn seconds(&self, flops: f64) -> f64 {
        let after = self.trials.partition_point(|t| t.flops < flops);
        let rate = match (after.checked_sub(1).map(|i| self.trials[i]), self.trials.get(after)) {
            (Some(low), Some(high)) => {
                let share = (flops / low.flops).ln() / (high.flops / low.flops).ln();
                low.rate * (high.rate / low.rate).powf(share)
            }
            (Some(end), None) => end.rate,
            (None, Some(end)) => end.rate,
            (None, None) => 1e10,
        };
        flops / rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::presets::{TextFacts, fill};

    #[test]
    fn between_trials_the_rate_lies_between_theirs() {
        let speed = Speed { trials: vec![Trial { flops: 1e6, rate: 1e9 }, Trial { flops: 1e8, rate: 4e9 }] };
        assert_eq!(speed.seconds(1e6), 1e-3);
        assert!((speed.seconds(1e7) - 1e7 / 2e9).abs() < 1e-9);
        assert_eq!((speed.seconds(1e5), speed.seconds(1e10)), (1e-4, 2.5));
    }

    #[test]
    fn trials_end_in_time_and_leave_out_what_is_too_large() {
        let size = |n_layers: usize, d_model: usize| {
            let said = Settings {
                n_layers: Some(n_layers),
                d_model: Some(d_model),
                n_heads: Some(2),
                context: Some(32),
                batch_size: Some("2".into()),
                ..Default::default()
            };
            fill(&said, &TextFacts { threads: 1 }).unwrap()
        };
        let sizes = [size(1, 32), size(1, 64), size(24, 768)];
        let speed = Speed::measure(&sizes, 65, Duration::from_millis(300)).unwrap();
        assert!(!speed.trials.is_empty() && speed.trials.len() < 3, "{speed:?}");
        assert!(speed.trials.iter().all(|t| t.rate > 1e6), "{speed:?}");
    }
}
