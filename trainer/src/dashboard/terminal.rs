//! The terminal: taken whole for a dashboard, and given back in every case: at the end, on Ctrl-C, on a panic, on suspension.

use std::io::{self, IsTerminal, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::crossterm::{cursor, execute, terminal};

use crate::error::{Error, Result};

/// Smallest terminal that a dashboard begins on, columns and rows.
const LEAST: (u16, u16) = (40, 10);

/// Whether the terminal is ours.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// A terminal that is drawn on.
pub(super) type Screen = Terminal<CrosstermBackend<Stderr>>;

/// Whether a dashboard can be shown; if not, why. It needs stderr and stdin to be a terminal of at least 40 columns and 10 rows, in whose
/// foreground this program runs.
///
/// # Errors
/// What is missing.
pub fn suits() -> Result<()> {
    why_not().map_err(|why| Error::Run(format!("no dashboard: {why}; use --plain")))
}

fn why_not() -> std::result::Result<(), String> {
    if !io::stderr().is_terminal() || !io::stdin().is_terminal() {
        return Err("standard error and standard input are not both a terminal".to_string());
    }
    if std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty()) {
        return Err("TERM names no terminal that can be drawn on".to_string());
    }
    if !is_foreground() {
        return Err("the program runs in the background".to_string());
    }
    let (columns, rows) = terminal::size().map_err(|e| format!("the terminal tells no size ({e})"))?;
    if columns < LEAST.0 || rows < LEAST.1 {
        return Err(format!(
            "the terminal has {columns} columns and {rows} rows, expected at least {} and {}",
            LEAST.0, LEAST.1
        ));
    }
    Ok(())
}

/// Takes the terminal.
///
/// # Errors
/// It cannot be switched.
pub(super) fn take() -> io::Result<Screen> {
    give_back_on_panic();
    terminal::enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    let screen = execute!(io::stderr(), EnterAlternateScreen, cursor::Hide)
        .and_then(|()| Terminal::new(CrosstermBackend::new(Stderr::default())));
    if screen.is_err() {
        give_back();
    }
    screen
}

/// Gives the terminal back, if it is taken. What is printed afterwards is on the normal screen.
pub(crate) fn give_back() {
    let mut stderr = io::stderr().lock(); // nobody draws while this is held
    if TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs nothing back.
        let _ = execute!(stderr, LeaveAlternateScreen, cursor::Show);
        let _ = terminal::disable_raw_mode();
    }
}

/// Whether a dashboard has the terminal, so that nobody else may print there.
pub(crate) fn is_taken() -> bool {
    TAKEN.load(Ordering::SeqCst)
}

fn give_back_on_panic() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
    });
}

/// What happens at the terminal within `time`, if anything.
///
/// # Errors
/// The terminal is gone.
pub(super) fn next_event(time: Duration) -> io::Result<Option<Event>> {
    if event::poll(time)? { event::read().map(Some) } else { Ok(None) }
}

/// Ctrl-Z: gives the terminal back, stops as any program does, and takes it again once this one runs in its foreground. Training goes on in the
/// background meanwhile; `ended` says that there is nothing to come back for.
///
/// # Errors
/// The terminal cannot be taken again.
pub(super) fn suspend(screen: &mut Screen, ended: impl Fn() -> bool) -> io::Result<()> {
    give_back();
    stop_process();
    while !is_foreground() && !ended() {
        std::thread::sleep(Duration::from_millis(100));
    }
    if !ended() {
        *screen = take()?;
    }
    Ok(())
}

#[cfg(unix)]
fn stop_process() {
    use rustix::process::{Signal, kill_current_process_group};
    // Refused where there is no job control: the program then goes on, which is right too.
    let _ = kill_current_process_group(Signal::TSTP);
    std::thread::sleep(Duration::from_millis(100)); // until the signal has stopped every thread
}

#[cfg(not(unix))]
fn stop_process() {}

/// Whether this program may read keys and switch modes; in the background either would stop it.
#[cfg(unix)]
fn is_foreground() -> bool {
    rustix::termios::tcgetpgrp(io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

#[cfg(not(unix))]
fn is_foreground() -> bool {
    true
}

/// Standard error, a whole picture at a time, and only while the terminal is ours.
#[derive(Default)]
pub(super) struct Stderr(Vec<u8>);

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut stderr = io::stderr().lock();
        let result = if is_taken() { stderr.write_all(&self.0) } else { Ok(()) };
        self.0.clear();
        result
    }
}
