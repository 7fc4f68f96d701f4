//! What there is to tell about a model and about this CPU.

use super::describe;
use serde_json::{Value, json};
use siskin::{Isa, Model, SessionOptions};
use siskin_format::receipt::Receipt;
use siskin_format::{File, ModelConfig, TensorInfo};
use std::path::Path;
use std::sync::Arc;

/// A model, with what has to be computed about it.
pub struct Report<'a> {
    pub path: &'a Path,
    pub model: &'a Arc<Model>,
    pub parameters: u64,
    pub weight_bytes: u64,
    pub sessions: Vec<(Option<usize>, u64)>, // context and bytes
}

impl<'a> Report<'a> {
    /// Counts everything.
    pub fn new(path: &'a Path, model: &'a Arc<Model>) -> Report<'a> {
        let tensors = model.file().tensors();
        Report {
            path,
            model,
            parameters: tensors.iter().map(|info| (info.rows * info.cols) as u64).sum(),
            weight_bytes: tensors.iter().map(|info| info.range.len() as u64).sum(),
            sessions: sessions(model),
        }
    }

    /// The model's file.
    pub fn file(&self) -> &File {
        self.model.file()
    }

    /// The model's config.
    pub fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    /// Bits that a weight takes, scales and padding included.
    pub fn bits_per_weight(&self) -> f64 {
        self.weight_bytes as f64 * 8.0 / self.parameters as f64
    }

    /// Everything as JSON.
    pub fn json(&self) -> Value {
        let file = self.file();
        let sections = file.sections().iter().map(|info| {
            json!({
                "name": info.section.name(), "offset": info.range.start, "bytes": info.range.len(),
                "checksum": format!("{:016x}", info.checksum),
            })
        });
        let sessions = self.sessions.iter().map(|(ctx, bytes)| json!({"context": ctx, "bytes": bytes}));
        json!({
            "file": self.path.display().to_string(),
            "bytes": file.bytes().len(),
            "version": file.version().to_string(),
            "parameters": self.parameters,
            "weight_bytes": self.weight_bytes,
            "bits_per_weight": self.bits_per_weight(),
            "config": describe::config_json(self.config()),
            "tokenizer": tokenizer_json(file),
            "tensors": file.tensors().iter().map(tensor_json).collect::<Vec<_>>(),
            "receipt": receipt_json(file.receipt()),
            "sections": sections.collect::<Vec<_>>(),
            "sessions": sessions.collect::<Vec<_>>(),
        })
    }
}

/// Memory of sessions: for models with attention at a few contexts.
fn sessions(model: &Model) -> Vec<(Option<usize>, u64)> {
    let bytes = |ctx| model.session_bytes(&SessionOptions { ctx, ..SessionOptions::default() });
    let context = model.config().context;
    let mut contexts: Vec<Option<usize>> = match model.config().is_bounded() {
        true => [context / 16, context / 4, context].into_iter().filter(|ctx| *ctx > 0).map(Some).collect(),
        false => vec![None],
    };
    contexts.dedup();
    contexts.into_iter().filter_map(|ctx| Some((ctx, bytes(ctx).ok()? as u64))).collect()
}

fn tensor_json(info: &TensorInfo) -> Value {
    let shape = if info.is_vector { vec![info.rows] } else { vec![info.rows, info.cols] };
    json!({
        "name": info.name, "dtype": info.dtype.name(), "shape": shape, "offset": info.range.start,
        "bytes": info.range.len(),
    })
}

fn tokenizer_json(file: &File) -> Value {
    let vocab = file.vocab();
    let special = vocab.special();
    json!({
        "kind": vocab.kind().name(), "tokens": vocab.len(), "merges": vocab.merges().len(),
        "pre_tokenizer": vocab.pre_tokenizer().name(), "chat": vocab.chat().is_some(),
        "bos": special.bos, "eos": special.eos, "unk": special.unk, "pad": special.pad,
    })
}

fn receipt_json(receipt: &Receipt) -> Value {
    let hex = |hash: u64| format!("{hash:016x}");
    let sources = receipt.sources.iter();
    let sources = sources.map(|s| json!({"name": s.name, "bytes": s.bytes, "xxh64": hex(s.hash)}));
    let training = receipt.training.as_ref();
    let training = training
        .map(|t| json!({"steps": t.steps, "tokens": t.tokens, "optimizer": t.optimizer, "seed": t.seed}));
    let origin = receipt.origin.as_ref().map(|o| json!({"name": o.name, "xxh64": hex(o.hash)}));
    let held_out = receipt.held_out.as_ref().map(
        |h| json!({"name": h.name, "tokens": h.tokens, "float_loss": h.float_loss, "file_loss": h.file_loss}),
    );
    let golden = receipt.golden.iter().map(|g| {
        json!({
            "prompt": g.prompt, "tokens": g.n_tokens, "tokens_hash": hex(g.tokens_hash),
            "logits_hash": hex(g.logits_hash),
        })
    });
    json!({
        "producer": receipt.producer, "sources": sources.collect::<Vec<_>>(), "training": training, "origin": origin,
        "held_out": held_out, "golden": golden.collect::<Vec<_>>(),
    })
}

/// What this CPU runs.
pub struct Cpu {
    pub running: &'static str,
    pub available: Vec<&'static str>,
    pub features: Vec<&'static str>,
    pub threads: usize,
}

impl Cpu {
    /// Asks the CPU and `SISKIN_ISA`.
    pub fn detect() -> Result<Cpu, siskin::Error> {
        Ok(Cpu {
            running: siskin::isa_name()?,
            available: Isa::available().map(Isa::name).collect(),
            features: features(),
            threads: SessionOptions::default().n_threads(),
        })
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        json!({
            "architecture": std::env::consts::ARCH, "kernels": self.running, "available": self.available,
            "features": self.features, "threads": self.threads,
        })
    }
}

/// What this CPU offers, of all that kernels use or could use.
fn features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let all = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avxvnni", is_x86_feature_detected!("avxvnni")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
    ];
    #[cfg(target_arch = "aarch64")]
    let all = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("fp16", std::arch::is_aarch64_feature_detected!("fp16")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let all: [(&str, bool); 0] = [];
    all.into_iter().filter_map(|(name, found)| found.then_some(name)).collect()
}
