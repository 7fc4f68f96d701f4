//! One page per run: what was trained on what, how the loss went, what went on inside, what was exported and at what loss.
//!
//! The page is one HTML file that asks nothing of a network: pictures are inline SVG, there is no script, and its content security
//! policy forbids both. It is written from the run folder alone, so that it can be written anew at any time.

mod figures;
pub(crate) mod history;
pub mod outcome;
mod page;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use siskin_format::{TensorSpec, schema};

use crate::checkpoint::{Checkpoint, write_atomic};
use crate::doctor::{Case, Finding, diagnose};
use crate::error::Result;
use crate::observe::record::{self, Record};
use crate::train::run::{Meta, trainer_config, vocab_of};
use history::History;
use outcome::Outcome;
pub(crate) use page::document;

/// Name of the page in a run folder.
pub const FILE: &str = "report.html";

/// All that a page tells of a run.
struct Story {
    name: String,
    /// Name and value, one line of the first table each.
    facts: Vec<(String, String)>,
    settings: Vec<(String, String)>,
    steps: u64,
    total: u64,
    history: History,
    records: Vec<Record>,
    outcomes: Vec<Outcome>,
    findings: Vec<Finding>,
}

/// Writes the page of the run in `run` at `out`, or at `report.html` in its folder; gives its path.
///
/// # Errors
/// A folder without a checkpoint, files of it that cannot be read, a page that cannot be written.
pub fn write(run: &Path, out: Option<&Path>) -> Result<PathBuf> {
    let path = out.map_or_else(|| run.join(FILE), Path::to_path_buf);
    let page = page::page(&read(run)?);
    write_atomic(&path, page.as_bytes())?;
    Ok(path)
}

/// Writes each figure of the page of the run in `run` as a picture of its own, `loss.svg` and so on, in the folder `out`; gives their
/// paths.
///
/// # Errors
/// As [`write()`].
pub fn write_figures(run: &Path, out: &Path) -> Result<Vec<PathBuf>> {
    let story = read(run)?;
    let save = |figure: &figures::Figure<'_>| {
        let path = out.join(format!("{}.svg", figure.name));
        crate::plot::save(&path, &figure.svg()).map(|()| path)
    };
    figures::all(&story).iter().map(save).collect()
}

fn read(run: &Path) -> Result<Story> {
    let checkpoint = Checkpoint::load_latest(run)?.checkpoint;
    let meta: Meta = checkpoint.meta()?;
    let vocab_size = vocab_of(&checkpoint)?.len();
    let config = trainer_config(&meta.settings, vocab_size)?;
    let n_params: usize = schema(&config.model).iter().map(TensorSpec::len).sum();
    let name = std::path::absolute(run).unwrap_or_else(|_| run.to_path_buf());
    let name =
        name.file_name().map_or_else(|| run.display().to_string(), |n| n.to_string_lossy().into_owned());
    let said =
        |value: &Option<String>, otherwise: &str| value.clone().unwrap_or_else(|| otherwise.to_string());
    let texts: Vec<String> =
        meta.texts.iter().filter_map(|t| Some(t.file_name()?.to_string_lossy().into_owned())).collect();
    let count = |n: f64| crate::progress::thousands(n);
    let facts = [
        ("Text", texts.join(", ")),
        (
            "Vocabulary",
            format!("{} tokens ({})", count(vocab_size as f64), said(&meta.settings.tokenizer, "auto")),
        ),
        ("Model", format!("{}, {} blocks", said(&meta.settings.model, "custom"), config.model.n_layers())),
        ("Parameters", count(n_params as f64)),
        ("Window", format!("{} tokens", count(config.seq_len as f64))),
        ("Descent", config.descent.describe()),
        ("Seed", config.seed.to_string()),
        ("Updates", format!("{} of {}", count(meta.trainer.step as f64), count(meta.total as f64))),
        ("Tokens seen", count(meta.trainer.tokens_seen as f64)),
    ];
    Ok(Story {
        name,
        facts: facts.map(|(k, v)| (k.to_string(), v)).to_vec(),
        settings: settings(&meta),
        steps: meta.trainer.step,
        total: meta.total,
        history: History::read(run)?,
        records: record::read(run)?,
        outcomes: outcome::read(run)?,
        findings: diagnose(&Case::read(run)?),
    })
}

/// Every setting that has a value.
fn settings(meta: &Meta) -> Vec<(String, String)> {
    let value = serde_json::to_value(&meta.settings).unwrap_or_default();
    let shown = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let all = value.as_object().into_iter().flatten();
    all.filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), shown(v))).collect()
}
