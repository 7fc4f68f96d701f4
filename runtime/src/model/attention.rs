//! Multi-head attention (Vaswani et al. 2017) over a cache, with shared heads of keys and values (Ainslie et al. 2023): causal,
//! over all positions so far or a window of them (Beltagy et al. 2020), or to the whole of a source, as in an encoder and in the
//! cross-attention of a decoder.

use super::rope;
use crate::error::Error;
use crate::kernels::memory::Buffer;
use crate::kernels::{Blocks, CacheCell, Grid, HeadCache, Kernels, Seen, Strip, TILE};
use crate::linear::{Linear, Vector, elements, forward_all};
use crate::pass::{Cx, Segment, keep};
use crate::profile::Stage;
use crate::state::{KeyValues, Workspace};
use siskin_format::config::TransformerConfig;
use siskin_format::{File, ModelConfig};
use std::ops::Range;

/// Attention of one block.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    wq: Linear, // [n_heads * head_dim, d_model]
    wk: Linear, // [n_kv_heads * head_dim, d_model]
    wv: Linear, // [n_kv_heads * head_dim, d_model]
    qk_norm: bool,
    q_norm: Option<Vector>, // [head_dim]
    k_norm: Option<Vector>, // [head_dim]
    rope: Option<usize>,    // index into Workspace::angles
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    /// Positions that a token sees at most.
    window: usize,
    eps: f32,
}

/// What a token sees.
#[derive(Clone, Copy)]
enum Reach<'a> {
    /// The positions up to its own, as far as its window goes.
    Causal,
    /// All positions of its source, as many as stand here for its slot.
    Source(&'a [usize]),
}

impl Reach<'_> {
    /// What the segment's rows from number `row` on see, of the last `window` positions at most where the text is their own.
    fn seen(self, segment: &Segment, row: usize, window: usize) -> Seen {
        match self {
            Reach::Causal => Seen::Causal { n: segment.place() + row + 1, window },
            Reach::Source(lens) => Seen::All(lens[segment.slot]),
        }
    }
}

impl Attention {
    /// Loads the tensors whose names begin with `scope`, such as `blocks.0.attn.`; `rope` says which angles turn queries and keys.
    pub(crate) fn load(
        file: &File,
        config: &ModelConfig,
        scope: &str,
        t: &TransformerConfig,
        rope: Option<usize>,
    ) -> Result<Self, Error> {
        let name = |part: &str| format!("{scope}{part}");
        let linear = |weight: &str, bias: &str| {
            Linear::load(file, &name(weight), t.qkv_bias.then_some(&name(bias)).map(String::as_str))
        };
        let qk_weight = t.qk_norm && config.norm_weight;
        Ok(Attention {
            wq: linear("wq", "bq")?,
            wk: linear("wk", "bk")?,
            wv: linear("wv", "bv")?,
            qk_norm: t.qk_norm,
            q_norm: Vector::load_if(file, &name("q_norm.weight"), qk_weight)?,
            k_norm: Vector::load_if(file, &name("k_norm.weight"), qk_weight)?,
            rope,
            n_heads: t.n_heads,
            n_kv_heads: t.n_kv_heads,
            head_dim: t.head_dim,
            window: if t.window > 0 { t.window } else { usize::MAX },
            eps: config.norm_eps,
        })
    }

    /// The tokens whose normed input is in `ws.a`, into `ws.b`; their keys and values join the `cache`. When `narrow`, only the
    /// wanted ones go on, and `ws.x`, `width` wide, is cut down to them.
    pub(crate) fn forward<C: CacheCell>(
        &self,
        cx: &mut Cx,
        ws: &mut Workspace,
        cache: &mut KeyValues<C>,
        width: usize,
        narrow: bool,
    ) {
        let tokens = cx.tokens;
        let q = &mut ws.q[..tokens * self.n_heads * self.head_dim];
        let k = &mut ws.k[..tokens * self.n_kv_heads * self.head_dim];
        let v = &mut ws.v[..tokens * self.n_kv_heads * self.head_dim];
        cx.stage(Stage::Qkv);
        match narrow {
            true => forward_all(cx, [&self.wk, &self.wv], &ws.a.input(), [&mut *k, &mut *v]),
            false => {
                forward_all(cx, [&self.wq, &self.wk, &self.wv], &ws.a.input(), [&mut *q, &mut *k, &mut *v]);
            }
        }
        cx.stage(Stage::Rope);
        self.remember(cx, k, v, self.rope.map_or(&[][..], |i| &ws.angles[i]), cache);
        if narrow {
            keep(&mut ws.x, width, cx.segments);
            ws.a.keep(cx.segments);
            if let Some(i) = self.rope {
                keep(&mut ws.angles[i], self.head_dim, cx.segments);
            }
            cx.narrow();
            if cx.tokens == 0 {
                return;
            }
            cx.stage(Stage::Qkv);
            self.wq.forward(cx, &ws.a.input(), &mut ws.q[..cx.tokens * self.n_heads * self.head_dim]);
        }
        if cx.is_cancelled() {
            return;
        }
        cx.stage(Stage::Attention);
        self.attend(cx, ws, cache, Reach::Causal);
    }

    /// The keys and values of the tokens whose normed input is in `ws.a`, into the `cache`.
    pub(crate) fn take_in<C: CacheCell>(&self, cx: &mut Cx, ws: &mut Workspace, cache: &mut KeyValues<C>) {
        let kv = cx.tokens * self.n_kv_heads * self.head_dim;
        let (k, v) = (&mut ws.k[..kv], &mut ws.v[..kv]);
        cx.stage(Stage::Qkv);
        forward_all(cx, [&self.wk, &self.wv], &ws.a.input(), [&mut *k, &mut *v]);
        cx.stage(Stage::Rope);
        self.remember(cx, k, v, self.rope.map_or(&[][..], |i| &ws.angles[i]), cache);
    }

    /// The tokens whose normed input is in `ws.a`, into `ws.b`; each attends to the whole source of its sequence, in the `cache`,
    /// `lens` tokens for each slot.
    pub(crate) fn attend_to_source<C: CacheCell>(
        &self,
        cx: &mut Cx,
        ws: &mut Workspace,
        cache: &KeyValues<C>,
        lens: &[usize],
    ) {
        cx.stage(Stage::Qkv);
        self.wq.forward(cx, &ws.a.input(), &mut ws.q[..cx.tokens * self.n_heads * self.head_dim]);
        if cx.is_cancelled() {
            return;
        }
        cx.stage(Stage::Attention);
        self.attend(cx, ws, cache, Reach::Source(lens));
    }

    /// Norms and turns keys, and writes keys and values to the cache.
    fn remember<C: CacheCell>(
        &self,
        cx: &mut Cx,
        k: &[f32],
        v: &[f32],
        angles: &[f32],
        cache: &mut KeyValues<C>,
    ) {
        let (kernels, segments, slots) = (cx.kernels, &*cx.segments, cache.slots);
        let remember = C::remember(kernels);
        let (head_dim, kv_width) = (self.head_dim, self.n_kv_heads * self.head_dim);
        let k_norm = elements(&self.k_norm, cx.weights);
        let (capacity, k_unit, v_unit) = (cache.capacity, cache.k_unit(head_dim), cache.v_unit(head_dim));
        let n = self.n_kv_heads * slots;
        let out = (
            Blocks::new(&mut cache.k[..n * k_unit], k_unit),
            Blocks::new(&mut cache.v[..n * v_unit], v_unit),
        );
        // By measurement, a channel costs like 24 bytes of weights.
        let cost = (cx.tokens * head_dim * 24).div_ceil(slots);
        cx.team.run(n, cost, out, |work, (k_cache, v_cache)| {
            let (key, copy) = work.scratch[..2 * head_dim].split_at_mut(head_dim);
            for (i, item) in work.items.enumerate() {
                let (head, slot) = (item / slots, item % slots);
                let k_head = &mut k_cache[i * k_unit..(i + 1) * k_unit];
                let v_head = &mut v_cache[i * v_unit..(i + 1) * v_unit];
                for segment in segments.iter().filter(|segment| segment.slot == slot) {
                    for row in segment.rows() {
                        let at = row * kv_width + head * head_dim;
                        key.copy_from_slice(&k[at..at + head_dim]);
                        self.turn(kernels, key, k_norm, row_of(angles, row, head_dim), copy);
                        let place = segment.place() + row - segment.start;
                        remember(key, &v[at..at + head_dim], place, capacity, k_head, v_head);
                    }
                }
            }
        });
    }

    /// One head of one token: RMS norm if the block has it, then RoPE if there are angles. `copy` is scratch.
    fn turn(&self, kernels: &Kernels, head: &mut [f32], weight: &[f32], angles: &[f32], copy: &mut [f32]) {
        if self.qk_norm {
            copy.copy_from_slice(head);
            (kernels.rms_norm)(copy, weight, self.eps, head);
        }
        if !angles.is_empty() {
            rope::rotate(head, angles);
        }
    }

    /// `softmax(q K^T / sqrt(head_dim)) V` of every token and head, over what is in `reach` of the token. A thread takes the
    /// heads that share keys and values, for a band of consecutive tokens.
    fn attend<C: CacheCell>(&self, cx: &mut Cx, ws: &mut Workspace, cache: &KeyValues<C>, reach: Reach) {
        let Workspace { q, b, angles, bands, owners, .. } = ws;
        let (head_dim, group) = (self.head_dim, self.n_heads / self.n_kv_heads);
        let (unit, q_width) = (group * head_dim, self.n_heads * head_dim);
        let (k_unit, v_unit) = (cache.k_unit(head_dim), cache.v_unit(head_dim));
        let angles = self.rope.map_or(&[][..], |i| &angles[i]);
        let q_norm = elements(&self.q_norm, cx.weights);
        let (kernels, attend, segments) = (cx.kernels, C::attend(cx.kernels), &*cx.segments);
        let scale = 1.0 / (head_dim as f32).sqrt();
        let window = self.window;
        let seen = cut(segments, TILE.div_ceil(group), reach, window, bands, owners);
        let out = Grid::new(Strip::new(b.floats(cx.tokens, q_width), cx.tokens, q_width), bands, unit);
        // By measurement, a channel costs like 3 bytes of weights and a position like 30.
        let cost = (seen * group * (3 * head_dim + 30)).div_ceil(bands.len().max(1));
        cx.team.run(self.n_kv_heads * bands.len(), cost, out, |work, mut out| {
            for item in work.items {
                let (head, band) = (item / bands.len(), item % bands.len());
                let (rows, segment) = (bands[band].clone(), &segments[owners[band]]);
                let (queries, rest) = work.scratch.split_at_mut(rows.len() * unit);
                for (row, queries) in rows.clone().zip(queries.chunks_exact_mut(unit)) {
                    queries.copy_from_slice(&q[row * q_width + head * unit..][..unit]);
                    let angles = row_of(angles, row, head_dim);
                    for query in queries.chunks_exact_mut(head_dim) {
                        self.turn(kernels, query, q_norm, angles, &mut rest[..head_dim]);
                    }
                }
                let at = head * cache.slots + segment.slot;
                let head_cache = HeadCache {
                    k: &cache.k[at * k_unit..(at + 1) * k_unit],
                    v: &cache.v[at * v_unit..(at + 1) * v_unit],
                    capacity: cache.capacity,
                };
                let seen = reach.seen(segment, rows.start - segment.start, window);
                attend(queries, head_dim, head_cache, seen, scale, rest, &mut out.get(item));
            }
        });
        b.quantize(cx);
    }
}

/// A token's angles, if there are any.
fn row_of(angles: &[f32], row: usize, head_dim: usize) -> &[f32] {
    if angles.is_empty() { angles } else { &angles[row * head_dim..(row + 1) * head_dim] }
}

/// Cuts the segments in bands of at most `height` rows, and says how many positions all rows see together, each at most `window`.
fn cut(
    segments: &[Segment],
    height: usize,
    reach: Reach,
    window: usize,
    bands: &mut Buffer<Range<usize>>,
    owners: &mut Buffer<usize>,
) -> usize {
    bands.clear();
    owners.clear();
    let mut seen = 0;
    for (owner, segment) in segments.iter().enumerate().filter(|(_, segment)| segment.len > 0) {
        let end = segment.start + segment.len;
        for start in segment.rows().step_by(height) {
            bands.push(start..(start + height).min(end));
            owners.push(owner);
        }
        // The mean of the first and the last row's.
        let of = reach.seen(segment, 0, window);
        seen += segment.len * (of.by(0).len() + of.by(segment.len - 1).len()) / 2;
    }
    seen
}
