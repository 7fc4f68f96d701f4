//! Transformers as folders that transformers loads.

use serde_json::{Value, json};
use siskin_format::config::{BlockConfig, Ffn, ModelConfig, Norm, Position, TransformerConfig};
use siskin_format::{TensorSpec, Vocab, schema};
use std::collections::HashMap;

use super::names;
use super::rope::{exact, scaling_of};
use super::tokenizer_json;
use crate::safetensors::{Output, Parts, Plan};

/// The folder of a model, or in one line what of it cannot be expressed.
pub(crate) fn plan(config: &ModelConfig, vocab: &Vocab) -> Result<Plan, String> {
    let block = common(config)?;
    let (mut about, outputs) = match config.position {
        Position::Learned => (gpt2_config(config, block)?, gpt2_outputs(config, block)),
        Position::Rope { theta } => (llama_config(config, block, theta)?, llama_outputs(config, block)),
        other => {
            let name = if other == Position::None { "no positions" } else { "sinusoidal positions" };
            return Err(format!(
                "{name}: neither Llama (RoPE) nor GPT-2 (learned positions) can express them"
            ));
        }
    };
    let special = vocab.special();
    for (key, id) in
        [("bos_token_id", special.bos), ("eos_token_id", special.eos), ("pad_token_id", special.pad)]
    {
        about[key] = json!(id);
    }
    about["vocab_size"] = json!(config.vocab_size);
    about["tie_word_embeddings"] = json!(config.tied_head);
    about["torch_dtype"] = json!("float32");
    about["use_cache"] = json!(true);
    let [tokenizer, tokenizer_config] = tokenizer_json::texts(vocab, config.context)?;
    let texts = vec![
        ("config.json", pretty(&about)),
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", tokenizer_config),
    ];
    Ok(Plan { outputs, texts })
}

/// JSON as a person reads it.
pub(super) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// The block that all are like but for their window, in a model with nothing that both forms lack.
fn common(config: &ModelConfig) -> Result<&TransformerConfig, String> {
    let lacking = |what: &str| Err(format!("{what}: neither Llama's form nor GPT-2's can express it"));
    if config.has_encoder() {
        return lacking("an encoder");
    }
    if config.logit_softcap != 0.0 {
        return lacking("logit_softcap");
    }
    if config.head_bias {
        return lacking("a bias of the head");
    }
    let mut first: Option<&TransformerConfig> = None;
    for block in &config.blocks {
        let BlockConfig::Transformer(t) = block else {
            return lacking("a recurrent block beside Transformer blocks");
        };
        if t.token_shift {
            return lacking("token_shift");
        }
        if !t.residual {
            return lacking("a block without residual");
        }
        if t.norm != config.final_norm {
            return lacking("a final norm of another kind than those of the blocks");
        }
        if first.is_some_and(|first| TransformerConfig { window: t.window, ..first.clone() } != *t) {
            return lacking("blocks of different shapes");
        }
        first = first.or(Some(t));
    }
    first.ok_or_else(|| "a model without blocks".to_string())
}

fn gpt2_config(config: &ModelConfig, t: &TransformerConfig) -> Result<Value, String> {
    let lacking = |what: String| {
        Err(format!("{what}: GPT-2's form, which learned positions ask for, cannot express it"))
    };
    let activation = match t.ffn {
        Ffn::Gelu => "gelu_new",
        Ffn::Relu => "relu",
        Ffn::Relu2 => "relu2",
        Ffn::Silu => "silu",
        gated => return lacking(format!("a feed-forward part {gated}")),
    };
    if t.norm != Norm::Layer {
        return lacking(format!("norm {}", t.norm));
    }
    if t.n_kv_heads != t.n_heads {
        return lacking(format!("{} key and value heads for {} heads", t.n_kv_heads, t.n_heads));
    }
    if t.q_width() != config.d_model {
        return lacking(format!(
            "{} heads of {} channels in a width of {}",
            t.n_heads, t.head_dim, config.d_model
        ));
    }
    if t.qk_norm {
        return lacking("qk_norm".to_string());
    }
    if config.blocks.iter().any(|b| matches!(b, BlockConfig::Transformer(t) if t.window > 0)) {
        return lacking("a sliding window".to_string());
    }
    Ok(json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": activation,
        "n_embd": config.d_model,
        "n_head": t.n_heads,
        "n_inner": t.d_ff,
        "n_layer": config.n_layers(),
        "n_positions": config.context,
        "layer_norm_epsilon": exact(config.norm_eps),
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }))
}

/// GPT-2 has every bias and every norm's weight: where the model does without, zeros and ones are written.
fn gpt2_outputs(config: &ModelConfig, t: &TransformerConfig) -> Vec<Output> {
    let specs = Specs::of(config);
    let d = config.d_model;
    let mut outputs = vec![
        specs.same("embed.weight", "transformer.wte.weight".to_string()),
        specs.same("position.weight", "transformer.wpe.weight".to_string()),
    ];
    for block in 0..config.n_layers() {
        let from = |name: &str| format!("blocks.{block}.{name}");
        let to = |name: &str| format!("transformer.h.{block}.{name}");
        for (norm, name) in [("norm1", "ln_1"), ("norm2", "ln_2")] {
            outputs.push(specs.vector(
                &[from(&format!("{norm}.weight"))],
                to(&format!("{name}.weight")),
                d,
                1.0,
            ));
            outputs.push(specs.vector(&[from(&format!("{norm}.bias"))], to(&format!("{name}.bias")), d, 0.0));
        }
        outputs.push(
            specs.transposed(&[from("attn.wq"), from("attn.wk"), from("attn.wv")], to("attn.c_attn.weight")),
        );
        outputs.push(specs.vector(
            &[from("attn.bq"), from("attn.bk"), from("attn.bv")],
            to("attn.c_attn.bias"),
            3 * d,
            0.0,
        ));
        for (weight, bias, name, width) in [
            ("attn.wo", "attn.bo", "attn.c_proj", d),
            ("ffn.w_up", "ffn.b_up", "mlp.c_fc", t.d_ff),
            ("ffn.w_down", "ffn.b_down", "mlp.c_proj", d),
        ] {
            outputs.push(specs.transposed(&[from(weight)], to(&format!("{name}.weight"))));
            outputs.push(specs.vector(&[from(bias)], to(&format!("{name}.bias")), width, 0.0));
        }
    }
    outputs.push(specs.vector(
        &["final_norm.weight".to_string()],
        "transformer.ln_f.weight".to_string(),
        d,
        1.0,
    ));
    outputs.push(specs.vector(&["final_norm.bias".to_string()], "transformer.ln_f.bias".to_string(), d, 0.0));
    if !config.tied_head {
        outputs.push(specs.same("head.weight", "lm_head.weight".to_string()));
    }
    outputs
}

fn llama_config(config: &ModelConfig, t: &TransformerConfig, theta: f32) -> Result<Value, String> {
    let lacking = |what: String| Err(format!("{what}: Llama's form, which RoPE asks for, cannot express it"));
    let activation = match t.ffn {
        Ffn::GatedSilu => "silu",
        Ffn::GatedGelu => "gelu_pytorch_tanh",
        plain => return lacking(format!("a feed-forward part {plain}")),
    };
    if t.norm != Norm::Rms {
        return lacking(format!("norm {}", t.norm));
    }
    let mut about = family(config, t)?;
    let shared = json!({
        "hidden_act": activation,
        "hidden_size": config.d_model,
        "intermediate_size": t.d_ff,
        "head_dim": t.head_dim,
        "num_attention_heads": t.n_heads,
        "num_key_value_heads": t.n_kv_heads,
        "num_hidden_layers": config.n_layers(),
        "max_position_embeddings": config.context,
        "rms_norm_eps": exact(config.norm_eps),
        "rope_theta": exact(theta),
        "rope_scaling": scaling_of(&config.rope_divisors, theta, t.head_dim)?,
    });
    merge(&mut about, shared);
    Ok(about)
}

/// Which of Llama's relatives has these biases, norms and windows, and its own keys.
fn family(config: &ModelConfig, t: &TransformerConfig) -> Result<Value, String> {
    let of_block = |b: &BlockConfig| match b {
        BlockConfig::Transformer(t) => t.window,
        _ => 0,
    };
    let windows: Vec<usize> = config.blocks.iter().map(of_block).collect();
    let window = windows.iter().copied().max().unwrap_or(0);
    let is_mixed = windows.iter().any(|&w| w != window);
    if windows.iter().any(|&w| w != window && w != 0) {
        return Err(
            "sliding windows of different widths: no form that is written can express them".to_string()
        );
    }
    let biases = (t.qkv_bias, t.out_bias, t.ffn_bias);
    let sliding = || {
        let kinds: Vec<&str> =
            windows.iter().map(|&w| if w > 0 { "sliding_attention" } else { "full_attention" }).collect();
        match window {
            0 => json!({ "use_sliding_window": false, "sliding_window": null }),
            _ => json!({
                "use_sliding_window": true,
                "sliding_window": window,
                "max_window_layers": windows.iter().take_while(|&&w| w == 0).count(),
                "layer_types": kinds,
            }),
        }
    };
    let named = |class: &str, kind: &str, mut keys: Value| {
        merge(&mut keys, json!({ "architectures": [class], "model_type": kind }));
        Ok(keys)
    };
    match (t.qk_norm, biases) {
        (true, (qkv, out, false)) if qkv == out => {
            let mut keys = sliding();
            merge(&mut keys, json!({ "attention_bias": qkv }));
            named("Qwen3ForCausalLM", "qwen3", keys)
        }
        (false, (true, false, false)) => named("Qwen2ForCausalLM", "qwen2", sliding()),
        (false, (false, false, false)) if window > 0 && !is_mixed => {
            named("MistralForCausalLM", "mistral", json!({ "sliding_window": window }))
        }
        (false, (qkv, out, ffn)) if qkv == out && window == 0 => {
            named("LlamaForCausalLM", "llama", json!({ "attention_bias": qkv, "mlp_bias": ffn }))
        }
        (_, (qkv, out, ffn)) => Err(format!(
            "qk_norm {}, qkv_bias {qkv}, out_bias {out}, ffn_bias {ffn}, window {window}{} in one model: none of Llama, Mistral, Qwen2 and Qwen3 has them all",
            t.qk_norm,
            if is_mixed { " in some blocks" } else { "" },
        )),
    }
}

/// Every tensor under its name; where the model's norms have no weight, ones are written.
fn llama_outputs(config: &ModelConfig, t: &TransformerConfig) -> Vec<Output> {
    let with_weights = ModelConfig { norm_weight: true, ..config.clone() };
    let specs = Specs::of(config);
    let outputs = schema(&with_weights).into_iter().map(|spec| {
        let name = names::llama(&spec, "model.");
        let width = if name.contains("q_norm") || name.contains("k_norm") { t.head_dim } else { spec.rows };
        match spec.is_vector() {
            true => specs.vector(std::slice::from_ref(&spec.name), name, width, 1.0),
            false => specs.same(&spec.name, name),
        }
    });
    outputs.collect()
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// The tensors that the model has.
struct Specs(HashMap<String, TensorSpec>);

impl Specs {
    fn of(config: &ModelConfig) -> Specs {
        Specs(schema(config).into_iter().map(|spec| (spec.name.clone(), spec)).collect())
    }

    fn get(&self, name: &str) -> Option<TensorSpec> {
        self.0.get(name).cloned()
    }

    fn matrix(&self, name: &str) -> TensorSpec {
        self.get(name).expect("every model of this form has it")
    }

    fn same(&self, from: &str, to: String) -> Output {
        let spec = self.matrix(from);
        Output { name: to, shape: vec![spec.rows, spec.cols], parts: Parts::Joined(vec![spec]) }
    }

    fn transposed(&self, from: &[String], to: String) -> Output {
        let specs: Vec<TensorSpec> = from.iter().map(|name| self.matrix(name)).collect();
        let shape = vec![specs[0].cols, specs.iter().map(|spec| spec.rows).sum()];
        Output { name: to, shape, parts: Parts::Transposed(specs) }
    }

    /// Vectors one behind the other, or a constant where the model has none.
    fn vector(&self, from: &[String], to: String, width: usize, absent: f32) -> Output {
        let specs: Option<Vec<TensorSpec>> = from.iter().map(|name| self.get(name)).collect();
        let parts = specs.map_or(Parts::Constant(absent), Parts::Joined);
        Output { name: to, shape: vec![width], parts }
    }
}
