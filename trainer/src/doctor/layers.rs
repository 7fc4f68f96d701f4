//! What the doctor saw, part by part and step by step.

use serde::Serialize;

use super::case::{Case, median, series};
use super::diagnose;
use super::finding::Finding;
use crate::observe::record::{Record, TensorRecord};

/// All that the doctor says of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Examination {
    /// Updates so far.
    pub step: u64,
    /// Updates of the whole run.
    pub total: u64,
    /// Updates whose inside was recorded.
    pub records: usize,
    /// Mean training loss of the last tenth, nats per token.
    pub loss: f64,
    /// Best validation loss, if there was an evaluation.
    pub best_validation: Option<f64>,
    /// Cross-entropy of guessing by frequency, if the text is still there.
    pub unigram: Option<f64>,
    /// The troubles, the likeliest cause first.
    pub findings: Vec<Finding>,
    /// One per part of the model, from the embedding to the head.
    pub layers: Vec<LayerRow>,
    /// One per recurrent block.
    pub times: Vec<TimeRow>,
}

/// A part of the model; medians over the last quarter of the records.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerRow {
    /// `embed`, `blocks.0.attn`, `blocks.0.cell`, `head`.
    pub name: String,
    /// Norm of the gradient of its weights.
    pub gradient: f64,
    /// Norm of its update over norm of its weights.
    pub update_ratio: f64,
    /// Root mean square of what it gives out.
    pub rms: Option<f64>,
    /// Root mean square of the loss' gradient that flows back to that.
    pub back: Option<f64>,
    /// Share of dead units.
    pub dead: Option<f64>,
    /// Share of saturated values.
    pub saturated: Option<f64>,
    /// Entropy of the attention, 1 for an even spread.
    pub entropy: Option<f64>,
}

/// The gradient of a recurrent block over the steps of a window; medians over the last quarter of the records.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimeRow {
    /// `blocks.0.cell`.
    pub name: String,
    /// Gradient at each step over that at the last, whose loss it is.
    pub gradient: Vec<f64>,
}

impl Examination {
    /// Examines a run.
    pub fn of(case: &Case) -> Self {
        Examination {
            step: case.steps(),
            total: case.total,
            records: case.records.len(),
            loss: case.loss(0.9..1.0),
            best_validation: case.history.best().map(|(_, loss)| loss),
            unigram: Some(case.unigram).filter(|u| u.is_finite()),
            findings: diagnose(case),
            layers: layers(case),
            times: times(case),
        }
    }
}

/// Names of the parts: what activations are of, and the head.
fn parts(record: &Record) -> Vec<String> {
    let mut names: Vec<String> = record.activations.iter().map(|a| a.name.clone()).collect();
    if record.tensors.iter().any(|t| t.name.starts_with("head.")) {
        names.push("head".into());
    }
    names
}

/// Whether a tensor belongs to a part: its name begins with the part's, or with that of the block whose cell or norms it is of.
fn belongs(tensor: &str, part: &str) -> bool {
    let owner = part.strip_suffix("cell").unwrap_or(part);
    let rest = tensor.strip_prefix(owner);
    rest.is_some_and(|rest| owner.ends_with('.') || rest.starts_with('.'))
}

fn layers(case: &Case) -> Vec<LayerRow> {
    let Some(last) = case.records.last() else { return Vec::new() };
    let late = case.late();
    let row = |name: String| {
        let over = |of: fn(&[&TensorRecord]) -> f64| {
            median(
                late.iter()
                    .map(|r| of(&r.tensors.iter().filter(|t| belongs(&t.name, &name)).collect::<Vec<_>>())),
            )
        };
        let inside = |of: fn(&crate::observe::record::ActivationRecord) -> Option<f64>| {
            Some(median(series(late, &name, of).map(|x| x.1))).filter(|m| !m.is_nan())
        };
        LayerRow {
            gradient: over(|tensors| norm(tensors.iter().map(|t| t.gradient))),
            update_ratio: over(|tensors| {
                norm(tensors.iter().map(|t| t.update_ratio * t.weight))
                    / norm(tensors.iter().map(|t| t.weight))
            }),
            rms: inside(|a| Some(a.rms)),
            back: inside(|a| Some(a.gradient)),
            dead: inside(|a| a.dead),
            saturated: inside(|a| a.saturated),
            entropy: inside(|a| a.entropy),
            name,
        }
    };
    parts(last).into_iter().map(row).collect()
}

/// Euclidean norm; NaN of nothing.
fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).reduce(|a, b| a + b).map_or(f64::NAN, f64::sqrt)
}

fn times(case: &Case) -> Vec<TimeRow> {
    let Some(last) = case.records.last() else { return Vec::new() };
    let share = |r: &Record, block: usize, step: usize| {
        let gradient = r.times.get(block).map(|t| t.gradient.as_slice()).unwrap_or_default();
        gradient.get(step).zip(gradient.last()).map(|(g, last)| g / last)
    };
    let of = |block: usize, step: usize| median(case.late().iter().filter_map(|r| share(r, block, step)));
    let row = |(block, time): (usize, &crate::observe::record::TimeRecord)| TimeRow {
        name: time.name.clone(),
        gradient: (0..time.gradient.len()).map(|step| of(block, step)).collect(),
    };
    last.times.iter().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::belongs;

    #[test]
    fn tensors_belong_to_their_part() {
        assert!(belongs("blocks.1.attn.wq", "blocks.1.attn") && belongs("blocks.1.w_x", "blocks.1.cell"));
        assert!(belongs("head.bias", "head") && belongs("embed.weight", "embed"));
        assert!(!belongs("blocks.11.w_x", "blocks.1.cell") && !belongs("blocks.1.ffn.w_up", "blocks.1.attn"));
    }
}
