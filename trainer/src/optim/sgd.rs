//! Stochastic gradient descent, with momentum and with Nesterov's look-ahead.
//!
//! Plain (Robbins and Monro, "A stochastic approximation method", 1951):
//!
//! ```text
//! θ ← θ − η g
//! ```
//!
//! Momentum (Polyak, "Some methods of speeding up the convergence of iteration methods", 1964) walks along a
//! decaying sum of gradients, which averages out the zigzag across a narrow valley:
//!
//! ```text
//! b ← μ b + (1 − d) g        (b = g at the first step; d is the dampening)
//! θ ← θ − η b
//! ```
//!
//! Nesterov (1983; in the form of Sutskever et al., "On the importance of initialization and momentum in deep
//! learning", 2013) takes the gradient's own part one step ahead: `θ ← θ − η (g + μ b)`.
//!
//! Whether the descent is called full-batch, mini-batch or stochastic is decided by how many tokens the
//! gradient was averaged over; the rule is the same.

use super::Step;

/// The settings of the rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// μ, in [0, 1); 0 is plain descent and keeps no state.
    pub momentum: f32,
    /// d, in [0, 1].
    pub dampening: f32,
    /// Whether the gradient looks one step ahead.
    pub nesterov: bool,
}

impl Sgd {
    /// Steps `p` against the gradient `grad`; `b` is the momentum buffer, unused when μ is 0.
    pub fn update(&self, step: &Step, p: &mut [f32], grad: &[f32], b: &mut [f32]) {
        let &Step { lr, grad_scale, l2, keep, t } = step;
        let mu = self.momentum;
        if mu == 0.0 {
            for (p, g) in p.iter_mut().zip(grad) {
                let g = grad_scale * g + l2 * *p;
                *p = keep * *p - lr * g;
            }
            return;
        }
        let (decay, gain) = if t == 1 { (0.0, 1.0) } else { (mu, 1.0 - self.dampening) };
        // Nesterov steps along g + μ b, momentum along b: one loop with two weights does both.
        let (along_g, along_b) = if self.nesterov { (lr, lr * mu) } else { (0.0, lr) };
        for ((p, g), b) in p.iter_mut().zip(grad).zip(b) {
            let g = grad_scale * g + l2 * *p;
            *b = decay * *b + gain * g;
            *p = keep * *p - (along_g * g + along_b * *b);
        }
    }
}
