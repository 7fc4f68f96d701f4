//! `plan`: what a budget would be spent on, and what would come of it.

use siskin_format::{DType, Vocab};
use siskin_trainer::experiment::flags::{config_flag, flags_of, texts};
use siskin_trainer::plan::device::DEVICES;
use siskin_trainer::plan::{Candidate, Excerpt, Plan, Question, Size};
use siskin_trainer::progress::thousands;
use siskin_trainer::settings::presets::DEFAULT_MINUTES;
use siskin_trainer::settings::{Settings, read_toml};
use siskin_trainer::train::run::cores;
use siskin_trainer::{Error, Result};

use crate::args::PlanArgs;

pub fn plan(args: PlanArgs) -> Result<()> {
    let said = match &args.config {
        Some(path) => args.settings.or(&read_toml(path)?),
        None => args.settings.clone(),
    };
    if said.steps.is_some() {
        let problem = "plan chooses for a budget in --minutes; --steps keeps the preset of the family".into();
        return Err(Error::Setting { key: "steps", problem });
    }
    let minutes = said.minutes.unwrap_or(DEFAULT_MINUTES);
    let threads = said.threads.unwrap_or_else(cores);
    let Excerpt { train, val, unique, vocab } = Excerpt::of(&said, &args.texts)?;
    let question =
        Question { said: &said, train: &train, val: &val, unique, vocab: &vocab, minutes, threads };
    let Some(plan) = Plan::make(&question)? else {
        let problem = "names every block, or asks for full-batch descent: nothing is left to choose".into();
        return Err(Error::Setting { key: "blocks", problem });
    };
    let dtype = plan.best().settings.dtype.as_deref().and_then(DType::from_name).unwrap_or(DType::Q8);
    let sizes = plan.candidates.iter().map(|c| c.size(&vocab, dtype)).collect::<Result<Vec<_>>>()?;
    if args.json {
        println!("{}", json(&plan, &sizes, dtype, minutes, threads, unique));
    } else {
        print(&plan, &sizes, dtype, &vocab, unique);
    }
    eprintln!("\n{}", plan.describe(minutes));
    if let Some(warning) = plan.warning() {
        eprintln!("warning: {warning}");
    }
    let own = flags_of(&Settings { minutes: Some(minutes), ..args.settings.clone() });
    eprintln!("next: siskin-train train {}{} {own}", texts(&args.texts), config_flag(args.config.as_deref()));
    Ok(())
}

fn print(plan: &Plan, sizes: &[Size], dtype: DType, vocab: &Vocab, tokens: f64) {
    println!(
        "{} tokens to train on, vocabulary {}, difficulty {:.3} nats/token (n-grams)\n",
        thousands(tokens),
        vocab.len(),
        plan.difficulty
    );
    println!(
        "                                                                             Pi 4 (est.)     Pi 5 (est.)"
    );
    println!(
        "  layers width context batch   steps    tokens  ms/step  loss predicted       {dtype} file  memory   tok/s           tok/s"
    );
    for (i, (c, size)) in plan.candidates.iter().zip(sizes).enumerate() {
        let [low, high] = c.loss.range;
        let rates = DEVICES.map(|device| rate(device.tokens_per_second(&c.config, dtype)));
        println!(
            "{} {:>6} {:>5} {:>7} {:>5} {:>7} {:>9} {:>8.1}  {:.3} ({low:.2}–{high:.2})  {:>8} {:>8}  {:<15} {:<15}",
            if i == plan.chosen { "→" } else { " " },
            c.config.n_layers(),
            width(c),
            c.config.context,
            c.settings.batch_size.as_deref().unwrap_or("1"),
            thousands(c.steps),
            millions(c.tokens),
            1e3 * c.step,
            c.loss.mean,
            millions(size.file as f64),
            millions((size.file + size.session) as f64),
            rates[0],
            rates[1],
        );
    }
}

/// Width of a Transformer, state of recurrent layers.
fn width(c: &Candidate) -> usize {
    if c.config.has_attention() { c.config.d_model } else { c.settings.hidden.unwrap_or(c.config.d_model) }
}

fn millions(n: f64) -> String {
    if n < 0.9995e6 { format!("{:.0}k", n / 1e3) } else { format!("{:.1}M", n / 1e6) }
}

/// Two figures, as estimates deserve.
fn rate([low, high]: [f64; 2]) -> String {
    let round = |x: f64| {
        let unit = 10f64.powf(x.max(1.0).log10().floor() - 1.0);
        thousands((x / unit).round() * unit)
    };
    if round(low) == round(high) { round(low) } else { format!("{}–{}", round(low), round(high)) }
}

fn json(
    plan: &Plan,
    sizes: &[Size],
    dtype: DType,
    minutes: f64,
    threads: usize,
    tokens: f64,
) -> serde_json::Value {
    let candidate = |(c, size): (&Candidate, &Size)| {
        let mut devices = serde_json::Map::new();
        for device in &DEVICES {
            let [low, high] = device.tokens_per_second(&c.config, dtype);
            let found = serde_json::json!({ "tokens_per_second_low": low, "tokens_per_second_high": high,
                "memory": size.file + size.session });
            devices.insert(device.name.into(), found);
        }
        serde_json::json!({
            "n_layers": c.config.n_layers(), "d_model": c.config.d_model, "hidden": c.settings.hidden,
            "context": c.config.context, "batch_size": c.settings.batch_size, "parameters": c.parameters,
            "block_weights": c.weights, "step_ms": 1e3 * c.step, "steps": c.steps.floor(), "tokens": c.tokens.floor(),
            "predicted_loss": c.loss.mean, "predicted_loss_low": c.loss.range[0], "predicted_loss_high": c.loss.range[1],
            "file": size.file, "session": size.session, "estimates": devices,
        })
    };
    serde_json::json!({
        "minutes": minutes, "threads": threads, "model": plan.best().settings.model, "dtype": dtype.name(),
        "train_tokens": tokens.round(), "difficulty": plan.difficulty, "warning": plan.warning(), "chosen": plan.chosen,
        "candidates": plan.candidates.iter().zip(sizes).map(candidate).collect::<Vec<_>>(),
    })
}
