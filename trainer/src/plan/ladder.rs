//! The sizes that a plan chooses from, and the batch that goes with a number of tokens.

use crate::settings::Settings;

/// Layers and width of Transformers, smallest first; heads have 32 channels, from 384 wide on 64.
const TRANSFORMERS: &[(usize, usize)] = &[
    (2, 64),
    (3, 96),
    (4, 128),
    (5, 160),
    (6, 192),
    (6, 256),
    (8, 320),
    (8, 384),
    (10, 512),
    (12, 640),
    (12, 768),
];
/// Widths of the state of two recurrent layers, smallest first; the embedding has half of it.
const RECURRENT: &[usize] = &[96, 128, 192, 256, 384, 512, 768, 1024];

/// Tokens of a Transformer's window, where the text has enough of them.
const CONTEXT: usize = 256;
/// Windows that a text should have at least.
const FEWEST_WINDOWS: f64 = 32.0;

/// What every rung of the ladder of `family` sets for a text of `unique` tokens: size and context, but not the batch.
pub fn rungs(family: &str, unique: f64) -> Vec<Settings> {
    let fitting = (unique / FEWEST_WINDOWS).max(8.0).log2().floor().exp2();
    let context = CONTEXT.min(fitting as usize);
    if matches!(family, "gpt" | "llama") {
        let rung = |&(n_layers, d_model): &(usize, usize)| Settings {
            n_layers: Some(n_layers),
            d_model: Some(d_model),
            n_heads: Some(d_model / if d_model < 384 { 32 } else { 64 }),
            context: Some(context),
            ..Default::default()
        };
        return TRANSFORMERS.iter().map(rung).collect();
    }
    let rung = |&hidden: &usize| Settings {
        n_layers: Some(2),
        hidden: Some(hidden),
        d_model: Some(hidden / 2),
        ..Default::default()
    };
    RECURRENT.iter().map(rung).collect()
}

/// Windows of a batch for a Transformer `width` wide that sees `tokens` tokens in windows of `context`.
///
/// Small batches learn more from a token: with 384 to 512 tokens a step, Shakespeare came out 0.02 to 0.03 nats lower than with twice as
/// many (docs/recipes.md). But Muon's work does not shrink with the batch, and grows with the width faster than that of a
/// token: 4 tokens for each channel keep it under a third. From 4 million tokens on batches grow with the root of what they
/// are to learn, since the noise of their gradients, not their number, is then in the way. Powers of two.
pub fn windows(tokens: f64, context: usize, width: usize) -> usize {
    let wanted = (4.0 * width as f64).max(512.0) * (tokens / 4e6).max(1.0).sqrt();
    let windows = (wanted / context as f64).log2().round().exp2();
    windows.clamp(1.0, 64.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::MODELS;
    use crate::settings::model::model_config;
    use crate::settings::presets::{TextFacts, fill};

    #[test]
    fn every_rung_builds_and_is_larger_than_the_one_before() {
        for family in MODELS {
            let mut before = 0.0;
            for rung in rungs(family, 1e6) {
                let said = Settings { model: Some((*family).into()), ..rung };
                let config = model_config(&fill(&said, &TextFacts { threads: 1 }).unwrap(), 65).unwrap();
                let weights = crate::plan::flops::block_weights(&config);
                assert!(weights > before, "{family}: {weights} after {before}");
                before = weights;
            }
        }
    }

    #[test]
    fn a_short_text_has_short_windows() {
        let contexts = [1e9, 5000.0, 300.0, 0.0].map(|unique| rungs("gpt", unique)[0].context.unwrap());
        assert_eq!(contexts, [256, 128, 8, 8]);
    }

    #[test]
    fn batches_grow_with_the_width_and_with_the_root_of_the_tokens() {
        assert_eq!([1e5, 4e6, 16e6, 64e6, 1e12].map(|n| windows(n, 256, 128)), [2, 2, 4, 8, 64]);
        assert_eq!([64, 128, 256, 512].map(|width| windows(1e6, 256, width)), [2, 2, 4, 8]);
        assert_eq!(windows(1e6, 4096, 128), 1);
    }
}
