//! All that is known of a run when it is examined.

use std::path::Path;

use siskin_format::ModelConfig;
use siskin_format::schema::{Role, schema};

use crate::checkpoint::Checkpoint;
use crate::data::Tokens;
use crate::error::Result;
use crate::observe::record::{self, ActivationRecord, Record};
use crate::report::history::History;
use crate::settings::Settings;
use crate::train::run::{Meta, Run, texts_of, trainer_config, vocab_of};

/// Most tokens that are counted for the unigram level: its error is then far below a hundredth of a nat.
const COUNTED: u64 = 1 << 20;

/// A run under examination: its settings, its losses, the records of its inside.
#[derive(Debug)]
pub struct Case {
    pub(crate) settings: Settings,
    pub(crate) vocab_size: usize,
    /// Cross-entropy of guessing each token by its frequency, nats; NaN when the text is gone.
    pub(crate) unigram: f64,
    /// Name and rows of each weight matrix inside the blocks.
    pub(crate) matrices: Vec<(String, usize)>,
    /// Updates of the whole run.
    pub(crate) total: u64,
    pub(crate) history: History,
    pub(crate) records: Vec<Record>,
}

impl Case {
    /// Reads the run in `dir`. Its trainer may be at work meanwhile.
    ///
    /// # Errors
    /// A folder without a checkpoint, or files of it that cannot be read.
    pub fn read(dir: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::load_latest(dir)?.checkpoint;
        let meta: Meta = checkpoint.meta()?;
        let vocab = vocab_of(&checkpoint)?;
        let tokens = texts_of(&meta, false).and_then(|texts| texts.trained_on(&vocab, COUNTED));
        Ok(Case {
            unigram: tokens.map_or(Ok(f64::NAN), |t| unigram(&t, vocab.len()))?,
            vocab_size: vocab.len(),
            matrices: matrices(&trainer_config(&meta.settings, vocab.len())?.model),
            settings: meta.settings,
            total: meta.total,
            history: History::read(dir)?,
            records: record::read(dir)?,
        })
    }

    /// A run that is being trained, as its folder tells it up to now.
    ///
    /// # Errors
    /// Files of the folder that cannot be read.
    pub(crate) fn of(run: &Run) -> Result<Self> {
        Ok(Case {
            unigram: unigram(&run.corpus.trained_on(COUNTED)?, run.vocab.len())?,
            vocab_size: run.vocab.len(),
            matrices: matrices(&run.trainer.config().model),
            settings: run.settings.clone(),
            total: run.total,
            history: History::read(run.dir.path())?,
            records: record::read(run.dir.path())?,
        })
    }

    /// Updates so far.
    pub(crate) fn steps(&self) -> u64 {
        self.history.updates.last().map_or(0, |u| u.step as u64)
    }

    /// The warm-up, in updates.
    pub(crate) fn warmup(&self) -> u64 {
        self.settings.warmup.unwrap_or(0)
    }

    /// Cross-entropy of an even guess, nats.
    pub(crate) fn uniform(&self) -> f64 {
        (self.vocab_size.max(2) as f64).ln()
    }

    /// What guessing without a look at the text before reaches, nats.
    pub(crate) fn guessing(&self) -> f64 {
        if self.unigram.is_finite() { self.unigram } else { self.uniform() }
    }

    /// Mean training loss of the updates in `part` of the run so far, such as `0.9..1.0`; NaN without any.
    pub(crate) fn loss(&self, part: std::ops::Range<f64>) -> f64 {
        let n = self.history.updates.len() as f64;
        let (from, to) = ((part.start * n) as usize, ((part.end * n).ceil() as usize).min(n as usize));
        mean(self.history.updates[from.min(to)..to].iter().map(|u| u.loss))
    }

    /// The last quarter of the records, at least one: what the run is like now.
    pub(crate) fn late(&self) -> &[Record] {
        let n = self.records.len();
        &self.records[n - n.div_ceil(4)..]
    }

    /// The rate over the highest rate of the run, after `step` updates: updates of a decayed rate are small by intention.
    pub(crate) fn rate_share(&self, step: u64) -> f64 {
        let rates = self.history.updates.iter().map(|u| u.lr);
        let peak = rates.fold(0.0, f64::max);
        let at = (step as usize).clamp(1, self.history.updates.len().max(1)) - 1;
        self.history.updates.get(at).map_or(f64::NAN, |u| u.lr / peak)
    }
}

/// Name and rows of each weight matrix inside the blocks.
fn matrices(config: &ModelConfig) -> Vec<(String, usize)> {
    let inner = |role| matches!(role, Role::Matrix | Role::MatrixToResidual | Role::Recurrent);
    schema(config).into_iter().filter(|spec| inner(spec.role)).map(|spec| (spec.name, spec.rows)).collect()
}

/// Entropy of the tokens by frequency, nats.
fn unigram(tokens: &Tokens, vocab_size: usize) -> Result<f64> {
    let n = tokens.len().min(COUNTED) as usize;
    let mut ids = vec![0; n];
    tokens.read(0, &mut ids)?;
    let mut counts = vec![0u64; vocab_size];
    ids.iter().for_each(|&id| counts[id as usize] += 1);
    let nats = |&count: &u64| {
        let p = count as f64 / n as f64;
        -p * p.ln()
    };
    Ok(counts.iter().filter(|c| **c > 0).map(nats).sum())
}

/// Mean of the finite values; NaN without any.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.filter(|v| v.is_finite()).fold((0.0, 0), |(sum, n), v| (sum + v, n + 1));
    sum / f64::from(n)
}

/// The middle of the values that are not NaN; NaN without any.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.filter(|v| !v.is_nan()).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Value of activation `name` that `of` picks, in each of `records` that has it.
pub(crate) fn series<'a>(
    records: &'a [Record],
    name: &'a str,
    of: impl Fn(&ActivationRecord) -> Option<f64> + 'a,
) -> impl Iterator<Item = (u64, f64)> + 'a {
    records.iter().filter_map(move |r| {
        let activation = r.activations.iter().find(|a| a.name == name)?;
        Some((r.step, of(activation)?))
    })
}
