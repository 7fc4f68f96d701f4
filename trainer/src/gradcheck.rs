//! Gradients held against finite differences, in double precision.
//!
//! The difference is the five-point stencil, `(8 (f(x+h) - f(x-h)) - (f(x+2h) - f(x-2h))) / 12h`, whose error falls
//! with the fourth power of h, so that a step of 1e-3 leaves ten right digits.

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
    use crate::rng::Rng;
    use crate::tape::Tape;
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
