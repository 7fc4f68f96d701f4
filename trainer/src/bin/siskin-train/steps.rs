//! A bar over the tensors of a model.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use siskin_trainer::progress::Counter;

/// From when on it is worth a bar.
const LONG: Duration = Duration::from_secs(1);

/// Progress through the tensors of a model, one stage after the other.
pub struct Steps {
    started: Instant,
    stage: &'static str,
    done: usize,
    counter: Option<Counter>,
}

impl Steps {
    /// Nothing is done yet, and nothing shown in the first second.
    pub fn new() -> Self {
        Steps { started: Instant::now(), stage: "", done: 0, counter: None }
    }

    /// `at` of `of` tensors of a stage are through.
    pub fn at(&mut self, stage: &'static str, at: usize, of: usize) {
        if stage != self.stage || at < self.done {
            self.finish();
            (self.stage, self.done) = (stage, 0);
        }
        if self.started.elapsed() >= LONG && std::io::stderr().is_terminal() {
            let counter = self.counter.get_or_insert_with(|| Counter::new(of as u64, stage));
            (self.done..at).for_each(|_| counter.step());
            self.done = at;
        }
    }

    /// Takes the bar away.
    pub fn finish(&mut self) {
        if let Some(counter) = self.counter.take() {
            counter.finish();
        }
    }
}
