//! Small models of the forms that GGUF knows; `examples/gguf_forms.rs` reads this file, too.

use siskin_format::config::{BlockConfig, Ffn, ModelConfig, Norm, Position, TransformerConfig};

/// A small model in Llama's form.
pub(crate) fn llama() -> ModelConfig {
    let block = TransformerConfig {
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 8,
        d_ff: 64,
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
    };
    ModelConfig {
        vocab_size: 258,
        d_model: 32,
        context: 64,
        position: Position::Rope { theta: 1000.0 },
        blocks: vec![BlockConfig::Transformer(block); 2],
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

/// A small model in GPT-2's form.
pub(crate) fn gpt2() -> ModelConfig {
    let with = |block: &mut TransformerConfig| {
        (block.ffn, block.norm, block.n_kv_heads) = (Ffn::Gelu, Norm::Layer, 4);
        (block.qkv_bias, block.out_bias, block.ffn_bias) = (true, true, true);
    };
    let config = changed(llama(), with);
    ModelConfig { position: Position::Learned, final_norm: Norm::Layer, norm_bias: true, ..config }
}

/// The config with all its blocks changed.
pub(crate) fn changed(mut config: ModelConfig, change: impl Fn(&mut TransformerConfig)) -> ModelConfig {
    for block in &mut config.blocks {
        let BlockConfig::Transformer(block) = block else { unreachable!("made above") };
        change(block);
    }
    config
}
