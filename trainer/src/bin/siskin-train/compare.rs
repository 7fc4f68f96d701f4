//! `compare`: variants of the settings side by side, as a table and one picture.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use siskin_trainer::experiment::compare::{Comparison, Listener, Outcome};
use siskin_trainer::experiment::flags::{config_flag, flags_of, texts};
use siskin_trainer::experiment::keep::Kept;
use siskin_trainer::experiment::picture;
use siskin_trainer::experiment::prepared::{Prepared, filled};
use siskin_trainer::experiment::presets;
use siskin_trainer::experiment::trial::{Ending, Observer, Plan, Point};
use siskin_trainer::experiment::unused::Command;
use siskin_trainer::experiment::variant::{Variant, expand};
use siskin_trainer::progress::{Progress, thousands};
use siskin_trainer::settings::presets::DEFAULT_MINUTES;
use siskin_trainer::settings::{Settings, read_toml};
use siskin_trainer::train::interrupt;
use siskin_trainer::train::trainer::{Evaluation, StepReport, Trainer};
use siskin_trainer::{Error, Result, plot};

use crate::args::CompareArgs;
use crate::table;

/// Updates of each training when neither steps nor minutes are said.
const STEPS: u64 = 300;
/// Evaluations of each training, and their tokens, when nothing is said.
const EVALS: u64 = 6;
const EVAL_TOKENS: usize = 8192;
/// Most seeds.
const MOST_SEEDS: u64 = 100;

pub fn compare(args: CompareArgs) -> Result<()> {
    let said = match &args.config {
        Some(path) => args.settings.or(&read_toml(path)?),
        None => args.settings.clone(),
    };
    Command::Compare.refuse_unused(&args.settings, &said)?;
    let seeds = seeds(&said, args.seeds)?;
    let minutes = budget(said.minutes.unwrap_or(DEFAULT_MINUTES))?;
    let by_steps = said.steps.or(said.minutes.is_none().then_some(STEPS));
    // The sets of schedules depend on the steps; whatever is wrong with any is said before the text is read.
    let (mut base, mut comparison) = prepare(&args, &said, by_steps)?;
    let data = Prepared::new(&args.texts, &filled(&base)?)?;
    note(args.quiet, &data.describe());
    let mut plan = plan(&said, by_steps.unwrap_or(STEPS));
    if by_steps.is_none() {
        plan = self::plan(&said, comparison.steps_for(&data, minutes, args.seeds, &plan)?);
        (base, comparison) = prepare(&args, &said, Some(plan.steps))?;
    }
    if plan.steps == 0 {
        return Err(Error::Setting { key: "steps", problem: "is 0, expected at least 1 update".into() });
    }
    if let Some(one) = comparison.outcomes.iter().find(|o| o.variant.drops_rate(&base, &comparison.base)) {
        let lr = base.lr.unwrap_or_default();
        note(args.quiet, &format!("lr {lr} is for another optimiser: {} takes its own", one.variant.name));
    }
    let trainings = comparison.outcomes.len() as u64 * args.seeds;
    let model = comparison.base.model.as_deref().unwrap_or("model");
    let (steps, threads) = (thousands(plan.steps as f64), threads(&comparison.base));
    note(
        args.quiet,
        &format!("{trainings} trainings of {model}, one after the other: {steps} steps each, {threads}"),
    );
    let mut show = Show { args: &args, data: &data, total: plan.steps, progress: None, kept: None };
    show.check_free(&comparison, &seeds)?;
    interrupt::install();
    let done = comparison.run(&data, &seeds, &plan, &mut show);
    show.finish_progress();
    done?;
    tell(&args, &said, &data, &comparison, &plan);
    Ok(())
}

/// The seeds of the trainings.
pub fn seeds(said: &Settings, n: u64) -> Result<Vec<u64>> {
    if !(1..=MOST_SEEDS).contains(&n) {
        return Err(Error::Setting { key: "seeds", problem: format!("is {n}, expected 1 to {MOST_SEEDS}") });
    }
    let first = said.seed.unwrap_or(1);
    Ok((0..n).map(|i| first.wrapping_add(i)).collect())
}

/// What is said for all trainings of `steps` updates, and the variants. A warm-up that nobody asked for takes at most a tenth of the steps.
fn prepare(args: &CompareArgs, said: &Settings, steps: Option<u64>) -> Result<(Settings, Comparison)> {
    let short = steps.unwrap_or(1000);
    let warmup = filled(said)?.warmup.map(|w| w.min(short / 10));
    let base = Settings { steps, warmup: said.warmup.or(warmup), ..said.clone() };
    let variants = variants(args, &filled(&base)?, short)?;
    let comparison = Comparison::new(&base, variants)?;
    Ok((base, comparison))
}

/// `1 thread`, `4 threads`.
fn threads(settings: &Settings) -> String {
    match settings.threads.unwrap_or(1) {
        1 => "1 thread".to_string(),
        n => format!("{n} threads"),
    }
}

fn variants(args: &CompareArgs, base: &Settings, steps: u64) -> Result<Vec<Variant>> {
    let mut all = match &args.preset {
        Some(preset) => presets::variants(preset, base, steps)?,
        None => Vec::new(),
    };
    if all.is_empty() || !(args.vary.is_empty() && args.variant.is_empty()) {
        all.extend(expand(&args.vary, &args.variant)?);
    }
    siskin_trainer::experiment::variant::limit(all.len())?;
    Ok(all)
}

fn plan(said: &Settings, steps: u64) -> Plan {
    let eval_every = said.eval_every.unwrap_or(steps.div_ceil(EVALS)).max(1);
    Plan { steps, eval_every, eval_tokens: said.eval_tokens.unwrap_or(EVAL_TOKENS) as u64 }
}

fn budget(minutes: f64) -> Result<f64> {
    if minutes.is_finite() && minutes > 0.0 {
        return Ok(minutes);
    }
    Err(Error::Setting { key: "minutes", problem: format!("is {minutes}, expected a positive number") })
}

/// What a person sees, and keeps, while variants are trained.
struct Show<'a> {
    args: &'a CompareArgs,
    data: &'a Prepared,
    total: u64,
    progress: Option<Progress>,
    kept: Option<Kept>,
}

impl Show<'_> {
    fn finish_progress(&mut self) {
        if let Some(mut progress) = self.progress.take() {
            progress.finish();
        }
    }

    /// Says that a folder is taken before anything is trained.
    fn check_free(&self, all: &Comparison, seeds: &[u64]) -> Result<()> {
        let Some(dir) = &self.args.out else { return Ok(()) };
        for outcome in &all.outcomes {
            for seed in seeds {
                let folder = self.folder(dir, &outcome.variant.name, *seed);
                if folder.exists() {
                    let path = folder.display();
                    return Err(Error::Run(format!(
                        "{path} holds a run already: name another folder by --out"
                    )));
                }
            }
        }
        Ok(())
    }

    /// `optimizer=sgd lr=0.5`, seed 2: `optimizer-sgd-lr-0.5-seed-2`.
    fn folder(&self, dir: &Path, name: &str, seed: u64) -> PathBuf {
        let keep = |c: char| if c.is_alphanumeric() || c == '.' { c } else { '-' };
        let slug: String = name.replace(", ", "-").chars().map(keep).collect();
        let seed = if self.args.seeds > 1 { format!("-seed-{seed}") } else { String::new() };
        dir.join(format!("{slug}{seed}"))
    }
}

impl Observer for Show<'_> {
    fn step(&mut self, report: &StepReport) {
        if let Some(progress) = &mut self.progress {
            progress.count(report.step, report.loss, report.tokens);
        }
        if let Some(kept) = &mut self.kept {
            kept.step(report);
        }
    }

    fn evaluated(&mut self, at: &Point, found: &Evaluation) {
        if let Some(kept) = &mut self.kept {
            kept.evaluated(at, found);
        }
    }
}

impl Listener for Show<'_> {
    fn begin(&mut self, outcome: &Outcome, seed: u64, steps: u64) -> Result<()> {
        self.total = steps;
        if let Some(dir) = &self.args.out {
            self.kept = Some(Kept::new(&self.folder(dir, &outcome.variant.name, seed))?);
        }
        self.progress = Some(Progress::new(0, steps, self.args.quiet));
        Ok(())
    }

    fn end(&mut self, all: &Comparison, index: usize, trainer: &Trainer) -> Result<()> {
        self.finish_progress();
        let outcome = &all.outcomes[index];
        let Some(run) = outcome.runs.last() else { return Ok(()) };
        let val = run.val.map_or(String::new(), |v| format!(", validation {v:.4}"));
        let state = match &run.curve.ending {
            Ending::Diverged { step, why } => format!("diverged at step {step} ({why})"),
            _ => format!("training loss {:.4}{val}, {:.1} s", run.curve.last_loss(), run.curve.seconds()),
        };
        let seed = if self.args.seeds > 1 { format!(", seed {}", run.seed) } else { String::new() };
        note(self.args.quiet, &format!("{}{seed}: {state}", outcome.variant.name));
        if let (Some(kept), Some(dir)) = (self.kept.take(), &self.args.out) {
            let folder = self.folder(dir, &outcome.variant.name, run.seed);
            let export = folder.with_extension("siskin").file_name().map(PathBuf::from).unwrap_or_default();
            let settings =
                Settings { seed: Some(run.seed), steps: Some(self.total), ..outcome.settings.clone() };
            match kept.save(self.data, &settings, self.total, export, trainer) {
                Err(error @ Error::Diverged(_)) => eprintln!("warning: {}: {error}", folder.display()),
                saved => drop(saved?),
            }
        }
        // What there is can be looked at already, and is not lost with a run that is killed.
        plot::save(&self.args.output, &picture::losses(&title(self.data, all), all))
    }
}

fn title(data: &Prepared, comparison: &Comparison) -> String {
    let s = &comparison.base;
    let seeds = comparison.outcomes.iter().map(|o| o.runs.len()).max().unwrap_or(0);
    let seeds = if seeds > 1 { format!(", mean of {seeds} seeds") } else { String::new() };
    format!(
        "{} on {}: training loss, smoothed, and validation loss (marks){seeds}; {}",
        s.model.as_deref().unwrap_or("model"),
        data.name,
        threads(s)
    )
}

/// Prints what the variants came to, and what to do next.
fn tell(args: &CompareArgs, said: &Settings, data: &Prepared, comparison: &Comparison, plan: &Plan) {
    let threads = threads(&comparison.base);
    if args.json {
        let all: Vec<Value> = comparison.outcomes.iter().map(table::as_json).collect();
        println!(
            "{}",
            json!({ "text": data.name, "threads": comparison.base.threads, "steps": plan.steps, "variants": all })
        );
    } else {
        table::print(comparison);
        println!(
            "train: mean of the last losses. validation: on the whole held-out part, {} tokens, by the trainer. seconds: of training alone, {threads}.",
            thousands(data.corpus.n_tokens().1 as f64)
        );
        println!("picture: {}", args.output.display());
    }
    if interrupt::requested() {
        eprintln!("stopped: figures and picture show what was done");
    }
    let texts = texts(&args.texts);
    match comparison.best() {
        Some(best) => {
            let own = best.variant.settings(said, &comparison.base);
            let own = Settings { steps: None, minutes: None, ..own };
            let config = config_flag(args.config.as_deref().filter(|_| said.blocks.is_some()));
            let flags = match flags_of(&own) {
                none if none.is_empty() => none,
                flags => format!(" {flags}"),
            };
            eprintln!(
                "next: siskin-train train {texts}{config}{flags}    (the best of these: {})",
                best.variant.name
            );
        }
        None => eprintln!("next: siskin-train lr-find {texts}    (no variant has a finite loss)"),
    }
}

fn note(quiet: bool, line: &str) {
    if !quiet {
        eprintln!("{line}");
    }
}
