//! Adagrad: a learning rate per weight that shrinks with the gradients seen so far.
//!
//! Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization"
//! (JMLR 2011):
//!
//! ```text
//! s ← s + g²
//! θ ← θ − η_t g / (√s + ε),   η_t = η / (1 + (t − 1) κ)
//! ```
//!
//! Rare features, such as the embedding rows of rare tokens, keep large steps. As s only grows, steps fade.

use super::Step;

/// The settings of the rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adagrad {
    /// κ, the decay of the learning rate per step.
    pub lr_decay: f32,
    /// What s begins at; above 0 it tames the first steps.
    pub initial: f32,
    /// ε, against division by zero.
    pub eps: f32,
}

impl Adagrad {
    /// Steps `p` against the gradient `grad`; `s` holds the sums of squares.
    pub fn update(&self, step: &Step, p: &mut [f32], grad: &[f32], s: &mut [f32]) {
        let &Step { lr, grad_scale, l2, keep, t } = step;
        let lr = (f64::from(lr) / (1.0 + (t - 1) as f64 * f64::from(self.lr_decay))) as f32;
        for ((p, g), s) in p.iter_mut().zip(grad).zip(s) {
            let g = grad_scale * g + l2 * *p;
            *s += g * g;
            *p = keep * *p - lr * g / (s.sqrt() + self.eps);
        }
    }
}
