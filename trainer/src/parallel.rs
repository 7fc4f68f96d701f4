//! Data-parallel steps: a batch cut into shards, each run forward and backward on one core.
//!
//! The number of shards is a setting and not the number of threads, each shard has its own tape and gradient, and
//! gradients are summed in a fixed tree: the same seed gives the same weights, whatever the thread count. Within
//! a shard, a few windows at a time go through the tape, so that what they need stays in the core's cache and memory does
//! not grow with the batch.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::float::Float;
use crate::model::{Batch, CarriedState, Goal, Gradients, Model, Noise, Observed, Source};
use crate::ops::simd::add_into;
use crate::params::ParamStore;
use crate::tape::Tape;

/// How fast batch norms' running statistics follow the batches.
const STATISTICS_RATE: f64 = 0.1;

/// Elements of a gradient that one core adds at a time.
const REDUCE_CHUNK: usize = 1 << 14;

/// Fewest and most tokens of a batch that are looked at when it is observed.
const OBSERVED_TOKENS: [usize; 2] = [64, 256];

/// How a batch is cut. The division decides the rounding of the result; the thread count does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// Shards of a batch: at most so many cores are busy, and so many gradients are held.
    pub shards: usize,
    /// Most windows that go through a tape at once.
    pub windows: usize,
}

impl Division {
    /// A division that suits most machines: shards of at least 384 tokens, so that summing gradients stays cheap beside
    /// computing them, 8 of them at most, but two from 256 tokens on, so that small batches have two cores; about 512 tokens through a tape at once, more of which only cost memory. A `recurrent`
    /// model multiplies one token of each window at a time, so its shards have at least 16 windows, which go through the tape
    /// together, 32 at most: fewer would read the weights too often for what they compute.
    pub fn for_batch(batch: usize, len: usize, recurrent: bool) -> Self {
        let (least, windows) = if recurrent { (16, 32) } else { (1, (512 / len.max(1)).max(1)) };
        let fits = |&n: &usize| least * n <= batch && batch * len >= if n == 2 { 256 } else { 384 * n };
        Division { shards: [8, 4, 2].into_iter().find(fits).unwrap_or(1), windows }
    }
}

/// What a step or an evaluation found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Sum of `-ln p(target)` in nats.
    pub sum: f64,
    /// Targets that counted.
    pub counted: usize,
}

impl Loss {
    /// Mean per counted target, in nats.
    pub fn mean(self) -> f64 {
        self.sum / self.counted as f64
    }
}

/// Windows that go through the tape together, and what their recurrent blocks carry.
#[derive(Debug)]
struct Part<T> {
    first: usize,
    windows: usize,
    training: CarriedState<T>,
    evaluation: CarriedState<T>,
    /// The teacher's.
    teaching: CarriedState<T>,
}

/// A model whose answers another one learns.
#[derive(Debug)]
pub struct Teacher<T> {
    /// The model, of the student's configuration.
    pub model: Model<T>,
    /// Its parameters.
    pub store: ParamStore<T>,
}

/// What one core works with.
#[derive(Debug)]
struct Shard<T> {
    gradient: Vec<T>, // as long as the parameters
    moments: Vec<T>,  // as long as the store's buffers
    parts: Vec<Part<T>>,
    loss: f64,
}

/// Runs steps and evaluations of one model on batches of one size. Buffers persist from step to step.
#[derive(Debug)]
pub struct DataParallel<T> {
    shards: Vec<Shard<T>>,
    tapes: Tapes<T>,
    batch: usize,
    /// What each window of a training batch is cut into.
    pieces: usize,
    teacher: Option<Teacher<T>>,
    threads: rayon::ThreadPool,
}

/// Tapes that no shard uses at the moment: as many as threads, however many shards take turns on them.
#[derive(Debug)]
struct Tapes<T>(Mutex<Vec<Tape<T>>>);

impl<T: Float> Tapes<T> {
    /// Runs `work` with a tape that nobody else has.
    fn lend<R>(&self, work: impl FnOnce(&mut Tape<T>) -> R) -> R {
        let mut tape = self.lock().pop().unwrap_or_default();
        let result = work(&mut tape);
        self.lock().push(tape);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Tape<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Float> DataParallel<T> {
    /// For batches of `batch` windows, on `threads` threads.
    ///
    /// # Errors
    /// The threads cannot be started.
    ///
    /// # Panics
    /// If `batch`, the shards or the windows of the division are 0.
    pub fn new(model: &Model<T>, batch: usize, division: Division, threads: usize) -> Result<Self> {
        assert!(batch > 0 && division.shards > 0 && division.windows > 0, "an empty batch or division");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| {
            Error::Setting { key: "threads", problem: format!("{threads} threads cannot be started: {e}") }
        })?;
        let shards = division.shards.min(batch);
        let bounds = |s: usize| s * batch / shards;
        let shards =
            (0..shards).map(|s| Shard::new(model, bounds(s)..bounds(s + 1), division.windows)).collect();
        let tapes = Tapes(Mutex::new(Vec::new()));
        Ok(DataParallel { shards, tapes, batch, pieces: 1, teacher: None, threads: pool })
    }

    /// From now on each window of a training batch goes through the model as `pieces` shorter ones, which do not see each
    /// other. For models without recurrent blocks, which would carry nothing between the pieces.
    pub fn cut_windows(&mut self, pieces: usize) {
        self.pieces = pieces;
    }

    /// From now on the loss of a training step is the divergence of the model's answers from those of `teacher`, which reads the same windows.
    pub fn learn_from(&mut self, teacher: Teacher<T>) {
        self.teacher = Some(teacher);
    }

    /// Trains on a batch as far as the gradient of its mean loss, which [`DataParallel::gradient`] then gives; moves the
    /// store's running statistics.
    ///
    /// # Panics
    /// If the batch has another size than this was made for, or as [`Model::loss_and_gradient`].
    pub fn step(
        &mut self,
        model: &Model<T>,
        store: &mut ParamStore<T>,
        batch: Batch<'_>,
        noise: Noise,
    ) -> Loss {
        self.step_at_rate(model, store, batch, noise, STATISTICS_RATE)
    }

    /// As [`DataParallel::step`], with the store's running statistics moved `rate` of the way to those of the batch.
    pub(crate) fn step_at_rate(
        &mut self,
        model: &Model<T>,
        store: &mut ParamStore<T>,
        batch: Batch<'_>,
        noise: Noise,
        rate: f64,
    ) -> Loss {
        assert_eq!(batch.batch, self.batch, "windows of a batch");
        let counted = batch.counted();
        let scale = T::from_f64(1.0 / counted.max(1) as f64);
        let (shards, tapes, values, pieces) = (&mut self.shards, &self.tapes, &*store, self.pieces);
        let teacher = self.teacher.as_ref();
        self.threads.install(|| {
            shards.par_iter_mut().with_max_len(1).for_each(|shard| {
                tapes.lend(|tape| shard.train(tape, model, values, teacher, batch, pieces, noise, scale));
            });
            sum_tree(shards);
        });
        self.update_statistics(store, rate);
        Loss { sum: self.sum(), counted }
    }

    /// Looks at a training pass over the first windows of a batch, an eighth of them or some hundred tokens; changes nothing.
    ///
    /// # Panics
    /// As [`DataParallel::step`].
    pub(crate) fn observe(&self, model: &Model<T>, store: &ParamStore<T>, batch: Batch<'_>) -> Observed {
        assert_eq!(batch.batch, self.batch, "windows of a batch");
        let part = &self.shards[0].parts[0];
        let [least, most] = OBSERVED_TOKENS.map(|tokens| tokens.div_ceil(batch.len));
        let windows = (self.batch / 8).clamp(least, most).min(part.windows);
        let state = part.training.first(windows, part.windows);
        self.tapes.lend(|tape| model.observe(tape, store, cut(batch, 0, windows), &state))
    }

    /// Gradient of the last step's mean loss.
    pub fn gradient(&mut self) -> &mut [T] {
        &mut self.shards[0].gradient
    }

    /// Runs `f` on the gradient of the last step, on the threads of the shards.
    pub fn update<R: Send>(&mut self, f: impl FnOnce(&mut [T]) -> R + Send) -> R {
        let DataParallel { shards, threads, .. } = self;
        threads.install(|| f(&mut shards[0].gradient))
    }

    /// Loss of a batch in evaluation, whose recurrent state is not that of training.
    ///
    /// # Panics
    /// As [`DataParallel::step`].
    pub fn evaluate(&mut self, model: &Model<T>, store: &ParamStore<T>, batch: Batch<'_>) -> Loss {
        assert_eq!(batch.batch, self.batch, "windows of a batch");
        let (shards, tapes) = (&mut self.shards, &self.tapes);
        self.threads.install(|| {
            shards.par_iter_mut().with_max_len(1).for_each(|shard| {
                tapes.lend(|tape| shard.evaluate(tape, model, store, batch));
            });
        });
        Loss { sum: self.sum(), counted: batch.counted() }
    }

    /// Forgets the recurrent state of training: what follows is another text.
    pub fn reset_state(&mut self) {
        self.parts_mut().for_each(|part| {
            part.training.reset();
            part.teaching.reset();
        });
    }

    /// Forgets the recurrent state of some windows of training.
    pub fn reset_windows(&mut self, windows: std::ops::Range<usize>) {
        for part in self.parts_mut() {
            let inside = |window: usize| window.clamp(part.first, part.first + part.windows) - part.first;
            let some = inside(windows.start)..inside(windows.end);
            part.training.reset_some(some.clone(), part.windows);
            part.teaching.reset_some(some, part.windows);
        }
    }

    /// Forgets the recurrent state of evaluation.
    pub fn reset_evaluation(&mut self) {
        self.parts_mut().for_each(|part| part.evaluation.reset());
    }

    /// Every element of the recurrent state of training, in a fixed order, for a checkpoint.
    pub fn state(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().flat_map(|shard| &shard.parts).flat_map(|part| part.training.values())
    }

    /// Every element of the recurrent state of training, in the order of [`DataParallel::state`].
    pub fn state_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.parts_mut().flat_map(|part| part.training.values_mut())
    }

    /// Bytes of tapes and gradients.
    pub fn bytes(&self) -> usize {
        let shard = |s: &Shard<T>| (s.gradient.len() + s.moments.len()) * size_of::<T>();
        let tapes: usize = self.tapes.lock().iter().map(Tape::bytes).sum();
        tapes + self.shards.iter().map(shard).sum::<usize>()
    }

    /// The threads that the shards run on, for an optimiser to use too.
    pub fn threads(&self) -> &rayon::ThreadPool {
        &self.threads
    }

    fn parts_mut(&mut self) -> impl Iterator<Item = &mut Part<T>> {
        self.shards.iter_mut().flat_map(|shard| &mut shard.parts)
    }

    /// Sum of the shards' losses, in their order.
    fn sum(&self) -> f64 {
        self.shards.iter().map(|shard| shard.loss).sum()
    }

    fn update_statistics(&mut self, store: &mut ParamStore<T>, rate: f64) {
        let parts = self.shards.iter().map(|shard| shard.parts.len()).sum();
        let (first, rest) = self.shards.split_at_mut(1);
        for shard in rest {
            add_into(&mut first[0].moments, &shard.moments);
        }
        store.update_statistics(&first[0].moments, parts, rate);
    }
}

/// Adds all gradients into the first, neighbours first, then neighbours of neighbours.
fn sum_tree<T: Float>(shards: &mut [Shard<T>]) {
    let mut distance = 1;
    while distance < shards.len() {
        for i in (0..shards.len() - distance).step_by(2 * distance) {
            let (left, right) = shards.split_at_mut(i + distance);
            let sums = left[i].gradient.par_chunks_mut(REDUCE_CHUNK);
            sums.zip(right[0].gradient.par_chunks(REDUCE_CHUNK)).for_each(|(sum, part)| add_into(sum, part));
        }
        distance *= 2;
    }
}

impl<T: Float> Shard<T> {
    fn new(model: &Model<T>, windows: std::ops::Range<usize>, most: usize) -> Self {
        let n_parts = windows.len().div_ceil(most);
        let bound = |p: usize| windows.start + p * windows.len() / n_parts;
        let part = |p: usize| {
            let n = bound(p + 1) - bound(p);
            let [training, evaluation, teaching] = [(); 3].map(|()| model.new_state(n));
            Part { first: bound(p), windows: n, training, evaluation, teaching }
        };
        Shard {
            gradient: vec![T::ZERO; model.param_layout().len()],
            moments: vec![T::ZERO; model.param_layout().buffers_len()],
            parts: (0..n_parts).map(part).collect(),
            loss: 0.0,
        }
    }

    fn train(
        &mut self,
        tape: &mut Tape<T>,
        model: &Model<T>,
        store: &ParamStore<T>,
        teacher: Option<&Teacher<T>>,
        batch: Batch<'_>,
        pieces: usize,
        noise: Noise,
        scale: T,
    ) {
        self.gradient.fill(T::ZERO);
        self.moments.fill(T::ZERO);
        self.loss = 0.0;
        for part in &mut self.parts {
            let noise = Noise { part: part.first as u64, ..noise };
            let grads = Gradients { flat: &mut self.gradient, moments: &mut self.moments };
            let (state, rows) = (&mut part.training, cut(batch, part.first, part.windows).cut_into(pieces));
            let hidden = teacher.map(|t| t.model.hidden(tape, &t.store, rows, &mut part.teaching));
            let goal = match (teacher, &hidden) {
                (Some(t), Some(hidden)) => Goal::Teacher(t.model.lesson(&t.store.values, hidden)),
                _ => Goal::Targets,
            };
            self.loss += model.learn(goal, tape, store, grads, rows, state, noise, scale);
        }
    }

    fn evaluate(&mut self, tape: &mut Tape<T>, model: &Model<T>, store: &ParamStore<T>, batch: Batch<'_>) {
        self.loss = 0.0;
        for part in &mut self.parts {
            let rows = cut(batch, part.first, part.windows);
            self.loss += model.loss(tape, store, rows, &mut part.evaluation);
        }
    }
}

/// `windows` windows of a batch from the `first`.
fn cut(batch: Batch<'_>, first: usize, windows: usize) -> Batch<'_> {
    let range = first * batch.len..(first + windows) * batch.len;
    Batch {
        tokens: &batch.tokens[range.clone()],
        targets: &batch.targets[range],
        batch: windows,
        len: batch.len,
        source: match batch.source {
            Source { lens: [], .. } => Source::NONE,
            Source { tokens, lens, len } => Source {
                tokens: &tokens[first * len..(first + windows) * len],
                lens: &lens[first..first + windows],
                len,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::{filled, gru_config, lstm_config, tiny_gpt, tiny_seq2seq, tokens};

    fn source_of<'a>(config: &siskin_format::ModelConfig, ids: &'a [u32]) -> Source<'a> {
        match config.has_encoder() {
            true => Source { tokens: &ids[..20], lens: &[4, 1, 3, 4, 2], len: 4 },
            false => Source::NONE,
        }
    }

    fn train(threads: usize, division: Division, config: &siskin_format::ModelConfig) -> Vec<f32> {
        let model = Model::new(config).unwrap();
        let mut store: ParamStore<f32> = filled(config, 3).cast();
        let mut runner = DataParallel::new(&model, 5, division, threads).unwrap();
        let ids = tokens(5 * 6, config.vocab_size, 4);
        let source = source_of(config, &ids);
        let batch = Batch { tokens: &ids, targets: &ids, batch: 5, len: 6, source };
        for step in 0..4 {
            let noise = Noise { dropout: 0.1, seed: 9, step, part: 0 };
            runner.step(&model, &mut store, batch, noise);
            let gradient = runner.gradient().to_vec();
            store.values.iter_mut().zip(&gradient).for_each(|(w, g)| *w -= 0.1 * g);
        }
        store.values.iter().copied().chain(runner.state().copied()).chain(store.buffers.clone()).collect()
    }

    #[test]
    fn weights_do_not_depend_on_the_number_of_threads() {
        for config in [tiny_gpt(), gru_config(), tiny_seq2seq(true)] {
            let division = Division { shards: 3, windows: 1 };
            let one = train(1, division, &config);
            assert_eq!(one, train(2, division, &config));
            assert_eq!(one, train(3, division, &config));
            assert!(one.iter().all(|w| w.is_finite()));
        }
    }

    #[test]
    fn the_division_changes_rounding_only() {
        for config in [tiny_gpt(), tiny_seq2seq(false)] {
            check_division(&config);
        }
    }

    fn check_division(config: &siskin_format::ModelConfig) {
        let model = Model::new(config).unwrap();
        let mut store = filled(config, 3);
        let ids = tokens(5 * 6, config.vocab_size, 4);
        let source = source_of(config, &ids);
        let batch = Batch { tokens: &ids, targets: &ids, batch: 5, len: 6, source };
        let mut results = Vec::new();
        for (shards, windows) in [(1, 5), (2, 2), (5, 1), (4, 9)] {
            let division = Division { shards, windows };
            let mut runner = DataParallel::new(&model, 5, division, 2).unwrap();
            let loss = runner.step(&model, &mut store, batch, Noise::NONE);
            assert!((runner.evaluate(&model, &store, batch).sum - loss.sum).abs() < 1e-9);
            results.push((loss.mean(), runner.gradient().to_vec()));
        }
        for (loss, gradient) in &results[1..] {
            assert!((loss - results[0].0).abs() < 1e-12);
            assert!(gradient.iter().zip(&results[0].1).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }

    /// A student of its own weights learns nothing, window after window of a recurrent state, and of others it comes nearer to its teacher.
    #[test]
    fn a_student_comes_to_answer_as_its_teacher() {
        for config in [tiny_gpt(), lstm_config(), tiny_seq2seq(false)] {
            let model = Model::new(&config).unwrap();
            let mut store = filled(&config, 3);
            let mut runner = DataParallel::new(&model, 5, Division { shards: 2, windows: 2 }, 2).unwrap();
            let ids = tokens(5 * 6, config.vocab_size, 4);
            let batch =
                Batch { tokens: &ids, targets: &ids, batch: 5, len: 6, source: source_of(&config, &ids) };
            runner.learn_from(Teacher { model: model.clone(), store: store.clone() });
            for _ in 0..2 {
                let loss = runner.step(&model, &mut store, batch, Noise::NONE).mean();
                assert!(loss.abs() < 1e-12 && runner.gradient().iter().all(|g| g.abs() < 1e-12), "{loss}");
            }
            runner.reset_state();
            let mut student = filled(&config, 5);
            let mut losses = Vec::new();
            for _ in 0..40 {
                losses.push(runner.step(&model, &mut student, batch, Noise::NONE).mean());
                runner.reset_state();
                let gradient = runner.gradient().to_vec();
                student.values.iter_mut().zip(&gradient).for_each(|(w, g)| *w -= 0.5 * g);
            }
            assert!(losses[39] < 0.5 * losses[0], "from {} to {}", losses[0], losses[39]);
        }
    }

    #[test]
    fn default_divisions() {
        assert_eq!(Division::for_batch(12, 64, false), Division { shards: 2, windows: 8 });
        assert_eq!(Division::for_batch(6, 64, false), Division { shards: 2, windows: 8 });
        assert_eq!(Division::for_batch(64, 256, false), Division { shards: 8, windows: 2 });
        assert_eq!(Division::for_batch(1, 4096, false), Division { shards: 1, windows: 1 });
        assert_eq!(Division::for_batch(50, 50, true), Division { shards: 2, windows: 32 });
        assert_eq!(Division::for_batch(8, 512, true), Division { shards: 1, windows: 32 });
    }

    /// 2,048 tokens of 32,000 would take 262 MB in logits alone; each tape holds a block of them, and no more tapes than threads or shards are busy.
    #[test]
    fn logits_of_a_large_vocabulary_stay_small_on_few_and_many_threads() {
        let config = siskin_format::ModelConfig { vocab_size: 32_000, ..tiny_gpt() };
        let (windows, len) = (64, 32);
        let config = siskin_format::ModelConfig { context: len, ..config };
        let model = Model::new(&config).unwrap();
        let mut store: ParamStore<f32> = ParamStore::new(&config);
        let ids = tokens(windows * len, config.vocab_size, 4);
        let batch = Batch { tokens: &ids, targets: &ids, batch: windows, len, source: Source::NONE };
        let division = Division { shards: 4, ..Division::for_batch(windows, len, false) };
        let all_logits = windows * len * config.vocab_size * size_of::<f32>();
        let gradients = division.shards * store.values.len() * size_of::<f32>();
        for (threads, tapes) in [(2, 2), (16, 4)] {
            let mut runner = DataParallel::new(&model, windows, division, threads).unwrap();
            runner.step(&model, &mut store, batch, Noise::NONE);
            let bytes = runner.bytes() - gradients;
            let block = 64 * config.vocab_size * size_of::<f32>();
            assert!(bytes < tapes * (block + (3 << 20)), "{bytes} bytes in {tapes} tapes");
            assert!(bytes < all_logits / 4, "{bytes} bytes, all logits are {all_logits}");
        }
    }

    #[test]
    fn cut_windows_are_shorter_windows_of_the_same_tokens() {
        let config = tiny_gpt();
        let model = Model::new(&config).unwrap();
        let mut store = filled(&config, 3);
        let ids = tokens(4 * 6, config.vocab_size, 4);
        let whole = Batch { tokens: &ids, targets: &ids, batch: 4, len: 6, source: Source::NONE };
        let division = Division { shards: 2, windows: 2 };
        let mut cut = DataParallel::new(&model, 4, division, 2).unwrap();
        cut.cut_windows(3);
        let loss = cut.step(&model, &mut store, whole, Noise::NONE);
        let mut short = DataParallel::new(&model, 12, division, 2).unwrap();
        let expected = short.step(&model, &mut store, whole.cut_into(3), Noise::NONE);
        assert!((loss.sum - expected.sum).abs() < 1e-9 && loss.counted == expected.counted);
        let pairs = cut.gradient().iter().zip(short.gradient().iter());
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-12));
        cut.cut_windows(1);
        assert!((cut.step(&model, &mut store, whole, Noise::NONE).sum - loss.sum).abs() > 1e-3);
    }

    /// On one thread, as with two it is chance whether both are ever busy at once.
    #[test]
    fn buffers_are_reused_from_step_to_step() {
        let config = tiny_gpt();
        let model = Model::new(&config).unwrap();
        let mut store: ParamStore<f32> = filled(&config, 3).cast();
        let ids = tokens(5 * 6, config.vocab_size, 4);
        let batch = Batch { tokens: &ids, targets: &ids, batch: 5, len: 6, source: Source::NONE };
        let mut runner = DataParallel::new(&model, 5, Division { shards: 2, windows: 2 }, 1).unwrap();
        runner.step(&model, &mut store, batch, Noise::NONE);
        let bytes = runner.bytes();
        for _ in 0..3 {
            runner.step(&model, &mut store, batch, Noise::NONE);
        }
        assert_eq!(runner.bytes(), bytes);
    }
}
