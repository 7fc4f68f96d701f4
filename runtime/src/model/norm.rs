//! The norms of a model: which, with which weights.

use crate::activations::Activations;
use crate::error::Error;
use crate::kernels::Kernels;
use crate::linear::{Vector, elements};
use crate::pass::Cx;
use siskin_format::config::Norm as Kind;
use siskin_format::{File, ModelConfig};

/// A norm over the channels of a token.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    kind: Kind,
    weight: Option<Vector>, // [width]
    bias: Option<Vector>,   // [width]
    eps: f32,
}

impl Norm {
    /// The norm `name` of the kind that the config gives it.
    pub(crate) fn load(file: &File, config: &ModelConfig, name: &str, kind: Kind) -> Result<Self, Error> {
        let (weight, bias) = match kind {
            Kind::None => (false, false),
            Kind::Layer => (config.norm_weight, config.norm_bias),
            Kind::Rms => (config.norm_weight, false),
            Kind::Batch => (true, true),
        };
        Ok(Norm {
            kind,
            weight: Vector::load_if(file, &format!("{name}.weight"), weight)?,
            bias: Vector::load_if(file, &format!("{name}.bias"), bias)?,
            eps: config.norm_eps,
        })
    }

    /// One token: `y = norm(x)`.
    pub(crate) fn row(&self, weights: &[u8], kernels: &Kernels, x: &[f32], y: &mut [f32]) {
        let (weight, bias) = (elements(&self.weight, weights), elements(&self.bias, weights));
        match self.kind {
            Kind::None => y.copy_from_slice(x),
            Kind::Layer => (kernels.layer_norm)(x, weight, bias, self.eps, y),
            Kind::Rms => (kernels.rms_norm)(x, weight, self.eps, y),
            Kind::Batch => (kernels.affine)(x, weight, bias, y),
        }
    }

    /// The tokens of `x` `[tokens, width]` into `y`.
    pub(crate) fn rows(&self, cx: &mut Cx, x: &[f32], width: usize, y: &mut Activations) {
        let (weights, kernels, tokens) = (cx.weights, cx.kernels, x.len() / width);
        y.fill(cx, tokens, width, |t, row| {
            self.row(weights, kernels, &x[t * width..(t + 1) * width], row);
        });
    }
}
