//! What a dashboard knows of a run, apart from how it is drawn.

use std::collections::VecDeque;

use super::curve::Curve;
use super::heat::Heat;
use crate::observe::record::Record;
use crate::progress::{Pace, Smooth, clock, thousands};
use crate::report::history::History;
use crate::train::trainer::StepReport;

/// Most notes that are kept.
const NOTES: usize = 200;

/// A run as it is shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// The run folder.
    pub(crate) name: String,
    /// Model, parameters, descent.
    pub(crate) about: String,
    /// Updates so far.
    pub(crate) step: u64,
    /// Updates of the whole run.
    pub(crate) total: u64,
    /// `19,300 tok/s`, `0:52 left`; empty before the first update of this sitting.
    pub(crate) speed: String,
    pub(crate) left: String,
    /// Smoothed training loss.
    pub(crate) training: Curve,
    /// Updates so far and loss, ascending.
    pub(crate) validation: Vec<(f64, f64)>,
    pub(crate) lr: Curve,
    pub(crate) grad_norm: Curve,
    pub(crate) heat: Heat,
    /// Updates so far, and what the model said then.
    pub(crate) sample: Option<(u64, String)>,
    pub(crate) notes: VecDeque<Note>,
    /// What is shown where only one of several has room.
    pub(crate) pane: Pane,
    /// Whether the newest quarter of the run fills the curves.
    pub(crate) zoomed: bool,
    /// Whether a sample was asked for and has not come yet.
    pub(crate) sample_wanted: bool,
    /// Whether the run stops after this update.
    pub(crate) stopping: bool,
    smooth: Smooth,
}

/// A line worth keeping.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Note {
    /// Updates so far.
    pub(crate) step: u64,
    pub(crate) text: String,
    /// Whether it is a warning of this sitting, which is said again on the normal screen.
    pub(crate) warning: bool,
}

/// Parts of the screen that take turns where it is small.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Pane {
    #[default]
    Gradients,
    Sample,
    Notes,
}

impl Pane {
    pub(crate) const ALL: [Pane; 3] = [Pane::Gradients, Pane::Sample, Pane::Notes];

    /// Its heading.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Pane::Gradients => "gradient norms",
            Pane::Sample => "sample",
            Pane::Notes => "notes",
        }
    }

    /// The next one, or the one before, in a ring.
    pub(crate) fn next(self, forward: bool) -> Pane {
        let at = Pane::ALL.iter().position(|p| *p == self).unwrap_or(0);
        Pane::ALL[(at + if forward { 1 } else { Pane::ALL.len() - 1 }) % Pane::ALL.len()]
    }
}

impl State {
    /// A run of `total` updates that stands after `step`.
    pub(crate) fn new(name: &str, about: &str, step: u64, total: u64) -> Self {
        State { name: one_line(name), about: one_line(about), step, total, ..State::default() }
    }

    /// Takes in what earlier sittings wrote down, up to where the run stands.
    pub(crate) fn replay(&mut self, history: &History, records: &[Record]) {
        let (now, last) = (self.step, self.step as f64);
        for update in history.updates.iter().filter(|u| u.step <= last) {
            self.curves(update.step as u64, update.loss, update.lr, update.grad_norm);
        }
        self.validation = history.evals.iter().copied().filter(|e| e.0 <= last && e.1.is_finite()).collect();
        records.iter().filter(|r| r.step <= now).for_each(|r| self.heat.push(r));
        if let Some((step, text)) = history.samples.iter().rfind(|s| s.0 <= now) {
            self.sampled(*step, text);
        }
        history.notes.iter().filter(|n| n.0 <= now).for_each(|(step, text)| self.note(*step, text, false));
    }

    /// After an update.
    pub(crate) fn stepped(&mut self, report: &StepReport, pace: &Pace) {
        if report.step <= self.step {
            self.take_back(report.step - 1);
        }
        self.step = report.step;
        let update = &report.update;
        self.curves(report.step, report.loss, f64::from(update.lr), f64::from(update.grad_norm));
        self.speed = format!("{} tok/s", thousands(pace.tokens_per_second()));
        self.left = format!("{} left", clock(pace.seconds_left()));
    }

    fn curves(&mut self, step: u64, loss: f64, lr: f64, grad_norm: f64) {
        self.training.push(step, self.smooth.take(loss));
        self.lr.push(step, lr);
        self.grad_norm.push(step, grad_norm);
    }

    /// A run went back to its state after `step`.
    fn take_back(&mut self, step: u64) {
        for curve in [&mut self.training, &mut self.lr, &mut self.grad_norm] {
            curve.take_back(step);
        }
        self.validation.retain(|e| e.0 <= step as f64);
        self.heat.take_back(step);
    }

    /// After an evaluation.
    pub(crate) fn evaluated(&mut self, step: u64, loss: f64) {
        if loss.is_finite() {
            self.validation.push((step as f64, loss));
        }
    }

    /// After an observed update.
    pub(crate) fn observed(&mut self, record: &Record) {
        self.heat.push(record);
    }

    /// After a sample.
    pub(crate) fn sampled(&mut self, step: u64, text: &str) {
        self.sample = Some((step, printable(text.trim_matches('\n'))));
        self.sample_wanted = false;
    }

    /// A warning.
    pub(crate) fn warned(&mut self, text: &str) {
        self.note(self.step, text, true);
    }

    fn note(&mut self, step: u64, text: &str, warning: bool) {
        if self.notes.len() == NOTES {
            self.notes.pop_front();
        }
        self.notes.push_back(Note { step, text: one_line(text), warning });
    }

    /// Warnings of this sitting, oldest first.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = &Note> {
        self.notes.iter().filter(|n| n.warning)
    }

    /// The best evaluation.
    pub(crate) fn best(&self) -> Option<(f64, f64)> {
        self.validation.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The updates that the curves show.
    pub(crate) fn shown(&self) -> (f64, f64) {
        let to = (self.step as f64).max(1.0);
        (if self.zoomed { (0.75 * to).floor() } else { 0.0 }, to)
    }
}

/// Text without what would move a terminal's cursor.
fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => '\n',
        '\t' => ' ',
        c if c.is_control() => '·',
        c => c,
    };
    text.chars().map(shown).collect()
}

fn one_line(text: &str) -> String {
    printable(text).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_model_cannot_command_a_terminal() {
        let mut state = State::new("run\u{1b}[2J", "", 0, 10);
        state.sampled(1, "\n\u{1b}]0;evil\u{7}\ta\r\nb\u{9b}1m\n");
        state.warned("two\nlines");
        assert_eq!(state.name, "run·[2J");
        assert_eq!(state.sample.unwrap().1, "·]0;evil· a·\nb·1m");
        assert_eq!(state.notes[0].text, "two lines");
    }

    #[test]
    fn panes_go_round_both_ways() {
        let there = Pane::ALL.into_iter().fold(Pane::Gradients, |p, _| p.next(true));
        assert_eq!((there, Pane::Gradients.next(false)), (Pane::Gradients, Pane::Notes));
    }

    #[test]
    fn notes_are_bounded_and_warnings_of_earlier_sittings_are_not_said_again() {
        let mut state = State::new("", "", 5, 10);
        let history = History { notes: vec![(3, "old".into()), (7, "lost".into())], ..History::default() };
        state.replay(&history, &[]);
        assert_eq!((state.notes.len(), state.warnings().count()), (1, 0));
        (0..2 * NOTES).for_each(|_| state.warned("new"));
        assert_eq!(state.notes.len(), NOTES);
    }
}
