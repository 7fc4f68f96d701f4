//! From filled settings to how the model descends: optimiser, schedule, clipping, stopping, initialiser.

use serde::de::DeserializeOwned;

use super::{Settings, choice};
use crate::error::{Error, Result};
use crate::optim::clip::ClipConfig;
use crate::optim::converge::ConvergeConfig;
use crate::optim::init::InitConfig;
use crate::optim::{OptimConfig, ScheduleConfig};

/// Everything that gradient descent is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DescentConfig {
    /// The update rule.
    pub optim: OptimConfig,
    /// The learning rate over the run.
    pub schedule: ScheduleConfig,
    /// Bounds on the gradient.
    pub clip: ClipConfig,
    /// When to stop early.
    pub converge: ConvergeConfig,
    /// How the weights begin.
    pub init: InitConfig,
    /// Decay of the moving average of the weights, 0 for none.
    pub ema: f32,
    /// Share of the updates, at the end, whose weights are averaged; 0 for none.
    pub swa: f64,
    /// Batches per update.
    pub accumulate: usize,
    /// Standard deviations that make a spike, 0 for none.
    pub spike: f64,
}

impl DescentConfig {
    /// What `settings`, [filled](super::presets::fill), say.
    ///
    /// # Errors
    /// A spelling that is not known, a value out of range, or a setting that the chosen rule does not use.
    pub fn new(settings: &Settings) -> Result<Self> {
        let s = settings;
        let optimizer = choice("optimizer", s.optimizer.as_deref().unwrap_or("adam"), super::OPTIMIZERS)?;
        let schedule = choice("schedule", s.schedule.as_deref().unwrap_or("constant"), super::SCHEDULES)?;
        let optim = OptimConfig {
            name: named(optimizer),
            lr: s.lr,
            weight_decay: s.weight_decay,
            decoupled: s.decoupled,
            maximize: s.maximize.unwrap_or(false),
            embedding_lr_mult: s.embedding_lr_mult,
            head_lr_mult: s.head_lr_mult,
            vector_lr_mult: s.vector_lr_mult,
            momentum: s.momentum,
            dampening: s.dampening,
            nesterov: s.nesterov,
            alpha: s.alpha,
            centered: s.centered,
            beta1: s.beta1,
            beta2: s.beta2,
            eps: s.eps,
            lr_decay: s.lr_decay,
            initial_accumulator: s.initial_accumulator,
            ns_steps: s.ns_steps,
            adam_lr: s.adam_lr,
            ..Default::default()
        };
        let schedule = ScheduleConfig {
            name: named(schedule),
            warmup: s.warmup.unwrap_or(0),
            gamma: s.gamma,
            step_size: s.step_size,
            rate: s.rate,
            power: s.power,
            end_factor: s.end_factor,
            pct_start: s.pct_start,
            div_factor: s.div_factor,
            final_div_factor: s.final_div_factor,
            anneal: s
                .anneal
                .as_deref()
                .map(|a| choice("anneal", a, super::ANNEALS).map(named))
                .transpose()?,
            decay_fraction: s.decay_fraction,
            reduce: s.reduce,
            patience: s.plateau_patience,
            threshold: s.threshold,
            cooldown: s.cooldown,
            min_factor: s.min_factor,
        };
        let config = DescentConfig {
            optim,
            schedule,
            clip: ClipConfig { norm: on(s.clip_norm), value: on(s.clip_value) },
            converge: ConvergeConfig {
                patience: s.patience.filter(|p| *p > 0),
                min_delta: s.min_delta.unwrap_or(0.0),
                grad_tol: s.grad_tol,
                target_loss: s.target_loss,
            },
            init: init(s)?,
            ema: s.ema.unwrap_or(0.0),
            swa: s.swa.unwrap_or(0.0),
            accumulate: s.accumulate.unwrap_or(1),
            spike: s.spike.unwrap_or(0.0),
        };
        config.check()?;
        Ok(config)
    }

    /// Optimiser and schedule as one line, for a receipt.
    pub fn describe(&self) -> String {
        let mut line = format!("{} lr {}", self.optim.name.as_str(), self.optim.lr());
        line.push_str(&format!(
            ", schedule {} warm-up {}",
            self.schedule.name.as_str(),
            self.schedule.warmup
        ));
        if let Some(norm) = self.clip.norm {
            line.push_str(&format!(", clip norm {norm}"));
        }
        if self.optim.weight_decay() > 0.0 {
            line.push_str(&format!(", weight decay {}", self.optim.weight_decay()));
        }
        if self.swa > 0.0 {
            line.push_str(&format!(", mean of the last {} of the updates", self.swa));
        }
        line
    }

    fn check(&self) -> Result<()> {
        self.optim.rule()?;
        crate::optim::Schedule::new(&self.schedule)?;
        self.clip.check()?;
        self.converge.check()?;
        self.init.check()?;
        if !(0.0..1.0).contains(&self.ema) {
            let problem = format!("is {}, expected 0 (off) to below 1, such as 0.999", self.ema);
            return Err(Error::Setting { key: "ema", problem });
        }
        if !(0.0..=1.0).contains(&self.swa) {
            let problem = format!(
                "is {}, expected 0 (off) to 1, such as 0.25 for the last quarter of the updates",
                self.swa
            );
            return Err(Error::Setting { key: "swa", problem });
        }
        if self.swa > 0.0 && self.ema > 0.0 {
            let problem = format!(
                "is {}, and ema is {}: a run has one average, set one of them to 0",
                self.swa, self.ema
            );
            return Err(Error::Setting { key: "swa", problem });
        }
        if self.accumulate == 0 {
            return Err(Error::Setting {
                key: "accumulate",
                problem: "is 0, expected at least 1 batch".into(),
            });
        }
        if !(self.spike.is_finite() && self.spike >= 0.0) {
            let problem = format!("is {}, expected 0 (off) or a positive number", self.spike);
            return Err(Error::Setting { key: "spike", problem });
        }
        Ok(())
    }
}

fn init(s: &Settings) -> Result<InitConfig> {
    let defaults = InitConfig::default();
    Ok(InitConfig {
        name: named(choice("init", s.init.as_deref().unwrap_or("auto"), super::INITS)?),
        gain: s.init_gain.unwrap_or(defaults.gain),
        std: s.init_std.unwrap_or(defaults.std),
        zero_residual: s.zero_residual.unwrap_or(defaults.zero_residual),
        zero_head: s.zero_head.unwrap_or(defaults.zero_head),
        forget_bias: s.forget_bias.unwrap_or(defaults.forget_bias),
    })
}

/// A bound of 0 is off.
fn on(bound: Option<f32>) -> Option<f32> {
    bound.filter(|b| *b != 0.0)
}

/// The variant that serde knows by `name`, which was checked against the same spellings.
fn named<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_value(name.into()).expect("the spellings of the settings are those of the enum")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::{OptimName, ScheduleName};

    #[test]
    fn every_spelling_is_a_variant() {
        for name in super::super::OPTIMIZERS {
            assert_eq!(named::<OptimName>(name).as_str(), *name);
        }
        for name in super::super::SCHEDULES {
            assert_eq!(named::<ScheduleName>(name).as_str(), *name);
        }
        for name in super::super::INITS {
            named::<crate::optim::init::InitName>(name);
        }
        for name in super::super::ANNEALS {
            named::<crate::optim::schedule::Anneal>(name);
        }
    }

    #[test]
    fn a_rate_that_cannot_learn_is_refused() {
        for lr in [0.0, f32::NAN, -1.0] {
            let s = Settings { lr: Some(lr), ..Default::default() };
            assert!(DescentConfig::new(&s).unwrap_err().to_string().starts_with("lr: "), "{lr}");
        }
    }

    #[test]
    fn a_run_has_one_average() {
        let line = |ema, swa| {
            let s = Settings { ema, swa, ..Default::default() };
            DescentConfig::new(&s).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert_eq!(line(None, Some(0.25)) + &line(Some(0.0), Some(1.0)), "");
        assert!(line(Some(0.9), Some(0.25)).contains("a run has one average"));
        assert!(
            line(None, Some(1.5)).starts_with("swa: is 1.5") && line(None, Some(f64::NAN)).starts_with("swa")
        );
    }

    #[test]
    fn a_setting_that_the_rule_does_not_use_is_refused() {
        let s = Settings { optimizer: Some("sgd".into()), beta2: Some(0.9), ..Default::default() };
        assert!(DescentConfig::new(&s).unwrap_err().to_string().contains("not used by sgd"));
    }
}
