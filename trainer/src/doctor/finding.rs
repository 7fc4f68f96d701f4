//! What the doctor says: a trouble by its name, where it is, the evidence, the remedy.

use serde::Serialize;
use serde_json::Value;

use crate::settings::Settings;

/// The troubles that the doctor knows, the most fundamental first: of several in one run, the earlier ones are likelier to be
/// the cause of the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The loss rises, or is not finite.
    Divergence,
    /// The gradient grows on its way back through layers or time steps.
    Exploding,
    /// Heads look at one position each, or at all alike.
    AttentionCollapse,
    /// ReLU units that never answer.
    DeadUnits,
    /// Updates are too large beside the weights, and have blown them up.
    RateTooHigh,
    /// Cells are at the ends of their nonlinearity, where no gradient passes.
    Saturation,
    /// The gradient fades on its way down through the layers.
    VanishingDepth,
    /// The gradient fades on its way back through the time steps of a recurrent block.
    VanishingTime,
    /// The loss does not get below what guessing by frequency gives.
    Plateau,
    /// Updates are too small beside the weights, and the loss falls slowly.
    RateTooLow,
    /// The validation loss rises while the training loss falls.
    Overfitting,
}

impl Trouble {
    /// Every trouble, in the order of naming.
    pub const ALL: [Trouble; 11] = [
        Trouble::Divergence,
        Trouble::Exploding,
        Trouble::AttentionCollapse,
        Trouble::DeadUnits,
        Trouble::RateTooHigh,
        Trouble::Saturation,
        Trouble::VanishingDepth,
        Trouble::VanishingTime,
        Trouble::Plateau,
        Trouble::RateTooLow,
        Trouble::Overfitting,
    ];

    /// Whether `other` is what comes of it, and needs no name of its own.
    pub fn explains(self, other: Trouble) -> bool {
        use Trouble::*;
        match self {
            Divergence => !matches!(other, Divergence | Exploding),
            Exploding | AttentionCollapse | VanishingDepth | VanishingTime => {
                matches!(other, Plateau | RateTooLow)
            }
            DeadUnits | RateTooHigh | Saturation => {
                other > self && matches!(other, Saturation | VanishingTime | Plateau | RateTooLow)
            }
            Plateau | RateTooLow | Overfitting => false,
        }
    }

    /// Its name as people say it.
    pub fn name(self) -> &'static str {
        match self {
            Trouble::Divergence => "divergence",
            Trouble::Exploding => "exploding gradient",
            Trouble::AttentionCollapse => "attention collapse",
            Trouble::Saturation => "saturated cells",
            Trouble::DeadUnits => "dead units",
            Trouble::VanishingDepth => "vanishing gradient over depth",
            Trouble::VanishingTime => "vanishing gradient over time",
            Trouble::RateTooHigh => "learning rate too high",
            Trouble::Plateau => "plateau",
            Trouble::RateTooLow => "learning rate too low",
            Trouble::Overfitting => "overfitting",
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The run learns, but less than it could.
    Hampers,
    /// The run is lost unless something is changed.
    Ruins,
}

/// One trouble of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What it is.
    pub trouble: Trouble,
    /// How bad it is.
    pub severity: Severity,
    /// Layer, tensor or time steps; empty for the whole run.
    pub place: String,
    /// The update at which it was seen first.
    pub first_step: u64,
    /// The figures that show it, as one sentence.
    pub evidence: String,
    /// What to do, as one sentence.
    pub advice: String,
    /// The advice as settings: what to change, the rest as it was.
    #[serde(serialize_with = "only_said")]
    pub remedy: Settings,
}

/// Settings that are said, as a map without those that are not.
fn only_said<S: serde::Serializer>(settings: &Settings, to: S) -> Result<S::Ok, S::Error> {
    said(settings).serialize(to)
}

/// The settings that have a value, by key.
fn said(settings: &Settings) -> serde_json::Map<String, Value> {
    let value = serde_json::to_value(settings).unwrap_or_default();
    let all = value.as_object().cloned().unwrap_or_default();
    all.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, short(v))).collect()
}

/// Settings of 32 bits become 64 in JSON; their shortest spelling is that of 32.
fn short(value: Value) -> Value {
    let number =
        value.as_f64().filter(|_| value.is_f64()).and_then(|n| format!("{}", n as f32).parse::<f64>().ok());
    number.and_then(serde_json::Number::from_f64).map_or(value, Value::Number)
}

/// `settings` as flags of `siskin-train train`: `--clip-norm 1 --lr 0.001`.
pub fn flags(settings: &Settings) -> String {
    let shown = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Number(n) if n.is_f64() => format!("{}", n.as_f64().unwrap_or_default()),
        other => other.to_string(),
    };
    let flag = |(key, value): (&String, &Value)| format!("--{} {}", key.replace('_', "-"), shown(value));
    said(settings).iter().map(flag).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_is_written_as_flags() {
        let remedy = Settings {
            lr: Some(1e-3),
            clip_norm: Some(1.0),
            residual: Some(true),
            ffn: Some("gelu".into()),
            ..Default::default()
        };
        assert_eq!(flags(&remedy), "--clip-norm 1 --ffn gelu --lr 0.001 --residual true");
    }

    #[test]
    fn every_trouble_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = Trouble::ALL.iter().map(|t| t.name()).collect();
        assert_eq!(names.len(), Trouble::ALL.len());
        assert!(Trouble::ALL.is_sorted());
    }
}
