//! Pictures of experiments.

use super::compare::{Comparison, Outcome};
use super::lr_find::Sweep;
use super::suggest::Suggestion;
use super::trial::{Ending, Point, Smooth};
use crate::plot::{Chart, panels};
use crate::progress::thousands;

/// Size of each panel, pixels.
const PANEL: (u32, u32) = (560, 400);

/// Loss against steps and against seconds of training: curves of all variants, smoothed, the mean over seeds; points are losses on the
/// validation part.
pub fn losses(title: &str, comparison: &Comparison) -> String {
    let chart = |x_label: &str, x: fn(&Point) -> f64| {
        let first = comparison.outcomes.iter().flat_map(|o| &o.runs).flat_map(|r| r.curve.points.first());
        let top = first.map(|p| p.loss).filter(|l| l.is_finite()).fold(f64::NEG_INFINITY, f64::max);
        let empty = Chart::new("", x_label, "loss, nats per token").size(PANEL.0, PANEL.1);
        let empty = if top.is_finite() { empty.top(1.05 * top) } else { empty };
        comparison.outcomes.iter().filter(|o| !o.runs.is_empty()).fold(empty, |chart, outcome| {
            let (curve, evals) = means(outcome);
            let at = |points: &[Point]| points.iter().map(|p| (x(p), p.loss)).collect();
            // All begin with the same loss, which is no result.
            let evals: Vec<Point> = evals.into_iter().filter(|p| p.step > 0).collect();
            chart.line(&name(outcome), at(&curve)).beside(at(&evals))
        })
    };
    panels(title, vec![chart("updates", |p| p.step as f64), chart("seconds of training", |p| p.seconds)])
}

fn name(outcome: &Outcome) -> String {
    let broke = outcome.runs.iter().any(|r| matches!(r.curve.ending, Ending::Diverged { .. }));
    format!("{}{}", outcome.variant.name, if broke { " (diverged)" } else { "" })
}

/// Smoothed losses and validation losses, each the mean over the runs that got so far.
fn means(outcome: &Outcome) -> (Vec<Point>, Vec<Point>) {
    let smoothed = outcome.runs.iter().map(|run| {
        let mut smooth = Smooth::over(run.curve.points.len() as u64);
        run.curve.points.iter().map(|p| Point { loss: smooth.take(p.loss), ..*p }).collect()
    });
    let smoothed: Vec<Vec<Point>> = smoothed.collect();
    let evals: Vec<Vec<Point>> = outcome.runs.iter().map(|run| run.curve.evals.clone()).collect();
    (mean(&smoothed), mean(&evals))
}

/// The mean of each place, as far as all runs have one.
fn mean(runs: &[Vec<Point>]) -> Vec<Point> {
    let shortest = runs.iter().map(Vec::len).min().unwrap_or(0);
    let n = runs.len() as f64;
    let at = |i: usize, of: fn(&Point) -> f64| runs.iter().map(|r| of(&r[i])).sum::<f64>() / n;
    (0..shortest)
        .map(|i| Point { step: runs[0][i].step, seconds: at(i, |p| p.seconds), loss: at(i, |p| p.loss) })
        .collect()
}

/// Loss against the rate of a range test, the suggestion marked and its range shaded.
pub fn range_test(title: &str, rate: &str, sweeps: &[Sweep], suggestion: Option<&Suggestion>) -> String {
    let first = sweeps.iter().map(|s| s.first_loss).fold(f64::NEG_INFINITY, f64::max);
    let mut chart =
        Chart::new(title, &format!("{rate} (each update takes a larger one)"), "loss, nats per token")
            .log_x()
            .size(720, 420)
            .top(1.3 * first);
    if let Some(s) = suggestion {
        chart = chart.band_x(s.low, s.high).mark_x(s.lr, &format!("suggested {}", short(s.lr)));
    }
    for sweep in sweeps {
        let of = |y: fn(&super::lr_find::Sample) -> f64| sweep.samples.iter().map(|s| (s.lr, y(s))).collect();
        let name =
            if sweeps.len() > 1 { format!("smoothed, seed {}", sweep.seed) } else { "smoothed".to_string() };
        let raw = if sweeps.len() > 1 { "" } else { "each batch" };
        chart = chart.thin(raw, of(|s| s.loss)).line(&name, of(|s| s.smooth));
    }
    chart.to_svg()
}

/// A rate in two digits: `0.012`, `3e-5`.
pub fn short(rate: f64) -> String {
    if !(rate.is_finite() && rate > 0.0) {
        return rate.to_string();
    }
    let digits = 1 - rate.log10().floor() as i32;
    match rate {
        r if r < 1e-4 => {
            let text = format!("{r:.1e}");
            text.replace(".0e", "e")
        }
        r if r < 1000.0 => {
            let text = format!("{r:.0$}", digits.max(0) as usize);
            if text.contains('.') {
                text.trim_end_matches('0').trim_end_matches('.').to_string()
            } else {
                text
            }
        }
        r => thousands(r).replace(',', ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short_and_can_be_read_back() {
        for (rate, text) in [
            (0.0123456, "0.012"),
            (3.04e-5, "3e-5"),
            (1.0, "1"),
            (0.5, "0.5"),
            (12.3, "12"),
            (1.26, "1.3"),
            (2e4, "20000"),
        ] {
            assert_eq!(short(rate), text);
            assert!((short(rate).parse::<f64>().unwrap() / rate - 1.0).abs() < 0.06);
        }
    }
}
