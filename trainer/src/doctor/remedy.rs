//! Pieces of remedies: settings to change, given those of the run.

use super::case::Case;
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

/// A smaller rate: that of the family's preset where the run's is far above it, else a tenth.
pub(super) fn calmer_rate(case: &Case) -> Settings {
    let (said, now) = (&case.settings, rate(case));
    let usual = fill(
        &Settings { model: said.model.clone(), optimizer: said.optimizer.clone(), ..Default::default() },
        &TextFacts { threads: 1 },
    );
    match usual.map(|usual| (usual.lr, usual.adam_lr)) {
        Ok((Some(lr), adam_lr)) if now >= 3.0 * lr => Settings {
            lr: Some(lr),
            adam_lr: adam_lr.filter(|_| said.adam_lr != adam_lr),
            ..Default::default()
        },
        _ => scaled_rate(case, 0.1),
    }
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
