//! What the losses alone tell: divergence, plateau, overfitting.

use super::case::{Case, mean};
use super::finding::{Finding, Severity, Trouble};
use super::{rate, remedy};
use crate::settings::Settings;

/// A run is judged by pieces of it; each piece's mean loss is far less noisy than a batch's.
const PIECES: usize = 20;
/// Fewest updates before losses are judged: less is the noise of single batches.
const LEAST_UPDATES: usize = 60;
/// The loss has risen when its last piece is above its lowest by this share and by this many nats; batches of a text differ by less.
const RISE: (f64, f64) = (0.1, 0.2);
/// Updates that were skipped, or from which a run went back, until it is no accident of the machine.
const ACCIDENTS: usize = 2;
/// A first loss below so many times an even guess is that of small weights; what is far above it later was thrown there.
const NEAR_EVEN: f64 = 1.2;
const FAR_ABOVE_EVEN: f64 = 1.5;
/// Share of updates at which the loss spikes (8 standard deviations, unless told otherwise) in an unstable run.
const SPIKES: f64 = 0.005;
/// Spikes that are nearer to each other are one.
const SPIKES_APART: u64 = 10;
/// A plateau at the unigram level ends when the loss is below it by this share: whoever has learnt one thing about order is below.
const BELOW_GUESSING: f64 = 0.03;
/// A loss below this share of that of the middle of the run still falls.
const FALLS: f64 = 0.98;
/// The validation loss has risen when it is above its best by this share ...
const VALIDATION_RISE: f64 = 0.03;
/// ... while the training loss fell by this share.
const TRAINING_FALL: f64 = 0.05;
/// Evaluations after the best until a rise is no chance.
const EVALS_AFTER_BEST: usize = 2;

/// Mean loss of each piece of the run, with the update at its end.
fn pieces(case: &Case) -> Vec<(u64, f64)> {
    let updates = &case.history.updates;
    let size = updates.len().div_ceil(PIECES).max(1);
    let piece = |p: &[crate::report::history::Update]| {
        (p.last().map_or(0, |u| u.step as u64), mean(p.iter().map(|u| u.loss)))
    };
    updates.chunks(size).map(piece).collect()
}

impl Case {
    /// Whether the run has learnt nothing but the frequencies of tokens, if that.
    pub(crate) fn stands_still(&self) -> bool {
        let late = self.loss(0.9..1.0);
        late.is_nan() || late >= (1.0 - BELOW_GUESSING) * self.guessing()
    }
}

pub(super) fn divergence(case: &Case) -> Option<Finding> {
    let (evidence, first_step, severity) =
        broken(case).or_else(|| risen(case)).or_else(|| lost(case)).or_else(|| spiking(case))?;
    let maximize = case.settings.maximize == Some(true);
    let (advice, remedy) = if maximize {
        (
            "descend: the run was told to raise the loss",
            Settings { maximize: Some(false), ..Default::default() },
        )
    } else {
        let remedy = Settings { clip_norm: Some(1.0), ..remedy::calmer_rate(case) };
        ("take a smaller rate and clip the gradient, so that no batch can throw the weights far", remedy)
    };
    Some(Finding {
        trouble: Trouble::Divergence,
        severity,
        place: String::new(),
        first_step,
        evidence,
        advice: advice.into(),
        remedy,
    })
}

type Seen = (String, u64, Severity);

/// Numbers that were not finite.
fn broken(case: &Case) -> Option<Seen> {
    let notes = &case.history.notes;
    let broke = |text: &str| text.contains("is skipped") || text.contains("goes back");
    let all: Vec<_> = notes.iter().filter(|(_, text)| broke(text)).collect();
    let first = all.first()?;
    (all.len() >= ACCIDENTS).then(|| {
        let what = first.1.split("; ").next().unwrap_or_default();
        (
            format!("{} updates could not be taken, the first because: {what}", all.len()),
            first.0,
            Severity::Ruins,
        )
    })
}

/// A training loss that has gone up and stayed there.
fn risen(case: &Case) -> Option<Seen> {
    if case.history.updates.len() < LEAST_UPDATES {
        return None;
    }
    let pieces = pieces(case);
    let (_, last) = *pieces.last()?;
    let lowest = pieces.iter().filter(|p| p.1.is_finite()).min_by(|a, b| a.1.total_cmp(&b.1))?;
    let risen = |loss: f64| loss > (1.0 + RISE.0) * lowest.1 && loss > lowest.1 + RISE.1;
    let first = pieces.iter().find(|p| p.0 > lowest.0 && risen(p.1))?;
    let worse = last >= case.guessing();
    risen(last).then(|| {
        let evidence =
            format!("the training loss rose from {:.2} (update {}) to {last:.2}", lowest.1, lowest.0);
        (evidence, first.0, if worse { Severity::Ruins } else { Severity::Hampers })
    })
}

/// A training loss that went far above an even guess, and has not come back below one by frequency.
fn lost(case: &Case) -> Option<Seen> {
    let start = case.history.updates.first()?.loss;
    if case.history.updates.len() < LEAST_UPDATES
        || start >= NEAR_EVEN * case.uniform()
        || !case.stands_still()
    {
        return None;
    }
    let first = pieces(case).into_iter().find(|p| p.1 > FAR_ABOVE_EVEN * case.uniform())?;
    let (top, late) = (pieces(case).iter().map(|p| p.1).fold(0.0, f64::max), case.loss(0.9..1.0));
    let evidence = format!(
        "the training loss went from {start:.2} up to {top:.2} and is at {late:.2}; an even guess gives {:.2}",
        case.uniform()
    );
    Some((evidence, first.0, Severity::Ruins))
}

/// Losses that jump again and again.
fn spiking(case: &Case) -> Option<Seen> {
    let spikes = case.history.notes.iter().filter(|(_, text)| text.contains("spiked to")).map(|n| n.0);
    let apart = |mut kept: Vec<u64>, step: u64| {
        if kept.last().is_none_or(|last| step >= last + SPIKES_APART) {
            kept.push(step);
        }
        kept
    };
    let (events, n) = (spikes.fold(Vec::new(), apart), case.history.updates.len());
    let often = events.len() >= 3 && events.len() as f64 > SPIKES * n as f64;
    often.then(|| {
        (format!("the loss spiked {} times in {n} updates", events.len()), events[0], Severity::Hampers)
    })
}

pub(super) fn plateau(case: &Case) -> Option<Finding> {
    let n = case.history.updates.len();
    let still_warming = case.steps() < 2 * case.warmup() && 2 * case.warmup() < case.total;
    // What is on its way and still falls has time to get there.
    let on_its_way = case.steps() < case.total && case.loss(0.9..1.0) < FALLS * case.loss(0.4..0.6);
    if n < LEAST_UPDATES || still_warming || on_its_way || !case.stands_still() {
        return None;
    }
    let (late, guessing) = (case.loss(0.9..1.0), case.guessing());
    let pieces = pieces(case);
    let first = pieces.iter().find(|p| p.1 < (1.0 + BELOW_GUESSING) * guessing).or(pieces.first())?;
    let ratio = rate::typical(case);
    let level = format!(
        "after {} updates the loss is {late:.2}; guessing by frequency alone gives {guessing:.2}",
        case.steps()
    );
    let (why, advice, remedy) = cause(case, ratio);
    Some(Finding {
        trouble: Trouble::Plateau,
        severity: Severity::Ruins,
        place: String::new(),
        first_step: first.0,
        evidence: format!("{level}; {why}"),
        advice: advice.into(),
        remedy,
    })
}

/// Why a run stands still: what shows it, what to do, and the settings for it.
fn cause(case: &Case, ratio: f64) -> (String, &'static str, Settings) {
    let seen = format!("a typical update changes {ratio:.0e} of a tensor");
    if 2 * case.warmup() > case.total {
        let warmup = Some((case.total / 20).clamp(1, 200));
        let why = format!("{seen}, and the warm-up of {} updates is most of the run", case.warmup());
        return (
            why,
            "shorten the warm-up to a small part of the run",
            Settings { warmup, ..Default::default() },
        );
    }
    if rate::is_idle(case) {
        return (seen, "raise the rate", remedy::scaled_rate(case, rate::boost(case)));
    }
    if case.settings.weight_decay.is_some_and(|decay| decay > 1.0) {
        let remedy = Settings { weight_decay: Some(0.1), ..Default::default() };
        return (
            format!("{seen}, and the weight decay is {}", case.settings.weight_decay.unwrap_or(0.0)),
            "decay the weights less",
            remedy,
        );
    }
    (
        seen,
        "take a smaller rate: the updates are large, and still nothing is learnt",
        remedy::calmer_rate(case),
    )
}

pub(super) fn overfitting(case: &Case) -> Option<Finding> {
    let evals = &case.history.evals;
    let (best_step, best) = case.history.best()?;
    let after: Vec<_> = evals.iter().filter(|e| e.0 > best_step).collect();
    let (_, last) = *evals.last()?;
    let rise = last / best - 1.0;
    let at = |step: f64| {
        let near = case.history.updates.iter().filter(|u| (u.step - step).abs() <= 25.0);
        mean(near.map(|u| u.loss))
    };
    let (train_then, train_now) = (at(best_step), case.loss(0.95..1.0));
    if after.len() < EVALS_AFTER_BEST
        || !rise.is_finite()
        || rise <= VALIDATION_RISE
        || train_now >= (1.0 - TRAINING_FALL) * train_then
    {
        return None;
    }
    let evidence = format!(
        "the validation loss rose from {best:.3} (update {best_step}) to {last:.3}, while the training loss fell from {train_then:.3} to {train_now:.3}"
    );
    let dropout = if case.settings.dropout.unwrap_or(0.0) < 0.2 { 0.2 } else { 0.4 };
    let remedy = Settings { dropout: Some(dropout), patience: Some(4), ..Default::default() };
    Some(Finding {
        trouble: Trouble::Overfitting,
        severity: Severity::Hampers,
        place: String::new(),
        first_step: best_step as u64,
        evidence,
        advice: "drop channels while training, stop when the validation loss rises, take a smaller model or, best of all, more text".into(),
        remedy,
    })
}
