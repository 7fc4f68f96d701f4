//! Progress through the tensors of a model and the tokens of a text: a bar on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use siskin_trainer::progress::{Counter, clock};

/// From when on it is worth a bar.
const LONG: Duration = Duration::from_secs(1);
/// How often a log that is not a terminal gets a line.
const INTERVAL: Duration = Duration::from_secs(5);

/// Progress, one stage after the other.
pub struct Steps {
    started: Instant,
    /// Since when the stage goes on.
    since: Instant,
    stage: &'static str,
    done: usize,
    display: Display,
}

enum Display {
    Bar(Option<Counter>),
    Lines { to: Box<dyn Write>, every: Duration, said: Instant },
}

impl Steps {
    /// Nothing is done yet, and nothing shown in the first second.
    pub fn new() -> Self {
        match io::stderr().is_terminal() {
            true => Steps::with(Display::Bar(None)),
            false => Steps::lines(Box::new(io::stderr()), INTERVAL),
        }
    }

    /// A line after each interval.
    fn lines(to: Box<dyn Write>, every: Duration) -> Self {
        Steps::with(Display::Lines { to, every, said: Instant::now() })
    }

    fn with(display: Display) -> Self {
        let now = Instant::now();
        Steps { started: now, since: now, stage: "", done: 0, display }
    }

    /// `at` of `of` pieces of a stage, which names what is counted ("tensors written"), are through.
    pub fn at(&mut self, stage: &'static str, at: usize, of: usize) {
        if stage != self.stage || at < self.done {
            self.finish();
            (self.stage, self.done, self.since) = (stage, 0, Instant::now());
        }
        match &mut self.display {
            Display::Bar(_) if self.started.elapsed() < LONG => {}
            Display::Bar(counter) => {
                let counter = counter.get_or_insert_with(|| Counter::new(of as u64, stage));
                (self.done..at).for_each(|_| counter.step());
                self.done = at;
            }
            Display::Lines { to, every, said } => {
                self.done = at;
                if said.elapsed() < *every {
                    return;
                }
                *said = Instant::now();
                let left = match at {
                    0 => String::new(),
                    _ => {
                        let rest = of.saturating_sub(at) as f64 / at as f64;
                        format!("  {} left", clock(self.since.elapsed().as_secs_f64() * rest))
                    }
                };
                let _ = writeln!(to, "{at}/{of} {stage}{left}"); // nothing depends on who reads it
            }
        }
    }

    /// Takes the bar away.
    pub fn finish(&mut self) {
        if let Display::Bar(counter) = &mut self.display
            && let Some(counter) = counter.take()
        {
            counter.finish();
        }
    }
}

impl Drop for Steps {
    /// An error is printed where the bar was.
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(every: Duration) -> String {
        let log = Log::default();
        let mut steps = Steps::lines(Box::new(log.clone()), every);
        for at in 0..3 {
            steps.at("tensors written", at, 3);
        }
        steps.at("tokens measured", 512, 512);
        drop(steps);
        let said = log.0.lock().unwrap();
        String::from_utf8(said.clone()).unwrap()
    }

    #[test]
    fn what_is_no_terminal_gets_a_line_after_each_interval() {
        assert_eq!(
            log(Duration::ZERO),
            "0/3 tensors written\n1/3 tensors written  0:00 left\n2/3 tensors written  0:00 left\n\
             512/512 tokens measured  0:00 left\n"
        );
        assert_eq!(log(Duration::from_secs(600)), "", "what is done within a moment is not mentioned");
    }
}
