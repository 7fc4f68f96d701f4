//! Throughput of several sequences that step together, over a model of random weights in a known shape:
//! `cargo run --release -p siskin --example batch -- 110m q8 2`
//!
//! Prints tokens/s of decoding 1, 2, 4, 8 and 16 sequences, all of them together and against one, with 32 tokens of context.

mod shapes;

use shapes::{config, median, model, shape};
use siskin::{Batch, SessionOptions};
use siskin_format::DType;
use std::process::ExitCode;
use std::time::Instant;

const SLOTS: [usize; 5] = [1, 2, 4, 8, 16];
const PROMPT: usize = 32;
const STEPS: usize = 64;

/// Tokens per second of all slots together.
fn throughput(batch: &mut Batch, vocab_size: u32) -> Result<f64, siskin::Error> {
    let slots = batch.slots();
    let prompts: Vec<Vec<u32>> = (0..slots as u32)
        .map(|slot| (0..PROMPT as u32).map(|i| (slot * 91 + i * 37) % vocab_size).collect())
        .collect();
    for slot in 0..slots {
        batch.reset(slot)?;
    }
    let feeds: Vec<(usize, &[u32])> = prompts.iter().enumerate().map(|(slot, p)| (slot, &p[..])).collect();
    batch.forward(&feeds)?;
    let (start, mut n) = (Instant::now(), 0);
    while n < STEPS && start.elapsed().as_secs_f64() < 1.0 {
        let feeds: Vec<(usize, &[u32])> = prompts
            .iter()
            .enumerate()
            .map(|(slot, p)| (slot, std::slice::from_ref(&p[n % PROMPT])))
            .collect();
        batch.forward(&feeds)?;
        n += 1;
    }
    Ok((n * slots) as f64 / start.elapsed().as_secs_f64())
}

fn main() -> Result<ExitCode, siskin::Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (shape, dtype, threads) = match &args[..] {
        [name, dtype, threads] => (shape(name), DType::from_name(dtype), threads.parse().ok()),
        _ => (None, None, None),
    };
    let (Some(shape), Some(dtype), Some(threads)) = (shape, dtype, threads) else {
        eprintln!("usage: batch 260k|15m|110m|1b f32|f16|q8|q4 THREADS");
        return Ok(ExitCode::from(2));
    };
    let config = config(shape);
    let model = model(&config, dtype);
    let options =
        SessionOptions { threads: Some(threads), ctx: Some(PROMPT + STEPS), ..SessionOptions::default() };
    let mut batches: Vec<Batch> =
        SLOTS.iter().map(|slots| Batch::new(model.clone(), *slots, &options)).collect::<Result<_, _>>()?;
    // Rounds in turn, so that a slow minute of the machine touches all sizes alike.
    let mut rates = [const { Vec::new() }; SLOTS.len()];
    for _ in 0..5 {
        for (batch, rates) in batches.iter_mut().zip(&mut rates) {
            rates.push(throughput(batch, config.vocab_size as u32)?);
        }
    }
    let rates = rates.map(median);
    for (slots, rate) in SLOTS.iter().zip(rates) {
        println!(
            "{} {dtype} {threads} threads, {slots:2} sequences: {rate:8.1} tok/s, {:.2}x of one",
            args[0],
            rate / rates[0]
        );
    }
    Ok(ExitCode::SUCCESS)
}
