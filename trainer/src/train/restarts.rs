//! Several beginnings, of which the best goes on: a remedy against a start that leads into a poor minimum.
//!
//! `restarts = N` seeds train the first `restart_share` of the same schedule, one after the other; the one whose validation loss is lowest
//! then goes on to the end. With a share of 1 every seed is trained whole, and the best is kept. It is successive halving with one rung
//! (Jamieson & Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", 2016). The budget holds all of it: with
//! `T` updates of the run that is kept and `R = ⌈share · T⌉` of each beginning, `T + (N − 1) R` updates are made in all.
//!
//! Each beginning is an ordinary run in the folder `restarts/seed-S` of the run, with its own checkpoints: it can be killed at any moment,
//! resumed by itself, looked at, or compared by `landscape --between`. The run itself begins, with its first checkpoint, as the state of the
//! best; from then on it knows no difference to a run of that seed alone, and ends with the same weights.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::fit::{Ending, Sampler, fit};
use super::log::{self, Line, Log};
use super::run::{Notes, Run};
use crate::checkpoint::write_atomic;
use crate::error::{Error, Result};
use crate::observe::record;
use crate::progress::Progress;
use crate::settings::Settings;

/// Name of the plan in a run folder.
const FILE: &str = "restarts.json";
/// The folder of the beginnings in a run folder.
const FOLDER: &str = "restarts";

/// What a run needs to be prepared again, before it has a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) texts: Vec<PathBuf>,
    pub(super) text_hash: u64,
    pub(super) export: PathBuf,
    pub(super) total: u64,
}

impl Plan {
    /// That of the run in `dir`, if it was started with several beginnings.
    pub(super) fn read(dir: &Path) -> Result<Option<Plan>> {
        let path = dir.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let damaged = |e| Error::Run(format!("{} is not a plan of restarts: {e}", path.display()));
        serde_json::from_str(&text).map(Some).map_err(damaged)
    }

    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        write_atomic(&dir.join(FILE), serde_json::to_string(self).expect("plain data").as_bytes())
    }
}

/// How many seeds begin, and which share of the run each beginning takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restarts {
    n: u64,
    share: f64,
}

impl Restarts {
    /// What filled settings say; `None` for a single beginning.
    ///
    /// # Errors
    /// Numbers that cannot work.
    pub fn of(settings: &Settings) -> Result<Option<Restarts>> {
        let (n, share) = (settings.restarts.unwrap_or(1), settings.restart_share.unwrap_or(0.1));
        if !(1..=1000).contains(&n) {
            return Err(Error::Setting {
                key: "restarts",
                problem: format!("is {n}, expected 1 (off) to 1000 seeds"),
            });
        }
        if !(share > 0.0 && share <= 1.0) {
            let problem = format!("is {share}, expected above 0 and at most 1, such as 0.1");
            return Err(Error::Setting { key: "restart_share", problem });
        }
        Ok((n > 1).then_some(Restarts { n, share }))
    }

    /// The share of the budget that the run which is kept takes, its own beginning included.
    pub fn kept(self) -> f64 {
        1.0 / (1.0 + (self.n - 1) as f64 * self.share)
    }

    /// Updates of a beginning of a run of `total`.
    pub fn beginning(self, total: u64) -> u64 {
        ((self.share * total as f64).ceil() as u64).clamp(1, total.max(1))
    }

    /// Updates of the run that is kept, so that it and the beginnings of the other seeds fit into `budget` updates.
    ///
    /// # Errors
    /// A budget of fewer updates than seeds.
    pub fn whole(self, budget: u64) -> Result<u64> {
        if budget < self.n {
            let n = self.n;
            let problem = format!(
                "is {n}, but there are only {budget} updates for all of them: raise steps or minutes"
            );
            return Err(Error::Setting { key: "restarts", problem });
        }
        let fits = |total: &u64| total + (self.n - 1) * self.beginning(*total) <= budget;
        let guess = (budget as f64 * self.kept()) as u64 + 1;
        Ok((1..=guess.min(budget)).rev().find(fits).unwrap_or(1))
    }
}

/// What became of a beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beginning {
    /// Its seed.
    pub seed: u64,
    /// Its validation loss, nats per token; infinite if it diverged.
    pub loss: f64,
}

/// Trains the beginnings of `run`, which has no checkpoint yet, as far as they are not trained, and makes it go on from the best. False when
/// Ctrl-C was pressed: everything is saved, and `resume` goes on.
///
/// # Errors
/// Nothing is held out to compare on, every beginning diverges, or the disk is full.
pub fn begin(
    run: &mut Run,
    restarts: Restarts,
    quiet: bool,
    sample: Sampler<'_>,
    note: Notes<'_>,
) -> Result<bool> {
    let first = run.settings.seed.unwrap_or(1);
    let beginning = restarts.beginning(run.total);
    note(&format!(
        "{} seeds begin with {beginning} of {} updates each; the best goes on",
        restarts.n, run.total
    ));
    let mut all = Vec::new();
    for i in 0..restarts.n {
        let seed = first.wrapping_add(i);
        let mut one = run.beginning(&folder(run.dir.path(), seed), seed, beginning)?;
        let mut progress = Progress::new(one.trainer.steps(), beginning, quiet);
        let ending = fit(&mut one, &mut progress, sample);
        progress.finish();
        let loss = match ending {
            Ok(Ending::Interrupted) => return Ok(false),
            Ok(_) => loss_of(&mut one)?,
            Err(Error::Diverged(why)) => {
                note(&format!("seed {seed}: {why}"));
                f64::INFINITY
            }
            Err(other) => return Err(other),
        };
        if let Some(why) = &one.unsaved {
            return Err(Error::Run(format!(
                "the beginning of seed {seed} is not saved: {why}; make room and resume"
            )));
        }
        note(&format!(
            "seed {seed} ({} of {}): validation loss {loss:.4} after {} updates",
            i + 1,
            restarts.n,
            one.trainer.steps()
        ));
        all.push(Beginning { seed, loss });
    }
    go_on_from_best(run, &all, beginning, note)?;
    Ok(true)
}

/// Loss on the tokens of an evaluation while training.
fn loss_of(run: &mut Run) -> Result<f64> {
    let most = run.settings.eval_tokens.unwrap_or(usize::MAX) as u64;
    let loss = run.trainer.evaluate(most)?.ok_or_else(|| Error::Setting {
        key: "restarts",
        problem: "compares validation losses, but nothing is held out: set val_fraction".into(),
    })?;
    let loss = loss.mean();
    Ok(if loss.is_nan() { f64::INFINITY } else { loss })
}

fn folder(run: &Path, seed: u64) -> PathBuf {
    run.join(FOLDER).join(format!("seed-{seed}"))
}

/// The best beginning: of equal ones the first.
pub fn best(all: &[Beginning], maximize: bool) -> Option<Beginning> {
    let finite = all.iter().copied().filter(|b| b.loss.is_finite());
    let key = |b: &Beginning| if maximize { -b.loss } else { b.loss };
    finite.min_by(|a, b| key(a).total_cmp(&key(b)))
}

/// Gives `run` the state and the log of the best beginning, and saves it.
fn go_on_from_best(run: &mut Run, all: &[Beginning], beginning: u64, note: Notes<'_>) -> Result<()> {
    let maximize = run.trainer.config().descent.optim.maximize;
    let best = best(all, maximize).ok_or_else(|| {
        Error::Diverged(format!("all {} beginnings diverged: lower lr or set clip_norm 1", all.len()))
    })?;
    let from = folder(run.dir.path(), best.seed);
    run.continue_from(&from, best.seed)?;
    let step = run.trainer.steps();
    for name in [log::FILE, record::FILE] {
        let bytes = match std::fs::read(from.join(name)) {
            Ok(bytes) => bytes,
            Err(_) => continue, // the log is no reason to stop
        };
        write_atomic(&run.dir.path().join(name), &bytes)?;
    }
    let mut log = Log::open(run.dir.path(), step)?;
    for one in all {
        let chosen = one.seed == best.seed;
        log.write(&Line::Restart { step, seed: one.seed, val_loss: one.loss, updates: beginning, chosen });
    }
    run.save()?;
    let more = run.total - step;
    note(&format!("seed {} goes on: {more} more updates", best.seed));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restarts(n: u64, share: f64) -> Restarts {
        let settings = Settings { restarts: Some(n), restart_share: Some(share), ..Default::default() };
        Restarts::of(&settings).unwrap().unwrap()
    }

    #[test]
    fn everything_fits_into_the_budget_and_fills_it() {
        for (n, share, budget) in [(4, 0.1, 1000), (2, 1.0, 1000), (3, 1.0, 100), (8, 0.05, 333), (5, 0.2, 5)]
        {
            let r = restarts(n, share);
            let used = |total: u64| total + (n - 1) * r.beginning(total);
            let total = r.whole(budget).unwrap();
            assert!(used(total) <= budget && used(total + 1) > budget, "{n} {share} {budget}: {total}");
        }
        assert_eq!((restarts(4, 0.1).whole(1300).unwrap(), restarts(4, 0.1).beginning(1000)), (1000, 100));
        assert!(restarts(4, 0.1).whole(3).unwrap_err().to_string().contains("only 3 updates"));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let line = |n, share| {
            let settings = Settings { restarts: Some(n), restart_share: Some(share), ..Default::default() };
            Restarts::of(&settings).unwrap_err().to_string()
        };
        assert!(line(0, 0.1).contains("expected 1 (off) to 1000"));
        for share in [0.0, 1.5, f64::NAN] {
            assert!(line(2, share).starts_with("restart_share: is "), "{share}");
        }
        assert_eq!(Restarts::of(&Settings::default()).unwrap(), None);
    }

    #[test]
    fn the_lowest_finite_loss_wins() {
        let all =
            [3.0, f64::INFINITY, 2.0, 2.0].iter().zip(5..).map(|(&loss, seed)| Beginning { seed, loss });
        let all: Vec<Beginning> = all.collect();
        assert_eq!(best(&all, false).map(|b| b.seed), Some(7));
        assert_eq!(best(&all, true).map(|b| b.seed), Some(5));
        assert_eq!(best(&all[1..2], false), None);
    }
}
