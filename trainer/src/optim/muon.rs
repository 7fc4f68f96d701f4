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
//! the singular values to between about 0.7 and 1.2, which is as good as 1 for training. The products are in
//! `newton_schulz.rs`.
//!
//! Gradients of hidden matrices are nearly of low rank; a step along them would move a few directions and leave
//! the rest still. Embedding, head and vectors are not maps between hidden spaces and are stepped by Adam.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};

use super::Step;
use super::adam::Adam;
use super::newton_schulz::NewtonSchulz;

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
    /// Kept by each worker thread from step to step.
    static SCRATCH: RefCell<NewtonSchulz> = RefCell::default();
}

impl Muon {
    /// Steps the matrix `p` of `rows` × `cols` against the gradient `grad`; `b` is the momentum buffer.
    pub fn update(&self, step: &Step, rows: usize, cols: usize, p: &mut [f32], grad: &[f32], b: &mut [f32]) {
        let &Step { lr, grad_scale, l2, keep, .. } = step;
        let mu = self.momentum;
        let (along_g, along_b) = if self.nesterov { (1.0 - mu, mu) } else { (0.0, 1.0) };
        SCRATCH.with_borrow_mut(|ns| {
            ns.x.clear();
            ns.x.extend(p.iter().zip(grad).zip(b).map(|((p, g), b)| {
                let g = grad_scale * g + l2 * *p;
                *b = mu * *b + (1.0 - mu) * g;
                along_g * g + along_b * *b
            }));
            ns.run(rows, cols, self.ns_steps);
            let lr = lr * self.scale.factor(rows, cols);
            for (p, o) in p.iter_mut().zip(&ns.x) {
                *p = keep * *p - lr * o;
            }
        });
    }
}
