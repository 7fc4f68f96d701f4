//! A model: an open file, and where in it each block finds its weights.

mod attention;
mod encoder;
mod gru;
mod lstm;
mod norm;
mod recurrent;
mod rnn;
mod rope;
mod token_shift;
mod transformer;

use crate::error::Error;
use crate::generate::prompt_tokens;
use crate::linear::{Linear, Vector};
use crate::pass::{Cx, keep};
use crate::profile::Stage;
use crate::session::SessionOptions;
use crate::state::{BlockState, Plan, State, Weights, Workspace};
use crate::tokenizer::{Tokenizer, TokenizerError};
use encoder::Encoder;
use gru::Gru;
use lstm::Lstm;
use norm::Norm;
use rnn::Rnn;
use rope::{Rope, Sinusoidal};
use siskin_format::config::{Position, TransformerConfig};
use siskin_format::memory::{self, NoMemory};
use siskin_format::{BlockConfig, DType, File, ModelConfig, OpenOptions};
use std::path::Path;
use transformer::Transformer;

#[derive(Clone, Debug)]
enum Block {
    Rnn(Rnn),
    Gru(Gru),
    Lstm(Lstm),
    Transformer(Box<Transformer>),
}

/// What is added to the embedding.
#[derive(Clone, Debug)]
enum Positions {
    /// Nothing: no positions, or rotary ones inside the blocks.
    None,
    /// `[context, d_model]`.
    Learned(Linear),
    Sinusoidal(Sinusoidal),
}

/// An immutable model, shared by any number of sessions. Weights stay where the file has them, mapped or in memory.
#[derive(Debug)]
pub struct Model {
    file: File,
    embed: Linear, // [vocab_size, d_model]
    positions: Positions,
    ropes: Vec<Rope>, // one per head width
    blocks: Vec<Block>,
    encoder: Option<Encoder>,
    final_norm: Norm,
    head: Linear, // [vocab_size, width]
    weights: Weights,
}

impl Model {
    /// Maps and checks the file at `path`. The weights are not read until they are used.
    ///
    /// # Errors
    /// [`Error::Format`] with what is wrong about the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Model, Error> {
        Model::from_file(File::open(path, &OpenOptions::default())?)
    }

    /// A model in memory.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Model, Error> {
        Model::from_file(File::from_bytes(bytes)?)
    }

    /// The model of an open file.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the file lacks a tensor of its own config, which an opened file never does,
    /// [`Error::OutOfMemory`].
    pub fn from_file(file: File) -> Result<Model, Error> {
        let config = file.config();
        let embed = Linear::load(&file, "embed.weight", None)?;
        let positions = match config.position {
            Position::Learned => Positions::Learned(Linear::load(&file, "position.weight", None)?),
            Position::Sinusoidal => {
                Positions::Sinusoidal(Sinusoidal::new(config.d_model).map_err(out_of_memory)?)
            }
            Position::None | Position::Rope { .. } => Positions::None,
        };
        let mut ropes = Vec::new();
        let mut blocks = memory::with_capacity(config.n_layers()).map_err(out_of_memory)?;
        let mut width = config.d_model;
        for (index, block) in config.blocks.iter().enumerate() {
            blocks.push(Block::load(&file, config, index, block, width, &mut ropes)?);
            width = block.output_width(width);
        }
        let encoder = match config.has_encoder() {
            true => Some(Encoder::load(&file, config, &mut ropes)?),
            false => None,
        };
        let head_bias = Vector::load_if(&file, "head.bias", config.head_bias)?;
        let head = match config.tied_head {
            true => embed.with_bias(head_bias),
            false => Linear::load(&file, "head.weight", None)?.with_bias(head_bias),
        };
        let final_norm = Norm::load(&file, config, "final_norm", config.final_norm)?;
        let weights = Weights {
            quantized: file.tensors().iter().any(|info| info.dtype.is_quantized()),
            all_f32: file.tensors().iter().all(|info| info.dtype == DType::F32),
        };
        Ok(Model { embed, positions, ropes, blocks, encoder, final_norm, head, weights, file })
    }

    /// What the model is.
    pub fn config(&self) -> &ModelConfig {
        self.file.config()
    }

    /// The file: tokenizer, receipt, tensors.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The token that a target begins with, in a model with an encoder: the vocabulary's begin token; else its end token; else
    /// the first.
    pub fn target_start(&self) -> u32 {
        let special = self.file.vocab().special();
        special.bos.or(special.eos).unwrap_or(0)
    }

    /// The tokens that this model is given for the prompt `text`: the text's own in a model with an encoder, whose source it is,
    /// else as [`crate::prompt_tokens`] says.
    ///
    /// # Errors
    /// Text that the vocabulary cannot express.
    pub fn prompt_tokens(
        &self,
        tokenizer: &Tokenizer,
        text: impl AsRef<[u8]>,
    ) -> Result<Vec<u32>, TokenizerError> {
        match self.config().has_encoder() {
            true => tokenizer.encode(text),
            false => prompt_tokens(tokenizer, text),
        }
    }

    /// Bytes that a session with these options allocates, besides the stacks of its threads.
    ///
    /// # Errors
    /// As [`crate::Session::new`], of which it makes the same checks but allocates nothing.
    pub fn session_bytes(&self, options: &SessionOptions) -> Result<usize, Error> {
        self.plan(1, options).map(|plan| plan.bytes)
    }

    /// Bytes that a [`crate::Batch`] of `slots` sequences with these options allocates, besides the stacks of its threads.
    ///
    /// # Errors
    /// As [`crate::Batch::new`], of which it makes the same checks but allocates nothing.
    pub fn batch_bytes(&self, slots: usize, options: &SessionOptions) -> Result<usize, Error> {
        self.plan(slots, options).map(|plan| plan.bytes)
    }

    /// Positions that each sequence of a session with these options can hold; `None` for no limit.
    ///
    /// # Errors
    /// [`Error::Context`] for more than the model's context where that is a bound, and for none at all.
    pub(crate) fn bound(&self, options: &SessionOptions) -> Result<Option<usize>, Error> {
        let config = self.config();
        let (max, asked) = match config.is_bounded() {
            true => (config.context, Some(options.ctx.unwrap_or(config.context))),
            // A window bounds what is kept, and who asks for fewer positions gets fewer.
            false if config.has_attention() => (usize::MAX, options.ctx),
            false => return Ok(None),
        };
        match asked {
            Some(ctx) if !(1..=max).contains(&ctx) => Err(Error::Context { asked: ctx, max: config.context }),
            asked => Ok(asked),
        }
    }

    pub(crate) fn plan(&self, slots: usize, options: &SessionOptions) -> Result<Plan, Error> {
        let ctx = self.bound(options)?;
        if slots == 0 {
            return Err(Error::Slot { slot: 0, slots });
        }
        let (batch, threads) = (options.batch.max(1), options.n_threads());
        let plan = Plan::new(self.config(), self.weights, slots, ctx, batch, threads);
        plan.filter(|plan| plan.bytes <= isize::MAX as usize).ok_or(Error::OutOfMemory { bytes: usize::MAX })
    }

    /// Runs `tokens`, those of all segments of `cx`, through embedding and blocks. Prompt and decoding, of one sequence or
    /// several, are the same call; the last block's output of the wanted tokens is left in `ws.x` `[wanted, width]`.
    ///
    /// A pass that is cancelled on its way ([`Cx::is_cancelled`]) leaves nothing of use, in states of recurrent blocks neither.
    pub(crate) fn forward(&self, cx: &mut Cx, ws: &mut Workspace, state: &mut State, tokens: &[u32]) {
        cx.stage(Stage::Embedding);
        self.embed(cx, ws, tokens);
        self.turn(cx, ws);
        let last = self.blocks.len() - 1;
        let State { blocks: states, encoder, .. } = state;
        let sources = encoder.as_ref().map_or(&[][..], |encoder| &encoder.lens);
        for (i, (block, state)) in self.blocks.iter().zip(states).enumerate() {
            match (block, state) {
                (Block::Rnn(rnn), BlockState::Hidden(h)) => rnn.forward(cx, ws, h),
                (Block::Gru(gru), BlockState::Hidden(h)) => gru.forward(cx, ws, h),
                (Block::Lstm(lstm), BlockState::Lstm { h, c }) => lstm.forward(cx, ws, h, c),
                (Block::Transformer(block), BlockState::CacheF32(cache)) => {
                    block.forward(cx, ws, cache, sources, i == last);
                }
                (Block::Transformer(block), BlockState::CacheF16(cache)) => {
                    block.forward(cx, ws, cache, sources, i == last);
                }
                _ => unreachable!("states are made from the config that the blocks were made from"),
            }
            if cx.is_cancelled() {
                return cx.end();
            }
        }
        // A Transformer at the end has done so itself.
        if cx.wanted() < cx.tokens {
            keep(&mut ws.x, self.head_width(), cx.segments);
            cx.narrow();
        }
        cx.end();
    }

    /// The angles of the tokens' positions, `ws.angles`.
    fn turn(&self, cx: &mut Cx, ws: &mut Workspace) {
        if !self.ropes.is_empty() {
            cx.stage(Stage::Angles);
        }
        for (rope, angles) in self.ropes.iter().zip(&mut ws.angles) {
            for segment in cx.segments.iter() {
                let angles = &mut angles[segment.start * rope.head_dim..];
                for (t, angles) in angles.chunks_exact_mut(rope.head_dim).take(segment.len).enumerate() {
                    rope.angles(segment.position + t, angles);
                }
            }
        }
    }

    /// Token embedding and position: `ws.x` `[tokens, d_model]`.
    fn embed(&self, cx: &mut Cx, ws: &mut Workspace, tokens: &[u32]) {
        let embed = self.embed.matrix(cx.weights);
        let d_model = embed.cols;
        for (segment, row) in cx.segments.iter().flat_map(|s| s.rows().map(move |row| (s, row))) {
            let x = &mut ws.x[row * d_model..(row + 1) * d_model];
            embed.read_row(tokens[row] as usize, x);
            let position = segment.position + row - segment.start;
            match &self.positions {
                Positions::None => {}
                Positions::Learned(table) => {
                    let p = &mut ws.y[..d_model];
                    table.matrix(cx.weights).read_row(position, p);
                    for (x, p) in x.iter_mut().zip(p) {
                        *x += *p;
                    }
                }
                Positions::Sinusoidal(sinusoidal) => sinusoidal.add(position, x),
            }
        }
    }

    /// Logits of wanted tokens `start..start + n` of the pass that [`Model::forward`] just made, to rows `at..at + n` of
    /// `ws.logits`.
    pub(crate) fn logits(&self, cx: &mut Cx, ws: &mut Workspace, start: usize, n: usize, at: usize) {
        let (width, cap, softcap) = (self.head_width(), self.config().logit_softcap, cx.kernels.softcap);
        let rows = self.head.rows();
        let logits = &mut ws.logits[at * rows..(at + n) * rows];
        cx.stage(Stage::Head);
        self.final_norm.rows(cx, &ws.x[start * width..(start + n) * width], width, &mut ws.a);
        match cap > 0.0 {
            true => self.head.forward_then(cx, &ws.a.input(), logits, |row| softcap(cap, row)),
            false => self.head.forward(cx, &ws.a.input(), logits),
        }
        cx.end();
    }

    fn head_width(&self) -> usize {
        self.head.cols()
    }
}

impl Block {
    fn load(
        file: &File,
        config: &ModelConfig,
        index: usize,
        block: &BlockConfig,
        width: usize,
        ropes: &mut Vec<Rope>,
    ) -> Result<Block, Error> {
        Ok(match block {
            BlockConfig::Rnn(rnn) => Block::Rnn(Rnn::load(file, config, index, rnn, width)?),
            BlockConfig::Gru(gru) => Block::Gru(Gru::load(file, config, index, gru, width)?),
            BlockConfig::Lstm(lstm) => Block::Lstm(Lstm::load(file, config, index, lstm, width)?),
            BlockConfig::Transformer(t) => {
                let (rope, scope) = (block_rope(config, t, ropes)?, format!("blocks.{index}."));
                Block::Transformer(Box::new(Transformer::load(file, config, &scope, t, width, rope)?))
            }
        })
    }
}

/// Which angles turn the queries and keys of a block, if any do.
fn block_rope(
    config: &ModelConfig,
    t: &TransformerConfig,
    ropes: &mut Vec<Rope>,
) -> Result<Option<usize>, Error> {
    match config.position {
        Position::Rope { theta } => {
            rope_index(ropes, t.head_dim, theta, &config.rope_divisors).map(Some).map_err(out_of_memory)
        }
        _ => Ok(None),
    }
}

/// Blocks of the same head width share their angles. The order is that of [`Plan`]: first use first.
fn rope_index(
    ropes: &mut Vec<Rope>,
    head_dim: usize,
    theta: f32,
    divisors: &[f32],
) -> Result<usize, NoMemory> {
    if let Some(index) = ropes.iter().position(|rope| rope.head_dim == head_dim) {
        return Ok(index);
    }
    memory::push(ropes, Rope::new(head_dim, theta, divisors)?)?;
    Ok(ropes.len() - 1)
}

fn out_of_memory(NoMemory { bytes }: NoMemory) -> Error {
    Error::OutOfMemory { bytes }
}
