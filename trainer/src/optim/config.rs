//! The settings of an optimiser: one flat set of names, of which each rule uses some.
//!
//! [`OptimConfig`] is what a user writes; [`Rule`] is what it resolves to, every default filled in. A setting that
//! the chosen rule has no use for is an error, not a silence.

use serde::{Deserialize, Serialize};

use super::adagrad::Adagrad;
use super::adam::Adam;
use super::lion::Lion;
use super::muon::{Muon, MuonScale};
use super::rmsprop::RmsProp;
use super::sgd::Sgd;
use crate::error::{Error, Result};

/// The update rules by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimName {
    /// Plain gradient descent; momentum 0 unless given.
    Sgd,
    /// Gradient descent with momentum 0.9 unless given.
    Momentum,
    /// Gradient descent with Nesterov momentum 0.9 unless given.
    Nesterov,
    /// Adagrad.
    Adagrad,
    /// RMSProp.
    Rmsprop,
    /// Adam, with coupled weight decay unless `decoupled`.
    Adam,
    /// Adam with decoupled weight decay.
    Adamw,
    /// Lion.
    Lion,
    /// Muon for hidden matrices, Adam for the rest.
    #[default]
    Muon,
}

impl OptimName {
    /// Every name, in the order of a help text.
    pub const ALL: [OptimName; 9] = [
        OptimName::Sgd,
        OptimName::Momentum,
        OptimName::Nesterov,
        OptimName::Adagrad,
        OptimName::Rmsprop,
        OptimName::Adam,
        OptimName::Adamw,
        OptimName::Lion,
        OptimName::Muon,
    ];

    /// The name as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            OptimName::Sgd => "sgd",
            OptimName::Momentum => "momentum",
            OptimName::Nesterov => "nesterov",
            OptimName::Adagrad => "adagrad",
            OptimName::Rmsprop => "rmsprop",
            OptimName::Adam => "adam",
            OptimName::Adamw => "adamw",
            OptimName::Lion => "lion",
            OptimName::Muon => "muon",
        }
    }

    /// The optimiser of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|n| n.as_str() == name)
    }

    /// The settings that this rule uses, besides those that all use ([`COMMON`]).
    pub fn own_settings(self) -> &'static [&'static str] {
        match self {
            OptimName::Sgd | OptimName::Momentum => &["momentum", "dampening", "nesterov", "decoupled"],
            OptimName::Nesterov => &["momentum", "decoupled"],
            OptimName::Adagrad => &["lr-decay", "initial-accumulator", "eps", "decoupled"],
            OptimName::Rmsprop => &["alpha", "eps", "centered", "momentum", "decoupled"],
            OptimName::Adam => &["beta1", "beta2", "eps", "decoupled"],
            OptimName::Adamw => &["beta1", "beta2", "eps"],
            OptimName::Lion => &["beta1", "beta2"],
            OptimName::Muon => {
                &["momentum", "nesterov", "ns-steps", "muon-scale", "adam-lr", "beta1", "beta2", "eps"]
            }
        }
    }

    /// The learning rate when none is given.
    pub fn default_lr(self) -> f32 {
        match self {
            OptimName::Sgd => 0.5,
            OptimName::Momentum | OptimName::Nesterov => 0.1,
            OptimName::Adagrad | OptimName::Muon => 0.02,
            OptimName::Rmsprop => 1e-3,
            OptimName::Adam | OptimName::Adamw => 4e-3,
            OptimName::Lion => 5e-4,
        }
    }
}

/// Settings that every rule uses.
pub const COMMON: &[&str] =
    &["name", "lr", "weight-decay", "maximize", "embedding-lr-mult", "head-lr-mult", "vector-lr-mult"];

/// What a user may say about an optimiser. `None` leaves the default of the rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct OptimConfig {
    /// The update rule.
    pub name: OptimName,
    /// Learning rate η before schedule and multipliers; [`OptimName::default_lr`] if not given.
    pub lr: Option<f32>,
    /// Weight decay λ, on matrices; 0, but 0.1 for AdamW.
    pub weight_decay: Option<f32>,
    /// Take the decay out of the gradient, as AdamW does.
    pub decoupled: Option<bool>,
    /// Ascend instead of descend.
    pub maximize: bool,
    /// Multiplies the learning rate of embeddings; 1.
    pub embedding_lr_mult: Option<f32>,
    /// Multiplies the learning rate of the head; 1.
    pub head_lr_mult: Option<f32>,
    /// Multiplies the learning rate of biases and norms; 1.
    pub vector_lr_mult: Option<f32>,
    /// Momentum μ; see [`OptimName`], 0.95 for Muon.
    pub momentum: Option<f32>,
    /// Dampening d of the momentum; 0.
    pub dampening: Option<f32>,
    /// Nesterov's look-ahead; on for Muon, off for SGD.
    pub nesterov: Option<bool>,
    /// Memory α of RMSProp; 0.99.
    pub alpha: Option<f32>,
    /// Centred RMSProp.
    pub centered: Option<bool>,
    /// Memory β₁ of the mean; 0.9.
    pub beta1: Option<f32>,
    /// Memory β₂ of the mean square; 0.99 (in Lion, of the momentum).
    pub beta2: Option<f32>,
    /// ε; 1e-8, but 1e-10 for Adagrad.
    pub eps: Option<f32>,
    /// Decay κ of Adagrad's learning rate per step; 0.
    pub lr_decay: Option<f32>,
    /// What Adagrad's sums begin at; 0.
    pub initial_accumulator: Option<f32>,
    /// Newton–Schulz steps of Muon; 5.
    pub ns_steps: Option<u32>,
    /// How Muon scales a step to the matrix's shape.
    pub muon_scale: Option<MuonScale>,
    /// Learning rate of Muon's Adam for embedding, head and vectors; 4e-3.
    pub adam_lr: Option<f32>,
}

/// An update rule with all its settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// [`super::sgd`]
    Sgd(Sgd),
    /// [`super::adagrad`]
    Adagrad(Adagrad),
    /// [`super::rmsprop`]
    RmsProp(RmsProp),
    /// [`super::adam`] and [`super::adamw`]
    Adam(Adam),
    /// [`super::lion`]
    Lion(Lion),
    /// [`super::muon`]
    Muon(Muon),
}

impl OptimConfig {
    /// The settings of `name` with every default.
    pub fn new(name: OptimName) -> Self {
        OptimConfig { name, ..Self::default() }
    }

    /// The rule, its defaults filled in.
    ///
    /// # Errors
    /// [`Error::Setting`] for a value out of range and for a setting that the rule does not use.
    pub fn rule(&self) -> Result<Rule> {
        self.check()?;
        let eps = self.eps.unwrap_or(1e-8);
        let adam = Adam { beta1: self.beta1.unwrap_or(0.9), beta2: self.beta2.unwrap_or(0.99), eps };
        let momentum = |default| self.momentum.unwrap_or(default);
        Ok(match self.name {
            OptimName::Sgd | OptimName::Momentum | OptimName::Nesterov => Rule::Sgd(self.sgd()?),
            OptimName::Adagrad => Rule::Adagrad(Adagrad {
                lr_decay: self.lr_decay.unwrap_or(0.0),
                initial: self.initial_accumulator.unwrap_or(0.0),
                eps: self.eps.unwrap_or(1e-10),
            }),
            OptimName::Rmsprop => Rule::RmsProp(RmsProp {
                alpha: self.alpha.unwrap_or(0.99),
                eps,
                centered: self.centered.unwrap_or(false),
                momentum: momentum(0.0),
            }),
            OptimName::Adam | OptimName::Adamw => Rule::Adam(adam),
            OptimName::Lion => Rule::Lion(Lion { beta1: adam.beta1, beta2: adam.beta2 }),
            OptimName::Muon => Rule::Muon(Muon {
                momentum: momentum(0.95),
                nesterov: self.nesterov.unwrap_or(true),
                ns_steps: self.ns_steps.unwrap_or(5),
                scale: self.muon_scale.unwrap_or_default(),
                adam,
                adam_lr: self.adam_lr.unwrap_or(4e-3),
            }),
        })
    }

    /// The learning rate before schedule and multipliers.
    pub fn lr(&self) -> f32 {
        self.lr.unwrap_or(self.name.default_lr())
    }

    /// Weight decay λ.
    pub fn weight_decay(&self) -> f32 {
        self.weight_decay.unwrap_or(if self.name == OptimName::Adamw { 0.1 } else { 0.0 })
    }

    /// Whether the decay is decoupled from the gradient.
    pub fn is_decoupled(&self) -> bool {
        let always = matches!(self.name, OptimName::Adamw | OptimName::Lion | OptimName::Muon);
        always || self.decoupled.unwrap_or(false)
    }

    fn sgd(&self) -> Result<Sgd> {
        let plain = self.name == OptimName::Sgd;
        let momentum = self.momentum.unwrap_or(if plain { 0.0 } else { 0.9 });
        let nesterov = self.name == OptimName::Nesterov || self.nesterov.unwrap_or(false);
        let dampening = self.dampening.unwrap_or(0.0);
        if nesterov && (momentum == 0.0 || dampening != 0.0) {
            let problem = format!(
                "nesterov looks ahead along the momentum, so it needs momentum above 0 and dampening 0, \
                 found {momentum} and {dampening}"
            );
            return Err(Error::Setting { key: "nesterov", problem });
        }
        Ok(Sgd { momentum, dampening, nesterov })
    }

    fn check(&self) -> Result<()> {
        self.check_all_used()?;
        let unit = |key, value: Option<f32>| in_range(key, value, 0.0, 1.0, false);
        let positive = |key, value: Option<f32>| in_range(key, value, 0.0, f32::INFINITY, false);
        if self.lr == Some(0.0) || self.adam_lr == Some(0.0) {
            let problem = "a learning rate of 0 would never learn, give one above 0".to_string();
            return Err(Error::Setting { key: "lr", problem });
        }
        positive("lr", self.lr)?;
        positive("adam-lr", self.adam_lr)?;
        positive("weight-decay", self.weight_decay)?;
        positive("embedding-lr-mult", self.embedding_lr_mult)?;
        positive("head-lr-mult", self.head_lr_mult)?;
        positive("vector-lr-mult", self.vector_lr_mult)?;
        unit("momentum", self.momentum)?;
        in_range("dampening", self.dampening, 0.0, 1.0, true)?;
        unit("alpha", self.alpha)?;
        unit("beta1", self.beta1)?;
        unit("beta2", self.beta2)?;
        positive("eps", self.eps)?;
        positive("lr-decay", self.lr_decay)?;
        positive("initial-accumulator", self.initial_accumulator)?;
        if self.ns_steps.is_some_and(|n| !(1..=20).contains(&n)) {
            let problem = format!("is {}, expected 1 to 20", self.ns_steps.unwrap_or_default());
            return Err(Error::Setting { key: "ns-steps", problem });
        }
        Ok(())
    }

    /// A setting that the rule ignores would let the user believe in it.
    fn check_all_used(&self) -> Result<()> {
        let own = self.name.own_settings();
        let given: &[(&'static str, bool)] = &[
            ("decoupled", self.decoupled.is_some()),
            ("momentum", self.momentum.is_some()),
            ("dampening", self.dampening.is_some()),
            ("nesterov", self.nesterov.is_some()),
            ("alpha", self.alpha.is_some()),
            ("centered", self.centered.is_some()),
            ("beta1", self.beta1.is_some()),
            ("beta2", self.beta2.is_some()),
            ("eps", self.eps.is_some()),
            ("lr-decay", self.lr_decay.is_some()),
            ("initial-accumulator", self.initial_accumulator.is_some()),
            ("ns-steps", self.ns_steps.is_some()),
            ("muon-scale", self.muon_scale.is_some()),
            ("adam-lr", self.adam_lr.is_some()),
        ];
        match given.iter().find(|(key, is_given)| *is_given && !own.contains(key)) {
            None => Ok(()),
            Some(&(key, _)) => {
                let name = self.name.as_str();
                let problem = format!("not used by {name}, whose own settings are {}", own.join(", "));
                Err(Error::Setting { key, problem })
            }
        }
    }
}

/// Refuses a value below `low`, above `high` or not a number; `high` itself only where `closed`.
pub(super) fn in_range(
    key: &'static str,
    value: Option<f32>,
    low: f32,
    high: f32,
    closed: bool,
) -> Result<()> {
    let Some(x) = value else { return Ok(()) };
    if x >= low && (x < high || closed && x == high) {
        return Ok(());
    }
    let range = match (high == f32::INFINITY, closed) {
        (true, _) => format!("a finite number of at least {low}"),
        (false, true) => format!("{low} to {high}"),
        (false, false) => format!("at least {low} and below {high}"),
    };
    Err(Error::Setting { key, problem: format!("is {x}, expected {range}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(config: OptimConfig) -> String {
        config.rule().unwrap_err().to_string()
    }

    #[test]
    fn names_match_their_serde_spelling() {
        for name in OptimName::ALL {
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
            assert_eq!(OptimName::parse(name.as_str()), Some(name));
            assert!(OptimConfig::new(name).rule().is_ok());
        }
        assert_eq!(OptimName::parse("adamax"), None);
    }

    #[test]
    fn reads_toml_and_refuses_a_typo() {
        let config: OptimConfig = toml::from_str("name = \"adamw\"\nlr = 1e-3\nweight-decay = 0.1").unwrap();
        assert_eq!((config.name, config.lr, config.weight_decay()), (OptimName::Adamw, Some(1e-3), 0.1));
        let typo = toml::from_str::<OptimConfig>("lr = 1e-3\nweight-decai = 0.1").unwrap_err().to_string();
        assert!(typo.contains("weight-decai"), "{typo}");
    }

    #[test]
    fn values_out_of_range_are_named() {
        let with_lr = |lr| OptimConfig { lr: Some(lr), ..OptimConfig::new(OptimName::Adam) };
        assert_eq!(problem(with_lr(0.0)), "lr: a learning rate of 0 would never learn, give one above 0");
        assert_eq!(problem(with_lr(f32::NAN)), "lr: is NaN, expected a finite number of at least 0");
        assert_eq!(problem(with_lr(f32::INFINITY)), "lr: is inf, expected a finite number of at least 0");
        let beta = OptimConfig { beta2: Some(1.0), ..OptimConfig::new(OptimName::Adam) };
        assert_eq!(problem(beta), "beta2: is 1, expected at least 0 and below 1");
    }

    #[test]
    fn a_setting_without_effect_is_refused() {
        let config = OptimConfig { momentum: Some(0.9), ..OptimConfig::new(OptimName::Adamw) };
        assert_eq!(problem(config), "momentum: not used by adamw, whose own settings are beta1, beta2, eps");
        let config = OptimConfig { nesterov: Some(true), ..OptimConfig::new(OptimName::Sgd) };
        assert!(problem(config).starts_with("nesterov: nesterov looks ahead"));
    }
}
