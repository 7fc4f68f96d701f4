//! Gated recurrent unit (Cho et al. 2014) in the form of cuDNN and PyTorch:
//! `r = sigmoid(W_r x + b_r + U_r h + c_r)`, `z` alike, `n = tanh(W_n x + b_n + r (U_n h + c_n))`, `h = (1 - z) n + z h`.

use super::recurrent::Recurrent;
use crate::error::Error;
use crate::pass::Cx;
use crate::state::Workspace;
use siskin_format::config::RecurrentConfig;
use siskin_format::{File, ModelConfig};

/// One GRU block; gates r z n.
#[derive(Clone, Debug)]
pub(crate) struct Gru {
    cell: Recurrent,
}

impl Gru {
    pub(crate) fn load(
        file: &File,
        config: &ModelConfig,
        index: usize,
        gru: &RecurrentConfig,
        input: usize,
    ) -> Result<Self, Error> {
        Ok(Gru { cell: Recurrent::load(file, config, index, gru, 3, input)? })
    }

    /// The tokens in `ws.x`, from the states `h` `[slots, hidden]` on.
    pub(crate) fn forward(&self, cx: &mut Cx, ws: &mut Workspace, h: &mut [f32]) {
        let kernel = cx.kernels.gru_cell;
        self.cell.forward(cx, ws, h, &mut [], |gx, gh, _, h| kernel(gx, gh, h));
    }
}
