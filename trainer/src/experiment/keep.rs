//! Trainings of an experiment that are kept as run folders: `eval`, `sample`, `export`, `resume` and `report` take them.

use std::path::{Path, PathBuf};

use super::prepared::Prepared;
use super::trial::{Observer, Point};
use crate::checkpoint::RunDir;
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::train::log::{Line, Log};
use crate::train::run::{Meta, checkpoint_of};
use crate::train::trainer::{StepReport, Trainer};

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
        if dir.load_latest()?.is_some() {
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

    fn evaluated(&mut self, at: &Point, tokens: u64) {
        if at.step > 0 {
            self.log.write(&Line::Eval { step: at.step, val_loss: at.loss, tokens, by_text: &[] });
        }
    }
}
