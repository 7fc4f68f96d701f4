//! Writes models of every form that is exported as GGUF, with what `benches/llamacpp_logits.py` needs to check them against llama.cpp.
//!
//! ```text
//! cargo run --release -p siskin-convert --example gguf_forms -- DATA OUT
//! python3 trainer/convert/benches/llamacpp_logits.py DATA OUT
//! ```
//!
//! `OUT/<form>.gguf` is a small model with drawn weights, `OUT/<form>/` its tensors as f32 and its config as JSON; the vocabularies are made here
//! or read from DATA's `ggml-vocab-*.gguf`. `OUT/again/` holds DATA's own models, imported and exported.

#[path = "../src/testing/models.rs"]
mod models;

use models::{changed, gpt2, llama};
use siskin_convert::{Options, Weights, gguf, open};
use siskin_format::config::{BlockConfig, ModelConfig, Position, TransformerConfig};
use siskin_format::schema::Role;
use siskin_format::{DType, TensorSpec, Vocab, schema};
use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(data), Some(out)) = (args.next(), args.next()) else {
        return Err("usage: gguf_forms DATA OUT".into());
    };
    let ascii: Vec<char> = (' '..='~').chain(['\n', '\t']).collect();
    let chinese: Vec<char> = "一二三四五六七八九十 。，天地人\n".chars().collect();
    let from =
        |name: &str| gguf::read_vocab(&data.join(format!("tokenizers/ggml-vocab/ggml-vocab-{name}.gguf")));
    let biased = |b: &mut TransformerConfig| (b.qkv_bias, b.out_bias, b.ffn_bias) = (true, true, true);
    let bare = |b: &mut TransformerConfig| (b.qkv_bias, b.out_bias, b.ffn_bias) = (false, false, false);
    let forms: Vec<(&str, ModelConfig, Vocab)> = vec![
        ("llama", llama(), from("gpt-2")?),
        ("llama-untied", ModelConfig { tied_head: false, ..llama() }, from("llama-spm")?),
        ("llama-biased", changed(llama(), biased), Vocab::bytes()),
        ("llama-wide-heads", changed(llama(), |b| b.head_dim = 16), Vocab::chars(&ascii, false)?),
        (
            "llama-linear",
            ModelConfig { rope_divisors: vec![4.0; 4], ..llama() },
            Vocab::chars(&chinese, true)?,
        ),
        (
            "llama-rope-freqs",
            ModelConfig { rope_divisors: vec![1.0, 1.5, 3.0, 8.0], ..llama() },
            from("deepseek-coder")?,
        ),
        ("llama-no-norm-weights", ModelConfig { norm_weight: false, ..llama() }, Vocab::bytes()),
        ("qwen3", changed(llama(), |b| b.qk_norm = true), from("gpt-2")?),
        ("gpt2", gpt2(), from("gpt-2")?),
        ("gpt2-untied", ModelConfig { tied_head: false, ..gpt2() }, Vocab::bytes()),
        (
            "gpt2-bare",
            ModelConfig { norm_bias: false, position: Position::None, ..changed(gpt2(), bare) },
            Vocab::bytes(),
        ),
    ];
    std::fs::create_dir_all(&out)?;
    for (name, config, vocab) in forms {
        let config = ModelConfig { vocab_size: vocab.len(), context: 128, ..config };
        gguf::write(&out.join(format!("{name}.gguf")), &config, &vocab, &mut Drawn, DType::F32)?;
        write_parts(&out.join(name), &config)?;
        println!("{name}: {} tokens", vocab.len());
    }
    export_again(&data.join("models"), &out.join("again"))
}

/// Models of the staged set, in the type that they came in.
fn export_again(models: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(out)?;
    for (file, dtype) in [
        ("stories260K/stories260K-F32", DType::F32),
        ("stories260K/stories260K-F16", DType::F16),
        ("stories260K/stories260K-Q8_0mix", DType::Q8),
        ("stories260K/stories260K-Q4_0mix", DType::Q4),
        ("llama2xs/llama2xs-F32", DType::F32),
        ("llama2xs/llama2xs-Q8_0", DType::Q8),
        ("llama2xs/llama2xs-Q4_0", DType::Q4),
        ("gguf-random/llama-gqa-untied-rand-F32", DType::F32),
    ] {
        let mut import = open(&models.join(format!("{file}.gguf")), &Options::default())?;
        let name = Path::new(file).file_name().ok_or("a file has a name")?;
        let path = out.join(format!("{}.gguf", name.display()));
        gguf::write(&path, &import.config, &import.vocab, import.weights.as_mut(), dtype)?;
        println!("again/{}: {dtype}", name.display());
    }
    Ok(())
}

/// Weights of about the size that training gives, drawn by the tensor's name.
struct Drawn;

impl Weights for Drawn {
    fn read(&mut self, spec: &TensorSpec) -> siskin_convert::Result<Vec<f32>> {
        let mut state = siskin_format::xxh64::xxh64(spec.name.as_bytes()) | 1;
        let (middle, width) = match spec.role {
            Role::NormWeight => (1.0, 0.3),
            Role::Embedding | Role::Head | Role::Position => (0.0, 1.0),
            _ => (0.0, 0.2),
        };
        let mut draw = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17; // xorshift64 (Marsaglia 2003)
            middle + width * ((state >> 40) as f32 / 16_777_216.0 - 0.5)
        };
        Ok((0..spec.len()).map(|_| draw()).collect())
    }
}

fn write_parts(folder: &Path, config: &ModelConfig) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    for spec in schema(config) {
        let bytes: Vec<u8> = Drawn.read(&spec)?.iter().flat_map(|w| w.to_le_bytes()).collect();
        std::fs::write(folder.join(format!("{}.f32", spec.name)), bytes)?;
    }
    let BlockConfig::Transformer(block) = &config.blocks[0] else { return Err("a Transformer".into()) };
    let theta = match config.position {
        Position::Rope { theta } => Some(theta),
        _ => None,
    };
    let json = serde_json::json!({
        "n_layers": config.n_layers(),
        "d_model": config.d_model,
        "n_heads": block.n_heads,
        "n_kv_heads": block.n_kv_heads,
        "head_dim": block.head_dim,
        "norm": block.norm.name(),
        "norm_eps": config.norm_eps,
        "rope_theta": theta,
        "rope_divisors": config.rope_divisors,
    });
    Ok(std::fs::write(folder.join("config.json"), json.to_string())?)
}
