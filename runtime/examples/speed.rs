//! Speed of a model of random weights, in a shape that others publish figures for:
//! `cargo run --release -p siskin --example speed -- 15m q8 2`
//!
//! Prints tokens/s of decoding 256 tokens from an empty context and of a prompt of 128, and the bytes of weights that decoding reads per second.

mod shapes;

use shapes::{config, core_seconds, median, model, shape};
use siskin::{Session, SessionOptions};
use siskin_format::DType;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (shape, dtype) = match &args[..] {
        [name, dtype, _] => (shape(name), DType::from_name(dtype)),
        _ => (None, None),
    };
    let (Some(shape), Some(dtype)) = (shape, dtype) else {
        eprintln!("usage: speed 260k|15m|110m|1b f32|f16|q8|q4 THREADS[,THREADS]...");
        return ExitCode::from(2);
    };
    let config = config(shape);
    let model = model(&config, dtype);
    // Decoding reads every tensor once; the tied head is the embedding.
    let bytes: usize = model.file().tensors().iter().map(|info| info.range.len()).sum();
    for threads in args[2].split(',').filter_map(|n| n.parse().ok()) {
        let options = SessionOptions { threads: Some(threads), ..SessionOptions::default() };
        let mut session = match Session::new(model.clone(), &options) {
            Ok(session) => session,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        };
        let (mut decode, mut prompt, mut share) = (Vec::new(), Vec::new(), Vec::new());
        let tokens: Vec<u32> = (0..128).map(|i| i * 37 % config.vocab_size as u32).collect();
        for _ in 0..5 {
            let (start, core, mut n) = (Instant::now(), core_seconds(), 0);
            while start.elapsed().as_secs_f64() < 0.4 {
                if n % 256 == 0 {
                    session.reset();
                }
                session.forward(&[n * 7 % 500]).expect("room for a token");
                n += 1;
            }
            let seconds = start.elapsed().as_secs_f64();
            decode.push(n as f64 / seconds);
            share.extend(core.zip(core_seconds()).map(|(from, to)| (to - from) / seconds));
            let (start, mut n) = (Instant::now(), 0);
            while n == 0 || start.elapsed().as_secs_f64() < 0.2 {
                session.reset();
                session.forward(&tokens).expect("room for a prompt");
                n += tokens.len();
            }
            prompt.push(n as f64 / start.elapsed().as_secs_f64());
        }
        let (decode, prompt) = (median(decode), median(prompt));
        let share = if share.is_empty() { 1.0 } else { median(share) };
        println!(
            "{} {dtype} {threads} threads {}: decode {decode:.1} tok/s ({:.1} GB/s), prompt {prompt:.0} tok/s; \
             the caller had a core {:.0} % of the time",
            args[0],
            session.isa().name(),
            decode * bytes as f64 / 1e9,
            100.0 * share,
        );
    }
    ExitCode::SUCCESS
}
