//! What `log.jsonl` tells of a run.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::train::log;

/// The lines of a log, by kind.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) updates: Vec<Update>,
    /// Updates so far and loss on the validation part.
    pub(crate) evals: Vec<(f64, f64)>,
    /// Updates so far and what the model said.
    pub(crate) samples: Vec<(u64, String)>,
    /// Seed, validation loss (NaN if it diverged), updates of each beginning, and whether the run went on from it.
    pub(crate) restarts: Vec<(u64, f64, u64, bool)>,
    /// Updates so far and what was worth a note.
    pub(crate) notes: Vec<(u64, String)>,
}

/// One update; numbers that were not finite are NaN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update {
    pub(crate) step: f64,
    pub(crate) loss: f64,
    pub(crate) lr: f64,
    pub(crate) grad_norm: f64,
}

impl History {
    /// Reads the log of the run in `dir`; lines that are torn or of a kind not known are left out.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let text = text_of(&dir.join(log::FILE))?;
        let mut history = History::default();
        for line in text.lines() {
            if let Ok(value) = serde_json::from_str(line) {
                history.take(&value);
            }
        }
        Ok(history)
    }

    fn take(&mut self, line: &Value) {
        let number = |key: &str| line[key].as_f64().unwrap_or(f64::NAN);
        let text = || line["text"].as_str().unwrap_or_default().to_string();
        let Some(step) = line["step"].as_u64() else { return };
        match line["event"].as_str() {
            Some("step") => self.updates.push(Update {
                step: step as f64,
                loss: number("loss"),
                lr: number("lr"),
                grad_norm: number("grad_norm"),
            }),
            Some("eval") => self.evals.push((step as f64, number("val_loss"))),
            Some("sample") => self.samples.push((step, text())),
            Some("restart") => self.restarts.push((
                line["seed"].as_u64().unwrap_or_default(),
                number("val_loss"),
                line["updates"].as_u64().unwrap_or_default(),
                line["chosen"].as_bool().unwrap_or_default(),
            )),
            Some("note") => self.notes.push((step, text())),
            _ => {}
        }
    }

    /// The training loss, smoothed over about a fiftieth of the run, forwards and backwards, so that it neither leads nor lags.
    pub(crate) fn smoothed(&self) -> Vec<(f64, f64)> {
        let keep = 1.0 - 1.0 / (self.updates.len() as f64 / 50.0).max(1.0);
        let finite: Vec<Update> = self.updates.iter().copied().filter(|u| u.loss.is_finite()).collect();
        let smooth = |losses: &mut dyn Iterator<Item = f64>| -> Vec<f64> {
            let (mut sum, mut weight) = (0.0, 0.0);
            let mean = |loss| {
                (sum, weight) = (keep * sum + loss, keep * weight + 1.0);
                sum / weight
            };
            losses.map(mean).collect()
        };
        let forwards = smooth(&mut finite.iter().map(|u| u.loss));
        let backwards = smooth(&mut finite.iter().rev().map(|u| u.loss));
        let pairs = forwards.iter().zip(backwards.iter().rev());
        finite.iter().zip(pairs).map(|(u, (a, b))| (u.step, (a + b) / 2.0)).collect()
    }

    /// The best evaluation.
    pub(crate) fn best(&self) -> Option<(f64, f64)> {
        self.evals.iter().copied().filter(|e| e.1.is_finite()).min_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// The text of a file; empty when there is none.
pub(crate) fn text_of(path: &Path) -> Result<String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}
