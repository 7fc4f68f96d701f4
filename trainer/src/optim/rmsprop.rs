//! RMSProp: Adagrad that forgets.
//!
//! Tieleman and Hinton, "Lecture 6.5 — RMSProp" (Coursera, 2012); centred and with momentum as in Graves,
//! "Generating sequences with recurrent neural networks" (2013):
//!
//! ```text
//! s ← α s + (1 − α) g²
//! a ← α a + (1 − α) g              (centred only)
//! u = g / (√(s − a²) + ε)          (a = 0 when not centred)
//! b ← μ b + u                      (momentum only; otherwise b = u)
//! θ ← θ − η b
//! ```
//!
//! s − a² estimates the variance of g; rounding can make it slightly negative, where it counts as 0.

use super::Step;

/// The settings of the rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// α, the memory of the averages, in [0, 1).
    pub alpha: f32,
    /// ε, against division by zero.
    pub eps: f32,
    /// Whether the mean gradient is subtracted out of s.
    pub centered: bool,
    /// μ, in [0, 1).
    pub momentum: f32,
}

impl RmsProp {
    /// Steps `p` against the gradient `grad`; `state` is s, then a if centred, then b if with momentum.
    pub fn update(&self, step: &Step, p: &mut [f32], grad: &[f32], state: [&mut [f32]; 3]) {
        let [s, second, third] = state;
        match (self.centered, self.momentum != 0.0) {
            (false, false) => self.plain(step, p, grad, s),
            (false, true) => self.with_momentum(step, p, grad, s, second),
            (true, false) => self.centred(step, p, grad, s, second),
            (true, true) => self.centred_with_momentum(step, p, grad, s, second, third),
        }
    }

    fn plain(&self, step: &Step, p: &mut [f32], grad: &[f32], s: &mut [f32]) {
        for ((p, g), s) in p.iter_mut().zip(grad).zip(s) {
            let u = self.scaled(step, *p, *g, s, 0.0);
            *p = step.keep * *p - step.lr * u;
        }
    }

    fn with_momentum(&self, step: &Step, p: &mut [f32], grad: &[f32], s: &mut [f32], b: &mut [f32]) {
        for (((p, g), s), b) in p.iter_mut().zip(grad).zip(s).zip(b) {
            *b = self.momentum * *b + self.scaled(step, *p, *g, s, 0.0);
            *p = step.keep * *p - step.lr * *b;
        }
    }

    fn centred(&self, step: &Step, p: &mut [f32], grad: &[f32], s: &mut [f32], a: &mut [f32]) {
        for (((p, g), s), a) in p.iter_mut().zip(grad).zip(s).zip(a) {
            self.average(step, *p, *g, a);
            let u = self.scaled(step, *p, *g, s, *a);
            *p = step.keep * *p - step.lr * u;
        }
    }

    fn centred_with_momentum(
        &self,
        step: &Step,
        p: &mut [f32],
        grad: &[f32],
        s: &mut [f32],
        a: &mut [f32],
        b: &mut [f32],
    ) {
        for ((((p, g), s), a), b) in p.iter_mut().zip(grad).zip(s).zip(a).zip(b) {
            self.average(step, *p, *g, a);
            *b = self.momentum * *b + self.scaled(step, *p, *g, s, *a);
            *p = step.keep * *p - step.lr * *b;
        }
    }

    /// a ← α a + (1 − α) g
    #[inline(always)]
    fn average(&self, step: &Step, p: f32, grad: f32, a: &mut f32) {
        let g = step.grad_scale * grad + step.l2 * p;
        *a += (1.0 - self.alpha) * (g - *a);
    }

    /// s ← α s + (1 − α) g², and u = g / (√(s − a²) + ε)
    #[inline(always)]
    fn scaled(&self, step: &Step, p: f32, grad: f32, s: &mut f32, a: f32) -> f32 {
        let g = step.grad_scale * grad + step.l2 * p;
        *s = self.alpha * *s + (1.0 - self.alpha) * g * g;
        g / ((*s - a * a).max(0.0).sqrt() + self.eps)
    }
}
