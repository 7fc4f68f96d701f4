//! The norm in front of a block's part, of any kind.

use siskin_format::ModelConfig;
use siskin_format::config::Norm;

use super::{Pass, Running};
use crate::float::Float;
use crate::ops::batch_norm::Statistics;
use crate::params::ParamLayout;
use crate::tensor::{Var, Vector};

/// A norm and its parameters.
#[derive(Clone, Debug)]
pub(super) struct NormLayer {
    kind: Norm,
    weight: Option<Vector>, // [width]
    bias: Option<Vector>,   // [width]
    eps: f64,
    buffer: usize, // first running statistic, for batch norm
}

impl NormLayer {
    /// The norm called `name`.
    pub(super) fn new(config: &ModelConfig, layout: &ParamLayout, kind: Norm, name: &str) -> Self {
        NormLayer {
            kind,
            weight: layout.vector(&format!("{name}.weight")),
            bias: layout.vector(&format!("{name}.bias")),
            eps: f64::from(config.norm_eps),
            buffer: layout.buffers().iter().find(|b| b.name == name).map_or(0, |b| b.offset),
        }
    }

    /// x and the result `[rows, width]`.
    pub(super) fn forward<T: Float>(&self, pass: &mut Pass<'_, T>, x: Var) -> Var {
        let (params, eps) = (pass.params, T::from_f64(self.eps));
        match self.kind {
            Norm::None => x,
            Norm::Layer => pass.tape.layer_norm(params, x, self.weight, self.bias, eps),
            Norm::Rms => pass.tape.rms_norm(params, x, self.weight, eps),
            Norm::Batch => {
                let width = pass.tape.shape(x).1;
                let range = self.buffer..self.buffer + 2 * width;
                let statistics = match &mut pass.running {
                    Running::Collect(moments) => Statistics::Batch { moments: &mut moments[range] },
                    Running::Use(buffers) => {
                        let (mean, var) = buffers[range].split_at(width);
                        Statistics::Running { mean, var }
                    }
                };
                let (weight, bias) =
                    (self.weight.expect("a batch norm's weight"), self.bias.expect("its bias"));
                pass.tape.batch_norm(params, x, weight, bias, eps, statistics)
            }
        }
    }
}
