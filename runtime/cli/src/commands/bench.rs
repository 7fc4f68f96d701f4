//! `siskin bench`: how fast a model runs here.

use crate::args::{BenchArgs, SessionArgs};
use crate::open;
use crate::out::{Failure, Out, Progress, next};
use crate::units;
use serde_json::{Value, json};
use siskin::replay::greatest;
use siskin::{Model, Session};
use siskin_format::config::Position;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Measures prompt, generation, start and memory; medians of the repetitions.
pub fn bench(args: &BenchArgs) -> Result<(), Failure> {
    let (model, _) = open::model(&args.model)?;
    let session_args = SessionArgs { threads: args.threads, ctx: None };
    let mut session = open::session(&model, &session_args)?;
    let (n_prompt, n_gen) = lengths(args, session.context())?;
    let prompt = prompt(model.config().vocab_size, n_prompt);
    let mut progress = Progress::new();
    let (mut prompt_rates, mut gen_rates, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms caches and page tables up and is not counted.
    for rep in 0..=args.reps {
        progress.show(|| format!("repetition {rep} of {}", args.reps));
        let (prompt_rate, gen_rate) = repetition(&mut session, &prompt, n_gen)?;
        let start = time_to_first_token(args)?;
        if rep > 0 {
            prompt_rates.push(prompt_rate);
            gen_rates.push(gen_rate);
            starts.push(start);
        }
    }
    progress.clear();
    let figures = Figures {
        n_prompt,
        n_gen,
        prompt_rate: median(prompt_rates),
        gen_rate: median(gen_rates),
        first_token: median(starts),
        weight_bytes: streamed_bytes(&model),
        session_bytes: session.bytes() as u64,
        resident: resident_bytes(),
        isa: session.isa().name(),
        threads: session.n_threads(),
    };
    let mut out = Out::new();
    match args.json {
        true => out.json(&figures.json())?,
        false => out.text(&figures.table())?,
    }
    out.flush()?;
    next(format_args!("siskin info {} --cpu", units::quoted(&args.model.model)));
    Ok(())
}

struct Figures {
    n_prompt: usize,
    n_gen: usize,
    prompt_rate: f64,  // tokens/s
    gen_rate: f64,     // tokens/s
    first_token: f64,  // s, of a fresh process
    weight_bytes: u64, // read for each generated token
    session_bytes: u64,
    resident: Option<u64>,
    isa: &'static str,
    threads: usize,
}

impl Figures {
    fn json(&self) -> Value {
        json!({
            "prompt_tokens": self.n_prompt,
            "prompt_tokens_per_second": self.prompt_rate,
            "generated_tokens": self.n_gen,
            "generated_tokens_per_second": self.gen_rate,
            "first_token_seconds": self.first_token,
            "weight_bytes_per_token": self.weight_bytes,
            "weight_bytes_per_second": self.weight_bytes as f64 * self.gen_rate,
            "session_bytes": self.session_bytes,
            "resident_bytes": self.resident,
            "isa": self.isa,
            "threads": self.threads,
        })
    }

    fn table(&self) -> String {
        let per_token = units::bytes(self.weight_bytes);
        let bandwidth = units::bytes((self.weight_bytes as f64 * self.gen_rate) as u64);
        let resident = self.resident.map_or("unknown".into(), units::bytes);
        let threads = units::plural(self.threads as u64, "thread");
        let rows = [
            ("kernels", format!("{}, {threads}", self.isa)),
            ("prompt", format!("{} tokens/s ({} tokens)", units::rate(self.prompt_rate), self.n_prompt)),
            ("generation", format!("{} tokens/s ({} tokens)", units::rate(self.gen_rate), self.n_gen)),
            (
                "first token",
                format!(
                    "{} after the start of a process, opening included",
                    units::seconds(self.first_token)
                ),
            ),
            ("weights", format!("{per_token} read per generated token, {bandwidth}/s")),
            ("session", units::bytes(self.session_bytes)),
            ("resident", resident),
        ];
        rows.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect()
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

/// Seconds from the start of a fresh process to its first output: `siskin run` of one token.
fn time_to_first_token(args: &BenchArgs) -> Result<f64, Failure> {
    let failed = |error| Failure::Failed(format!("cannot start this program again to time it: {error}"));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["-q", "run", "-n", "1", "--temp", "0"]);
    if args.model.no_mmap {
        command.arg("--no-mmap");
    }
    if let Some(threads) = args.threads {
        command.arg(format!("--threads={threads}"));
    }
    command.arg("--").arg(&args.model.model);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let begun = Instant::now();
    let mut child = command.spawn().map_err(failed)?;
    // The end of the output counts as the first token where that has no text.
    let mut first = [0];
    let read = child.stdout.take().map(|mut stdout| stdout.read(&mut first));
    let seconds = begun.elapsed().as_secs_f64();
    let status = child.wait().map_err(failed)?;
    match read {
        Some(Ok(_)) if status.success() => Ok(seconds),
        _ => Err(Failure::Failed(format!("siskin run, started to be timed, ended with {status}"))),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}

/// Bytes of weights that one generated token reads: all but the rows of embedding and positions that it does not
/// look up.
fn streamed_bytes(model: &Model) -> u64 {
    let config = model.config();
    let looked_up = |name: &str, rows: usize| {
        let tensor = model.file().tensor(name).map_or(0, |tensor| tensor.bytes().len() as u64);
        tensor - tensor / rows as u64
    };
    let all: u64 = model.file().tensors().iter().map(|info| info.range.len() as u64).sum();
    let embedding = if config.tied_head { 0 } else { looked_up("embed.weight", config.vocab_size) };
    let positions = match config.position {
        Position::Learned => looked_up("position.weight", config.context),
        _ => 0,
    };
    all - embedding - positions
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
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![7.0]), 7.0);
    }
}
