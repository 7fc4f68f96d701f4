//! What a person sees while training: a dashboard or a bar on a terminal, a line now and then elsewhere, or nothing. All on stderr.

mod plain;
mod reading;

use std::time::Instant;

use crate::dashboard::Dashboard;
use crate::error::Result;
use crate::observe::record::Record;
use crate::train::run::Run;
use crate::train::trainer::StepReport;
use plain::Plain;
pub use reading::{Counter, Reading, peak_memory};

/// Progress of one run.
pub struct Progress {
    pace: Pace,
    display: Display,
}

/// Where progress is shown.
enum Display {
    /// Nothing, not even warnings: for runs that are an experiment, whose log tells what happened.
    Muted,
    Quiet,
    Plain(Plain),
    Dashboard(Dashboard),
}

impl Progress {
    /// Progress from `first_step` of `total` steps, as a bar on a terminal and as lines elsewhere; silent if `quiet`.
    pub fn new(first_step: u64, total: u64, quiet: bool) -> Self {
        let display = if quiet { Display::Quiet } else { Display::Plain(Plain::new(first_step, total)) };
        Progress { pace: Pace::new(first_step, total), display }
    }

    /// No word, not even a warning: for runs that are an experiment, whose log tells what happened.
    pub fn muted(first_step: u64, total: u64) -> Self {
        Progress { pace: Pace::new(first_step, total), display: Display::Muted }
    }

    /// Progress of `run` on a dashboard, which takes the whole terminal until [`Progress::finish`], or until this is dropped.
    ///
    /// # Errors
    /// There is no terminal, or none that suits ([`crate::dashboard::suits`]); a log that cannot be read.
    pub fn dashboard(run: &Run) -> Result<Self> {
        let pace = Pace::new(run.trainer.steps(), run.total);
        Ok(Progress { pace, display: Display::Dashboard(Dashboard::open(run)?) })
    }

    /// After an update.
    pub fn step(&mut self, report: &StepReport) {
        self.pace.take(report.step, report.loss, report.tokens);
        match &mut self.display {
            Display::Muted | Display::Quiet => {}
            Display::Plain(plain) => plain.step(&self.pace),
            Display::Dashboard(dashboard) => dashboard.step(report, &self.pace),
        }
    }

    /// After `step` pieces of work that is no run: `loss` in nats per token over `tokens` tokens.
    pub fn count(&mut self, step: u64, loss: f64, tokens: u64) {
        self.pace.take(step, loss, tokens);
        if let Display::Plain(plain) = &mut self.display {
            plain.step(&self.pace);
        }
    }

    /// After an evaluation: `val_loss` on the validation part, in nats per token; `more` is said after it.
    pub fn evaluated(&mut self, step: u64, val_loss: f64, more: &str) {
        match &mut self.display {
            Display::Muted | Display::Quiet => {}
            Display::Plain(plain) => {
                plain.line(&format!("step {step:>6}  validation loss {val_loss:.4}{more}"))
            }
            Display::Dashboard(dashboard) => dashboard.update(|state| state.evaluated(step, val_loss)),
        }
    }

    /// The model has said `text`.
    pub fn sampled(&mut self, step: u64, text: &str) {
        match &mut self.display {
            Display::Muted | Display::Quiet => {}
            Display::Plain(plain) => plain.line(&format!("\n{}\n", text.trim_matches('\n'))),
            Display::Dashboard(dashboard) => dashboard.update(|state| state.sampled(step, text)),
        }
    }

    /// An update was observed.
    pub fn observed(&mut self, record: &Record) {
        if let Display::Dashboard(dashboard) = &mut self.display {
            dashboard.update(|state| state.observed(record));
        }
    }

    /// A warning, which quiet runs show too.
    pub fn warn(&mut self, line: &str) {
        match &mut self.display {
            Display::Muted => {}
            Display::Quiet => eprintln!("warning: {line}"),
            Display::Plain(plain) => plain.line(&format!("warning: {line}")),
            Display::Dashboard(dashboard) => dashboard.update(|state| state.warned(line)),
        }
    }

    /// Whether somebody asked for a sample since this was last called.
    pub fn wants_sample(&mut self) -> bool {
        matches!(&mut self.display, Display::Dashboard(dashboard) if dashboard.wants_sample())
    }

    /// Takes bar or dashboard away; warnings that only a dashboard has shown are printed then.
    pub fn finish(&mut self) {
        match &mut self.display {
            Display::Muted | Display::Quiet => {}
            Display::Plain(plain) => plain.finish(),
            Display::Dashboard(dashboard) => {
                dashboard.close().iter().for_each(|line| eprintln!("warning: {line}"));
            }
        }
    }

    /// How fast it goes.
    #[cfg(test)]
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Tokens per second since the start.
    pub fn tokens_per_second(&self) -> f64 {
        self.pace.tokens_per_second()
    }
}

/// How fast a run goes.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    started: Instant,
    first_step: u64,
    /// Updates so far.
    pub(crate) step: u64,
    /// Updates of the whole run.
    pub(crate) total: u64,
    tokens: u64,
    loss: Smooth,
}

impl Pace {
    fn new(first_step: u64, total: u64) -> Self {
        let (started, loss) = (Instant::now(), Smooth::default());
        Pace { started, first_step, step: first_step, total, tokens: 0, loss }
    }

    fn take(&mut self, step: u64, loss: f64, tokens: u64) {
        self.step = step;
        self.tokens += tokens;
        self.loss.take(loss);
    }

    /// Time since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub(crate) fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.seconds().max(1e-9)
    }

    /// Time that the rest takes, if it goes on like this.
    pub(crate) fn seconds_left(&self) -> f64 {
        let done = self.step.saturating_sub(self.first_step).max(1) as f64;
        self.seconds() / done * self.total.saturating_sub(self.step) as f64
    }
}

/// A running mean over about twenty values, so that a figure can be read. What is not finite is left out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Smooth {
    sum: f64,
    weight: f64,
}

impl Smooth {
    /// Takes a value in and gives the mean.
    pub(crate) fn take(&mut self, value: f64) -> f64 {
        if value.is_finite() {
            (self.sum, self.weight) = (0.95 * self.sum + value, 0.95 * self.weight + 1.0);
        }
        self.mean()
    }

    /// The mean; NaN before the first value.
    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.weight
    }
}

/// `12345.6` as `12,346`.
pub fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Seconds as `m:ss` or `h:mm:ss`.
pub fn clock(seconds: f64) -> String {
    let s = seconds.clamp(0.0, 1e9) as u64;
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        h => format!("{h}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!(thousands(1234567.4), "1,234,567");
        assert_eq!(thousands(999.0), "999");
        assert_eq!(clock(59.9), "0:59");
        assert_eq!(clock(3661.0), "1:01:01");
        assert_eq!(clock(f64::NAN), "0:00");
    }

    #[test]
    fn a_running_mean_begins_at_the_first_value_and_passes_over_what_is_not_finite() {
        let mut smooth = Smooth::default();
        assert!(smooth.mean().is_nan());
        assert_eq!(smooth.take(4.0), 4.0);
        assert_eq!(smooth.take(f64::NAN), 4.0);
        assert!((smooth.take(2.0) - (0.95 * 4.0 + 2.0) / 1.95).abs() < 1e-12);
    }
}
