//! The curves: pure functions of time. `t` counts steps, `progress` runs from 0 to 1 over the run.

use std::f64::consts::PI;

use super::config::Anneal;

/// γ^⌊t / n⌋
pub fn step(t: f64, gamma: f64, step_size: u64) -> f64 {
    gamma.powf((t / step_size as f64).floor())
}

/// γᵗ
pub fn exponential(t: f64, gamma: f64) -> f64 {
    gamma.powf(t)
}

/// 1 / (1 + ρ t)
pub fn inverse_time(t: f64, rate: f64) -> f64 {
    1.0 / (1.0 + rate * t)
}

/// e + (1 − e)(1 − progress)ᵖ
pub fn polynomial(progress: f64, power: f64, end: f64) -> f64 {
    end + (1.0 - end) * (1.0 - progress).powf(power)
}

/// e + (1 − e)(1 + cos(π progress)) / 2
pub fn cosine(progress: f64, end: f64) -> f64 {
    Anneal::Cosine.between(1.0, end, progress)
}

/// 1 until the last `decay_fraction` of the run, then down to `end`.
pub fn wsd(progress: f64, decay_fraction: f64, anneal: Anneal, end: f64) -> f64 {
    let begin = 1.0 - decay_fraction;
    if progress <= begin {
        return 1.0;
    }
    anneal.between(1.0, end, ((progress - begin) / decay_fraction).min(1.0))
}

/// Up to the peak, then far down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneCycle {
    /// Share of the steps that rise.
    pub pct_start: f64,
    /// The start is 1 / `div_factor` of the peak.
    pub div_factor: f64,
    /// The end is 1 / `final_div_factor` of the start.
    pub final_div_factor: f64,
    /// The shape of both parts.
    pub anneal: Anneal,
}

impl OneCycle {
    /// The factor at `t`: the last of `total` steps is the lowest, and the rise ends at pct_start · T − 1.
    pub fn factor(&self, t: f64, total: f64) -> f64 {
        let start = 1.0 / self.div_factor;
        let end = start / self.final_div_factor;
        let peak = (self.pct_start * total - 1.0).max(0.0);
        if t < peak {
            return self.anneal.between(start, 1.0, t / peak);
        }
        let fall = (total - 1.0 - peak).max(1.0);
        self.anneal.between(1.0, end, ((t - peak) / fall).min(1.0))
    }
}

impl Anneal {
    /// From `from` at 0 to `to` at 1.
    pub fn between(self, from: f64, to: f64, x: f64) -> f64 {
        let remaining = match self {
            Anneal::Linear => 1.0 - x,
            Anneal::Cosine => 0.5 * (1.0 + (PI * x).cos()),
            Anneal::OneMinusSqrt => 1.0 - x.sqrt(),
        };
        to + (from - to) * remaining
    }
}
