//! A run: settings and texts become a trainer, and its folder remembers everything that a resumed run needs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use siskin_format::{DType, ModelConfig, Vocab};

use super::budget;
use super::corpus::{Corpus, Scanned, changed};
use super::feed::{self, BatchSize};
use super::quantized::QatConfig;
use super::restarts::{Plan, Restarts};
use super::trainer::{FINAL_TOKENS, Numbers, Trainer, TrainerConfig, TrainerState};
use crate::checkpoint::{Checkpoint, Loaded, RunDir};
use crate::error::{Error, Result};
use crate::params::ParamStore;
use crate::plan::{self, Question};
use crate::progress::thousands;
use crate::settings::descent::DescentConfig;
use crate::settings::model::{is_seq2seq, model_config};
use crate::settings::presets::{DEFAULT_MINUTES, TextFacts, fill};
use crate::settings::{Settings, choice};

/// Tokens of each part of a text that a plan looks into.
const LOOKED_INTO: u64 = 1 << 20;
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
    /// The texts.
    pub corpus: Corpus,
    /// What was said, filled in.
    pub settings: Settings,
    /// Updates of the whole run.
    pub total: u64,
    /// Updates after which [`fit`](super::fit::fit) ends: all of them, but for the beginnings of a run with restarts.
    pub stop_at: u64,
    /// Where the exported model goes.
    pub export: PathBuf,
    /// The weights of the best evaluation, not the last ones, are what the run is worth.
    pub export_best: bool,
    /// Why the newest state could not be saved, if so.
    pub unsaved: Option<String>,
    texts: Vec<PathBuf>,
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
        Run::start_watched(said, texts, dir, export, note, false)
    }

    /// As [`Run::start`]; `bars` are shown while long texts are read.
    ///
    /// # Errors
    /// As [`Run::start`].
    pub fn start_watched(
        said: &Settings,
        texts: &[PathBuf],
        dir: &Path,
        export: &Path,
        note: Notes<'_>,
        bars: bool,
    ) -> Result<Self> {
        let started = Instant::now();
        let threads = said.threads.unwrap_or_else(cores);
        // Everything that can be wrong with the settings is said before the text is read.
        let mut settings = fill(said, &TextFacts { threads })?;
        model_config(&settings, 256)?;
        DescentConfig::new(&settings)?;
        let batch_size = batch_size(&settings)?;
        if let Some(weights) = &settings.mix {
            crate::data::shares(weights, texts.len())?;
            feed::refuse_full_mixture(texts.len(), batch_size)?;
            if is_seq2seq(&settings) && texts.len() > 1 {
                let problem = "cannot be with pairs: join the files into one".into();
                return Err(Error::Setting { key: "mix", problem });
            }
        }
        let restarts = Restarts::of(&settings)?;
        crate::data::Text::open(texts)?;
        let dir = RunDir::lock(dir)?;
        if holds_run(&dir)? {
            let path = dir.path().display();
            return Err(Error::Run(format!(
                "{path} holds a run already: go on with `siskin-train resume {path}` or name another folder by --out"
            )));
        }
        let absolute_texts = texts.iter().map(|t| absolute(t)).collect::<Result<Vec<_>>>()?;
        settings.cache = settings.cache.as_deref().map(absolute).transpose()?;
        let mut run = Run::prepare(settings, Some(said), texts, absolute_texts, dir, export, note, bars)?;
        let budget = match run.settings.steps {
            Some(steps) => steps,
            None => run.measure_budget(run.trainer.config().clone(), started)?,
        };
        if budget == 0 {
            return Err(Error::Setting { key: "steps", problem: "is 0, expected at least 1 update".into() });
        }
        run.total = restarts.map_or(Ok(budget), |restarts| restarts.whole(budget))?;
        run.stop_at = run.total;
        if restarts.is_some() {
            let plan = Plan {
                settings: run.settings.clone(),
                texts: run.texts.clone(),
                text_hash: run.corpus.hash,
                export: run.export.clone(),
                total: run.total,
            };
            plan.write(run.dir.path())?;
        }
        Ok(run)
    }

    /// A run that has made no update, as long as it is not said how many it makes. `texts` are called what `named` says. What `said`
    /// leaves open may follow from the texts: pairs bring their own context, a budget in minutes chooses size, context and batch.
    fn prepare(
        mut settings: Settings,
        said: Option<&Settings>,
        named: &[PathBuf],
        texts: Vec<PathBuf>,
        dir: RunDir,
        export: &Path,
        note: Notes<'_>,
        bars: bool,
    ) -> Result<Self> {
        let pool = pool_of(settings.threads)?;
        let (scanned, vocab) = pool.install(|| {
            let scanned = Scanned::new(named, &settings, bars)?;
            let vocab = scanned.vocab(&settings)?;
            Ok::<_, Error>((scanned, vocab))
        })?;
        let mut line = format!(
            "{}: {} bytes, {} characters",
            scanned.whole.name(),
            thousands(scanned.whole.len() as f64),
            scanned.scan.chars.len()
        );
        let corpus = scanned.tokenized(&vocab, &settings, dir.path(), Some(&pool), bars)?;
        let (train, val) = corpus.n_tokens();
        let [train, val] = [train, val].map(|n| thousands(n as f64));
        let of = if corpus.longest.is_some() { " of pairs" } else { "" };
        line += &format!("; {train} tokens{of} to train on, {val} held out; vocabulary {}", vocab.len());
        note(&line);
        if let Some(said) = said {
            if let Some(longest) = corpus.longest {
                settings.context = said.context.or(Some(longest));
            }
            settings = planned(settings, said, &vocab, &corpus, note)?;
        }
        let trainer = Trainer::mixed(trainer_config(&settings, vocab.len())?, corpus.texts.clone())?;
        if settings.mix.is_some() {
            note(&mixture(&corpus, trainer.lanes().as_deref()));
        }
        Ok(Run {
            dir,
            trainer,
            vocab,
            corpus,
            settings,
            total: 0,
            stop_at: 0,
            export: export.to_path_buf(),
            export_best: false,
            unsaved: None,
            texts,
        })
    }

    /// The run in `dir` if it has not got beyond the beginnings of its [restarts](super::restarts), which it then goes on with.
    ///
    /// # Errors
    /// A text that is gone or has changed.
    pub fn reopen(
        dir: &Path,
        threads: Option<usize>,
        note: Notes<'_>,
        bars: bool,
    ) -> Result<Option<(Self, Restarts)>> {
        if !dir.is_dir() {
            return Ok(None);
        }
        let Some(mut plan) = Plan::read(dir)? else { return Ok(None) };
        let dir = RunDir::lock(dir)?;
        let Some(restarts) = Restarts::of(&plan.settings)? else { return Ok(None) };
        if dir.load_latest()?.is_some() {
            return Ok(None);
        }
        if threads.is_some() {
            plan.settings.threads = threads;
        }
        let named = plan.texts.clone();
        let mut run = Run::prepare(plan.settings, None, &named, plan.texts, dir, &plan.export, note, bars)?;
        if run.corpus.hash != plan.text_hash {
            return Err(changed(&crate::data::Text::open(&named)?));
        }
        (run.total, run.stop_at) = (plan.total, plan.total);
        Ok(Some((run, restarts)))
    }

    /// The beginning of this run with another seed: a run of its own in `dir`, as far as it has got, that stops after `stop_at` updates.
    ///
    /// # Errors
    /// A folder that another trainer works in, or a damaged checkpoint.
    pub(super) fn beginning(&self, dir: &Path, seed: u64, stop_at: u64) -> Result<Self> {
        let settings = Settings { seed: Some(seed), restarts: Some(1), ..self.settings.clone() };
        let config = trainer_config(&settings, self.vocab.len())?;
        let mut run = Run {
            dir: RunDir::lock(dir)?,
            trainer: Trainer::mixed(config, self.corpus.texts.clone())?,
            vocab: self.vocab.clone(),
            corpus: self.corpus.clone(),
            settings,
            total: self.total,
            stop_at,
            export: self.export.clone(),
            export_best: false,
            unsaved: None,
            texts: self.texts.clone(),
        };
        run.go_back()?;
        Ok(run)
    }

    /// Takes the state of the beginning in `from`, whose seed is `seed`, over.
    ///
    /// # Errors
    /// A damaged checkpoint.
    pub(super) fn continue_from(&mut self, from: &Path, seed: u64) -> Result<()> {
        let checkpoint = Checkpoint::load_latest(from)?.checkpoint;
        let meta: Meta = checkpoint.meta()?;
        self.settings.seed = Some(seed);
        let config = trainer_config(&self.settings, self.vocab.len())?;
        self.trainer = Trainer::mixed(config, self.corpus.texts.clone())?;
        restore(&mut self.trainer, meta.trainer, &checkpoint)
    }

    /// Opens the newest valid checkpoint of the run in `dir`.
    ///
    /// # Errors
    /// No run there, or one whose text has changed.
    pub fn resume(dir: &Path, threads: Option<usize>) -> Result<Self> {
        Run::resume_watched(dir, threads, false)
    }

    /// As [`Run::resume`]; `bars` are shown while long texts are read.
    ///
    /// # Errors
    /// As [`Run::resume`].
    pub fn resume_watched(dir: &Path, threads: Option<usize>, bars: bool) -> Result<Self> {
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
        let pool = pool_of(meta.settings.threads)?;
        let scanned =
            pool.install(|| Scanned::unchanged(&meta.texts, meta.text_hash, &meta.settings, bars))?;
        let corpus = scanned.tokenized(&vocab, &meta.settings, dir.path(), Some(&pool), bars)?;
        let config = trainer_config(&meta.settings, vocab.len())?;
        let mut trainer = Trainer::mixed(config, corpus.texts.clone())?;
        restore(&mut trainer, meta.trainer, &checkpoint)?;
        Ok(Run {
            dir,
            trainer,
            vocab,
            corpus,
            settings: meta.settings,
            total: meta.total,
            stop_at: meta.total,
            export: meta.export,
            export_best: meta.export_best,
            unsaved: None,
            texts: meta.texts,
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
        let meta = Meta {
            settings: self.settings.clone(),
            texts: self.texts.clone(),
            text_hash: self.corpus.hash,
            export: self.export.clone(),
            total: self.total,
            export_best: self.export_best,
            trainer: self.trainer.state().0,
        };
        self.dir.save(self.trainer.steps(), &checkpoint_of(&self.trainer, &self.vocab, &meta)?)
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
                self.trainer = Trainer::mixed(config, self.corpus.texts.clone())?;
            }
        }
        Ok(self.trainer.steps())
    }

    /// The texts, absolute.
    pub fn texts(&self) -> &[PathBuf] {
        &self.texts
    }

    /// Makes sure that the texts are those of `hash`, as another run met them.
    ///
    /// # Errors
    /// They have changed since.
    pub(crate) fn expect_text(&self, hash: u64) -> Result<()> {
        if self.corpus.hash == hash { Ok(()) } else { Err(changed(&crate::data::Text::open(&self.texts)?)) }
    }

    /// The steps that fit into the budget, measured on a trainer of the same shape that is then thrown away.
    fn measure_budget(&self, config: TrainerConfig, started: Instant) -> Result<u64> {
        let minutes = self.settings.minutes.unwrap_or(DEFAULT_MINUTES);
        if !(minutes.is_finite() && minutes > 0.0) {
            let problem = format!("is {minutes}, expected a positive number");
            return Err(Error::Setting { key: "minutes", problem });
        }
        // Whole windows take longest, and are most of a run.
        let config = TrainerConfig { length_warmup: 0.0, ..config };
        let mut trial = Trainer::mixed(config, self.corpus.texts.clone())?;
        let limit = budget::calibration(minutes);
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
        let n_val = self.corpus.n_tokens().1.min(FINAL_TOKENS);
        let whole = eval.mul_f64(n_val as f64 / eval_tokens.clamp(1, n_val.max(1)) as f64);
        let every = |setting: Option<u64>| setting.unwrap_or(0);
        let pauses = [
            (every(self.settings.eval_every), eval),
            (every(self.settings.sample_every), Duration::from_millis(150)),
        ];
        Ok(budget::steps_for(minutes, started.elapsed() + whole, step, &pauses))
    }
}

/// Whether there is a run in `dir`: a checkpoint, or the plan of one that is still among its beginnings.
///
/// # Errors
/// Files that cannot be read.
pub fn holds_run(dir: &RunDir) -> Result<bool> {
    Ok(dir.load_latest()?.is_some() || Plan::read(dir.path())?.is_some())
}

/// Everything that a resumed run needs; `meta` holds the present state of `trainer`.
///
/// # Errors
/// None but those of [`Checkpoint::new`].
pub fn checkpoint_of<'a>(trainer: &'a Trainer, vocab: &Vocab, meta: &Meta) -> Result<Checkpoint<'a>> {
    let (_, numbers) = trainer.state();
    let mut checkpoint = Checkpoint::new(meta)?;
    checkpoint.put("vocab", vocab.to_bytes());
    checkpoint.put("weights", numbers.weights);
    checkpoint.put("buffers", numbers.buffers);
    checkpoint.put("optimizer", numbers.optimizer);
    checkpoint.put("average", numbers.average);
    checkpoint.put("best", numbers.best);
    if !numbers.mean_buffers.is_empty() {
        checkpoint.put("mean_buffers", numbers.mean_buffers);
    }
    checkpoint.put("carried", numbers.carried);
    Ok(checkpoint)
}

/// `settings` with what is open in `said` chosen for a budget in minutes. A number of steps keeps the preset, so that its result does
/// not depend on the machine; so do pairs.
fn planned(
    settings: Settings,
    said: &Settings,
    vocab: &Vocab,
    corpus: &Corpus,
    note: Notes<'_>,
) -> Result<Settings> {
    let Some(minutes) = settings.minutes.filter(|_| settings.steps.is_none() && corpus.longest.is_none())
    else {
        return Ok(settings);
    };
    let threads = settings.threads.unwrap_or_else(cores);
    let (train, val) = (corpus.trained_on(LOOKED_INTO)?, corpus.held_out(LOOKED_INTO)?);
    let unique = corpus.n_tokens().0 as f64;
    let question = Question { said, train: &train, val: &val, unique, vocab, minutes, threads };
    let Some(plan) = plan::Plan::make(&question)? else { return Ok(settings) };
    note(&plan.describe(minutes));
    let chosen = plan.best().settings.clone();
    Ok(Settings { minutes: Some(minutes), cache: settings.cache, ..chosen })
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
        descent: DescentConfig::new(s)?,
        batch_size: batch_size(s)?,
        dropout,
        qat: qat(s)?,
        shards: s.shards,
        length_warmup: length_warmup(s, &model)?,
        recompute: s.recompute == Some(true),
        seed: s.seed.unwrap_or(1),
        threads,
        model,
    })
}

/// Windows grow only where no recurrent state is carried from one piece of a window to the next.
fn length_warmup(s: &Settings, model: &ModelConfig) -> Result<f64> {
    let share = s.length_warmup.unwrap_or(0.0);
    let recurrent = model.blocks.iter().any(|block| block.recurrent().is_some());
    let problem = match share {
        _ if !(0.0..=1.0).contains(&share) => format!("is {share}, expected 0 (off) to 1"),
        _ if share > 0.0 && model.has_encoder() => {
            "is for models of one text: pairs are not cut into pieces, leave it out".into()
        }
        _ if share > 0.0 && recurrent => {
            "is for Transformers: recurrent blocks carry their state through whole windows, leave it out"
                .into()
        }
        _ => return Ok(share),
    };
    Err(Error::Setting { key: "length_warmup", problem })
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

/// The texts of a run, which must be those that it began with.
///
/// # Errors
/// A text that is gone or has changed.
pub fn texts_of(meta: &Meta, bars: bool) -> Result<Scanned> {
    Scanned::unchanged(&meta.texts, meta.text_hash, &meta.settings, bars)
}

/// What a mixture comes to, as one line.
fn mixture(corpus: &Corpus, lanes: Option<&[usize]>) -> String {
    let each = corpus.names.iter().zip(&corpus.texts).enumerate().map(|(i, (name, text))| {
        let percent = 100.0 * text.share;
        match lanes {
            Some(lanes) => {
                format!("{name} {percent:.1} % by {} lanes of {}", lanes[i], lanes.iter().sum::<usize>())
            }
            None => format!("{name} {percent:.1} %"),
        }
    });
    format!("mixture: {}", each.collect::<Vec<_>>().join(", "))
}

/// Threads that prepare texts, as many as trainers have.
fn pool_of(threads: Option<usize>) -> Result<rayon::ThreadPool> {
    let threads = threads.unwrap_or_else(cores).clamp(1, 1024);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| Error::Setting {
        key: "threads",
        problem: format!("{threads} threads cannot be started: {e}"),
    })
}

/// The weights of a checkpoint as a file holds them: averaged or best where the run says so, batch norms folded.
///
/// # Errors
/// Numbers of another model.
pub fn exported_weights(meta: &Meta, config: &ModelConfig, checkpoint: &Checkpoint<'_>) -> Result<Vec<f32>> {
    Ok(exported_store(meta, config, checkpoint)?.folded(f64::from(config.norm_eps)))
}

/// The weights that a file holds, and the running statistics that belong to them.
///
/// # Errors
/// Numbers of another model.
pub fn exported_store(
    meta: &Meta,
    config: &ModelConfig,
    checkpoint: &Checkpoint<'_>,
) -> Result<ParamStore<f32>> {
    let mut store = ParamStore::<f32>::new(config);
    let (n, n_buffers) = (store.values.len(), store.buffers.len());
    let (average, best) = (checkpoint.f32s("average")?, checkpoint.f32s("best")?);
    let (values, buffers) = if meta.export_best && best.len() == n + n_buffers {
        best.split_at(n)
    } else if average.len() == n {
        (average, checkpoint.f32s("buffers")?)
    } else if average.len() == 2 * n {
        // A mean in pairs of floats: all that the first ones leave is below their precision.
        let own = mean_buffers(checkpoint)?;
        (&average[..n], if own.is_empty() { checkpoint.f32s("buffers")? } else { own })
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
    Ok(store)
}

/// The tokenizer that a checkpoint carries.
///
/// # Errors
/// A checkpoint without one.
pub fn vocab_of(checkpoint: &Checkpoint<'_>) -> Result<Vocab> {
    let damaged = |e| Error::Run(format!("the checkpoint's vocabulary is damaged: {e}"));
    Vocab::from_bytes(checkpoint.bytes("vocab")?).map_err(damaged)
}

/// Running statistics of averaged weights, where there are any.
fn mean_buffers<'c>(checkpoint: &'c Checkpoint<'_>) -> Result<&'c [f32]> {
    if checkpoint.has("mean_buffers") { checkpoint.f32s("mean_buffers") } else { Ok(&[]) }
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
        mean_buffers: mean_buffers(checkpoint)?,
        carried: checkpoint.f32s("carried")?.to_vec(),
    };
    trainer.restore(state, &numbers)
}

pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(Error::io("find", path))
}

/// Cores of this machine.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}
