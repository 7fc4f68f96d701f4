//! The beginning of a text: enough to plan by.

use std::path::PathBuf;

use siskin_format::Vocab;

use crate::data::Tokens;
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::settings::presets::{TextFacts, fill};
use crate::train::corpus::Scanned;

/// Most tokens of each part.
const MOST: u64 = 1 << 20;

/// The beginning of a text, as a run with the settings `said` would tokenize it.
pub struct Excerpt {
    /// Of the part to train on.
    pub train: Tokens,
    /// Of the part held out.
    pub val: Tokens,
    /// Tokens of the whole part to train on; estimated by the excerpt's where that is not all.
    pub unique: f64,
    /// The tokenizer, of the whole text.
    pub vocab: Vocab,
}

impl Excerpt {
    /// Reads and tokenizes the beginning of `texts`.
    ///
    /// # Errors
    /// Texts that cannot be read or are too short, settings that cannot work; pairs, which are not planned for.
    pub fn of(said: &Settings, texts: &[PathBuf]) -> Result<Self> {
        let settings = fill(said, &TextFacts { threads: 1 })?;
        if crate::settings::model::is_seq2seq(&settings) {
            let problem =
                "is seq2seq, whose loss depends on the pairs: a plan is made for models of one text".into();
            return Err(Error::Setting { key: "model", problem });
        }
        let scanned = Scanned::new(texts, &settings, false)?;
        let vocab = scanned.vocab(&settings)?;
        let (train, val) = (scanned.trained_on(&vocab, MOST)?, scanned.held_out(&vocab, MOST)?);
        let mut ids = vec![0; train.len() as usize];
        train.read(0, &mut ids)?;
        let bytes: usize = ids.iter().map(|&id| vocab.token(id).map_or(0, <[u8]>::len)).sum();
        let unique = ids.len() as f64 * scanned.training_bytes() as f64 / bytes.max(1) as f64;
        Ok(Excerpt { train, val, unique, vocab })
    }
}
