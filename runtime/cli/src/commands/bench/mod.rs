//! `siskin bench`: how fast a model runs here, and what this machine could do at most.

mod burn;
mod cost;
mod figures;
mod machine;
mod profile;
mod start;

use crate::args::{BenchArgs, ModelArgs, SessionArgs};
use crate::open;
use crate::out::{Failure, Out, Progress, next};
use crate::units;
use cost::Cost;
use figures::{Contended, Figures};
use profile::Profiles;
use siskin::replay::greatest;
use siskin::{Machine, Session};
use std::time::{Duration, Instant};

/// Most seconds that each half of the first round, which warms up, takes.
const WARM_UP: Duration = Duration::from_secs(1);
/// Least time beside a load.
const CONTENDED: Duration = Duration::from_secs(3);
/// Tokens of a prompt between looks at the clock while warming up.
const WARM_UP_PIECE: usize = 64;

/// Measures the model, or the machine alone.
pub fn bench(args: &BenchArgs) -> Result<(), Failure> {
    if args.burn {
        return burn::until_told();
    }
    let Some(path) = &args.model else { return machine::machine(args) };
    let model = ModelArgs { model: path.clone(), no_mmap: args.no_mmap, max_memory: None };
    let figures = measure(args, &model)?;
    let mut out = Out::new();
    match args.json {
        true => out.json(&figures.json())?,
        false => out.text(&figures.table())?,
    }
    out.flush()?;
    match args.profile {
        true => next("siskin bench --machine"),
        false => next(format_args!("siskin bench {} --profile", units::quoted(path))),
    }
    Ok(())
}

/// Prompt, generation, start, memory, and the machine's limits beside them; medians of the repetitions.
fn measure(args: &BenchArgs, model_args: &ModelArgs) -> Result<Figures, Failure> {
    let (model, _) = open::model(model_args)?;
    let why = "bench times a prompt and what goes on from it";
    open::refuse_encoder(&model, &model_args.model, why, "eval, which prints its speed")?;
    let session_args = SessionArgs { threads: args.threads, pin: args.pin, ctx: None };
    let mut session = open::session(&model, model_args, &session_args)?;
    let (n_prompt, n_gen) = lengths(args, session.context())?;
    let prompt = prompt(model.config().vocab_size, n_prompt);
    let cost = Cost::of(&model);
    let (isa, threads) = (session.isa(), session.n_threads());
    let machine = machine::for_reading(isa, cost.bytes_per_token);
    let mut progress = Progress::new();
    let mut rates = Rates::default();
    warm_up(&mut session, &prompt, n_gen)?;
    for rep in 0..args.reps {
        progress.show(|| format!("repetition {} of {}", rep + 1, args.reps));
        let (prompt_rate, gen_rate) = repetition(&mut session, &prompt, n_gen)?;
        rates.prompt.push(prompt_rate);
        rates.generation.push(gen_rate);
        rates.first_token.push(start::time_to_first_token(model_args, args.threads)?);
        rates.limits(&machine, &cost, threads);
    }
    let profiles = match args.profile {
        true => Some(Profiles::measure(&mut session, &prompt, n_gen, args.reps)?),
        false => None,
    };
    let contended = match args.contended {
        true => Some(contended(&mut session, &prompt, n_gen, args.reps)?),
        false => None,
    };
    progress.clear();
    Ok(Figures {
        n_prompt,
        n_gen,
        contended,
        prompt_rate: median(&mut rates.prompt),
        gen_rate: median(&mut rates.generation),
        first_token: median(&mut rates.first_token),
        read_rate: machine.is_some().then(|| median(&mut rates.read)),
        peak: machine.is_some().then(|| median(&mut rates.peak)),
        cost,
        session_bytes: session.bytes() as u64,
        resident: resident_bytes(),
        isa: isa.name(),
        threads,
        profiles,
    })
}

/// What each repetition measured.
#[derive(Default)]
struct Rates {
    prompt: Vec<f64>,
    generation: Vec<f64>,
    first_token: Vec<f64>,
    read: Vec<f64>,
    peak: Vec<f64>,
}

impl Rates {
    /// The machine's limits in the same seconds, since they drift on a shared one.
    fn limits(&mut self, machine: &Option<Machine>, cost: &Cost, threads: usize) {
        let Some(machine) = machine else { return };
        self.read.push(machine.read(cost.bytes_per_token as usize, threads));
        self.peak.push(if cost.int8 { machine.int8(threads) } else { machine.f32(threads) });
    }
}

/// Tokens of prompt and generation: as asked for, or what suits the context.
fn lengths(args: &BenchArgs, context: Option<usize>) -> Result<(usize, usize), Failure> {
    let Some(ctx) = context else { return Ok((args.prompt.unwrap_or(128), args.gen_tokens.unwrap_or(64))) };
    if ctx < 2 {
        return Err(Failure::Failed(
            "a context of 1 position leaves nothing to generate from a prompt".into(),
        ));
    }
    let n_prompt = args.prompt.unwrap_or_else(|| 128.min(ctx / 2));
    let n_gen = args.gen_tokens.unwrap_or_else(|| 64.min(ctx.saturating_sub(n_prompt)).max(1));
    if n_prompt.saturating_add(n_gen) > ctx {
        return Err(Failure::Failed(format!(
            "--prompt {n_prompt} and --gen {n_gen} need more than the context of {ctx} positions: ask for fewer"
        )));
    }
    Ok((n_prompt, n_gen))
}

/// Ids that jump about the vocabulary, the same each time.
fn prompt(vocab_size: usize, n: usize) -> Vec<u32> {
    (0..n as u64).map(|i| (i * 7919 % vocab_size as u64) as u32).collect()
}

/// Fills caches and page tables as a repetition would, but not for long.
fn warm_up(session: &mut Session, prompt: &[u32], n_gen: usize) -> Result<(), Failure> {
    let begun = Instant::now();
    for piece in prompt.chunks(WARM_UP_PIECE) {
        session.forward(piece)?;
        if begun.elapsed() > WARM_UP {
            break;
        }
    }
    let (begun, mut n) = (Instant::now(), 0);
    while n < n_gen && begun.elapsed() < WARM_UP {
        session.forward(&prompt[..1])?;
        n += 1;
    }
    Ok(())
}

/// Tokens per second of one prompt and of the greedy generation after it.
fn repetition(session: &mut Session, prompt: &[u32], n_gen: usize) -> Result<(f64, f64), Failure> {
    session.reset();
    let begun = Instant::now();
    let mut token = greatest(session.forward(prompt)?);
    let prompt_seconds = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    for _ in 0..n_gen {
        token = greatest(session.forward(&[token])?);
    }
    Ok((prompt.len() as f64 / prompt_seconds, n_gen as f64 / begun.elapsed().as_secs_f64()))
}

/// The same beside a load on every core, long enough for the scheduler to turn many times.
fn contended(session: &mut Session, prompt: &[u32], n_gen: usize, reps: usize) -> Result<Contended, Failure> {
    let _burners = burn::Burners::start()?;
    let (begun, mut prompt_rates, mut gen_rates) = (Instant::now(), Vec::new(), Vec::new());
    while prompt_rates.len() < reps || begun.elapsed() < CONTENDED {
        let (prompt_rate, gen_rate) = repetition(session, prompt, n_gen)?;
        prompt_rates.push(prompt_rate);
        gen_rates.push(gen_rate);
    }
    Ok(Contended { prompt_rate: mean_time(&prompt_rates), gen_rate: mean_time(&gen_rates) })
}

/// The rate of all repetitions together, which a stall lowers as it should.
fn mean_time(rates: &[f64]) -> f64 {
    rates.len() as f64 / rates.iter().map(|rate| 1.0 / rate).sum::<f64>()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}

/// Memory of this process that is in RAM, mapped weights included; Linux only.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_those_of_sorted_values() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut [7.0]), 7.0);
    }
}
