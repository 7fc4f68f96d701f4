//! Standard output and standard error, and how a command fails.

use std::fmt;
use std::io::{self, IsTerminal, StdoutLock, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a command did not end well.
#[derive(Debug)]
pub enum Failure {
    /// The command line cannot be right; exit code 2.
    Usage(String),
    /// What was to be done could not be done; exit code 1.
    Failed(String),
    /// Nobody reads the output any more; exit code 0, as for `siskin run … | head`.
    BrokenPipe,
}

impl Failure {
    /// A failure: what, where, what to do.
    pub fn failed(message: impl fmt::Display) -> Failure {
        Failure::Failed(message.to_string())
    }
}

impl From<siskin::SamplerError> for Failure {
    fn from(error: siskin::SamplerError) -> Failure {
        match error {
            siskin::SamplerError::NoCandidate => Failure::failed(error),
            _ => Failure::Usage(error.to_string()),
        }
    }
}

impl From<siskin::Error> for Failure {
    fn from(error: siskin::Error) -> Failure {
        match error {
            siskin::Error::Sampler(error) => error.into(),
            siskin::Error::Stop(error) => Failure::Usage(error.to_string()),
            siskin::Error::ContextFull { position: 0, tokens, ctx } => Failure::Failed(format!(
                "the prompt has {tokens} tokens, the context {ctx} positions: shorten the prompt or raise --ctx"
            )),
            siskin::Error::Context { asked, max } => Failure::Failed(format!(
                "--ctx {asked} is more than the model's context of {max} positions: ask for at most {max}"
            )),
            siskin::Error::Budget { needed, max } => Failure::Failed(format!(
                "the session needs {}, but {} are left for it: choose a smaller --ctx",
                crate::units::bytes(needed as u64),
                crate::units::bytes(max as u64)
            )),
            error => Failure::failed(error),
        }
    }
}

/// Results: standard output, whose errors are failures and not panics.
pub struct Out {
    stdout: StdoutLock<'static>,
    ends_line: bool,
}

impl Out {
    /// Locks standard output.
    pub fn new() -> Out {
        Out { stdout: io::stdout().lock(), ends_line: true }
    }

    /// Writes text.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Writes bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if let Some(last) = bytes.last() {
            self.ends_line = *last == b'\n';
        }
        self.stdout.write_all(bytes).map_err(stdout_failure)
    }

    /// Writes a line.
    pub fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        self.text(&format!("{line}\n"))
    }

    /// Writes a JSON value, indented, as a line.
    pub fn json(&mut self, value: &serde_json::Value) -> Result<(), Failure> {
        self.line(format_args!("{value:#}"))
    }

    /// Shows what was written.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(stdout_failure)
    }

    /// Shows what was written; on a terminal ends an open line, so that what follows stands on its own.
    pub fn finish(&mut self) -> Result<(), Failure> {
        if !self.ends_line && io::stdout().is_terminal() {
            self.text("\n")?;
        }
        self.flush()
    }
}

fn stdout_failure(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        _ => Failure::Failed(format!("cannot write to standard output: {error}")),
    }
}

static QUIET: AtomicBool = AtomicBool::new(false);

/// Silences [`note`] and [`Progress`].
pub fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Whether standard error is silenced.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// A line for the reader of standard error; that nobody reads it is no failure.
pub fn note(line: impl fmt::Display) {
    if !is_quiet() {
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// The next useful command.
pub fn next(command: impl fmt::Display) {
    note(format_args!("next: {command}"));
}

/// The line that says why a command failed, whatever `--quiet` says.
pub fn error_line(message: &str) {
    // One line, whatever the message quotes.
    let message = message.replace('\n', " ");
    let _ = writeln!(io::stderr(), "error: {message}");
}

/// A line of progress that overwrites itself; only on terminals.
pub struct Progress {
    shown: bool,
    last: std::time::Instant,
}

impl Progress {
    /// Nothing shown yet.
    pub fn new() -> Progress {
        Progress { shown: false, last: std::time::Instant::now() }
    }

    /// Shows a line, a few times a second.
    pub fn show(&mut self, line: impl FnOnce() -> String) {
        if !is_quiet() && io::stderr().is_terminal() && self.last.elapsed().as_millis() >= 100 {
            let _ = write!(io::stderr(), "\r\x1b[K{}", line());
            self.last = std::time::Instant::now();
            self.shown = true;
        }
    }

    /// Removes the line.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
