//! A run's model as it is exported, opened to be looked at: nothing is locked, a trainer may be at work in the folder.

use std::path::{Path, PathBuf};

use siskin_format::Vocab;

use super::run::{Meta, exported_store, texts_of, trainer_config, vocab_of};
use super::trainer::TrainerConfig;
use crate::checkpoint::Checkpoint;
use crate::data::Tokens;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::params::ParamStore;

/// A trained model with the weights that an export takes: averaged or best where the run says so, in f32.
pub struct TrainedRun {
    /// The folder.
    pub path: PathBuf,
    /// What the checkpoint says of the run.
    pub meta: Meta,
    /// Its tokenizer.
    pub vocab: Vocab,
    /// How it was trained.
    pub config: TrainerConfig,
    /// The model.
    pub model: Model<f32>,
    /// Its weights and running statistics.
    pub store: ParamStore<f32>,
}

impl TrainedRun {
    /// Opens the newest valid checkpoint of the run in `run`.
    ///
    /// # Errors
    /// No run there, or a damaged one.
    pub fn open(run: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::load_latest(run)?.checkpoint;
        let meta: Meta = checkpoint.meta()?;
        let vocab = vocab_of(&checkpoint)?;
        let config = trainer_config(&meta.settings, vocab.len())?;
        let store = exported_store(&meta, &config.model, &checkpoint)?;
        let model = Model::new(&config.model)?;
        Ok(TrainedRun { path: run.to_path_buf(), meta, vocab, config, model, store })
    }

    /// Checks that the model goes on with a text, which is all that `what` can look at.
    ///
    /// # Errors
    /// An encoder-decoder.
    pub fn must_read_text(&self, what: &str) -> Result<()> {
        if !self.config.model.has_encoder() {
            return Ok(());
        }
        let path = self.path.display();
        Err(Error::Run(format!(
            "{path} is an encoder-decoder, but {what} looks at models that go on with a text; `siskin-train eval {path}` measures it"
        )))
    }

    /// The folder's name.
    pub fn name(&self) -> String {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        path.file_name().map_or_else(|| self.path.display().to_string(), |n| n.to_string_lossy().into_owned())
    }

    /// Checks that another run's weights mean the same.
    ///
    /// # Errors
    /// Models of different shapes, or different vocabularies.
    pub fn must_match(&self, other: &TrainedRun) -> Result<()> {
        let what = if self.config.model != other.config.model {
            "are of different shapes"
        } else if self.vocab.to_bytes() != other.vocab.to_bytes() {
            "have different vocabularies"
        } else {
            return Ok(());
        };
        let (a, b) = (self.path.display(), other.path.display());
        Err(Error::Run(format!(
            "the models of {a} and {b} {what}: only models of one shape, trained on one text, lie in one weight space"
        )))
    }

    /// The even mean of the weights of several runs, in f64 and then rounded (a "model soup": Wortsman et al. 2022).
    ///
    /// # Errors
    /// Models that do not match, or with batch norms, whose running statistics would be those of neither.
    ///
    /// # Panics
    /// Without any run.
    pub fn mean(runs: &[TrainedRun]) -> Result<Vec<f32>> {
        let [first, others @ ..] = runs else { panic!("runs to average") };
        others.iter().try_for_each(|other| first.must_match(other))?;
        if !first.store.buffers.is_empty() {
            let line = "models with batch norms cannot be averaged after training: train with --swa, which collects their statistics anew";
            return Err(Error::Run(line.into()));
        }
        let n = runs.len() as f64;
        let mean = |i: usize| (runs.iter().map(|run| f64::from(run.store.values[i])).sum::<f64>() / n) as f32;
        Ok((0..first.store.values.len()).map(mean).collect())
    }

    /// The first `most` tokens of the held-out part of its texts.
    ///
    /// # Errors
    /// A text that is gone or has changed.
    pub fn held_out(&self, most: u64) -> Result<Tokens> {
        texts_of(&self.meta, false)?.held_out(&self.vocab, most)
    }
}
