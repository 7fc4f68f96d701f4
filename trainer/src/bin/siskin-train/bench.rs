//! `bench`: the speed and memory of training steps, on random tokens.

use std::time::{Duration, Instant};

use siskin_trainer::data::Tokens;
use siskin_trainer::ops::gemm::{View, ViewMut, gemm};
use siskin_trainer::plan::flops;
use siskin_trainer::progress::{peak_memory, thousands};
use siskin_trainer::rng::Rng;
use siskin_trainer::settings::presets::{TextFacts, fill};
use siskin_trainer::settings::{Settings, read_toml};
use siskin_trainer::train::run::trainer_config;
use siskin_trainer::train::trainer::Trainer;
use siskin_trainer::{Error, Result};

use crate::args::BenchArgs;

/// Tokens of the random text.
const TEXT: usize = 1 << 18;

pub fn bench(args: BenchArgs) -> Result<()> {
    let said = match &args.config {
        Some(path) => args.settings.or(&read_toml(path)?),
        None => args.settings.clone(),
    };
    if said.model.as_deref() == Some("seq2seq") {
        let problem =
            "seq2seq reads pairs, expected a model of one text: bench gpt or llama of the same sizes";
        return Err(Error::Setting { key: "model", problem: problem.into() });
    }
    let said = if said.model.is_none() { said.or(&nanogpt()) } else { said };
    let threads = said.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
    let settings = fill(&said, &TextFacts { threads })?;
    let mut many = Bench::new(&settings, threads)?;
    let mut one = match args.compare_threads {
        true => Some(Bench::new(&settings, 1)?),
        false => None,
    };
    let (begin, enough) = (Instant::now(), Duration::from_secs_f64(args.seconds.clamp(0.0, 3600.0)));
    while begin.elapsed() < enough || many.times.len() < args.least_steps.max(1) {
        many.step()?;
        if let Some(one) = &mut one {
            one.step()?;
        }
    }
    let (found, alone) = (many.found(), one.as_mut().map(Bench::found));
    let peak = peak_memory();
    let fastest = fastest_products(threads);
    let share = found.flops_per_second / fastest;
    if args.json {
        let mut json = serde_json::json!({
            "model": settings.model, "parameters": many.trainer.n_params(), "threads": threads,
            "tokens_per_step": many.tokens, "steps": many.times.len(), "step_ms": 1e3 * found.seconds,
            "tokens_per_second": found.tokens_per_second, "gflop_per_second": found.flops_per_second / 1e9,
            "share_of_fastest_products": share, "peak_memory": peak,
        });
        if let Some(alone) = &alone {
            json["tokens_per_second_of_one_thread"] = alone.tokens_per_second.into();
            json["times_one_thread"] = (alone.seconds / found.seconds).into();
        }
        println!("{json}");
    } else {
        println!(
            "{}: {} parameters, {threads} threads: {} tok/s, {:.1} ms a step of {} tokens (median of {}), peak memory {} MB",
            settings.model.as_deref().unwrap_or("model"),
            thousands(many.trainer.n_params() as f64),
            thousands(found.tokens_per_second),
            1e3 * found.seconds,
            many.tokens,
            many.times.len(),
            peak.map_or("unknown".into(), |b| thousands(b as f64 / 1e6)),
        );
        println!(
            "{:.0} GFLOP/s in the model's products, {:.0} % of the {:.0} that products reach in cache",
            found.flops_per_second / 1e9,
            100.0 * share,
            fastest / 1e9,
        );
        if let Some(alone) = &alone {
            let times = alone.seconds / found.seconds;
            println!(
                "1 thread: {} tok/s, so {threads} are {times:.2} times as fast",
                thousands(alone.tokens_per_second)
            );
        }
    }
    eprintln!("next: siskin-train train my.txt");
    Ok(())
}

/// A model that takes steps on random tokens.
struct Bench {
    trainer: Trainer,
    flops_per_token: f64,
    tokens: u64,
    times: Vec<f64>, // seconds of each step
}

/// What its steps showed.
struct Found {
    seconds: f64, // median of a step
    tokens_per_second: f64,
    flops_per_second: f64,
}

impl Bench {
    fn new(settings: &Settings, threads: usize) -> Result<Self> {
        let vocab_size = settings.vocab_size.unwrap_or(65);
        let settings = Settings { threads: Some(threads), ..settings.clone() };
        let config = trainer_config(&settings, vocab_size)?;
        let flops_per_token = flops::per_token(&config.model, config.seq_len);
        let mut rng = Rng::new(1);
        let windows = settings.batch_size.as_deref().and_then(|b| b.parse::<usize>().ok()).unwrap_or(1);
        let text = TEXT.max(2 * windows * config.seq_len);
        let tokens = Tokens::from_vec((0..text).map(|_| rng.below(vocab_size as u64) as u32).collect());
        let mut trainer = Trainer::new(config, tokens, Tokens::from_vec(Vec::new()))?;
        let tokens = trainer.step(u64::MAX)?.tokens; // the first allocates
        Ok(Bench { trainer, flops_per_token, tokens, times: Vec::new() })
    }

    fn step(&mut self) -> Result<()> {
        let begin = Instant::now();
        self.trainer.step(u64::MAX)?;
        self.times.push(begin.elapsed().as_secs_f64());
        Ok(())
    }

    fn found(&mut self) -> Found {
        self.times.sort_by(f64::total_cmp);
        let seconds = self.times[self.times.len() / 2];
        let tokens_per_second = self.tokens as f64 / seconds;
        Found { seconds, tokens_per_second, flops_per_second: tokens_per_second * self.flops_per_token }
    }
}

/// FLOP/s of f32 products whose operands stay in the first-level cache, on `threads` threads together: nearly the peak of the machine's
/// FMA units.
fn fastest_products(threads: usize) -> f64 {
    const SIDE: usize = 64;
    const TIMES: usize = 2000;
    let run = || {
        let (a, b, mut c) = (vec![0.5f32; SIDE * SIDE], vec![0.5f32; SIDE * SIDE], vec![0f32; SIDE * SIDE]);
        let begin = Instant::now();
        for _ in 0..TIMES {
            let (a, b) = (View::new(&a, SIDE, SIDE), View::new(&b, SIDE, SIDE));
            gemm(1.0, a, b, false, ViewMut::new(&mut c, SIDE, SIDE));
        }
        (2 * SIDE * SIDE * SIDE * TIMES) as f64 / begin.elapsed().as_secs_f64()
    };
    let best = |_| (0..10).map(|_| run()).fold(0.0, f64::max);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|t| scope.spawn(move || best(t))).collect();
        handles.into_iter().filter_map(|handle| handle.join().ok()).sum()
    })
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
        token_shift: Some(false),
        optimizer: Some("adamw".into()),
        ..Default::default()
    }
}
