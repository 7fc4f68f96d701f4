//! A remedy on trial: short runs side by side from the same start, with the run's own settings and with the remedy's.
//!
//! Same texts, tokenizer, seed and number of updates, so that schedules stretch alike; the runs differ in the remedy alone. One seed is one
//! throw: a difference of less than `NOTICEABLE` says nothing.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::case::Case;
use super::diagnose;
use super::finding::{Finding, Trouble, flags};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::plot::Chart;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::train::fit::fit;
use crate::train::run::{Meta, Notes, Run};

/// Folder of the short runs and the picture, inside the run's.
pub const FOLDER: &str = "doctor-try";
/// Remedies that are tried one by one.
const MOST: usize = 3;
/// Updates of a trial, unless said otherwise or the run is shorter.
const UPDATES: u64 = 300;
/// Most updates of a trial that is to show a trouble which came late.
const MOST_UPDATES: u64 = 2000;
/// Looks inside and evaluations of a trial.
const LOOKS: u64 = 40;
const EVALS: u64 = 10;
/// Share by which a loss must be lower to count as better: seeds alone differ by about as much.
const NOTICEABLE: f64 = 0.01;

/// The runs of a trial; the first is the run as it was.
#[derive(Debug, Serialize)]
pub struct Trial {
    /// Updates of each.
    pub steps: u64,
    /// The runs.
    pub arms: Vec<Arm>,
    /// The picture of their losses.
    pub picture: PathBuf,
}

/// One run of a trial.
#[derive(Debug, Serialize)]
pub struct Arm {
    /// `as it was`, or the flags of the remedy.
    pub name: String,
    /// The troubles that the remedy is for; none for the run as it was.
    pub treats: Vec<Trouble>,
    /// Updates that were made; fewer than the others' for a run that stopped or diverged.
    pub steps: u64,
    /// Training loss of the last tenth; `None` if it is not finite.
    pub training: Option<f64>,
    /// Best validation loss.
    pub best: Option<f64>,
    /// Validation loss at the end; the training loss where nothing is held out.
    pub last: Option<f64>,
    /// What the doctor finds in it.
    pub troubles: Vec<Trouble>,
    /// Why it ended before its time.
    pub ended: Option<String>,
    /// Wall-clock time, with evaluations.
    pub seconds: f64,
    #[serde(skip)]
    curve: Vec<(f64, f64)>,
}

/// Tries the remedies of `findings` on the run in `dir`, over `steps` updates (a few hundred when `None`).
///
/// # Errors
/// No remedy to try; texts that are gone or have changed, a folder that cannot be written.
pub fn run(dir: &Path, findings: &[Finding], steps: Option<u64>, note: Notes<'_>) -> Result<Trial> {
    let meta: Meta = Checkpoint::load_latest(dir)?.checkpoint.meta()?;
    let remedies = remedies(findings);
    if remedies.is_empty() {
        return Err(Error::Run("there is no remedy to try: no trouble was found".into()));
    }
    let steps = steps.unwrap_or_else(|| length(&meta, findings)).max(1);
    let folder = dir.join(FOLDER);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(Error::io("remove", &folder))?;
    }
    let own = (Settings::default(), Vec::new());
    let mut arms = Vec::new();
    for (i, (remedy, treats)) in std::iter::once(own).chain(remedies).enumerate() {
        let name = if i == 0 { "as it was".to_string() } else { flags(&remedy) };
        note(&format!("{steps} updates {}{name}", if i == 0 { "" } else { "with " }));
        arms.push(arm(&meta, name, treats, remedy, steps, &folder.join(format!("run-{i}")))?);
    }
    let picture = folder.join("losses.svg");
    crate::plot::save(&picture, &draw(&arms))?;
    Ok(Trial { steps, arms, picture })
}

/// The remedies of the findings, equal ones as one, the likeliest cause's first; with several, all of them together at last.
fn remedies(findings: &[Finding]) -> Vec<(Settings, Vec<Trouble>)> {
    let mut all: Vec<(Settings, Vec<Trouble>)> = Vec::new();
    for finding in findings.iter().filter(|f| f.remedy != Settings::default()) {
        match all.iter_mut().find(|(remedy, _)| *remedy == finding.remedy) {
            Some((_, treats)) => treats.push(finding.trouble),
            None => all.push((finding.remedy.clone(), vec![finding.trouble])),
        }
    }
    all.truncate(MOST);
    if all.len() > 1 {
        let together = all.iter().fold(Settings::default(), |sum, (remedy, _)| sum.or(remedy));
        let treats = all.iter().flat_map(|(_, treats)| treats.clone()).collect();
        all.push((together, treats));
    }
    all
}

/// Updates that show what was found: twice those until the latest trouble, within bounds.
fn length(meta: &Meta, findings: &[Finding]) -> u64 {
    let seen = findings.iter().map(|f| 2 * f.first_step).max().unwrap_or(0);
    seen.clamp(UPDATES, MOST_UPDATES).min(meta.total)
}

fn arm(
    meta: &Meta,
    name: String,
    treats: Vec<Trouble>,
    remedy: Settings,
    steps: u64,
    dir: &Path,
) -> Result<Arm> {
    let short = Settings {
        steps: Some(steps),
        eval_every: Some(steps.div_ceil(EVALS)),
        observe_every: Some(steps.div_ceil(LOOKS)),
        sample_every: Some(0),
        checkpoint_every: Some(steps),
        // The seed of the run is that of its best beginning: others would take a part of the updates.
        restarts: Some(1),
        ..Default::default()
    };
    let settings = Settings { minutes: None, ..short.or(&remedy).or(&meta.settings) };
    let started = Instant::now();
    let mut run = Run::start(&settings, &meta.texts, dir, Path::new("trial.siskin"), &|_| ())?;
    run.expect_text(meta.text_hash)?;
    let mut progress = Progress::muted(0, steps);
    let ended = match fit(&mut run, &mut progress, &mut |_| Ok(String::new())) {
        Ok(crate::train::fit::Ending::Interrupted) => return Err(Error::Run("stopped".into())),
        Ok(crate::train::fit::Ending::Converged(reason)) => Some(reason.to_string()),
        Ok(crate::train::fit::Ending::Finished) => None,
        Err(Error::Diverged(line)) => Some(line.split(". ").next().unwrap_or_default().to_string()),
        Err(error) => return Err(error),
    };
    let case = Case::of(&run)?;
    let made = run.trainer.steps();
    let diverged = ended.is_some() && made < steps && run.trainer.damage().is_some();
    let held_out =
        if diverged { None } else { run.trainer.evaluate(settings.eval_tokens.unwrap_or(16_384) as u64)? };
    drop(run);
    std::fs::remove_dir_all(dir).map_err(Error::io("remove", dir))?;
    let finite = |loss: f64| Some(loss).filter(|l| l.is_finite());
    let training = finite(case.loss(0.9..1.0));
    let validation = held_out.map(|loss| loss.mean());
    let mut evals = case.history.evals.clone();
    evals.extend(validation.map(|loss| (made as f64, loss)));
    let best = evals.iter().map(|e| e.1).filter(|l| l.is_finite()).reduce(f64::min);
    Ok(Arm {
        name,
        treats,
        steps: made,
        training,
        best,
        last: validation.map_or(training, finite),
        troubles: diagnose(&case).into_iter().map(|f| f.trouble).collect(),
        ended,
        seconds: started.elapsed().as_secs_f64(),
        curve: case.history.smoothed(),
    })
}

fn draw(arms: &[Arm]) -> String {
    let mut chart =
        Chart::new("The remedy on trial", "update", "training loss, nats per token").size(900, 460);
    for arm in arms {
        chart = chart.line(&arm.name, arm.curve.clone());
    }
    chart.to_svg()
}

/// What a trial says of a remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The loss is noticeably lower.
    Helped,
    /// No noticeable difference.
    Neither,
    /// The loss is noticeably higher.
    Harmed,
}

impl Trial {
    /// What the trial says of run number `index` beside the one as it was.
    pub fn verdict(&self, index: usize) -> Verdict {
        // A run without a finite loss is worse than any.
        let of = |arm: &Arm| arm.last.unwrap_or(f64::INFINITY);
        let (own, arm) = (of(&self.arms[0]), of(&self.arms[index]));
        match () {
            () if arm < own * (1.0 - NOTICEABLE) => Verdict::Helped,
            () if arm > own * (1.0 + NOTICEABLE) => Verdict::Harmed,
            () => Verdict::Neither,
        }
    }

    /// The run with the lowest loss among those that helped.
    pub fn best(&self) -> Option<&Arm> {
        let helped = (1..self.arms.len()).filter(|i| self.verdict(*i) == Verdict::Helped);
        let loss = |i: &usize| self.arms[*i].last.unwrap_or(f64::INFINITY);
        helped.min_by(|a, b| loss(a).total_cmp(&loss(b))).map(|i| &self.arms[i])
    }
}
