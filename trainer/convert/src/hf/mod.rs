//! Folders in the form of Hugging Face's transformers: `config.json`, safetensors, `tokenizer.json`.
//!
//! Every tensor of the checkpoint is accounted for: read, known to say nothing (and noted), or an error that names it, because a tensor
//! that nobody reads is a part of the model that nobody computes.

mod config;
mod export;
#[cfg(test)]
mod fuzz;
mod keys;
mod names;
mod rope;
#[cfg(test)]
mod tests;
mod tokenizer_json;
#[cfg(test)]
mod tokenizer_tests;

pub(crate) use export::plan;
pub(crate) use tokenizer_json::texts as tokenizer_texts;

use siskin_format::ModelConfig;
use std::path::Path;

use crate::error::{Error, Result};
use crate::import::Import;
use crate::open::Options;
use crate::recipe::Cooked;
use crate::safetensors::Shards;
use crate::source::{Source, shown};
use crate::{recurrent, vocabulary};
use config::{Architecture, Description};

/// Opens a folder.
pub(crate) fn open(folder: &Path, options: &Options) -> Result<Import> {
    let path = folder.join("config.json");
    if !path.is_file() {
        if folder.join("model.toml").is_file() {
            return recurrent::open(&folder.join("model.safetensors"), options);
        }
        let found = "a folder without config.json".to_string();
        return Err(Error::UnknownSource { path: folder.to_path_buf(), found });
    }
    let source = Source::open(&path)?;
    let Description { architecture, config, special } = config::read(&source)?;
    let shards = Shards::in_folder(folder)?;
    let mut notes = Vec::new();
    let weights = weights(shards, &config, architecture, &mut notes)?;
    let tokenizer = folder.join("tokenizer.json");
    let vocab = vocabulary::of(&tokenizer, options, config.vocab_size, special, &mut notes)?;
    let origin = weights.shards().origin(name(folder));
    Ok(Import { config, vocab, origin, notes, weights: Box::new(weights) })
}

fn weights(
    shards: Shards,
    config: &ModelConfig,
    architecture: Architecture,
    notes: &mut Vec<String>,
) -> Result<Cooked> {
    let (prefix, embedding) = names::prefix(architecture);
    let is_bare = shards.get(&format!("{prefix}{embedding}")).is_none() && shards.get(embedding).is_some();
    let prefix = if is_bare { "" } else { prefix };
    let weights = Cooked::new(shards, names::recipes(config, architecture, prefix))?;
    let (harmless, mut unread): (Vec<&str>, Vec<&str>) =
        weights.unread().into_iter().partition(|name| names::is_harmless(name));
    if let Some(first) = harmless.first() {
        notes.push(format!(
            "{} tensors that the config says already were ignored, {} the first",
            harmless.len(),
            shown(first)
        ));
    }
    if config.tied_head && unread.contains(&"lm_head.weight") {
        unread.retain(|name| *name != "lm_head.weight");
        notes.push("lm_head.weight was ignored: the config ties the head to the embedding".to_string());
    }
    if let Some(first) = unread.first() {
        let others = match unread.len() - 1 {
            0 => String::new(),
            n => format!(", nor are {n} others"),
        };
        return Err(Error::Tensor {
            path: weights.shards().path().to_path_buf(),
            name: shown(first),
            problem: format!("is not part of {} with this config{others}", architecture.name()),
        });
    }
    Ok(weights)
}

/// The folder's own name.
fn name(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
