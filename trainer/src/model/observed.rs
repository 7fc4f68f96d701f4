//! A pass that is looked at: what each part of each block gives out, and what of the loss' gradient comes back to it.
//!
//! Blocks name their values ([`Pass::watch`] and its siblings, which do nothing in other passes); the tape keeps the gradients of
//! those values. An observed pass has its own gradient buffer and a copy of the carried state, so that it changes nothing.

use super::traced::BlockTrace;
use super::{Batch, CarriedState, Model, Noise, Pass, Running};
use crate::float::Float;
use crate::observe::attention;
use crate::observe::record::{ActivationRecord, TimeRecord};
use crate::ops::cross_entropy::IGNORE;
use crate::ops::pointwise::Nonlinearity;
use crate::ops::qk_norm::Heads;
use crate::params::ParamStore;
use crate::tape::Tape;
use crate::tensor::{Layout, Var};

/// Share of the rows in which a unit is silent when it counts as dead.
const DEAD_ROWS: f64 = 0.99;
/// A tanh unit beyond this is saturated: its derivative is below 0.06.
const SATURATED: f64 = 0.97;

/// What an observed pass has met so far.
#[derive(Default)]
pub(super) struct Watches {
    block: usize,
    part: &'static str,
    inside: ActivationRecord,
    activations: Vec<(Var, ActivationRecord)>,
    steps: Vec<(Var, String)>,
    /// The insides of the blocks so far, in a traced pass; such a pass looks at nothing else.
    pub(super) traces: Option<Vec<BlockTrace>>,
}

impl Watches {
    /// Those of a [traced](super::traced) pass.
    pub(super) fn tracing() -> Self {
        Watches { traces: Some(Vec::new()), ..Default::default() }
    }
}

/// What goes on inside a part of a block, before its output.
pub(super) enum Inside {
    /// Units `[rows, width]` of a nonlinearity.
    Units(Var, Nonlinearity),
    /// Queries, keys and values `[rows, heads.qkv_width()]`.
    Attention(Var, Heads, usize),
    /// Nothing that is looked at.
    Nothing,
}

impl<T: Float> Pass<'_, T> {
    /// What follows belongs to block number `index`.
    pub(super) fn enter_block(&mut self, index: usize) {
        if let Some(watches) = &mut self.watches {
            watches.block = index;
        }
    }

    /// Looks at `v`, called `name`.
    pub(super) fn watch(&mut self, name: &str, v: Var) {
        self.note(v, ActivationRecord { name: name.to_string(), ..Default::default() });
    }

    /// Looks into part `part` of the present block, whose output comes next.
    pub(super) fn watch_inside(&mut self, part: &'static str, inside: Inside) {
        if self.traces() {
            match inside {
                Inside::Attention(qkv, heads, window) => self.trace_attention(qkv, heads, window),
                Inside::Units(h, _) if part == "cell" => self.trace_cell(h),
                Inside::Units(..) | Inside::Nothing => {}
            }
            return;
        }
        let Some(watches) = &mut self.watches else { return };
        let mut record = ActivationRecord::default();
        match inside {
            Inside::Units(v, kind) => {
                let (rows, values) = (self.tape.shape(v).0, self.tape.value(v));
                match kind {
                    Nonlinearity::Relu | Nonlinearity::Relu2 => record.dead = Some(dead_units(values, rows)),
                    Nonlinearity::Tanh => record.saturated = Some(saturated(values)),
                    _ => {}
                }
            }
            Inside::Attention(qkv, heads, window) => {
                record.entropy = entropy(self.tape.value(qkv), heads, self.layout, window);
            }
            Inside::Nothing => {}
        }
        watches.part = part;
        watches.inside = record;
    }

    /// Looks at what the part that was looked into gives out.
    pub(super) fn watch_output(&mut self, v: Var) {
        let Some(watches) = self.observing() else { return };
        let name = format!("blocks.{}.{}", watches.block, watches.part);
        let record = ActivationRecord { name, ..std::mem::take(&mut watches.inside) };
        self.note(v, record);
    }

    /// Looks at what enters the present block's cell at every step: `[rows, gates * hidden]`, time-major.
    pub(super) fn watch_steps(&mut self, v: Var) {
        let Some(watches) = self.observing() else { return };
        watches.steps.push((v, format!("blocks.{}.cell", watches.block)));
        self.tape.retain_grad(v);
    }

    fn note(&mut self, v: Var, record: ActivationRecord) {
        if self.observing().is_none() {
            return;
        }
        let rms = rms(self.tape.value(v));
        if let Some(watches) = self.observing() {
            watches.activations.push((v, ActivationRecord { rms, ..record }));
        }
        self.tape.retain_grad(v);
    }

    /// What is looked at, unless nothing is, or the pass is traced.
    pub(super) fn observing(&mut self) -> Option<&mut Watches> {
        self.watches.as_mut().filter(|watches| watches.traces.is_none())
    }

    /// Whether the pass is [traced](super::traced).
    fn traces(&self) -> bool {
        self.watches.as_ref().is_some_and(|watches| watches.traces.is_some())
    }
}

/// What an observed pass found.
pub(crate) struct Observed {
    /// One per part of a block, from the embedding to the final norm.
    pub(crate) activations: Vec<ActivationRecord>,
    /// One per recurrent block.
    pub(crate) times: Vec<TimeRecord>,
}

impl<T: Float> Model<T> {
    /// Looks at a training pass over `batch`, without dropout, and in recurrent models at how the last step's loss flows back
    /// through the window.
    ///
    /// # Panics
    /// As [`Model::loss_and_gradient`].
    pub(crate) fn observe(
        &self,
        tape: &mut Tape<T>,
        store: &ParamStore<T>,
        batch: Batch<'_>,
        state: &CarriedState<T>,
    ) -> Observed {
        let watches = self.watched_pass(tape, store, batch, state);
        let activations = watches.activations.into_iter().map(|(v, record)| {
            let gradient = tape.grad(v).map_or(0.0, rms);
            ActivationRecord { gradient, ..record }
        });
        let activations = activations.collect();
        let mut times = Vec::new();
        if self.time_major {
            let last = |(i, &target): (usize, &u32)| if (i + 1) % batch.len == 0 { target } else { IGNORE };
            let targets: Vec<u32> = batch.targets.iter().enumerate().map(last).collect();
            let watches = self.watched_pass(tape, store, Batch { targets: &targets, ..batch }, state);
            times =
                watches.steps.into_iter().map(|(v, name)| time_record(tape, v, name, batch.len)).collect();
        }
        tape.reset(false);
        Observed { activations, times }
    }

    fn watched_pass(
        &self,
        tape: &mut Tape<T>,
        store: &ParamStore<T>,
        batch: Batch<'_>,
        state: &CarriedState<T>,
    ) -> Watches {
        tape.reset(true);
        let mut moments = vec![T::ZERO; store.buffers.len()];
        let mut gradient = vec![T::ZERO; store.values.len()];
        let (layout, params) = (self.rows_of(batch), &store.values[..]);
        let mut pass = Pass {
            watches: Some(Watches::default()),
            ..Pass::new(tape, params, Running::Collect(&mut moments), layout, Noise::NONE)
        };
        let x = self.forward(&mut pass, batch, &mut state.clone());
        let watches = pass.watches.take().unwrap_or_default();
        let scale = T::from_f64(1.0 / batch.counted().max(1) as f64);
        tape.head_loss(params, Some(&mut gradient), x, self.head, batch.targets, layout, scale);
        tape.backward(params, &mut gradient);
        watches
    }
}

fn time_record<T: Float>(tape: &Tape<T>, v: Var, name: String, len: usize) -> TimeRecord {
    let gradient = match tape.grad(v) {
        Some(gradient) => gradient.chunks_exact(gradient.len() / len).map(rms).collect(),
        None => vec![0.0; len],
    };
    TimeRecord { name, gradient }
}

/// Root mean square.
fn rms<T: Float>(values: &[T]) -> f64 {
    let squares: f64 = values.iter().map(|v| v.to_f64() * v.to_f64()).sum();
    (squares / values.len().max(1) as f64).sqrt()
}

/// Share of the columns that are 0 in nearly all rows.
fn dead_units<T: Float>(values: &[T], rows: usize) -> f64 {
    let width = values.len() / rows.max(1);
    let mut silent = vec![0usize; width];
    for row in values.chunks_exact(width) {
        row.iter().zip(&mut silent).for_each(|(v, n)| *n += usize::from(*v == T::ZERO));
    }
    let least = (DEAD_ROWS * rows as f64).ceil() as usize;
    silent.iter().filter(|n| **n >= least).count() as f64 / width.max(1) as f64
}

/// Share of the values beyond the bound.
fn saturated<T: Float>(values: &[T]) -> f64 {
    let beyond = values.iter().filter(|v| v.to_f64().abs() > SATURATED).count();
    beyond as f64 / values.len().max(1) as f64
}

/// Mean over sequences and heads of the attention's entropy, 1 for an even spread.
fn entropy<T: Float>(qkv: &[T], heads: Heads, layout: Layout, window: usize) -> Option<f64> {
    let of = |i: usize| {
        let p = attention::probabilities(qkv, heads, layout, window, (i / heads.n_heads, i % heads.n_heads));
        attention::entropy(&p, layout.len, window)
    };
    let n = layout.batch * heads.n_heads;
    (0..n).map(of).sum::<Option<f64>>().map(|sum| sum / n as f64)
}
