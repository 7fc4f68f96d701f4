use siskin_format::config::{
    BlockConfig, Ffn, MAX_BLOCKS, MAX_DIM, ModelConfig, Norm, Position, TransformerConfig,
};
use siskin_format::{TensorSpec, schema};
use std::fs;
use std::path::Path;

use crate::testing::{copied, decoded, golden, opened, part, parts_of, refused, safetensors};
use crate::{Import, Options, Weights, open, safetensors as writer};

/// The folders that transformers saved, one for each architecture.
const MODELS: [&str; 7] = ["llama", "llama3", "llama-bias", "mistral", "qwen2", "qwen3", "gpt2"];

fn transformer(config: &ModelConfig, block: usize) -> &TransformerConfig {
    match &config.blocks[block] {
        BlockConfig::Transformer(t) => t,
        other => panic!("{other:?}"),
    }
}

fn config(name: &str) -> ModelConfig {
    opened(&golden("hf").join(name)).unwrap().config
}

#[test]
fn each_architecture_is_described() {
    let llama = config("llama");
    assert_eq!((llama.vocab_size, llama.d_model, llama.context, llama.n_layers()), (40, 16, 64, 2));
    assert_eq!((llama.tied_head, llama.norm_eps, llama.final_norm), (true, 1e-5, Norm::Rms));
    assert_eq!(llama.position, Position::Rope { theta: 10_000.0 });
    let t = transformer(&llama, 0);
    assert_eq!((t.n_heads, t.n_kv_heads, t.head_dim, t.d_ff, t.ffn), (4, 2, 4, 24, Ffn::GatedSilu));
    assert!(!(t.qkv_bias || t.out_bias || t.ffn_bias || t.qk_norm) && t.window == 0);

    let bias = config("llama-bias");
    let t = transformer(&bias, 1);
    assert!(t.qkv_bias && t.out_bias && t.ffn_bias && t.ffn == Ffn::GatedGelu && !bias.tied_head);
    assert_eq!(bias.rope_divisors, [2.0; 2]);

    assert_eq!(transformer(&config("llama3"), 0).head_dim, 8);
    assert_eq!(config("llama3").position, Position::Rope { theta: 500.0 });
    assert_eq!(transformer(&config("mistral"), 0).window, 5);
    let windows = [0, 1].map(|block| transformer(&config("qwen2"), block).window);
    assert_eq!(windows, [0, 6]);
    let t = transformer(&config("qwen2"), 0).clone();
    assert!(t.qkv_bias && !t.out_bias);
    let t = transformer(&config("qwen3"), 0).clone();
    assert!(t.qk_norm && !t.qkv_bias && t.head_dim == 8);

    let gpt2 = config("gpt2");
    assert_eq!((gpt2.position, gpt2.final_norm, gpt2.tied_head), (Position::Learned, Norm::Layer, true));
    let t = transformer(&gpt2, 0);
    assert!(t.qkv_bias && t.out_bias && t.ffn_bias && t.ffn == Ffn::Gelu && t.d_ff == 64);
}

/// Against `_compute_llama3_parameters` of transformers 5.24 for theta 500, 8 channels, factor 4, 32 positions.
#[test]
fn llama_3s_scaling_divides_by_wavelength() {
    let divisors = config("llama3").rope_divisors;
    let frequencies = [1.0f64, 0.211_474_25, 0.044_721_36, 0.009_457_416];
    assert_eq!(divisors.len(), 4);
    assert_eq!((divisors[2], divisors[3]), (4.0, 4.0));
    for (divisor, frequency) in divisors.iter().zip(frequencies) {
        let turns = 32.0 * frequency / std::f64::consts::TAU;
        let kept = ((turns - 1.0) / 3.0).clamp(0.0, 1.0);
        let scaled = (1.0 - kept) * frequency / 4.0 + kept * frequency;
        assert!((f64::from(*divisor) - frequency / scaled).abs() < 1e-6, "{divisor} {turns}");
    }
    assert_eq!(divisors[0], 1.0);
}

/// What is written is read again, and says the same: names, shapes, transposition, every number.
#[test]
fn folders_that_are_written_are_the_same_model() {
    for name in MODELS {
        let mut import = opened(&golden("hf").join(name)).unwrap();
        let (config, expected) = decoded(&golden("hf").join(name)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        writer::write(folder.path(), &config, &import.vocab, &mut *import.weights).unwrap();
        fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
        let (found_config, found) = decoded(folder.path()).unwrap();
        assert_eq!(found_config, config, "{name}");
        assert_eq!(found, expected, "{name}");
    }
}

/// GPT-2's Conv1D, element by element.
#[test]
fn conv1d_is_transposed_and_cut() {
    let (_, tensors) = decoded(&golden("hf/gpt2")).unwrap();
    let get = |name: &str| &tensors.iter().find(|(n, _)| n == name).unwrap().1;
    let parts = parts_of(&golden("hf/gpt2/model.safetensors"));
    let stored = |name: &str, at: usize| {
        let (.., bytes) = parts.iter().find(|(n, ..)| n == name).unwrap();
        f32::from_le_bytes(bytes[4 * at..][..4].try_into().unwrap())
    };
    for (part, name) in ["blocks.1.attn.wq", "blocks.1.attn.wk", "blocks.1.attn.wv"].iter().enumerate() {
        for (row, col) in [(0, 0), (3, 7), (15, 14)] {
            assert_eq!(
                get(name)[row * 16 + col],
                stored("transformer.h.1.attn.c_attn.weight", col * 48 + part * 16 + row)
            );
        }
    }
    assert_eq!(get("blocks.0.attn.bv")[5], stored("transformer.h.0.attn.c_attn.bias", 37));
    assert_eq!(
        get("blocks.0.ffn.w_down")[3 * 64 + 50],
        stored("transformer.h.0.mlp.c_proj.weight", 50 * 16 + 3)
    );
}

/// Edits the copy of a folder's config.
fn with_config(
    name: &str,
    edit: impl Fn(&mut serde_json::Map<String, serde_json::Value>),
) -> tempfile::TempDir {
    let folder = copied(&golden("hf").join(name));
    let path = folder.path().join("config.json");
    let mut config: serde_json::Map<_, _> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut config);
    fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    folder
}

#[test]
fn older_and_newer_ways_to_say_the_same_are_understood() {
    let older = with_config("llama-bias", |config| {
        config.remove("rope_parameters");
        config.remove("architectures");
        config.insert("rope_theta".into(), 10_000.into());
        config.insert("rope_scaling".into(), serde_json::json!({ "type": "linear", "factor": 2.0 }));
    });
    assert_eq!(opened(older.path()).unwrap().config, config("llama-bias"));
    let older = with_config("qwen2", |config| {
        config.remove("layer_types");
    });
    assert_eq!(opened(older.path()).unwrap().config, config("qwen2"));
    let off = with_config("qwen2", |config| {
        config.insert("use_sliding_window".into(), false.into());
    });
    assert_eq!(transformer(&opened(off.path()).unwrap().config, 1).window, 0);
    let ids = with_config("llama", |config| {
        config.insert("eos_token_id".into(), serde_json::json!([3, 4]));
    });
    assert_eq!(opened(ids.path()).unwrap().vocab.special().eos, Some(3));
}

#[test]
fn what_cannot_be_expressed_is_named() {
    let cases: Vec<(&str, &str, serde_json::Value, &str)> = vec![
        (
            "llama",
            "architectures",
            serde_json::json!(["MambaForCausalLM"]),
            "architectures is MambaForCausalLM, expected one of LlamaForCausalLM",
        ),
        ("llama", "rope_scaling", serde_json::json!({ "type": "dynamic", "factor": 2.0 }), "rope_parameters"),
        (
            "llama",
            "rope_parameters",
            serde_json::json!({ "rope_type": "yarn" }),
            "rope_parameters.rope_type is yarn, expected linear, llama3 or default",
        ),
        (
            "llama",
            "rope_parameters",
            serde_json::json!({ "rope_type": "linear" }),
            "rope_parameters.factor is missing",
        ),
        (
            "llama",
            "rope_parameters",
            serde_json::json!({ "rope_type": "linear", "factor": 0 }),
            "rope_divisors is 0",
        ),
        (
            "llama",
            "rope_parameters",
            serde_json::json!({ "rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1, "original_max_position_embeddings": 8 }),
            "high_freq_factor is 1, expected more than low_freq_factor, 4",
        ),
        (
            "llama",
            "partial_rotary_factor",
            serde_json::json!(0.5),
            "partial_rotary_factor is 0.5, expected 1",
        ),
        (
            "llama",
            "quantization_config",
            serde_json::json!({ "quant_method": "gptq" }),
            "the weights are quantized",
        ),
        ("llama", "hidden_act", serde_json::json!("gelu"), "hidden_act is gelu, expected silu"),
        (
            "llama",
            "hidden_size",
            serde_json::json!("16\n"),
            "hidden_size is \"16\\\\n\", expected a whole number",
        ),
        ("llama", "hidden_size", serde_json::json!(-16), "hidden_size is -16, expected a whole number"),
        ("llama", "hidden_size", serde_json::json!(null), "hidden_size is missing"),
        (
            "llama",
            "hidden_size",
            serde_json::json!(18),
            "tensor model.embed_tokens.weight: its shape is [40, 16], expected [40, 18]",
        ),
        (
            "llama",
            "num_hidden_layers",
            serde_json::json!(1u64 << 40),
            "num_hidden_layers is 1099511627776, expected at most 1024",
        ),
        (
            "llama",
            "num_hidden_layers",
            serde_json::json!(3),
            "tensor model.layers.2.input_layernorm.weight: is missing",
        ),
        (
            "llama",
            "num_hidden_layers",
            serde_json::json!(1),
            "tensor model.layers.1.input_layernorm.weight: is not part of LlamaForCausalLM with this config, nor are 8 others",
        ),
        ("llama", "head_dim", serde_json::json!(1u64 << 40), "head_dim is 1099511627776, expected at most"),
        ("llama", "num_attention_heads", serde_json::json!(0), "n_heads is 0"),
        ("llama", "rms_norm_eps", serde_json::json!(-1), "norm_eps is -1"),
        ("llama", "rms_norm_eps", serde_json::json!(1e300), "norm_eps is inf"),
        ("llama", "vocab_size", serde_json::json!(41), "its shape is [40, 16], expected [41, 16]"),
        ("llama", "tie_word_embeddings", serde_json::json!(false), "tensor lm_head.weight: is missing"),
        (
            "llama",
            "eos_token_id",
            serde_json::json!(40),
            "eos_token_id is 40, expected less than vocab_size, 40",
        ),
        (
            "llama",
            "mlp_bias",
            serde_json::json!(true),
            "tensor model.layers.0.mlp.gate_proj.bias: is missing",
        ),
        (
            "qwen2",
            "layer_types",
            serde_json::json!(["full_attention"]),
            "layer_types is a list of 1, expected 2",
        ),
        ("qwen2", "layer_types", serde_json::json!(["full_attention", "linear"]), "layer_types is linear"),
        ("gpt2", "activation_function", serde_json::json!("gelu"), "activation_function is gelu"),
        (
            "gpt2",
            "scale_attn_by_inverse_layer_idx",
            serde_json::json!(true),
            "scale_attn_by_inverse_layer_idx is true, expected false",
        ),
        ("gpt2", "scale_attn_weights", serde_json::json!(false), "scale_attn_weights is false"),
        ("gpt2", "n_head", serde_json::json!(3), "n_embd is 16, expected a multiple of n_head, 3"),
        ("gpt2", "n_head", serde_json::json!(0), "n_embd is 16, expected a multiple of n_head, 0"),
        (
            "gpt2",
            "n_positions",
            serde_json::json!(128),
            "tensor transformer.wpe.weight: its shape is [64, 16], expected [128, 16]",
        ),
    ];
    for (model, key, value, expected) in cases {
        let folder = with_config(model, |config| {
            if key == "rope_scaling" {
                config.remove("rope_parameters");
            }
            config.insert(key.into(), value.clone());
        });
        let expected = if key == "rope_scaling" { "rope_scaling.type is dynamic" } else { expected };
        let line = refused(opened(folder.path()));
        assert!(line.contains(expected), "{line:?} does not say {expected:?}");
    }
}

#[test]
fn sizes_at_their_limits_and_zero_never_panic() {
    for key in [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "vocab_size",
        "max_position_embeddings",
        "head_dim",
    ] {
        for value in [0, 1, 3, MAX_BLOCKS as u64, MAX_DIM as u64, u64::from(u32::MAX), u64::MAX] {
            let folder = with_config("llama", |config| {
                config.insert(key.into(), value.into());
            });
            let found = opened(folder.path()).map(|_| ());
            let harmless = key == "max_position_embeddings" && (1..=1 << 24).contains(&value);
            assert_eq!(found.is_ok(), harmless, "{key} {value} {found:?}");
            if let Err(error) = found {
                crate::testing::line(&error);
            }
        }
    }
}

/// A folder whose tensors are changed.
fn with_tensors(name: &str, edit: impl Fn(&mut Vec<crate::testing::Part>)) -> tempfile::TempDir {
    let folder = copied(&golden("hf").join(name));
    let path = folder.path().join("model.safetensors");
    let mut parts = parts_of(&path);
    edit(&mut parts);
    fs::write(&path, safetensors(&parts)).unwrap();
    folder
}

#[test]
fn prefixes_may_be_absent_and_known_tables_are_ignored() {
    for (name, prefix) in [("gpt2", "transformer."), ("llama", "model.")] {
        let bare = with_tensors(name, |parts| {
            parts.iter_mut().for_each(|(name, ..)| *name = name.strip_prefix(prefix).unwrap().to_string());
        });
        assert_eq!(decoded(bare.path()).unwrap(), decoded(&golden("hf").join(name)).unwrap());
    }
    let more = with_tensors("gpt2", |parts| {
        parts.push(part("transformer.h.0.attn.bias", &[1, 1, 4, 4], |_| 1.0));
        parts.push(part("transformer.h.1.attn.masked_bias", &[], |_| 1.0));
        parts.push(part("lm_head.weight", &[40, 16], |_| 1.0));
    });
    let notes = opened(more.path()).unwrap().notes.join("\n");
    assert!(
        notes.contains(
            "2 tensors that the config says already were ignored, transformer.h.0.attn.bias the first"
        ),
        "{notes}"
    );
    assert!(notes.contains("lm_head.weight was ignored"), "{notes}");
    let strange = with_tensors("llama", |parts| parts.push(part("model.layers.0.lora_A", &[1], |_| 1.0)));
    assert!(
        refused(opened(strange.path()))
            .contains("tensor model.layers.0.lora_A: is not part of LlamaForCausalLM")
    );
}

#[test]
fn a_folder_without_what_it_needs_says_so() {
    let open_plain = |path: &Path| open(path, &Options::default());
    let empty = tempfile::tempdir().unwrap();
    assert!(refused(open_plain(empty.path())).contains("a folder without config.json"));
    let line = refused(open_plain(&golden("hf/llama")));
    assert!(line.contains("tokenizer.json") && line.contains("--tokenizer FILE"), "{line}");
    let import = opened(&golden("hf/llama")).unwrap();
    assert_eq!(
        (import.vocab.len(), import.vocab.special().eos, import.vocab.special().bos),
        (40, Some(2), None)
    );
    assert!(import.notes[0].starts_with("there is no tokenizer"));
    assert_eq!(import.origin.name, "llama");
    // A file of the folder stands for the folder.
    assert_eq!(opened(&golden("hf/llama/model.safetensors")).unwrap().config, import.config);
    let sharded = copied(&golden("hf/qwen3"));
    fs::remove_file(sharded.path().join("model-00003-of-00004.safetensors")).unwrap();
    assert!(refused(opened(sharded.path())).contains("the shard model-00003-of-00004.safetensors"));
    for wrong in ["", "[]", "{", "{\"a\": 1}x", &"[".repeat(100_000)] {
        let folder = copied(&golden("hf/llama"));
        fs::write(folder.path().join("config.json"), wrong).unwrap();
        refused(opened(folder.path()));
    }
}

/// Weights that are all zero.
struct Zeros;

impl Weights for Zeros {
    fn read(&mut self, spec: &TensorSpec) -> crate::Result<Vec<f32>> {
        Ok(vec![0.0; spec.len()])
    }
}

#[test]
fn models_that_others_cannot_express_are_refused_by_name() {
    type Edit = fn(&mut ModelConfig, &mut TransformerConfig);
    let cases: [(&str, Edit, &str); 14] = [
        ("llama", |_, t| t.token_shift = true, "token_shift"),
        ("llama", |c, _| c.logit_softcap = 30.0, "logit_softcap"),
        ("llama", |c, _| c.head_bias = true, "a bias of the head"),
        ("llama", |_, t| t.residual = false, "without residual"),
        ("llama", |c, _| c.final_norm = Norm::Layer, "a final norm of another kind"),
        ("llama", |_, t| t.ffn = Ffn::Relu2, "a feed-forward part relu2: Llama's form"),
        ("llama", |_, t| t.out_bias = true, "qkv_bias false, out_bias true"),
        ("llama", |c, _| c.rope_divisors = vec![2.0, 1.0], "rope_divisors"),
        ("llama", |c, _| c.position = Position::Sinusoidal, "sinusoidal positions"),
        ("gpt2", |_, t| t.ffn = Ffn::GatedSilu, "a feed-forward part gated-silu: GPT-2's form"),
        ("gpt2", |_, t| t.n_kv_heads = 2, "2 key and value heads for 4 heads"),
        ("gpt2", |_, t| t.head_dim = 8, "4 heads of 8 channels in a width of 16"),
        ("gpt2", |_, t| t.qk_norm = true, "qk_norm"),
        ("gpt2", |_, t| t.window = 4, "a sliding window"),
    ];
    for (name, edit, expected) in cases {
        let Import { mut config, vocab, .. } = opened(&golden("hf").join(name)).unwrap();
        let mut block = transformer(&config, 0).clone();
        edit(&mut config, &mut block);
        config.blocks.fill(BlockConfig::Transformer(block));
        config.validate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let line = refused(writer::write(&folder.path().join("out"), &config, &vocab, &mut Zeros));
        assert!(line.contains(expected), "{line:?} does not say {expected:?}");
        assert!(!folder.path().join("out").exists());
    }
}

/// GPT-2 has biases and norm weights that a model may do without.
#[test]
fn what_a_model_does_without_is_written_as_zeros_and_ones() {
    let Import { mut config, vocab, .. } = opened(&golden("hf/gpt2")).unwrap();
    let bare = TransformerConfig {
        qkv_bias: false,
        out_bias: false,
        ffn_bias: false,
        ..transformer(&config, 0).clone()
    };
    config.blocks.fill(BlockConfig::Transformer(bare));
    (config.norm_weight, config.norm_bias) = (false, false);
    let folder = tempfile::tempdir().unwrap();
    writer::write(folder.path(), &config, &vocab, &mut Zeros).unwrap();
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let (full, tensors) = decoded(folder.path()).unwrap();
    assert_eq!(schema(&full).len(), tensors.len());
    for (name, values) in tensors {
        let one = name.contains("norm") && name.ends_with("weight");
        assert!(values.iter().all(|&v| v == if one { 1.0 } else { 0.0 }), "{name}");
    }
}

#[test]
fn a_vocabulary_of_another_size_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = siskin_format::Vocab::bytes();
    let line = refused(writer::write(folder.path(), &config("gpt2"), &bytes, &mut Zeros));
    assert!(line.contains("256 tokens in the vocabulary and 40 in the model"), "{line}");
}
