//! A trained model at work on a text: how surprised it is, where its attention looks, what its recurrent cells hold.
//!
//! [`Inspection::of`] runs the trainer's forward pass over the text with the weights that an export takes and keeps its inside
//! ([`crate::model::traced`]). [`pictures`] draws it: attention as maps (Vaswani et al. 2017), states as traces over the text (Karpathy, Johnson
//! & Fei-Fei, "Visualizing and understanding recurrent networks", 2015), and each token on the colour of its surprise.

pub mod label;
mod page;
pub mod pictures;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::model::traced::{BlockTrace, CellTrace, Trace};
use crate::observe::attention;
use crate::tape::Tape;
use crate::tokenizer;
use crate::train::trained::TrainedRun;
pub use page::{about, page};

/// Most tokens that are looked at, where no context bounds the model.
const MAX_TOKENS: usize = 2048;

/// What a model did with a text.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The run's name.
    pub name: String,
    /// Updates of the run.
    pub step: u64,
    /// The tokens that were looked at.
    pub tokens: Vec<Token>,
    /// Tokens of the text that came after them and were left out.
    pub left_out: usize,
    /// Probability of each token by those before it; `None` for the first, which nothing comes before.
    pub probability: Vec<Option<f64>>,
    /// What the model thought most probable after each token, and how probable.
    pub guess: Vec<(String, f64)>,
    /// The insides of the blocks.
    pub trace: Trace,
}

/// A token of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Its text, made visible.
    pub label: String,
}

impl Inspection {
    /// Runs the model of `run` over `text` from the start of a text. What does not fit into the context is left out.
    ///
    /// # Errors
    /// An empty text; one that the model's vocabulary cannot express.
    pub fn of(run: &TrainedRun, text: &str) -> Result<Self> {
        let mut ids = tokenizer::encode(&run.vocab, text.as_bytes())?;
        if ids.is_empty() {
            return Err(Error::Data(
                "the text is empty: give at least one character, as in --text \"Once\"".into(),
            ));
        }
        let bounded = !crate::train::trainer::carries(&run.config.model);
        let most = if bounded { run.config.model.context } else { MAX_TOKENS };
        let left_out = ids.len().saturating_sub(most);
        ids.truncate(most);
        let trace = run.model.trace(&mut Tape::new(), &run.store, &ids);
        let name_of = |id: u32| label::label(run.vocab.token(id).unwrap_or_default());
        let rows = || trace.logits.chunks_exact(run.vocab.len());
        let known = rows().zip(&ids[1..]).map(|(z, &next)| Some(softmax(z)[next as usize]));
        let guess = rows().map(|z| {
            let p = softmax(z);
            let best = (0..p.len()).max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap_or(0);
            (name_of(best as u32), p[best])
        });
        Ok(Inspection {
            name: run.name(),
            step: run.meta.trainer.step,
            probability: [None].into_iter().chain(known).collect(),
            guess: guess.collect(),
            tokens: ids.iter().map(|&id| Token { id, label: name_of(id) }).collect(),
            left_out,
            trace,
        })
    }

    /// Bits of surprise at each token, `-log2 p`; `None` for the first.
    pub fn surprise(&self) -> impl Iterator<Item = Option<f64>> {
        self.probability.iter().map(|p| p.map(|p| -p.log2()))
    }

    /// Mean surprise, nats per token; `None` for a single token.
    pub fn loss(&self) -> Option<f64> {
        let known: Vec<f64> = self.probability.iter().flatten().map(|p| -p.ln()).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    /// Attention block and head to look at closely: what was asked for, else the sharpest head, the one of lowest entropy; `None`
    /// for a model without attention.
    ///
    /// # Errors
    /// A block or head that is not there, or has no attention.
    pub fn head(&self, block: Option<usize>, head: Option<usize>) -> Result<Option<(usize, usize)>> {
        let n_heads = |i: usize| match self.trace.blocks.get(i) {
            Some(BlockTrace::Attention(maps, _)) => Some(maps.len()),
            _ => None,
        };
        let with: Vec<usize> = (0..self.trace.blocks.len()).filter(|i| n_heads(*i).is_some()).collect();
        let wrong = |key, problem| Err(Error::Setting { key, problem });
        if let Some(i) = block
            && n_heads(i).is_none()
        {
            let all: Vec<String> = with.iter().map(usize::to_string).collect();
            let there = if all.is_empty() {
                "no block has".into()
            } else {
                format!("expected one of {}", all.join(", "))
            };
            return wrong("layer", format!("block {i} has no attention in this model, {there}"));
        }
        let blocks = block.map_or(with, |i| vec![i]);
        if blocks.is_empty() {
            return if head.is_some() {
                wrong("head", "this model has no attention".into())
            } else {
                Ok(None)
            };
        }
        let most = blocks.iter().filter_map(|i| n_heads(*i)).max().unwrap_or(0);
        if let Some(h) = head.filter(|h| *h >= most) {
            return wrong("head", format!("is {h}, expected 0 to {}: heads are counted from 0", most - 1));
        }
        let all = blocks.iter().flat_map(|&i| (0..n_heads(i).unwrap_or(0)).map(move |h| (i, h)));
        let wanted = all.filter(|(_, h)| head.is_none_or(|wanted| wanted == *h));
        Ok(wanted.min_by(|a, b| self.entropy(*a).total_cmp(&self.entropy(*b))))
    }

    /// Mean entropy of a head's rows, 1 for an even spread.
    fn entropy(&self, (block, head): (usize, usize)) -> f64 {
        match &self.trace.blocks[block] {
            BlockTrace::Attention(maps, window) => {
                attention::entropy(&maps[head], self.tokens.len(), *window).unwrap_or(0.0)
            }
            BlockTrace::Cell(_) => f64::INFINITY,
        }
    }

    /// All numbers. Probabilities are `null` where nothing comes before; matrices are lists of rows.
    pub fn to_json(&self) -> Value {
        let n = self.tokens.len();
        let rows = |values: &[f64]| -> Value { values.chunks(values.len() / n).collect() };
        let blocks = self.trace.blocks.iter().enumerate().map(|(i, block)| match block {
            BlockTrace::Attention(maps, _) => {
                let maps: Vec<Value> = maps.iter().map(|map| rows(map)).collect();
                json!({ "block": i, "kind": "attention", "heads": maps })
            }
            BlockTrace::Cell(cell) => {
                let mut value =
                    json!({ "block": i, "kind": cell.kind, "hidden": cell.hidden, "h": rows(&cell.state) });
                for (letter, gate) in &cell.gates {
                    value[*letter] = rows(gate);
                }
                value
            }
        });
        json!({
            "run": self.name,
            "step": self.step,
            "left_out": self.left_out,
            "tokens": self.tokens.iter().map(|t| t.id).collect::<Vec<_>>(),
            "labels": self.tokens.iter().map(|t| &t.label).collect::<Vec<_>>(),
            "probability": self.probability,
            "guess": self.guess.iter().map(|(text, p)| json!({ "text": text, "probability": p })).collect::<Vec<_>>(),
            "loss": self.loss(),
            "blocks": blocks.collect::<Vec<_>>(),
        })
    }
}

/// The units of a cell that vary most over the text, the most variable first, at most `n`.
pub fn most_variable(cell: &CellTrace, n: usize) -> Vec<usize> {
    let variance = |unit: usize| {
        let values = || cell.state.iter().skip(unit).step_by(cell.hidden);
        let count = values().count() as f64;
        let mean = values().sum::<f64>() / count;
        values().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count
    };
    let mut units: Vec<(usize, f64)> = (0..cell.hidden).map(|unit| (unit, variance(unit))).collect();
    units.sort_by(|a, b| b.1.total_cmp(&a.1));
    units.into_iter().take(n).map(|u| u.0).collect()
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|z| (z - highest).exp()).sum();
    logits.iter().map(|z| (z - highest).exp() / sum).collect()
}

#[cfg(test)]
mod tests;
