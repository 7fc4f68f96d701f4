//! The loop of a run: update, evaluate, sample, save, until it is done or has a reason to stop.

use std::time::{Duration, Instant};

use super::interrupt;
use super::log::{Line, Log};
use super::run::Run;
use crate::error::{Error, Result};
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

/// Trains `run` to its end. Every checkpoint is complete, so that the run can be killed at any moment.
///
/// # Errors
/// Divergence (the last good state is saved and named), or a damaged token cache.
pub fn fit(run: &mut Run, progress: &mut Progress, sample: Sampler<'_>) -> Result<Ending> {
    interrupt::install();
    let mut log = Log::open(run.dir.path(), run.trainer.steps())?;
    let mut saved = Instant::now();
    let every = |setting: Option<u64>, step: u64| setting.is_some_and(|n| n > 0 && step.is_multiple_of(n));
    while run.trainer.steps() < run.total {
        let report = match run.trainer.step(run.total) {
            Ok(report) => report,
            Err(Error::Diverged(line)) => return Err(diverged(run, &line)),
            Err(other) => return Err(other),
        };
        let step = report.step;
        let update = &report.update;
        log.write(&Line::Step { step, loss: report.loss, lr: update.lr, grad_norm: update.grad_norm });
        progress.step(step, report.loss, report.tokens);
        if let Some(text) = &update.note {
            progress.note(&format!("warning: {text}{}", keep_last_good(run, step)));
            log.write(&Line::Note { step, text });
        }
        let mut stop = update.stop;
        if every(run.settings.eval_every, step) && step < run.total {
            stop = stop.or(evaluate(run, progress, &mut log)?);
        }
        if every(run.settings.sample_every, step) && step < run.total {
            let text = sample(run)?;
            progress.note(&format!("\n{}\n", text.trim_matches('\n')));
            log.write(&Line::Sample { step, text: &text });
        }
        let interrupted = interrupt::requested();
        let due = match run.settings.checkpoint_every.filter(|n| *n > 0) {
            Some(n) => step.is_multiple_of(n),
            None => saved.elapsed() >= CHECKPOINT_INTERVAL,
        };
        if interrupted || stop.is_some() || due || step == run.total {
            save(run, progress);
            saved = Instant::now();
        }
        if let Some(reason) = stop {
            log.write(&Line::Note { step, text: &reason.to_string() });
            return Ok(Ending::Converged(reason));
        }
        if interrupted && step < run.total {
            return Ok(Ending::Interrupted);
        }
    }
    Ok(Ending::Finished)
}

fn evaluate(run: &mut Run, progress: &Progress, log: &mut Log) -> Result<Option<StopReason>> {
    let step = run.trainer.steps();
    let most = run.settings.eval_tokens.unwrap_or(usize::MAX) as u64;
    let Some(loss) = run.trainer.evaluate(most)? else { return Ok(None) };
    let (val_loss, tokens) = (loss.mean(), loss.counted as u64);
    progress.note(&format!("step {step:>6}  validation loss {val_loss:.4}"));
    log.write(&Line::Eval { step, val_loss, tokens });
    Ok(run.trainer.observe_validation(val_loss))
}

/// A checkpoint that cannot be written must not cost the run; only at its end there is nothing to wait for.
fn save(run: &mut Run, progress: &Progress) {
    run.unsaved = run.save().err().map(|error| error.to_string());
    if let Some(error) = &run.unsaved {
        progress.note(&format!("warning: {error}; the older checkpoints are intact and training goes on"));
    }
}

/// Puts the newest checkpoint, which is from before the trouble, out of reach of the pruning.
fn keep_last_good(run: &Run, step: u64) -> String {
    match run.dir.keep_newest(&format!("before-{step}.ckpt")) {
        Ok(Some(path)) => format!("; the last good state is kept in {}", path.display()),
        Ok(None) => String::new(),
        Err(error) => format!("; the last good state could not be kept apart ({error})"),
    }
}

/// Says where the last good state is: that of now if its weights are finite, else the newest checkpoint.
fn diverged(run: &Run, line: &str) -> Error {
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
