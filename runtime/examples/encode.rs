//! Speed of an encoder of random weights, in a shape that others publish figures for, with as many blocks as its decoder:
//! `cargo run --release -p siskin --example encode -- 15m q8 2`
//!
//! Prints tokens/s of encoding sources of some lengths. One thread is timed by its core's time, which neighbours change less.

mod shapes;

use shapes::{config, core_seconds, median, model, shape};
use siskin::{Session, SessionOptions};
use siskin_format::{BlockConfig, DType, ModelConfig};
use std::process::ExitCode;
use std::time::Instant;

/// Lengths of sources.
const LENS: [u32; 4] = [16, 64, 256, 1024];

/// The model as the decoder of an encoder of the same blocks.
fn with_encoder(mut config: ModelConfig) -> ModelConfig {
    for block in &mut config.blocks {
        if let BlockConfig::Transformer(t) = block {
            config.encoder.push(t.clone());
            t.cross_attention = true;
        }
    }
    config
}

/// Median seconds of `step`: those that this thread had a core, where it is `alone` and the system tells.
fn seconds(alone: bool, mut step: impl FnMut() -> Result<(), siskin::Error>) -> Result<f64, siskin::Error> {
    let start = Instant::now();
    let clock = || core_seconds().filter(|_| alone).unwrap_or_else(|| start.elapsed().as_secs_f64());
    let mut all = Vec::new();
    for _ in 0..9 {
        let (from, mut n) = (clock(), 0);
        while clock() - from < 0.1 {
            step()?;
            n += 1;
        }
        all.push((clock() - from) / f64::from(n));
    }
    Ok(median(all))
}

fn main() -> Result<ExitCode, siskin::Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (shape, dtype, threads) = match &args[..] {
        [name, dtype, threads] => (shape(name), DType::from_name(dtype), threads.parse().ok()),
        _ => (None, None, None),
    };
    let (Some(shape), Some(dtype), Some(threads)) = (shape, dtype, threads) else {
        eprintln!("usage: encode 260k|15m|110m|1b f32|f16|q8|q4 THREADS");
        return Ok(ExitCode::from(2));
    };
    let config = with_encoder(config(shape));
    let options = SessionOptions { threads: Some(threads), ..SessionOptions::default() };
    let mut session = Session::new(model(&config, dtype), &options)?;
    for len in LENS {
        let source: Vec<u32> = (0..len).map(|i| i * 37 % config.vocab_size as u32).collect();
        let each = seconds(threads == 1, || session.encode(&source))?;
        println!("{} {dtype}, source of {len}: {:.0} tok/s", args[0], f64::from(len) / each);
    }
    Ok(ExitCode::SUCCESS)
}
