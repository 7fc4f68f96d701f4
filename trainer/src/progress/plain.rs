//! Progress without a dashboard: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Pace, clock, thousands};

/// How often a log that is not a terminal gets a line.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);

/// A bar, or lines.
pub(super) struct Plain {
    bar: ProgressBar,
    on_terminal: bool,
    printed: Option<Instant>,
}

impl Plain {
    pub(super) fn new(first_step: u64, total: u64) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let target = match on_terminal {
            true => ProgressDrawTarget::stderr_with_hz(8),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(total), target).with_position(first_step);
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}").expect("a valid template");
        bar.set_style(style.progress_chars("━╸─"));
        Plain { bar, on_terminal, printed: None }
    }

    pub(super) fn step(&mut self, pace: &Pace) {
        let line = format!(
            "loss {:.3}  {} tok/s  {} left",
            pace.loss.mean(),
            thousands(pace.tokens_per_second()),
            clock(pace.seconds_left())
        );
        self.bar.set_position(pace.step);
        let due = self.printed.is_none_or(|at| at.elapsed() >= INTERVAL);
        if !self.on_terminal && (due || pace.step == pace.total) {
            self.printed = Some(Instant::now());
            eprintln!("step {}/{}  {line}", pace.step, pace.total);
        }
        self.bar.set_message(line);
    }

    /// A line that stays, above the bar.
    pub(super) fn line(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
