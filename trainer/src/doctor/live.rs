//! The doctor beside a run: at every look inside it asks the rules, and says each trouble once.
//!
//! It reads what the loop hands over, and changes nothing. A trouble is said only when it was found at two looks in a row, and
//! overfitting and vanishing not before a tenth of the run, so that what training overcomes by itself stays unsaid.

use std::collections::BTreeSet;

use super::case::Case;
use super::diagnose;
use super::finding::{Finding, Trouble, flags};
use crate::error::Result;
use crate::observe::record::Record;
use crate::report::history::Update;
use crate::train::descent;
use crate::train::run::Run;

/// Fewest updates before anything is said: everything is unsettled before.
const LEAST_UPDATES: u64 = 100;
/// Share of the run before which nothing is said, up to [`MOST_UPDATES`].
const SHARE: f64 = 0.1;
/// A long run is not left alone for longer than so many updates.
const MOST_UPDATES: u64 = 1000;

/// Watches a run.
pub(crate) struct Watch {
    case: Case,
    /// Troubles of the last look.
    seen: BTreeSet<Trouble>,
    told: BTreeSet<Trouble>,
}

impl Watch {
    /// A watch over `run`, which knows what its folder tells of the updates so far. What was found in them counts as told.
    ///
    /// # Errors
    /// Files of the run folder that cannot be read.
    pub(crate) fn new(run: &Run) -> Result<Self> {
        let case = Case::of(run)?;
        let found: BTreeSet<Trouble> = match is_early(&case) {
            true => BTreeSet::new(),
            false => diagnose(&case).into_iter().map(|f| f.trouble).collect(),
        };
        Ok(Watch { case, told: found.clone(), seen: found })
    }

    /// Takes in an update.
    pub(crate) fn update(&mut self, step: u64, loss: f64, update: &descent::Update) {
        let (lr, grad_norm) = (f64::from(update.lr), f64::from(update.grad_norm));
        self.case.history.updates.push(Update { step: step as f64, loss, lr, grad_norm });
    }

    /// Takes in an evaluation.
    pub(crate) fn evaluation(&mut self, step: u64, loss: f64) {
        self.case.history.evals.push((step as f64, loss));
    }

    /// Takes in a note.
    pub(crate) fn note(&mut self, step: u64, text: &str) {
        self.case.history.notes.push((step, text.to_string()));
    }

    /// Takes in a look inside; a line for each trouble that is there for the second time in a row and was not told yet.
    pub(crate) fn look(&mut self, record: Record) -> Vec<String> {
        self.case.records.push(record);
        if is_early(&self.case) {
            return Vec::new();
        }
        let findings = diagnose(&self.case);
        let again = |f: &&Finding| self.seen.contains(&f.trouble) && !self.told.contains(&f.trouble);
        let fresh: Vec<&Finding> = findings.iter().filter(again).collect();
        self.told.extend(fresh.iter().map(|f| f.trouble));
        let lines = fresh.into_iter().map(line).collect();
        self.seen = findings.iter().map(|f| f.trouble).collect();
        lines
    }
}

fn is_early(case: &Case) -> bool {
    let share = (SHARE * case.total as f64) as u64;
    case.steps() < LEAST_UPDATES.max(share.min(MOST_UPDATES)).max(case.warmup().min(case.total / 2))
}

/// A finding as one line.
fn line(finding: &Finding) -> String {
    let place = if finding.place.is_empty() { String::new() } else { format!(" in {}", finding.place) };
    let flags = flags(&finding.remedy);
    let remedy = if flags.is_empty() { finding.advice.clone() } else { format!("try {flags}") };
    format!("{}{place}: {}; {remedy}", finding.trouble.name(), finding.evidence)
}
