//! Language models, built from the same configuration as the runtime's: embedding, blocks, final norm, head.
//!
//! A [`Model`] holds no weights: it says which ranges of a [`ParamStore`] make which layer, and runs them on a
//! [`Tape`]. Its files mirror those of the runtime.

mod gru;
mod lstm;
mod norm;
mod observed;
mod recompute;
mod rnn;
pub mod traced;
mod transformer;

use siskin_format::config::{BlockConfig, Position};
use siskin_format::{ConfigError, ModelConfig};

use crate::float::Float;
use crate::ops::cross_entropy::{Head, IGNORE};
use crate::ops::distillation::Lesson;
use crate::ops::dropout::Dropout;
use crate::ops::embedding::Positions;
use crate::params::{ParamLayout, ParamStore};
use crate::tape::Tape;
use crate::tensor::{Layout, Matrix, Var, Vector};
use norm::NormLayer;
pub(crate) use observed::Observed;
use observed::Watches;

/// A language model without its weights.
#[derive(Clone, Debug)]
pub struct Model<T> {
    config: ModelConfig,
    layout: ParamLayout,
    embedding: Matrix,                 // [vocab_size, d_model]
    learned_positions: Option<Matrix>, // [context, d_model]
    fixed_positions: Vec<T>,           // [context, d_model], or empty
    blocks: Vec<Block<T>>,
    encoder: Vec<transformer::Transformer<T>>,
    encoder_norm: Option<NormLayer>,
    final_norm: NormLayer,
    head: Head,
    time_major: bool,
    quantizes: bool,
    recompute: bool,
}

#[derive(Clone, Debug)]
enum Block<T> {
    Rnn(rnn::Rnn),
    Gru(gru::Gru),
    Lstm(lstm::Lstm),
    Transformer(Box<transformer::Transformer<T>>),
}

/// Windows of text side by side, and what should follow each token.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// `[batch, len]`, window by window.
    pub tokens: &'a [u32],
    /// `[batch, len]`; [`IGNORE`] counts for nothing. Empty when only logits are wanted.
    pub targets: &'a [u32],
    /// Number of windows.
    pub batch: usize,
    /// Tokens of each.
    pub len: usize,
    /// What an encoder reads before.
    pub source: Source<'a>,
}

/// A source for each window of a [`Batch`], filled up to one length by padding, which nobody attends to.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// `[batch, len]`, source by source.
    pub tokens: &'a [u32],
    /// `[batch]`: tokens of each source that are none of the padding, at least 1.
    pub lens: &'a [u32],
    /// Tokens of each, with padding.
    pub len: usize,
}

impl Source<'_> {
    /// None, for a model without an encoder.
    pub const NONE: Source<'static> = Source { tokens: &[], lens: &[], len: 0 };
}

/// What the encoder made of a batch's sources.
#[derive(Clone, Copy, Debug)]
struct Encoded<'a> {
    encoded: Var, // [rows of the sources, d_model]
    layout: Layout,
    lens: &'a [u32], // [batch]
}

impl Batch<'_> {
    /// Targets that count.
    pub fn counted(&self) -> usize {
        self.targets.iter().filter(|&&t| t != IGNORE).count()
    }

    /// The same tokens as windows of a `pieces`-th of the length.
    ///
    /// # Panics
    /// If `pieces` does not divide the length.
    pub fn cut_into(self, pieces: usize) -> Self {
        assert!(self.len.is_multiple_of(pieces), "{pieces} pieces of {} tokens", self.len);
        Batch { batch: self.batch * pieces, len: self.len / pieces, ..self }
    }
}

/// What is random about a training step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Dropout rate, 0 for none.
    pub dropout: f64,
    /// Seed of the run.
    pub seed: u64,
    /// Number of the step.
    pub step: u64,
    /// Tells the parts of one batch apart.
    pub part: u64,
}

impl Noise {
    /// Nothing random.
    pub const NONE: Noise = Noise { dropout: 0.0, seed: 0, step: 0, part: 0 };
}

/// What a training pass is to learn.
#[derive(Clone, Copy, Debug)]
pub enum Goal<'a, T> {
    /// The batch's targets: the loss is `-ln p(target)`.
    Targets,
    /// To answer as a teacher does wherever the batch has a target: the loss is the divergence from its answers.
    Teacher(Lesson<'a, T>),
}

/// What a training pass adds to.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// As long as the parameters.
    pub flat: &'a mut [T],
    /// As long as the store's buffers: sums of batch norms' means and mean squares.
    pub moments: &'a mut [T],
}

/// State of one block, for every sequence of a batch. Transformer blocks have none.
#[derive(Clone, Debug, PartialEq)]
pub struct CellState<T> {
    /// `[batch, hidden]`.
    pub h: Vec<T>,
    /// `[batch, hidden]`, LSTM only.
    pub c: Vec<T>,
}

/// What recurrent blocks carry from one window to the next; no gradient flows through it.
#[derive(Clone, Debug, PartialEq)]
pub struct CarriedState<T> {
    /// One per block.
    pub blocks: Vec<CellState<T>>,
}

impl<T: Float> CarriedState<T> {
    /// Forgets: back to zeros, as at the start of a text.
    pub fn reset(&mut self) {
        for cell in &mut self.blocks {
            cell.h.fill(T::ZERO);
            cell.c.fill(T::ZERO);
        }
    }

    /// Forgets what some of `batch` sequences carry.
    pub(crate) fn reset_some(&mut self, sequences: std::ops::Range<usize>, batch: usize) {
        for values in self.blocks.iter_mut().flat_map(|cell| [&mut cell.h, &mut cell.c]) {
            let width = values.len() / batch;
            values[sequences.start * width..sequences.end * width].fill(T::ZERO);
        }
    }

    /// The state of the first `n` of `batch` sequences.
    pub(crate) fn first(&self, n: usize, batch: usize) -> Self {
        let cut = |x: &[T]| x[..x.len() / batch * n].to_vec();
        let blocks = self.blocks.iter().map(|cell| CellState { h: cut(&cell.h), c: cut(&cell.c) });
        CarriedState { blocks: blocks.collect() }
    }

    /// Every element, in a fixed order, for a checkpoint.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flat_map(|cell| cell.h.iter().chain(&cell.c))
    }

    /// Every element, in the order of [`CarriedState::values`], to restore a checkpoint.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.blocks.iter_mut().flat_map(|cell| cell.h.iter_mut().chain(&mut cell.c))
    }
}

/// Running statistics in a pass.
enum Running<'a, T> {
    Collect(&'a mut [T]),
    Use(&'a [T]),
}

/// One forward pass: what every layer needs.
struct Pass<'a, T> {
    tape: &'a mut Tape<T>,
    params: &'a [T],
    running: Running<'a, T>,
    layout: Layout,
    noise: Noise,
    dropouts: u64,
    /// Lengths of the sources, while the encoder reads them.
    encoding: Option<&'a [u32]>,
    /// What it made of them.
    source: Option<Encoded<'a>>,
    /// What is looked at on the way, in an observed pass.
    watches: Option<Watches>,
}

impl<'a, T: Float> Pass<'a, T> {
    /// A pass at its beginning: no encoder has read, nothing is looked at.
    fn new(
        tape: &'a mut Tape<T>,
        params: &'a [T],
        running: Running<'a, T>,
        layout: Layout,
        noise: Noise,
    ) -> Self {
        Pass {
            tape,
            params,
            running,
            layout,
            noise,
            dropouts: 0,
            encoding: None,
            source: None,
            watches: None,
        }
    }

    /// The next dropout of the pass; `None` when off.
    fn next_dropout(&mut self) -> Option<Dropout> {
        let Noise { dropout, seed, step, part } = self.noise;
        if dropout == 0.0 {
            return None;
        }
        self.dropouts += 1;
        Some(Dropout::new(dropout, seed, &[step, part, self.dropouts]))
    }

    fn dropped(&mut self, x: Var) -> Var {
        match self.next_dropout() {
            Some(dropout) => self.tape.dropout(x, dropout),
            None => x,
        }
    }

    /// How a block is left: `h`, or `x + h`, with dropout on `h`.
    fn leave(&mut self, x: Var, h: Var, residual: bool) -> Var {
        let h = self.dropped(h);
        if residual { self.tape.add(x, h) } else { h }
    }

    /// `x + W branch + b`, or without x, with dropout on what is added.
    fn project_back(&mut self, x: Var, branch: Var, w: Matrix, bias: Option<Vector>, residual: bool) -> Var {
        // An observed pass looks at the branch alone.
        if residual && self.noise.dropout == 0.0 && self.observing().is_none() {
            return self.tape.linear_onto(self.params, x, branch, w, bias);
        }
        let y = self.tape.linear(self.params, branch, w, bias);
        self.watch_output(y);
        self.leave(x, y, residual)
    }
}

impl<T: Float> Model<T> {
    /// The model that `config` describes.
    ///
    /// # Errors
    /// `config` is not valid.
    pub fn new(config: &ModelConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let layout = ParamLayout::new(config);
        let embedding = layout.matrix("embed.weight");
        let weight = if config.tied_head { embedding } else { layout.matrix("head.weight") };
        let bias = layout.vector("head.bias");
        let blocks = config.blocks.iter().enumerate().map(|(index, block)| match block {
            BlockConfig::Rnn(cell) => Block::Rnn(rnn::Rnn::new(config, &layout, cell, index)),
            BlockConfig::Gru(cell) => Block::Gru(gru::Gru::new(config, &layout, cell, index)),
            BlockConfig::Lstm(cell) => Block::Lstm(lstm::Lstm::new(config, &layout, cell, index)),
            BlockConfig::Transformer(t) => {
                let scope = format!("blocks.{index}.");
                Block::Transformer(Box::new(transformer::Transformer::new(config, &layout, t, &scope)))
            }
        });
        let encoder = config.encoder.iter().enumerate().map(|(index, t)| {
            transformer::Transformer::new(config, &layout, t, &format!("encoder.blocks.{index}."))
        });
        Ok(Model {
            embedding,
            learned_positions: (config.position == Position::Learned)
                .then(|| layout.matrix("position.weight")),
            fixed_positions: match config.position {
                Position::Sinusoidal => sinusoids(config.context, config.d_model),
                _ => Vec::new(),
            },
            blocks: blocks.collect(),
            encoder: encoder.collect(),
            encoder_norm: config
                .has_encoder()
                .then(|| NormLayer::new(config, &layout, config.final_norm, "encoder.final_norm")),
            final_norm: NormLayer::new(config, &layout, config.final_norm, "final_norm"),
            head: Head { weight, bias, softcap: f64::from(config.logit_softcap) },
            time_major: config.blocks.iter().any(|block| block.recurrent().is_some()),
            recompute: false,
            config: config.clone(),
            layout,
            quantizes: false,
        })
    }

    /// From now on products read what the runtime's quantized products would, or (`false`) the exact activations.
    pub fn fake_quantize(&mut self, on: bool) {
        self.quantizes = on;
    }

    /// The same model, whose training passes keep the inputs of the blocks alone and run each block again on the way back: a third more
    /// products, a fraction of the memory, gradients of the same bits.
    pub fn recomputing(self, recompute: bool) -> Self {
        Model { recompute, ..self }
    }

    /// What it was built from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where its parameters lie.
    pub fn param_layout(&self) -> &ParamLayout {
        &self.layout
    }

    /// State at the start of a text, for `batch` sequences.
    pub fn new_state(&self, batch: usize) -> CarriedState<T> {
        let zeros = |n: usize| vec![T::ZERO; batch * n];
        let cell = |block: &BlockConfig| {
            let hidden = block.recurrent().map_or(0, |cell| cell.hidden);
            let cells = if matches!(block, BlockConfig::Lstm(_)) { hidden } else { 0 };
            CellState { h: zeros(hidden), c: zeros(cells) }
        };
        CarriedState { blocks: self.config.blocks.iter().map(cell).collect() }
    }

    /// Trains on a batch as far as the gradient: returns the sum of `-ln p(target)` in nats, and adds the gradient of `scale` times
    /// that sum to `grads`. `state` moves on by the window.
    ///
    /// # Panics
    /// If slices have wrong lengths, a token is outside the vocabulary, or the window is longer than the context
    /// of a model that has one.
    pub fn loss_and_gradient(
        &self,
        tape: &mut Tape<T>,
        store: &ParamStore<T>,
        grads: Gradients<'_, T>,
        batch: Batch<'_>,
        state: &mut CarriedState<T>,
        noise: Noise,
        scale: T,
    ) -> f64 {
        self.learn(Goal::Targets, tape, store, grads, batch, state, noise, scale)
    }

    /// As [`Model::loss_and_gradient`], with the loss of any goal.
    ///
    /// # Panics
    /// As there, or if a lesson is of another batch.
    pub fn learn(
        &self,
        goal: Goal<'_, T>,
        tape: &mut Tape<T>,
        store: &ParamStore<T>,
        grads: Gradients<'_, T>,
        batch: Batch<'_>,
        state: &mut CarriedState<T>,
        noise: Noise,
        scale: T,
    ) -> f64 {
        if self.recompute {
            return self.learn_again(goal, tape, store, grads, batch, state, noise, scale);
        }
        tape.reset(true);
        let layout = self.rows_of(batch);
        let running = Running::Collect(grads.moments);
        let params = &store.values[..];
        let mut pass = Pass::new(tape, params, running, layout, noise);
        let x = self.forward(&mut pass, batch, state);
        let flat = grads.flat;
        let loss = self.goal_loss(goal, tape, params, flat, x, batch, layout, scale);
        tape.backward(params, flat);
        tape.reset(false);
        loss
    }

    /// The loss of what the head reads, whose gradient is then ready to flow back.
    fn goal_loss(
        &self,
        goal: Goal<'_, T>,
        tape: &mut Tape<T>,
        params: &[T],
        flat: &mut [T],
        x: Var,
        batch: Batch<'_>,
        layout: Layout,
        scale: T,
    ) -> f64 {
        let targets = batch.targets;
        match goal {
            Goal::Targets => tape.head_loss(params, Some(flat), x, self.head, targets, layout, scale),
            Goal::Teacher(lesson) => {
                tape.distillation_loss(params, Some(flat), x, self.head, lesson, targets, layout, scale)
            }
        }
    }

    /// What the head reads after each token of a batch, `[rows, width]`, in evaluation: what a student needs of this model as its teacher.
    /// `state` moves on by the window.
    ///
    /// # Panics
    /// As [`Model::loss_and_gradient`].
    pub fn hidden(
        &self,
        tape: &mut Tape<T>,
        store: &ParamStore<T>,
        batch: Batch<'_>,
        state: &mut CarriedState<T>,
    ) -> Vec<T> {
        let (x, _) = self.evaluate(tape, store, batch, state);
        let hidden = tape.value(x).to_vec();
        tape.reset(false);
        hidden
    }

    /// What [`Model::hidden`] and these parameters teach.
    pub fn lesson<'a>(&self, params: &'a [T], hidden: &'a [T]) -> Lesson<'a, T> {
        Lesson { params, head: self.head, hidden }
    }

    /// Sum of `-ln p(target)` over a batch, in nats, in evaluation: no dropout, running statistics. `state` moves on by the window.
    ///
    /// # Panics
    /// As [`Model::loss_and_gradient`].
    pub fn loss(
        &self,
        tape: &mut Tape<T>,
        store: &ParamStore<T>,
        batch: Batch<'_>,
        state: &mut CarriedState<T>,
    ) -> f64 {
        let (x, layout) = self.evaluate(tape, store, batch, state);
        let loss = tape.head_loss(&store.values, None, x, self.head, batch.targets, layout, T::ONE);
        tape.reset(false);
        loss
    }

    /// Logits of every position of a batch, `[batch * len, vocab_size]`, window by window, in evaluation. `state` moves on by the
    /// window.
    ///
    /// # Panics
    /// As [`Model::loss_and_gradient`].
    pub fn logits(
        &self,
        tape: &mut Tape<T>,
        store: &ParamStore<T>,
        batch: Batch<'_>,
        state: &mut CarriedState<T>,
    ) -> Vec<T> {
        let (x, layout) = self.evaluate(tape, store, batch, state);
        let z = tape.logits(&store.values, x, self.head);
        let (z, vocab) = (tape.value(z), self.config.vocab_size);
        let mut logits = Vec::with_capacity(z.len());
        for b in 0..batch.batch {
            for t in 0..batch.len {
                logits.extend_from_slice(&z[layout.row(b, t) * vocab..][..vocab]);
            }
        }
        logits
    }

    fn evaluate(
        &self,
        tape: &mut Tape<T>,
        store: &ParamStore<T>,
        batch: Batch<'_>,
        state: &mut CarriedState<T>,
    ) -> (Var, Layout) {
        tape.reset(false);
        let layout = self.rows_of(batch);
        let running = Running::Use(&store.buffers);
        let mut pass = Pass::new(tape, &store.values, running, layout, Noise::NONE);
        (self.forward(&mut pass, batch, state), layout)
    }

    fn rows_of(&self, batch: Batch<'_>) -> Layout {
        let limited = self.config.has_attention() || self.config.position != Position::None;
        let longest = batch.len.max(batch.source.len);
        assert!(!limited || longest <= self.config.context, "a window longer than the context");
        Layout { batch: batch.batch, len: batch.len, time_major: self.time_major }
    }

    /// From tokens to what the head reads: `[rows, head_width]`.
    fn forward<'a>(&self, pass: &mut Pass<'a, T>, batch: Batch<'a>, state: &mut CarriedState<T>) -> Var {
        self.encode(pass, batch);
        let mut x = self.embed(pass, batch.tokens);
        for (index, state) in state.blocks.iter_mut().enumerate() {
            x = self.block(index, pass, x, state);
        }
        self.leave(pass, x)
    }

    /// Lets the encoder read the sources, if there is one: what it makes of them is then in `pass.source`. It is not looked at.
    fn encode<'a>(&self, pass: &mut Pass<'a, T>, batch: Batch<'a>) {
        let Some(norm) = &self.encoder_norm else { return };
        let Source { tokens, lens, len } = batch.source;
        assert_eq!(lens.len(), batch.batch, "a source per window of a model with an encoder");
        let layout = Layout { batch: batch.batch, len, time_major: false };
        let (windows, watches) = (std::mem::replace(&mut pass.layout, layout), pass.watches.take());
        pass.encoding = Some(lens);
        let mut x = self.embed(pass, tokens);
        for block in &self.encoder {
            x = block.forward(pass, x);
        }
        let encoded = norm.forward(pass, x);
        (pass.layout, pass.watches, pass.encoding) = (windows, watches, None);
        pass.source = Some(Encoded { encoded, layout, lens });
    }

    /// What the head reads: `[rows, head_width]`.
    fn leave(&self, pass: &mut Pass<'_, T>, x: Var) -> Var {
        let x = self.final_norm.forward(pass, x);
        pass.watch("final_norm", x);
        pass.tape.product_input(x)
    }

    /// What the first block reads: `[rows, d_model]`.
    fn embed(&self, pass: &mut Pass<'_, T>, tokens: &[u32]) -> Var {
        let positions = match self.learned_positions {
            Some(matrix) => Positions::Learned(matrix),
            None if self.fixed_positions.is_empty() => Positions::None,
            None => Positions::Fixed(&self.fixed_positions),
        };
        pass.tape.quantizes = self.quantizes;
        let embedded = pass.tape.embedding(pass.params, tokens, pass.layout, self.embedding, positions);
        pass.watch("embed", embedded);
        pass.dropped(embedded)
    }

    /// Block number `index`: x and the result `[rows, width]`.
    fn block(&self, index: usize, pass: &mut Pass<'_, T>, x: Var, state: &mut CellState<T>) -> Var {
        pass.enter_block(index);
        match &self.blocks[index] {
            Block::Rnn(rnn) => rnn.forward(pass, x, state),
            Block::Gru(gru) => gru.forward(pass, x, state),
            Block::Lstm(lstm) => lstm.forward(pass, x, state),
            Block::Transformer(transformer) => transformer.forward(pass, x),
        }
    }
}

/// Fixed positions (Vaswani et al. 2017, section 3.5): `sin(t / 10000^(2i/d))` at channel 2i, the cosine at 2i + 1.
fn sinusoids<T: Float>(context: usize, d_model: usize) -> Vec<T> {
    let channel = |t: usize, j: usize| {
        let angle = t as f64 * 10_000f64.powf(-((j - j % 2) as f64) / d_model as f64);
        T::from_f64(if j.is_multiple_of(2) { angle.sin() } else { angle.cos() })
    };
    (0..context * d_model).map(|i| channel(i / d_model, i % d_model)).collect()
}

#[cfg(test)]
pub(crate) mod tests;
