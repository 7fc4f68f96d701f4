//! `log.jsonl` and `observations.jsonl` in the run folder: one JSON object a line, for plots and for later reports.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::checkpoint::write_atomic;
use crate::error::{Error, Result};
use crate::observe::record::{self, Record};

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
        /// Loss on each text of a mixture.
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        by_text: &'a [f64],
    },
    /// A sample.
    Sample {
        /// Updates so far.
        step: u64,
        /// What the model said.
        text: &'a str,
    },
    /// A beginning of a run with restarts.
    Restart {
        /// Updates of the run when it was chosen.
        step: u64,
        /// Its seed.
        seed: u64,
        /// Its validation loss, nats per token; none if it diverged.
        val_loss: f64,
        /// Its updates.
        updates: u64,
        /// The run goes on from it.
        chosen: bool,
    },
    /// Anything else worth keeping.
    Note {
        /// Updates so far.
        step: u64,
        /// One line.
        text: &'a str,
    },
}

/// Name of the log in a run folder.
pub const FILE: &str = "log.jsonl";

/// Appends to a run's log and observations. A file that cannot be written is a complaint, once, and does not stop the training.
pub struct Log {
    lines: Lines,
    observations: Lines,
}

impl Log {
    /// Opens or creates both files in `run`, for a run that goes on after `step` updates: lines of later ones, which a
    /// killed trainer left, are taken back.
    ///
    /// # Errors
    /// A file cannot be opened or rewritten.
    pub fn open(run: &Path, step: u64) -> Result<Self> {
        let open = |name| Lines::open(run, name, step);
        Ok(Log { lines: open(FILE)?, observations: open(record::FILE)? })
    }

    /// Appends a line to the log.
    pub fn write(&mut self, line: &Line<'_>) {
        self.lines.write(line);
    }

    /// Appends a record to the observations.
    pub fn observe(&mut self, record: &Record) {
        self.observations.write(record);
    }

    /// What a person should hear of and has not yet.
    pub fn complaint(&mut self) -> Option<String> {
        self.lines.complaint.take().or_else(|| self.observations.complaint.take())
    }
}

/// A file of JSON lines, each of which names its step.
struct Lines {
    file: File,
    name: &'static str,
    failed: bool,
    complaint: Option<String>,
    /// The last line may end in its middle.
    torn: bool,
}

impl Lines {
    fn open(run: &Path, name: &'static str, step: u64) -> Result<Self> {
        let path = run.join(name);
        if let Ok(old) = std::fs::read_to_string(&path) {
            let kept: String =
                old.lines().filter(|line| is_up_to(line, step)).flat_map(|l| [l, "\n"]).collect();
            if kept.len() != old.len() {
                write_atomic(&path, kept.as_bytes())?;
            }
        }
        let file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("open", &path))?;
        Ok(Lines { file, name, failed: false, complaint: None, torn: false })
    }

    fn write(&mut self, line: &impl Serialize) {
        let begin = if self.torn { "\n" } else { "" };
        let text = format!("{begin}{}\n", serde_json::to_string(line).expect("plain data"));
        let written = self.file.write_all(text.as_bytes());
        self.torn = written.is_err();
        if let Err(error) = written
            && !std::mem::replace(&mut self.failed, true)
        {
            self.complaint = Some(format!("cannot write {} ({error}); training goes on", self.name));
        }
    }
}

/// Whether a line is whole and of the first `step` updates.
fn is_up_to(line: &str, step: u64) -> bool {
    let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
    value.and_then(|v| v.get("step")?.as_u64()).is_some_and(|s| s <= step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_after_the_checkpoint_and_torn_ones_are_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path(), 0).unwrap();
        for step in 1..=4 {
            log.write(&Line::Eval { step, val_loss: 1.5, tokens: 10, by_text: &[] });
        }
        drop(log);
        let path = dir.path().join("log.jsonl");
        let mut torn = std::fs::read_to_string(&path).unwrap();
        torn.push_str("{\"event\":\"st");
        std::fs::write(&path, torn).unwrap();
        Log::open(dir.path(), 2).unwrap().write(&Line::Note { step: 3, text: "again" });
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(text.ends_with("\"text\":\"again\"}\n"), "{text}");
    }
}
