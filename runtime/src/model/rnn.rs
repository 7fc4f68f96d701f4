//! Elman network (Elman 1990): `h = f(W x + U h + b)`.

use super::recurrent::Recurrent;
use crate::error::Error;
use crate::kernels::Function;
use crate::pass::Cx;
use crate::state::Workspace;
use siskin_format::config::{Activation, RnnConfig};
use siskin_format::{File, ModelConfig};

/// One Elman block.
#[derive(Clone, Debug)]
pub(crate) struct Rnn {
    cell: Recurrent,
    f: Function,
}

impl Rnn {
    pub(crate) fn load(
        file: &File,
        config: &ModelConfig,
        index: usize,
        rnn: &RnnConfig,
        input: usize,
    ) -> Result<Self, Error> {
        let f = match rnn.activation {
            Activation::Tanh => Function::Tanh,
            Activation::Relu => Function::Relu,
            Activation::LeakyRelu => Function::LeakyRelu,
        };
        Ok(Rnn { cell: Recurrent::load(file, config, index, &rnn.cell, 1, input)?, f })
    }

    /// The tokens in `ws.x`, from the states `h` `[slots, hidden]` on.
    pub(crate) fn forward(&self, cx: &mut Cx, ws: &mut Workspace, h: &mut [f32]) {
        let kernel = cx.kernels.rnn_cell;
        self.cell.forward(cx, ws, h, &mut [], |[gx], [gh], _, h| kernel(self.f, gx, gh, h));
    }
}
