//! Which models GGUF's metadata describes, as siskin's config.

use siskin_format::config::{BlockConfig, Ffn, MAX_BLOCKS, ModelConfig, Norm, Position, TransformerConfig};

use super::blocks::BlockType;
use super::file::{Frame, Problem};
use super::value::{Value, show};

/// An architecture of llama.cpp whose blocks siskin has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    /// Llama, and Mistral, TinyLlama, SmolLM, …, which are converted to it.
    Llama,
    /// Llama with biases of q, k and v.
    Qwen2,
    /// Llama with norms of q and k.
    Qwen3,
    /// GPT-2: learned positions, layer norms, GELU, biases everywhere.
    Gpt2,
}

impl Arch {
    const ALL: [Arch; 4] = [Arch::Llama, Arch::Qwen2, Arch::Qwen3, Arch::Gpt2];

    /// The spelling in `general.architecture`, with which its keys begin.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Arch::Llama => "llama",
            Arch::Qwen2 => "qwen2",
            Arch::Qwen3 => "qwen3",
            Arch::Gpt2 => "gpt2",
        }
    }

    /// Whether RoPE turns neighbouring channels, so that the rows of q and k stand in another order than in siskin.
    pub(crate) fn turns_neighbours(self) -> bool {
        self == Arch::Llama
    }

    fn of(frame: &Frame<'_>) -> Result<Arch, Problem> {
        let name = frame.text("general.architecture")?.ok_or_else(|| missing("general.architecture"))?;
        Arch::ALL.into_iter().find(|arch| arch.name() == name).ok_or_else(|| {
            let supported = Arch::ALL.map(Arch::name).join(", ");
            let name = show(name.as_bytes());
            Problem::Unsupported(format!("architecture {name} is not supported; supported are {supported}"))
        })
    }
}

fn missing(key: &str) -> Problem {
    Problem::Malformed(format!("metadata key {key} is missing"))
}

/// Reads keys of one architecture.
struct Keys<'f, 'a> {
    frame: &'f Frame<'a>,
    arch: Arch,
}

impl Keys<'_, '_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.arch.name())
    }

    /// A size; an array of one a block must say the same for all.
    fn size(&self, key: &str) -> Result<Option<usize>, Problem> {
        let name = self.name(key);
        let value = match self.frame.get(&name) {
            Some(Value::Array(array)) => {
                let mut values = array.values();
                let first = values.next();
                if values.any(|v| Some(v) != first) {
                    let problem = format!("{name} differs between blocks, expected the same in all");
                    return Err(Problem::Unsupported(problem));
                }
                match first {
                    Some(Value::Unsigned(v)) => Some(v),
                    Some(Value::Signed(v)) if v >= 0 => Some(v as u64),
                    _ => return Err(format!("{name} is an array without unsigned numbers").into()),
                }
            }
            _ => self.frame.unsigned(&name)?,
        };
        let fits =
            |v: u64| usize::try_from(v).map_err(|_| Problem::Malformed(format!("{name} is {v}, too large")));
        value.map(fits).transpose()
    }

    fn required_size(&self, key: &str) -> Result<usize, Problem> {
        self.size(key)?.ok_or_else(|| missing(&self.name(key)))
    }

    fn float(&self, key: &str) -> Result<Option<f32>, Problem> {
        Ok(self.frame.float(&self.name(key))?)
    }

    /// Keys that change what a model computes, and what they must be for siskin to compute the same.
    fn refuse_unknown_arithmetic(&self) -> Result<(), Problem> {
        if let Some(n @ 1..) = self.size("expert_count")? {
            let problem =
                format!("{} is {n}: mixtures of experts are not supported", self.name("expert_count"));
            return Err(Problem::Unsupported(problem));
        }
        const NEUTRAL: [(&str, &[f32]); 10] = [
            ("logit_scale", &[1.0, 0.0]),
            ("embedding_scale", &[1.0, 0.0]),
            ("residual_scale", &[1.0, 0.0]),
            ("attention.scale", &[0.0]),
            ("attention.clamp_kqv", &[0.0]),
            ("attention.max_alibi_bias", &[0.0]),
            ("attn_logit_softcapping", &[0.0]),
            ("final_logit_softcapping", &[0.0]),
            ("rope.scaling.attn_factor", &[1.0, 0.0]),
            ("rope.scaling.yarn_log_multiplier", &[0.0]),
        ];
        for (key, neutral) in NEUTRAL {
            if let Some(value) = self.float(key)?.filter(|value| !neutral.contains(value)) {
                let problem = format!("{} is {value}, which siskin does not compute", self.name(key));
                return Err(Problem::Unsupported(problem));
            }
        }
        let causal = self.name("attention.causal");
        if self.frame.bool(&causal)? == Some(false) {
            let problem = format!("{causal} is false: encoders without a decoder are not supported");
            return Err(Problem::Unsupported(problem));
        }
        Ok(())
    }
}

/// What the file says that its model is; not yet validated.
pub(crate) fn read(frame: &Frame<'_>, rope_freqs: Option<Vec<f32>>) -> Result<(Arch, ModelConfig), Problem> {
    let arch = Arch::of(frame)?;
    if frame.tensors.is_empty() {
        return Err(Problem::Unsupported(
            "has a vocabulary but no weights; import the GGUF file of a model".to_string(),
        ));
    }
    let keys = Keys { frame, arch };
    keys.refuse_unknown_arithmetic()?;
    let d_model = keys.required_size("embedding_length")?;
    let block = block(&keys, d_model)?;
    let n_layers = keys.required_size("block_count")?;
    if n_layers > MAX_BLOCKS {
        return Err(
            format!("{} is {n_layers}, expected at most {MAX_BLOCKS}", keys.name("block_count")).into()
        );
    }
    let has = |name: &str| frame.tensors.iter().any(|tensor| tensor.name == name);
    let embedding = frame.tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
    let embedding = embedding
        .ok_or_else(|| Problem::Tensor("token_embd.weight".to_string(), "is missing".to_string()))?;
    let vocab_size = embedding.dims.get(1).copied().unwrap_or(1) as usize; // as many rows as the file has bytes for
    let eps = match arch {
        Arch::Gpt2 => "attention.layer_norm_epsilon",
        _ => "attention.layer_norm_rms_epsilon",
    };
    let config = ModelConfig {
        vocab_size,
        d_model,
        context: keys.required_size("context_length")?,
        position: match arch {
            Arch::Gpt2 => Position::Learned,
            _ => Position::Rope { theta: keys.float("rope.freq_base")?.unwrap_or(10_000.0) },
        },
        final_norm: block.norm,
        norm_eps: keys.float(eps)?.ok_or_else(|| missing(&keys.name(eps)))?,
        norm_weight: true,
        norm_bias: arch == Arch::Gpt2,
        tied_head: !has("output.weight"),
        head_bias: has("output.bias"),
        logit_softcap: 0.0,
        rope_divisors: match arch {
            Arch::Gpt2 => Vec::new(),
            _ => rope_divisors(&keys, block.head_dim, rope_freqs)?,
        },
        blocks: vec![BlockConfig::Transformer(block); n_layers],
        encoder: Vec::new(),
    };
    config.validate().map_err(|e| e.to_string())?;
    Ok((arch, config))
}

fn block(keys: &Keys<'_, '_>, d_model: usize) -> Result<TransformerConfig, Problem> {
    let has = |name: &str| keys.frame.tensors.iter().any(|t| t.name.strip_prefix("blk.0.") == Some(name));
    let n_heads = keys.required_size("attention.head_count")?;
    if n_heads == 0 || d_model == 0 {
        return Err(format!("{d_model} channels and {n_heads} heads, expected at least 1 of each").into());
    }
    let head_dim = match keys.size("attention.key_length")? {
        Some(length) => length,
        None if d_model.is_multiple_of(n_heads) => d_model / n_heads,
        None => return Err(format!("{d_model} channels are not a multiple of {n_heads} heads").into()),
    };
    for key in ["attention.value_length", "rope.dimension_count"] {
        if let Some(found) = keys.size(key)?.filter(|&found| found != head_dim) {
            if keys.arch == Arch::Gpt2 && key.starts_with("rope") {
                continue; // GPT-2 has no RoPE
            }
            let name = keys.name(key);
            return Err(Problem::Unsupported(format!(
                "{name} is {found}, expected {head_dim}, the width of a head"
            )));
        }
    }
    let gpt2 = keys.arch == Arch::Gpt2;
    Ok(TransformerConfig {
        n_heads,
        n_kv_heads: keys.size("attention.head_count_kv")?.unwrap_or(n_heads),
        head_dim,
        d_ff: keys.required_size("feed_forward_length")?,
        ffn: if gpt2 { Ffn::Gelu } else { Ffn::GatedSilu },
        norm: if gpt2 { Norm::Layer } else { Norm::Rms },
        residual: true,
        qkv_bias: gpt2 || has("attn_q.bias") || has("attn_qkv.bias"),
        out_bias: gpt2 || has("attn_output.bias"),
        ffn_bias: gpt2 || has("ffn_up.bias"),
        qk_norm: keys.arch == Arch::Qwen3,
        token_shift: false,
        cross_attention: false,
        window: keys.size("attention.sliding_window")?.unwrap_or(0),
    })
}

/// Linear scaling and `rope_freqs.weight`, multiplied; empty when nothing is divided.
fn rope_divisors(keys: &Keys<'_, '_>, head_dim: usize, freqs: Option<Vec<f32>>) -> Result<Vec<f32>, Problem> {
    let kind = keys.name("rope.scaling.type");
    let factor = match keys.frame.text(&kind)?.unwrap_or("linear") {
        "none" => 1.0,
        "linear" => match keys.float("rope.scaling.factor")? {
            Some(factor) => factor,
            None => keys.float("rope.scale_linear")?.unwrap_or(1.0), // files of 2023
        },
        other => {
            let problem = format!("{kind} is {}, expected none or linear", show(other.as_bytes()));
            return Err(Problem::Unsupported(problem));
        }
    };
    let factor = if factor == 0.0 { 1.0 } else { factor }; // 0 means none, as in llama.cpp
    if !(factor.is_finite() && factor > 0.0) {
        return Err(
            format!("{} is {factor}, expected a positive number", keys.name("rope.scaling.factor")).into()
        );
    }
    Ok(match freqs {
        Some(freqs) => freqs.into_iter().map(|divisor| divisor * factor).collect(),
        None if factor == 1.0 => Vec::new(),
        None => vec![factor; (head_dim / 2).min(siskin_format::config::MAX_DIM)],
    })
}

/// The divisors that a file lists as a tensor.
pub(crate) fn rope_freqs(frame: &Frame<'_>, bytes: &[u8]) -> Result<Option<Vec<f32>>, Problem> {
    let Some(tensor) = frame.tensors.iter().find(|tensor| tensor.name == "rope_freqs.weight") else {
        return Ok(None);
    };
    if tensor.kind != BlockType::F32 || tensor.dims.len() != 1 {
        let problem = format!("is {} {}, expected a vector of F32", tensor.kind.name(), tensor.shape());
        return Err(Problem::Tensor(tensor.name.clone(), problem));
    }
    let mut divisors = vec![0.0; tensor.dims[0] as usize]; // the file has their bytes
    BlockType::F32.decode(&bytes[tensor.offset as usize..][..tensor.bytes as usize], &mut divisors);
    Ok(Some(divisors))
}
