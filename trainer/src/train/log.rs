//! `log.jsonl` in the run folder: one JSON object a line, for plots and for later reports.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};

/// A line of the log.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Line<'a> {
    /// An update.
    Step {
        /// Updates so far.
        step: u64,
        /// Mean loss of the batch, nats per token.
        loss: f64,
        /// Learning rate of this update.
        lr: f32,
        /// Norm of the gradient before clipping.
        grad_norm: f32,
    },
    /// An evaluation on the validation part.
    Eval {
        /// Updates so far.
        step: u64,
        /// Loss, nats per token.
        val_loss: f64,
        /// Tokens measured.
        tokens: u64,
    },
    /// A sample.
    Sample {
        /// Updates so far.
        step: u64,
        /// What the model said.
        text: &'a str,
    },
    /// Anything else worth keeping.
    Note {
        /// Updates so far.
        step: u64,
        /// One line.
        text: &'a str,
    },
}

/// Appends to a run's log. A log that cannot be written is reported once and does not stop the training.
pub struct Log {
    file: File,
    failed: bool,
}

impl Log {
    /// Opens or creates `log.jsonl` in `run`.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(run: &Path) -> Result<Self> {
        let path = run.join("log.jsonl");
        let file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("open", &path))?;
        Ok(Log { file, failed: false })
    }

    /// Appends one line.
    pub fn write(&mut self, line: &Line<'_>) {
        let mut text = serde_json::to_string(line).expect("plain data");
        text.push('\n');
        if let Err(error) = self.file.write_all(text.as_bytes())
            && !std::mem::replace(&mut self.failed, true)
        {
            eprintln!("warning: cannot write log.jsonl ({error}); training goes on");
        }
    }
}
