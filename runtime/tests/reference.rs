//! The runtime against a plain double-precision forward pass, written straight from the papers' equations.

mod common;

use siskin::{Model, Session, SessionOptions, log_prob};
use siskin_format::config::{Activation, Ffn, Norm, Position, RecurrentConfig, TransformerConfig};
use siskin_format::{BlockConfig, DType, ModelConfig};

struct Reference<'a> {
    model: &'a Model,
}

type Rows = Vec<Vec<f64>>;

/// What a row attends to.
#[derive(Clone, Copy)]
enum Reach<'a> {
    /// Its own text, up to itself.
    Causal,
    /// All of its own text.
    All,
    /// All of another text.
    Source(&'a Rows),
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}

impl Reference<'_> {
    fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    fn tensor(&self, name: &str) -> Option<Vec<f64>> {
        let view = self.model.file().tensor(name)?;
        Some(view.to_f32().into_iter().map(f64::from).collect())
    }

    /// `W x + b`; a missing bias is none.
    fn linear(&self, weight: &str, bias: &str, x: &[f64]) -> Vec<f64> {
        let w = self.tensor(weight).unwrap();
        let mut y: Vec<f64> =
            w.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect();
        if let Some(b) = self.tensor(bias) {
            y.iter_mut().zip(b).for_each(|(y, b)| *y += b);
        }
        y
    }

    fn norm(&self, name: &str, kind: Norm, x: &[f64]) -> Vec<f64> {
        let n = x.len() as f64;
        let eps = self.config().norm_eps as f64;
        let mean = x.iter().sum::<f64>() / n;
        let (shift, scale) = match kind {
            Norm::None => return x.to_vec(),
            Norm::Batch => (0.0, 1.0),
            Norm::Rms => (0.0, 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / n + eps).sqrt()),
            Norm::Layer => (mean, 1.0 / (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n + eps).sqrt()),
        };
        let weight = self.tensor(&format!("{name}.weight"));
        let bias = self.tensor(&format!("{name}.bias"));
        let at = |v: &Option<Vec<f64>>, i: usize, none: f64| v.as_ref().map_or(none, |v| v[i]);
        (0..x.len()).map(|i| (x[i] - shift) * scale * at(&weight, i, 1.0) + at(&bias, i, 0.0)).collect()
    }

    fn recurrent(&self, index: usize, block: &BlockConfig, cell: &RecurrentConfig, x: Rows) -> Rows {
        let name = |part: &str| format!("blocks.{index}.{part}");
        let n = cell.hidden;
        let (mut h, mut c) = (vec![0.0; n], vec![0.0; n]);
        let step = |x: Vec<f64>| {
            let gx = self.linear(&name("w_x"), &name("b_x"), &self.norm(&name("norm"), cell.norm, &x));
            let gh = self.linear(&name("w_h"), &name("b_h"), &h);
            let sum = |k: usize, j: usize| gx[k * n + j] + gh[k * n + j];
            for j in 0..n {
                match block {
                    BlockConfig::Rnn(rnn) => {
                        let z = sum(0, j);
                        h[j] = match rnn.activation {
                            Activation::Tanh => z.tanh(),
                            Activation::Relu => z.max(0.0),
                            Activation::LeakyRelu => z.max(0.01 * z),
                        };
                    }
                    BlockConfig::Gru(_) => {
                        let (r, z) = (sigmoid(sum(0, j)), sigmoid(sum(1, j)));
                        let candidate = (gx[2 * n + j] + r * gh[2 * n + j]).tanh();
                        h[j] = (1.0 - z) * candidate + z * h[j];
                    }
                    _ => {
                        let (i, f, o) = (sigmoid(sum(0, j)), sigmoid(sum(1, j)), sigmoid(sum(3, j)));
                        c[j] = f * c[j] + i * sum(2, j).tanh();
                        h[j] = o * c[j].tanh();
                    }
                }
            }
            match cell.residual {
                true => x.iter().zip(&h).map(|(x, h)| x + h).collect(),
                false => h.clone(),
            }
        };
        x.into_iter().map(step).collect()
    }

    /// One query or key, normed, and turned by RoPE where it has a position to be turned by.
    fn head(&self, name: &str, t: &TransformerConfig, x: &[f64], position: Option<usize>) -> Vec<f64> {
        let mut x = if t.qk_norm { self.norm(name, Norm::Rms, x) } else { x.to_vec() };
        if let (Position::Rope { theta }, Some(position)) = (self.config().position, position) {
            let half = t.head_dim / 2;
            for i in 0..half {
                let divisor = self.config().rope_divisors.get(i).map_or(1.0, |d| f64::from(*d));
                let frequency = (theta as f64).powf(-2.0 * i as f64 / t.head_dim as f64) / divisor;
                let angle = position as f64 * frequency;
                let (a, b) = (x[i], x[i + half]);
                x[i] = a * angle.cos() - b * angle.sin();
                x[i + half] = b * angle.cos() + a * angle.sin();
            }
        }
        x
    }

    /// Attention of the rows `a` to those in `reach`, by the tensors whose names begin with `scope`.
    fn attention(&self, scope: &str, t: &TransformerConfig, a: &Rows, reach: Reach) -> Rows {
        let name = |part: &str| format!("{scope}{part}");
        let project = |w: &str, b: &str, x: &Rows| -> Rows {
            x.iter().map(|x| self.linear(&name(w), &name(b), x)).collect()
        };
        let source = if let Reach::Source(source) = reach { source } else { a };
        let (q, k, v) = (project("wq", "bq", a), project("wk", "bk", source), project("wv", "bv", source));
        let d = t.head_dim;
        // Between two texts there is no distance that RoPE could tell.
        let turned = |position: usize| (!matches!(reach, Reach::Source(_))).then_some(position);
        let attend = |position: usize| {
            let first = if t.window > 0 { (position + 1).saturating_sub(t.window) } else { 0 };
            let seen = if let Reach::Causal = reach { first..position + 1 } else { 0..source.len() };
            let mut out = Vec::new();
            for head in 0..t.n_heads {
                let kv = head / (t.n_heads / t.n_kv_heads);
                let query =
                    self.head(&name("q_norm"), t, &q[position][head * d..(head + 1) * d], turned(position));
                let score = |p: usize| {
                    let key = self.head(&name("k_norm"), t, &k[p][kv * d..(kv + 1) * d], turned(p));
                    (query.iter().zip(&key).map(|(q, k)| q * k).sum::<f64>() / (d as f64).sqrt()).exp()
                };
                let weights: Vec<f64> = seen.clone().map(score).collect();
                let total: f64 = weights.iter().sum();
                for i in 0..d {
                    out.push(seen.clone().map(|p| weights[p - seen.start] / total * v[p][kv * d + i]).sum());
                }
            }
            self.linear(&name("wo"), &name("bo"), &out)
        };
        (0..a.len()).map(attend).collect()
    }

    fn ffn(&self, scope: &str, t: &TransformerConfig, a: &[f64]) -> Vec<f64> {
        let name = |part: &str| format!("{scope}ffn.{part}");
        let f = |x: f64| match t.ffn {
            Ffn::Relu => x.max(0.0),
            Ffn::Relu2 => x.max(0.0).powi(2),
            Ffn::Gelu | Ffn::GatedGelu => gelu(x),
            Ffn::Silu | Ffn::GatedSilu => x * sigmoid(x),
        };
        let up = self.linear(&name("w_up"), &name("b_up"), a);
        let hidden: Vec<f64> = match t.ffn.is_gated() {
            true => {
                let gate = self.linear(&name("w_gate"), &name("b_gate"), a);
                gate.iter().zip(&up).map(|(g, u)| f(*g) * u).collect()
            }
            false => up.into_iter().map(f).collect(),
        };
        self.linear(&name("w_down"), &name("b_down"), &hidden)
    }

    /// `x_t + mu (x_{t-1} - x_t)`, where there is a mu.
    fn shift(&self, name: &str, x: Rows) -> Rows {
        let Some(mu) = self.tensor(name) else { return x };
        let at = |t: usize, i: usize| if t == 0 { 0.0 } else { x[t - 1][i] };
        let mixed = |t: usize| (0..mu.len()).map(|i| x[t][i] + mu[i] * (at(t, i) - x[t][i])).collect();
        (0..x.len()).map(mixed).collect()
    }

    /// A block whose tensors' names begin with `scope`; `reach` is that of its own tokens, `encoded` what the encoder made of a source.
    fn transformer(&self, scope: &str, t: &TransformerConfig, x: Rows, reach: Reach, encoded: &Rows) -> Rows {
        let name = |part: &str| format!("{scope}{part}");
        let add = |x: Rows, y: Rows| -> Rows {
            let keep = if t.residual { 1.0 } else { 0.0 };
            x.into_iter().zip(y).map(|(x, y)| x.iter().zip(y).map(|(x, y)| keep * x + y).collect()).collect()
        };
        let normed =
            |part: &str, x: &Rows| -> Rows { x.iter().map(|x| self.norm(&name(part), t.norm, x)).collect() };
        let a = self.shift(&name("attn.shift"), normed("norm1", &x));
        let mut x = add(x, self.attention(&name("attn."), t, &a, reach));
        if t.cross_attention {
            let a = normed("norm_cross", &x);
            x = add(x, self.attention(&name("cross."), t, &a, Reach::Source(encoded)));
        }
        let a = self.shift(&name("ffn.shift"), normed("norm2", &x));
        let y = a.iter().map(|a| self.ffn(scope, t, a)).collect();
        add(x, y)
    }

    /// What the encoder makes of a source; nothing in a model without one.
    fn encode(&self, source: &[u32]) -> Rows {
        let config = self.config();
        let mut x = self.embed(source);
        for (index, t) in config.encoder.iter().enumerate() {
            x = self.transformer(&format!("encoder.blocks.{index}."), t, x, Reach::All, &Rows::new());
        }
        x.iter().map(|x| self.norm("encoder.final_norm", config.final_norm, x)).collect()
    }

    fn embed(&self, tokens: &[u32]) -> Rows {
        let config = self.config();
        let d = config.d_model;
        let embed = self.tensor("embed.weight").unwrap();
        let table = self.tensor("position.weight");
        let embedded = |(position, token): (usize, &u32)| -> Vec<f64> {
            let channel = |i: usize| {
                let angle = position as f64 * 10_000f64.powf(-2.0 * (i / 2) as f64 / d as f64);
                let p = match config.position {
                    Position::Learned => table.as_ref().unwrap()[position * d + i],
                    Position::Sinusoidal if i.is_multiple_of(2) => angle.sin(),
                    Position::Sinusoidal => angle.cos(),
                    _ => 0.0,
                };
                embed[*token as usize * d + i] + p
            };
            (0..d).map(channel).collect()
        };
        tokens.iter().enumerate().map(embedded).collect()
    }

    fn logits(&self, source: &[u32], tokens: &[u32]) -> Rows {
        let config = self.config();
        let (encoded, mut x) = (self.encode(source), self.embed(tokens));
        for (index, block) in config.blocks.iter().enumerate() {
            x = match block {
                BlockConfig::Transformer(t) => {
                    self.transformer(&format!("blocks.{index}."), t, x, Reach::Causal, &encoded)
                }
                block => self.recurrent(index, block, block.recurrent().unwrap(), x),
            };
        }
        let head = if config.tied_head { "embed.weight" } else { "head.weight" };
        let cap = config.logit_softcap as f64;
        let capped = |z: f64| if cap > 0.0 { cap * (z / cap).tanh() } else { z };
        let row = |x: &Vec<f64>| {
            let z = self.linear(head, "head.bias", &self.norm("final_norm", config.final_norm, x));
            z.into_iter().map(capped).collect()
        };
        x.iter().map(row).collect()
    }
}

/// Largest difference of a logit, and mean difference of the loss, between runtime and reference.
fn differences(config: &ModelConfig, dtype: DType) -> (f64, f64) {
    let model = common::model(config, dtype, 11);
    let mut rng = common::Rng(3);
    let mut draw =
        |n: usize| -> Vec<u32> { (0..n).map(|_| (rng.next() % common::VOCAB as u64) as u32).collect() };
    let tokens = draw(70);
    // More than the session takes at a time.
    let source = if config.has_encoder() { draw(83) } else { Vec::new() };
    let expected = Reference { model: &model }.logits(&source, &tokens);
    let mut session = Session::new(model.clone(), &SessionOptions::default()).unwrap();
    if config.has_encoder() {
        session.encode(&source).unwrap();
    }
    let (mut largest, mut loss) = (0f64, 0f64);
    let visit = |i: usize, logits: &[f32]| {
        for (found, exact) in logits.iter().zip(&expected[i]) {
            largest = largest.max((*found as f64 - exact).abs());
        }
        let target = tokens[(i + 1) % tokens.len()] as usize;
        let total: f64 = expected[i].iter().map(|z| z.exp()).sum();
        loss += log_prob(logits, target) - (expected[i][target] - total.ln());
    };
    session.forward_each(&tokens, visit).unwrap();
    (largest, loss / tokens.len() as f64)
}

/// Every family, and encoder-decoders with every kind of positions.
fn models() -> impl Iterator<Item = (&'static str, ModelConfig)> {
    let rope = Position::Rope { theta: 500.0 };
    let encoders = [
        ("seq2seq, learned", Position::Learned),
        ("seq2seq, sinusoidal", Position::Sinusoidal),
        ("seq2seq, rope", rope),
    ];
    common::models().into_iter().chain(encoders.map(|(name, position)| (name, common::seq2seq(position))))
}

#[test]
fn f32_models_follow_the_equations() {
    for (name, config) in models() {
        let (largest, loss) = differences(&config, DType::F32);
        println!("{name}: logits differ by up to {largest:.1e}, loss by {loss:.1e}");
        assert!(largest < 2e-5, "{name}: logits differ by {largest}");
        assert!(loss.abs() < 1e-6, "{name}: losses differ by {loss}");
    }
}

#[test]
fn other_dtypes_follow_the_equations_with_their_own_weights() {
    for (name, config) in models() {
        for dtype in [DType::F16, DType::Q8, DType::Q4] {
            let (largest, loss) = differences(&config, dtype);
            println!("{name} {dtype}: logits differ by up to {largest:.1e}, loss by {loss:.1e}");
            assert!(loss.abs() < 2e-2, "{name} {dtype}: losses differ by {loss}");
        }
    }
}
