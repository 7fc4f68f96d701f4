//! The settings of a schedule: one flat set of names, of which each schedule uses some.

use serde::{Deserialize, Serialize};

use super::curve::OneCycle;
use super::plateau::Plateau;
use crate::error::{Error, Result};

/// The schedules by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleName {
    /// The learning rate stays.
    Constant,
    /// It drops by a factor every so many steps.
    Step,
    /// It shrinks by a factor at every step.
    Exponential,
    /// It falls like 1 / t.
    InverseTime,
    /// It falls like a power of the remaining time.
    Polynomial,
    /// It falls in a straight line.
    Linear,
    /// It falls along half a cosine.
    Cosine,
    /// It rises, then falls far.
    OneCycle,
    /// Warm-up, stable, decay: it stays, then falls.
    #[default]
    Wsd,
    /// It drops when the validation loss stands still.
    Plateau,
}

impl ScheduleName {
    /// Every name, in the order of a help text.
    pub const ALL: [ScheduleName; 10] = [
        ScheduleName::Constant,
        ScheduleName::Step,
        ScheduleName::Exponential,
        ScheduleName::InverseTime,
        ScheduleName::Polynomial,
        ScheduleName::Linear,
        ScheduleName::Cosine,
        ScheduleName::OneCycle,
        ScheduleName::Wsd,
        ScheduleName::Plateau,
    ];

    /// The name as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            ScheduleName::Constant => "constant",
            ScheduleName::Step => "step",
            ScheduleName::Exponential => "exponential",
            ScheduleName::InverseTime => "inverse-time",
            ScheduleName::Polynomial => "polynomial",
            ScheduleName::Linear => "linear",
            ScheduleName::Cosine => "cosine",
            ScheduleName::OneCycle => "one-cycle",
            ScheduleName::Wsd => "wsd",
            ScheduleName::Plateau => "plateau",
        }
    }

    /// The schedule of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|n| n.as_str() == name)
    }

    /// The settings that this schedule uses, besides `name` and `warmup`.
    pub fn own_settings(self) -> &'static [&'static str] {
        match self {
            ScheduleName::Constant => &[],
            ScheduleName::Step => &["gamma", "step-size"],
            ScheduleName::Exponential => &["gamma"],
            ScheduleName::InverseTime => &["rate"],
            ScheduleName::Polynomial => &["power", "end-factor"],
            ScheduleName::Linear | ScheduleName::Cosine => &["end-factor"],
            ScheduleName::OneCycle => &["pct-start", "div-factor", "final-div-factor", "anneal"],
            ScheduleName::Wsd => &["decay-fraction", "anneal", "end-factor"],
            ScheduleName::Plateau => &["reduce", "patience", "threshold", "cooldown", "min-factor"],
        }
    }
}

/// The shape of a way between two rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anneal {
    /// A straight line.
    #[default]
    Linear,
    /// Half a cosine.
    Cosine,
    /// 1 − √x: steep at first (Hägele et al., "Scaling laws and compute-optimal training beyond fixed training
    /// durations", 2024).
    OneMinusSqrt,
}

/// What a user may say about a schedule. `None` leaves the default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ScheduleConfig {
    /// The schedule.
    pub name: ScheduleName,
    /// Steps of linear warm-up before it.
    pub warmup: u64,
    /// Step: factor of a drop, 0.1. Exponential: factor of a step, 0.999.
    pub gamma: Option<f64>,
    /// Steps between drops; 1000.
    pub step_size: Option<u64>,
    /// ρ of inverse time, per step; 0.01.
    pub rate: Option<f64>,
    /// p of the polynomial; 2.
    pub power: Option<f64>,
    /// e, the factor at the end; 0.
    pub end_factor: Option<f64>,
    /// Share of the steps that one-cycle rises; 0.3.
    pub pct_start: Option<f64>,
    /// One-cycle begins at 1 / this; 25.
    pub div_factor: Option<f64>,
    /// One-cycle ends at its begin divided by this; 10,000.
    pub final_div_factor: Option<f64>,
    /// The shape of one-cycle (cosine) and of the decay of wsd (linear).
    pub anneal: Option<Anneal>,
    /// Share of the steps over which wsd decays; 0.6.
    pub decay_fraction: Option<f64>,
    /// What a plateau multiplies the rate by; 0.1.
    pub reduce: Option<f64>,
    /// Evaluations without improvement that a plateau bears; 10.
    pub patience: Option<u32>,
    /// How much lower than the best, relatively, a loss must be to count as better; 1e-4.
    pub threshold: Option<f64>,
    /// Evaluations after a reduction that do not count; 0.
    pub cooldown: Option<u32>,
    /// The factor that a plateau does not fall under; 0.
    pub min_factor: Option<f64>,
}

impl ScheduleConfig {
    /// The settings of `name` with every default.
    pub fn new(name: ScheduleName) -> Self {
        ScheduleConfig { name, ..Self::default() }
    }

    pub(super) fn gamma(&self) -> f64 {
        self.gamma.unwrap_or(if self.name == ScheduleName::Step { 0.1 } else { 0.999 })
    }

    pub(super) fn step_size(&self) -> u64 {
        self.step_size.unwrap_or(1000)
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate.unwrap_or(0.01)
    }

    pub(super) fn power(&self) -> f64 {
        self.power.unwrap_or(2.0)
    }

    pub(super) fn end_factor(&self) -> f64 {
        self.end_factor.unwrap_or(0.0)
    }

    pub(super) fn decay_fraction(&self) -> f64 {
        self.decay_fraction.unwrap_or(0.6)
    }

    pub(super) fn anneal(&self) -> Anneal {
        let cosine = self.name == ScheduleName::OneCycle;
        self.anneal.unwrap_or(if cosine { Anneal::Cosine } else { Anneal::Linear })
    }

    pub(super) fn one_cycle(&self) -> OneCycle {
        OneCycle {
            pct_start: self.pct_start.unwrap_or(0.3),
            div_factor: self.div_factor.unwrap_or(25.0),
            final_div_factor: self.final_div_factor.unwrap_or(1e4),
            anneal: self.anneal(),
        }
    }

    pub(super) fn plateau(&self) -> Plateau {
        Plateau::new(
            self.reduce.unwrap_or(0.1),
            self.patience.unwrap_or(10),
            self.threshold.unwrap_or(1e-4),
            self.cooldown.unwrap_or(0),
            self.min_factor.unwrap_or(0.0),
        )
    }

    pub(super) fn check(&self) -> Result<()> {
        self.check_all_used()?;
        let unit = |key, value| in_range(key, value, 0.0, 1.0);
        unit("gamma", self.gamma)?;
        in_range("rate", self.rate, 0.0, f64::MAX)?;
        in_range("power", self.power, f64::MIN_POSITIVE, f64::MAX)?;
        unit("end-factor", self.end_factor)?;
        unit("pct-start", self.pct_start)?;
        in_range("div-factor", self.div_factor, 1.0, f64::MAX)?;
        in_range("final-div-factor", self.final_div_factor, 1.0, f64::MAX)?;
        in_range("decay-fraction", self.decay_fraction, f64::MIN_POSITIVE, 1.0)?;
        unit("reduce", self.reduce)?;
        unit("threshold", self.threshold)?;
        unit("min-factor", self.min_factor)?;
        if self.step_size == Some(0) {
            let problem = "is 0, expected at least 1 step".to_string();
            return Err(Error::Setting { key: "step-size", problem });
        }
        Ok(())
    }

    /// A setting that the schedule ignores would let the user believe in it.
    fn check_all_used(&self) -> Result<()> {
        let own = self.name.own_settings();
        let given: &[(&'static str, bool)] = &[
            ("gamma", self.gamma.is_some()),
            ("step-size", self.step_size.is_some()),
            ("rate", self.rate.is_some()),
            ("power", self.power.is_some()),
            ("end-factor", self.end_factor.is_some()),
            ("pct-start", self.pct_start.is_some()),
            ("div-factor", self.div_factor.is_some()),
            ("final-div-factor", self.final_div_factor.is_some()),
            ("anneal", self.anneal.is_some()),
            ("decay-fraction", self.decay_fraction.is_some()),
            ("reduce", self.reduce.is_some()),
            ("patience", self.patience.is_some()),
            ("threshold", self.threshold.is_some()),
            ("cooldown", self.cooldown.is_some()),
            ("min-factor", self.min_factor.is_some()),
        ];
        let Some(&(key, _)) = given.iter().find(|(key, is_given)| *is_given && !own.contains(key)) else {
            return Ok(());
        };
        let name = self.name.as_str();
        let problem = match own {
            [] => format!("not used by {name}, which has no settings but warmup"),
            own => format!("not used by {name}, whose own settings are {}", own.join(", ")),
        };
        Err(Error::Setting { key, problem })
    }
}

fn in_range(key: &'static str, value: Option<f64>, low: f64, high: f64) -> Result<()> {
    let Some(x) = value.filter(|x| !(low..=high).contains(x)) else { return Ok(()) };
    let range = match (low == f64::MIN_POSITIVE, high == f64::MAX) {
        (true, true) => "a finite number above 0".to_string(),
        (true, false) => format!("above 0 and at most {high}"),
        (false, true) => format!("a finite number of at least {low}"),
        (false, false) => format!("{low} to {high}"),
    };
    Err(Error::Setting { key, problem: format!("is {x}, expected {range}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_their_serde_spelling() {
        for name in ScheduleName::ALL {
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
            assert_eq!(ScheduleName::parse(name.as_str()), Some(name));
            assert!(ScheduleConfig::new(name).check().is_ok());
        }
    }

    #[test]
    fn refuses_what_cannot_work_and_what_has_no_effect() {
        let line = |config: ScheduleConfig| config.check().unwrap_err().to_string();
        let cosine = ScheduleConfig::new(ScheduleName::Cosine);
        assert_eq!(
            line(ScheduleConfig { end_factor: Some(f64::NAN), ..cosine.clone() }),
            "end-factor: is NaN, expected 0 to 1"
        );
        assert_eq!(
            line(ScheduleConfig { gamma: Some(0.5), ..cosine }),
            "gamma: not used by cosine, whose own settings are end-factor"
        );
        let wsd = ScheduleConfig { decay_fraction: Some(0.0), ..Default::default() };
        assert_eq!(line(wsd), "decay-fraction: is 0, expected above 0 and at most 1");
        let step = ScheduleConfig { step_size: Some(0), ..ScheduleConfig::new(ScheduleName::Step) };
        assert_eq!(line(step), "step-size: is 0, expected at least 1 step");
    }

    #[test]
    fn reads_toml_and_refuses_a_typo() {
        let config: ScheduleConfig = toml::from_str("name = \"one-cycle\"\npct-start = 0.2").unwrap();
        assert_eq!((config.name, config.pct_start), (ScheduleName::OneCycle, Some(0.2)));
        assert!(toml::from_str::<ScheduleConfig>("nam = \"wsd\"").unwrap_err().to_string().contains("nam"));
    }
}
