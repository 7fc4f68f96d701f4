//! `bench`: the speed and memory of training steps, on random tokens.

use std::time::{Duration, Instant};

use siskin_trainer::Result;
use siskin_trainer::data::Tokens;
use siskin_trainer::progress::thousands;
use siskin_trainer::rng::Rng;
use siskin_trainer::settings::presets::{TextFacts, fill};
use siskin_trainer::settings::{Settings, read_toml};
use siskin_trainer::train::run::trainer_config;
use siskin_trainer::train::trainer::Trainer;

use crate::args::BenchArgs;

/// Tokens of the random text.
const TEXT: usize = 1 << 18;

pub fn bench(args: BenchArgs) -> Result<()> {
    let said = match &args.config {
        Some(path) => args.settings.or(&read_toml(path)?),
        None => args.settings.clone(),
    };
    let said = if said.model.is_none() { said.or(&nanogpt()) } else { said };
    let threads = said.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
    let settings = fill(&said, &TextFacts { threads })?;
    let vocab_size = settings.vocab_size.unwrap_or(65);
    let config = trainer_config(&settings, vocab_size)?;
    let mut rng = Rng::new(1);
    let tokens = Tokens::from_vec((0..TEXT).map(|_| rng.below(vocab_size as u64) as u32).collect());
    let mut trainer = Trainer::new(config, tokens, Tokens::from_vec(Vec::new()))?;
    for _ in 0..2 {
        trainer.step(u64::MAX)?;
    }
    let mut times = Vec::new();
    let (begin, mut seen) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_secs_f64(args.seconds.clamp(0.1, 3600.0)) || times.len() < 3 {
        let one = Instant::now();
        seen = trainer.step(u64::MAX)?.tokens;
        times.push(one.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let peak = peak_memory();
    if args.json {
        let found = serde_json::json!({
            "model": settings.model, "parameters": trainer.n_params(), "threads": threads,
            "tokens_per_step": seen, "steps": times.len(), "step_ms": 1e3 * median,
            "tokens_per_second": seen as f64 / median, "peak_memory": peak,
        });
        println!("{found}");
    } else {
        println!(
            "{}: {} parameters, {threads} threads: {} tok/s, {:.1} ms a step of {seen} tokens (median of {}), peak memory {} MB",
            settings.model.as_deref().unwrap_or("model"),
            thousands(trainer.n_params() as f64),
            thousands(seen as f64 / median),
            1e3 * median,
            times.len(),
            peak.map_or("unknown".into(), |b| thousands(b as f64 / 1e6)),
        );
    }
    eprintln!("next: siskin-train train my.txt");
    Ok(())
}

/// nanoGPT's setting for CPUs, optimiser included: 4 layers, 4 heads, 128 wide, 64 tokens, 12 windows.
fn nanogpt() -> Settings {
    Settings {
        model: Some("gpt".into()),
        n_layers: Some(4),
        n_heads: Some(4),
        d_model: Some(128),
        context: Some(64),
        batch_size: Some("12".into()),
        ..Default::default()
    }
}

/// Most resident memory of this process so far, bytes, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}
