//! The guard: notices a broken loss at once, and finds the tensor that broke.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::ParamInfo;

/// Losses needed before a mean and a deviation mean anything.
const MIN_WINDOW: usize = 16;

/// Spikes in a row after which the higher loss is taken for the new level.
const MAX_SPIKES: u32 = 8;

/// What is wrong with a loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Alarm {
    /// It is NaN or infinite.
    NonFinite {
        /// The step.
        step: u64,
        /// The loss.
        loss: f64,
    },
    /// It is far above the recent ones.
    Spike {
        /// The step.
        step: u64,
        /// The loss.
        loss: f64,
        /// Mean of the recent losses.
        mean: f64,
        /// Their standard deviation.
        std: f64,
    },
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Alarm::NonFinite { step, loss } => write!(f, "loss is {loss} at step {step}"),
            Alarm::Spike { step, loss, mean, std } => {
                write!(f, "loss spiked to {loss:.4} at step {step}, recent losses are {mean:.4} ± {std:.4}")
            }
        }
    }
}

/// Watches the training loss. Serialisable whole, for a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    window: usize,
    k: f64,
    recent: VecDeque<f64>,
    spikes: u32,
}

impl Guard {
    /// A guard that compares with the last `window` losses and calls a spike what is above mean + `k` · std.
    ///
    /// # Panics
    /// If `window` is under 16 or `k` is not above 0: neither mean nor deviation would say anything.
    pub fn new(window: usize, k: f64) -> Self {
        assert!(window >= MIN_WINDOW, "window is {window}, expected at least {MIN_WINDOW}");
        assert!(k > 0.0, "k is {k}, expected above 0");
        Guard { window, k, recent: VecDeque::with_capacity(window), spikes: 0 }
    }

    /// Takes the loss of `step` in and says what is wrong with it, if anything is.
    ///
    /// A loss that alarms stays out of the window, so that it does not hide the next one; after 8 spikes in a row
    /// the level has changed for good and the window begins anew.
    pub fn observe(&mut self, step: u64, loss: f64) -> Option<Alarm> {
        if !loss.is_finite() {
            return Some(Alarm::NonFinite { step, loss });
        }
        if self.recent.len() >= MIN_WINDOW {
            let (mean, std) = mean_and_std(&self.recent);
            // a loss that stands still has no deviation: rounding is not a spike
            let std = std.max(1e-3 * mean.abs());
            if loss > mean + self.k * std {
                self.spikes += 1;
                if self.spikes > MAX_SPIKES {
                    self.spikes = 0;
                    self.recent.clear();
                    self.recent.push_back(loss);
                    return None;
                }
                return Some(Alarm::Spike { step, loss, mean, std });
            }
        }
        self.spikes = 0;
        if self.recent.len() == self.window {
            self.recent.pop_front();
        }
        self.recent.push_back(loss);
        None
    }
}

fn mean_and_std(x: &VecDeque<f64>) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

/// The first tensor with a NaN or infinite number, and where in it.
#[derive(Clone, Debug, PartialEq)]
pub struct NonFinite {
    /// "weight" or "gradient".
    pub what: &'static str,
    /// The tensor's name, which begins with its layer's.
    pub tensor: String,
    /// Row of the number.
    pub row: usize,
    /// Column of the number.
    pub col: usize,
    /// The number.
    pub value: f32,
    /// Other tensors of the model that hold such numbers too.
    pub others: usize,
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NonFinite { what, tensor, row, col, value, others } = self;
        write!(f, "{what} of {tensor} is {value} at row {row}, column {col}")?;
        match others {
            0 => Ok(()),
            1 => write!(f, " (and 1 other tensor is not finite)"),
            n => write!(f, " (and {n} other tensors are not finite)"),
        }
    }
}

/// Where numbers stopped being finite: in the weights, in the order of the forward pass; if all weights are
/// finite, in the gradients, in the order of the backward pass, as a bad gradient spoils all below it. `None`
/// when everything is finite.
///
/// # Panics
/// If the slices are not as long as the tensors together.
pub fn find_non_finite(infos: &[ParamInfo], params: &[f32], grads: &[f32]) -> Option<NonFinite> {
    bad_tensors(infos, params, "weight")
        .next_first()
        .or_else(|| bad_tensors(infos, grads, "gradient").next_last())
}

struct BadTensors(Vec<NonFinite>);

impl BadTensors {
    fn next_first(self) -> Option<NonFinite> {
        let others = self.0.len().saturating_sub(1);
        self.0.into_iter().next().map(|bad| NonFinite { others, ..bad })
    }

    fn next_last(mut self) -> Option<NonFinite> {
        self.0.reverse();
        self.next_first()
    }
}

fn bad_tensors(infos: &[ParamInfo], mut values: &[f32], what: &'static str) -> BadTensors {
    let mut bad = Vec::new();
    for info in infos {
        let (tensor, rest) = values.split_at(info.len());
        values = rest;
        if let Some(at) = tensor.iter().position(|x| !x.is_finite()) {
            let (row, col) = (at / info.cols, at % info.cols);
            bad.push(NonFinite { what, tensor: info.name.clone(), row, col, value: tensor[at], others: 0 });
        }
    }
    assert!(values.is_empty(), "{} numbers belong to no tensor", values.len());
    BadTensors(bad)
}

#[cfg(test)]
mod tests {
    use super::super::ParamKind;
    use super::*;

    fn wavy(step: u64) -> f64 {
        2.0 + 0.1 * (step as f64).sin()
    }

    #[test]
    fn a_spike_is_reported_with_its_step_and_stays_out_of_the_window() {
        let mut guard = Guard::new(50, 6.0);
        assert!((0..100).all(|step| guard.observe(step, wavy(step)).is_none()));
        let alarm = guard.observe(100, 4.0).unwrap();
        assert!(matches!(alarm, Alarm::Spike { step: 100, loss: 4.0, .. }));
        let line = alarm.to_string();
        assert!(line.starts_with("loss spiked to 4.0000 at step 100, recent losses are"), "{line}");
        assert!(guard.observe(101, 4.0).is_some());
        assert!(guard.observe(102, 2.05).is_none());
    }

    #[test]
    fn nan_and_infinity_are_reported_from_the_first_step() {
        let mut guard = Guard::new(16, 6.0);
        assert_eq!(guard.observe(0, f64::NAN).unwrap().to_string(), "loss is NaN at step 0");
        assert_eq!(guard.observe(7, f64::INFINITY).unwrap().to_string(), "loss is inf at step 7");
    }

    #[test]
    fn a_constant_loss_is_no_spike_and_a_new_level_is_accepted() {
        let mut guard = Guard::new(20, 6.0);
        assert!((0..50).all(|step| guard.observe(step, 1.0 + 1e-9 * (step % 3) as f64).is_none()));
        let alarms = (50..100).filter(|&step| guard.observe(step, 3.0).is_some()).count();
        assert_eq!(alarms, MAX_SPIKES as usize);
    }

    #[test]
    fn a_saved_guard_compares_with_the_same_losses() {
        let mut guard = Guard::new(20, 6.0);
        (0..30).for_each(|step| assert!(guard.observe(step, wavy(step)).is_none()));
        let mut again: Guard = serde_json::from_str(&serde_json::to_string(&guard).unwrap()).unwrap();
        assert_eq!(again.observe(30, 9.0), guard.observe(30, 9.0));
        assert_eq!(again, guard);
    }

    #[test]
    fn the_guilty_tensor_is_named() {
        let infos = [
            ParamInfo::new("blocks.0.wq", 2, 3, ParamKind::Matrix),
            ParamInfo::new("blocks.1.wq", 2, 3, ParamKind::Matrix),
            ParamInfo::new("final_norm.weight", 2, 1, ParamKind::Vector),
        ];
        let (mut params, mut grads) = (vec![0.0; 14], vec![0.0; 14]);
        assert_eq!(find_non_finite(&infos, &params, &grads), None);
        // the gradient went wrong in block 1, and backward carried it down into block 0
        grads[..8].fill(f32::NAN);
        let line = find_non_finite(&infos, &params, &grads).unwrap().to_string();
        assert_eq!(
            line,
            "gradient of blocks.1.wq is NaN at row 0, column 0 (and 1 other tensor is not finite)"
        );
        params[10] = f32::INFINITY;
        let line = find_non_finite(&infos, &params, &grads).unwrap().to_string();
        assert_eq!(line, "weight of blocks.1.wq is inf at row 1, column 1");
    }
}
