//! A run: settings and texts become a trainer, and its folder remembers everything that a resumed run needs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use siskin_format::receipt::Source;
use siskin_format::{DType, ModelConfig, Vocab};

use super::budget;
use super::feed::BatchSize;
use super::quantized::QatConfig;
use super::trainer::{Numbers, Trainer, TrainerConfig, TrainerState};
use crate::checkpoint::{Checkpoint, Loaded, RunDir};
use crate::data::{Dataset, Split, Text, TextScan};
use crate::error::{Error, Result};
use crate::params::ParamStore;
use crate::settings::descent::DescentConfig;
use crate::settings::model::model_config;
use crate::settings::presets::{DEFAULT_MINUTES, TextFacts, fill};
use crate::settings::{Settings, TOKENIZERS, choice};
use crate::tokenizer::{self, Kind};

/// Name of the token cache in a run folder.
const CACHE: &str = "tokens.cache";
/// How long the speed is measured before a budget in minutes becomes a number of steps.
const CALIBRATION: Duration = Duration::from_millis(1500);

/// What a checkpoint keeps besides numbers and vocabulary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// Everything that was said or filled in.
    pub settings: Settings,
    /// The texts, absolute.
    pub texts: Vec<PathBuf>,
    /// Hash of all of them, as the tokens' key.
    pub text_hash: u64,
    /// Where the exported model goes.
    pub export: PathBuf,
    /// Updates of the whole run.
    pub total: u64,
    /// The weights of the best evaluation, not the last ones, were found to be what the run is worth.
    pub export_best: bool,
    /// The trainer's own.
    pub trainer: TrainerState,
}

/// A run in its folder, ready to train.
pub struct Run {
    /// The folder, locked.
    pub dir: RunDir,
    /// The trainer.
    pub trainer: Trainer,
    /// Its tokenizer.
    pub vocab: Vocab,
    /// The text.
    pub data: Dataset,
    /// What was said, filled in.
    pub settings: Settings,
    /// Updates of the whole run.
    pub total: u64,
    /// Where the exported model goes.
    pub export: PathBuf,
    /// The weights of the best evaluation, not the last ones, are what the run is worth.
    pub export_best: bool,
    /// Why the newest state could not be saved, if so.
    pub unsaved: Option<String>,
    texts: Vec<PathBuf>,
    text_hash: u64,
}

/// Tells a person what is being prepared.
pub type Notes<'a> = &'a dyn Fn(&str);

impl Run {
    /// Starts a run on `texts` in the folder `dir`.
    ///
    /// # Errors
    /// Texts that cannot be read or are too short, settings that cannot work, a folder that holds a run already.
    pub fn start(
        said: &Settings,
        texts: &[PathBuf],
        dir: &Path,
        export: &Path,
        note: Notes<'_>,
    ) -> Result<Self> {
        let started = Instant::now();
        let threads = said.threads.unwrap_or_else(cores);
        // Everything that can be wrong with the settings is said before the text is read.
        let guess = fill(said, &TextFacts { threads })?;
        model_config(&guess, 256)?;
        DescentConfig::new(&guess)?;
        batch_size(&guess)?;
        let text = Text::open(texts)?;
        let dir = RunDir::lock(dir)?;
        if dir.load_latest()?.is_some() {
            let path = dir.path().display();
            return Err(Error::Run(format!(
                "{path} holds a run already: go on with `siskin-train resume {path}` or name another folder by --out"
            )));
        }
        let texts = texts.iter().map(|t| absolute(t)).collect::<Result<Vec<_>>>()?;
        let scan = text.scan()?;
        let settings = guess;
        let kind = choice("tokenizer", settings.tokenizer.as_deref().unwrap_or("auto"), TOKENIZERS)?;
        let kind = Kind::parse(kind).expect("the spellings of the settings are those of the kinds");
        let split = split(&text, &settings)?;
        let vocab = tokenizer::train(&text, &scan, split.train, kind, settings.vocab_size)?;
        let data = dataset(&text, &scan, &settings, &vocab, dir.path())?;
        note(&format!(
            "{}: {} bytes, {} characters; {} tokens to train on, {} held out; vocabulary {}",
            text.name(),
            crate::progress::thousands(text.len() as f64),
            scan.chars.len(),
            crate::progress::thousands(data.train.len() as f64),
            crate::progress::thousands(data.val.len() as f64),
            vocab.len(),
        ));
        let config = trainer_config(&settings, vocab.len())?;
        let trainer = Trainer::new(config.clone(), data.train.clone(), data.val.clone())?;
        let export = export.to_path_buf();
        let mut run = Run {
            dir,
            trainer,
            vocab,
            data,
            settings,
            total: 0,
            export,
            export_best: false,
            unsaved: None,
            texts,
            text_hash: scan.hash,
        };
        run.total = match run.settings.steps {
            Some(steps) => steps,
            None => run.measure_budget(config, started)?,
        };
        if run.total == 0 {
            return Err(Error::Setting { key: "steps", problem: "is 0, expected at least 1 update".into() });
        }
        Ok(run)
    }

    /// Opens the newest valid checkpoint of the run in `dir`.
    ///
    /// # Errors
    /// No run there, or one whose text has changed.
    pub fn resume(dir: &Path, threads: Option<usize>) -> Result<Self> {
        if !dir.is_dir() {
            return Err(Error::Run(format!("{} is not a folder: give the folder of a run", dir.display())));
        }
        let dir = RunDir::lock(dir)?;
        let none =
            || Error::Run(format!("{} has no checkpoint: start it with `train`", dir.path().display()));
        let loaded = dir.load_latest()?.ok_or_else(none)?;
        loaded.passed_over.iter().for_each(|line| eprintln!("warning: {line}"));
        let checkpoint = loaded.checkpoint;
        let mut meta: Meta = checkpoint.meta()?;
        if threads.is_some() {
            meta.settings.threads = threads;
        }
        let vocab = vocab_of(&checkpoint)?;
        let text = Text::open(&meta.texts)?;
        let scan = text.scan()?;
        if scan.hash != meta.text_hash {
            return Err(changed(&text));
        }
        let data = dataset(&text, &scan, &meta.settings, &vocab, dir.path())?;
        let config = trainer_config(&meta.settings, vocab.len())?;
        let mut trainer = Trainer::new(config, data.train.clone(), data.val.clone())?;
        restore(&mut trainer, meta.trainer, &checkpoint)?;
        Ok(Run {
            dir,
            trainer,
            vocab,
            data,
            settings: meta.settings,
            total: meta.total,
            export: meta.export,
            export_best: meta.export_best,
            unsaved: None,
            texts: meta.texts,
            text_hash: meta.text_hash,
        })
    }

    /// Saves everything.
    ///
    /// # Errors
    /// [`Error::Diverged`] for numbers that are not finite; a full disk, say. Older checkpoints are then untouched.
    pub fn save(&self) -> Result<PathBuf> {
        if let Some(what) = self.trainer.damage() {
            let step = self.trainer.steps();
            return Err(Error::Diverged(format!("the state after step {step} is not saved: {what}")));
        }
        let (state, numbers) = self.trainer.state();
        let meta = Meta {
            settings: self.settings.clone(),
            texts: self.texts.clone(),
            text_hash: self.text_hash,
            export: self.export.clone(),
            total: self.total,
            export_best: self.export_best,
            trainer: state.clone(),
        };
        let mut checkpoint = Checkpoint::new(&meta)?;
        checkpoint.put("vocab", self.vocab.to_bytes());
        checkpoint.put("weights", numbers.weights);
        checkpoint.put("buffers", numbers.buffers);
        checkpoint.put("optimizer", numbers.optimizer);
        checkpoint.put("average", numbers.average);
        checkpoint.put("best", numbers.best);
        checkpoint.put("carried", numbers.carried);
        self.dir.save(state.step, &checkpoint)
    }

    /// Goes back to the newest checkpoint, or to the beginning when there is none; gives the step.
    ///
    /// # Errors
    /// Checkpoints that cannot be read.
    pub fn go_back(&mut self) -> Result<u64> {
        match self.dir.load_latest()? {
            Some(Loaded { checkpoint, .. }) => {
                let meta: Meta = checkpoint.meta()?;
                restore(&mut self.trainer, meta.trainer, &checkpoint)?;
            }
            None => {
                let config = self.trainer.config().clone();
                self.trainer = Trainer::new(config, self.data.train.clone(), self.data.val.clone())?;
            }
        }
        Ok(self.trainer.steps())
    }

    /// The texts, absolute.
    pub fn texts(&self) -> &[PathBuf] {
        &self.texts
    }

    /// The steps that fit into the budget, measured on a trainer of the same shape that is then thrown away.
    fn measure_budget(&self, config: TrainerConfig, started: Instant) -> Result<u64> {
        let minutes = self.settings.minutes.unwrap_or(DEFAULT_MINUTES);
        if !(minutes.is_finite() && minutes > 0.0) {
            let problem = format!("is {minutes}, expected a positive number");
            return Err(Error::Setting { key: "minutes", problem });
        }
        let mut trial = Trainer::new(config, self.data.train.clone(), self.data.val.clone())?;
        let limit = CALIBRATION.min(Duration::from_secs_f64((minutes * 60.0).min(1e6) * 0.05));
        trial.step(1_000_000)?; // buffers are allocated here
        let (begin, mut steps) = (Instant::now(), 0);
        while steps == 0 || begin.elapsed() < limit {
            trial.step(1_000_000)?;
            steps += 1;
        }
        let step = begin.elapsed() / steps;
        let begin = Instant::now();
        let eval_tokens = self.settings.eval_tokens.unwrap_or(0) as u64;
        trial.evaluate(eval_tokens)?;
        let eval = begin.elapsed();
        let whole = eval
            .mul_f64(self.data.val.len() as f64 / eval_tokens.clamp(1, self.data.val.len().max(1)) as f64);
        let every = |setting: Option<u64>| setting.unwrap_or(0);
        let pauses = [
            (every(self.settings.eval_every), eval),
            (every(self.settings.sample_every), Duration::from_millis(150)),
        ];
        Ok(budget::steps_for(minutes, started.elapsed() + whole, step, &pauses))
    }
}

/// The trainer that filled settings describe, for a vocabulary of `vocab_size` tokens.
///
/// # Errors
/// Settings that cannot work.
pub fn trainer_config(s: &Settings, vocab_size: usize) -> Result<TrainerConfig> {
    let model = model_config(s, vocab_size)?;
    let dropout = f64::from(s.dropout.unwrap_or(0.0));
    if !(0.0..1.0).contains(&dropout) {
        let problem = format!("is {dropout}, expected at least 0 and below 1");
        return Err(Error::Setting { key: "dropout", problem });
    }
    let threads = s.threads.unwrap_or(1);
    if !(1..=1024).contains(&threads) {
        return Err(Error::Setting { key: "threads", problem: format!("is {threads}, expected 1 to 1024") });
    }
    if let Some(shards) = s.shards.filter(|shards| !(1..=1024).contains(shards)) {
        return Err(Error::Setting { key: "shards", problem: format!("is {shards}, expected 1 to 1024") });
    }
    Ok(TrainerConfig {
        seq_len: model.context,
        model,
        descent: DescentConfig::new(s)?,
        batch_size: batch_size(s)?,
        dropout,
        qat: qat(s)?,
        shards: s.shards,
        recompute: s.recompute == Some(true),
        seed: s.seed.unwrap_or(1),
        threads,
    })
}

fn qat(s: &Settings) -> Result<Option<QatConfig>> {
    let Some(name) = s.qat.as_deref() else { return Ok(None) };
    let dtype = DType::from_name(choice("qat", name, &["q8", "q4"])?).expect("a dtype");
    let start = s.qat_start.unwrap_or(0.0);
    if !(0.0..1.0).contains(&start) {
        let problem = format!("is {start}, expected at least 0 and below 1");
        return Err(Error::Setting { key: "qat_start", problem });
    }
    Ok(Some(QatConfig { dtype, start }))
}

fn batch_size(s: &Settings) -> Result<BatchSize> {
    let said = s.batch_size.as_deref().unwrap_or("16");
    match said.parse::<usize>() {
        _ if said == "full" => Ok(BatchSize::Full),
        Ok(n) if (1..=1 << 20).contains(&n) => Ok(BatchSize::Windows(n)),
        _ => {
            let problem = format!("is '{said}', expected a number of windows from 1, or `full`");
            Err(Error::Setting { key: "batch_size", problem })
        }
    }
}

fn split(text: &Text, s: &Settings) -> Result<Split> {
    text.split(s.val_fraction.unwrap_or(0.1))
}

fn dataset(text: &Text, scan: &TextScan, s: &Settings, vocab: &Vocab, dir: &Path) -> Result<Dataset> {
    Dataset::prepare(text, scan, &split(text, s)?, vocab, &dir.join(CACHE), |_| ())
}

/// The texts of a receipt.
///
/// # Errors
/// A text that is gone.
pub fn sources_of(texts: &[PathBuf]) -> Result<Vec<Source>> {
    let source = |path: &PathBuf| {
        let text = Text::open(std::slice::from_ref(path))?;
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Source { name, bytes: text.len(), hash: text.scan()?.hash })
    };
    texts.iter().map(source).collect()
}

/// The held-out part of a run's texts, bytes.
///
/// # Errors
/// A text that is gone or has changed.
pub fn validation_text(meta: &Meta) -> Result<Vec<u8>> {
    let text = Text::open(&meta.texts)?;
    if text.scan()?.hash != meta.text_hash {
        return Err(changed(&text));
    }
    text.read(split(&text, &meta.settings)?.val)
}

fn changed(text: &Text) -> Error {
    let name = text.name();
    Error::Data(format!("{name} has changed since the run began: bring the old text back, or train anew"))
}

/// The weights of a checkpoint as a file holds them: averaged or best where the run says so, batch norms folded.
///
/// # Errors
/// Numbers of another model.
pub fn exported_weights(meta: &Meta, config: &ModelConfig, checkpoint: &Checkpoint<'_>) -> Result<Vec<f32>> {
    let mut store = ParamStore::<f32>::new(config);
    let (n, n_buffers) = (store.values.len(), store.buffers.len());
    let (average, best) = (checkpoint.f32s("average")?, checkpoint.f32s("best")?);
    let (values, buffers) = if meta.export_best && best.len() == n + n_buffers {
        best.split_at(n)
    } else if average.len() == n {
        (average, checkpoint.f32s("buffers")?)
    } else {
        (checkpoint.f32s("weights")?, checkpoint.f32s("buffers")?)
    };
    if (values.len(), buffers.len()) != (n, n_buffers) {
        let found = values.len();
        return Err(Error::Run(format!(
            "the checkpoint has {found} weights, its model needs {n}: it is damaged"
        )));
    }
    store.values.copy_from_slice(values);
    store.buffers.copy_from_slice(buffers);
    Ok(store.folded(f64::from(config.norm_eps)))
}

/// The tokenizer that a checkpoint carries.
///
/// # Errors
/// A checkpoint without one.
pub fn vocab_of(checkpoint: &Checkpoint<'_>) -> Result<Vocab> {
    let damaged = |e| Error::Run(format!("the checkpoint's vocabulary is damaged: {e}"));
    Vocab::from_bytes(checkpoint.bytes("vocab")?).map_err(damaged)
}

/// Hands a checkpoint's numbers to a trainer.
///
/// # Errors
/// Numbers of another model.
pub fn restore(trainer: &mut Trainer, state: TrainerState, checkpoint: &Checkpoint<'_>) -> Result<()> {
    let numbers = Numbers {
        weights: checkpoint.f32s("weights")?,
        buffers: checkpoint.f32s("buffers")?,
        optimizer: checkpoint.f32s("optimizer")?,
        average: checkpoint.f32s("average")?,
        best: checkpoint.f32s("best")?,
        carried: checkpoint.f32s("carried")?.to_vec(),
    };
    trainer.restore(state, &numbers)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(Error::io("find", path))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}
