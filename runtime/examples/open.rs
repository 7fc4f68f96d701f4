//! Where the time of opening goes: medians over many opens of the same files, which the system has in memory.
//!
//! ```text
//! cargo run --release -p siskin --example open -- [--times N] MODEL.siskin…
//! ```

use siskin::{Model, Session, SessionOptions, Tokenizer};
use siskin_format::{File, OpenOptions};
use std::sync::Arc;
use std::time::Instant;

const STAGES: [&str; 6] = ["file", "model", "tokenizer", "session", "first token", "in all"];

/// Milliseconds of each stage.
fn open(path: &str) -> [f64; STAGES.len()] {
    let begin = Instant::now();
    let mut last = begin;
    let mut lap = || {
        let ms = 1e3 * last.elapsed().as_secs_f64();
        last = Instant::now();
        ms
    };
    let file = File::open(path, &OpenOptions::default()).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file_ms = lap();
    let model = Arc::new(Model::from_file(file).unwrap_or_else(|error| panic!("{path}: {error}")));
    let model_ms = lap();
    let tokenizer = Tokenizer::from_vocab(model.file().vocab()).expect("a vocabulary of this version");
    let tokenizer_ms = lap();
    let options = SessionOptions { threads: Some(1), ..SessionOptions::default() };
    let mut session = Session::new(model, &options).unwrap_or_else(|error| panic!("{path}: {error}"));
    let session_ms = lap();
    let tokens = tokenizer.encode("a").unwrap_or_default();
    session.forward(&[tokens.first().copied().unwrap_or(0)]).expect("one token fits");
    let token_ms = lap();
    [file_ms, model_ms, tokenizer_ms, session_ms, token_ms, 1e3 * begin.elapsed().as_secs_f64()]
}

fn main() {
    let mut times = 100;
    let mut args = std::env::args().skip(1);
    println!("milliseconds     {}", STAGES.map(|stage| format!("{stage:>12}")).concat());
    while let Some(arg) = args.next() {
        if arg == "--times" {
            times = args.next().and_then(|n| n.parse().ok()).expect("--times takes a number");
            continue;
        }
        open(&arg);
        let runs: Vec<[f64; STAGES.len()]> = (0..times).map(|_| open(&arg)).collect();
        let median = |stage: usize| {
            let mut ms: Vec<f64> = runs.iter().map(|run| run[stage]).collect();
            ms.sort_unstable_by(f64::total_cmp);
            ms.get(ms.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let name = arg.rsplit('/').next().unwrap_or(&arg);
        let columns: String = (0..STAGES.len()).map(|stage| format!("{:12.4}", median(stage))).collect();
        println!("{name:<17}{columns}");
    }
}
