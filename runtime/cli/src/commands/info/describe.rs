//! A config in words and in JSON.

use serde_json::{Value, json};
use siskin_format::config::{BlockConfig, ModelConfig, Norm, Position, RecurrentConfig, TransformerConfig};

/// The whole config.
pub fn config_json(config: &ModelConfig) -> Value {
    json!({
        "vocab_size": config.vocab_size,
        "d_model": config.d_model,
        "context": config.context,
        "position": position_json(config.position),
        "rope_divisors": config.rope_divisors.iter().map(|&d| short(d)).collect::<Vec<_>>(),
        "n_layers": config.n_layers(),
        "blocks": config.blocks.iter().map(block_json).collect::<Vec<_>>(),
        "encoder": config.encoder.iter().map(transformer_json).collect::<Vec<_>>(),
        "final_norm": config.final_norm.name(),
        "norm_eps": short(config.norm_eps),
        "norm_weight": config.norm_weight,
        "norm_bias": config.norm_bias,
        "tied_head": config.tied_head,
        "head_bias": config.head_bias,
        "logit_softcap": short(config.logit_softcap),
    })
}

fn position_json(position: Position) -> Value {
    match position {
        Position::Rope { theta } => json!({"kind": "rope", "theta": short(theta)}),
        other => json!({"kind": position_name(other)}),
    }
}

fn position_name(position: Position) -> &'static str {
    match position {
        Position::None => "none",
        Position::Learned => "learned",
        Position::Sinusoidal => "sinusoidal",
        Position::Rope { .. } => "rope",
    }
}

/// The number that an f32 is written as, rather than the f64 of the same bits.
fn short(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

fn block_json(block: &BlockConfig) -> Value {
    let mut value = match block {
        BlockConfig::Transformer(t) => transformer_json(t),
        BlockConfig::Rnn(rnn) => {
            let mut value = cell_json(&rnn.cell);
            value["activation"] = json!(rnn.activation.name());
            value
        }
        BlockConfig::Gru(cell) | BlockConfig::Lstm(cell) => cell_json(cell),
    };
    value["kind"] = json!(block.name());
    value
}

fn cell_json(cell: &RecurrentConfig) -> Value {
    json!({"hidden": cell.hidden, "norm": cell.norm.name(), "residual": cell.residual, "bias": cell.bias})
}

fn transformer_json(t: &TransformerConfig) -> Value {
    json!({
        "n_heads": t.n_heads, "n_kv_heads": t.n_kv_heads, "head_dim": t.head_dim, "d_ff": t.d_ff,
        "ffn": t.ffn.name(), "norm": t.norm.name(), "residual": t.residual, "qkv_bias": t.qkv_bias,
        "out_bias": t.out_bias, "ffn_bias": t.ffn_bias, "qk_norm": t.qk_norm,
        "token_shift": t.token_shift, "cross_attention": t.cross_attention,
        "window": t.window,
    })
}

/// The stack in lines: runs of equal blocks together.
pub fn blocks(config: &ModelConfig) -> Vec<String> {
    let encoder: Vec<String> = config.encoder.iter().map(transformer_line).collect();
    let blocks: Vec<String> = config.blocks.iter().map(block_line).collect();
    let named = |name: &'static str| move |line| format!("{name}{line}");
    match config.has_encoder() {
        true => runs(&encoder).map(named("encoder ")).chain(runs(&blocks).map(named("decoder "))).collect(),
        false => runs(&blocks).collect(),
    }
}

/// Runs of equal lines, each as one with its number.
fn runs(lines: &[String]) -> impl Iterator<Item = String> {
    lines.chunk_by(|a, b| a == b).map(|run| format!("{} × {}", run.len(), run[0]))
}

fn block_line(block: &BlockConfig) -> String {
    match block {
        BlockConfig::Transformer(t) => transformer_line(t),
        BlockConfig::Rnn(rnn) => format!("rnn ({}) {}", rnn.activation, cell_line(&rnn.cell)),
        BlockConfig::Gru(cell) | BlockConfig::Lstm(cell) => format!("{} {}", block.name(), cell_line(cell)),
    }
}

fn cell_line(cell: &RecurrentConfig) -> String {
    let options = [
        (cell.norm != Norm::None, format!("{} norm", cell.norm)),
        (cell.residual, "residual".into()),
        (!cell.bias, "no bias".into()),
    ];
    format!("{} hidden{}", cell.hidden, listed(&options))
}

fn transformer_line(t: &TransformerConfig) -> String {
    let heads = match t.n_kv_heads == t.n_heads {
        true => format!("{} heads", t.n_heads),
        false => format!("{} heads on {} of keys and values", t.n_heads, t.n_kv_heads),
    };
    let biases = [(t.qkv_bias, "qkv"), (t.out_bias, "out"), (t.ffn_bias, "ffn")];
    let biased: Vec<&str> = biases.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
    let options = [
        (t.norm != Norm::None, format!("{} norm", t.norm)),
        (!t.residual, "no residual".into()),
        (t.qk_norm, "qk-norm".into()),
        (t.token_shift, "token shift".into()),
        (t.cross_attention, "cross-attention".into()),
        (t.window > 0, format!("window of {}", t.window)),
        (!biased.is_empty(), format!("biases of {}", biased.join(", "))),
    ];
    format!("transformer {heads} of {}, {} {} wide{}", t.head_dim, t.ffn, t.d_ff, listed(&options))
}

fn listed(options: &[(bool, String)]) -> String {
    options.iter().filter(|(on, _)| *on).map(|(_, text)| format!(", {text}")).collect()
}

/// What surrounds the blocks, in one line.
pub fn surroundings(config: &ModelConfig) -> String {
    let position = match config.position {
        Position::Rope { theta } => match (config.rope_divisors.first(), config.rope_divisors.last()) {
            (Some(first), Some(last)) => {
                format!("rope (theta {theta}, frequencies divided by {first} to {last})")
            }
            _ => format!("rope (theta {theta})"),
        },
        other => position_name(other).to_string(),
    };
    let mut line = format!("{} wide, positions {position}, final norm {}", config.d_model, config.final_norm);
    line += if config.tied_head { ", tied head" } else { ", own head" };
    if config.head_bias {
        line += " with bias";
    }
    if config.logit_softcap > 0.0 {
        line += &format!(", logits capped at {}", config.logit_softcap);
    }
    line
}
