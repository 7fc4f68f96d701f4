//! `train` and `resume`: a run from where it stands to the exported file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use siskin_format::DType;
use siskin_format::receipt::{Origin, Receipt, Training};
use siskin_format::xxh64::xxh64;
use siskin_trainer::data::Tokens;
use siskin_trainer::export::{Exported, MAX_MEASURED, Trained};
use siskin_trainer::progress::{Progress, clock, peak_memory, thousands};
use siskin_trainer::report::outcome::{self, Outcome};
use siskin_trainer::settings::read_toml;
use siskin_trainer::train::fit::{Ending, fit};
use siskin_trainer::train::restarts::{self, Restarts};
use siskin_trainer::train::run::Run;
use siskin_trainer::train::run_dir;
use siskin_trainer::train::trainer::{Evaluation, FINAL_TOKENS};
use siskin_trainer::verify::{Measured, SampleOptions};
use siskin_trainer::{Error, Result, dashboard, report};

use crate::args::{DisplayArgs, ResumeArgs, TrainArgs};

/// Tokens of a sample while training, and of the last one.
const SAMPLE_TOKENS: usize = 160;
/// Held-out pairs that are shown of a model with an encoder,
const SAMPLE_PAIRS: u64 = 5;
/// and most of them that it is asked to write.
const EXACT_PAIRS: u64 = 2000;

pub fn train(args: TrainArgs) -> Result<()> {
    if args.display.dashboard {
        dashboard::suits()?; // before anything is read or trained
    }
    let said = match &args.config {
        Some(path) => args.settings.or(&read_toml(path)?),
        None => args.settings.clone(),
    };
    let (fresh_dir, fresh_export) = run_dir::fresh(Path::new(""), &args.texts[0]);
    let dir = args.out.unwrap_or(fresh_dir);
    let export = args.export.unwrap_or(fresh_export);
    let started = Instant::now();
    let display = args.display;
    let tell = |line: &str| note(display.quiet, line);
    let run = Run::start_watched(&said, &args.texts, &dir, &export, &tell, !display.quiet)?;
    match Restarts::of(&run.settings)? {
        Some(restarts) => go_on_from_best(run, restarts, display, started),
        None => go_on(run, display, started),
    }
}

pub fn resume(args: ResumeArgs) -> Result<()> {
    let started = Instant::now();
    let tell = |line: &str| note(args.display.quiet, line);
    if let Some((mut run, restarts)) = Run::reopen(&args.run, args.threads, &tell, !args.display.quiet)? {
        run.export = args.export.unwrap_or(run.export);
        return go_on_from_best(run, restarts, args.display, started);
    }
    let mut run = Run::resume_watched(&args.run, args.threads, !args.display.quiet)?;
    if let Some(export) = args.export {
        run.export = export;
    }
    let (step, total) = (run.trainer.steps(), run.total);
    note(args.display.quiet, &format!("going on after step {step} of {total}"));
    go_on(run, args.display, started)
}

/// Tries the beginnings of a run with restarts, and goes on with the best.
fn go_on_from_best(mut run: Run, with: Restarts, display: DisplayArgs, started: Instant) -> Result<()> {
    let quiet = display.quiet;
    if restarts::begin(&mut run, with, quiet, &mut sample_of, &|line| note(quiet, line))? {
        return go_on(run, display, started);
    }
    let folder = run.dir.path().display();
    eprintln!("stopped among the beginnings of {folder}, which are saved");
    eprintln!("next: siskin-train resume {folder}");
    Ok(())
}

fn go_on(mut run: Run, display: DisplayArgs, started: Instant) -> Result<()> {
    let quiet = display.quiet;
    let s = &run.settings;
    note(
        quiet,
        &format!(
            "{} with {} parameters, {} by {}, {} steps, run folder {}",
            s.model.as_deref().unwrap_or("model"),
            thousands(run.trainer.n_params() as f64),
            s.optimizer.as_deref().unwrap_or("adam"),
            s.schedule.as_deref().unwrap_or("constant"),
            thousands(run.total as f64),
            run.dir.path().display()
        ),
    );
    let drawn = display.dashboard || !(quiet || display.plain) && dashboard::suits().is_ok();
    let mut progress = match drawn {
        true => Progress::dashboard(&run)?,
        false => Progress::new(run.trainer.steps(), run.total, quiet),
    };
    let ending = fit(&mut run, &mut progress, &mut sample_of);
    progress.finish();
    let folder = run.dir.path().display().to_string();
    match ending? {
        Ending::Interrupted if run.unsaved.is_some() => return Err(unsaved(&run)),
        Ending::Interrupted => {
            eprintln!("stopped after step {} of {}, saved in {folder}", run.trainer.steps(), run.total);
            eprintln!("next: siskin-train resume {folder}");
            return Ok(());
        }
        Ending::Converged(reason) => note(quiet, &reason.to_string()),
        Ending::Finished => {}
    }
    note(
        quiet,
        &format!(
            "trained {} steps, {} tokens, in {} ({} tok/s{})",
            thousands(run.trainer.steps() as f64),
            thousands(run.trainer.tokens_seen() as f64),
            clock(started.elapsed().as_secs_f64()),
            thousands(progress.tokens_per_second()),
            peak_memory()
                .map_or(String::new(), |b| format!(", peak memory {} MB", thousands(b as f64 / 1e6))),
        ),
    );
    let trained = Outcome::Trained {
        step: run.trainer.steps(),
        seconds: started.elapsed().as_secs_f64(),
        tokens_per_second: progress.tokens_per_second(),
    };
    tell(run.dir.path(), &trained);
    finish(&mut run, quiet)
}

/// Writes down what the run in `dir` came to. A folder that cannot take it is no reason to lose the model.
pub fn tell(dir: &Path, outcome: &Outcome) {
    if let Err(error) = outcome::append(dir, outcome) {
        eprintln!("warning: {error}");
    }
}

/// Exports, measures, lets the file speak, and says what to do next.
fn finish(run: &mut Run, quiet: bool) -> Result<()> {
    let threads = run.trainer.config().threads;
    let weights = choose_weights(run, quiet)?;
    let trained = Trained { config: &run.trainer.config().model, vocab: &run.vocab, weights: &weights };
    let dtype = run.settings.dtype.as_deref().and_then(DType::from_name).unwrap_or(DType::Q8);
    let receipt = receipt_of(run, &weights)?;
    let held_out = run.corpus.held_out(MAX_MEASURED)?;
    let exported = trained.export(&run.export, dtype, receipt, ("validation part", &held_out), threads)?;
    tell(run.dir.path(), &Outcome::exported(&run.export, dtype, &exported));
    let file = run.export.display();
    println!("exported {file}: {dtype}, {} bytes", thousands(exported.bytes as f64));
    print_losses(&exported, dtype);
    print_exact(&run.export, &held_out, threads)?;
    println!("\nfrom the mapped file:");
    let prompt = run.settings.sample_prompt.clone().unwrap_or_default();
    let options = SampleOptions { prompt, n: 2 * SAMPLE_TOKENS, temperature: 0.8, seed: 1, threads };
    let model = Measured::open(&run.export)?;
    match model.reads_pairs() && options.prompt.is_empty() {
        true => {
            print!("{}", model.show_pairs(&first_pairs(&run.corpus.texts[0].val)?, SAMPLE_PAIRS, threads)?)
        }
        false => print_sample(&model, &options)?,
    }
    if run.unsaved.is_some() {
        return Err(unsaved(run));
    }
    match report::write(run.dir.path(), None) {
        Ok(page) => note(quiet, &format!("\nreport: {}", page.display())),
        Err(error) => eprintln!("warning: no report: {error}"),
    }
    let how = if model.reads_pairs() { " -p SOURCE" } else { "" };
    eprintln!("\nnext: siskin run {file}{how}{}", from_source(&run.export, how));
    Ok(())
}

/// The run ended, but its last state is not on the disk.
fn unsaved(run: &Run) -> Error {
    let (why, step) = (run.unsaved.as_deref().unwrap_or_default(), run.trainer.steps());
    Error::Run(format!(
        "the state after step {step} is not saved: {why}; older checkpoints are intact, make room and resume"
    ))
}

/// The weights to export. Where the last checkpoint does not say which they are, one more does: `export` then writes the same file.
fn choose_weights(run: &mut Run, quiet: bool) -> Result<Vec<f32>> {
    let told = |run: &Run| (run.export_best, run.trainer.state().1.mean_buffers.to_vec());
    let before = told(run);
    // Before the weights are taken: it collects the statistics that belong to a mean of them.
    let weights = match run.trainer.evaluate(FINAL_TOKENS)? {
        Some(found) => best_or_last(run, &found, quiet)?,
        None => run.trainer.weights(),
    };
    if told(run) != before {
        run.unsaved = match run.save() {
            Err(error @ Error::Diverged(_)) => return Err(error),
            saved => saved.err().map(|error| error.to_string()),
        };
    }
    Ok(weights)
}

/// The weights of the best evaluation if they still do better on the whole validation part (of a long one, its beginning) than the last
/// ones, whose loss there is `found`.
fn best_or_last(run: &mut Run, found: &Evaluation, quiet: bool) -> Result<Vec<f32>> {
    let (loss, step, by_text) = (found.mean(), run.trainer.steps(), run.corpus.describe(found));
    let of = match run.trainer.held_out() {
        n if n > FINAL_TOKENS => {
            format!(
                "the first {} of {} held-out tokens",
                thousands(found.counted as f64),
                thousands(n as f64)
            )
        }
        _ => "the whole held-out part".to_string(),
    };
    note(quiet, &format!("validation loss {loss:.4}{by_text} after step {step} ({of}, by the trainer)"));
    let wanted = run.settings.keep_best == Some(true) && !run.trainer.config().descent.optim.maximize;
    let best = if wanted { run.trainer.best_weights(FINAL_TOKENS)? } else { None };
    run.export_best = best.as_ref().is_some_and(|(_, best)| best.mean() < loss);
    match best {
        Some((weights, best)) if run.export_best => {
            let at = run.trainer.best().map_or(0, |(_, at)| at);
            note(
                quiet,
                &format!("the weights of step {at} do better, {:.4}: they are exported", best.mean()),
            );
            Ok(weights)
        }
        _ => Ok(run.trainer.weights()),
    }
}

/// What a receipt can say of a run.
fn receipt_of(run: &Run, weights: &[f32]) -> Result<Receipt> {
    let config = run.trainer.config();
    let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
    Ok(Receipt {
        producer: Some(format!("siskin-train {}", env!("CARGO_PKG_VERSION"))),
        sources: run.corpus.sources.clone(),
        training: Some(Training {
            steps: run.trainer.steps(),
            tokens: run.trainer.tokens_seen(),
            optimizer: config.descent.describe(),
            seed: config.seed,
        }),
        origin: Some(Origin { name: format!("step {}", run.trainer.steps()), hash: xxh64(&bytes) }),
        ..Receipt::default()
    })
}

/// Loss of the float weights beside that of the file.
pub fn print_losses(exported: &Exported, dtype: DType) {
    if let Some(h) = &exported.held_out {
        println!(
            "loss on {} held-out tokens, by the runtime: float {:.4}, {dtype} {:.4} ({:+.2} %)",
            thousands(h.tokens as f64),
            h.float_loss,
            h.file_loss,
            100.0 * (h.file_loss / h.float_loss - 1.0)
        );
    }
}

/// How many held-out targets a model with an encoder writes itself, of those that time allows to try.
pub fn print_exact(file: &std::path::Path, val: &Tokens, threads: usize) -> Result<()> {
    let model = Measured::open(file)?;
    if !model.reads_pairs() || val.is_empty() {
        return Ok(());
    }
    let mut ids = vec![0; val.len() as usize];
    val.read(0, &mut ids)?;
    let found = model.exact_matches(&ids, EXACT_PAIRS, threads)?;
    println!(
        "exact match, by the runtime's greedy decoding of the file: {:.2} % ({} of {} held-out pairs)",
        100.0 * found.accuracy(),
        thousands(found.exact as f64),
        thousands(found.pairs as f64)
    );
    Ok(())
}

/// The first tokens of held-out pairs, enough for a sample.
fn first_pairs(val: &Tokens) -> Result<Vec<u32>> {
    let mut ids = vec![0; val.len().min(1 << 16) as usize];
    val.read(0, &mut ids)?;
    Ok(ids)
}

/// A sample of the present weights, drawn by the runtime from a file in memory.
fn sample_of(run: &mut Run) -> Result<String> {
    let weights = run.trainer.weights();
    let trained = Trained { config: &run.trainer.config().model, vocab: &run.vocab, weights: &weights };
    let model = Measured::from_bytes(trained.to_bytes(DType::F32)?)?;
    if model.reads_pairs() && run.settings.sample_prompt.as_deref().unwrap_or_default().is_empty() {
        let threads = run.trainer.config().threads;
        return model.show_pairs(&first_pairs(&run.corpus.texts[0].val)?, SAMPLE_PAIRS, threads);
    }
    let options = SampleOptions {
        prompt: run.settings.sample_prompt.clone().unwrap_or_default(),
        n: SAMPLE_TOKENS,
        temperature: 0.8,
        seed: run.trainer.steps(),
        threads: run.trainer.config().threads,
    };
    let mut text = String::new();
    model.sample(&options, |piece| text.push_str(piece))?;
    Ok(text)
}

/// Prints a sample as it comes.
pub fn print_sample(model: &Measured, options: &SampleOptions) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let mut broken = None;
    model.sample(options, |piece| {
        if broken.is_none() {
            broken = out.write_all(piece.as_bytes()).and_then(|()| out.flush()).err();
        }
    })?;
    match broken.or_else(|| writeln!(out).err()) {
        Some(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Io { action: "write", path: PathBuf::from("standard output"), source: e })
        }
        _ => Ok(()),
    }
}

/// How to call `siskin` where it was not installed but built here.
fn from_source(model: &std::path::Path, how: &str) -> String {
    let built = std::env::current_exe().is_ok_and(|exe| exe.iter().any(|part| part == "target"));
    if built {
        format!("  (here: cargo run --release --bin siskin -- run {}{how})", model.display())
    } else {
        String::new()
    }
}

fn note(quiet: bool, line: &str) {
    if !quiet {
        eprintln!("{line}");
    }
}
