//! Progress of what is not training: reading long texts, and many alike pieces of work.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plain::INTERVAL as PLAIN_INTERVAL;
use super::{clock, thousands};

/// From when on the reading of a text is worth a bar.
const READING_IS_LONG: Duration = Duration::from_secs(2);

/// Progress of reading a long text; what is done within a moment is not mentioned.
pub struct Reading {
    what: &'static str,
    total: u64,
    shown: bool,
    bar: Option<ProgressBar>,
    started: Instant,
    done: u64,
    /// Bytes that nobody had to read.
    skipped: u64,
    printed: Instant,
}

impl Reading {
    /// `what` is being done to `total` bytes; silent unless `shown`.
    pub fn new(what: &'static str, total: u64, shown: bool) -> Self {
        let now = Instant::now();
        Reading { what, total, shown, bar: None, started: now, done: 0, skipped: 0, printed: now }
    }

    /// `done` bytes in all were there before.
    pub fn skip(&mut self, done: u64) {
        self.skipped += done.saturating_sub(self.done);
        self.done = done;
    }

    /// `done` bytes in all are done.
    pub fn at(&mut self, done: u64) {
        self.done = done;
        if !self.shown || self.started.elapsed() < READING_IS_LONG {
            return;
        }
        if !std::io::stderr().is_terminal() {
            if self.printed.elapsed() >= PLAIN_INTERVAL {
                self.printed = Instant::now();
                eprintln!(
                    "{} {} of {} MB  {}",
                    self.what,
                    megabytes(done),
                    megabytes(self.total),
                    self.rate()
                );
            }
            return;
        }
        let line = format!("{} of {} MB  {}", megabytes(done), megabytes(self.total), self.rate());
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(self.total), ProgressDrawTarget::stderr_with_hz(8));
            let style = ProgressStyle::with_template("{prefix} {bar:24} {msg}").expect("a valid template");
            bar.set_style(style.progress_chars("━╸─"));
            bar.with_prefix(self.what)
        });
        bar.set_position(done);
        bar.set_message(line);
    }

    /// Takes the bar away; a line for those who waited.
    pub fn finish(self) -> Option<String> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let read = self.done - self.skipped.min(self.done);
        let long = self.started.elapsed() >= READING_IS_LONG && read > 0;
        (self.shown && long).then(|| {
            let seconds = self.started.elapsed().as_secs_f64();
            format!("{} {} MB took {} ({})", self.what, megabytes(read), clock(seconds), self.rate())
        })
    }

    fn rate(&self) -> String {
        let read = self.done.saturating_sub(self.skipped) as f64;
        let rate = read / self.started.elapsed().as_secs_f64().max(1e-9);
        let left = self.total.saturating_sub(self.done) as f64 / rate.max(1.0);
        let left = if left >= 1.0 { format!("  {} left", clock(left)) } else { String::new() };
        format!("{} MB/s{left}", thousands(rate / 1e6))
    }
}

fn megabytes(bytes: u64) -> String {
    thousands(bytes as f64 / 1e6)
}

/// Most resident memory of this process so far, bytes, where the system tells.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// Progress of many alike pieces of work, counted from any thread.
pub struct Counter {
    bar: ProgressBar,
    plain: bool,
    what: &'static str,
    printed: std::sync::Mutex<Instant>,
}

impl Counter {
    /// Counts up to `total` pieces, called `what`.
    pub fn new(total: u64, what: &'static str) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let target = if plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(8) };
        let bar = ProgressBar::with_draw_target(Some(total), target).with_message(what);
        let style =
            ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}  {eta} left").expect("a valid template");
        bar.set_style(style.progress_chars("━╸─"));
        Counter { bar, plain, what, printed: std::sync::Mutex::new(Instant::now()) }
    }

    /// One more is done.
    pub fn step(&self) {
        self.bar.inc(1);
        if self.plain
            && let Ok(mut printed) = self.printed.lock()
            && printed.elapsed() >= PLAIN_INTERVAL
        {
            *printed = Instant::now();
            eprintln!("{}/{} {}", self.bar.position(), self.bar.length().unwrap_or(0), self.what);
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
