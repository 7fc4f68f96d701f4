//! `config.json` as a [`ModelConfig`].

use siskin_format::config::{
    BlockConfig, Ffn, MAX_BLOCKS, MAX_DIM, ModelConfig, Norm, Position, TransformerConfig,
};

use siskin_format::vocab::SpecialIds;

use super::keys::Keys;
use super::rope;
use crate::error::Result;
use crate::source::Source;

/// An architecture that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gpt2,
}

/// Architectures by the name of their class and by their `model_type`.
const KNOWN: [(&str, &str, Architecture); 5] = [
    ("LlamaForCausalLM", "llama", Architecture::Llama),
    ("MistralForCausalLM", "mistral", Architecture::Mistral),
    ("Qwen2ForCausalLM", "qwen2", Architecture::Qwen2),
    ("Qwen3ForCausalLM", "qwen3", Architecture::Qwen3),
    ("GPT2LMHeadModel", "gpt2", Architecture::Gpt2),
];

impl Architecture {
    fn of(keys: &Keys<'_>) -> Result<Architecture> {
        let expected = || KNOWN.map(|(class, ..)| class).join(", ");
        if let Some(class) = keys.words("architectures")?.and_then(|classes| classes.into_iter().next()) {
            let known = KNOWN.iter().find(|(name, ..)| *name == class);
            return known
                .map(|known| known.2)
                .ok_or_else(|| keys.unsupported("architectures", &class, &format!("one of {}", expected())));
        }
        let kind = keys.word("model_type")?.unwrap_or_default();
        let known = KNOWN.iter().find(|(_, name, _)| *name == kind);
        known.map(|known| known.2).ok_or_else(|| {
            keys.unsupported("model_type", &kind, &format!("architectures with one of {}", expected()))
        })
    }

    /// The class that the library calls it.
    pub(super) fn name(self) -> &'static str {
        KNOWN.iter().find(|known| known.2 == self).expect("every architecture is in the list").0
    }
}

/// What `config.json` says.
pub(super) struct Description {
    pub(super) architecture: Architecture,
    pub(super) config: ModelConfig,
    /// Ids with a role, for a vocabulary that does not name them itself.
    pub(super) special: SpecialIds,
}

/// Reads `config.json`.
pub(super) fn read(source: &Source) -> Result<Description> {
    let keys = Keys::of(source)?;
    let architecture = Architecture::of(&keys)?;
    if keys.has("quantization_config") {
        return Err(source.unsupported("the weights are quantized (quantization_config); expected the f32, f16 or bf16 folder of this model"));
    }
    let config = match architecture {
        Architecture::Gpt2 => gpt2(&keys)?,
        _ => llama(&keys, architecture)?,
    };
    config.validate().map_err(|e| source.malformed(e.to_string()))?;
    let id = |key: &str| match keys.first_id(key)? {
        Some(id) if id as usize >= config.vocab_size => Err(keys.unsupported(
            key,
            &id.to_string(),
            &format!("less than vocab_size, {}", config.vocab_size),
        )),
        id => Ok(id),
    };
    let special = SpecialIds {
        bos: id("bos_token_id")?,
        eos: id("eos_token_id")?,
        unk: None,
        pad: id("pad_token_id")?,
    };
    Ok(Description { architecture, config, special })
}

fn gpt2(keys: &Keys<'_>) -> Result<ModelConfig> {
    let (d_model, n_heads) = (keys.require("n_embd")?, keys.require("n_head")?);
    let head_dim = divided(keys, "n_embd", d_model, "n_head", n_heads)?;
    if !keys.switch("scale_attn_weights", true)? {
        return Err(keys.unsupported("scale_attn_weights", "false", "true"));
    }
    keys.refuse("scale_attn_by_inverse_layer_idx")?;
    keys.refuse("add_cross_attention")?;
    let block = TransformerConfig {
        n_heads,
        n_kv_heads: n_heads,
        head_dim,
        d_ff: keys.size("n_inner")?.unwrap_or(d_model.saturating_mul(4)),
        ffn: activation(keys, "activation_function", "gelu_new", false)?,
        norm: Norm::Layer,
        residual: true,
        qkv_bias: true,
        out_bias: true,
        ffn_bias: true,
        qk_norm: false,
        token_shift: false,
        cross_attention: false,
        window: 0,
    };
    Ok(ModelConfig {
        vocab_size: keys.require("vocab_size")?,
        d_model,
        context: keys.require("n_positions")?,
        position: Position::Learned,
        blocks: vec![BlockConfig::Transformer(block); n_layers(keys, "n_layer")?],
        encoder: Vec::new(),
        final_norm: Norm::Layer,
        norm_eps: keys.number("layer_norm_epsilon")?.unwrap_or(1e-5) as f32,
        norm_weight: true,
        norm_bias: true,
        tied_head: keys.switch("tie_word_embeddings", true)?,
        head_bias: false,
        logit_softcap: 0.0,
        rope_divisors: Vec::new(),
    })
}

/// Llama and those that share its blocks. Values for absent keys are those of the classes of transformers.
fn llama(keys: &Keys<'_>, architecture: Architecture) -> Result<ModelConfig> {
    use Architecture::{Llama, Mistral, Qwen2, Qwen3};
    let (d_model, n_heads) = (keys.require("hidden_size")?, keys.require("num_attention_heads")?);
    let head_dim = match (keys.size("head_dim")?, architecture) {
        (Some(head_dim), _) => head_dim,
        (None, Qwen3) => 128,
        (None, _) => divided(keys, "hidden_size", d_model, "num_attention_heads", n_heads)?,
    };
    if head_dim > MAX_DIM {
        return Err(keys.unsupported("head_dim", &head_dim.to_string(), &format!("at most {MAX_DIM}")));
    }
    let n_kv_heads = match (keys.size("num_key_value_heads")?, architecture) {
        (Some(n), _) => n,
        (None, Mistral) => 8,
        (None, Qwen2 | Qwen3) => 32,
        (None, _) => n_heads,
    };
    let attention_bias = match architecture {
        Llama | Qwen3 => keys.switch("attention_bias", false)?,
        _ => false, // Mistral has none, and the keys of Qwen2 say nothing of its own
    };
    let rope = rope::read(keys, head_dim)?;
    let block = TransformerConfig {
        n_heads,
        n_kv_heads,
        head_dim,
        d_ff: keys.require("intermediate_size")?,
        ffn: activation(keys, "hidden_act", "silu", true)?,
        norm: Norm::Rms,
        residual: true,
        qkv_bias: attention_bias || architecture == Qwen2,
        out_bias: attention_bias,
        ffn_bias: architecture == Llama && keys.switch("mlp_bias", false)?,
        qk_norm: architecture == Qwen3,
        token_shift: false,
        cross_attention: false,
        window: 0,
    };
    let n_layers = n_layers(keys, "num_hidden_layers")?;
    let windows = windows(keys, architecture, n_layers)?;
    let blocks = windows
        .into_iter()
        .map(|window| BlockConfig::Transformer(TransformerConfig { window, ..block.clone() }));
    Ok(ModelConfig {
        vocab_size: keys.require("vocab_size")?,
        d_model,
        context: keys.require("max_position_embeddings")?,
        position: Position::Rope { theta: rope.theta },
        blocks: blocks.collect(),
        encoder: Vec::new(),
        final_norm: Norm::Rms,
        norm_eps: keys.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        norm_weight: true,
        norm_bias: false,
        tied_head: keys.switch("tie_word_embeddings", false)?,
        head_bias: false,
        logit_softcap: 0.0,
        rope_divisors: rope.divisors,
    })
}

/// The sliding window of each block, 0 for none: `layer_types` where they are listed, else what each architecture makes of its keys.
fn windows(keys: &Keys<'_>, architecture: Architecture, n_layers: usize) -> Result<Vec<usize>> {
    use Architecture::{Mistral, Qwen2, Qwen3};
    let first = match architecture {
        Mistral => 0,
        Qwen2 | Qwen3 if keys.switch("use_sliding_window", false)? => {
            keys.size("max_window_layers")?.unwrap_or(28)
        }
        _ => return Ok(vec![0; n_layers]),
    };
    let window = keys.size("sliding_window")?.unwrap_or(0);
    let Some(kinds) = keys.words("layer_types")?.filter(|_| architecture != Mistral) else {
        return Ok((0..n_layers).map(|layer| if layer < first { 0 } else { window }).collect());
    };
    if kinds.len() != n_layers {
        return Err(keys.unsupported(
            "layer_types",
            &format!("a list of {}", kinds.len()),
            &format!("{n_layers}, one for each layer"),
        ));
    }
    let of_kind = |kind: &String| match kind.as_str() {
        "full_attention" => Ok(0),
        "sliding_attention" => Ok(window),
        other => Err(keys.unsupported("layer_types", other, "full_attention or sliding_attention")),
    };
    kinds.iter().map(of_kind).collect()
}

fn n_layers(keys: &Keys<'_>, key: &str) -> Result<usize> {
    match keys.require(key)? {
        n if n <= MAX_BLOCKS => Ok(n),
        n => Err(keys.unsupported(key, &n.to_string(), &format!("at most {MAX_BLOCKS}"))),
    }
}

fn divided(keys: &Keys<'_>, width: &str, d_model: usize, heads: &str, n_heads: usize) -> Result<usize> {
    match d_model.checked_div(n_heads) {
        Some(head_dim) if head_dim * n_heads == d_model => Ok(head_dim),
        _ => Err(keys.unsupported(width, &d_model.to_string(), &format!("a multiple of {heads}, {n_heads}"))),
    }
}

/// The feed-forward part of an activation's name. GELU is computed in its tanh form; the names of that form are accepted, the exact one,
/// whose values differ by up to 5e-4, is not.
fn activation(keys: &Keys<'_>, key: &str, default: &str, gated: bool) -> Result<Ffn> {
    let name = keys.word(key)?.unwrap_or_else(|| default.to_string());
    match (name.as_str(), gated) {
        ("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast", false) => Ok(Ffn::Gelu),
        ("relu", false) => Ok(Ffn::Relu),
        ("relu2", false) => Ok(Ffn::Relu2),
        ("silu" | "swish", false) => Ok(Ffn::Silu),
        ("silu" | "swish", true) => Ok(Ffn::GatedSilu),
        ("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast", true) => Ok(Ffn::GatedGelu),
        (other, false) => {
            Err(keys.unsupported(key, other, "gelu_new, gelu_pytorch_tanh, gelu_fast, relu, relu2 or silu"))
        }
        (other, true) => Err(keys.unsupported(key, other, "silu, gelu_new, gelu_pytorch_tanh or gelu_fast")),
    }
}
