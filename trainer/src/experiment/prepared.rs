//! Texts that are tokenized once, for any number of trainers.

use std::path::{Path, PathBuf};

use siskin_format::Vocab;

use crate::data::{Dataset, Text};
use crate::error::{Error, Result};
use crate::progress::thousands;
use crate::settings::model::model_config;
use crate::settings::presets::{TextFacts, fill};
use crate::settings::{Settings, TOKENIZERS, choice};
use crate::tokenizer::{self, Kind};
use crate::train::run::{absolute, cores, dataset, split, trainer_config};
use crate::train::trainer::Trainer;

/// A tokenized text with its vocabulary.
pub struct Prepared {
    /// The tokenizer.
    pub vocab: Vocab,
    /// Both parts of the text.
    pub data: Dataset,
    /// File names, for titles.
    pub name: String,
    /// The texts, absolute.
    pub texts: Vec<PathBuf>,
    /// Hash of all of them.
    pub text_hash: u64,
    /// The folder of the token cache, removed with this.
    _scratch: tempfile::TempDir,
}

impl Prepared {
    /// Reads and tokenizes `texts` as `settings`, [filled](fill), say. The token cache lies in a temporary folder.
    ///
    /// # Errors
    /// Texts that cannot be read or tokenized, or no temporary folder.
    pub fn new(texts: &[PathBuf], settings: &Settings) -> Result<Self> {
        let text = Text::open(texts)?;
        let scan = text.scan()?;
        let kind = choice("tokenizer", settings.tokenizer.as_deref().unwrap_or("auto"), TOKENIZERS)?;
        let kind = Kind::parse(kind).expect("the spellings of the settings are those of the kinds");
        let split = split(&text, settings)?;
        let vocab = tokenizer::train(&text, &scan, split.train, kind, settings.vocab_size)?;
        let scratch = tempfile::Builder::new()
            .prefix("siskin-")
            .tempdir()
            .map_err(Error::io("create a temporary folder in", &std::env::temp_dir()))?;
        let data = dataset(&text, &scan, settings, &vocab, scratch.path())?;
        let (name, text_hash) = (title(texts), scan.hash);
        let texts = texts.iter().map(|t| absolute(t)).collect::<Result<Vec<_>>>()?;
        Ok(Prepared { vocab, data, name, texts, text_hash, _scratch: scratch })
    }

    /// A trainer at its initialisation.
    ///
    /// # Errors
    /// Settings that cannot work, or too little text for them.
    pub fn trainer(&self, settings: &Settings) -> Result<Trainer> {
        let config = trainer_config(settings, self.vocab.len())?;
        Trainer::new(config, self.data.train.clone(), self.data.val.clone())
    }

    /// What was read, in a line.
    pub fn describe(&self) -> String {
        format!(
            "{}: {} tokens to train on, {} held out; vocabulary {}",
            self.name,
            thousands(self.data.train.len() as f64),
            thousands(self.data.val.len() as f64),
            self.vocab.len(),
        )
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
