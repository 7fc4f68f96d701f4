//! What a model would do on a Raspberry Pi: **estimates, not measurements**.
//!
//! Decoding a token reads every weight once and multiplies it once, so it takes at least the longer of two times: the bytes over
//! the board's memory bandwidth (published figures, low and high), and the cycles that llvm-mca counts for the loops of the runtime's
//! products (docs/arm.md) over four cores. A model that stays in the caches is not bound by memory. What surrounds the
//! products (norms, waiting for the other cores) is taken as `OVERHEAD` a block. Memory is counted: the file, which is mapped, and
//! what a session allocates.

use siskin_format::config::BlockConfig;
use siskin_format::panel::PanelLayout;
use siskin_format::schema::{Role, TensorSpec, tensors};
use siskin_format::{DType, ModelConfig};

/// A board.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// Its name.
    pub name: &'static str,
    /// Bytes a second of its memory, low and high.
    bandwidth: [f64; 2],
    /// Bytes that its caches keep from token to token.
    cache: f64,
    /// Cycles a second of its four cores together.
    cycles: f64,
    /// Cycles per row, 32 columns and token of the loops `gemv_q8`, `gemv_q4`, `gemv_f16` and `attention` (docs/arm.md).
    loops: [f64; 4],
    /// Seconds a block besides products: an assumption.
    overhead: f64,
}

/// The boards that a plan speaks of.
pub const DEVICES: [Device; 2] = [
    Device {
        name: "Pi 4",
        bandwidth: [4e9, 5e9],
        cache: 0.8e6,
        cycles: 4.0 * 1.8e9,
        loops: [6.02, 5.65, 20.31, 20.30],
        overhead: 20e-6,
    },
    Device {
        name: "Pi 5",
        bandwidth: [12e9, 17e9],
        cache: 3e6,
        cycles: 4.0 * 2.4e9,
        loops: [3.51, 3.63, 16.55, 16.55],
        overhead: 10e-6,
    },
];

impl Device {
    /// Tokens a second when `config`, exported as `dtype`, generates with half of its context behind it, at the low and the high
    /// bandwidth.
    pub fn tokens_per_second(&self, config: &ModelConfig, dtype: DType) -> [f64; 2] {
        let read = bytes_per_token(config, dtype);
        let arithmetic = self.arithmetic(config, dtype);
        let others = self.overhead * config.n_layers() as f64;
        self.bandwidth.map(|bandwidth| {
            let memory = if read > self.cache { read / bandwidth } else { 0.0 };
            1.0 / (memory.max(arithmetic) + others)
        })
    }

    fn arithmetic(&self, config: &ModelConfig, dtype: DType) -> f64 {
        let of_products: f64 = products(config)
            .map(|spec| {
                let cycles = match spec.dtype_for(dtype) {
                    DType::Q8 => self.loops[0],
                    DType::Q4 => self.loops[1],
                    // f32 takes the loop of f16 without its conversions.
                    DType::F16 | DType::F32 => self.loops[2],
                };
                spec.rows as f64 * spec.cols as f64 / 32.0 * cycles
            })
            .sum();
        let of_attention: f64 = transformers(config)
            .map(|t| 2.0 * attended(config, t) * (t.n_heads * t.head_dim) as f64 / 32.0 * self.loops[3])
            .sum();
        (of_products + of_attention) / self.cycles
    }
}

/// Bytes that a token reads: every product's weights, and keys and values of half a context.
fn bytes_per_token(config: &ModelConfig, dtype: DType) -> f64 {
    let of = |spec: TensorSpec| {
        PanelLayout::new(spec.dtype_for(dtype), spec.rows, spec.cols)
            .map_or(0.0, |layout| layout.bytes() as f64)
    };
    let cache: f64 = transformers(config)
        .map(|t| attended(config, t) * 2.0 * 2.0 * (t.n_kv_heads * t.head_dim) as f64)
        .sum();
    products(config).map(of).sum::<f64>() + cache
}

/// The tensors that every token is multiplied with.
fn products(config: &ModelConfig) -> impl Iterator<Item = TensorSpec> {
    let tied = config.tied_head;
    tensors(config).filter(move |spec| match spec.role {
        Role::Embedding => tied,
        Role::Position => false,
        _ => !spec.is_vector(),
    })
}

/// Positions that a token sees in the mean: half a context, or the window if that is less.
fn attended(config: &ModelConfig, t: &siskin_format::config::TransformerConfig) -> f64 {
    let half = config.context as f64 / 2.0;
    if t.window > 0 { half.min(t.window as f64) } else { half }
}

fn transformers(config: &ModelConfig) -> impl Iterator<Item = &siskin_format::config::TransformerConfig> {
    config.blocks.iter().filter_map(|block| match block {
        BlockConfig::Transformer(t) => Some(t),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::settings::model::model_config;
    use crate::settings::presets::{TextFacts, fill};

    fn llama(n_layers: usize, d_model: usize, vocab: usize) -> ModelConfig {
        let said = Settings {
            n_layers: Some(n_layers),
            d_model: Some(d_model),
            n_heads: Some(d_model / 64),
            context: Some(64),
            ..Default::default()
        };
        model_config(&fill(&said, &TextFacts { threads: 1 }).unwrap(), vocab).unwrap()
    }

    #[test]
    fn a_large_model_is_bound_by_memory_as_the_table_of_boards_says() {
        // docs/arm.md: about 38 tokens/s of a 110M-parameter q8 model at 4.5 GB/s, 72 of a q4 one.
        let config = llama(12, 768, 32_000);
        let [low, high] = DEVICES[0].tokens_per_second(&config, DType::Q8);
        assert!(low < 38.0 && 38.0 < high * 1.2 && high > low, "{low} {high}");
        let q4 = DEVICES[0].tokens_per_second(&config, DType::Q4)[0];
        assert!((1.6..2.0).contains(&(q4 / low)), "{q4} {low}");
    }

    #[test]
    fn a_small_model_is_not_and_a_newer_board_is_faster() {
        let config = llama(2, 64, 65);
        let [old, new] = DEVICES.map(|d| d.tokens_per_second(&config, DType::Q8));
        assert_eq!(old[0], old[1]);
        assert!(new[0] > old[0], "{new:?} {old:?}");
    }
}
