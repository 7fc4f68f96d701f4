//! What a training step computes, counted.

use siskin_format::ModelConfig;
use siskin_format::config::BlockConfig;
use siskin_format::schema::{Role, TensorSpec, schema};

/// Floating-point operations of a training step for each token of a window of `len`, of the model's products alone: 2 of each
/// weight forward, 4 back; of attention, half of the square of the window (less where blocks attend to a window of their own), 2 products forward and 5 back.
pub fn per_token(config: &ModelConfig, len: usize) -> f64 {
    let multiplies = |role: Role| {
        matches!(role, Role::Matrix | Role::MatrixToResidual | Role::Recurrent | Role::Head)
            || (role == Role::Embedding && config.tied_head)
    };
    let weights: usize = schema(config).iter().filter(|t| multiplies(t.role)).map(TensorSpec::len).sum();
    // Twice the positions that a token sees in the mean: all `len / 2` before it, or those of a window `w`, `w - w^2 / 2 len`.
    let doubled = |window: usize| match window {
        0 => len as f64,
        w => (2 * w.min(len)) as f64 - w.min(len).pow(2) as f64 / len as f64,
    };
    let attended: f64 = config
        .blocks
        .iter()
        .map(|block| match block {
            BlockConfig::Transformer(t) => (t.n_heads * t.head_dim) as f64 * doubled(t.window),
            _ => 0.0,
        })
        .sum();
    6.0 * weights as f64 + 7.0 * attended
}

/// Floating-point operations of the `steps` Newton-Schulz steps with which Muon updates the hidden matrices once, as
/// `optim/newton_schulz.rs` takes them: symmetric products cost half, and a matrix at least twice as wide as high is touched only
/// at the beginning and the end.
pub fn of_muon(config: &ModelConfig, steps: usize) -> f64 {
    let one = |spec: &TensorSpec| {
        let (n, m) = (spec.rows.min(spec.cols) as f64, spec.rows.max(spec.cols) as f64);
        let steps = steps as f64;
        if m >= 2.0 * n {
            3.0 * n * n * m + steps * 4.0 * n * n * n
        } else {
            steps * (3.0 * n * n * m + n * n * n)
        }
    };
    let hidden = |role| matches!(role, Role::Matrix | Role::MatrixToResidual | Role::Recurrent);
    schema(config).iter().filter(|t| hidden(t.role)).map(one).sum()
}

/// Weights of the blocks' matrices: what a scaling law calls the size of a model, since embeddings of a large vocabulary are
/// weights that hardly compute (Kaplan et al. 2020).
pub fn block_weights(config: &ModelConfig) -> f64 {
    let hidden = |role| matches!(role, Role::Matrix | Role::MatrixToResidual | Role::Recurrent);
    schema(config).iter().filter(|t| hidden(t.role)).map(TensorSpec::len).sum::<usize>() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::settings::model::model_config;
    use crate::settings::presets::{TextFacts, fill};

    #[test]
    fn counts_are_those_by_hand() {
        let said = Settings {
            model: Some("gpt".into()),
            n_layers: Some(2),
            d_model: Some(64),
            n_heads: Some(2),
            d_ff: Some(256),
            context: Some(32),
            ..Default::default()
        };
        let config = model_config(&fill(&said, &TextFacts { threads: 1 }).unwrap(), 65).unwrap();
        let blocks = 2.0 * 12.0 * 64.0 * 64.0;
        assert_eq!(block_weights(&config), blocks);
        assert_eq!(per_token(&config, 32), 6.0 * (blocks + 65.0 * 64.0) + 7.0 * 32.0 * 128.0);
        let windowed = |window| {
            let said = Settings { window: Some(window), ..said.clone() };
            per_token(&model_config(&fill(&said, &TextFacts { threads: 1 }).unwrap(), 65).unwrap(), 32)
        };
        assert_eq!([windowed(32), windowed(99)], [per_token(&config, 32); 2]);
        assert_eq!(windowed(8), 6.0 * (blocks + 65.0 * 64.0) + 7.0 * 14.0 * 128.0);
        // Four squares, stepped as published, and two that are four times as wide as high.
        let n = 64.0f64.powi(3);
        assert_eq!(of_muon(&config, 5), 2.0 * (4.0 * 5.0 * 4.0 * n + 2.0 * (12.0 * n + 20.0 * n)));
    }
}
