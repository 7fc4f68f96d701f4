//! What a person sees while training: a bar on a terminal, a line now and then elsewhere. All on stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a log that is not a terminal gets a line.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Progress of one run.
pub struct Progress {
    bar: ProgressBar,
    plain: bool,
    quiet: bool,
    started: Instant,
    first_step: u64,
    total: u64,
    tokens: u64,
    loss: f64,
    printed: Option<Instant>,
}

impl Progress {
    /// Progress from `first_step` of `total` steps; silent if `quiet`.
    pub fn new(first_step: u64, total: u64, quiet: bool) -> Self {
        let plain = !quiet && !std::io::stderr().is_terminal();
        let target =
            if quiet || plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(8) };
        let bar = ProgressBar::with_draw_target(Some(total), target).with_position(first_step);
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}").expect("a valid template");
        bar.set_style(style.progress_chars("━╸─"));
        Progress {
            bar,
            plain,
            quiet,
            started: Instant::now(),
            first_step,
            total,
            tokens: 0,
            loss: f64::NAN,
            printed: None,
        }
    }

    /// After `step` updates in all: `loss` of the last batch, in nats per token, over `tokens` tokens.
    pub fn step(&mut self, step: u64, loss: f64, tokens: u64) {
        self.tokens += tokens;
        // A running mean, so that the figure can be read.
        self.loss = if self.loss.is_nan() { loss } else { 0.95 * self.loss + 0.05 * loss };
        let seconds = self.started.elapsed().as_secs_f64();
        let done = (step - self.first_step).max(1) as f64;
        let left = seconds / done * (self.total.saturating_sub(step)) as f64;
        let line = format!(
            "loss {:.3}  {} tok/s  {} left",
            self.loss,
            thousands(self.tokens as f64 / seconds.max(1e-9)),
            clock(left)
        );
        self.bar.set_position(step);
        self.bar.set_message(line.clone());
        let due = self.printed.is_none_or(|at| at.elapsed() >= PLAIN_INTERVAL);
        if self.plain && (due || step == self.total) {
            self.printed = Some(Instant::now());
            eprintln!("step {step}/{}  {line}", self.total);
        }
    }

    /// A line that stays, above the bar.
    pub fn note(&self, line: &str) {
        match (self.quiet, self.plain) {
            (true, _) => {}
            (false, true) => eprintln!("{line}"),
            (false, false) => self.bar.suspend(|| eprintln!("{line}")),
        }
    }

    /// A line of warning, which quiet runs show too.
    pub fn warn(&self, line: &str) {
        self.bar.suspend(|| eprintln!("warning: {line}"));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Tokens per second since the start.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
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
}
