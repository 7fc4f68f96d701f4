//! A model in training: weights, gradients, batches and descent, one update at a time.

#[cfg(test)]
mod averaging;
#[cfg(test)]
mod recovery;

use siskin_format::ModelConfig;

use super::descent::{Descent, DescentState, Update};
use super::feed::{BatchSize, EvalFeed, Feed, Place};
use super::quantized::{QatConfig, Quantized};
use super::step_sizes::Grid;
use crate::data::Tokens;
use crate::error::{Error, Result};
use crate::model::{Model, Noise};
use crate::observe::Observation;
use crate::observe::record::Record;
use crate::optim::ParamInfo;
use crate::optim::accumulate::Accumulator;
use crate::optim::converge::StopReason;
use crate::parallel::{DataParallel, Division, Loss, Teacher};
use crate::params::ParamStore;
use crate::settings::descent::DescentConfig;

/// Batches by which the running statistics of averaged weights are collected.
const STATISTICS_BATCHES: usize = 32;

/// Everything that decides the weights besides the text.
#[derive(Clone, Debug)]
pub struct TrainerConfig {
    /// The model.
    pub model: ModelConfig,
    /// How it descends.
    pub descent: DescentConfig,
    /// Windows per update.
    pub batch_size: BatchSize,
    /// Tokens per window.
    pub seq_len: usize,
    /// Share of channels dropped.
    pub dropout: f64,
    /// Training for an exported file of few bits.
    pub qat: Option<QatConfig>,
    /// Pieces of a batch; `None` for [`Division::for_batch`]'s.
    pub shards: Option<usize>,
    /// Share of the steps over which windows grow to their length; 0 for none.
    pub length_warmup: f64,
    /// Whether blocks run again on the way back, to need less memory; decides nothing.
    pub recompute: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// Cores; decides nothing.
    pub threads: usize,
}

/// A model in training.
pub struct Trainer {
    config: TrainerConfig,
    model: Model<f32>,
    store: ParamStore<f32>,
    quantized: Option<Quantized>,
    runner: DataParallel<f32>,
    descent: Descent,
    accumulator: Option<Accumulator>,
    feed: Feed,
    texts: Vec<TrainingText>,
    /// Weights and then running statistics of the best evaluation; empty before the first.
    best: Vec<f32>,
    /// Running statistics of the mean of the last weights, as of its last evaluation; empty where there is none.
    mean_buffers: Vec<f32>,
    step: u64,
    tokens_seen: u64,
    /// Of the update that is being made, if it is observed.
    observation: Option<Observation>,
}

/// A text to train on, or one of a mixture.
#[derive(Clone, Debug)]
pub struct TrainingText {
    /// Its share of every batch; the shares of all texts add up to 1.
    pub share: f64,
    /// The part to train on.
    pub train: Tokens,
    /// The part held out for validation; may be empty.
    pub val: Tokens,
}

/// The loss on what is held out.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    mean: f64,
    /// Targets that counted.
    pub counted: u64,
    /// Mean loss on each text of a mixture, nats per token, NaN where nothing is held out; empty for a single text.
    pub by_text: Vec<f64>,
}

impl Evaluation {
    /// Mean loss per token, nats; of a mixture, the mean of its texts' by their shares.
    pub fn mean(&self) -> f64 {
        self.mean
    }
}

/// Held-out tokens that are measured when a run ends, at most: enough for three digits, and a minute instead of hours for long texts.
pub const FINAL_TOKENS: u64 = 1 << 20;

/// What one update learnt.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Updates so far.
    pub step: u64,
    /// Mean loss before the update, nats per token.
    pub loss: f64,
    /// Tokens of the update.
    pub tokens: u64,
    /// What the update did.
    pub update: Update,
}

/// What decides the rest of a run, apart from the numbers of weights and optimiser.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TrainerState {
    /// Updates so far.
    pub step: u64,
    /// Tokens so far.
    pub tokens_seen: u64,
    cursor: Place,
    descent: DescentState,
}

/// The numbers of a checkpoint, borrowed.
pub struct Numbers<'a> {
    /// The weights.
    pub weights: &'a [f32],
    /// Running statistics of batch norms.
    pub buffers: &'a [f32],
    /// The optimiser's.
    pub optimizer: &'a [f32],
    /// Averaged weights, or nothing.
    pub average: &'a [f32],
    /// Weights and then running statistics of the best evaluation, or nothing.
    pub best: &'a [f32],
    /// Running statistics of the mean of the last weights, or nothing.
    pub mean_buffers: &'a [f32],
    /// Recurrent state that is carried to the next batch.
    pub carried: Vec<f32>,
}

impl Trainer {
    /// A model at its initialisation.
    ///
    /// # Errors
    /// Settings that cannot work together, or too little text.
    pub fn new(config: TrainerConfig, train: Tokens, val: Tokens) -> Result<Self> {
        Trainer::mixed(config, vec![TrainingText { share: 1.0, train, val }])
    }

    /// A model at its initialisation, for a mixture of texts whose shares add up to 1.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    ///
    /// # Panics
    /// If there is no text.
    pub fn mixed(config: TrainerConfig, texts: Vec<TrainingText>) -> Result<Self> {
        let model = Model::new(&config.model)?.recomputing(config.recompute);
        let (seq_len, size, seed) = (config.seq_len, config.batch_size, config.seed);
        let feed = match config.model.has_encoder() {
            true => Feed::of_pairs(&texts[0].train, config.model.vocab_size, seq_len, size, seed)?,
            false => {
                let train = texts.iter().map(|text| (text.train.clone(), text.share)).collect();
                Feed::new(train, seq_len, size, carries(&config.model), seed)?
            }
        };
        let rows = feed.rows();
        let recurrent = config.model.blocks.iter().any(|block| block.recurrent().is_some());
        let usual = Division::for_batch(rows, config.seq_len, recurrent);
        let division = Division { shards: config.shards.unwrap_or(usual.shards), ..usual };
        reserve(&config, division, model.param_layout().len())?;
        let mut store = ParamStore::new(&config.model);
        let specs = store.layout().specs().to_vec();
        config.descent.init.fill(&specs, config.model.n_layers(), config.seed, &mut store.values);
        let infos = specs.iter().map(ParamInfo::from_spec).collect();
        let descent = Descent::new(&config.descent, infos, &store.values)?;
        let runner = DataParallel::new(&model, rows, division, config.threads)?;
        let several = config.descent.accumulate > 1 || feed.per_update() > 1;
        let accumulator = several.then(|| Accumulator::new(store.values.len()));
        let quantized = config.qat.map(|qat| Quantized::new(qat.dtype, store.layout()));
        Ok(Trainer {
            config,
            model,
            store,
            quantized,
            runner,
            descent,
            accumulator,
            feed,
            texts,
            best: Vec::new(),
            mean_buffers: Vec::new(),
            step: 0,
            tokens_seen: 0,
            observation: None,
        })
    }

    /// Begins from these weights, in the order of the schema, instead of an initialisation.
    ///
    /// # Errors
    /// Weights of another model, or a model whose batch norms have statistics, which weights alone do not give.
    pub fn begin_with(&mut self, weights: &[f32]) -> Result<()> {
        if !self.store.buffers.is_empty() {
            return Err(Error::Run("a model with batch norms cannot go on without their statistics".into()));
        }
        copy("weights", weights, &mut self.store.values)
    }

    /// From now on the loss of an update is the divergence of the model's answers from those that its present weights, exact, give.
    ///
    /// # Errors
    /// A model that cannot be.
    pub fn learn_from_present(&mut self) -> Result<()> {
        let teacher = Teacher { model: Model::new(&self.config.model)?, store: self.store.clone() };
        self.runner.learn_from(teacher);
        Ok(())
    }

    /// The exported file will hold each tensor on the grid beside it, whose scales are learnt too, at `rate`. A checkpoint does not keep them.
    ///
    /// # Errors
    /// A rate that cannot learn.
    ///
    /// # Panics
    /// If the run does not train for an exported file, or if there is not a grid for each tensor.
    pub fn learn_scales(&mut self, grids: Vec<Grid>, rate: f32) -> Result<()> {
        assert!(self.quantized.is_some(), "a run that trains for its file");
        self.quantized = Some(Quantized::learning(grids, rate, self.store.layout())?);
        Ok(())
    }

    /// How the exported file will hold each tensor, if the run trains for that.
    pub fn grids(&self) -> Option<&[Grid]> {
        self.quantized.as_ref().map(Quantized::grids)
    }

    /// As [`Trainer::step`], and what could be seen of it. The update is the same, bit for bit.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn observed_step(&mut self, total: u64) -> Result<(StepReport, Record)> {
        self.observation = Some(Observation::default());
        let report = self.step(total);
        let observation = self.observation.take().unwrap_or_default();
        let report = report?;
        let record = observation.after(self.store.layout(), &self.store.values, report.step);
        Ok((report, record))
    }

    /// One update of a run of `total`. One whose loss or gradient is not finite is skipped.
    ///
    /// # Errors
    /// [`Error::Diverged`] when several in a row would be skipped, or when numbers that outlive the update, such as
    /// weights, are not finite: only an earlier state helps then. Or a damaged token cache.
    pub fn step(&mut self, total: u64) -> Result<StepReport> {
        self.runner.cut_windows(pieces(self.config.length_warmup, self.config.seq_len, self.step, total));
        let start = self.config.qat.map_or(0.0, |qat| qat.start);
        let sum = self.as_exported(self.step as f64 >= start * total as f64, Self::gradients)?;
        let loss = sum.mean();
        let scales = self.scale_gradients();
        let Trainer { descent, store, runner, accumulator, step, observation, .. } = self;
        let mut descend = |grads: &mut [f32], scale| {
            if let Some(observation) = observation {
                observation.before(store.layout(), &store.values, grads, scale);
            }
            descent.update(&mut store.values, grads, scale, loss, *step, total)
        };
        let mut update = match accumulator {
            Some(accumulator) => {
                let (grads, scale) = accumulator.mean();
                let update = runner.update(|_| descend(grads, scale));
                accumulator.clear();
                update?
            }
            None => runner.update(|grads| descend(grads, 1.0))?,
        };
        if update.skipped {
            self.after_skip(&mut update)?;
        } else if let (Some(quantized), Some(gradients)) = (&mut self.quantized, scales) {
            quantized.step_scales(&gradients, self.descent.factor(self.step, total));
        }
        self.step += 1;
        self.tokens_seen += sum.counted as u64;
        if self.step == total {
            self.collect_mean_statistics()?;
        }
        Ok(StepReport { step: self.step, loss, tokens: sum.counted as u64, update })
    }

    /// Replaces the learning rates of the updates to come, before schedule and multipliers: a range test's way to drive them. A
    /// checkpoint does not keep them.
    pub fn set_rates(&mut self, lr: f32, adam_lr: Option<f32>) {
        self.descent.set_rates(lr, adam_lr);
    }

    /// Does `work` with weights and activations as the exported file will have them, if they are to be and `now`.
    fn as_exported<R>(&mut self, now: bool, work: impl FnOnce(&mut Self) -> R) -> R {
        let Some(mut quantized) = self.quantized.take_if(|_| now) else { return work(self) };
        let (layout, values) = self.store.layout_and_values();
        self.runner.threads().install(|| quantized.replace(layout, values));
        self.model.fake_quantize(true);
        let result = work(self);
        self.model.fake_quantize(false);
        quantized.restore(&mut self.store.values);
        self.quantized = Some(quantized);
        result
    }

    /// What the scales of the quantized weights learn from the gradient of this update, if they do.
    fn scale_gradients(&mut self) -> Option<Vec<f32>> {
        let quantized = self.quantized.as_ref()?;
        let (layout, values) = self.store.layout_and_values();
        let grads = match &mut self.accumulator {
            Some(accumulator) => accumulator.mean().0,
            None => self.runner.gradient(),
        };
        quantized.scale_gradients(layout, values, grads)
    }

    /// Gradient of the batches of one update, left in the accumulator or the runner.
    fn gradients(&mut self) -> Result<Loss> {
        let mut sum = Loss { sum: 0.0, counted: 0 };
        let batches = self.feed.per_update() * self.config.descent.accumulate as u64;
        for part in 0..batches {
            #[cfg(test)]
            recovery::strike_before(self);
            let loss = self.gradient(part)?;
            #[cfg(test)]
            let loss = recovery::strike_after(self, loss);
            sum.sum += loss.sum;
            sum.counted += loss.counted;
            if let Some(accumulator) = &mut self.accumulator {
                accumulator.add(self.runner.gradient(), loss.counted as f32);
            }
        }
        Ok(sum)
    }

    /// Whether a skipped update has left its mark on what outlives it. What recurrent blocks carry is forgotten then, as at the
    /// beginning of a text.
    fn after_skip(&mut self, update: &mut Update) -> Result<()> {
        let mut note = update.note.take().unwrap_or_default();
        if let Some(what) = self.damage() {
            return Err(Error::Diverged(format!("{note}; {what}")));
        }
        note.push_str("; this update is skipped, the weights stay as they were");
        if !self.runner.state().all(|x| x.is_finite()) {
            self.runner.reset_state();
            note.push_str(" and what the model carries from batch to batch begins anew");
        }
        update.note = Some(note);
        Ok(())
    }

    /// What of the numbers that outlive an update is not finite, if anything.
    pub fn damage(&self) -> Option<&'static str> {
        let (_, optimizer, average) = self.descent.state();
        let kept: [(&[f32], &str); 6] = [
            (&self.store.values, "weights are not finite"),
            (&self.store.buffers, "statistics of batch norms are not finite"),
            (optimizer, "the optimiser's numbers are not finite"),
            (average, "averaged weights are not finite"),
            (&self.mean_buffers, "statistics of the averaged weights are not finite"),
            (&self.best, "the best weights are not finite any more"),
        ];
        kept.into_iter().find(|(numbers, _)| !numbers.iter().all(|x| x.is_finite())).map(|(_, what)| what)
    }

    /// Gradient of the next batch, which is part number `part` of this update.
    fn gradient(&mut self, part: u64) -> Result<Loss> {
        let noise = Noise {
            dropout: self.config.dropout,
            seed: self.config.seed,
            // Parts of one update must not share their dropout masks.
            step: self.step.wrapping_add(part << 40),
            part: 0,
        };
        let (batch, fresh) = self.feed.next_batch()?;
        fresh.iter().for_each(|windows| self.runner.reset_windows(windows.clone()));
        if let Some(observation) = self.observation.as_mut().filter(|_| part == 0) {
            observation.passed(self.runner.observe(&self.model, &self.store, batch));
        }
        Ok(self.runner.step(&self.model, &mut self.store, batch, noise))
    }

    /// Loss on the first `most` validation tokens, of the averaged weights where there are any; of a mixture, each text gives its share of
    /// them. `None` when nothing is held out.
    ///
    /// # Errors
    /// A damaged token cache.
    pub fn evaluate(&mut self, most: u64) -> Result<Option<Evaluation>> {
        self.collect_mean_statistics()?;
        self.swap_average();
        let found = self.validate(most);
        self.swap_average();
        found
    }

    /// Held-out tokens of which [`Trainer::evaluate`] would measure the first `most`.
    pub fn held_out(&self) -> u64 {
        self.texts.iter().map(|text| text.val.len()).sum()
    }

    /// Loss of the values in the store on the first `most` validation tokens.
    fn validate(&mut self, most: u64) -> Result<Option<Evaluation>> {
        let several = self.texts.len() > 1;
        let (mut by_text, mut counted) = (Vec::new(), 0);
        let (mut sum, mut shares) = (0.0, 0.0);
        for TrainingText { share, val, .. } in self.texts.clone() {
            if val.len() < 2 {
                by_text.push(f64::NAN);
                continue;
            }
            let most = if several { (most as f64 * share).ceil() as u64 } else { most };
            let loss = self.sum_of(val.first(most.max(2)))?;
            let mean = loss.mean();
            by_text.push(mean);
            counted += loss.counted as u64;
            (sum, shares) = (sum + share * mean, shares + share);
        }
        if counted == 0 {
            return Ok(None);
        }
        if !several {
            return Ok(Some(Evaluation { mean: by_text[0], counted, by_text: Vec::new() }));
        }
        Ok(Some(Evaluation { mean: sum / shares, counted, by_text }))
    }

    /// Loss on `tokens`, of the averaged weights where there are any.
    ///
    /// # Errors
    /// Fewer than 2 tokens, or a damaged token cache.
    pub fn evaluate_on(&mut self, tokens: Tokens) -> Result<Loss> {
        self.collect_mean_statistics()?;
        self.swap_average();
        let loss = self.sum_of(tokens);
        self.swap_average();
        loss
    }

    /// Exchanges the weights with their average, if there is one, and the running statistics with those of the average.
    fn swap_average(&mut self) {
        self.descent.swap_average(&mut self.store.values);
        if !self.mean_buffers.is_empty() {
            self.store.buffers.swap_with_slice(&mut self.mean_buffers);
        }
    }

    /// Running statistics belong to the weights that they were collected with. Where the exported weights are a mean of the last ones and
    /// the model has batch norms, runs the next batches through the mean and takes the even mean of their statistics (Izmailov et al.
    /// 2018, section 3.2); changes nothing else.
    fn collect_mean_statistics(&mut self) -> Result<()> {
        if self.store.buffers.is_empty() || !self.descent.averages_uniformly() {
            return Ok(());
        }
        let place = self.feed.place();
        let carried: Vec<f32> = self.runner.state().copied().collect();
        let own = self.store.buffers.clone();
        self.runner.cut_windows(1); // as windows are evaluated; every update cuts anew
        self.descent.swap_average(&mut self.store.values);
        let collected = self.as_exported(true, Self::collect_statistics);
        self.descent.swap_average(&mut self.store.values);
        self.mean_buffers = std::mem::replace(&mut self.store.buffers, own);
        self.runner.state_mut().zip(&carried).for_each(|(to, from)| *to = *from);
        self.feed.seek(&place)?;
        collected
    }

    /// Leaves the mean statistics of the next batches in the store.
    fn collect_statistics(&mut self) -> Result<()> {
        for n in 0..STATISTICS_BATCHES {
            let (batch, fresh) = self.feed.next_batch()?;
            fresh.iter().for_each(|windows| self.runner.reset_windows(windows.clone()));
            let rate = 1.0 / (n + 1) as f64; // the first replaces what was there
            self.runner.step_at_rate(&self.model, &mut self.store, batch, Noise::NONE, rate);
        }
        Ok(())
    }

    /// Loss of the values in the store on `tokens`.
    fn sum_of(&mut self, tokens: Tokens) -> Result<Loss> {
        self.as_exported(true, |trainer| trainer.sum_of_present(tokens))
    }

    fn sum_of_present(&mut self, tokens: Tokens) -> Result<Loss> {
        let TrainerConfig { model, seq_len, .. } = &self.config;
        let mut feed = match model.has_encoder() {
            true => EvalFeed::of_pairs(&tokens, model.vocab_size, *seq_len, self.feed.rows())?,
            false => EvalFeed::new(tokens, *seq_len, self.feed.rows(), carries(model))?,
        };
        let mut sum = Loss { sum: 0.0, counted: 0 };
        while let Some((batch, reset)) = feed.next_batch()? {
            if reset {
                self.runner.reset_evaluation();
            }
            let loss = self.runner.evaluate(&self.model, &self.store, batch);
            sum.sum += loss.sum;
            sum.counted += loss.counted;
        }
        Ok(sum)
    }

    /// The weights as a file holds them, in the order of the schema: averaged where there is an average, with batch
    /// norms folded.
    pub fn weights(&mut self) -> Vec<f32> {
        self.swap_average();
        let weights = self.store.folded(f64::from(self.config.model.norm_eps));
        self.swap_average();
        weights
    }

    /// Takes the validation loss of the present weights in; keeps them if they are the best so far, and says why to
    /// stop, if so.
    pub fn observe_validation(&mut self, loss: f64) -> Option<StopReason> {
        let stop = self.descent.observe_validation(self.step, loss);
        if self.descent.best().is_some_and(|(_, step)| step == self.step) {
            self.swap_average();
            self.best.clear();
            self.best.extend_from_slice(&self.store.values);
            self.best.extend_from_slice(&self.store.buffers);
            self.swap_average();
        }
        stop
    }

    /// The weights of the best evaluation as a file holds them, and their loss on the first `most` validation tokens; `None`
    /// before the first evaluation.
    ///
    /// # Errors
    /// A damaged token cache.
    pub fn best_weights(&mut self, most: u64) -> Result<Option<(Vec<f32>, Evaluation)>> {
        if self.best.is_empty() {
            return Ok(None);
        }
        self.swap_best();
        let weights = self.store.folded(f64::from(self.config.model.norm_eps));
        let found = self.validate(most);
        self.swap_best();
        Ok(found?.map(|found| (weights, found)))
    }

    fn swap_best(&mut self) {
        let (values, buffers) = self.best.split_at_mut(self.store.values.len());
        self.store.values.swap_with_slice(values);
        self.store.buffers.swap_with_slice(buffers);
    }

    /// Loss and step of the best evaluation.
    pub fn best(&self) -> Option<(f64, u64)> {
        self.descent.best()
    }

    /// What it was made from.
    pub fn config(&self) -> &TrainerConfig {
        &self.config
    }

    /// Updates so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Tokens so far.
    pub fn tokens_seen(&self) -> u64 {
        self.tokens_seen
    }

    /// Lanes of each text, where a recurrent model reads several.
    pub fn lanes(&self) -> Option<Vec<usize>> {
        self.feed.lanes()
    }

    /// Number of parameters.
    pub fn n_params(&self) -> usize {
        self.store.values.len()
    }

    /// Bytes of tapes and gradients.
    pub fn bytes(&self) -> usize {
        self.runner.bytes()
    }

    /// State and numbers for a checkpoint.
    pub fn state(&self) -> (TrainerState, Numbers<'_>) {
        let (descent, optimizer, average) = self.descent.state();
        let state = TrainerState {
            step: self.step,
            tokens_seen: self.tokens_seen,
            cursor: self.feed.place(),
            descent,
        };
        let numbers = Numbers {
            weights: &self.store.values,
            buffers: &self.store.buffers,
            optimizer,
            average,
            best: &self.best,
            mean_buffers: &self.mean_buffers,
            carried: self.runner.state().copied().collect(),
        };
        (state, numbers)
    }

    /// Goes on from a saved state: what follows is what would have followed.
    ///
    /// # Errors
    /// Numbers or a place of another model, rule or text.
    pub fn restore(&mut self, state: TrainerState, numbers: &Numbers<'_>) -> Result<()> {
        let carried = self.runner.state().count();
        copy("weights", numbers.weights, &mut self.store.values)?;
        copy("buffers", numbers.buffers, &mut self.store.buffers)?;
        if numbers.carried.len() != carried {
            return Err(other_model("carried", numbers.carried.len(), carried));
        }
        self.runner.state_mut().zip(&numbers.carried).for_each(|(to, from)| *to = *from);
        let all = self.store.values.len() + self.store.buffers.len();
        if !(numbers.best.is_empty() || numbers.best.len() == all) {
            return Err(other_model("best weights", numbers.best.len(), all));
        }
        self.best = numbers.best.to_vec();
        if !(numbers.mean_buffers.is_empty() || numbers.mean_buffers.len() == self.store.buffers.len()) {
            let found = numbers.mean_buffers.len();
            return Err(other_model("statistics of averaged weights", found, self.store.buffers.len()));
        }
        self.mean_buffers = numbers.mean_buffers.to_vec();
        self.descent.restore(state.descent, numbers.optimizer, numbers.average)?;
        self.feed.seek(&state.cursor)?;
        self.step = state.step;
        self.tokens_seen = state.tokens_seen;
        Ok(())
    }
}

/// Asks whether there is memory for `n_params` weights with their gradients, moments and averages. What the tapes need comes on
/// top of it.
fn reserve(config: &TrainerConfig, division: Division, n_params: usize) -> Result<()> {
    // Weights, two moments, the best weights; a gradient of each shard; an average, a sum, quantized weights.
    let swa = config.descent.swa > 0.0;
    let copies = [config.descent.ema > 0.0, swa, swa, config.descent.accumulate > 1, config.qat.is_some()];
    let averages = copies.into_iter().filter(|&copy| copy).count();
    let bytes = n_params.saturating_mul(4 * (4 + division.shards + averages));
    let megabytes = bytes.div_ceil(1_000_000);
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| {
        Error::Run(format!(
            "{megabytes} MB of memory for {n_params} weights, their gradients and moments cannot be had: take a smaller model, \
             or fewer shards"
        ))
    })
}

/// What each window of `len` tokens is cut into at update number `step` of `total`, of which windows grow over the share `warmup`: 8
/// pieces at first, then 4, then 2, then 1, as far as the length divides. It depends on nothing else, so that a resumed run cuts alike.
fn pieces(warmup: f64, len: usize, step: u64, total: u64) -> usize {
    let growing = warmup * total as f64;
    let passed = if growing > 0.0 { (3.0 * step as f64 / growing) as u32 } else { 3 };
    let pieces = 8usize >> passed.min(3);
    if len.is_multiple_of(pieces) { pieces } else { 1 }
}

/// Whether the state of the stack goes on from window to window: no block bounds it by a context.
pub fn carries(config: &ModelConfig) -> bool {
    !config.has_attention() && config.position == siskin_format::config::Position::None
}

fn copy(name: &str, from: &[f32], to: &mut [f32]) -> Result<()> {
    if from.len() != to.len() {
        return Err(other_model(name, from.len(), to.len()));
    }
    to.copy_from_slice(from);
    Ok(())
}

fn other_model(name: &str, found: usize, expected: usize) -> Error {
    Error::Run(format!(
        "the checkpoint has {found} {name}, this model needs {expected}: it is of another model"
    ))
}

#[cfg(test)]
mod tests {
    use super::pieces;

    #[test]
    fn windows_grow_over_the_share_of_the_steps_that_was_asked_for() {
        let at = |step| pieces(0.3, 64, step, 100);
        assert_eq!([0, 9, 10, 19, 20, 29, 30, 99].map(at), [8, 8, 4, 4, 2, 2, 1, 1]);
        assert_eq!([0, 50].map(|step| pieces(0.0, 64, step, 100)), [1, 1]);
        // 12 tokens have no eighth; a run without an end (`u64::MAX` steps) is at its beginning.
        assert_eq!([0, 10].map(|step| pieces(0.3, 12, step, 100)), [1, 4]);
    }
}
