//! Lion: every weight moves by the same amount, only the sign is learned.
//!
//! Chen et al., "Symbolic discovery of optimization algorithms" (2023), Algorithm 2:
//!
//! ```text
//! u = sign(β₁ m + (1 − β₁) g)
//! θ ← θ − η (u + λ θ)
//! m ← β₂ m + (1 − β₂) g
//! ```
//!
//! One buffer instead of Adam's two. Its learning rate is 3 to 10 times smaller than Adam's, as |u| is 1.

use super::Step;

/// The settings of the rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lion {
    /// β₁, the share of the past in the step, in [0, 1).
    pub beta1: f32,
    /// β₂, the memory of m, in [0, 1).
    pub beta2: f32,
}

impl Lion {
    /// Steps `p` against the gradient `grad`; `m` is the momentum.
    pub fn update(&self, step: &Step, p: &mut [f32], grad: &[f32], m: &mut [f32]) {
        let &Step { lr, grad_scale, l2, keep, .. } = step;
        let Lion { beta1, beta2 } = *self;
        let (gain1, gain2) = (1.0 - beta1, 1.0 - beta2);
        for ((p, g), m) in p.iter_mut().zip(grad).zip(m) {
            let g = grad_scale * g + l2 * *p;
            *p = keep * *p - lr * sign(beta1 * *m + gain1 * g);
            *m = beta2 * *m + gain2 * g;
        }
    }
}

/// −1, 0 or 1; `f32::signum` has no 0.
#[inline(always)]
fn sign(x: f32) -> f32 {
    f32::from(i8::from(x > 0.0) - i8::from(x < 0.0))
}
