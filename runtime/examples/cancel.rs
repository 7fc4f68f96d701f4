//! How long a cancelled step goes on: `cargo run --release -p siskin --example cancel -- MODEL [THREADS]` (2)
//!
//! A hundred prompts of 512 tokens (or what the context holds) are cancelled from another thread at random moments. Prints the
//! time from the call of `cancel` to the return of the step beside the time of one token decoded after such a prompt.

use siskin::{Error, Model, Session, SessionOptions};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TRIES: usize = 100;

fn ms(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}

fn main() -> Result<ExitCode, Error> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(threads)) = (args.next(), args.next().map_or(Some(2), |a| a.parse().ok())) else {
        eprintln!("usage: cancel MODEL [THREADS]");
        return Ok(ExitCode::from(2));
    };
    let model = Arc::new(Model::open(path)?);
    let options = SessionOptions { threads: Some(threads), ..SessionOptions::default() };
    let mut session = Session::new(model.clone(), &options)?;
    let n = session.context().map_or(512, |ctx| (ctx - 32).min(512));
    let prompt: Vec<u32> = (0..n).map(|i| (i * 7919 % model.config().vocab_size) as u32).collect();
    let start = Instant::now();
    session.forward(&prompt)?;
    let whole = start.elapsed();
    let mut decode: Vec<Duration> = Vec::new();
    for _ in 0..32 {
        let start = Instant::now();
        session.forward(&[1])?;
        decode.push(start.elapsed());
    }
    decode.sort();
    let (mut late, mut seed) = (Vec::new(), 1u64);
    while late.len() < TRIES {
        session.reset();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let after = whole.mul_f64(0.9 * (seed >> 11) as f64 / (1u64 << 53) as f64);
        let flag = session.cancel_flag().clone();
        let (result, returned, cancelled) = std::thread::scope(|scope| {
            let canceller = scope.spawn(move || {
                std::thread::sleep(after);
                let at = Instant::now();
                flag.cancel();
                at
            });
            let result = session.forward(&prompt).map(drop);
            let returned = Instant::now();
            (result, returned, canceller.join().expect("it only sleeps"))
        });
        session.cancel_flag().clear();
        match result {
            Err(Error::Cancelled) => late.push(returned.saturating_duration_since(cancelled)),
            // The prompt was faster than the canceller.
            Ok(()) => {}
            Err(other) => return Err(other),
        }
        assert!(session.position() == 0 || session.position() == n, "half a prompt was left behind");
    }
    late.sort();
    let token = decode[decode.len() / 2];
    println!(
        "prompt of {n} tokens {:.0} ms, one token {:.2} ms; cancelled {TRIES} times: returned after {:.2} ms (median), {:.2} \
         (p90), {:.2} (p99), {:.2} (most); {} within one token",
        ms(whole),
        ms(token),
        ms(late[TRIES / 2]),
        ms(late[TRIES * 9 / 10]),
        ms(late[TRIES * 99 / 100]),
        ms(late[TRIES - 1]),
        late.iter().filter(|t| **t <= token).count(),
    );
    Ok(ExitCode::SUCCESS)
}
