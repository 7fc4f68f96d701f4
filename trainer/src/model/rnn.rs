//! Elman block (Elman 1990): `h_t = f(W x'_t + U h_{t-1} + b)` with `x' = norm(x)`; the output is `h`, or `x + h`.

use siskin_format::ModelConfig;
use siskin_format::config::{Activation, RnnConfig};

use super::{CellState, Pass, norm::NormLayer, observed::Inside};
use crate::float::Float;
use crate::ops::pointwise::Nonlinearity;
use crate::params::ParamLayout;
use crate::tensor::{Matrix, Var, Vector};

/// The block's parameters.
#[derive(Clone, Debug)]
pub(super) struct Rnn {
    norm: NormLayer,
    w_x: Matrix,         // [hidden, width]
    w_h: Matrix,         // [hidden, hidden]
    b_x: Option<Vector>, // [hidden]
    activation: Nonlinearity,
    residual: bool,
}

impl Rnn {
    pub(super) fn new(config: &ModelConfig, layout: &ParamLayout, rnn: &RnnConfig, index: usize) -> Self {
        let name = |part: &str| format!("blocks.{index}.{part}");
        Rnn {
            norm: NormLayer::new(config, layout, rnn.cell.norm, &name("norm")),
            w_x: layout.matrix(&name("w_x")),
            w_h: layout.matrix(&name("w_h")),
            b_x: layout.vector(&name("b_x")),
            activation: match rnn.activation {
                Activation::Tanh => Nonlinearity::Tanh,
                Activation::Relu => Nonlinearity::Relu,
                Activation::LeakyRelu => Nonlinearity::LeakyRelu,
            },
            residual: rnn.cell.residual,
        }
    }

    /// x `[rows, width]`, result `[rows, hidden]`.
    pub(super) fn forward<T: Float>(&self, pass: &mut Pass<'_, T>, x: Var, state: &mut CellState<T>) -> Var {
        let normed = self.norm.forward(pass, x);
        let projected = pass.tape.linear(pass.params, normed, self.w_x, self.b_x);
        pass.watch_steps(projected);
        let h = pass.tape.rnn(pass.params, projected, self.w_h, self.activation, pass.layout, &mut state.h);
        pass.watch_inside("cell", Inside::Units(h, self.activation));
        pass.watch_output(h);
        pass.leave(x, h, self.residual)
    }
}
