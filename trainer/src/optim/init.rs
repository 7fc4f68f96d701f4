//! Where the walk begins: initial weights.
//!
//! A layer y = W x keeps the size of its signal when var(W) · fan_in = 1, and the size of its gradient when
//! var(W) · fan_out = 1. Too small and signals die with depth, too large and they explode.
//!
//! - Xavier (Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
//!   AISTATS 2010) balances both: var = 2 / (fan_in + fan_out). For tanh and sigmoid.
//! - He (He et al., "Delving deep into rectifiers", ICCV 2015) makes up for the half that a ReLU drops:
//!   var = 2 / fan_in.
//! - Orthogonal (Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural
//!   networks", ICLR 2014): all singular values 1, so that a state multiplied by W at every step neither grows nor
//!   fades. For recurrent weights.
//! - GPT (Radford et al., GPT-2, 2019): N(0, 0.02²), and 0.02 / √(2 n_layers) for the projections that are added
//!   to the residual stream, two per layer, so that the stream's variance does not grow with depth.
//!
//! Norm weights begin at 1 and biases at 0, but the LSTM's forget gate at 1 (Jozefowicz et al., "An empirical
//! exploration of recurrent network architectures", ICML 2015): it remembers until it learns to forget.

use serde::{Deserialize, Serialize};
use siskin_format::schema::{Role, TensorSpec};

use super::config::in_range;
use crate::error::Result;
use crate::rng::Rng;

/// The initialisers of weight matrices by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitName {
    /// Recurrent blocks: Xavier uniform into the gates, orthogonal from state to gates. Elsewhere: GPT.
    #[default]
    Auto,
    /// U(−a, a) with a = √(6 / (fan_in + fan_out)).
    XavierUniform,
    /// N(0, 2 / (fan_in + fan_out)).
    XavierNormal,
    /// U(−a, a) with a = √(6 / fan_in).
    HeUniform,
    /// N(0, 2 / fan_in).
    HeNormal,
    /// Rows or columns, whichever are fewer, orthonormal.
    Orthogonal,
    /// N(0, std²), smaller towards the residual stream.
    Gpt,
}

impl InitName {
    /// Every name, in the order of a help text.
    pub const ALL: [InitName; 7] = [
        InitName::Auto,
        InitName::XavierUniform,
        InitName::XavierNormal,
        InitName::HeUniform,
        InitName::HeNormal,
        InitName::Orthogonal,
        InitName::Gpt,
    ];

    /// The name as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            InitName::Auto => "auto",
            InitName::XavierUniform => "xavier-uniform",
            InitName::XavierNormal => "xavier-normal",
            InitName::HeUniform => "he-uniform",
            InitName::HeNormal => "he-normal",
            InitName::Orthogonal => "orthogonal",
            InitName::Gpt => "gpt",
        }
    }

    /// The initialiser of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|n| n.as_str() == name)
    }
}

/// How the tensors of a model begin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct InitConfig {
    /// The initialiser of hidden matrices.
    pub name: InitName,
    /// Multiplies Xavier, He and orthogonal weights; 5/3 suits deep tanh stacks.
    pub gain: f32,
    /// Standard deviation of GPT weights, embeddings, positions and head.
    pub std: f32,
    /// Begin projections to the residual stream at 0, so that every block begins as the identity.
    pub zero_residual: bool,
    /// Begin the head at 0, so that the first loss is exactly ln(vocab_size).
    pub zero_head: bool,
    /// What the forget-gate bias of an LSTM begins at.
    pub forget_bias: f32,
}

impl Default for InitConfig {
    fn default() -> Self {
        InitConfig {
            name: InitName::Auto,
            gain: 1.0,
            std: 0.02,
            zero_residual: false,
            zero_head: false,
            forget_bias: 1.0,
        }
    }
}

impl InitConfig {
    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// [`crate::Error::Setting`].
    pub fn check(&self) -> Result<()> {
        in_range("init-gain", Some(self.gain), f32::MIN_POSITIVE, f32::INFINITY, false)?;
        in_range("init-std", Some(self.std), f32::MIN_POSITIVE, f32::INFINITY, false)?;
        in_range("forget-bias", Some(self.forget_bias), f32::MIN, f32::INFINITY, false)
    }

    /// Writes the initial weights of all tensors, one after the other, into `params`. Every tensor draws from a
    /// stream of its own, so adding one does not change the others. `n_layers` is the number of blocks.
    ///
    /// # Panics
    /// If `params` is not as long as the tensors together.
    pub fn fill(&self, specs: &[TensorSpec], n_layers: usize, seed: u64, mut params: &mut [f32]) {
        for (index, spec) in specs.iter().enumerate() {
            let (tensor, rest) = params.split_at_mut(spec.len());
            params = rest;
            self.fill_tensor(spec, n_layers, &mut Rng::stream(seed, index as u64), tensor);
        }
        assert!(params.is_empty(), "{} parameters belong to no tensor", params.len());
    }

    /// Writes the initial weights of one tensor.
    ///
    /// # Panics
    /// If `out` is not as long as the tensor.
    pub fn fill_tensor(&self, spec: &TensorSpec, n_layers: usize, rng: &mut Rng, out: &mut [f32]) {
        assert_eq!(out.len(), spec.len(), "{}", spec.name);
        match spec.role {
            Role::NormWeight => out.fill(1.0),
            Role::NormBias | Role::TokenShift => out.fill(0.0),
            Role::Bias => self.bias(spec, out),
            Role::Embedding | Role::Position => normal(self.std, rng, out),
            Role::Head if self.zero_head => out.fill(0.0),
            Role::Head => normal(self.std, rng, out),
            Role::MatrixToResidual if self.zero_residual => out.fill(0.0),
            Role::Matrix | Role::MatrixToResidual | Role::Recurrent => {
                let rows = spec.rows / spec.gates;
                for gate in out.chunks_exact_mut(rows * spec.cols) {
                    self.matrix(spec, rows, n_layers, rng, gate);
                }
            }
        }
    }

    /// Gates are i f g o: the second quarter is the forget gate's.
    fn bias(&self, spec: &TensorSpec, out: &mut [f32]) {
        out.fill(0.0);
        if spec.gates == 4 {
            let hidden = spec.rows / 4;
            out[hidden..2 * hidden].fill(self.forget_bias);
        }
    }

    fn matrix(&self, spec: &TensorSpec, rows: usize, n_layers: usize, rng: &mut Rng, out: &mut [f32]) {
        let (cols, gain) = (spec.cols, self.gain);
        let (fan_in, fan_out) = (cols as f32, rows as f32);
        let name = match (self.name, spec.role) {
            (InitName::Auto, Role::Recurrent) => InitName::Orthogonal,
            (InitName::Auto, _) if spec.name.ends_with("w_x") => InitName::XavierUniform,
            (InitName::Auto, _) => InitName::Gpt,
            (name, _) => name,
        };
        match name {
            InitName::XavierUniform => uniform(gain * (6.0 / (fan_in + fan_out)).sqrt(), rng, out),
            InitName::XavierNormal => normal(gain * (2.0 / (fan_in + fan_out)).sqrt(), rng, out),
            InitName::HeUniform => uniform(gain * (6.0 / fan_in).sqrt(), rng, out),
            InitName::HeNormal => normal(gain * (2.0 / fan_in).sqrt(), rng, out),
            InitName::Orthogonal => orthogonal(rows, cols, gain, rng, out),
            InitName::Auto | InitName::Gpt => {
                let to_residual = spec.role == Role::MatrixToResidual;
                let shrink = if to_residual { (2.0 * n_layers as f32).sqrt() } else { 1.0 };
                normal(self.std / shrink, rng, out);
            }
        }
    }
}

/// Uniform in [−a, a).
pub fn uniform(a: f32, rng: &mut Rng, out: &mut [f32]) {
    out.iter_mut().for_each(|x| *x = (f64::from(a) * (2.0 * rng.uniform() - 1.0)) as f32);
}

/// Normal with mean 0.
pub fn normal(std: f32, rng: &mut Rng, out: &mut [f32]) {
    out.iter_mut().for_each(|x| *x = (f64::from(std) * rng.normal()) as f32);
}

/// A random `[rows, cols]` matrix with orthonormal rows (or columns, if those are fewer), times `gain`: every one
/// equally likely. Gram–Schmidt on a normal matrix, in f64: its loss of orthogonality is far under f32's rounding.
///
/// # Panics
/// If `out` is not `rows · cols` long.
pub fn orthogonal(rows: usize, cols: usize, gain: f32, rng: &mut Rng, out: &mut [f32]) {
    assert_eq!(out.len(), rows * cols, "[{rows}, {cols}]");
    let (n, m) = (rows.min(cols), rows.max(cols));
    let mut q: Vec<f64> = (0..n * m).map(|_| rng.normal()).collect();
    for i in 0..n {
        let (done, rest) = q.split_at_mut(i * m);
        let row = &mut rest[..m];
        for earlier in done.chunks_exact(m) {
            let along = dot(row, earlier);
            row.iter_mut().zip(earlier).for_each(|(x, e)| *x -= along * e);
        }
        let scale = 1.0 / dot(row, row).sqrt();
        row.iter_mut().for_each(|x| *x *= scale);
    }
    for r in 0..rows {
        for c in 0..cols {
            let x = if rows <= cols { q[r * m + c] } else { q[c * m + r] };
            out[r * cols + c] = (f64::from(gain) * x) as f32;
        }
    }
}

/// Eight running sums, so that the loop is as wide as the machine.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (xs, ys) = (x.chunks_exact(8), y.chunks_exact(8));
    let rest: f64 = xs.remainder().iter().zip(ys.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in xs.zip(ys) {
        for i in 0..8 {
            lanes[i] += a[i] * b[i];
        }
    }
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, rows: usize, cols: usize, role: Role, gates: usize) -> TensorSpec {
        TensorSpec { name: name.into(), rows, cols, role, block: Some(0), gates }
    }

    fn filled(config: InitConfig, spec: &TensorSpec) -> Vec<f32> {
        let mut out = vec![f32::NAN; spec.len()];
        config.fill_tensor(spec, 8, &mut Rng::new(11), &mut out);
        out
    }

    fn std(x: &[f32]) -> f64 {
        let n = x.len() as f64;
        let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
        assert!(mean.abs() < 0.01, "mean {mean}");
        (x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n).sqrt()
    }

    #[test]
    fn variances_are_those_of_the_papers() {
        let matrix = spec("ffn.w_up", 300, 200, Role::Matrix, 1);
        let expected = [
            (InitName::XavierUniform, (2.0 / 500.0f64).sqrt()),
            (InitName::XavierNormal, (2.0 / 500.0f64).sqrt()),
            (InitName::HeUniform, (2.0 / 200.0f64).sqrt()),
            (InitName::HeNormal, (2.0 / 200.0f64).sqrt()),
            (InitName::Gpt, 0.02),
            (InitName::Auto, 0.02),
            (InitName::Orthogonal, (1.0 / 300.0f64).sqrt()),
        ];
        for (name, expected) in expected {
            let x = filled(InitConfig { name, ..Default::default() }, &matrix);
            assert!((std(&x) / expected - 1.0).abs() < 0.02, "{}: {}", name.as_str(), std(&x));
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
        }
        let x = filled(InitConfig { name: InitName::XavierUniform, ..Default::default() }, &matrix);
        let bound = (6.0f32 / 500.0).sqrt();
        assert!(x.iter().all(|x| x.abs() <= bound) && x.iter().any(|x| x.abs() > 0.99 * bound));
    }

    #[test]
    fn projections_to_the_residual_stream_are_smaller() {
        let to_residual = spec("attn.wo", 200, 200, Role::MatrixToResidual, 1);
        let x = filled(InitConfig { name: InitName::Gpt, ..Default::default() }, &to_residual);
        assert!((std(&x) / (0.02 / 4.0) - 1.0).abs() < 0.02); // 8 layers: √16
        let zero = InitConfig { zero_residual: true, ..Default::default() };
        assert!(filled(zero, &to_residual).iter().all(|x| *x == 0.0));
    }

    #[test]
    fn orthogonal_matrices_are() {
        for (rows, cols) in [(33, 33), (20, 50), (50, 20), (1, 5)] {
            let mut q = vec![0.0; rows * cols];
            orthogonal(rows, cols, 2.0, &mut Rng::new(1), &mut q);
            let at = |i: usize, k: usize| if rows <= cols { q[i * cols + k] } else { q[k * cols + i] };
            let (n, m) = (rows.min(cols), rows.max(cols));
            for i in 0..n {
                for j in 0..n {
                    let dot: f64 = (0..m).map(|k| f64::from(at(i, k)) * f64::from(at(j, k))).sum();
                    let expected = if i == j { 4.0 } else { 0.0 };
                    assert!((dot - expected).abs() < 1e-6, "[{rows}, {cols}] {i} {j}: {dot}");
                }
            }
        }
    }

    #[test]
    fn every_gate_of_recurrent_weights_is_orthogonal_and_differs() {
        let w_h = spec("w_h", 12, 4, Role::Recurrent, 3);
        let x = filled(InitConfig::default(), &w_h);
        for gate in x.chunks(16) {
            let dot: f32 = (0..4).map(|k| gate[k] * gate[4 + k]).sum();
            let norm: f32 = gate[..4].iter().map(|x| x * x).sum();
            assert!(dot.abs() < 1e-6 && (norm - 1.0).abs() < 1e-6);
        }
        assert_ne!(x[..16], x[16..32]);
    }

    #[test]
    fn vectors_begin_at_zero_one_or_the_forget_bias() {
        let config = InitConfig::default();
        assert_eq!(filled(config, &spec("norm.weight", 3, 1, Role::NormWeight, 1)), [1.0; 3]);
        assert_eq!(filled(config, &spec("norm.bias", 3, 1, Role::NormBias, 1)), [0.0; 3]);
        assert_eq!(filled(config, &spec("b_x", 3, 1, Role::Bias, 3)), [0.0; 3]);
        let lstm = spec("b_x", 8, 1, Role::Bias, 4);
        assert_eq!(filled(config, &lstm), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_tensor_does_not_depend_on_its_neighbours() {
        let a = spec("a", 4, 4, Role::Matrix, 1);
        let (small, big) = (spec("b", 2, 2, Role::Matrix, 1), spec("b", 9, 9, Role::Matrix, 1));
        let fill = |first: &TensorSpec| {
            let mut params = vec![0.0; first.len() + a.len()];
            InitConfig::default().fill(&[first.clone(), a.clone()], 1, 5, &mut params);
            params.split_off(first.len())
        };
        assert_eq!(fill(&small), fill(&big));
    }
}
