//! Pieces of remedies: settings to change, given those of the run.

use super::case::Case;
use crate::experiment::presets::tuned_rate;
use crate::settings::Settings;
use crate::settings::descent::DescentConfig;
use crate::settings::presets::{TextFacts, fill};

/// What the preset of the run's family says of how weights begin.
pub(super) fn usual_start(case: &Case) -> Settings {
    let said = Settings { model: case.settings.model.clone(), ..Default::default() };
    let Ok(usual) = fill(&said, &TextFacts { threads: 1 }) else { return Settings::default() };
    let (now, mut start) = (&case.settings, Settings::default());
    if now.init != usual.init {
        start.init = usual.init;
    }
    if now.init_gain.is_some_and(|gain| gain != 1.0) {
        start.init_gain = Some(1.0);
    }
    let std = usual.init_std.unwrap_or(0.02);
    if now.init_std.unwrap_or(0.02) != std {
        start.init_std = Some(std);
    }
    start
}

/// A way past each block, and a norm before it.
pub(super) fn residual(case: &Case) -> Settings {
    let now = &case.settings;
    let mut remedy = Settings { residual: Some(true), ..Default::default() };
    // A recurrent block can add to its input only where both are of one width.
    if now.hidden.is_some() && now.hidden != now.d_model && recurrent(case) {
        remedy.d_model = now.hidden;
    }
    if now.norm.as_deref() == Some("none") {
        remedy.norm = Some(norm_of(case));
        remedy.final_norm = Some(norm_of(case));
    }
    remedy
}

/// The norm that suits the family.
pub(super) fn norm_of(case: &Case) -> String {
    if case.settings.model.as_deref() == Some("llama") { "rms".into() } else { "layer".into() }
}

/// Whether the run's blocks are recurrent.
pub(super) fn recurrent(case: &Case) -> bool {
    matches!(case.settings.model.as_deref(), Some("rnn" | "gru" | "lstm"))
}

/// The learning rate of the run.
pub(super) fn rate(case: &Case) -> f32 {
    let said = case.settings.lr;
    said.or_else(|| Some(DescentConfig::new(&case.settings).ok()?.optim.lr())).unwrap_or(f32::NAN)
}

/// A smaller rate: the family's usual one with the run's optimiser where the run's is far above it, else a tenth.
pub(super) fn calmer_rate(case: &Case) -> Settings {
    let said = &case.settings;
    match usual_rates(said) {
        Some((lr, adam_lr)) if rate(case) >= 3.0 * lr => Settings {
            lr: Some(lr),
            adam_lr: adam_lr.filter(|_| said.adam_lr != adam_lr),
            ..Default::default()
        },
        _ => scaled_rate(case, 0.1),
    }
}

/// The usual rates, `lr` and Muon's `adam_lr`, of the family and the optimiser of `settings`, [filled](fill): those of the family's preset
/// where it has them, else those that `compare --preset optimizers` takes.
fn usual_rates(settings: &Settings) -> Option<(f32, Option<f32>)> {
    let model = settings.model.as_deref()?;
    let preset =
        fill(&Settings { model: settings.model.clone(), ..Default::default() }, &TextFacts { threads: 1 });
    let preset = preset.ok()?;
    // What differs in the decay or in where the gradient is taken has the same rate.
    let rule = |optimizer: &Option<String>| match optimizer.as_deref().unwrap_or("adam") {
        "adamw" => "adam".to_string(),
        "nesterov" => "momentum".to_string(),
        "sgd" if settings.momentum.is_some_and(|m| m > 0.0) => "momentum".to_string(),
        other => other.to_string(),
    };
    let own = rule(&settings.optimizer);
    if let Some(lr) = preset.lr.filter(|_| own == rule(&preset.optimizer)) {
        return Some((lr, preset.adam_lr));
    }
    // At this rate Muon's presets drive by Adam what they do not drive by Muon; for all weights it was the best of the grid, too (docs/lr-find.md).
    if let Some(lr) = preset.adam_lr.filter(|_| own == "adam") {
        return Some((lr, None));
    }
    // The encoder-decoder is made of Llama's blocks.
    let lr = tuned_rate(if model == "seq2seq" { "llama" } else { model }, &own)?;
    Some((lr, (own == "muon").then_some(lr / 5.0)))
}

/// The run's rates times `factor`, to two digits.
pub(super) fn scaled_rate(case: &Case, factor: f64) -> Settings {
    let scaled = |lr: f32| two_digits(f64::from(lr) * factor);
    Settings {
        lr: Some(scaled(rate(case))),
        adam_lr: case.settings.adam_lr.map(scaled),
        ..Default::default()
    }
}

/// Rounded to two significant digits.
fn two_digits(x: f64) -> f32 {
    format!("{x:.1e}").parse().unwrap_or(x as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{MODELS, OPTIMIZERS};

    fn usual(model: &str, optimizer: Option<&str>) -> Option<(f32, Option<f32>)> {
        let said = Settings {
            model: Some(model.into()),
            optimizer: optimizer.map(String::from),
            ..Default::default()
        };
        usual_rates(&fill(&said, &TextFacts { threads: 1 }).unwrap())
    }

    #[test]
    fn every_family_has_a_usual_rate_with_every_optimiser() {
        for model in MODELS {
            for optimizer in OPTIMIZERS {
                let (lr, adam_lr) =
                    usual(model, Some(optimizer)).unwrap_or_else(|| panic!("{model} {optimizer}"));
                assert!(lr > 0.0 && adam_lr.is_some() == (*optimizer == "muon"), "{model} {optimizer}");
            }
            let preset = Settings { model: Some((*model).into()), ..Default::default() };
            let preset = fill(&preset, &TextFacts { threads: 1 }).unwrap();
            assert_eq!(usual(model, None), Some((preset.lr.unwrap(), preset.adam_lr)), "{model}");
        }
        assert_eq!(usual("gpt", Some("adamw")), Some((4e-3, None)));
        assert_eq!(usual("lstm", Some("adamw")), usual("lstm", Some("adam")));
        assert_eq!(usual("seq2seq", Some("adam")), usual("llama", Some("adam")));
    }
}
