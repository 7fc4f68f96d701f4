//! Updates against weights: whether the learning rate is of the right size.
//!
//! The norm of an update over that of its tensor should be "somewhere around 1e-3" (Karpathy, CS231n, "Neural Networks Part 3", and
//! "Building makemore, part 3", 2022). It asks less of a reader than the rate itself, whose right size depends on the optimiser. In short runs it must
//! be larger, or there is no way to go: what counts is the path, the ratio times the number of updates.
//!
//! A rate that is too high shows in the weights. Adaptive rules make steps of the size of the rate whatever the gradient, and weights that
//! are driven by noise grow as a random walk. Their scale is compared with 1/√fan_in, which keeps the size of a signal (Glorot & Bengio 2010).

use super::case::{Case, median};
use super::finding::{Finding, Severity, Trouble};
use super::remedy;
use crate::observe::record::Record;

/// What a typical update should be of its tensor in a long run.
const USUAL: f64 = 1e-3;
/// How often all typical updates of a run together turn a tensor over: healthy runs had 1.7 and more.
const USUAL_PATH: f64 = 2.0;
/// A run whose updates together cannot turn half of a tensor over ends near where it began.
const LEAST_PATH: f64 = 0.5;
/// An update above this share of its tensor overwrites in twenty updates what was there.
const WILD: f64 = 0.05;
/// A typical matrix stretches what it reads so many times more than one that keeps its size: healthy runs had up to 2.4.
const BLOWN_UP: f64 = 4.0;
/// So many times its first size is growth, not the way the run began.
const GROWN: f64 = 3.0;
/// The same for weights that began very small, as a Transformer's do: healthy ones grew up to sevenfold, to 1.2 of the scale.
const BLOWN_UP_FROM_SMALL: (f64, f64) = (2.0, 10.0);
/// Updates at less than this share of the highest rate are small by intention.
const PEAK: f64 = 0.5;

/// The middle update-to-weight ratio of the tensors that were updated.
pub(crate) fn ratio(record: &Record) -> f64 {
    median(record.tensors.iter().map(|t| t.update_ratio).filter(|r| *r > 0.0))
}

/// How many times a typical matrix of the blocks stretches what it reads, beside one of variance 1/fan_in.
fn gain(case: &Case, record: &Record) -> f64 {
    let of = |(name, rows): &(String, usize)| {
        let tensor = record.tensors.iter().find(|t| t.name == *name)?;
        Some(tensor.weight / (*rows as f64).sqrt())
    };
    median(case.matrices.iter().filter_map(of))
}

/// The middle ratio while the rate was near its highest, the first update aside, of which adaptive rules know nothing yet; over all
/// records where there is none such.
pub(super) fn typical(case: &Case) -> f64 {
    let warm = case.warmup().min(case.total / 2);
    let at_peak = |r: &&Record| r.step > 1 && r.step > warm && case.rate_share(r.step) >= PEAK;
    let peak = median(case.records.iter().filter(at_peak).map(ratio));
    if peak.is_nan() { median(case.records.iter().map(ratio)) } else { peak }
}

/// Whether all updates of the run together hardly move a tensor.
pub(super) fn is_idle(case: &Case) -> bool {
    typical(case) * (case.total as f64) < LEAST_PATH
}

/// What to multiply a rate by that is too low.
pub(super) fn boost(case: &Case) -> f64 {
    let wanted = USUAL.max(USUAL_PATH / case.total.max(1) as f64);
    (wanted / typical(case)).clamp(3.0, 10_000.0)
}

pub(super) fn too_high(case: &Case) -> Option<Finding> {
    let (first, last) =
        (gain(case, case.records.first()?), median(case.late().iter().map(|r| gain(case, r))));
    let wild = case.records.iter().filter(|r| r.step > 1).find(|r| ratio(r) > WILD)?;
    let wildest = case.records.iter().filter(|r| r.step > 1).map(ratio).fold(0.0, f64::max);
    let from_small = last > BLOWN_UP_FROM_SMALL.0 && last > BLOWN_UP_FROM_SMALL.1 * first;
    ((last > BLOWN_UP && last > GROWN * first) || from_small).then(|| Finding {
        trouble: Trouble::RateTooHigh,
        severity: if case.stands_still() { Severity::Ruins } else { Severity::Hampers },
        place: String::new(),
        first_step: wild.step,
        evidence: format!(
            "updates changed up to {:.0} % of a typical tensor (0.1 to 2 % is usual), and its weights have grown from {first:.1} to {last:.1} times \
             the scale that keeps a signal's size",
            100.0 * wildest
        ),
        advice: "take a smaller rate".into(),
        remedy: remedy::calmer_rate(case),
    })
}

pub(super) fn too_low(case: &Case) -> Option<Finding> {
    let first = case.records.get(1)?;
    let typical = typical(case);
    let falling = case.loss(0.9..1.0) < case.loss(0.4..0.6);
    (is_idle(case) && falling && !case.stands_still()).then(|| Finding {
        trouble: Trouble::RateTooLow,
        severity: Severity::Hampers,
        place: String::new(),
        first_step: first.step,
        evidence: format!(
            "a typical update changes {typical:.0e} of its tensor, and all {} together {:.1} of it; the loss still falls, slowly",
            case.total,
            typical * case.total as f64
        ),
        advice: "raise the rate".into(),
        remedy: remedy::scaled_rate(case, boost(case)),
    })
}
