//! Adam: momentum, with each weight's step divided by the size its gradient usually has.
//!
//! Kingma and Ba, "Adam: a method for stochastic optimization" (ICLR 2015), Algorithm 1:
//!
//! ```text
//! m ← β₁ m + (1 − β₁) g
//! v ← β₂ v + (1 − β₂) g²
//! m̂ = m / (1 − β₁ᵗ),   v̂ = v / (1 − β₂ᵗ)        (both begin at 0, which this corrects)
//! θ ← θ − η m̂ / (√v̂ + ε)
//! ```

use super::Step;
use crate::ops::simd::kernel;

kernel! {
    /// The loop: `step` is `[grad_scale, l2, keep]`, `rule` `[β₁, β₂, step size, scale of √v, ε]`.
    fn update<'a, T>(p: &'a mut [T], grad: &'a [T], m: &'a mut [T], v: &'a mut [T], step: [T; 3], rule: [T; 5]) {
        let [grad_scale, l2, keep] = step;
        let [beta1, beta2, step_size, v_scale, eps] = rule;
        let (gain1, gain2) = (T::ONE - beta1, T::ONE - beta2);
        for (((p, &g), m), v) in p.iter_mut().zip(grad).zip(m).zip(v) {
            let g = grad_scale * g + l2 * *p;
            *m = beta1 * *m + gain1 * g;
            *v = beta2 * *v + gain2 * g * g;
            *p = keep * *p - step_size * *m / (v.sqrt() * v_scale + eps);
        }
    }
}

/// The settings of the rule; [`super::adamw`] shares it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// β₁, the memory of the mean, in [0, 1).
    pub beta1: f32,
    /// β₂, the memory of the mean square, in [0, 1). The paper has 0.999; 0.99 suits short runs on text.
    pub beta2: f32,
    /// ε, against division by zero.
    pub eps: f32,
}

impl Adam {
    /// Steps `p` against the gradient `grad`; `m` and `v` are the moments.
    pub fn update(&self, step: &Step, p: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32]) {
        let &Step { lr, grad_scale, l2, keep, t } = step;
        let Adam { beta1, beta2, eps } = *self;
        let m_correction = 1.0 - f64::from(beta1).powf(t as f64);
        let v_correction = 1.0 - f64::from(beta2).powf(t as f64);
        let step_size = (f64::from(lr) / m_correction) as f32;
        let v_scale = (1.0 / v_correction.sqrt()) as f32;
        update(p, grad, m, v, [grad_scale, l2, keep], [beta1, beta2, step_size, v_scale, eps]);
    }
}
