//! Reduce on plateau: lower the rate when the validation loss stands still.

use serde::{Deserialize, Serialize};

/// The schedule: settings and memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Plateau {
    /// What the rate is multiplied by.
    pub reduce: f64,
    /// Evaluations without improvement that are borne; one more lowers the rate.
    pub patience: u32,
    /// An improvement is a loss under best − threshold · |best|.
    pub threshold: f64,
    /// Evaluations after a reduction that do not count.
    pub cooldown: u32,
    /// The factor never falls under this.
    pub min_factor: f64,
    state: State,
}

/// What a plateau remembers between evaluations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    factor: f64,
    /// `None` before the first finite loss.
    best: Option<f64>,
    bad: u32,
    cooling: u32,
}

impl Plateau {
    /// A plateau that has seen nothing and has factor 1.
    pub fn new(reduce: f64, patience: u32, threshold: f64, cooldown: u32, min_factor: f64) -> Self {
        let state = State { factor: 1.0, best: None, bad: 0, cooling: 0 };
        Plateau { reduce, patience, threshold, cooldown, min_factor, state }
    }

    /// Takes the loss of an evaluation in; true if the rate was lowered. A NaN is no improvement.
    pub fn observe(&mut self, loss: f64) -> bool {
        let state = &mut self.state;
        let improved = match state.best {
            None => loss.is_finite(),
            Some(best) => loss < best - self.threshold * best.abs(),
        };
        if improved {
            state.best = Some(loss);
            state.bad = 0;
        } else {
            state.bad += 1;
        }
        if state.cooling > 0 {
            state.cooling -= 1;
            state.bad = 0;
        }
        if state.bad <= self.patience {
            return false;
        }
        state.cooling = self.cooldown;
        state.bad = 0;
        let before = state.factor;
        state.factor = (before * self.reduce).max(self.min_factor);
        state.factor < before
    }

    /// The factor in force.
    pub fn factor(&self) -> f64 {
        self.state.factor
    }

    /// The memory, for a checkpoint.
    pub fn state(&self) -> State {
        self.state
    }

    /// Continues from a saved memory.
    pub fn restore(&mut self, state: State) {
        self.state = state;
    }
}
