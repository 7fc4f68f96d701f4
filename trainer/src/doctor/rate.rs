//! Updates against weights: whether the learning rate is of the right size.
//!
//! The norm of an update over that of its tensor is "somewhere around 1e-3" in runs that train well (Karpathy, "CS231n: Neural
//! Networks, Part 3", and "Building makemore Part 3", 2022). It asks less of a reader than the rate itself, whose right size depends on the
//! optimiser.

use super::case::{Case, median};
use super::finding::{Finding, Severity, Trouble};
use super::remedy;
use crate::observe::record::Record;

/// What a typical update should be of its tensor.
const USUAL: f64 = 1e-3;
/// A typical update below this share of its tensor hardly moves it: ten thousand updates would turn it over once.
pub(super) const TOO_LOW: f64 = 1e-4;
/// A typical update above this share of its tensor throws away what was learnt in the last twenty.
const TOO_HIGH: f64 = 0.05;
/// Updates at less than this share of the highest rate are small by intention.
const PEAK: f64 = 0.5;

/// The middle update-to-weight ratio of the tensors that were updated.
pub(crate) fn ratio(record: &Record) -> f64 {
    median(record.tensors.iter().map(|t| t.update_ratio).filter(|r| *r > 0.0))
}

/// Records at a rate near the highest of the run; the first update is not one, as adaptive rules know nothing yet.
fn at_peak(case: &Case) -> impl Iterator<Item = &Record> {
    let warm = case.warmup().min(case.total / 2);
    case.records.iter().filter(move |r| r.step > 1 && r.step > warm && case.rate_share(r.step) >= PEAK)
}

/// The middle ratio while the rate was near its highest; over all records where there is none such.
pub(super) fn typical(case: &Case) -> f64 {
    let peak = median(at_peak(case).map(ratio));
    if peak.is_nan() { median(case.records.iter().map(ratio)) } else { peak }
}

/// What to multiply a rate by that is too low.
pub(super) fn boost(case: &Case) -> f64 {
    (USUAL / typical(case)).clamp(3.0, 1000.0)
}

/// What to multiply a rate by that is too high.
pub(super) fn relief(case: &Case) -> f64 {
    let factor = USUAL / typical(case);
    if factor.is_finite() { factor.clamp(0.001, 0.2) } else { 0.1 }
}

pub(super) fn too_high(case: &Case) -> Option<Finding> {
    let typical = typical(case);
    let first = at_peak(case).find(|r| ratio(r) > TOO_HIGH)?;
    (typical > TOO_HIGH).then(|| Finding {
        trouble: Trouble::RateTooHigh,
        severity: if case.stands_still() { Severity::Ruins } else { Severity::Hampers },
        place: String::new(),
        first_step: first.step,
        evidence: format!(
            "a typical update changes {:.1} % of its tensor; about 0.1 % is usual",
            100.0 * typical
        ),
        advice: "take a smaller rate".into(),
        remedy: remedy::scaled_rate(case, relief(case)),
    })
}

pub(super) fn too_low(case: &Case) -> Option<Finding> {
    let typical = typical(case);
    let first = at_peak(case).find(|r| ratio(r) < TOO_LOW)?;
    (typical < TOO_LOW && !case.stands_still()).then(|| Finding {
        trouble: Trouble::RateTooLow,
        severity: Severity::Hampers,
        place: String::new(),
        first_step: first.step,
        evidence: format!("a typical update changes {:.0e} of its tensor; about 1e-3 is usual", typical),
        advice: "raise the rate".into(),
        remedy: remedy::scaled_rate(case, boost(case)),
    })
}
