//! The receipt: what a model was trained on and how, what it scored, and what it must generate (SPEC.md,
//! "Receipt section").
//!
//! Golden runs make a file verifiable on the device: greedy generation from a few prompts must give the very tokens
//! and the very bits of the logits that it gave where the file was made.

use crate::memory;
use crate::meta::{Meta, MetaError, Value};
use crate::xxh64::Xxh64;

/// Most sources and most golden runs that a receipt may list.
pub const MAX_LISTED: u64 = 256;

/// Where a model comes from and what it does. Everything is optional: an imported model has no training to tell of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Receipt {
    /// Program that wrote the file and its version, as in "siskin-train 0.1.0".
    pub producer: Option<String>,
    /// Texts that the model was trained on.
    pub sources: Vec<Source>,
    /// How it was trained.
    pub training: Option<Training>,
    /// Name of the file or checkpoint that the weights were taken from, and its XXH64.
    pub origin: Option<Origin>,
    /// Loss on text that was held out from training.
    pub held_out: Option<HeldOut>,
    /// Greedy runs to repeat.
    pub golden: Vec<Golden>,
}

/// A text of the training data.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its name, without a path.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// XXH64 of its bytes.
    pub hash: u64,
}

/// How a model was trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// Optimiser steps.
    pub steps: u64,
    /// Tokens seen, repetitions counted.
    pub tokens: u64,
    /// Optimiser, schedule and their settings, as one line.
    pub optimizer: String,
    /// Seed of every random choice.
    pub seed: u64,
}

/// What the weights were taken from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// Its name, without a path.
    pub name: String,
    /// XXH64 of its bytes.
    pub hash: u64,
}

/// Mean cross-entropy per token on held-out text, nats.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldOut {
    /// What the text was.
    pub name: String,
    /// Tokens predicted.
    pub tokens: u64,
    /// Loss of the weights before they were stored.
    pub float_loss: f64,
    /// Loss of this file, by the runtime's kernels.
    pub file_loss: f64,
}

/// One greedy run: after `prompt`, `n_tokens` times the token of the largest logit (the lowest id among equals).
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// Tokens generated.
    pub n_tokens: u64,
    /// [`GoldenHash::tokens`] of the run.
    pub tokens_hash: u64,
    /// [`GoldenHash::logits`] of the run.
    pub logits_hash: u64,
}

/// Hashes a greedy run as it goes.
#[derive(Clone, Debug, Default)]
pub struct GoldenHash {
    tokens: Xxh64,
    logits: Xxh64,
}

impl GoldenHash {
    /// No step yet.
    pub fn new() -> GoldenHash {
        GoldenHash::default()
    }

    /// One generated token and the `[vocab_size]` logits that it was chosen from.
    pub fn push(&mut self, token: u32, logits: &[f32]) {
        self.tokens.update(&token.to_le_bytes());
        for logit in logits {
            self.logits.update(&logit.to_le_bytes());
        }
    }

    /// XXH64 of the generated ids, each as 4 little-endian bytes.
    pub fn tokens(&self) -> u64 {
        self.tokens.finish()
    }

    /// XXH64 of all logits of all steps, each as 4 little-endian bytes.
    pub fn logits(&self) -> u64 {
        self.logits.finish()
    }
}

impl Receipt {
    /// The metadata that stands for this receipt in a file.
    pub fn to_meta(&self) -> Meta {
        let mut meta = Meta::new();
        let text = |text: &str| Value::Str(text.to_string());
        if let Some(producer) = &self.producer {
            meta.set("producer", text(producer));
        }
        for (index, source) in self.sources.iter().enumerate() {
            meta.set(&format!("source.{index:03}.name"), text(&source.name));
            meta.set(&format!("source.{index:03}.bytes"), Value::U64(source.bytes));
            meta.set(&format!("source.{index:03}.hash"), Value::U64(source.hash));
        }
        if let Some(training) = &self.training {
            meta.set("training.steps", Value::U64(training.steps));
            meta.set("training.tokens", Value::U64(training.tokens));
            meta.set("training.optimizer", text(&training.optimizer));
            meta.set("training.seed", Value::U64(training.seed));
        }
        if let Some(origin) = &self.origin {
            meta.set("origin.name", text(&origin.name));
            meta.set("origin.hash", Value::U64(origin.hash));
        }
        if let Some(held_out) = &self.held_out {
            meta.set("held_out.name", text(&held_out.name));
            meta.set("held_out.tokens", Value::U64(held_out.tokens));
            meta.set("held_out.float_loss", Value::F64(held_out.float_loss));
            meta.set("held_out.file_loss", Value::F64(held_out.file_loss));
        }
        for (index, golden) in self.golden.iter().enumerate() {
            let prompt = golden.prompt.iter().map(|&id| id.into()).collect();
            meta.set(&format!("golden.{index:03}.prompt"), Value::U64s(prompt));
            meta.set(&format!("golden.{index:03}.n_tokens"), Value::U64(golden.n_tokens));
            meta.set(&format!("golden.{index:03}.tokens_hash"), Value::U64(golden.tokens_hash));
            meta.set(&format!("golden.{index:03}.logits_hash"), Value::U64(golden.logits_hash));
        }
        meta
    }

    /// The receipt that metadata stands for. Keys that this version does not know are passed over: a receipt
    /// tells, it changes nothing.
    ///
    /// # Errors
    /// A known key of another type, or a group of keys with one missing.
    pub fn from_meta(meta: &Meta) -> Result<Receipt, MetaError> {
        Ok(Receipt {
            producer: meta.str("producer")?.map(memory::text).transpose()?,
            sources: listed(meta, "source", "name", |key| read_source(meta, key))?,
            training: group(meta, "training.steps", || read_training(meta))?,
            origin: group(meta, "origin.name", || read_origin(meta))?,
            held_out: group(meta, "held_out.name", || read_held_out(meta))?,
            golden: listed(meta, "golden", "prompt", |key| read_golden(meta, key))?,
        })
    }
}

/// What `read` gives, if the group's first key is there.
fn group<T>(
    meta: &Meta,
    first_key: &str,
    read: impl Fn() -> Result<T, MetaError>,
) -> Result<Option<T>, MetaError> {
    meta.get(first_key).map(|_| read()).transpose()
}

/// What `read` gives for `list.000`, `list.001`, … as long as their first field is there.
fn listed<T>(
    meta: &Meta,
    list: &str,
    first_field: &str,
    read: impl Fn(&str) -> Result<T, MetaError>,
) -> Result<Vec<T>, MetaError> {
    let mut items = Vec::new();
    for index in 0..MAX_LISTED {
        let prefix = format!("{list}.{index:03}");
        if meta.get(&format!("{prefix}.{first_field}")).is_none() {
            break;
        }
        memory::push(&mut items, read(&prefix)?)?;
    }
    Ok(items)
}

fn read_source(meta: &Meta, prefix: &str) -> Result<Source, MetaError> {
    Ok(Source {
        name: memory::text(meta.str_required(&format!("{prefix}.name"))?)?,
        bytes: meta.u64_required(&format!("{prefix}.bytes"))?,
        hash: meta.u64_required(&format!("{prefix}.hash"))?,
    })
}

fn read_training(meta: &Meta) -> Result<Training, MetaError> {
    Ok(Training {
        steps: meta.u64_required("training.steps")?,
        tokens: meta.u64_required("training.tokens")?,
        optimizer: memory::text(meta.str_required("training.optimizer")?)?,
        seed: meta.u64_required("training.seed")?,
    })
}

fn read_origin(meta: &Meta) -> Result<Origin, MetaError> {
    Ok(Origin {
        name: memory::text(meta.str_required("origin.name")?)?,
        hash: meta.u64_required("origin.hash")?,
    })
}

fn read_held_out(meta: &Meta) -> Result<HeldOut, MetaError> {
    Ok(HeldOut {
        name: memory::text(meta.str_required("held_out.name")?)?,
        tokens: meta.u64_required("held_out.tokens")?,
        float_loss: meta.f64_required("held_out.float_loss")?,
        file_loss: meta.f64_required("held_out.file_loss")?,
    })
}

fn read_golden(meta: &Meta, prefix: &str) -> Result<Golden, MetaError> {
    let key = format!("{prefix}.prompt");
    let to_id = |&id: &u64| {
        u32::try_from(id).map_err(|_| MetaError::BadValue {
            key: key.clone(),
            found: id.to_string(),
            expected: "token ids below 2^32".into(),
        })
    };
    let ids = meta.u64s_required(&key)?;
    let mut prompt = memory::with_capacity(ids.len())?;
    for id in ids {
        prompt.push(to_id(id)?);
    }
    Ok(Golden {
        prompt,
        n_tokens: meta.u64_required(&format!("{prefix}.n_tokens"))?,
        tokens_hash: meta.u64_required(&format!("{prefix}.tokens_hash"))?,
        logits_hash: meta.u64_required(&format!("{prefix}.logits_hash"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> Receipt {
        Receipt {
            producer: Some("siskin-train 0.1.0".into()),
            sources: (0..3)
                .map(|i| Source { name: format!("part{i}.txt"), bytes: 1000 + i, hash: u64::MAX - i })
                .collect(),
            training: Some(Training { steps: 500, tokens: 1 << 20, optimizer: "adamw".into(), seed: 7 }),
            origin: Some(Origin { name: "step-500".into(), hash: 3 }),
            held_out: Some(HeldOut {
                name: "last tenth".into(),
                tokens: 4096,
                float_loss: 1.5,
                file_loss: 1.51,
            }),
            golden: vec![Golden { prompt: vec![1, 2], n_tokens: 8, tokens_hash: 5, logits_hash: 6 }],
        }
    }

    #[test]
    fn receipts_round_trip() {
        for receipt in [receipt(), Receipt::default()] {
            let bytes = receipt.to_meta().to_bytes();
            assert_eq!(Receipt::from_meta(&Meta::from_bytes(&bytes).unwrap()).unwrap(), receipt);
        }
    }

    #[test]
    fn unknown_keys_are_passed_over_and_wrong_types_are_not() {
        let mut meta = receipt().to_meta();
        meta.set("weather", Value::Str("fine".into()));
        assert_eq!(Receipt::from_meta(&meta).unwrap(), receipt());
        meta.set("training.seed", Value::Str("seven".into()));
        let message = Receipt::from_meta(&meta).unwrap_err().to_string();
        assert_eq!(message, r#""training.seed" is string, expected u64"#);
        let mut meta = Meta::new();
        meta.set("origin.name", Value::Str("x".into()));
        assert!(matches!(Receipt::from_meta(&meta), Err(MetaError::MissingKey { .. })));
        let mut meta = receipt().to_meta();
        meta.set("golden.000.prompt", Value::U64s(vec![1 << 32]));
        assert!(matches!(Receipt::from_meta(&meta), Err(MetaError::BadValue { .. })));
    }

    #[test]
    fn golden_hashes_are_those_of_the_bytes() {
        let mut hash = GoldenHash::new();
        hash.push(1, &[1.0, -2.0]);
        hash.push(0, &[0.5, 0.0]);
        assert_eq!(hash.tokens(), crate::xxh64::xxh64(&[1, 0, 0, 0, 0, 0, 0, 0]));
        let bits: Vec<u8> = [1.0f32, -2.0, 0.5, 0.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(hash.logits(), crate::xxh64::xxh64(&bits));
    }
}
