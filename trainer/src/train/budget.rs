//! From minutes to steps: the schedule needs the number of steps, and a resumed run must take the same one.
//!
//! So the speed of the whole run is foretold from its first seconds, and what else the machine does then and later is the error. The mean
//! of the steps over a longer time is the best that is simple: on two cores that others used by fits and starts (55 s of equal pieces
//! of work of 6 ms, windows drawn from them, against the mean of all), 10 s foretold the mean within 12 % (root mean square; at worst 22 %),
//! 1.5 s within 25 % (at worst 61 %). Medians and lower quantiles are steadier but wrong: they leave out the slow pieces, which the run will
//! have too; over 10 s they promised 19 to 28 % too much. Counting the steps anew while the run goes on would make its schedule, and so its
//! weights, depend on when it was interrupted.

use std::time::Duration;

/// Share of the budget that is left for the last evaluation, the export and the sample.
const RESERVE: f64 = 0.04;

/// Share of the budget in which the speed is measured, and the most of it.
const CALIBRATION: f64 = 0.05;
const MOST_CALIBRATION: f64 = 10.0;

/// How long the speed of a run of `minutes` is measured.
pub fn calibration(minutes: f64) -> Duration {
    Duration::from_secs_f64((minutes * 60.0 * CALIBRATION).clamp(0.0, MOST_CALIBRATION))
}

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
    fn a_long_budget_is_measured_long_enough_to_meet_what_else_the_machine_does() {
        let seconds = [0.0, 1.0, 2.0, 5.0, 1e9].map(|minutes| calibration(minutes).as_secs_f64());
        assert_eq!(seconds, [0.0, 3.0, 6.0, 10.0, 10.0]);
    }

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
