//! Where the time of a step goes, over a model of random weights in a known shape:
//! `cargo run --release -p siskin --example stages -- 110m q8 2`
//!
//! Prints the stages of a prompt of 512 tokens, and of decoding behind it and at the end of a context of 1,024.

mod shapes;

use shapes::{config, model, shape};
use siskin::{Session, SessionOptions};
use siskin_format::DType;
use std::process::ExitCode;

fn print(what: &str, session: &Session, tokens: usize) {
    let total = session.profile().seconds();
    println!("{what}: {:.1} tok/s", tokens as f64 / total);
    for time in session.profile().stages() {
        let share = 100.0 * time.seconds / total;
        let each = 1e6 * time.seconds / time.calls as f64;
        println!("  {:<16} {share:5.1} %  {each:9.1} µs a call", time.stage.name());
    }
}

fn main() -> Result<ExitCode, siskin::Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (shape, dtype, threads) = match &args[..] {
        [name, dtype, threads] => (shape(name), DType::from_name(dtype), threads.parse().ok()),
        _ => (None, None, None),
    };
    let (Some(shape), Some(dtype), Some(threads)) = (shape, dtype, threads) else {
        eprintln!("usage: stages 260k|15m|110m|1b f32|f16|q8|q4 THREADS");
        return Ok(ExitCode::from(2));
    };
    let config = config(shape);
    let model = model(&config, dtype);
    let options = SessionOptions { threads: Some(threads), ..SessionOptions::default() };
    let mut session = Session::new(model, &options)?;
    let prompt: Vec<u32> = (0..512).map(|i| i * 37 % config.vocab_size as u32).collect();
    session.forward(&prompt)?;
    session.reset();
    session.set_profiling(true);
    session.forward(&prompt)?;
    print("prompt of 512", &session, 512);
    session.set_profiling(true);
    for token in 0..32 {
        session.forward(&[token])?;
    }
    print("decoding behind it", &session, 32);
    session.forward(&prompt[..440])?;
    session.set_profiling(true);
    for token in 0..32 {
        session.forward(&[token])?;
    }
    print("decoding up to 1,024", &session, 32);
    Ok(ExitCode::SUCCESS)
}
