//! `observations.jsonl` in the run folder: one [`Record`] a line, the inside of the run at one update. A number that is not finite
//! is `null` there and NaN here.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};

/// Name of the file in a run folder.
pub const FILE: &str = "observations.jsonl";

/// The inside of a run at one update.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Updates so far, this one included.
    pub step: u64,
    /// One per tensor, in the order of the schema.
    pub tensors: Vec<TensorRecord>,
    /// One per observed activation, from the embedding to the head.
    pub activations: Vec<ActivationRecord>,
    /// One per recurrent block.
    pub times: Vec<TimeRecord>,
}

/// A tensor of weights, its gradient and its update.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TensorRecord {
    /// Name in the schema, `blocks.0.attn.wq`.
    pub name: String,
    /// Euclidean norm of the batch's mean gradient, before clipping.
    #[serde(deserialize_with = "nan_for_null")]
    pub gradient: f64,
    /// Euclidean norm of the weights before the update.
    #[serde(deserialize_with = "nan_for_null")]
    pub weight: f64,
    /// Norm of the update over norm of the weights; 0 for weights that are all zero.
    #[serde(deserialize_with = "nan_for_null")]
    pub update_ratio: f64,
}

/// What a part of a block gave out, over the observed rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActivationRecord {
    /// `embed`, `blocks.0.attn`, `blocks.0.ffn`, `blocks.0.cell`, `final_norm`.
    pub name: String,
    /// Root mean square of what it gives out.
    #[serde(deserialize_with = "nan_for_null")]
    pub rms: f64,
    /// Root mean square of the loss' gradient that flows back to it, over the observed rows.
    #[serde(deserialize_with = "nan_for_null")]
    pub gradient: f64,
    /// Share of inner units (ReLU, ReLU²) that are 0 in at least 99 % of the rows; none for other nonlinearities.
    pub dead: Option<f64>,
    /// Share of the inner values (tanh, state of a GRU or an LSTM) beyond ±0.97; none for other nonlinearities.
    pub saturated: Option<f64>,
    /// Mean entropy of the attention rows over the logarithm of their lengths: 1 is even, 0 looks at one position.
    pub entropy: Option<f64>,
}

/// How the gradient of a recurrent block's state dies or grows as it flows back through a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeRecord {
    /// `blocks.0.cell`.
    pub name: String,
    /// Root mean square of the gradient of what enters the cell, before its nonlinearities, at each time step of the window. The loss
    /// of the last step alone flows back, so that the ratio of first to last is what is passed on through time.
    #[serde(deserialize_with = "nans_for_null")]
    pub gradient: Vec<f64>,
}

fn nan_for_null<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

fn nans_for_null<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Vec<f64>, D::Error> {
    Ok(Vec::<Option<f64>>::deserialize(from)?.into_iter().map(|x| x.unwrap_or(f64::NAN)).collect())
}

/// Every record of the run in `dir`, oldest first; a torn last line is left out. Empty when the run observed nothing.
///
/// # Errors
/// The file cannot be read.
pub fn read(dir: &Path) -> Result<Vec<Record>> {
    let path = dir.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("read", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_a_torn_line_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), []);
        let tensors = vec![TensorRecord { name: "embed.weight".into(), gradient: 0.5, ..Default::default() }];
        let record = Record { step: 3, tensors, ..Default::default() };
        let line = serde_json::to_string(&record).unwrap();
        std::fs::write(dir.path().join(FILE), format!("{line}\n{}", &line[..line.len() / 2])).unwrap();
        assert_eq!(read(dir.path()).unwrap(), [record]);
    }

    #[test]
    fn a_number_that_is_not_finite_comes_back_as_nan() {
        let times = vec![TimeRecord { name: "blocks.0.cell".into(), gradient: vec![1.0, f64::INFINITY] }];
        let line = serde_json::to_string(&Record { times, ..Default::default() }).unwrap();
        let back: Record = serde_json::from_str(&line).unwrap();
        assert!(back.times[0].gradient[0] == 1.0 && back.times[0].gradient[1].is_nan(), "{line}");
    }
}
