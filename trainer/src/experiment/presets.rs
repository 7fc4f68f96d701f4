//! Ready-made sets of variants.

use siskin_format::config::{Activation, Ffn, Norm};

use super::variant::Variant;
use crate::error::{Error, Result};
use crate::settings::{MODELS, Settings};

/// Spellings of the sets.
pub const PRESETS: &[&str] = &["optimizers", "schedules", "activations", "norms", "residuals"];

/// The rate of each optimiser for rnn, gru, lstm, gpt and llama.
///
/// Found by `siskin-train lr-find` on `trainer/data/shakespeare.txt` by characters, with small models (2 layers, 64 wide, 32 tokens by 16
/// windows); for sgd, adam and muon then moved to the best of a grid of trainings of 200 updates (`docs/lr-find.md` has its table and the command).
/// All are rounded to 1, 2 or 5. With momentum 0.9 a step lasts ten times as long, and the rate is a tenth of plain SGD's; muon's second rate is
/// a fifth of its first, as in the grid.
const RATES: &[(&str, [f32; 5])] = &[
    ("sgd", [1.0, 2.0, 5.0, 0.5, 0.1]),
    ("momentum", [0.1, 0.2, 0.5, 0.05, 0.02]),
    ("adagrad", [0.02, 0.05, 0.2, 0.01, 0.01]),
    ("rmsprop", [1e-3, 2e-3, 5e-3, 5e-4, 1e-3]),
    ("adam", [0.02, 0.01, 0.02, 5e-3, 5e-3]),
    ("lion", [2e-3, 5e-3, 2e-3, 1e-3, 2e-3]),
    ("muon", [0.05, 0.05, 0.1, 0.05, 0.02]),
];

/// The rate of `optimizer` in the set `optimizers`, for the model family `family`.
pub fn tuned_rate(family: &str, optimizer: &str) -> Option<f32> {
    let column = MODELS.iter().position(|model| *model == family)?;
    RATES.iter().find(|row| row.0 == optimizer).and_then(|row| row.1.get(column).copied())
}

/// The variants of `preset` for what `filled` describes, trained for `steps` updates.
///
/// # Errors
/// A model family that has nothing of the kind.
pub fn variants(preset: &str, filled: &Settings, steps: u64) -> Result<Vec<Variant>> {
    let family = filled.model.as_deref().unwrap_or_default();
    let bundles = match preset {
        "optimizers" => optimizers(family)?,
        "schedules" => schedules(filled, steps),
        "activations" => activations(family)?,
        "norms" => norms(family),
        _ => residuals(filled),
    };
    bundles.into_iter().map(|(name, said)| Ok(Variant { name, ..Variant::parse(&said)? })).collect()
}

type Bundle = (String, String);

fn bundle(name: &str, said: &str) -> Bundle {
    (name.to_string(), said.to_string())
}

fn is_transformer(family: &str) -> bool {
    matches!(family, "gpt" | "llama" | "seq2seq")
}

fn optimizers(family: &str) -> Result<Vec<Bundle>> {
    let of = |&(name, _): &(&str, [f32; 5])| -> Result<Bundle> {
        let rate = tuned_rate(family, name).ok_or_else(|| {
            Error::Settings(format!(
                "no rates were found for {family}: name them, as in --variant \"optimizer=sgd lr=0.1\""
            ))
        })?;
        let second = if name == "muon" { format!(" adam_lr={}", rate / 5.0) } else { String::new() };
        Ok(bundle(&format!("{name}, rate {rate}"), &format!("optimizer={name} lr={rate}{second}")))
    };
    RATES.iter().map(of).collect()
}

/// All but batch norms, which a model with an encoder cannot have, for that.
fn norms(family: &str) -> Vec<Bundle> {
    let names = Norm::NAMES.iter().filter(|n| family != "seq2seq" || **n != "batch");
    names.map(|n| bundle(n, &format!("norm={n} final_norm={n}"))).collect()
}

/// Decays that know no end are set so that they have come down after `steps`: exponential to a hundredth, step and inverse-time to about a
/// tenth.
fn schedules(filled: &Settings, steps: u64) -> Vec<Bundle> {
    let decaying = steps.saturating_sub(filled.warmup.unwrap_or(0)).max(1);
    let gamma = 0.01f64.powf(1.0 / decaying as f64);
    let rate = 9.0 / decaying as f64;
    let third = (decaying / 3).max(1);
    [
        ("constant", String::new()),
        ("step", format!(" gamma=0.3 step_size={third}")),
        ("exponential", format!(" gamma={gamma:.6}")),
        ("inverse-time", format!(" rate={rate:.6}")),
        ("linear", String::new()),
        ("cosine", String::new()),
        ("one-cycle", " warmup=0".to_string()),
        ("wsd", " decay_fraction=0.4".to_string()),
    ]
    .map(|(name, own)| bundle(name, &format!("schedule={name}{own}")))
    .to_vec()
}

fn activations(family: &str) -> Result<Vec<Bundle>> {
    let (key, names) = match family {
        "rnn" => ("activation", Activation::NAMES),
        "gpt" | "llama" | "seq2seq" => ("ffn", Ffn::NAMES),
        gated => {
            return Err(Error::Settings(format!(
                "the gates of a {gated} have fixed activations: compare those of --model rnn, gpt or llama"
            )));
        }
    };
    Ok(names.iter().map(|n| bundle(n, &format!("{key}={n}"))).collect())
}

/// With and without residuals, each with and without norms: residuals are worth most where no norm helps. A recurrent stack needs equal
/// widths for them, and more blocks than two to need them.
fn residuals(filled: &Settings) -> Vec<Bundle> {
    let transformer = is_transformer(filled.model.as_deref().unwrap_or_default());
    let norm = match filled.norm.as_deref() {
        Some(norm) if norm != "none" => norm,
        _ => "rms",
    };
    let width = filled.hidden.unwrap_or(128);
    let blocks = filled.n_layers.unwrap_or(2).max(if transformer { 1 } else { 4 });
    let shape = if transformer {
        String::new()
    } else {
        format!(" d_model={width} hidden={width} n_layers={blocks}")
    };
    [
        ("residuals, norms", true, norm),
        ("residuals, no norms", true, "none"),
        ("norms alone", false, norm),
        ("neither", false, "none"),
    ]
    .map(|(name, on, norm)| bundle(name, &format!("residual={on} norm={norm} final_norm={norm}{shape}")))
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::compare::Comparison;
    use crate::experiment::prepared::filled;

    #[test]
    fn every_set_works_for_every_family_that_has_it() {
        for model in MODELS {
            let said = Settings { model: Some((*model).into()), steps: Some(100), ..Default::default() };
            let base = filled(&said).unwrap();
            for preset in PRESETS {
                let found = variants(preset, &base, 100);
                let lacks = match *preset {
                    "activations" => ["gru", "lstm"].contains(model),
                    preset => preset == "optimizers" && *model == "seq2seq",
                };
                assert_eq!(found.is_err(), lacks, "{model} {preset}");
                let Ok(found) = found else { continue };
                assert!((3..=crate::experiment::variant::MOST).contains(&found.len()));
                let comparison = Comparison::new(&said, found).unwrap();
                for (i, a) in comparison.outcomes.iter().enumerate() {
                    assert!(
                        comparison.outcomes[..i].iter().all(|b| a.settings != b.settings),
                        "{}",
                        a.variant.name
                    );
                }
            }
        }
    }

    #[test]
    fn schedules_come_down_within_the_steps() {
        let said = Settings { steps: Some(40), warmup: Some(4), ..Default::default() };
        let base = filled(&said).unwrap();
        for v in variants("schedules", &base, 40).unwrap() {
            let settings = filled(&v.settings(&said, &base)).unwrap();
            let descent = crate::settings::descent::DescentConfig::new(&settings).unwrap();
            let last = crate::optim::Schedule::new(&descent.schedule).unwrap().factor(39, 40);
            assert!(last <= 0.11 || v.name == "constant", "{}: {last}", v.name);
        }
    }
}
