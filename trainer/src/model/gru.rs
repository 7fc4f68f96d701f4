//! GRU block (Cho et al. 2014, in PyTorch's form): [`crate::ops::gru`] on `x' = norm(x)`; the output is `h`, or `x + h`.

use siskin_format::ModelConfig;
use siskin_format::config::RecurrentConfig;

use super::{CellState, Pass, norm::NormLayer, observed::Inside};
use crate::float::Float;
use crate::ops::pointwise::Nonlinearity;
use crate::params::ParamLayout;
use crate::tensor::{Matrix, Var, Vector};

/// The block's parameters, gates in the order r z n.
#[derive(Clone, Debug)]
pub(super) struct Gru {
    norm: NormLayer,
    w_x: Matrix,         // [3 * hidden, width]
    w_h: Matrix,         // [3 * hidden, hidden]
    b_x: Option<Vector>, // [3 * hidden]
    b_h: Option<Vector>, // [3 * hidden]
    residual: bool,
}

impl Gru {
    pub(super) fn new(
        config: &ModelConfig,
        layout: &ParamLayout,
        cell: &RecurrentConfig,
        index: usize,
    ) -> Self {
        let name = |part: &str| format!("blocks.{index}.{part}");
        Gru {
            norm: NormLayer::new(config, layout, cell.norm, &name("norm")),
            w_x: layout.matrix(&name("w_x")),
            w_h: layout.matrix(&name("w_h")),
            b_x: layout.vector(&name("b_x")),
            b_h: layout.vector(&name("b_h")),
            residual: cell.residual,
        }
    }

    /// x `[rows, width]`, result `[rows, hidden]`.
    pub(super) fn forward<T: Float>(&self, pass: &mut Pass<'_, T>, x: Var, state: &mut CellState<T>) -> Var {
        let normed = self.norm.forward(pass, x);
        let projected = pass.tape.linear(pass.params, normed, self.w_x, self.b_x);
        pass.watch_steps(projected);
        let h = pass.tape.gru(pass.params, projected, self.w_h, self.b_h, pass.layout, &mut state.h);
        pass.watch_inside("cell", Inside::Units(h, Nonlinearity::Tanh));
        pass.watch_output(h);
        pass.leave(x, h, self.residual)
    }
}
