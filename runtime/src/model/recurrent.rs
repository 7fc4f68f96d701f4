//! What the recurrent families share: everything but the cell.
//!
//! `h_t = cell(W norm(x_t) + b, U h_{t-1})`, output `h_t`, or `x_t + h_t` with a residual connection. The products with the
//! input are made for all tokens at once; those with the state go token by token, for all sequences at once.

use crate::error::Error;
use crate::kernels::simd::LANES;
use crate::kernels::{Columns, Strip};
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

    /// Runs the block over the tokens in `ws.x`, from the states `h` and `c` `[slots, hidden]` on; `c` is empty but for an
    /// LSTM. `cell(gx, gh, c, h)` makes the next state of a run of channels.
    pub(crate) fn forward<const GATES: usize>(
        &self,
        cx: &mut Cx,
        ws: &mut Workspace,
        h: &mut [f32],
        c: &mut [f32],
        cell: impl Fn([&[f32]; GATES], [&[f32]; GATES], &mut [f32], &mut [f32]) + Sync,
    ) {
        cx.stage(Stage::Norm);
        self.norm.rows(cx, &ws.x[..cx.tokens * self.input], self.input, &mut ws.a);
        let steps = cx.segments.iter().map(|segment| segment.len).max().unwrap_or(0);
        cx.stage(Stage::RecurrentInput);
        self.w_x.forward(cx, &ws.a.input(), &mut ws.gx[..cx.tokens * self.w_x.rows()]);
        cx.stage(Stage::RecurrentState);
        for t in 0..steps {
            if cx.is_cancelled() {
                break;
            }
            ws.active.clear();
            let active = cx.segments.iter().filter(|segment| t < segment.len);
            ws.active.extend(active.map(|segment| (segment.start + t, segment.slot)));
            self.step(cx, ws, h, c, &cell);
        }
        std::mem::swap(&mut ws.x, &mut ws.y);
    }

    /// One token of every active sequence.
    fn step<const GATES: usize>(
        &self,
        cx: &mut Cx,
        ws: &mut Workspace,
        h: &mut [f32],
        c: &mut [f32],
        cell: &(impl Fn([&[f32]; GATES], [&[f32]; GATES], &mut [f32], &mut [f32]) + Sync),
    ) {
        let (hidden, active, tokens) = (self.hidden, &ws.active[..], cx.tokens);
        let (slots, n) = (h.len() / hidden, active.len());
        ws.b.fill(cx, n, hidden, |i, row| {
            let (_, slot) = active[i];
            row.copy_from_slice(&h[slot * hidden..(slot + 1) * hidden]);
        });
        let gh = &mut ws.gh[..n * GATES * hidden];
        self.w_h.forward(cx, &ws.b.input(), gh);
        let x = &ws.x[..tokens * self.input];
        let columns = |data, rows| Columns::new(Strip::new(data, rows, hidden), LANES);
        let out = (
            gates::<GATES>(&mut ws.gx[..tokens * GATES * hidden], tokens, hidden),
            gates::<GATES>(gh, n, hidden),
            Columns::new(Strip::new(c, slots, c.len() / slots), LANES),
            (columns(h, slots), columns(&mut ws.y[..tokens * hidden], tokens)),
        );
        // By measurement, a cell costs like 600 bytes of weights a gate and vector.
        let cost = n * GATES * 600;
        cx.team.run(hidden.div_ceil(LANES), cost, out, |work, (mut gx, mut gh, mut c, (mut h, mut y))| {
            let first = work.items.start * LANES;
            for (i, &(row, slot)) in active.iter().enumerate() {
                let (gx, gh) = (gx.each_mut().map(|gx| &*gx.row(row)), gh.each_mut().map(|gh| &*gh.row(i)));
                cell(gx, gh, c.row(slot), h.row(slot));
                let y = y.row(row);
                y.copy_from_slice(h.row(slot));
                if self.residual {
                    for (y, x) in y.iter_mut().zip(&x[row * self.input + first..]) {
                        *y += *x;
                    }
                }
            }
        });
    }
}

/// `data` `[rows, GATES * hidden]`, each gate's columns to be cut alike.
fn gates<const GATES: usize>(data: &mut [f32], rows: usize, hidden: usize) -> [Columns<'_>; GATES] {
    let mut rest = Some(Strip::new(data, rows, GATES * hidden));
    std::array::from_fn(|_| {
        let (gate, after) = rest.take().expect("a gate is left").split(hidden);
        rest = Some(after);
        Columns::new(gate, LANES)
    })
}
