//! The memory of a session: what a model remembers between steps, and the buffers of a step. Everything is counted before
//! it is allocated, and allocated before the first step.

use crate::activations::{Activations, reserved, zeros};
use crate::error::Error;
use crate::kernels::simd::LANES;
use crate::kernels::{CacheCell, TILE, attend_scratch};
use crate::pass::Segment;
use half::f16;
use siskin_format::config::{Position, TransformerConfig};
use siskin_format::{BlockConfig, ModelConfig};
use std::ops::Range;

/// What a plan must know of a model's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weights {
    /// Some are q8 or q4, so activations are needed as codes.
    pub(crate) quantized: bool,
    /// All are f32, so caches keep f32 too.
    pub(crate) all_f32: bool,
}

/// Sizes of everything that a session allocates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Sequences.
    pub(crate) slots: usize,
    /// Positions of the caches, a multiple of 8; 0 without attention.
    capacity: usize,
    /// Tokens of one pass.
    pub(crate) batch: usize,
    /// Tokens whose logits are made in one product.
    pub(crate) head_batch: usize,
    quantized: bool,
    wide_cache: bool,
    width: usize,
    a: usize,
    b: usize,
    q: usize,
    kv: usize,
    gate: usize,
    gx: usize,
    angles: Vec<usize>,
    /// Tokens of the model.
    pub(crate) vocab_size: usize,
    /// Floats of scratch of each thread.
    pub(crate) scratch: usize,
    /// Bytes of everything, without the stacks of threads.
    pub(crate) bytes: usize,
}

/// Floats and cache vectors of one block's state.
fn state_len(block: &BlockConfig, capacity: usize) -> Option<(usize, usize)> {
    match block {
        BlockConfig::Rnn(rnn) => Some((rnn.cell.hidden, 0)),
        BlockConfig::Gru(gru) => Some((gru.hidden, 0)),
        BlockConfig::Lstm(lstm) => Some((2 * lstm.hidden, 0)),
        BlockConfig::Transformer(t) => {
            let k = (capacity / LANES).checked_mul(t.head_dim)?.checked_mul(t.n_kv_heads)?;
            let v = t.head_dim.div_ceil(LANES).checked_mul(capacity)?.checked_mul(t.n_kv_heads)?;
            Some((0, k.checked_add(v)?))
        }
    }
}

impl Plan {
    /// The plan for `slots` sequences of `ctx` positions, passes of at most `batch` tokens, or as many as there are
    /// sequences, and `threads` threads; `None` when a size cannot be counted.
    pub(crate) fn new(
        config: &ModelConfig,
        weights: Weights,
        slots: usize,
        ctx: usize,
        batch: usize,
        threads: usize,
    ) -> Option<Plan> {
        let capacity = if config.has_attention() { ctx.checked_next_multiple_of(LANES)? } else { 0 };
        let batch = batch.max(slots);
        let widths = config.widths();
        let width = widths.iter().copied().max().unwrap_or(0);
        let (mut b, mut q, mut kv, mut gate, mut gx, mut scratch) = (0, 0, 0, 0, 0, 0);
        let (mut state_floats, mut state_cells) = (0usize, 0usize);
        let mut angles = Vec::new();
        for block in &config.blocks {
            let (floats, cells) = state_len(block, capacity)?;
            state_floats = state_floats.checked_add(floats)?;
            state_cells = state_cells.checked_add(cells)?;
            match block {
                BlockConfig::Transformer(t) => {
                    let q_width = t.n_heads.checked_mul(t.head_dim)?;
                    (b, q) = (q_width.max(t.d_ff).max(b), q_width.max(q));
                    kv = kv.max(t.n_kv_heads.checked_mul(t.head_dim)?);
                    gate = gate.max(t.d_ff);
                    scratch = scratch.max(attention_scratch(t, capacity)?);
                    if matches!(config.position, Position::Rope { .. }) && !angles.contains(&t.head_dim) {
                        angles.push(t.head_dim);
                    }
                }
                recurrent => {
                    let hidden = recurrent.recurrent()?.hidden;
                    let gates = gates(recurrent);
                    (b, gx) = (b.max(hidden), gx.max(gates * hidden));
                }
            }
        }
        let mut plan = Plan {
            slots,
            capacity,
            batch,
            head_batch: batch.min(4),
            quantized: weights.quantized,
            wide_cache: weights.all_f32,
            width,
            a: width,
            b,
            q,
            kv,
            gate,
            gx,
            angles,
            vocab_size: config.vocab_size,
            scratch,
            bytes: 0,
        };
        plan.bytes = plan.count(threads, state_floats, state_cells)?;
        Some(plan)
    }

    fn count(&self, threads: usize, state_floats: usize, state_cells: usize) -> Option<usize> {
        let angles: usize = self.angles.iter().sum();
        let per_token = [2 * self.width, self.q, 2 * self.kv, self.gate, self.gx, angles];
        let mut floats = per_token.iter().sum::<usize>().checked_mul(self.batch)?;
        floats = floats.checked_add(self.gx.checked_mul(self.slots)?)?;
        floats = floats.checked_add(self.vocab_size.checked_mul(self.logit_rows())?)?;
        floats = floats
            .checked_add(state_floats.checked_mul(self.slots)?.checked_mul(2)?)? // twice: to undo
            .checked_add(threads.checked_mul(self.scratch)?)?;
        let batches = Activations::bytes(self.batch, self.a, self.quantized)?
            .checked_add(Activations::bytes(self.batch, self.b, self.quantized)?)?;
        let cell = if self.wide_cache { size_of::<[f32; LANES]>() } else { size_of::<[f16; LANES]>() };
        // Lists of tokens, bands, segments and positions.
        let per_token = size_of::<u32>() + size_of::<Range<usize>>() + size_of::<usize>();
        let per_slot = size_of::<Segment>() + size_of::<(usize, usize)>() + 2 * size_of::<usize>();
        let lists = self.batch.checked_mul(per_token)?.checked_add(self.slots.checked_mul(per_slot)?)?;
        let caches = state_cells.checked_mul(self.slots)?.checked_mul(cell)?;
        floats.checked_mul(4)?.checked_add(batches)?.checked_add(caches)?.checked_add(lists)
    }

    /// Rows of logits that are kept at a time.
    fn logit_rows(&self) -> usize {
        self.head_batch.max(self.slots)
    }
}

/// Floats that a thread needs for attention: a band of queries, and what the kernel takes.
fn attention_scratch(t: &TransformerConfig, capacity: usize) -> Option<usize> {
    let group = t.n_heads / t.n_kv_heads;
    let queries = TILE.next_multiple_of(group).checked_mul(t.head_dim)?;
    queries.checked_add(attend_scratch(t.head_dim, capacity)?)
}

/// Gates of a recurrent block.
fn gates(block: &BlockConfig) -> usize {
    match block {
        BlockConfig::Lstm(_) => 4,
        BlockConfig::Gru(_) => 3,
        _ => 1,
    }
}

/// Keys and values of one block, of every sequence (see [`crate::kernels::HeadCache`] for the order within a head).
#[derive(Clone, Debug)]
pub(crate) struct Cache<C> {
    pub(crate) k: Vec<[C; LANES]>, // [n_kv_heads][slots][capacity / 8][head_dim]
    pub(crate) v: Vec<[C; LANES]>, // [n_kv_heads][slots][ceil(head_dim / 8)][capacity]
    pub(crate) slots: usize,
    pub(crate) capacity: usize,
}

impl<C: CacheCell> Cache<C> {
    fn new(t: &TransformerConfig, slots: usize, capacity: usize) -> Result<Self, Error> {
        let mut cache = Cache { k: Vec::new(), v: Vec::new(), slots, capacity };
        cache.k = zeros(t.n_kv_heads * slots * cache.k_unit(t.head_dim))?;
        cache.v = zeros(t.n_kv_heads * slots * cache.v_unit(t.head_dim))?;
        Ok(cache)
    }

    /// Elements of `k` that belong to one head of one sequence.
    pub(crate) fn k_unit(&self, head_dim: usize) -> usize {
        self.capacity / LANES * head_dim
    }

    /// Elements of `v` that belong to one head of one sequence.
    pub(crate) fn v_unit(&self, head_dim: usize) -> usize {
        head_dim.div_ceil(LANES) * self.capacity
    }
}

/// What one block remembers.
#[derive(Clone, Debug)]
pub(crate) enum BlockState {
    /// Output of an Elman or GRU block, `[slots, hidden]`.
    Hidden(Vec<f32>),
    /// Output and cell of an LSTM block, `[slots, hidden]` each.
    Lstm { h: Vec<f32>, c: Vec<f32> },
    /// Keys and values of a Transformer block with f32 weights, which lose nothing.
    CacheF32(Cache<f32>),
    /// Keys and values of any other Transformer block.
    CacheF16(Cache<f16>),
}

impl BlockState {
    /// The floats of a recurrent block; empty for any other.
    pub(crate) fn recurrent(&mut self) -> [&mut [f32]; 2] {
        match self {
            BlockState::Hidden(h) => [h, &mut []],
            BlockState::Lstm { h, c } => [h, c],
            BlockState::CacheF32(_) | BlockState::CacheF16(_) => [&mut [], &mut []],
        }
    }
}

/// What a model remembers of the tokens of every sequence so far.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Tokens of each sequence.
    pub(crate) positions: Vec<usize>, // [slots]
    pub(crate) blocks: Vec<BlockState>,
    /// Positions and recurrent states before the current call.
    before: (Vec<usize>, Vec<f32>),
}

impl State {
    pub(crate) fn new(config: &ModelConfig, plan: &Plan) -> Result<State, Error> {
        let (slots, mut blocks) = (plan.slots, Vec::new());
        for block in &config.blocks {
            blocks.push(match block {
                BlockConfig::Rnn(rnn) => BlockState::Hidden(zeros(slots * rnn.cell.hidden)?),
                BlockConfig::Gru(gru) => BlockState::Hidden(zeros(slots * gru.hidden)?),
                BlockConfig::Lstm(lstm) => {
                    BlockState::Lstm { h: zeros(slots * lstm.hidden)?, c: zeros(slots * lstm.hidden)? }
                }
                BlockConfig::Transformer(t) if plan.wide_cache => {
                    BlockState::CacheF32(Cache::new(t, slots, plan.capacity)?)
                }
                BlockConfig::Transformer(t) => BlockState::CacheF16(Cache::new(t, slots, plan.capacity)?),
            });
        }
        let floats = blocks.iter_mut().flat_map(BlockState::recurrent).map(|state| state.len()).sum();
        Ok(State { positions: zeros(slots)?, blocks, before: (zeros(slots)?, zeros(floats)?) })
    }

    /// Keeps what [`State::undo`] goes back to. Caches need no copy: no position is read before it is written again.
    pub(crate) fn keep(&mut self) {
        let (positions, mut floats) = (&mut self.before.0, &mut self.before.1[..]);
        positions.copy_from_slice(&self.positions);
        for state in self.blocks.iter_mut().flat_map(BlockState::recurrent) {
            let (kept, rest) = floats.split_at_mut(state.len());
            kept.copy_from_slice(state);
            floats = rest;
        }
    }

    /// Goes back to what [`State::keep`] has kept.
    pub(crate) fn undo(&mut self) {
        let (positions, mut floats) = (&self.before.0, &self.before.1[..]);
        self.positions.copy_from_slice(positions);
        for state in self.blocks.iter_mut().flat_map(BlockState::recurrent) {
            let (kept, rest) = floats.split_at(state.len());
            state.copy_from_slice(kept);
            floats = rest;
        }
    }

    /// Forgets a sequence. Caches keep their bytes, which no position reads before it is written again.
    pub(crate) fn reset(&mut self, slot: usize) {
        let slots = self.positions.len();
        self.positions[slot] = 0;
        for state in self.blocks.iter_mut().flat_map(BlockState::recurrent) {
            let hidden = state.len() / slots;
            state[slot * hidden..(slot + 1) * hidden].fill(0.0);
        }
    }
}

/// Buffers of a step, reused by every block.
pub(crate) struct Workspace {
    pub(crate) x: Vec<f32>,           // [tokens, width]: what flows from block to block
    pub(crate) y: Vec<f32>,           // [tokens, width]: what a block makes of it
    pub(crate) a: Activations,        // [tokens, width]: a block's input after its norm
    pub(crate) b: Activations, // [tokens, q_width | d_ff] or [slots, hidden]: what the second product reads
    pub(crate) q: Vec<f32>,    // [tokens, n_heads * head_dim]
    pub(crate) k: Vec<f32>,    // [tokens, n_kv_heads * head_dim]
    pub(crate) v: Vec<f32>,    // [tokens, n_kv_heads * head_dim]
    pub(crate) gate: Vec<f32>, // [tokens, d_ff]
    pub(crate) gx: Vec<f32>,   // [tokens, gates * hidden]
    pub(crate) gh: Vec<f32>,   // [slots, gates * hidden]
    pub(crate) angles: Vec<Vec<f32>>, // per head width: [tokens, head_dim], cosines then sines
    pub(crate) logits: Vec<f32>, // [max(head_batch, slots), vocab_size]
    /// Row and slot of every token of one recurrent step.
    pub(crate) active: Vec<(usize, usize)>, // [slots]
    /// Rows that attention takes together,
    pub(crate) bands: Vec<Range<usize>>, // [tokens]
    /// and the index of their segment.
    pub(crate) owners: Vec<usize>, // [tokens]
}

impl Workspace {
    pub(crate) fn new(plan: &Plan) -> Result<Workspace, Error> {
        let n = plan.batch;
        let angles = plan.angles.iter().map(|head_dim| zeros(n * head_dim));
        Ok(Workspace {
            x: zeros(n * plan.width)?,
            y: zeros(n * plan.width)?,
            a: Activations::new(n, plan.a, plan.quantized)?,
            b: Activations::new(n, plan.b, plan.quantized)?,
            q: zeros(n * plan.q)?,
            k: zeros(n * plan.kv)?,
            v: zeros(n * plan.kv)?,
            gate: zeros(n * plan.gate)?,
            gx: zeros(n * plan.gx)?,
            gh: zeros(plan.slots * plan.gx)?,
            angles: angles.collect::<Result<_, _>>()?,
            logits: zeros(plan.logit_rows() * plan.vocab_size)?,
            active: reserved(plan.slots)?,
            bands: reserved(n)?,
            owners: reserved(n)?,
        })
    }
}
