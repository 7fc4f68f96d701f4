//! Seeing gradients: what a run writes down about its inside, and what can be read from it.

pub mod attention;
mod observation;
pub mod record;

pub(crate) use observation::Observation;

/// Records of a run that is not told how many to take.
const RECORDS: u64 = 150;
/// Fewest updates between records by default: an observed update costs up to a third more than another.
const LEAST_EVERY: u64 = 16;

/// Updates between records of a run of `total` updates, where `said` does not say; 0 is never.
pub fn every(said: Option<u64>, total: u64) -> u64 {
    said.unwrap_or_else(|| total.div_ceil(RECORDS).max(LEAST_EVERY))
}

/// Whether update number `step`, from 1, of `total` is observed: the first, the last, and every so many between.
pub fn is_due(every: u64, step: u64, total: u64) -> bool {
    every > 0 && (step == 1 || step == total || step.is_multiple_of(every))
}
