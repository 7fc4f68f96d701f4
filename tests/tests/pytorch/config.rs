//! Configurations as the goldens have them: in the words of `format/src/config.rs`.

use serde_json::Value;
use siskin_format::ModelConfig;
use siskin_format::config::{
    Activation, BlockConfig, Ffn, Norm, Position, RecurrentConfig, RnnConfig, TransformerConfig,
};

pub fn text<'a>(json: &'a Value, key: &str) -> &'a str {
    json[key].as_str().unwrap_or_else(|| panic!("{key} is no string"))
}

pub fn size(json: &Value, key: &str) -> usize {
    json[key].as_u64().unwrap_or_else(|| panic!("{key} is no size")) as usize
}

fn flag(json: &Value, key: &str) -> bool {
    json[key].as_bool().unwrap_or_else(|| panic!("{key} is no boolean"))
}

fn number(json: &Value, key: &str) -> f32 {
    json[key].as_f64().unwrap_or_else(|| panic!("{key} is no number")) as f32
}

fn norm(json: &Value, key: &str) -> Norm {
    Norm::from_name(text(json, key)).unwrap()
}

/// The whole model.
pub fn model_config(json: &Value) -> ModelConfig {
    ModelConfig {
        vocab_size: size(json, "vocab_size"),
        d_model: size(json, "d_model"),
        context: size(json, "context"),
        position: match text(json, "position") {
            "none" => Position::None,
            "learned" => Position::Learned,
            "sinusoidal" => Position::Sinusoidal,
            "rope" => Position::Rope { theta: number(json, "rope_theta") },
            other => panic!("position {other}"),
        },
        blocks: json["blocks"].as_array().unwrap().iter().map(block_config).collect(),
        encoder: json["encoder"].as_array().into_iter().flatten().map(transformer).collect(),
        final_norm: norm(json, "final_norm"),
        norm_eps: number(json, "norm_eps"),
        norm_weight: flag(json, "norm_weight"),
        norm_bias: flag(json, "norm_bias"),
        tied_head: flag(json, "tied_head"),
        head_bias: flag(json, "head_bias"),
        logit_softcap: number(json, "logit_softcap"),
        rope_divisors: Vec::new(),
    }
}

fn block_config(json: &Value) -> BlockConfig {
    let cell = || RecurrentConfig {
        hidden: size(json, "hidden"),
        norm: norm(json, "norm"),
        residual: flag(json, "residual"),
        bias: flag(json, "bias"),
    };
    match text(json, "kind") {
        "rnn" => {
            let activation = Activation::from_name(text(json, "activation")).unwrap();
            BlockConfig::Rnn(RnnConfig { cell: cell(), activation })
        }
        "gru" => BlockConfig::Gru(cell()),
        "lstm" => BlockConfig::Lstm(cell()),
        "transformer" => BlockConfig::Transformer(transformer(json)),
        other => panic!("block {other}"),
    }
}

fn transformer(json: &Value) -> TransformerConfig {
    TransformerConfig {
        n_heads: size(json, "n_heads"),
        n_kv_heads: size(json, "n_kv_heads"),
        head_dim: size(json, "head_dim"),
        d_ff: size(json, "d_ff"),
        ffn: Ffn::from_name(text(json, "ffn")).unwrap(),
        norm: norm(json, "norm"),
        residual: flag(json, "residual"),
        qkv_bias: flag(json, "qkv_bias"),
        out_bias: flag(json, "out_bias"),
        ffn_bias: flag(json, "ffn_bias"),
        qk_norm: flag(json, "qk_norm"),
        token_shift: json["token_shift"] == true,
        cross_attention: json["cross_attention"] == true,
        window: 0,
    }
}
