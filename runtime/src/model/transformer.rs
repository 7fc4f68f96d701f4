//! Pre-norm Transformer block (Vaswani et al. 2017; Radford et al. 2019):
//! `x += W_o attention(norm1(x))`, then `x += ffn(norm2(x))`.

use super::norm::Norm;
use super::rope;
use crate::activations::quantize_columns;
use crate::error::Error;
use crate::kernels::simd::{GROUP, LANES};
use crate::kernels::{Blocks, CacheCell, Columns, Function, HeadCache, Kernels, Strip};
use crate::linear::{Linear, Vector, elements, forward_all};
use crate::pass::Cx;
use crate::profile::Stage;
use crate::state::{Cache, Workspace};
use siskin_format::config::{Ffn, TransformerConfig};
use siskin_format::{File, ModelConfig};

/// One Transformer block.
#[derive(Clone, Debug)]
pub(crate) struct Transformer {
    norm1: Norm,
    wq: Linear, // [n_heads * head_dim, d_model]
    wk: Linear, // [n_kv_heads * head_dim, d_model]
    wv: Linear, // [n_kv_heads * head_dim, d_model]
    wo: Linear, // [d_model, n_heads * head_dim]
    qk_norm: bool,
    q_norm: Option<Vector>, // [head_dim]
    k_norm: Option<Vector>, // [head_dim]
    norm2: Norm,
    w_gate: Option<Linear>, // [d_ff, d_model]
    w_up: Linear,           // [d_ff, d_model]
    w_down: Linear,         // [d_model, d_ff]
    f: Function,
    residual: bool,
    rope: Option<usize>, // index into Workspace::angles
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    d_model: usize,
    d_ff: usize,
    eps: f32,
}

impl Transformer {
    /// Loads block `index`, `d_model` channels wide; `rope` says which angles turn its queries and keys.
    pub(crate) fn load(
        file: &File,
        config: &ModelConfig,
        index: usize,
        t: &TransformerConfig,
        d_model: usize,
        rope: Option<usize>,
    ) -> Result<Self, Error> {
        let name = |part: &str| format!("blocks.{index}.{part}");
        let linear = |weight: &str, bias: &str, biased: bool| {
            Linear::load(file, &name(weight), biased.then_some(&name(bias)).map(String::as_str))
        };
        let qk_weight = t.qk_norm && config.norm_weight;
        let gate = || linear("ffn.w_gate", "ffn.b_gate", t.ffn_bias);
        Ok(Transformer {
            norm1: Norm::load(file, config, &name("norm1"), t.norm)?,
            wq: linear("attn.wq", "attn.bq", t.qkv_bias)?,
            wk: linear("attn.wk", "attn.bk", t.qkv_bias)?,
            wv: linear("attn.wv", "attn.bv", t.qkv_bias)?,
            wo: linear("attn.wo", "attn.bo", t.out_bias)?,
            qk_norm: t.qk_norm,
            q_norm: Vector::load_if(file, &name("attn.q_norm.weight"), qk_weight)?,
            k_norm: Vector::load_if(file, &name("attn.k_norm.weight"), qk_weight)?,
            norm2: Norm::load(file, config, &name("norm2"), t.norm)?,
            w_gate: t.ffn.is_gated().then(gate).transpose()?,
            w_up: linear("ffn.w_up", "ffn.b_up", t.ffn_bias)?,
            w_down: linear("ffn.w_down", "ffn.b_down", t.ffn_bias)?,
            f: match t.ffn {
                Ffn::Relu => Function::Relu,
                Ffn::Relu2 => Function::Relu2,
                Ffn::Gelu | Ffn::GatedGelu => Function::Gelu,
                Ffn::Silu | Ffn::GatedSilu => Function::Silu,
            },
            residual: t.residual,
            rope,
            n_heads: t.n_heads,
            n_kv_heads: t.n_kv_heads,
            head_dim: t.head_dim,
            d_model,
            d_ff: t.d_ff,
            eps: config.norm_eps,
        })
    }

    /// The tokens in `ws.x`, whose keys and values join the `cache`.
    pub(crate) fn forward<C: CacheCell>(&self, cx: &mut Cx, ws: &mut Workspace, cache: &mut Cache<C>) {
        self.attention(cx, ws, cache);
        self.ffn(cx, ws);
    }

    fn attention<C: CacheCell>(&self, cx: &mut Cx, ws: &mut Workspace, cache: &mut Cache<C>) {
        let (tokens, width) = (cx.tokens, cx.tokens * self.d_model);
        let q = &mut ws.q[..tokens * self.n_heads * self.head_dim];
        let k = &mut ws.k[..tokens * self.n_kv_heads * self.head_dim];
        let v = &mut ws.v[..tokens * self.n_kv_heads * self.head_dim];
        cx.stage(Stage::Norm);
        self.norm1.rows(cx, &ws.x[..width], self.d_model, &mut ws.a);
        cx.stage(Stage::Qkv);
        forward_all(cx, [&self.wq, &self.wk, &self.wv], &ws.a.input(), [&mut *q, &mut *k, &mut *v]);
        let angles = self.rope.map_or(&[][..], |i| &ws.angles[i]);
        cx.stage(Stage::Rope);
        self.remember(cx, q, k, v, angles, cache);
        cx.stage(Stage::Attention);
        self.attend(cx, q, cache, ws.b.floats(tokens, self.n_heads * self.head_dim));
        ws.b.quantize(cx);
        cx.stage(Stage::AttentionOut);
        self.wo.forward_add(cx, &ws.b.input(), self.residual, &mut ws.y[..width], &mut ws.x[..width]);
    }

    /// Norms and turns queries and keys, and writes keys and values to the cache.
    fn remember<C: CacheCell>(
        &self,
        cx: &mut Cx,
        q: &mut [f32],
        k: &mut [f32],
        v: &[f32],
        angles: &[f32],
        cache: &mut Cache<C>,
    ) {
        let (tokens, position, kernels) = (cx.tokens, cx.position, cx.kernels);
        let remember = C::remember(kernels);
        let (head_dim, kv_width) = (self.head_dim, self.n_kv_heads * self.head_dim);
        let (q_norm, k_norm) = (elements(&self.q_norm, cx.weights), elements(&self.k_norm, cx.weights));
        let group = self.n_heads / self.n_kv_heads;
        let (capacity, k_unit, v_unit) = (cache.capacity, cache.k_unit(head_dim), cache.v_unit(head_dim));
        let out = (
            Columns::new(Strip::new(q, tokens, self.n_heads * head_dim), group * head_dim),
            Columns::new(Strip::new(k, tokens, kv_width), head_dim),
            Blocks::new(&mut cache.k, k_unit),
            Blocks::new(&mut cache.v, v_unit),
        );
        let cost = tokens * head_dim * (group + 2) * 8;
        cx.team.run(self.n_kv_heads, cost, out, |work, (mut q, mut k, k_cache, v_cache)| {
            for t in 0..tokens {
                let angles =
                    if angles.is_empty() { angles } else { &angles[t * head_dim..(t + 1) * head_dim] };
                for head in q.row(t).chunks_exact_mut(head_dim) {
                    self.turn(kernels, head, q_norm, angles, work.scratch);
                }
                for (i, kv_head) in work.items.clone().enumerate() {
                    let key = &mut k.row(t)[i * head_dim..(i + 1) * head_dim];
                    self.turn(kernels, key, k_norm, angles, work.scratch);
                    let value = &v[t * kv_width + kv_head * head_dim..][..head_dim];
                    let k_head = &mut k_cache[i * k_unit..(i + 1) * k_unit];
                    let v_head = &mut v_cache[i * v_unit..(i + 1) * v_unit];
                    remember(key, value, position + t, capacity, k_head, v_head);
                }
            }
        });
    }

    /// One head of one token: RMS norm if the block has it, then RoPE if there are angles.
    fn turn(&self, kernels: &Kernels, head: &mut [f32], weight: &[f32], angles: &[f32], scratch: &mut [f32]) {
        if self.qk_norm {
            let copy = &mut scratch[..head.len()];
            copy.copy_from_slice(head);
            (kernels.rms_norm)(copy, weight, self.eps, head);
        }
        if !angles.is_empty() {
            rope::rotate(head, angles);
        }
    }

    /// `softmax(q K^T / sqrt(head_dim)) V` of every token and head; token t sees the positions up to its own.
    fn attend<C: CacheCell>(&self, cx: &mut Cx, q: &[f32], cache: &Cache<C>, out: &mut [f32]) {
        let (tokens, position, attend) = (cx.tokens, cx.position, C::attend(cx.kernels));
        let (head_dim, q_width) = (self.head_dim, self.n_heads * self.head_dim);
        let (k_unit, v_unit) = (cache.k_unit(head_dim), cache.v_unit(head_dim));
        let group = self.n_heads / self.n_kv_heads;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let out = Columns::new(Strip::new(out, tokens, q_width), head_dim);
        // By measurement, a channel costs like 3 bytes of weights and a position like 30.
        let cost = tokens * (position + tokens) * (3 * head_dim + 30);
        cx.team.run(self.n_heads, cost, out, |work, mut out| {
            for (i, head) in work.items.enumerate() {
                let kv = head / group;
                let head_cache = HeadCache {
                    k: &cache.k[kv * k_unit..(kv + 1) * k_unit],
                    v: &cache.v[kv * v_unit..(kv + 1) * v_unit],
                    capacity: cache.capacity,
                };
                for t in 0..tokens {
                    let q = &q[t * q_width + head * head_dim..][..head_dim];
                    let out = &mut out.row(t)[i * head_dim..(i + 1) * head_dim];
                    attend(q, head_cache, position + t + 1, scale, work.scratch, out);
                }
            }
        });
    }

    /// `x += W_down f(W_up a)`, or gated `W_down (f(W_gate a) * W_up a)` (Shazeer 2020), `a = norm2(x)`.
    fn ffn(&self, cx: &mut Cx, ws: &mut Workspace) {
        let (tokens, width, kernels) = (cx.tokens, cx.tokens * self.d_model, cx.kernels);
        cx.stage(Stage::Norm);
        self.norm2.rows(cx, &ws.x[..width], self.d_model, &mut ws.a);
        let a = ws.a.input();
        cx.stage(Stage::FfnUp);
        let up = self.w_up.view(cx.weights);
        let gate = self.w_gate.as_ref().map(|w| w.view(cx.weights));
        // A thread makes 32 channels at a time, one group of codes of the next product.
        let gates = Strip::new(&mut ws.gate[..tokens * self.d_ff], tokens, self.d_ff);
        let out = (Columns::new(gates, GROUP), ws.b.groups(tokens, self.d_ff));
        let groups = self.d_ff.div_ceil(GROUP);
        let cost = up.cost(&a) * (GROUP / LANES) * if gate.is_some() { 2 } else { 1 };
        cx.team.run(groups, cost, out, |work, (mut gates, mut hidden)| {
            let n_panels = up.matrix.n_panels();
            let panels = work.items.start * GROUP / LANES..(work.items.end * GROUP / LANES).min(n_panels);
            up.multiply(kernels, panels.clone(), &a, &mut hidden.0);
            if let Some(gate) = &gate {
                gate.multiply(kernels, panels, &a, &mut gates);
            }
            for t in 0..tokens {
                match gate {
                    Some(_) => (kernels.activate_gated)(self.f, gates.row(t), hidden.0.row(t)),
                    None => (kernels.activate)(self.f, hidden.0.row(t)),
                }
                quantize_columns(kernels, &mut hidden, t);
            }
        });
        cx.stage(Stage::FfnDown);
        self.w_down.forward_add(cx, &ws.b.input(), self.residual, &mut ws.y[..width], &mut ws.x[..width]);
    }
}
