//! Trainings of an experiment that are kept as run folders: `eval`, `sample`, `export`, `resume` and `report` take them.

use std::path::{Path, PathBuf};

use super::prepared::Prepared;
use super::trial::{Observer, Point};
use crate::checkpoint::RunDir;
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::train::log::{Line, Log};
use crate::train::run::{Meta, checkpoint_of, holds_run};
use crate::train::trainer::{Evaluation, StepReport, Trainer};

/// A run folder while its training goes on.
pub struct Kept {
    dir: RunDir,
    log: Log,
}

impl Kept {
    /// A folder for a training in `dir`.
    ///
    /// # Errors
    /// It holds a run already, or cannot be made.
    pub fn new(dir: &Path) -> Result<Self> {
        let dir = RunDir::lock(dir)?;
        if holds_run(&dir)? {
            let path = dir.path().display();
            return Err(Error::Run(format!("{path} holds a run already: name another folder by --out")));
        }
        let log = Log::open(dir.path(), 0)?;
        Ok(Kept { dir, log })
    }

    /// Saves the training as a checkpoint of a run of `total` updates that can be resumed.
    ///
    /// # Errors
    /// [`Error::Diverged`] for numbers that are not finite; a full disk, say.
    pub fn save(
        &self,
        data: &Prepared,
        settings: &Settings,
        total: u64,
        export: PathBuf,
        trainer: &Trainer,
    ) -> Result<PathBuf> {
        if let Some(what) = trainer.damage() {
            return Err(Error::Diverged(format!(
                "the state after step {} is not saved: {what}",
                trainer.steps()
            )));
        }
        let meta = Meta {
            settings: settings.clone(),
            texts: data.texts.clone(),
            text_hash: data.corpus.hash,
            export,
            total,
            export_best: false,
            trainer: trainer.state().0,
        };
        self.dir.save(trainer.steps(), &checkpoint_of(trainer, &data.vocab, &meta)?)
    }
}

impl Observer for Kept {
    fn step(&mut self, report: &StepReport) {
        let (step, update) = (report.step, &report.update);
        self.log.write(&Line::Step { step, loss: report.loss, lr: update.lr, grad_norm: update.grad_norm });
        if let Some(text) = &update.note {
            self.log.write(&Line::Note { step, text });
        }
    }

    fn evaluated(&mut self, at: &Point, found: &Evaluation) {
        if at.step > 0 {
            let (tokens, by_text) = (found.counted, &found.by_text[..]);
            self.log.write(&Line::Eval { step: at.step, val_loss: at.loss, tokens, by_text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::run::Run;

    #[test]
    fn a_run_among_its_beginnings_is_a_run() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Kept::new(&dir.path().join("free")).is_ok());
        let said = Settings {
            steps: Some(20),
            restarts: Some(2),
            n_layers: Some(1),
            d_model: Some(8),
            n_heads: Some(1),
            context: Some(8),
            threads: Some(1),
            ..Default::default()
        };
        let (text, folder) = (dir.path().join("song.txt"), dir.path().join("run"));
        std::fs::write(&text, "la li lo\n".repeat(99)).unwrap();
        drop(Run::start(&said, &[text], &folder, Path::new("m.siskin"), &|_| ()).unwrap());
        assert!(Kept::new(&folder).err().unwrap().to_string().contains("holds a run already"));
    }
}
