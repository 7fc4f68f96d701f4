//! `outcome.jsonl` in the run folder: what a run came to, one JSON object a line.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use siskin_format::DType;

use crate::error::{Error, Result};
use crate::export::Exported;

/// Name of the file in a run folder.
const FILE: &str = "outcome.jsonl";

/// Something that a run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Outcome {
    /// A sitting of training ended.
    Trained {
        /// Updates so far.
        step: u64,
        /// Time of this sitting, from the start of the program.
        seconds: f64,
        /// Tokens per second of it.
        tokens_per_second: f64,
    },
    /// A file was exported and measured by the runtime.
    Exported {
        /// Its path, as it was given.
        file: String,
        /// Weights.
        dtype: String,
        /// Its size.
        bytes: u64,
        /// Held-out tokens that were measured.
        tokens: Option<u64>,
        /// Loss of the float weights on them, nats per token, by the runtime.
        float_loss: Option<f64>,
        /// Loss of the file on them, nats per token, by the runtime.
        file_loss: Option<f64>,
    },
}

impl Outcome {
    /// The file at `path` was exported.
    pub fn exported(path: &Path, dtype: DType, exported: &Exported) -> Self {
        let held_out = exported.held_out.as_ref();
        Outcome::Exported {
            file: path.display().to_string(),
            dtype: dtype.to_string(),
            bytes: exported.bytes,
            tokens: held_out.map(|h| h.tokens),
            float_loss: held_out.map(|h| h.float_loss),
            file_loss: held_out.map(|h| h.file_loss),
        }
    }
}

/// Appends an outcome to those of the run in `dir`.
///
/// # Errors
/// The file cannot be written.
pub fn append(dir: &Path, outcome: &Outcome) -> Result<()> {
    let path = dir.join(FILE);
    let line = format!("{}\n", serde_json::to_string(outcome).expect("plain data"));
    let mut file =
        OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("open", &path))?;
    file.write_all(line.as_bytes()).map_err(Error::io("write", &path))
}

/// What the run in `dir` came to, in order. Lines that cannot be read are left out.
///
/// # Errors
/// The file is there and cannot be read.
pub fn read(dir: &Path) -> Result<Vec<Outcome>> {
    let text = super::history::text_of(&dir.join(FILE))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}
