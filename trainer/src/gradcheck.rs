//! Gradients held against finite differences, in double precision: ops in their tests, whole models on request.
//!
//! The difference is the five-point stencil, `(8 (f(x+h) - f(x-h)) - (f(x+2h) - f(x-2h))) / 12h`, whose error falls
//! with the fourth power of h, so that a step of 1e-3 leaves ten right digits.

use std::fmt;

use crate::model::{Batch, CarriedState, Gradients, Model, Noise};
use crate::params::ParamStore;
use crate::rng::Rng;
use crate::tape::Tape;

/// How a model is checked.
#[derive(Clone, Debug)]
pub struct Options {
    /// Elements to check of each tensor, drawn by `seed`; `None` for all.
    pub samples: Option<usize>,
    /// Seed of the draw.
    pub seed: u64,
    /// Largest relative error that passes.
    pub tolerance: f64,
    /// A fault to plant, to see the check fail.
    pub fault: Option<Fault>,
    /// Dropout and its seed: the same mask in every evaluation.
    pub noise: Noise,
}

impl Default for Options {
    fn default() -> Self {
        Options { samples: None, seed: 1, tolerance: 1e-6, fault: None, noise: Noise::NONE }
    }
}

/// A wrong gradient, on purpose.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Tensor whose analytic gradient is multiplied.
    pub tensor: String,
    /// By what, such as 1.01.
    pub factor: f64,
}

/// What was found for one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorCheck {
    /// The tensor.
    pub name: String,
    /// Elements that were checked.
    pub checked: usize,
    /// Elements that it has.
    pub elements: usize,
    /// Largest relative error; see [`check_model`].
    pub max_error: f64,
    /// Element of that error.
    pub worst: usize,
    /// Its gradient by the backward pass.
    pub analytic: f64,
    /// Its gradient by finite differences.
    pub numeric: f64,
    /// The error is within the tolerance.
    pub ok: bool,
}

impl fmt::Display for TensorCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.ok { "ok" } else { "WRONG" };
        write!(
            f,
            "{:<28} {:>7}/{:<7} {:>9.2e}  [{}] {:+.9e} {:+.9e}  {verdict}",
            self.name, self.checked, self.elements, self.max_error, self.worst, self.analytic, self.numeric
        )
    }
}

/// First steps to try: smaller ones follow where the loss has a kink within reach.
const STEPS: [f64; 3] = [1e-3, 1e-4, 1e-5];

/// Checks the gradient of a model's mean loss on a batch, tensor by tensor.
///
/// The error of an element is `|analytic - numeric|` relative to the larger of the two, or, where both are smaller than
/// that, to a thousandth of the tensor's largest gradient or a ten-thousandth of the model's: below it, a difference
/// of losses has too few digits. A kink of a rectifier within the step spoils a difference, so an element that fails is
/// tried again with smaller steps.
///
/// # Panics
/// As [`Model::loss_and_gradient`].
pub fn check_model(
    model: &Model<f64>,
    store: &ParamStore<f64>,
    batch: Batch<'_>,
    state: &CarriedState<f64>,
    options: &Options,
) -> Vec<TensorCheck> {
    let mut probe = Probe::new(model, store, batch, state, options.noise);
    probe.loss();
    let all = probe.gradient.clone();
    let mut analytic = all.clone();
    if let Some(fault) = &options.fault {
        let range = store.layout().range(&fault.tensor).unwrap_or(0..0);
        analytic[range].iter_mut().for_each(|g| *g *= fault.factor);
    }
    let mut rng = Rng::new(options.seed);
    let mut rows = Vec::new();
    for (spec, range) in store.layout().tensors() {
        let analytic = &analytic[range.clone()];
        let floor = (1e-3 * largest(analytic)).max(1e-4 * largest(&all));
        let mut row = TensorCheck {
            name: spec.name.clone(),
            checked: 0,
            elements: range.len(),
            max_error: -1.0,
            worst: 0,
            analytic: 0.0,
            numeric: 0.0,
            ok: true,
        };
        for index in drawn(range.len(), options.samples, &mut rng) {
            let (numeric, error) =
                probe.check(range.start + index, analytic[index], floor, options.tolerance);
            row.checked += 1;
            if error.is_nan() || error > row.max_error {
                row.max_error = error;
                (row.worst, row.analytic, row.numeric) = (index, analytic[index], numeric);
            }
            row.ok &= error <= options.tolerance;
        }
        rows.push(row);
    }
    rows
}

fn largest(gradient: &[f64]) -> f64 {
    gradient.iter().fold(0.0, |m: f64, g| m.max(g.abs()))
}

/// Indices to check: all, or `samples` drawn without repetition, in order.
fn drawn(len: usize, samples: Option<usize>, rng: &mut Rng) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..len).collect();
    if let Some(samples) = samples.filter(|&n| n < len) {
        rng.shuffle(&mut indices);
        indices.truncate(samples);
        indices.sort_unstable();
    }
    indices
}

/// A model whose parameters can be moved one at a time.
struct Probe<'a> {
    model: &'a Model<f64>,
    store: ParamStore<f64>,
    batch: Batch<'a>,
    state: &'a CarriedState<f64>,
    noise: Noise,
    tape: Tape<f64>,
    gradient: Vec<f64>,
    moments: Vec<f64>,
}

impl<'a> Probe<'a> {
    fn new(
        model: &'a Model<f64>,
        store: &ParamStore<f64>,
        batch: Batch<'a>,
        state: &'a CarriedState<f64>,
        noise: Noise,
    ) -> Self {
        let store = store.clone();
        let (gradient, moments) = (vec![0.0; store.values.len()], vec![0.0; store.buffers.len()]);
        Probe { model, store, batch, state, noise, tape: Tape::new(), gradient, moments }
    }

    /// Mean loss, and its gradient in `gradient`.
    fn loss(&mut self) -> f64 {
        let counted = self.batch.counted() as f64;
        self.gradient.fill(0.0);
        let grads = Gradients { flat: &mut self.gradient, moments: &mut self.moments };
        let (mut state, scale) = (self.state.clone(), 1.0 / counted);
        let (store, batch) = (&self.store, self.batch);
        self.model.loss_and_gradient(&mut self.tape, store, grads, batch, &mut state, self.noise, scale)
            / counted
    }

    /// Numeric derivative by one parameter and its error against `analytic`, by the first step that passes or the
    /// best of all.
    fn check(&mut self, at: usize, analytic: f64, floor: f64, tolerance: f64) -> (f64, f64) {
        let mut best = (f64::NAN, f64::INFINITY);
        let value = self.store.values[at];
        for h in STEPS {
            let numeric = five_point(&[value], 0, h, |v| {
                self.store.values[at] = v[0];
                self.loss()
            });
            let error = relative_error(analytic, numeric, floor);
            if error < best.1 {
                best = (numeric, error);
            }
            if best.1 <= tolerance {
                break;
            }
        }
        self.store.values[at] = value;
        best
    }
}

/// Derivative of `f` by `values[index]`, numerically.
pub fn five_point(values: &[f64], index: usize, h: f64, mut f: impl FnMut(&[f64]) -> f64) -> f64 {
    let mut moved = values.to_vec();
    let mut at = |offset: f64| {
        moved[index] = values[index] + offset;
        f(&moved)
    };
    (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h)
}

/// `|a - b|` relative to the larger, or to `floor` where both are smaller still.
pub fn relative_error(a: f64, b: f64, floor: f64) -> f64 {
    (a - b).abs() / a.abs().max(b.abs()).max(floor)
}

#[cfg(test)]
pub(crate) use for_tests::{check_op, check_op_at, samples};

#[cfg(test)]
mod for_tests {
    use super::*;
    use crate::tensor::Var;

    /// `n` numbers in (-1, 1), the same for the same seed.
    pub(crate) fn samples(n: usize, seed: u64) -> Vec<f64> {
        let mut rng = Rng::new(seed);
        (0..n).map(|_| 2.0 * rng.uniform() - 1.0).collect()
    }

    /// [`check_op_at`] random parameters and inputs.
    pub(crate) fn check_op(
        n_params: usize,
        shapes: &[(usize, usize)],
        op: impl Fn(&mut Tape<f64>, &[f64], &[Var]) -> Var,
    ) {
        let inputs: Vec<Vec<f64>> =
            shapes.iter().enumerate().map(|(i, (rows, cols))| samples(rows * cols, 10 + i as u64)).collect();
        check_op_at(&samples(n_params, 1), shapes, &inputs, op);
    }

    /// Checks every derivative of a random projection of an op's output: by parameters and by inputs.
    pub(crate) fn check_op_at(
        params: &[f64],
        shapes: &[(usize, usize)],
        inputs: &[Vec<f64>],
        op: impl Fn(&mut Tape<f64>, &[f64], &[Var]) -> Var,
    ) {
        let run = |tape: &mut Tape<f64>, params: &[f64], inputs: &[Vec<f64>]| {
            let vars: Vec<Var> =
                shapes.iter().zip(inputs).map(|(&(rows, cols), x)| tape.input(rows, cols, x)).collect();
            let y = op(tape, params, &vars);
            (vars, y)
        };
        let mut tape = Tape::new();
        let (vars, y) = run(&mut tape, params, inputs);
        let projection = samples(tape.value(y).len(), 99);
        tape.seed(y, &projection);
        let mut grads = vec![0.0; params.len()];
        tape.backward(params, &mut grads);

        let mut scratch = Tape::new();
        let mut loss = |params: &[f64], inputs: &[Vec<f64>]| {
            scratch.reset(false);
            let (_, y) = run(&mut scratch, params, inputs);
            scratch.value(y).iter().zip(&projection).map(|(y, r)| y * r).sum::<f64>()
        };
        let check = |what: &str, i: usize, analytic: f64, numeric: f64| {
            let error = relative_error(analytic, numeric, 1e-3);
            assert!(error < 1e-6, "{what} {i}: analytic {analytic}, numeric {numeric}");
        };
        for i in 0..params.len() {
            check("parameter", i, grads[i], five_point(params, i, 1e-3, |p| loss(p, inputs)));
        }
        for (n, x) in inputs.iter().enumerate() {
            let mut moved = inputs.to_vec();
            for i in 0..x.len() {
                let numeric = five_point(x, i, 1e-3, |x| {
                    moved[n].copy_from_slice(x);
                    loss(params, &moved)
                });
                check("input", i, tape.grad(vars[n]).expect("a gradient")[i], numeric);
            }
        }
    }

    #[test]
    fn the_stencil_is_exact_for_cubics_and_sees_a_wrong_derivative() {
        let d = five_point(&[2.0, 5.0], 0, 1e-2, |x| x[0].powi(3) * x[1]);
        assert!(relative_error(d, 60.0, 1e-3) < 1e-11);
        assert!(relative_error(d * 1.01, 60.0, 1e-3) > 1e-3);
    }
}
