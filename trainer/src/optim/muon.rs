//! Muon: momentum whose step is made orthogonal, so that it changes all directions of a matrix alike.
//!
//! Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024). For a hidden matrix:
//!
//! ```text
//! B ← μ B + (1 − μ) G
//! U = (1 − μ) G + μ B        (Nesterov; otherwise U = B)
//! O ≈ (U Uᵀ)^(−1/2) U        (the nearest semi-orthogonal matrix: the U Vᵀ of its singular decomposition)
//! W ← (1 − η λ) W − η s O    with s = √max(1, rows / cols)
//! ```
//!
//! O comes from Newton–Schulz steps, products of matrices only. With X₀ = U / ‖U‖_F each step maps every
//! singular value σ to aσ + bσ³ + cσ⁵:
//!
//! ```text
//! A = X Xᵀ,   X ← a X + (b A + c A²) X
//! ```
//!
//! with the published a = 3.4445, b = −4.7750, c = 2.0315, chosen for the steepest slope at 0: five steps bring
//! the singular values to between about 0.7 and 1.2, which is as good as 1 for training.
//!
//! Gradients of hidden matrices are nearly of low rank; a step along them would move a few directions and leave
//! the rest still. Embedding, head and vectors are not maps between hidden spaces and are stepped by Adam.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};

use super::Step;
use super::adam::Adam;
use crate::ops::gemm::{View, ViewMut, gemm};

/// The published coefficients of the quintic.
const A: f32 = 3.4445;
const B: f32 = -4.7750;
const C: f32 = 2.0315;

/// Keeps the norm of a zero gradient from dividing by zero.
const EPS: f32 = 1e-7;

/// How a step is scaled to the shape of its matrix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MuonScale {
    /// √max(1, rows / cols), as published.
    #[default]
    Original,
    /// 0.2 √max(rows, cols): the root mean square of an Adam step, so that Adam's learning rate and decay carry
    /// over (Liu et al., "Muon is scalable for LLM training", 2025).
    MatchRmsAdamw,
}

impl MuonScale {
    /// The factor for a matrix of `rows` × `cols`.
    pub fn factor(self, rows: usize, cols: usize) -> f32 {
        let (rows, cols) = (rows as f64, cols as f64);
        let factor = match self {
            MuonScale::Original => (rows / cols).max(1.0).sqrt(),
            MuonScale::MatchRmsAdamw => 0.2 * rows.max(cols).sqrt(),
        };
        factor as f32
    }
}

/// The settings of the rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Muon {
    /// μ, in [0, 1).
    pub momentum: f32,
    /// Whether the gradient looks one step ahead.
    pub nesterov: bool,
    /// Newton–Schulz steps.
    pub ns_steps: u32,
    /// The scale of a step.
    pub scale: MuonScale,
    /// The rule for embedding, head and vectors.
    pub adam: Adam,
    /// Its learning rate.
    pub adam_lr: f32,
}

thread_local! {
    /// Buffers of the Newton–Schulz steps, kept by each worker thread from step to step.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    x: Vec<f32>,     // [n, m], n <= m
    next: Vec<f32>,  // [n, m]
    gram: Vec<f32>,  // [n, n]
    gram2: Vec<f32>, // [n, n]
}

impl Muon {
    /// Steps the matrix `p` of `rows` × `cols` against the gradient `grad`; `b` is the momentum buffer.
    pub fn update(&self, step: &Step, rows: usize, cols: usize, p: &mut [f32], grad: &[f32], b: &mut [f32]) {
        let &Step { lr, grad_scale, l2, keep, .. } = step;
        let mu = self.momentum;
        let (along_g, along_b) = if self.nesterov { (1.0 - mu, mu) } else { (0.0, 1.0) };
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { x: u, next, gram, gram2 } = scratch;
            u.clear();
            u.extend(p.iter().zip(grad).zip(b).map(|((p, g), b)| {
                let g = grad_scale * g + l2 * *p;
                *b = mu * *b + (1.0 - mu) * g;
                along_g * g + along_b * *b
            }));
            let lr = lr * self.scale.factor(rows, cols);
            orthogonalize(rows, cols, u, next, gram, gram2, self.ns_steps);
            for (p, o) in p.iter_mut().zip(u.iter()) {
                *p = keep * *p - lr * o;
            }
        });
    }
}

/// Replaces `u` (`[rows, cols]`) by an approximation of the nearest semi-orthogonal matrix; the other buffers are
/// scratch.
fn orthogonalize(
    rows: usize,
    cols: usize,
    u: &mut Vec<f32>,
    next: &mut Vec<f32>,
    gram: &mut Vec<f32>,
    gram2: &mut Vec<f32>,
    steps: u32,
) {
    // X Xᵀ is smallest along the short side, and (Uᵀ orthogonalised)ᵀ is U orthogonalised.
    let (n, m) = (rows.min(cols), rows.max(cols));
    let tall = rows > cols;
    next.resize(n * m, 0.0);
    gram.resize(n * n, 0.0);
    gram2.resize(n * n, 0.0);
    if tall {
        transpose(rows, cols, u, next);
        std::mem::swap(u, next);
    }
    let squares: f64 = u.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let scale = 1.0 / (squares.sqrt() as f32).max(EPS);
    u.iter_mut().for_each(|x| *x *= scale);
    for _ in 0..steps {
        let x = View::new(u, n, m);
        gemm(1.0, x, x.t(), false, ViewMut::new(gram, n, n));
        let a = View::new(gram, n, n);
        gemm(C, a, a, false, ViewMut::new(gram2, n, n));
        for (i, (a2, a)) in gram2.iter_mut().zip(gram.iter()).enumerate() {
            let diagonal = if i % (n + 1) == 0 { A } else { 0.0 };
            *a2 += B * a + diagonal;
        }
        gemm(1.0, View::new(gram2, n, n), x, false, ViewMut::new(next, n, m));
        std::mem::swap(u, next);
    }
    if tall {
        transpose(cols, rows, u, next);
        std::mem::swap(u, next);
    }
}

/// `to` (`[cols, rows]`) = `from`ᵀ (`[rows, cols]`), in tiles that stay in the first-level cache.
fn transpose(rows: usize, cols: usize, from: &[f32], to: &mut [f32]) {
    const TILE: usize = 16;
    for i0 in (0..rows).step_by(TILE) {
        for j0 in (0..cols).step_by(TILE) {
            for i in i0..(i0 + TILE).min(rows) {
                for j in j0..(j0 + TILE).min(cols) {
                    to[j * rows + i] = from[i * cols + j];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// All singular values land between about 0.68 and 1.2, so ‖O‖² is near their number.
    #[test]
    fn the_result_is_nearly_orthogonal() {
        for (rows, cols) in [(24, 24), (16, 40), (40, 16), (1, 9), (9, 1)] {
            let mut rng = Rng::new(5);
            let mut u: Vec<f32> = (0..rows * cols).map(|_| rng.normal() as f32).collect();
            let (mut next, mut gram, mut gram2) = (Vec::new(), Vec::new(), Vec::new());
            orthogonalize(rows, cols, &mut u, &mut next, &mut gram, &mut gram2, 5);
            let short = rows.min(cols);
            let norm: f32 = u.iter().map(|x| x * x).sum();
            assert!((0.46..1.44).contains(&(norm / short as f32)), "[{rows}, {cols}]: {norm}");
        }
    }

    #[test]
    fn transposing_twice_is_nothing() {
        let from: Vec<f32> = (0..35 * 18).map(|i| i as f32).collect();
        let (mut once, mut twice) = (from.clone(), from.clone());
        transpose(35, 18, &from, &mut once);
        assert_eq!((once[1], once[35]), (18.0, 1.0));
        transpose(18, 35, &once, &mut twice);
        assert_eq!(twice, from);
    }

    #[test]
    fn a_zero_gradient_steps_nowhere() {
        let mut u = vec![0.0; 12];
        orthogonalize(3, 4, &mut u, &mut Vec::new(), &mut Vec::new(), &mut Vec::new(), 5);
        assert_eq!(u, [0.0; 12]);
    }
}
