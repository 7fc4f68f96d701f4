//! Pre-norm Transformer block (Vaswani et al. 2017; Radford et al. 2019):
//! `x += W_o attention(norm1(x))`, then `x += ffn(norm2(x))`, and in between, with cross-attention,
//! `x += W_o attention(norm_cross(x), source)`. With token shift, each part reads its norm's output mixed with that
//! of the token before.

use super::attention::Attention;
use super::norm::Norm;
use super::token_shift::PartInput;
use crate::activations::quantize_columns;
use crate::error::Error;
use crate::kernels::simd::{GROUP, LANES};
use crate::kernels::{CacheCell, Columns, Function, Strip};
use crate::linear::Linear;
use crate::pass::{Cx, keep};
use crate::profile::Stage;
use crate::state::{Cache, KeyValues, Workspace};
use siskin_format::config::{Ffn, TransformerConfig};
use siskin_format::{File, ModelConfig};

/// One Transformer block.
#[derive(Clone, Debug)]
pub(crate) struct Transformer {
    input1: PartInput,
    attention: Attention,
    wo: Linear, // [d_model, n_heads * head_dim]
    cross: Option<Cross>,
    input2: PartInput,
    w_gate: Option<Linear>, // [d_ff, d_model]
    w_up: Linear,           // [d_ff, d_model]
    w_down: Linear,         // [d_model, d_ff]
    f: Function,
    residual: bool,
    d_model: usize,
    d_ff: usize,
}

/// Attention to what the encoder made of the source.
#[derive(Clone, Debug)]
pub(crate) struct Cross {
    norm: Norm,
    pub(crate) attention: Attention,
    wo: Linear, // [d_model, n_heads * head_dim]
}

impl Transformer {
    /// Loads the block whose tensors' names begin with `scope`, such as `blocks.0.`, `d_model` channels wide; `rope` says which
    /// angles turn its queries and keys.
    pub(crate) fn load(
        file: &File,
        config: &ModelConfig,
        scope: &str,
        t: &TransformerConfig,
        d_model: usize,
        rope: Option<usize>,
    ) -> Result<Self, Error> {
        let name = |part: &str| format!("{scope}{part}");
        let linear = |weight: &str, bias: &str, biased: bool| {
            Linear::load(file, &name(weight), biased.then_some(&name(bias)).map(String::as_str))
        };
        let gate = || linear("ffn.w_gate", "ffn.b_gate", t.ffn_bias);
        let cross = || {
            Ok::<_, Error>(Cross {
                norm: Norm::load(file, config, &name("norm_cross"), t.norm)?,
                attention: Attention::load(file, config, &name("cross."), t, None)?,
                wo: linear("cross.wo", "cross.bo", t.out_bias)?,
            })
        };
        Ok(Transformer {
            input1: PartInput::load(file, config, t, &name("norm1"), &name("attn.shift"))?,
            attention: Attention::load(file, config, &name("attn."), t, rope)?,
            wo: linear("attn.wo", "attn.bo", t.out_bias)?,
            cross: t.cross_attention.then(cross).transpose()?,
            input2: PartInput::load(file, config, t, &name("norm2"), &name("ffn.shift"))?,
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
            d_model,
            d_ff: t.d_ff,
        })
    }

    /// The part that attends to the source, if the block has one.
    pub(crate) fn cross(&self) -> Option<&Cross> {
        self.cross.as_ref()
    }

    /// The tokens in `ws.x`, whose keys and values join the `cache`; `sources` tokens of every slot's source are in reach. The
    /// `last` block goes on with the wanted tokens alone.
    pub(crate) fn forward<C: CacheCell>(
        &self,
        cx: &mut Cx,
        ws: &mut Workspace,
        cache: &mut Cache<C>,
        sources: &[usize],
        last: bool,
    ) {
        let Cache { last: [last1, _], .. } = cache;
        self.prepare(&self.input1, cx, ws, last1);
        // A shift looks at all tokens; then they are narrowed behind it.
        let narrow = last && cx.wanted() < cx.tokens && !self.input2.shifts();
        self.attention.forward(cx, ws, &mut cache.own, self.d_model, narrow);
        if cx.tokens == 0 || cx.is_cancelled() {
            return;
        }
        self.project_back(cx, ws, &self.wo);
        if let (Some(cross), Some(source)) = (&self.cross, &cache.cross) {
            cx.stage(Stage::Norm);
            cross.norm.rows(cx, &ws.x[..cx.tokens * self.d_model], self.d_model, &mut ws.a);
            cross.attention.attend_to_source(cx, ws, source, sources);
            self.project_back(cx, ws, &cross.wo);
        }
        if cx.is_cancelled() {
            return;
        }
        self.prepare(&self.input2, cx, ws, &mut cache.last[1]);
        if last && cx.wanted() < cx.tokens {
            keep(&mut ws.x, self.d_model, cx.segments);
            ws.a.keep(cx.segments);
            cx.narrow();
        }
        if cx.tokens > 0 {
            self.ffn(cx, ws);
        }
    }

    /// The first half of an encoder's block: what the tokens in `ws.x` show to all others, into the `cache`.
    pub(crate) fn take_in<C: CacheCell>(&self, cx: &mut Cx, ws: &mut Workspace, cache: &mut KeyValues<C>) {
        self.prepare(&self.input1, cx, ws, &mut []);
        self.attention.take_in(cx, ws, cache);
    }

    /// The other half: the tokens in `ws.x`, each of which sees the `len` tokens in the `cache`.
    pub(crate) fn encode<C: CacheCell>(
        &self,
        cx: &mut Cx,
        ws: &mut Workspace,
        cache: &KeyValues<C>,
        len: usize,
    ) {
        self.prepare(&self.input1, cx, ws, &mut []);
        self.attention.attend_to_source(cx, ws, cache, &[len]);
        if cx.is_cancelled() {
            return;
        }
        self.project_back(cx, ws, &self.wo);
        self.prepare(&self.input2, cx, ws, &mut []);
        self.ffn(cx, ws);
    }

    /// `x = W b`, or `x += W b` in a residual block, with what attention left in `ws.b`.
    fn project_back(&self, cx: &mut Cx, ws: &mut Workspace, wo: &Linear) {
        let width = cx.tokens * self.d_model;
        cx.stage(Stage::AttentionOut);
        wo.forward_add(cx, &ws.b.input(), self.residual, &mut ws.y[..width], &mut ws.x[..width]);
    }

    /// What a part reads of the tokens in `ws.x`, to `ws.a`.
    fn prepare(&self, input: &PartInput, cx: &mut Cx, ws: &mut Workspace, last: &mut [f32]) {
        let width = cx.tokens * self.d_model;
        cx.stage(Stage::Norm);
        input.rows(cx, &ws.x[..width], self.d_model, &mut ws.y[..width], last, &mut ws.a);
    }

    /// `x += W_down f(W_up a)`, or gated `W_down (f(W_gate a) * W_up a)` (Shazeer 2020), with `a` in `ws.a`.
    fn ffn(&self, cx: &mut Cx, ws: &mut Workspace) {
        let (tokens, width, kernels) = (cx.tokens, cx.tokens * self.d_model, cx.kernels);
        let a = ws.a.input();
        cx.stage(Stage::FfnUp);
        match &self.w_gate {
            Some(gate) => cx.watch([gate.start(), self.w_up.start()], &a),
            None => cx.watch([self.w_up.start()], &a),
        }
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
        if cx.is_cancelled() {
            return;
        }
        cx.stage(Stage::FfnDown);
        self.w_down.forward_add(cx, &ws.b.input(), self.residual, &mut ws.y[..width], &mut ws.x[..width]);
    }
}
