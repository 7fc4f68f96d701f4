//! Which tensors of a Hugging Face checkpoint make each tensor of the schema.

use siskin_format::config::{BlockConfig, ModelConfig, TransformerConfig};
use siskin_format::{TensorSpec, schema};

use super::config::Architecture;
use crate::recipe::Recipe;

/// A recipe for each tensor of the schema. `prefix` comes before the names of everything but the head.
pub(super) fn recipes(
    config: &ModelConfig,
    architecture: Architecture,
    prefix: &str,
) -> Vec<(TensorSpec, Recipe)> {
    let recipe = |spec: &TensorSpec| match architecture {
        Architecture::Gpt2 => gpt2(config, spec, prefix),
        _ => Recipe::Same(llama(spec, prefix)),
    };
    schema(config).into_iter().map(|spec| (spec.clone(), recipe(&spec))).collect()
}

/// The prefix that a checkpoint of a whole model has, and the embedding's name behind it, by which its absence is known.
pub(super) fn prefix(architecture: Architecture) -> (&'static str, &'static str) {
    match architecture {
        Architecture::Gpt2 => ("transformer.", "wte.weight"),
        _ => ("model.", "embed_tokens.weight"),
    }
}

/// Whether a tensor says nothing that the config does not say: masks and tables of RoPE that older versions saved.
pub(super) fn is_harmless(name: &str) -> bool {
    let ends = [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"];
    ends.iter().any(|end| name.ends_with(end))
}

/// The part of a name of the schema behind "blocks.N.".
fn in_block(spec: &TensorSpec) -> &str {
    spec.name.splitn(3, '.').nth(2).unwrap_or_default()
}

/// The name in a Llama checkpoint and its relatives.
pub(super) fn llama(spec: &TensorSpec, prefix: &str) -> String {
    let Some(block) = spec.block else {
        return match spec.name.as_str() {
            "embed.weight" => format!("{prefix}embed_tokens.weight"),
            "final_norm.weight" => format!("{prefix}norm.weight"),
            "head.weight" => "lm_head.weight".to_string(),
            other => unreachable!("a Llama model has no tensor {other}"),
        };
    };
    let name = match in_block(spec) {
        "norm1.weight" => "input_layernorm.weight",
        "norm2.weight" => "post_attention_layernorm.weight",
        "attn.wq" => "self_attn.q_proj.weight",
        "attn.wk" => "self_attn.k_proj.weight",
        "attn.wv" => "self_attn.v_proj.weight",
        "attn.wo" => "self_attn.o_proj.weight",
        "attn.bq" => "self_attn.q_proj.bias",
        "attn.bk" => "self_attn.k_proj.bias",
        "attn.bv" => "self_attn.v_proj.bias",
        "attn.bo" => "self_attn.o_proj.bias",
        "attn.q_norm.weight" => "self_attn.q_norm.weight",
        "attn.k_norm.weight" => "self_attn.k_norm.weight",
        "ffn.w_gate" => "mlp.gate_proj.weight",
        "ffn.w_up" => "mlp.up_proj.weight",
        "ffn.w_down" => "mlp.down_proj.weight",
        "ffn.b_gate" => "mlp.gate_proj.bias",
        "ffn.b_up" => "mlp.up_proj.bias",
        "ffn.b_down" => "mlp.down_proj.bias",
        other => unreachable!("a Llama block has no tensor {other}"),
    };
    format!("{prefix}layers.{block}.{name}")
}

/// GPT-2 keeps matrices as `Conv1D`, `[in, out]`, and those of queries, keys and values side by side in one.
fn gpt2(config: &ModelConfig, spec: &TensorSpec, prefix: &str) -> Recipe {
    let d_model = config.d_model;
    let Some(block) = spec.block else {
        return Recipe::Same(match spec.name.as_str() {
            "embed.weight" => format!("{prefix}wte.weight"),
            "position.weight" => format!("{prefix}wpe.weight"),
            "final_norm.weight" => format!("{prefix}ln_f.weight"),
            "final_norm.bias" => format!("{prefix}ln_f.bias"),
            "head.weight" => "lm_head.weight".to_string(),
            other => unreachable!("a GPT-2 model has no tensor {other}"),
        });
    };
    let name = |name: &str| format!("{prefix}h.{block}.{name}");
    let d_ff = match &config.blocks[block] {
        BlockConfig::Transformer(TransformerConfig { d_ff, .. }) => *d_ff,
        _ => unreachable!("a GPT-2 model has only Transformer blocks"),
    };
    let matrix = |tensor: &str, from, of| Recipe::Columns { name: name(tensor), from, of };
    let slice = |tensor: &str, from, of| Recipe::Slice { name: name(tensor), from, of };
    match in_block(spec) {
        "norm1.weight" => Recipe::Same(name("ln_1.weight")),
        "norm1.bias" => Recipe::Same(name("ln_1.bias")),
        "norm2.weight" => Recipe::Same(name("ln_2.weight")),
        "norm2.bias" => Recipe::Same(name("ln_2.bias")),
        "attn.wq" => matrix("attn.c_attn.weight", 0, 3 * d_model),
        "attn.wk" => matrix("attn.c_attn.weight", d_model, 3 * d_model),
        "attn.wv" => matrix("attn.c_attn.weight", 2 * d_model, 3 * d_model),
        "attn.wo" => matrix("attn.c_proj.weight", 0, d_model),
        "attn.bq" => slice("attn.c_attn.bias", 0, 3 * d_model),
        "attn.bk" => slice("attn.c_attn.bias", d_model, 3 * d_model),
        "attn.bv" => slice("attn.c_attn.bias", 2 * d_model, 3 * d_model),
        "attn.bo" => Recipe::Same(name("attn.c_proj.bias")),
        "ffn.w_up" => matrix("mlp.c_fc.weight", 0, d_ff),
        "ffn.w_down" => matrix("mlp.c_proj.weight", 0, d_model),
        "ffn.b_up" => Recipe::Same(name("mlp.c_fc.bias")),
        "ffn.b_down" => Recipe::Same(name("mlp.c_proj.bias")),
        other => unreachable!("a GPT-2 block has no tensor {other}"),
    }
}
