//! The memory of a session: what a model remembers between steps, and the buffers of a step. Everything is counted before
//! it is allocated, and allocated before the first step.

use crate::activations::Activations;
use crate::kernels::memory::{Buffer, Memory};
use crate::kernels::simd::LANES;
use crate::kernels::{CacheCell, TILE, attend_scratch};
use crate::pass::Segment;
use half::f16;
use siskin_format::config::{Position, RnnConfig, TransformerConfig};
use siskin_format::{BlockConfig, ModelConfig};
use std::ops::Range;

/// Caches are moved by multiples of so many positions, so that each position keeps its lane in every sum (NUMERICS.md, 4).
const STEP: usize = 16;

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
    /// Positions that any token sees at most.
    window: usize,
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
    threads: usize,
    /// Floats of scratch of each thread.
    scratch: usize,
    /// Bytes of everything, without the stacks of threads.
    pub(crate) bytes: usize,
}

impl Plan {
    /// The plan for `slots` sequences of `ctx` positions, or without end, passes of at most `batch` tokens, or as many as there
    /// are sequences, and `threads` threads; `None` when a size cannot be counted.
    pub(crate) fn new(
        config: &ModelConfig,
        weights: Weights,
        slots: usize,
        ctx: Option<usize>,
        batch: usize,
        threads: usize,
    ) -> Option<Plan> {
        let batch = batch.max(slots);
        let capacity = if config.has_attention() { capacity(config, ctx, batch)? } else { 0 };
        let widths = config.widths();
        let width = widths.iter().copied().max().unwrap_or(0);
        let (mut b, mut q, mut kv, mut gate, mut gx, mut scratch) = (0, 0, 0, 0, 0, 0);
        let mut angles = Vec::new();
        for block in &config.blocks {
            if let Some(cell) = block.recurrent() {
                (b, gx) = (b.max(cell.hidden), gx.max(gates(block) * cell.hidden));
            }
        }
        for t in transformers(config) {
            let q_width = t.n_heads.checked_mul(t.head_dim)?;
            (b, q) = (q_width.max(t.d_ff).max(b), q_width.max(q));
            kv = kv.max(t.n_kv_heads.checked_mul(t.head_dim)?);
            gate = gate.max(t.d_ff);
            scratch = scratch.max(attention_scratch(t, capacity)?);
            if matches!(config.position, Position::Rope { .. }) && !angles.contains(&t.head_dim) {
                angles.push(t.head_dim);
            }
        }
        let mut plan = Plan {
            slots,
            capacity,
            window: config.widest_window().unwrap_or(usize::MAX),
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
            threads,
            scratch,
            bytes: 0,
        };
        let mut counting = Memory::counting();
        Parts::new(config, &plan, &mut counting)?;
        plan.bytes = counting.bytes();
        Some(plan)
    }

    /// Rows of logits that are kept at a time.
    fn logit_rows(&self) -> usize {
        (self.head_batch + 1).max(self.slots)
    }
}

/// Positions of the caches, for `ctx` positions and passes of `batch` tokens. Where every block has a window, what lies before it is
/// given up: there is room for the window before a call, to which a cancelled call goes back, for the window of its latest
/// token, each with what [`State::make_room`] keeps besides, and for a pass.
fn capacity(config: &ModelConfig, ctx: Option<usize>, batch: usize) -> Option<usize> {
    let whole = ctx.and_then(|ctx| ctx.checked_next_multiple_of(LANES));
    let window = match config.widest_window().filter(|_| !config.has_encoder()) {
        Some(window) => {
            let kept = window.checked_add(STEP + STEP)?.checked_mul(2)?;
            kept.checked_add(batch)?.checked_next_multiple_of(STEP)
        }
        None => None,
    };
    whole.into_iter().chain(window).min()
}

/// All that is allocated for a session or a batch.
pub(crate) struct Parts {
    pub(crate) ws: Workspace,
    pub(crate) state: State,
    /// Room for the tokens of a pass,
    pub(crate) tokens: Buffer<u32>, // [batch]
    /// and for whose they are.
    pub(crate) segments: Buffer<Segment>, // [slots]
    /// For each thread.
    pub(crate) scratch: Vec<Buffer<f32>>,
}

impl Parts {
    /// Cuts everything from `memory`; `None` where it is too small.
    pub(crate) fn new(config: &ModelConfig, plan: &Plan, memory: &mut Memory) -> Option<Parts> {
        Some(Parts {
            ws: Workspace::new(plan, memory)?,
            state: State::new(config, plan, memory)?,
            tokens: memory.list(&[plan.batch])?,
            segments: memory.list(&[plan.slots])?,
            scratch: (0..plan.threads).map(|_| memory.zeros(&[plan.scratch])).collect::<Option<_>>()?,
        })
    }
}

/// Every block that attends, those of an encoder last.
fn transformers(config: &ModelConfig) -> impl Iterator<Item = &TransformerConfig> {
    let blocks = config.blocks.iter().filter_map(|block| match block {
        BlockConfig::Transformer(t) => Some(t),
        _ => None,
    });
    blocks.chain(&config.encoder)
}

/// Floats that a thread needs for attention: a band of queries, and what the kernel takes.
fn attention_scratch(t: &TransformerConfig, capacity: usize) -> Option<usize> {
    let group = t.n_heads / t.n_kv_heads;
    let queries = TILE.next_multiple_of(group).checked_mul(t.head_dim)?;
    queries.checked_add(attend_scratch(t.head_dim, capacity)?)
}

/// Floats of one sequence that every step of the block, `width` channels wide, overwrites.
pub(crate) fn carried(block: &BlockConfig, width: usize) -> usize {
    match block {
        BlockConfig::Rnn(RnnConfig { cell, .. }) | BlockConfig::Gru(cell) => cell.hidden,
        BlockConfig::Lstm(cell) => 2 * cell.hidden,
        BlockConfig::Transformer(t) => {
            if t.token_shift {
                2 * width
            } else {
                0
            }
        }
    }
}

/// Gates of a recurrent block.
fn gates(block: &BlockConfig) -> usize {
    match block {
        BlockConfig::Lstm(_) => 4,
        BlockConfig::Gru(_) => 3,
        _ => 1,
    }
}

/// What a Transformer block remembers of every sequence.
#[derive(Debug)]
pub(crate) struct Cache<C> {
    /// Input of each part at the last token, in a block with token shift.
    pub(crate) last: [Buffer<f32>; 2], // attention, feed-forward: [slots, d_model], or empty
    /// Of the tokens so far.
    pub(crate) own: KeyValues<C>,
    /// Of the source, in a block with cross-attention.
    pub(crate) cross: Option<KeyValues<C>>,
}

/// Keys and values of some tokens of every sequence; [`crate::kernels::HeadCache`] has the order within a head.
#[derive(Debug)]
pub(crate) struct KeyValues<C> {
    pub(crate) k: Buffer<[C; LANES]>, // [n_kv_heads][slots][capacity / 8][head_dim]
    pub(crate) v: Buffer<[C; LANES]>, // [n_kv_heads][slots][ceil(head_dim / 8)][capacity]
    heads: usize,                     // n_kv_heads
    pub(crate) slots: usize,
    pub(crate) capacity: usize,
}

impl<C: CacheCell> Cache<C> {
    fn new(
        t: &TransformerConfig,
        d_model: usize,
        slots: usize,
        capacity: usize,
        memory: &mut Memory,
    ) -> Option<Self> {
        let last = [slots, if t.token_shift { d_model } else { 0 }];
        let mut key_values = || KeyValues::new(t, slots, capacity, memory);
        let own = key_values()?;
        let cross = if t.cross_attention { Some(key_values()?) } else { None };
        Some(Cache { last: [memory.zeros(&last)?, memory.zeros(&last)?], own, cross })
    }
}

impl<C: CacheCell> KeyValues<C> {
    fn new(t: &TransformerConfig, slots: usize, capacity: usize, memory: &mut Memory) -> Option<Self> {
        let panels = t.head_dim.div_ceil(LANES);
        Some(KeyValues {
            k: memory.zeros(&[t.n_kv_heads, slots, capacity / LANES, t.head_dim])?,
            v: memory.zeros(&[t.n_kv_heads, slots, panels, capacity])?,
            heads: t.n_kv_heads,
            slots,
            capacity,
        })
    }

    /// Moves what sequence `slot` has at the places `from` to those from `to` on; both begin at a multiple of 8.
    fn shift(&mut self, slot: usize, from: &Range<usize>, to: usize) {
        let (units, slots, capacity) = (self.heads * self.slots, self.slots, self.capacity);
        let (k_unit, v_unit) = (self.k.len() / units, self.v.len() / units);
        let head_dim = k_unit / (capacity / LANES);
        let panels = from.start / LANES * head_dim..from.end.div_ceil(LANES) * head_dim;
        for k in self.k.chunks_exact_mut(k_unit).skip(slot).step_by(slots) {
            k.copy_within(panels.clone(), to / LANES * head_dim);
        }
        for v in self.v.chunks_exact_mut(v_unit).skip(slot).step_by(slots) {
            for channels in v.chunks_exact_mut(capacity) {
                channels.copy_within(from.clone(), to);
            }
        }
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
#[derive(Debug)]
pub(crate) enum BlockState {
    /// Output of an Elman or GRU block, `[slots, hidden]`.
    Hidden(Buffer<f32>),
    /// Output and cell of an LSTM block, `[slots, hidden]` each.
    Lstm { h: Buffer<f32>, c: Buffer<f32> },
    /// Keys and values of a Transformer block with f32 weights, which lose nothing.
    CacheF32(Cache<f32>),
    /// Keys and values of any other Transformer block.
    CacheF16(Cache<f16>),
}

impl BlockState {
    /// Of a Transformer block, `width` channels wide.
    fn attending(
        t: &TransformerConfig,
        width: usize,
        slots: usize,
        plan: &Plan,
        memory: &mut Memory,
    ) -> Option<BlockState> {
        Some(match plan.wide_cache {
            true => BlockState::CacheF32(Cache::new(t, width, slots, plan.capacity, memory)?),
            false => BlockState::CacheF16(Cache::new(t, width, slots, plan.capacity, memory)?),
        })
    }

    /// Moves positions of a sequence within a cache, as [`KeyValues::shift`].
    fn shift(&mut self, slot: usize, from: &Range<usize>, to: usize) {
        match self {
            BlockState::CacheF32(cache) => cache.own.shift(slot, from, to),
            BlockState::CacheF16(cache) => cache.own.shift(slot, from, to),
            BlockState::Hidden(_) | BlockState::Lstm { .. } => {}
        }
    }

    /// The floats that every step overwrites, `[slots, width]` each.
    pub(crate) fn carried(&mut self) -> [&mut [f32]; 2] {
        match self {
            BlockState::Hidden(h) => [h, &mut []],
            BlockState::Lstm { h, c } => [h, c],
            BlockState::CacheF32(Cache { last: [a, b], .. })
            | BlockState::CacheF16(Cache { last: [a, b], .. }) => [a, b],
        }
    }
}

/// Where an encoder works, on one source at a time, and what is known of every sequence's source.
#[derive(Debug)]
pub(crate) struct EncoderState {
    /// Tokens of each sequence's source; 0 before it is encoded.
    pub(crate) lens: Buffer<usize>, // [slots]
    /// What flows from block to block.
    pub(crate) x: Buffer<f32>, // [capacity, d_model]
    /// Keys and values of the block at work, with room for any of them.
    pub(crate) cache: BlockState,
}

impl EncoderState {
    fn new(config: &ModelConfig, plan: &Plan, memory: &mut Memory) -> Option<EncoderState> {
        let mut largest = config.encoder.first()?.clone();
        for t in &config.encoder {
            largest.n_kv_heads = largest.n_kv_heads.max(t.n_kv_heads);
            largest.head_dim = largest.head_dim.max(t.head_dim);
        }
        Some(EncoderState {
            lens: memory.zeros(&[plan.slots])?,
            x: memory.zeros(&[plan.capacity, config.d_model])?,
            cache: BlockState::attending(&largest, config.d_model, 1, plan, memory)?,
        })
    }
}

/// What a model remembers of the tokens of every sequence so far.
#[derive(Debug)]
pub(crate) struct State {
    /// Tokens of each sequence.
    pub(crate) positions: Buffer<usize>, // [slots]
    /// Position that stands at the first place of each sequence's caches, a multiple of [`STEP`]: 0 until a window has gone on.
    pub(crate) origins: Buffer<usize>, // [slots]
    pub(crate) blocks: Vec<BlockState>,
    /// In a model with an encoder.
    pub(crate) encoder: Option<EncoderState>,
    /// What a cancelled call goes back to.
    before: Before,
    /// Positions of the caches, and that any token sees at most.
    capacity: usize,
    window: usize,
}

/// Positions, origins and carried floats before the current call.
#[derive(Debug)]
struct Before {
    positions: Buffer<usize>, // [slots]
    origins: Buffer<usize>,   // [slots]
    floats: Buffer<f32>,      // [slots, width], of every block
}

impl State {
    fn new(config: &ModelConfig, plan: &Plan, memory: &mut Memory) -> Option<State> {
        let (slots, mut blocks) = (plan.slots, Vec::with_capacity(config.blocks.len()));
        let (mut width, mut floats) = (config.d_model, 0);
        for block in &config.blocks {
            let shape = [slots, block.recurrent().map_or(0, |cell| cell.hidden)];
            blocks.push(match block {
                BlockConfig::Rnn(_) | BlockConfig::Gru(_) => BlockState::Hidden(memory.zeros(&shape)?),
                BlockConfig::Lstm(_) => {
                    BlockState::Lstm { h: memory.zeros(&shape)?, c: memory.zeros(&shape)? }
                }
                BlockConfig::Transformer(t) => BlockState::attending(t, width, slots, plan, memory)?,
            });
            floats += carried(block, width);
            width = block.output_width(width);
        }
        let before = Before {
            positions: memory.zeros(&[slots])?,
            origins: memory.zeros(&[slots])?,
            floats: memory.zeros(&[slots, floats])?,
        };
        let encoder = match config.has_encoder() {
            true => Some(EncoderState::new(config, plan, memory)?),
            false => None,
        };
        let (positions, origins) = (memory.zeros(&[slots])?, memory.zeros(&[slots])?);
        let capacity = if config.has_attention() { plan.capacity } else { usize::MAX };
        Some(State { positions, origins, blocks, encoder, before, capacity, window: plan.window })
    }

    /// The first position, rounded down to a multiple of [`STEP`], that the token at `position` or a later one sees.
    pub(crate) fn first_kept(&self, position: usize) -> usize {
        (position + 1).saturating_sub(self.window) / STEP * STEP
    }

    /// Makes room for `len` more positions of a sequence: gives up what lies before the windows of the next token and of the first
    /// of the current call, to which the call goes back when it is cancelled. Both are moved to the front of the caches, in one
    /// piece where they touch.
    ///
    /// No lane changes, so no bit does. Decoding comes here once in a window, so a token costs less than one position's move.
    pub(crate) fn make_room(&mut self, slot: usize, len: usize) {
        let (start, position) = (self.before.positions[slot], self.positions[slot]);
        let (old_origin, origin) = (self.before.origins[slot], self.origins[slot]);
        if position - origin + len <= self.capacity {
            return;
        }
        let (old, new) = (self.first_kept(start), self.first_kept(position));
        let gap = start.next_multiple_of(STEP);
        if new < gap {
            self.shift(slot, old - origin..position - origin, 0);
            self.origins[slot] = old;
        } else {
            self.shift(slot, old - old_origin..start - old_origin, 0);
            self.shift(slot, new - origin..position - origin, gap - old);
            self.origins[slot] = new - (gap - old);
        }
        self.before.origins[slot] = old;
    }

    fn shift(&mut self, slot: usize, from: Range<usize>, to: usize) {
        self.blocks.iter_mut().for_each(|block| block.shift(slot, &from, to));
    }

    /// Tokens of each sequence's source, of those that have one; none in a model without an encoder.
    pub(crate) fn sources(&self) -> &[usize] {
        self.encoder.as_ref().map_or(&[], |encoder| &encoder.lens)
    }

    /// Keeps what [`State::undo`] goes back to. Caches need no copy: no position is read before it is written again, and
    /// [`State::make_room`] spares what is gone back to.
    pub(crate) fn keep(&mut self) {
        let Before { positions, origins, floats } = &mut self.before;
        let mut floats = &mut floats[..];
        positions.copy_from_slice(&self.positions);
        origins.copy_from_slice(&self.origins);
        for state in self.blocks.iter_mut().flat_map(BlockState::carried) {
            let (kept, rest) = floats.split_at_mut(state.len());
            kept.copy_from_slice(state);
            floats = rest;
        }
    }

    /// Goes back to what [`State::keep`] has kept.
    pub(crate) fn undo(&mut self) {
        let Before { positions, origins, floats } = &self.before;
        let mut floats = &floats[..];
        self.positions.copy_from_slice(positions);
        self.origins.copy_from_slice(origins);
        for state in self.blocks.iter_mut().flat_map(BlockState::carried) {
            let (kept, rest) = floats.split_at(state.len());
            state.copy_from_slice(kept);
            floats = rest;
        }
    }

    /// Forgets a sequence and its source. Caches keep their bytes, which no position reads before it is written again.
    pub(crate) fn reset(&mut self, slot: usize) {
        let slots = self.positions.len();
        (self.positions[slot], self.origins[slot]) = (0, 0);
        if let Some(encoder) = &mut self.encoder {
            encoder.lens[slot] = 0;
        }
        for state in self.blocks.iter_mut().flat_map(BlockState::carried) {
            let hidden = state.len() / slots;
            state[slot * hidden..(slot + 1) * hidden].fill(0.0);
        }
    }
}

/// Buffers of a step, reused by every block.
pub(crate) struct Workspace {
    pub(crate) x: Buffer<f32>,    // [tokens, width]: what flows from block to block
    pub(crate) y: Buffer<f32>,    // [tokens, width]: what a block makes of it
    pub(crate) a: Activations,    // [tokens, width]: a block's input after its norm
    pub(crate) b: Activations, // [tokens, q_width | d_ff] or [slots, hidden]: what the second product reads
    pub(crate) q: Buffer<f32>, // [tokens, n_heads * head_dim]
    pub(crate) k: Buffer<f32>, // [tokens, n_kv_heads * head_dim]
    pub(crate) v: Buffer<f32>, // [tokens, n_kv_heads * head_dim]
    pub(crate) gate: Buffer<f32>, // [tokens, d_ff]
    pub(crate) gx: Buffer<f32>, // [tokens, gates * hidden]
    pub(crate) gh: Buffer<f32>, // [slots, gates * hidden]
    pub(crate) angles: Vec<Buffer<f32>>, // per head width: [tokens, head_dim], cosines then sines
    pub(crate) logits: Buffer<f32>, // [max(head_batch + 1, slots), vocab_size]
    /// Row and slot of every token of one recurrent step.
    pub(crate) active: Buffer<(usize, usize)>, // [slots]
    /// Rows that attention takes together,
    pub(crate) bands: Buffer<Range<usize>>, // [tokens]
    /// and the index of their segment.
    pub(crate) owners: Buffer<usize>, // [tokens]
}

impl Workspace {
    fn new(plan: &Plan, memory: &mut Memory) -> Option<Workspace> {
        let n = plan.batch;
        let angles = plan.angles.iter().map(|head_dim| memory.zeros(&[n, *head_dim]));
        Some(Workspace {
            angles: angles.collect::<Option<_>>()?,
            x: memory.zeros(&[n, plan.width])?,
            y: memory.zeros(&[n, plan.width])?,
            a: Activations::new(n, plan.a, plan.quantized, memory)?,
            b: Activations::new(n, plan.b, plan.quantized, memory)?,
            q: memory.zeros(&[n, plan.q])?,
            k: memory.zeros(&[n, plan.kv])?,
            v: memory.zeros(&[n, plan.kv])?,
            gate: memory.zeros(&[n, plan.gate])?,
            gx: memory.zeros(&[n, plan.gx])?,
            gh: memory.zeros(&[plan.slots, plan.gx])?,
            logits: memory.zeros(&[plan.logit_rows(), plan.vocab_size])?,
            active: memory.list(&[plan.slots])?,
            bands: memory.list(&[n])?,
            owners: memory.list(&[n])?,
        })
    }
}
