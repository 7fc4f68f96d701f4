//! AdamW: Adam with weight decay taken out of the gradient.
//!
//! Loshchilov and Hutter, "Decoupled weight decay regularization" (ICLR 2019), Algorithm 2:
//!
//! ```text
//! θ ← θ − η λ θ                      (the decay: the same for every weight)
//! θ ← θ − η m̂ / (√v̂ + ε)            (Adam's step on the gradient of the loss alone)
//! ```
//!
//! In plain Adam the decay's gradient λθ is divided by √v̂ too, so weights with large gradients hardly decay.
//! The scheduled learning rate multiplies the decay as well, as in common practice (in the paper's terms, λ
//! here is the paper's λ divided by its α).
//!
//! The moments and the loop are [`super::adam::Adam`]'s; the decay arrives as [`super::Step::keep`] instead of
//! [`super::Step::l2`].

use super::adam::Adam;

/// The rule: [`Adam`], whose decay the driver makes decoupled.
pub type AdamW = Adam;
