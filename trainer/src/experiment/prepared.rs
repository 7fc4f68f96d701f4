//! Texts that are tokenized once, for any number of trainers.

use std::path::{Path, PathBuf};

use siskin_format::Vocab;

use crate::error::{Error, Result};
use crate::progress::thousands;
use crate::settings::Settings;
use crate::settings::model::model_config;
use crate::settings::presets::{TextFacts, fill};
use crate::train::corpus::{Corpus, Scanned};
use crate::train::run::{absolute, cores, trainer_config};
use crate::train::trainer::Trainer;

/// A tokenized text with its vocabulary.
pub struct Prepared {
    /// The tokenizer.
    pub vocab: Vocab,
    /// The texts.
    pub corpus: Corpus,
    /// File names, for titles.
    pub name: String,
    /// The texts, absolute.
    pub texts: Vec<PathBuf>,
    /// The folder of the token cache, removed with this.
    _scratch: tempfile::TempDir,
}

impl Prepared {
    /// Reads and tokenizes `texts` as `settings`, [filled](fill), say. The token cache lies in a temporary folder.
    ///
    /// # Errors
    /// Texts that cannot be read or tokenized, or no temporary folder.
    pub fn new(texts: &[PathBuf], settings: &Settings) -> Result<Self> {
        let scanned = Scanned::new(texts, settings, false)?;
        let vocab = scanned.vocab(settings)?;
        let scratch = tempfile::Builder::new()
            .prefix("siskin-")
            .tempdir()
            .map_err(Error::io("create a temporary folder in", &std::env::temp_dir()))?;
        let corpus = scanned.tokenized(&vocab, settings, scratch.path(), None, false)?;
        let name = title(texts);
        let texts = texts.iter().map(|t| absolute(t)).collect::<Result<Vec<_>>>()?;
        Ok(Prepared { vocab, corpus, name, texts, _scratch: scratch })
    }

    /// A trainer at its initialisation.
    ///
    /// # Errors
    /// Settings that cannot work, or too little text for them.
    pub fn trainer(&self, settings: &Settings) -> Result<Trainer> {
        let config = trainer_config(settings, self.vocab.len())?;
        Trainer::mixed(config, self.corpus.texts.clone())
    }

    /// What was read, in a line.
    pub fn describe(&self) -> String {
        let (train, val) = self.corpus.n_tokens();
        let [train, val] = [train, val].map(|n| thousands(n as f64));
        let (name, vocab) = (&self.name, self.vocab.len());
        format!("{name}: {train} tokens to train on, {val} held out; vocabulary {vocab}")
    }
}

/// `said` with every default, refused where it cannot work: before any text is read.
///
/// # Errors
/// Settings that cannot work.
pub fn filled(said: &Settings) -> Result<Settings> {
    let settings = fill(said, &TextFacts { threads: said.threads.unwrap_or_else(cores) })?;
    model_config(&settings, 256)?;
    trainer_config(&settings, 256)?;
    Ok(settings)
}

fn title(texts: &[PathBuf]) -> String {
    let name = |p: &Path| p.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    match texts {
        [] => String::new(),
        [one] => name(one),
        [first, rest @ ..] => format!("{} and {} more", name(first), rest.len()),
    }
}
