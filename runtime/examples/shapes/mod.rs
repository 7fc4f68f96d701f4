//! Models of random weights, in shapes that others publish figures for.

#![allow(dead_code)] // each example uses its own part

use siskin::Model;
use siskin_format::config::{Ffn, Norm, Position, TransformerConfig};
use siskin_format::{BlockConfig, Contents, DType, ModelConfig, Receipt, Vocab, writer};
use std::sync::Arc;

/// Llama shapes: width, layers, heads, heads of keys and values, inner width, vocabulary.
pub fn shape(name: &str) -> Option<[usize; 6]> {
    Some(match name {
        "260k" => [64, 5, 8, 4, 172, 512],
        "15m" => [288, 6, 6, 6, 768, 32000],
        "110m" => [768, 12, 12, 12, 2048, 32000],
        "1b" => [2048, 22, 32, 4, 5632, 32000],
        _ => return None,
    })
}

/// The configuration of a shape.
pub fn config([d_model, n_layers, n_heads, n_kv_heads, d_ff, vocab_size]: [usize; 6]) -> ModelConfig {
    let block = BlockConfig::Transformer(TransformerConfig {
        n_heads,
        n_kv_heads,
        head_dim: d_model / n_heads,
        d_ff,
        ffn: Ffn::GatedSilu,
        norm: Norm::Rms,
        residual: true,
        qkv_bias: false,
        out_bias: false,
        ffn_bias: false,
        qk_norm: false,
        token_shift: false,
        cross_attention: false,
        window: 0,
    });
    ModelConfig {
        vocab_size,
        d_model,
        context: 1024,
        position: Position::Rope { theta: 10_000.0 },
        blocks: vec![block; n_layers],
        encoder: Vec::new(),
        final_norm: Norm::Rms,
        norm_eps: 1e-5,
        norm_weight: true,
        norm_bias: false,
        tied_head: true,
        head_bias: false,
        logit_softcap: 0.0,
        rope_divisors: Vec::new(),
    }
}

/// The model with random weights.
pub fn model(config: &ModelConfig, dtype: DType) -> Arc<Model> {
    let chars: Vec<char> = (0x1_0000..).take(config.vocab_size).filter_map(char::from_u32).collect();
    let vocab = Vocab::chars(&chars, false).expect("distinct characters");
    let receipt = Receipt::default();
    let contents = Contents { config, vocab: &vocab, receipt: &receipt };
    let mut seed = 1u64;
    let bytes = writer::to_bytes(
        &contents,
        |spec| spec.dtype_for(dtype),
        |spec| {
            let spread = 1.0 / (spec.cols as f32).sqrt() / 8388608.0;
            let mut next = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 40) as f32 * spread - 8388608.0 * spread
            };
            Ok::<_, siskin_format::Error>((0..spec.len()).map(|_| next()).collect::<Vec<f32>>().into())
        },
    );
    Arc::new(Model::from_bytes(bytes.expect("a valid model")).expect("what was written is read"))
}

/// Seconds that this thread has had a core, where the system tells. Beside a busy neighbour it is the fairer clock for one
/// thread.
pub fn core_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace().next()?.parse::<f64>().ok().map(|ns| ns * 1e-9)
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
