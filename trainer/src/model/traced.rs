//! A pass over one text whose inside is kept: where each head of attention looks, and what recurrent cells hold at every token.
//!
//! It is the forward pass of an evaluation, bit for bit. Blocks name what they compute as they do for an observed
//! pass; the gates of a cell are taken from what the tape saved for a backward pass that never comes.

use super::observed::Watches;
use super::{Batch, Model, Noise, Pass, Running, Source};
use crate::float::Float;
use crate::observe::attention;
use crate::ops::Op;
use crate::ops::qk_norm::Heads;
use crate::params::ParamStore;
use crate::tape::Tape;
use crate::tensor::{Layout, Var};

/// What a traced pass found.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// `[len, vocab_size]`.
    pub logits: Vec<f64>,
    /// One per block, the first block first.
    pub blocks: Vec<BlockTrace>,
}

/// The inside of one block.
#[derive(Clone, Debug, PartialEq)]
pub enum BlockTrace {
    /// Attention probabilities of each head: `[len, len]`, a row per query; 0 for keys after the query, and before its window, which is
    /// the other number (0 for none).
    Attention(Vec<Vec<f64>>, usize),
    /// A recurrent cell.
    Cell(CellTrace),
}

/// A recurrent cell after each token.
#[derive(Clone, Debug, PartialEq)]
pub struct CellTrace {
    /// `rnn`, `gru` or `lstm`.
    pub kind: &'static str,
    /// Units of the cell.
    pub hidden: usize,
    /// The state h, `[len, hidden]`.
    pub state: Vec<f64>,
    /// What else the cell computes, each `[len, hidden]` with its letter: `c i f o` of an LSTM, `z r` of a GRU.
    pub gates: Vec<(&'static str, Vec<f64>)>,
}

impl<T: Float> Pass<'_, T> {
    /// Keeps what goes on in an attention whose queries, keys and values are `qkv`.
    pub(super) fn trace_attention(&mut self, qkv: Var, heads: Heads, window: usize) {
        let values = self.tape.value(qkv);
        let head = |h: usize| attention::probabilities(values, heads, self.layout, window, (0, h));
        let maps = (0..heads.n_heads).map(head).collect();
        self.push_trace(BlockTrace::Attention(maps, window));
    }

    /// Keeps the state of a cell and what the tape saved of its gates.
    pub(super) fn trace_cell(&mut self, h: Var) {
        let (_, hidden) = self.tape.shape(h);
        let state = self.tape.value(h).iter().map(|v| v.to_f64()).collect();
        let (kind, gates) = match self.tape.last_op() {
            Some(Op::Lstm(cell)) => {
                let (gates, c) = cell.gates();
                let of = |part| columns(gates, 4 * hidden, part * hidden, hidden);
                let c = c.iter().map(|v| v.to_f64()).collect();
                ("lstm", vec![("c", c), ("i", of(0)), ("f", of(1)), ("o", of(3))])
            }
            Some(Op::Gru(cell)) => {
                let of = |part| columns(cell.gates(), 3 * hidden, part * hidden, hidden);
                ("gru", vec![("z", of(1)), ("r", of(0))])
            }
            _ => ("rnn", Vec::new()),
        };
        self.push_trace(BlockTrace::Cell(CellTrace { kind, hidden, state, gates }));
    }

    fn push_trace(&mut self, trace: BlockTrace) {
        if let Some(traces) = self.watches.as_mut().and_then(|watches| watches.traces.as_mut()) {
            traces.push(trace);
        }
    }
}

impl<T: Float> Model<T> {
    /// Runs over `tokens`, from the start of a text, and keeps the inside.
    ///
    /// # Panics
    /// As [`Model::logits`]; or without any token.
    pub fn trace(&self, tape: &mut Tape<T>, store: &ParamStore<T>, tokens: &[u32]) -> Trace {
        assert!(!tokens.is_empty(), "a text to look at");
        tape.reset(true);
        let batch = Batch { tokens, targets: &[], batch: 1, len: tokens.len(), source: Source::NONE };
        let layout: Layout = self.rows_of(batch);
        let params = &store.values[..];
        let mut pass = Pass {
            watches: Some(Watches::tracing()),
            ..Pass::new(tape, params, Running::Use(&store.buffers), layout, Noise::NONE)
        };
        let x = self.forward(&mut pass, batch, &mut self.new_state(1));
        let blocks = pass.watches.take().and_then(|w| w.traces).unwrap_or_default();
        let z = tape.logits(params, x, self.head);
        let logits = tape.value(z).iter().map(|v| v.to_f64()).collect();
        tape.reset(false);
        Trace { logits, blocks }
    }
}

/// `width` columns from the `first` of a matrix with rows of `stride`.
fn columns<T: Float>(values: &[T], stride: usize, first: usize, width: usize) -> Vec<f64> {
    values.chunks_exact(stride).flat_map(|row| &row[first..first + width]).map(|v| v.to_f64()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::{filled, gru_config, lstm_config, tiny_gpt, tokens};

    fn trace(config: &siskin_format::ModelConfig) -> (Trace, Vec<f64>, Vec<u32>) {
        let model = Model::new(config).unwrap();
        let store = filled(config, 3);
        let ids = tokens(6, config.vocab_size, 4);
        let (mut tape, mut state) = (Tape::new(), model.new_state(1));
        let batch = Batch { tokens: &ids, targets: &[], batch: 1, len: 6, source: Source::NONE };
        let logits = model.logits(&mut tape, &store, batch, &mut state);
        (model.trace(&mut tape, &store, &ids), logits, ids)
    }

    #[test]
    fn a_traced_pass_computes_the_bits_of_an_evaluation() {
        for config in [tiny_gpt(), gru_config(), lstm_config()] {
            let (trace, logits, _) = trace(&config);
            assert_eq!(trace.logits, logits);
            assert_eq!(trace.blocks.len(), config.blocks.len());
        }
    }

    #[test]
    fn attention_is_causal_and_its_rows_sum_to_one() {
        let (trace, ..) = trace(&tiny_gpt());
        for block in &trace.blocks {
            let BlockTrace::Attention(heads, 0) = block else { panic!("{block:?}") };
            for (t, row) in heads.iter().flat_map(|map| map.chunks(6).enumerate()) {
                assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                assert!(row[..=t].iter().all(|p| *p > 0.0) && row[t + 1..].iter().all(|p| *p == 0.0));
            }
        }
    }

    /// The states and gates must satisfy the equations of the cell: `h = o tanh(c)`, `h_t - n = z (h_{t-1} - n)`.
    #[test]
    fn gates_are_those_of_the_cell() {
        let (trace, ..) = trace(&lstm_config());
        let BlockTrace::Cell(cell) = &trace.blocks[0] else { panic!("{:?}", trace.blocks) };
        let gate = |letter: &str| &cell.gates.iter().find(|g| g.0 == letter).unwrap().1;
        assert_eq!((cell.kind, cell.gates.len()), ("lstm", 4));
        for (j, h) in cell.state.iter().enumerate() {
            assert!((h - gate("o")[j] * gate("c")[j].tanh()).abs() < 1e-12);
            // c_t lies between what is kept of c_{t-1} and one whole input on either side of it.
            let kept = if j < cell.hidden { 0.0 } else { gate("f")[j] * gate("c")[j - cell.hidden] };
            assert!((gate("c")[j] - kept).abs() <= gate("i")[j]);
        }
        let (trace, ..) = self::trace(&gru_config());
        let BlockTrace::Cell(cell) = &trace.blocks[0] else { panic!("{:?}", trace.blocks) };
        assert_eq!((cell.kind, cell.gates[0].0, cell.gates[1].0), ("gru", "z", "r"));
        for j in cell.hidden..cell.state.len() {
            let (z, before, now) = (cell.gates[0].1[j], cell.state[j - cell.hidden], cell.state[j]);
            let candidate = (now - z * before) / (1.0 - z);
            assert!((-1.0..=1.0).contains(&candidate), "{candidate}");
        }
    }
}
