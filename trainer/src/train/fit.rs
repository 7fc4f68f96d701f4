//! The loop of a run: update, evaluate, sample, save, until it is done or has a reason to stop.

use std::time::{Duration, Instant};

use super::interrupt;
use super::log::{Line, Log};
use super::run::Run;
use super::trainer::StepReport;
use crate::doctor::live::Watch;
use crate::error::{Error, Result};
use crate::observe;
use crate::observe::record::Record;
use crate::optim::converge::StopReason;
use crate::progress::Progress;

/// Time between checkpoints when no number of steps is set.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(30);

/// How the loop ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// All updates were made.
    Finished,
    /// There was nothing more to learn.
    Converged(StopReason),
    /// Ctrl-C; everything is saved.
    Interrupted,
}

/// Lets a run's present weights speak: one sample, as text.
pub type Sampler<'a> = &'a mut dyn FnMut(&mut Run) -> Result<String>;

/// Times that a run goes back to the same checkpoint, or from the same step, before it gives up.
const MAX_RETURNS: u32 = 3;

/// Trains `run` to its end. Every checkpoint is complete, so that the run can be killed at any moment.
///
/// An update whose loss or gradient is not finite is skipped. When three in a row would be, or when weights or other numbers
/// that stay are not finite, the run goes back to its newest checkpoint (or its beginning) and takes the same steps once more: what was
/// an accident of the machine does not come again, and the result is that of an undisturbed run. What comes a fourth time is
/// divergence, and ends the run.
///
/// A run that is observed is under the doctor's eyes, who warns once of each trouble.
///
/// # Errors
/// Divergence (the last good state is saved and named), or a damaged token cache.
pub fn fit(run: &mut Run, progress: &mut Progress, sample: Sampler<'_>) -> Result<Ending> {
    interrupt::install();
    let mut book = Book::open(run, run.trainer.steps())?;
    let mut returns = Returns::default();
    let mut saved = Instant::now();
    while run.trainer.steps() < run.stop_at {
        match advance(run, progress, &mut book, &mut saved, sample) {
            Ok(None) => {}
            Ok(Some(ending)) => return Ok(ending),
            Err(Error::Diverged(line)) => {
                let step = run.trainer.steps();
                let at = run.go_back()?;
                if !returns.may_go(step, at) {
                    return Err(diverged(run, &line));
                }
                let text = format!("{line}; the run goes back to its state after step {at}");
                progress.warn(&text);
                book = Book::open(run, at)?;
                book.note(at, &text);
            }
            Err(other) => return Err(other),
        }
    }
    Ok(Ending::Finished)
}

/// What is written down of a run, and the doctor who reads it meanwhile.
struct Book {
    log: Log,
    watch: Option<Watch>,
}

impl Book {
    /// The log of `run` up to `step`, without what came later.
    fn open(run: &Run, step: u64) -> Result<Self> {
        let log = Log::open(run.dir.path(), step)?;
        let observed = observe::every(run.settings.observe_every, run.total) > 0;
        Ok(Book { log, watch: if observed { Some(Watch::new(run)?) } else { None } })
    }

    fn update(&mut self, report: &StepReport) {
        let StepReport { step, loss, update, .. } = report;
        self.log.write(&Line::Step { step: *step, loss: *loss, lr: update.lr, grad_norm: update.grad_norm });
        if let Some(watch) = &mut self.watch {
            watch.update(*step, *loss, update);
        }
    }

    fn evaluation(&mut self, step: u64, val_loss: f64, tokens: u64, by_text: &[f64]) {
        self.log.write(&Line::Eval { step, val_loss, tokens, by_text });
        if let Some(watch) = &mut self.watch {
            watch.evaluation(step, val_loss);
        }
    }

    fn note(&mut self, step: u64, text: &str) {
        self.log.write(&Line::Note { step, text });
        if let Some(watch) = &mut self.watch {
            watch.note(step, text);
        }
    }

    /// Writes a look inside down, and gives the doctor's warnings.
    fn look(&mut self, record: Record) -> Vec<String> {
        self.log.observe(&record);
        self.watch.as_mut().map(|watch| watch.look(record)).unwrap_or_default()
    }
}

/// Where a run was in trouble last, and where it went back to.
#[derive(Default)]
struct Returns {
    trouble: Option<u64>,
    to: Option<u64>,
    times: u32,
}

impl Returns {
    /// Takes in that the run goes back from `trouble` to `to`. False when it has done so too often without getting on.
    fn may_go(&mut self, trouble: u64, to: u64) -> bool {
        let again = self.trouble.replace(trouble) == Some(trouble);
        let again = (self.to.replace(to) == Some(to)) || again;
        self.times = if again { self.times + 1 } else { 1 };
        self.times <= MAX_RETURNS
    }
}

/// One update and what is due after it; says how the run ended, if it did.
fn advance(
    run: &mut Run,
    progress: &mut Progress,
    book: &mut Book,
    saved: &mut Instant,
    sample: Sampler<'_>,
) -> Result<Option<Ending>> {
    let every = |setting: Option<u64>, step: u64| setting.is_some_and(|n| n > 0 && step.is_multiple_of(n));
    let observe = observe::every(run.settings.observe_every, run.total);
    let (report, record) = match observe::is_due(observe, run.trainer.steps() + 1, run.total) {
        true => run.trainer.observed_step(run.total).map(|(report, record)| (report, Some(record)))?,
        false => (run.trainer.step(run.total)?, None),
    };
    let step = report.step;
    let update = &report.update;
    book.update(&report);
    progress.step(&report);
    if let Some(record) = &record {
        progress.observed(record);
    }
    if let Some(text) = &update.note {
        // A skipped update has changed nothing; after a spike the state before it may be wanted.
        let kept = if update.skipped { String::new() } else { keep_last_good(run, step) };
        progress.warn(&format!("{text}{kept}"));
        book.note(step, text);
    }
    for line in record.map(|record| book.look(record)).unwrap_or_default() {
        let line = format!("doctor: {line}");
        progress.warn(&line);
        book.note(step, &line);
    }
    let mut stop = update.stop;
    if every(run.settings.eval_every, step) && step < run.total {
        stop = stop.or(evaluate(run, progress, book)?);
    }
    if (every(run.settings.sample_every, step) || progress.wants_sample()) && step < run.total {
        let text = sample(run)?;
        progress.sampled(step, &text);
        book.log.write(&Line::Sample { step, text: &text });
    }
    if let Some(complaint) = book.log.complaint() {
        progress.warn(&complaint);
    }
    let interrupted = interrupt::requested();
    let due = match run.settings.checkpoint_every.filter(|n| *n > 0) {
        Some(n) => step.is_multiple_of(n),
        None => saved.elapsed() >= CHECKPOINT_INTERVAL,
    };
    if interrupted || stop.is_some() || due || step == run.stop_at {
        save(run, progress)?;
        *saved = Instant::now();
    }
    if let Some(reason) = stop {
        book.note(step, &reason.to_string());
        return Ok(Some(Ending::Converged(reason)));
    }
    Ok((interrupted && step < run.total).then_some(Ending::Interrupted))
}

fn evaluate(run: &mut Run, progress: &mut Progress, book: &mut Book) -> Result<Option<StopReason>> {
    let step = run.trainer.steps();
    let most = run.settings.eval_tokens.unwrap_or(usize::MAX) as u64;
    let Some(found) = run.trainer.evaluate(most)? else { return Ok(None) };
    let (val_loss, tokens) = (found.mean(), found.counted);
    if !val_loss.is_finite()
        && let Some(what) = run.trainer.damage()
    {
        return Err(Error::Diverged(format!("validation loss is {val_loss} after step {step}: {what}")));
    }
    progress.evaluated(step, val_loss, &run.corpus.describe(&found));
    book.evaluation(step, val_loss, tokens, &found.by_text);
    Ok(run.trainer.observe_validation(val_loss))
}

/// A checkpoint that cannot be written must not cost the run; only at its end there is nothing to wait for.
///
/// # Errors
/// [`Error::Diverged`] for a state that is not worth saving.
fn save(run: &mut Run, progress: &mut Progress) -> Result<()> {
    run.unsaved = match run.save() {
        Err(error @ Error::Diverged(_)) => return Err(error),
        result => result.err().map(|error| error.to_string()),
    };
    match (&run.unsaved, run.dir.prune()) {
        (Some(error), _) => {
            progress.warn(&format!("{error}; the older checkpoints are intact and training goes on"));
        }
        (None, Err(error)) => {
            progress.warn(&format!("{error}; the checkpoint is saved, an older one stays too"))
        }
        (None, Ok(())) => {}
    }
    Ok(())
}

/// Puts the newest checkpoint, which is from before the trouble, out of reach of the pruning.
fn keep_last_good(run: &Run, step: u64) -> String {
    match run.dir.keep_newest(&format!("before-{step}.ckpt")) {
        Ok(Some(path)) => format!("; the last good state is kept in {}", path.display()),
        Ok(None) => String::new(),
        Err(error) => format!("; the last good state could not be kept apart ({error})"),
    }
}

/// Says where the last good state is: that of now if its numbers are finite, else the newest checkpoint.
fn diverged(run: &Run, line: &str) -> Error {
    let lr = run.trainer.config().descent.optim.lr;
    let lr = lr.map_or(String::new(), |lr| format!(" (now {lr})"));
    let line = format!("{line}. Lower lr{lr} or set clip_norm 1");
    let place =
        run.save().or_else(|_| run.dir.keep_newest("before-divergence.ckpt").map(Option::unwrap_or_default));
    match place {
        Ok(path) if path.as_os_str().is_empty() => {
            Error::Diverged(format!("{line}. There is no checkpoint yet"))
        }
        Ok(path) => Error::Diverged(format!("{line}. The last good state is in {}", path.display())),
        Err(error) => Error::Diverged(format!("{line}. The last good state could not be kept: {error}")),
    }
}
