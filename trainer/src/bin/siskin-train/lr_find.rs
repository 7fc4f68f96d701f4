//! `lr-find`: a range test over the learning rate, as a picture and a suggestion.

use serde_json::json;
use siskin_trainer::experiment::flags::{config_flag, flags_of, texts};
use siskin_trainer::experiment::lr_find::{End, RangeTest, Sweep, Which, at_constant_rate, rates_of};
use siskin_trainer::experiment::picture::{range_test, short};
use siskin_trainer::experiment::prepared::{Prepared, filled};
use siskin_trainer::experiment::suggest::{Reading, Rule, Suggestion, Verdict, suggest};
use siskin_trainer::experiment::unused::Command;
use siskin_trainer::progress::Progress;
use siskin_trainer::settings::{Settings, read_toml};
use siskin_trainer::train::interrupt;
use siskin_trainer::{Error, Result, plot};

use crate::args::LrFindArgs;
use crate::compare::seeds;

/// Updates of a test when nothing is said.
const STEPS: u64 = 200;

pub fn lr_find(args: LrFindArgs) -> Result<()> {
    let said = match &args.config {
        Some(path) => args.settings.or(&read_toml(path)?),
        None => args.settings.clone(),
    };
    Command::LrFind.refuse_unused(&args.settings, &said)?;
    let settings = at_constant_rate(&filled(&said)?);
    let test = test(&args, &said, &settings)?;
    let seeds = seeds(&said, args.seeds)?;
    let data = Prepared::new(&args.texts, &settings)?;
    if !args.quiet {
        eprintln!("{}", data.describe());
    }
    interrupt::install();
    let mut sweeps = Vec::new();
    for seed in seeds {
        let settings = Settings { seed: Some(seed), ..settings.clone() };
        let tokens = tokens_per_step(&settings);
        let mut progress = Progress::new(0, test.steps, args.quiet);
        let swept = test.run(&data, &settings, &mut |k, sample| progress.count(k, sample.loss, tokens));
        progress.finish();
        sweeps.push(swept?);
        if interrupt::requested() {
            break;
        }
    }
    let suggestion = suggest(&sweeps, Rule::of(&settings));
    let title = format!(
        "Range test: {} by {} on {}",
        settings.model.as_deref().unwrap_or("model"),
        settings.optimizer.as_deref().unwrap_or("adam"),
        data.name
    );
    plot::save(&args.output, &range_test(&title, rate_name(test.which), &sweeps, suggestion.as_ref()))?;
    let flags = suggestion.map(|s| flags(&s, &test, &settings));
    if args.json {
        let readings: Vec<_> = sweeps.iter().map(Reading::of).collect();
        let found =
            json!({ "suggestion": suggestion, "flags": flags, "readings": readings, "tests": sweeps });
        println!("{found}");
    } else {
        sweeps.iter().for_each(|sweep| print_reading(sweep, sweeps.len() > 1));
        print_suggestion(suggestion.as_ref(), &sweeps, &test, &settings);
        println!("picture: {}", args.output.display());
    }
    next(&args, &test, flags, &sweeps);
    Ok(())
}

fn test(args: &LrFindArgs, said: &Settings, settings: &Settings) -> Result<RangeTest> {
    if said.minutes.is_some() {
        let problem = "is not for lr-find: a range test takes a number of steps (default 200)".to_string();
        return Err(Error::Setting { key: "minutes", problem });
    }
    let which = match args.which.as_str() {
        "lr" => Which::Lr,
        "adam-lr" => Which::AdamLr,
        _ => Which::Both,
    };
    let optimizer = settings.optimizer.as_deref().unwrap_or_default();
    if which != Which::Both && optimizer != "muon" {
        let problem = format!("is for muon, which has two rates; {optimizer} has one, leave it out");
        return Err(Error::Setting { key: "which", problem });
    }
    if args.settings.lr.is_some() && optimizer != "muon" {
        let problem =
            format!("is what lr-find looks for with {optimizer}: leave it out (--from and --to bound it)");
        return Err(Error::Setting { key: "lr", problem });
    }
    let test = RangeTest { from: args.from, to: args.to, steps: said.steps.unwrap_or(STEPS), which };
    test.check()?;
    Ok(test)
}

fn tokens_per_step(settings: &Settings) -> u64 {
    let rows: u64 = settings.batch_size.as_deref().and_then(|b| b.parse().ok()).unwrap_or(0);
    rows * settings.context.unwrap_or(0) as u64
}

fn rate_name(which: Which) -> &'static str {
    if which == Which::AdamLr { "adam_lr" } else { "learning rate" }
}

/// The flags that say the suggestion.
fn flags(s: &Suggestion, test: &RangeTest, settings: &Settings) -> String {
    let (lr, adam_lr) = rates_of(settings);
    let muon = settings.optimizer.as_deref() == Some("muon");
    match test.which {
        Which::AdamLr => format!("--adam-lr {}", short(s.lr)),
        Which::Both if muon => format!("--lr {} --adam-lr {}", short(s.lr), short(s.lr * adam_lr / lr)),
        _ => format!("--lr {}", short(s.lr)),
    }
}

/// What one curve shows, in a line.
fn print_reading(sweep: &Sweep, several: bool) {
    let seed = if several { format!("seed {}: ", sweep.seed) } else { String::new() };
    let Some(r) = Reading::of(sweep) else {
        println!("{seed}loss {:.4} at first, not finite after the first update", sweep.first_loss);
        return;
    };
    let end = match (sweep.end, r.broke) {
        (End::Interrupted, _) => format!("interrupted at {}", short(r.last_at)),
        (_, true) => format!("broke at {}", short(r.last_at)),
        _ => format!(
            "{:.4} at {}, the last",
            sweep.samples.last().map_or(f64::NAN, |s| s.smooth),
            short(r.last_at)
        ),
    };
    println!(
        "{seed}loss {:.4} at first, fell fastest at rate {}, was lowest ({:.4}) at {}, {end}",
        sweep.first_loss,
        short(r.steepest_at),
        r.lowest,
        short(r.lowest_at)
    );
}

/// The suggestion and its limits, or why there is none.
fn print_suggestion(
    suggestion: Option<&Suggestion>,
    sweeps: &[Sweep],
    test: &RangeTest,
    settings: &Settings,
) {
    let Some(s) = suggestion else {
        println!("no suggestion: {}", why_none(sweeps, test));
        return;
    };
    println!("suggested: {} (between {} and {})", flags(s, test, settings), short(s.low), short(s.high));
    println!("rule: {}", Rule::of(settings).in_words());
    println!(
        "limits: from {} steps, for short trainings with a warm-up and a decay; long ones often want less. Another batch size, width, \
         context or norm wants another test. In 15 trials with small models the best rate was within a factor of 3 in 14, and of 3.5 in one",
        test.steps
    );
    if settings.optimizer.as_deref() == Some("muon") && test.which == Which::Both {
        println!(
            "muon: lr and adam_lr were driven together; the first to break ended the test (--which lr or adam-lr drives one)"
        );
    }
}

fn why_none(sweeps: &[Sweep], test: &RangeTest) -> String {
    let odd = sweeps.iter().find_map(|s| {
        let verdict = Reading::of(s).map_or(Verdict::AtOnce, |r| r.verdict);
        (s.end == End::Interrupted || verdict != Verdict::Turned).then_some((s, verdict))
    });
    match odd {
        Some((s, _)) if s.end == End::Interrupted => "the test was interrupted before the loss turned".into(),
        Some((s, Verdict::Flat)) if s.first_loss < 1e-3 => {
            "the loss is 0 from the beginning: this text has nothing to learn".into()
        }
        Some((_, Verdict::Flat)) => {
            format!(
                "the loss never moved: rates up to {} are too small, try --to {}",
                short(test.to),
                short(100.0 * test.to)
            )
        }
        Some((_, Verdict::StillFalling)) => {
            format!("the loss still fell at the end of the range: try --to {}", short(100.0 * test.to))
        }
        Some((_, Verdict::AtOnce)) => format!(
            "the loss rose without having fallen: rates from {} are too large, try --from {}, or more --steps",
            short(test.from),
            short(test.from / 1000.0)
        ),
        _ => "there is no curve".into(),
    }
}

/// Names the next command: a training at the suggested rate, or a test of a better range.
fn next(args: &LrFindArgs, test: &RangeTest, flags: Option<String>, sweeps: &[Sweep]) {
    let (texts, config) = (texts(&args.texts), config_flag(args.config.as_deref()));
    let own = Settings { steps: None, lr: None, adam_lr: None, ..args.settings.clone() };
    let own = match flags_of(&own).as_str() {
        "" => String::new(),
        flags => format!(" {flags}"),
    };
    if let Some(flags) = flags {
        eprintln!("next: siskin-train train {texts}{config}{own} {flags}");
        return;
    }
    let at_once = sweeps.iter().any(|s| Reading::of(s).is_none_or(|r| r.verdict == Verdict::AtOnce));
    let range = if at_once {
        format!("--from {}", short(test.from / 1000.0))
    } else {
        format!("--to {}", short(100.0 * test.to))
    };
    eprintln!("next: siskin-train lr-find {texts}{config}{own} {range}");
}
