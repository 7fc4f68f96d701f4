//! Writing a model as GGUF, so that llama.cpp computes the same.
//!
//! A model of siskin is a stack of options, llama.cpp knows a list of architectures; what fits one of them is exported, with weights of ones or
//! zeros where an architecture has a scale or a bias and the model has none. What fits none is refused in one line that says why.

mod encode;
mod frame;
mod vocab;

use siskin_format::atomic::AtomicFile;
use siskin_format::config::{BlockConfig, Ffn, ModelConfig, Norm, Position, TransformerConfig};
use siskin_format::schema::Role;
use siskin_format::{DType, TensorSpec, Vocab, schema};
use std::io::{BufWriter, Write};
use std::path::Path;

use super::arch::Arch;
use super::blocks::BlockType;
use super::file::DEFAULT_ALIGNMENT;
use super::names::{place, row_among_neighbours};
use crate::error::{Error, Result};
use crate::import::Weights;
use encode::{encode, matrix_type};
use frame::FrameWriter;

/// Writes a model to `path` as GGUF version 3, whole or not at all.
///
/// Matrices become F32, F16, Q8_0 or Q4_0 as `dtype` says, F16 where a row is no multiple of 32; vectors and positions stay F32. Weights that
/// came from siskin's q8 or q4 keep their codes.
///
/// # Errors
/// llama.cpp has no architecture that computes the model or no tokenizer that cuts as `vocab` does, a weight cannot be read or
/// does not fit `dtype`, or the file cannot be written.
pub fn write(
    path: &Path,
    config: &ModelConfig,
    vocab: &Vocab,
    weights: &mut dyn Weights,
    dtype: DType,
) -> Result<()> {
    let unsupported = |problem: String| {
        let problem = format!("the model cannot be written as GGUF: {problem}");
        Error::Unsupported { path: path.to_path_buf(), problem }
    };
    let form = Form::of(config).map_err(unsupported)?;
    let tensors = form.tensors(config, dtype);
    let mut frame = FrameWriter::default();
    form.write_keys(&mut frame, config, dtype);
    vocab::write(&mut frame, vocab).map_err(unsupported)?;
    let rope_freqs = form.rope_freqs(config);
    if let Some(divisors) = rope_freqs {
        frame.tensor("rope_freqs.weight", &[divisors.len() as u64], BlockType::F32);
    }
    for tensor in &tensors {
        frame.tensor(&tensor.name, &tensor.dims(), tensor.kind);
    }
    let cannot = |e: siskin_format::Error| match e {
        siskin_format::Error::Io { source, .. } => Error::io("write", path)(source),
        other => Error::Malformed { path: path.to_path_buf(), problem: other.to_string() },
    };
    let mut file = BufWriter::with_capacity(1 << 20, AtomicFile::create(path).map_err(cannot)?);
    file.write_all(&frame.finish()).map_err(Error::io("write", path))?;
    let mut write = |bytes: &mut Vec<u8>| {
        bytes.resize(bytes.len().next_multiple_of(DEFAULT_ALIGNMENT as usize), 0);
        file.write_all(bytes).map_err(Error::io("write", path))?;
        bytes.clear();
        Ok(())
    };
    let mut bytes: Vec<u8> =
        rope_freqs.into_iter().flatten().flat_map(|divisor| divisor.to_le_bytes()).collect();
    write(&mut bytes)?;
    for tensor in &tensors {
        tensor.bytes(weights, &mut bytes, path)?;
        write(&mut bytes)?;
    }
    let file = file.into_inner().map_err(|e| Error::io("write", path)(e.into_error()))?;
    file.commit().map_err(cannot)
}

/// The architecture that a model fits.
struct Form {
    arch: Arch,
    block: TransformerConfig,
}

impl Form {
    /// # Errors
    /// What no architecture has.
    fn of(config: &ModelConfig) -> std::result::Result<Form, String> {
        let BlockConfig::Transformer(block) = &config.blocks[0] else {
            return Err(format!("{} blocks have no counterpart in llama.cpp", config.blocks[0].name()));
        };
        if config.blocks.iter().any(|other| *other != config.blocks[0]) {
            return Err("its blocks differ, and llama.cpp expects them all alike".to_string());
        }
        let absent = [
            (config.has_encoder(), "an encoder"),
            (block.token_shift, "token shift; train with --token-shift false"),
            (config.logit_softcap > 0.0, "a soft-cap of the logits alone; train with --logit-softcap 0"),
            (!block.residual, "blocks without residuals"),
            (config.head_bias, "a bias of the head in this form"),
            ((1..config.context).contains(&block.window), "a sliding window in this form"),
            (config.final_norm != block.norm, "another norm at the end than in the blocks"),
        ];
        if let Some((_, what)) = absent.into_iter().find(|(has, _)| *has) {
            return Err(format!("llama.cpp has no architecture with {what}"));
        }
        let block = block.clone();
        let arch = match (block.norm, block.ffn, config.position) {
            (Norm::Rms, Ffn::GatedSilu, Position::Rope { .. }) => Form::like_llama(config, &block)?,
            (Norm::Layer, Ffn::Gelu, Position::Learned | Position::None) => Form::like_gpt2(&block)?,
            (norm, ffn, position) => {
                let position = match position {
                    Position::None => "no",
                    Position::Learned => "learned",
                    Position::Sinusoidal => "sinusoidal",
                    Position::Rope { .. } => "rope",
                };
                return Err(format!(
                    "{norm} norms with {ffn} and {position} positions are neither Llama's form (rms, gated-silu, rope) nor GPT-2's (layer, \
                     gelu, learned)"
                ));
            }
        };
        Ok(Form { arch, block })
    }

    fn like_llama(config: &ModelConfig, block: &TransformerConfig) -> std::result::Result<Arch, String> {
        if !block.qk_norm {
            return Ok(Arch::Llama);
        }
        if block.qkv_bias || block.out_bias || block.ffn_bias {
            return Err("llama.cpp has no architecture with norms of q and k, and biases".to_string());
        }
        if !are_equal(&config.rope_divisors) {
            return Err(
                "llama.cpp's qwen3, which has norms of q and k, divides RoPE's frequencies all alike"
                    .to_string(),
            );
        }
        Ok(Arch::Qwen3)
    }

    fn like_gpt2(block: &TransformerConfig) -> std::result::Result<Arch, String> {
        if block.qk_norm {
            return Err("llama.cpp's gpt2 has no norms of q and k".to_string());
        }
        Ok(Arch::Gpt2)
    }

    /// The config with everything that the architecture has.
    fn complete(&self, config: &ModelConfig) -> ModelConfig {
        let mut block = self.block.clone();
        let mut full =
            ModelConfig { norm_weight: true, norm_bias: self.arch == Arch::Gpt2, ..config.clone() };
        if self.arch == Arch::Gpt2 {
            (block.qkv_bias, block.out_bias, block.ffn_bias) = (true, true, true);
            full.position = Position::Learned;
        }
        full.blocks = vec![BlockConfig::Transformer(block); config.n_layers()];
        full
    }

    fn write_keys(&self, frame: &mut FrameWriter, config: &ModelConfig, dtype: DType) {
        let block = &self.block;
        let arch = self.arch.name();
        let key = |key: &str| format!("{arch}.{key}");
        frame.text("general.architecture", arch);
        let file_type = match dtype {
            DType::F32 => 0,
            DType::F16 => 1,
            DType::Q4 => 2,
            DType::Q8 => 7,
        };
        frame.u32("general.file_type", file_type);
        if dtype.is_quantized() {
            frame.u32("general.quantization_version", 2);
        }
        let sizes = [
            ("vocab_size", config.vocab_size),
            ("context_length", config.context),
            ("embedding_length", config.d_model),
            ("block_count", config.n_layers()),
            ("feed_forward_length", block.d_ff),
            ("attention.head_count", block.n_heads),
            ("attention.head_count_kv", block.n_kv_heads),
            ("attention.key_length", block.head_dim),
            ("attention.value_length", block.head_dim),
        ];
        for (name, size) in sizes {
            frame.u32(&key(name), size as u32); // a valid config's sizes are below 2^24
        }
        match config.position {
            Position::Rope { theta } => {
                frame.f32(&key("attention.layer_norm_rms_epsilon"), config.norm_eps);
                frame.u32(&key("rope.dimension_count"), block.head_dim as u32);
                frame.f32(&key("rope.freq_base"), theta);
                if let Some(&divisor) =
                    config.rope_divisors.first().filter(|_| are_equal(&config.rope_divisors))
                {
                    frame.text(&key("rope.scaling.type"), "linear");
                    frame.f32(&key("rope.scaling.factor"), divisor);
                }
            }
            _ => frame.f32(&key("attention.layer_norm_epsilon"), config.norm_eps),
        }
    }

    /// Divisors of RoPE's frequencies that differ, which are a tensor of the file.
    fn rope_freqs<'a>(&self, config: &'a ModelConfig) -> Option<&'a [f32]> {
        Some(config.rope_divisors.as_slice()).filter(|divisors| !are_equal(divisors))
    }

    /// Every tensor of the model, in the order of the file.
    fn tensors(&self, config: &ModelConfig, dtype: DType) -> Vec<Tensor> {
        let own = schema(config);
        let mut tensors: Vec<Tensor> = Vec::new();
        for spec in schema(&self.complete(config)) {
            let place =
                place(self.arch, &self.block, self.arch == Arch::Gpt2, &spec).expect("a schema of this form");
            let part = Part {
                turned: place.turned.then_some(self.block.head_dim),
                value: if own.iter().any(|s| s.name == spec.name) {
                    None
                } else {
                    Some(if spec.role == Role::NormWeight { 1.0 } else { 0.0 })
                },
                spec,
            };
            let (rows, cols) = (place.of_rows, part.spec.cols);
            let is_plain = part.spec.is_vector() || part.spec.role == Role::Position;
            match tensors.iter_mut().find(|tensor| tensor.name == place.name) {
                Some(tensor) => tensor.parts.push(part), // q, k, v: the schema has them in this order
                None => tensors.push(Tensor {
                    kind: if is_plain { BlockType::F32 } else { matrix_type(dtype, cols) },
                    name: place.name,
                    rows,
                    cols,
                    is_vector: part.spec.is_vector(),
                    parts: vec![part],
                }),
            }
        }
        tensors
    }
}

/// Whether all divisors of RoPE's frequencies are the same, so that one number says them.
fn are_equal(divisors: &[f32]) -> bool {
    divisors.iter().all(|divisor| *divisor == divisors[0])
}

/// A tensor of the file: parts of the model one below the other.
struct Tensor {
    name: String,
    kind: BlockType,
    rows: usize,
    cols: usize,
    is_vector: bool,
    parts: Vec<Part>,
}

/// A tensor of the model's schema on its way out.
struct Part {
    spec: TensorSpec,
    /// Width of a head whose rows GGUF has in another order.
    turned: Option<usize>,
    /// What all weights are, where the model has no such tensor.
    value: Option<f32>,
}

impl Tensor {
    /// Columns first.
    fn dims(&self) -> Vec<u64> {
        if self.is_vector { vec![self.rows as u64] } else { vec![self.cols as u64, self.rows as u64] }
    }

    fn bytes(&self, weights: &mut dyn Weights, bytes: &mut Vec<u8>, path: &Path) -> Result<()> {
        for part in &self.parts {
            let weights = part.weights(weights)?;
            let row_len = if self.is_vector { part.spec.rows } else { self.cols };
            encode(self.kind, &weights, row_len, bytes).map_err(|problem| Error::Tensor {
                path: path.to_path_buf(),
                name: part.spec.name.clone(),
                problem,
            })?;
        }
        Ok(())
    }
}

impl Part {
    fn weights(&self, weights: &mut dyn Weights) -> Result<Vec<f32>> {
        let own = match self.value {
            Some(value) => return Ok(vec![value; self.spec.len()]),
            None => weights.read(&self.spec)?,
        };
        let Some(head_dim) = self.turned else { return Ok(own) };
        let cols = self.spec.cols; // 1 for a bias
        let mut turned = vec![0.0; own.len()];
        for (row, weights) in own.chunks_exact(cols).enumerate() {
            turned[row_among_neighbours(row, head_dim) * cols..][..cols].copy_from_slice(weights);
        }
        Ok(turned)
    }
}
