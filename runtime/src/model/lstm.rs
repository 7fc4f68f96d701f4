//! Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000):
//! `i f o = sigmoid(W x + U h + b)`, `g = tanh(W_g x + U_g h + b_g)`, `c = f c + i g`, `h = o tanh(c)`.

use super::recurrent::Recurrent;
use crate::error::Error;
use crate::pass::Cx;
use crate::state::Workspace;
use siskin_format::config::RecurrentConfig;
use siskin_format::{File, ModelConfig};

/// One LSTM block; gates i f g o.
#[derive(Clone, Debug)]
pub(crate) struct Lstm {
    cell: Recurrent,
}

impl Lstm {
    pub(crate) fn load(
        file: &File,
        config: &ModelConfig,
        index: usize,
        lstm: &RecurrentConfig,
        input: usize,
    ) -> Result<Self, Error> {
        Ok(Lstm { cell: Recurrent::load(file, config, index, lstm, 4, input)? })
    }

    /// The tokens in `ws.x`, from outputs `h` and cells `c`, both `[slots, hidden]`, on.
    pub(crate) fn forward(&self, cx: &mut Cx, ws: &mut Workspace, h: &mut [f32], c: &mut [f32]) {
        let kernel = cx.kernels.lstm_cell;
        self.cell.forward(cx, ws, h, c, kernel);
    }
}
