//! From minutes to steps: the schedule needs the number of steps, and a resumed run must take the same one.

use std::time::Duration;

/// Share of the budget that is left for the last evaluation, the export and the sample.
const RESERVE: f64 = 0.04;

/// The number of steps that fit into `minutes`, when `setup` has passed, one step takes `step` and each of the
/// evaluations and samples that `pauses` lists as (every so many steps, its time) takes its time.
///
/// At least 1: a run always learns something.
pub fn steps_for(minutes: f64, setup: Duration, step: Duration, pauses: &[(u64, Duration)]) -> u64 {
    let seconds = (minutes * 60.0 * (1.0 - RESERVE) - setup.as_secs_f64()).max(0.0);
    let per_step: f64 = pauses
        .iter()
        .filter(|(every, _)| *every > 0)
        .map(|(every, time)| time.as_secs_f64() / *every as f64)
        .sum::<f64>()
        + step.as_secs_f64();
    ((seconds / per_step.max(1e-9)) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_shared_with_evaluations() {
        let ms = Duration::from_millis;
        assert!((3599..=3600).contains(&steps_for(1.0, ms(0), ms(16), &[])));
        // An evaluation of 1.6 s every 100 steps of 16 ms doubles the time per step.
        let steps = steps_for(1.0, ms(0), ms(16), &[(100, ms(1600)), (0, ms(9000))]);
        assert!((1799..=1800).contains(&steps));
        assert_eq!(steps_for(0.001, ms(500), ms(10), &[]), 1);
    }
}
