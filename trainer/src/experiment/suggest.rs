//! A rate, read off the curves of range tests.
//!
//! On its way from the first loss L₀ to the lowest smoothed loss L_low, at the rate η_low, a curve is read by one of two rules:
//!
//! ```text
//! plain SGD:    η = 1.7 η_low
//! every other:  η = the first rate with L̂ ≤ L_low + 0.3 (L₀ − L_low)
//! ```
//!
//! A normalised step has the length of its rate whatever the slope (and momentum goes on with what it had): soon after the steep part of the curve it is
//! too long to settle, and what follows is a flat, noisy bottom whose lowest place says little. A step of plain SGD shrinks with the gradient; its
//! curve turns where the first, steepest stretch of a training becomes unstable, and a warm-up carries a training beyond that. The two numbers
//! were fitted to grids of short trainings (five families by SGD, Adam and Muon): with them the best point of the grid was within a factor of 3
//! in 14 cases of 15, and 3.5 away in the other. The rules that are in use did worse there: η_steep, where the loss falls most steeply, by
//! factors of up to 50, and a tenth of η_low by up to 36 with SGD and 10 with Adam. `docs/lr-find.md` has the table.

use super::lr_find::{End, Sweep};
use crate::settings::Settings;

/// What is left of the way down at the suggested rate.
const LEFT: f64 = 0.3;
/// The suggested rate of plain SGD over η_low.
const BEYOND: f64 = 1.7;
/// Factor around the suggestion that held the best rates of 14 grids out of 15; the other's was 3.5 away.
const SPREAD: f64 = 3.0;
/// A loss that falls by less than this share has learnt nothing.
const LEARNT: f64 = 0.02;
/// A rate among the last that were tried, as a share of the steps: the loss was still falling.
const LAST: f64 = 0.03;

/// A rate to train with.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Suggestion {
    /// The rate.
    pub lr: f64,
    /// The least that is likely to be best.
    pub low: f64,
    /// The most.
    pub high: f64,
}

/// What a curve shows.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It fell and rose, or broke.
    Turned,
    /// It fell to the end of the range.
    StillFalling,
    /// It rose or broke without having fallen.
    AtOnce,
    /// It neither fell nor broke.
    Flat,
}

/// One curve, read.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Reading {
    /// What it shows.
    pub verdict: Verdict,
    /// The rate where the smoothed loss is lowest.
    pub lowest_at: f64,
    /// That loss.
    pub lowest: f64,
    /// The first rate where 70 % of the way there were done.
    pub knee_at: f64,
    /// The rate where the smoothed loss falls most steeply before it.
    pub steepest_at: f64,
    /// The last rate that was tried.
    pub last_at: f64,
    /// Whether the loss broke there.
    pub broke: bool,
}

impl Reading {
    /// Reads a curve; `None` if it has no finite loss.
    pub fn of(sweep: &Sweep) -> Option<Self> {
        let samples = &sweep.samples;
        let finite = samples.iter().enumerate().filter(|(_, s)| s.smooth.is_finite());
        let (low, lowest) = finite.min_by(|a, b| a.1.smooth.total_cmp(&b.1.smooth))?;
        let last = samples.last()?;
        let broke = sweep.end == End::Diverged;
        let fell = lowest.smooth < (1.0 - LEARNT) * sweep.first_loss;
        let at_end = !broke && low as f64 >= (1.0 - LAST) * (samples.len() as f64 - 1.0);
        let rose = broke || last.smooth > sweep.first_loss * (1.0 + LEARNT);
        let verdict = match (fell, at_end) {
            (true, true) => Verdict::StillFalling,
            (true, false) => Verdict::Turned,
            (false, _) if rose => Verdict::AtOnce,
            (false, _) => Verdict::Flat,
        };
        let window = (samples.len() / 20).max(1);
        let slope =
            |i: usize| samples[(i + window).min(low)].smooth - samples[i.saturating_sub(window)].smooth;
        let steepest = (0..=low).min_by(|a, b| slope(*a).total_cmp(&slope(*b))).unwrap_or(low);
        let bend = lowest.smooth + LEFT * (sweep.first_loss - lowest.smooth);
        let knee = samples.iter().position(|s| s.smooth <= bend).unwrap_or(low);
        Some(Reading {
            verdict,
            lowest_at: lowest.lr,
            lowest: lowest.smooth,
            knee_at: samples[knee].lr,
            steepest_at: samples[steepest].lr,
            last_at: last.lr,
            broke,
        })
    }
}

/// How a curve is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Most of the way down.
    Knee,
    /// Beyond the lowest place.
    Beyond,
}

impl Rule {
    /// The rule for the optimiser of filled settings.
    pub fn of(settings: &Settings) -> Self {
        let plain = settings.optimizer.as_deref() == Some("sgd") && settings.momentum.unwrap_or(0.0) == 0.0;
        if plain { Rule::Beyond } else { Rule::Knee }
    }

    /// The rule as one sees it in the picture.
    pub fn in_words(self) -> &'static str {
        match self {
            Rule::Knee => "the first rate where the smoothed loss has come 70 % of its way down",
            Rule::Beyond => "1.7 times the rate where the smoothed loss is lowest (plain SGD)",
        }
    }
}

/// The rate that the curves suggest: the median of what each says. `None` unless all turned within their range and were tried to the end.
pub fn suggest(sweeps: &[Sweep], rule: Rule) -> Option<Suggestion> {
    let mut rates = Vec::new();
    for sweep in sweeps {
        let reading = Reading::of(sweep)?;
        if reading.verdict != Verdict::Turned || sweep.end == End::Interrupted {
            return None;
        }
        rates.push(match rule {
            Rule::Knee => reading.knee_at,
            Rule::Beyond => BEYOND * reading.lowest_at,
        });
    }
    rates.sort_by(f64::total_cmp);
    let (least, most) = (*rates.first()?, *rates.last()?);
    let middle = (rates[(rates.len() - 1) / 2] * rates[rates.len() / 2]).sqrt();
    Some(Suggestion { lr: middle, low: least / SPREAD, high: most * SPREAD })
}

#[cfg(test)]
mod tests {
    use super::super::lr_find::Sample;
    use super::*;

    /// A curve over rates 1e-5 to 10 in 121 steps.
    fn sweep(end: End, loss: impl Fn(f64) -> f64) -> Sweep {
        let samples = (0..=120).map(|i| {
            let lr = 10f64.powf(-5.0 + f64::from(i) / 20.0);
            Sample { lr, loss: loss(lr), smooth: loss(lr) }
        });
        let samples: Vec<Sample> = samples.take_while(|s| s.smooth.is_finite()).collect();
        Sweep { seed: 1, first_loss: 4.0, samples, end }
    }

    /// The column `suggested / best` of docs/lr-find.md, which the range and its comments are taken from.
    #[test]
    fn the_range_is_that_of_the_table() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/lr-find.md");
        let page = std::fs::read_to_string(page).unwrap();
        let rows = page.lines().filter_map(|line| line.trim_end_matches(" |").rsplit_once("| "));
        let off = rows.filter_map(|(_, ratio)| ratio.parse::<f64>().ok()).map(|r| r.max(1.0 / r));
        let (inside, outside): (Vec<f64>, Vec<f64>) = off.partition(|off| *off <= SPREAD);
        assert_eq!((inside.len(), outside.len()), (14, 1));
        assert!((3.4..3.6).contains(&outside[0]), "{outside:?}");
    }

    fn valley(lr: f64) -> f64 {
        let x = lr.log10(); // falls from 1e-3 on, lowest at 0.1, breaks at 1
        if x > 0.0 {
            f64::NAN
        } else if x > -1.0 {
            2.0 + 9.0 * (x + 1.0)
        } else {
            4.0 - (x + 3.0).max(0.0)
        }
    }

    #[test]
    fn a_valley_gives_a_rate_by_the_optimisers_rule() {
        let curve = sweep(End::Diverged, valley);
        let reading = Reading::of(&curve).unwrap();
        assert_eq!(reading.verdict, Verdict::Turned);
        assert!((reading.lowest_at / 0.1 - 1.0).abs() < 1e-6, "{reading:?}");
        assert!((0.001..0.1).contains(&reading.steepest_at), "{reading:?}");
        let curves = [curve];
        let of = |rule| suggest(&curves, rule).unwrap();
        assert!((of(Rule::Beyond).lr / 0.17 - 1.0).abs() < 1e-6, "{:?}", of(Rule::Beyond));
        // 70 % of two decades down.
        assert!((of(Rule::Knee).lr.log10() + 3.0 - 1.4).abs() < 0.06, "{:?}", of(Rule::Knee));
        assert!(
            [Rule::Knee, Rule::Beyond].into_iter().all(|r| of(r).low < of(r).lr && of(r).lr < of(r).high)
        );
    }

    #[test]
    fn several_curves_give_their_median_and_a_range_that_holds_all() {
        let shifted = |by: f64| sweep(End::Diverged, move |lr| valley(lr / by));
        let s = suggest(&[shifted(1.0), shifted(0.1), shifted(0.5)], Rule::Beyond).unwrap();
        assert!((s.lr / (0.05 * BEYOND) - 1.0).abs() < 0.2, "{s:?}");
        assert!(s.low <= 0.01 * BEYOND && s.high >= 0.1 * BEYOND, "{s:?}");
    }

    #[test]
    fn what_shows_no_valley_gives_no_rate() {
        let cases: [(Sweep, Verdict); 4] = [
            (sweep(End::Reached, |lr| 4.0 - 0.3 * (lr.log10() + 5.0)), Verdict::StillFalling),
            (sweep(End::Diverged, |lr| if lr < 1e-4 { 4.0 + 1e5 * lr } else { f64::NAN }), Verdict::AtOnce),
            (sweep(End::Reached, |_| 4.0), Verdict::Flat),
            (sweep(End::Reached, |lr| if lr < 1.0 { 4.0 } else { 9.0 }), Verdict::AtOnce),
        ];
        for (curve, verdict) in cases {
            assert_eq!(Reading::of(&curve).unwrap().verdict, verdict);
            assert_eq!(suggest(&[curve], Rule::Knee), None);
        }
        assert_eq!(Reading::of(&sweep(End::Diverged, |_| f64::NAN)), None);
        assert_eq!(suggest(&[], Rule::Knee), None);
        assert_eq!(suggest(&[sweep(End::Interrupted, valley)], Rule::Knee), None);
    }
}
