//! The dashboard of a live run, on a terminal: curves, gradients by part, the newest sample, warnings.
//!
//! A thread of its own reads keys and draws, at most ten times a second, so that keys and a new size are answered while an update
//! takes long. Training only hands its figures over. Nothing that is shown or pressed changes a bit of the weights.

mod curve;
mod draw;
mod heat;
mod state;
pub(crate) mod terminal;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::error::{Error, Result};
use crate::observe::record;
use crate::progress::{Pace, thousands};
use crate::report::history::History;
use crate::train::interrupt;
use crate::train::run::Run;
use crate::train::trainer::StepReport;
use state::State;
use terminal::Screen;
pub use terminal::suits;

/// Least time between two pictures.
const INTERVAL: Duration = Duration::from_millis(100);
/// A key that is held down counts once: it must be silent for so long to count again.
const HELD: Duration = Duration::from_millis(700);
/// Most warnings that are said again on the normal screen.
const SAID_AGAIN: usize = 20;

/// A dashboard that is shown.
pub(crate) struct Dashboard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What training and drawing share.
struct Shared {
    state: Mutex<State>,
    /// Whether the state has changed since it was drawn.
    changed: AtomicBool,
    ended: AtomicBool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

impl Dashboard {
    /// Takes the terminal and shows `run`, with what earlier sittings wrote down.
    ///
    /// # Errors
    /// There is no terminal that suits; a log that cannot be read.
    pub(crate) fn open(run: &Run) -> Result<Self> {
        suits()?;
        let s = &run.settings;
        let said =
            |value: &Option<String>, otherwise: &str| value.as_deref().unwrap_or(otherwise).to_string();
        let about = format!(
            "{}, {} parameters, {} by {}",
            said(&s.model, "model"),
            thousands(run.trainer.n_params() as f64),
            said(&s.optimizer, "adam"),
            said(&s.schedule, "constant"),
        );
        let name = run.dir.path().display().to_string();
        let mut state = State::new(&name, &about, run.trainer.steps(), run.total);
        if state.step > 0 {
            state.replay(&History::read(run.dir.path())?, &record::read(run.dir.path())?);
        }
        let screen = terminal::take().map_err(|e| Error::Run(format!("no dashboard: {e}; use --plain")))?;
        let (state, [changed, ended]) = (Mutex::new(state), [true, false].map(AtomicBool::new));
        let shared = Arc::new(Shared { state, changed, ended });
        let theirs = Arc::clone(&shared);
        // A terminal that fails ends the dashboard, never the run.
        let watch = move || {
            if watch(&theirs, screen).is_err() {
                terminal::give_back();
            }
        };
        let thread = std::thread::Builder::new().name("dashboard".to_string()).spawn(watch);
        let thread = thread.inspect_err(|_| terminal::give_back());
        let thread = thread.map_err(|e| Error::Run(format!("no dashboard: {e}; use --plain")))?;
        Ok(Dashboard { shared, thread: Some(thread) })
    }

    /// Changes what is shown.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state());
        self.shared.changed.store(true, Ordering::Relaxed);
    }

    /// After an update.
    pub(crate) fn step(&mut self, report: &StepReport, pace: &Pace) {
        self.update(|state| state.stepped(report, pace));
    }

    /// Whether a sample is asked for.
    pub(crate) fn wants_sample(&self) -> bool {
        self.shared.state().sample_wanted
    }

    /// Gives the terminal back; gives the warnings that were only seen there, the first time.
    pub(crate) fn close(&mut self) -> Vec<String> {
        self.shared.ended.store(true, Ordering::SeqCst);
        let Some(thread) = self.thread.take() else { return Vec::new() };
        // It panics only with a message of its own.
        let _ = thread.join();
        terminal::give_back();
        let state = self.shared.state();
        let mut lines: Vec<String> = state.warnings().map(|n| n.text.clone()).take(SAID_AGAIN).collect();
        let more = state.warnings().count() - lines.len();
        if more > 0 {
            lines.push(format!("and {more} more, in {}/{}", state.name, crate::train::log::FILE));
        }
        lines
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.close();
    }
}

/// Reads keys and draws until the run ends.
fn watch(shared: &Shared, mut screen: Screen) -> std::io::Result<()> {
    let mut keys = Keys::default();
    let mut drawn: Option<Instant> = None;
    while !shared.has_ended() {
        let wait = drawn.map_or(Duration::ZERO, |at| INTERVAL.saturating_sub(at.elapsed()));
        match terminal::next_event(wait)? {
            Some(Event::Key(key)) => match keys.pressed(key) {
                Some(Press::Suspend) => {
                    terminal::suspend(&mut screen, || shared.has_ended())?;
                    shared.changed.store(true, Ordering::Relaxed);
                }
                Some(press) => press.act(shared),
                None => {}
            },
            Some(Event::Resize(..)) => shared.changed.store(true, Ordering::Relaxed),
            _ => {}
        }
        let stopping = interrupt::requested();
        if drawn.is_none_or(|at| at.elapsed() >= INTERVAL)
            && (shared.changed.swap(false, Ordering::Relaxed) || shared.state().stopping != stopping)
        {
            screen.draw(|frame| {
                let mut state = shared.state();
                state.stopping = stopping;
                draw::draw(&state, frame);
            })?;
            drawn = Some(Instant::now());
        } else if drawn.is_some_and(|at| at.elapsed() >= INTERVAL) {
            drawn = Some(Instant::now()); // nothing new: look again after another interval
        }
    }
    Ok(())
}

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Press {
    Stop,
    Sample,
    Pane { forward: bool },
    Zoom,
    Suspend,
}

impl Press {
    fn act(self, shared: &Shared) {
        let mut state = shared.state();
        match self {
            Press::Stop => {
                drop(state);
                interrupt::press();
            }
            Press::Sample => state.sample_wanted = true,
            Press::Pane { forward } => state.pane = state.pane.next(forward),
            Press::Zoom => state.zoomed = !state.zoomed,
            Press::Suspend => {}
        }
        shared.changed.store(true, Ordering::Relaxed);
    }
}

/// Keys, of which those that stop are not repeated while they are held down.
#[derive(Default)]
struct Keys {
    stopped: Option<Instant>,
}

impl Keys {
    fn pressed(&mut self, key: KeyEvent) -> Option<Press> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let press = match key.code {
            KeyCode::Char('c') if control => Press::Stop,
            KeyCode::Char('z') if control => Press::Suspend,
            _ if control => return None,
            KeyCode::Char('q' | 'Q') => Press::Stop,
            KeyCode::Char('s' | 'S') => Press::Sample,
            KeyCode::Char('z' | 'Z') => Press::Zoom,
            KeyCode::Tab | KeyCode::Right => Press::Pane { forward: true },
            KeyCode::BackTab | KeyCode::Left => Press::Pane { forward: false },
            _ => return None,
        };
        if press == Press::Stop {
            let before = self.stopped.replace(Instant::now());
            if before.is_some_and(|at| at.elapsed() < HELD) {
                return None;
            }
        }
        Some(press)
    }
}
