//! Pre-norm Transformer block (Vaswani et al. 2017; Radford et al. 2019; Touvron et al. 2023).
//!
//! `x += Wo attention(norm1(x))`, then `x += ffn(norm2(x))`, and in between, with cross-attention,
//! `x += Wo attention(norm_cross(x), source)`; with token shift, each part reads its norm's output mixed with that
//! of the token before.

use siskin_format::ModelConfig;
use siskin_format::config::{Ffn, Position, TransformerConfig};

use super::{Pass, norm::NormLayer, observed::Inside};
use crate::float::Float;
use crate::ops::pointwise::Nonlinearity;
use crate::ops::qk_norm::Heads;
use crate::ops::rope::RopeTable;
use crate::params::ParamLayout;
use crate::tensor::{Matrix, Var, Vector};

/// The block's parameters. Projections that share an input are neighbours in the store and one product.
#[derive(Clone, Debug)]
pub(super) struct Transformer<T> {
    norm1: NormLayer,
    shift1: Option<Vector>, // [d_model]
    w_qkv: Matrix,          // [(n_heads + 2 * n_kv_heads) * head_dim, d_model]
    b_qkv: Option<Vector>,  // [(n_heads + 2 * n_kv_heads) * head_dim]
    qk_norm: Option<QkNorm>,
    rope: Option<RopeTable<T>>,
    heads: Heads,
    window: usize,      // what a token sees at most; 0 is all before it
    wo: Matrix,         // [d_model, n_heads * head_dim]
    bo: Option<Vector>, // [d_model]
    cross: Option<Cross>,
    norm2: NormLayer,
    shift2: Option<Vector>, // [d_model]
    w_up: Matrix,           // [d_ff, d_model]; gated: [2 * d_ff, d_model], the gate first
    b_up: Option<Vector>,   // [d_ff] or [2 * d_ff]
    activation: Nonlinearity,
    gated: bool,
    w_down: Matrix,         // [d_model, d_ff]
    b_down: Option<Vector>, // [d_model]
    residual: bool,
}

/// Attention to what the encoder made of the source.
#[derive(Clone, Debug)]
struct Cross {
    norm: NormLayer,
    w_q: Matrix,          // [n_heads * head_dim, d_model]
    b_q: Option<Vector>,  // [n_heads * head_dim]
    w_kv: Matrix,         // [2 * n_kv_heads * head_dim, d_model of the encoder]
    b_kv: Option<Vector>, // [2 * n_kv_heads * head_dim]
    qk_norm: Option<QkNorm>,
    wo: Matrix,         // [d_model, n_heads * head_dim]
    bo: Option<Vector>, // [d_model]
}

impl Cross {
    /// That of the block whose tensors' names begin with `scope`.
    fn new(config: &ModelConfig, layout: &ParamLayout, t: &TransformerConfig, scope: &str) -> Self {
        let name = |part: &str| format!("{scope}cross.{part}");
        let (matrix, vector) =
            (|part: &str| layout.matrix(&name(part)), |part: &str| layout.vector(&name(part)));
        Cross {
            norm: NormLayer::new(config, layout, t.norm, &format!("{scope}norm_cross")),
            w_q: matrix("wq"),
            b_q: vector("bq"),
            w_kv: matrix("wk").stacked(matrix("wv")),
            b_kv: stacked(vector("bk"), vector("bv")),
            qk_norm: t.qk_norm.then(|| QkNorm {
                q: vector("q_norm.weight"),
                k: vector("k_norm.weight"),
                eps: f64::from(config.norm_eps),
            }),
            wo: matrix("wo"),
            bo: vector("bo"),
        }
    }

    /// `attention(norm_cross(x), source)`, before the output projection: `[rows, n_heads * head_dim]`.
    fn attend<T: Float>(&self, pass: &mut Pass<'_, T>, x: Var, heads: Heads) -> Var {
        let source = pass.source.expect("a block with cross-attention runs after the encoder");
        let normed = self.norm.forward(pass, x);
        let mut q = pass.tape.linear(pass.params, normed, self.w_q, self.b_q);
        let mut kv = pass.tape.linear(pass.params, source.encoded, self.w_kv, self.b_kv);
        if let Some(QkNorm { q: wq, k: wk, eps }) = self.qk_norm {
            let eps = T::from_f64(eps);
            q = pass.tape.qk_norm(pass.params, q, wq, None, Heads { n_kv_heads: 0, ..heads }, eps);
            kv = pass.tape.qk_norm(pass.params, kv, None, wk, Heads { n_heads: 0, ..heads }, eps);
        }
        let dropout = pass.next_dropout();
        pass.watch_inside("cross", Inside::Nothing);
        pass.tape.cross_attention((q, pass.layout), (kv, source.layout), heads, source.lens, dropout)
    }
}

/// Norm of queries and keys.
#[derive(Clone, Copy, Debug)]
struct QkNorm {
    q: Option<Vector>, // [head_dim]
    k: Option<Vector>, // [head_dim]
    eps: f64,
}

impl<T: Float> Transformer<T> {
    /// The block whose tensors' names begin with `scope`, such as `blocks.0.`.
    pub(super) fn new(
        config: &ModelConfig,
        layout: &ParamLayout,
        t: &TransformerConfig,
        scope: &str,
    ) -> Self {
        let name = |part: &str| format!("{scope}{part}");
        let (matrix, vector) =
            (|part: &str| layout.matrix(&name(part)), |part: &str| layout.vector(&name(part)));
        let gated = t.ffn.is_gated();
        let (up, b_up) = (matrix("ffn.w_up"), vector("ffn.b_up"));
        Transformer {
            norm1: NormLayer::new(config, layout, t.norm, &name("norm1")),
            shift1: vector("attn.shift"),
            w_qkv: matrix("attn.wq").stacked(matrix("attn.wk")).stacked(matrix("attn.wv")),
            b_qkv: stacked(stacked(vector("attn.bq"), vector("attn.bk")), vector("attn.bv")),
            qk_norm: t.qk_norm.then(|| QkNorm {
                q: vector("attn.q_norm.weight"),
                k: vector("attn.k_norm.weight"),
                eps: f64::from(config.norm_eps),
            }),
            rope: match config.position {
                Position::Rope { theta } => {
                    let divisors = &config.rope_divisors;
                    Some(RopeTable::new(config.context, t.head_dim, f64::from(theta), divisors))
                }
                _ => None,
            },
            heads: Heads { n_heads: t.n_heads, n_kv_heads: t.n_kv_heads, head_dim: t.head_dim },
            window: t.window,
            wo: matrix("attn.wo"),
            bo: vector("attn.bo"),
            cross: t.cross_attention.then(|| Cross::new(config, layout, t, scope)),
            norm2: NormLayer::new(config, layout, t.norm, &name("norm2")),
            shift2: vector("ffn.shift"),
            w_up: if gated { matrix("ffn.w_gate").stacked(up) } else { up },
            b_up: if gated { stacked(vector("ffn.b_gate"), b_up) } else { b_up },
            activation: match t.ffn {
                Ffn::Relu => Nonlinearity::Relu,
                Ffn::Gelu | Ffn::GatedGelu => Nonlinearity::Gelu,
                Ffn::Silu | Ffn::GatedSilu => Nonlinearity::Silu,
                Ffn::Relu2 => Nonlinearity::Relu2,
            },
            gated,
            w_down: matrix("ffn.w_down"),
            b_down: vector("ffn.b_down"),
            residual: t.residual,
        }
    }

    /// x and the result `[rows, d_model]`.
    pub(super) fn forward(&self, pass: &mut Pass<'_, T>, x: Var) -> Var {
        let attended = self.attend(pass, x);
        let mut x = pass.project_back(x, attended, self.wo, self.bo, self.residual);
        if let Some(cross) = &self.cross {
            let attended = cross.attend(pass, x, self.heads);
            x = pass.project_back(x, attended, cross.wo, cross.bo, self.residual);
        }
        let hidden = self.feed_forward(pass, x);
        pass.project_back(x, hidden, self.w_down, self.b_down, self.residual)
    }

    /// `attention(norm1(x))`, before the output projection: `[rows, n_heads * head_dim]`.
    fn attend(&self, pass: &mut Pass<'_, T>, x: Var) -> Var {
        let normed = self.norm1.forward(pass, x);
        let normed = shifted(pass, normed, self.shift1);
        let mut qkv = pass.tape.linear(pass.params, normed, self.w_qkv, self.b_qkv);
        if let Some(QkNorm { q, k, eps }) = self.qk_norm {
            qkv = pass.tape.qk_norm(pass.params, qkv, q, k, self.heads, T::from_f64(eps));
        }
        if let Some(table) = &self.rope {
            qkv = pass.tape.rope(qkv, self.heads, pass.layout, table);
        }
        let dropout = pass.next_dropout();
        pass.watch_inside("attn", Inside::Attention(qkv, self.heads, self.window));
        match pass.encoding {
            Some(lens) => pass.tape.attention_to_all(qkv, self.heads, pass.layout, lens, dropout),
            None => pass.tape.attention(qkv, self.heads, pass.layout, self.window, dropout),
        }
    }

    /// `act(up(norm2(x)))`, gated or not, before the down projection: `[rows, d_ff]`.
    fn feed_forward(&self, pass: &mut Pass<'_, T>, x: Var) -> Var {
        let normed = self.norm2.forward(pass, x);
        let normed = shifted(pass, normed, self.shift2);
        let up = pass.tape.linear(pass.params, normed, self.w_up, self.b_up);
        let hidden = match self.gated {
            true => pass.tape.gated(up, self.activation),
            false => pass.tape.pointwise(up, self.activation),
        };
        pass.watch_inside("ffn", Inside::Units(hidden, self.activation));
        hidden
    }
}

/// Each token mixed with the one before it, where the block does so.
fn shifted<T: Float>(pass: &mut Pass<'_, T>, x: Var, mu: Option<Vector>) -> Var {
    match mu {
        Some(mu) => pass.tape.token_shift(pass.params, x, mu, pass.layout),
        None => x,
    }
}

/// Two neighbouring biases as one, where the configuration has them.
fn stacked(first: Option<Vector>, second: Option<Vector>) -> Option<Vector> {
    Some(first?.stacked(second?))
}
