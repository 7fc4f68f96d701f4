//! What the recurrent families share: everything but the cell.
//!
//! `h_t = cell(W norm(x_t) + b, U h_{t-1})`, output `h_t`, or `x_t + h_t` with a residual connection. The products with the
//! input are made for all tokens at once; those with the state go token by token.

use crate::activations::Activations;
use crate::error::Error;
use crate::linear::Linear;
use crate::model::norm::Norm;
use crate::pass::Cx;
use crate::profile::Stage;
use crate::state::Workspace;
use siskin_format::config::RecurrentConfig;
use siskin_format::{File, ModelConfig};

/// A recurrent block without its cell.
#[derive(Clone, Debug)]
pub(crate) struct Recurrent {
    norm: Norm,
    w_x: Linear, // [gates * hidden, input]
    w_h: Linear, // [gates * hidden, hidden]
    residual: bool,
    input: usize,
    hidden: usize,
}

impl Recurrent {
    /// Loads block `index` with `gates` gates, `input` channels wide.
    pub(crate) fn load(
        file: &File,
        config: &ModelConfig,
        index: usize,
        cell: &RecurrentConfig,
        gates: usize,
        input: usize,
    ) -> Result<Self, Error> {
        let name = |part: &str| format!("blocks.{index}.{part}");
        let (b_x, b_h) = (name("b_x"), name("b_h"));
        Ok(Recurrent {
            norm: Norm::load(file, config, &name("norm"), cell.norm)?,
            w_x: Linear::load(file, &name("w_x"), cell.bias.then_some(&b_x))?,
            w_h: Linear::load(file, &name("w_h"), (cell.bias && gates == 3).then_some(&b_h))?,
            residual: cell.residual,
            input,
            hidden: cell.hidden,
        })
    }

    /// Runs the block over the tokens in `ws.x`; `cell(gx, gh)` makes the next state in `h` of what it captured.
    pub(crate) fn forward(
        &self,
        cx: &mut Cx,
        ws: &mut Workspace,
        h: &mut [f32],
        mut cell: impl FnMut(&[f32], &[f32], &mut [f32]),
    ) {
        let (tokens, gates) = (cx.tokens, self.w_x.rows());
        let x = &ws.x[..tokens * self.input];
        let gx = &mut ws.gx[..tokens * gates];
        let gh = &mut ws.gh[..gates];
        cx.stage(Stage::Norm);
        self.norm.rows(cx, x, self.input, &mut ws.a);
        cx.stage(Stage::RecurrentInput);
        self.w_x.forward(cx, &ws.a.input(), gx);
        for t in 0..tokens {
            cx.stage(Stage::RecurrentState);
            state_input(cx, h, &mut ws.b);
            self.w_h.forward(cx, &ws.b.input(), gh);
            cx.stage(Stage::Cell);
            cell(&gx[t * gates..(t + 1) * gates], gh, h);
            let y = &mut ws.y[t * self.hidden..(t + 1) * self.hidden];
            y.copy_from_slice(h);
            if self.residual {
                for (y, x) in y.iter_mut().zip(&x[t * self.input..]) {
                    *y += *x;
                }
            }
        }
        std::mem::swap(&mut ws.x, &mut ws.y);
    }
}

/// The state as a product's right-hand side.
fn state_input(cx: &mut Cx, h: &[f32], input: &mut Activations) {
    input.fill(cx, 1, h.len(), |_, row| row.copy_from_slice(h));
}
