//! Fuzzes one target with random bytes and changed seeds, on any compiler and without looking at coverage:
//!
//! ```text
//! cargo run --release -p siskin-tests --example hammer -- TARGET [--seconds N] [--seed S] [--every N]
//! cargo run --release -p siskin-tests --example hammer -- TARGET FILE…       tries those inputs
//! cargo run --release -p siskin-tests --example hammer -- TARGET --unpack DIR  writes what it begins with
//! cargo run --release -p siskin-tests --example hammer -- TARGET --pack DIR  packs what libFuzzer found
//! ```
//!
//! A panic (a bound on memory broken is one), or an input that takes more than a second, is written to a file in the
//! working folder and ends the run with status 1. The same seed gives the same inputs.

use siskin_tests::alloc::{Counting, peak_of};
use siskin_tests::fuzz::{TARGETS, Target, pack, target};
use siskin_tests::models::Rng;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What one input may take.
const LIMIT: Duration = Duration::from_secs(1);
/// Bytes of found inputs that are kept for a target.
const MOST_FOUND: usize = 50_000;
/// What ends the program from outside, should an input never end.
const HANG: Duration = Duration::from_secs(30);

struct Args {
    target: Target,
    seconds: u64,
    seed: u64,
    every: u64,
    unpack: Option<String>,
    pack: Option<String>,
    files: Vec<String>,
}

fn main() -> ExitCode {
    let Some(args) = args() else {
        let names = TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join("|");
        eprintln!(
            "usage: hammer {names} [--seconds N] [--seed S] [--every N] [--unpack DIR | --pack DIR | FILE…]"
        );
        return ExitCode::from(2);
    };
    if let Some(folder) = &args.unpack {
        return unpack(args.target, Path::new(folder));
    }
    if let Some(folder) = &args.pack {
        return pack_found(args.target, Path::new(folder));
    }
    if !args.files.is_empty() {
        for path in &args.files {
            let data = std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
            (args.target.run)(&data);
        }
        println!("{}: {} inputs pass", args.target.name, args.files.len());
        return ExitCode::SUCCESS;
    }
    hammer(&args)
}

fn args() -> Option<Args> {
    let mut given = std::env::args().skip(1);
    let target = target(&given.next()?)?;
    let mut args =
        Args { target, seconds: 10, seed: 1, every: 60, unpack: None, pack: None, files: Vec::new() };
    while let Some(arg) = given.next() {
        match arg.as_str() {
            "--seconds" => args.seconds = given.next()?.parse().ok()?,
            "--seed" => args.seed = given.next()?.parse().ok()?,
            "--every" => args.every = given.next()?.parse().ok()?,
            "--unpack" => args.unpack = Some(given.next()?),
            "--pack" => args.pack = Some(given.next()?),
            file => args.files.push(file.to_string()),
        }
    }
    Some(args)
}

fn unpack(target: Target, folder: &Path) -> ExitCode {
    std::fs::create_dir_all(folder).expect("the folder can be made");
    for (index, input) in target.inputs().iter().enumerate() {
        std::fs::write(folder.join(format!("{index:05}")), input).expect("the folder can be written");
    }
    ExitCode::SUCCESS
}

/// Short inputs first, as many as a clone should carry.
fn pack_found(target: Target, folder: &Path) -> ExitCode {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let mut found: Vec<Vec<u8>> = paths.map(|path| std::fs::read(path).expect("a file")).collect();
    found.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    found.dedup();
    let mut bytes = 0;
    found.retain(|input| {
        bytes += 4 + input.len();
        bytes <= MOST_FOUND
    });
    let path = siskin_tests::root().join("tests/fuzz/seeds").join(target.name);
    std::fs::write(&path, pack(&found)).expect("the repository can be written");
    println!("{}: {} inputs", path.display(), found.len());
    ExitCode::SUCCESS
}

/// When the input being tried began, and what it is, for the watch.
static CURRENT: Mutex<(Option<Instant>, Vec<u8>)> = Mutex::new((None, Vec::new()));

/// What a run has seen.
#[derive(Default)]
struct Tally {
    executions: u64,
    slowest: Duration,
    slowest_input: Vec<u8>,
    peak: usize,
}

impl Tally {
    fn print(&self, name: &str, seed: u64, elapsed: Duration) {
        println!(
            "{name} seed {seed}: {} executions in {:.0} s, {:.0}/s, slowest {:.3} ms ({} bytes), peak {} bytes",
            self.executions,
            elapsed.as_secs_f64(),
            self.executions as f64 / elapsed.as_secs_f64(),
            1e3 * self.slowest.as_secs_f64(),
            self.slowest_input.len(),
            self.peak
        );
    }
}

fn hammer(args: &Args) -> ExitCode {
    let Args { target, seconds, seed, every, .. } = *args;
    let seeds = target.inputs();
    seeds.iter().for_each(|seed| (target.run)(seed));
    watch(target.name);
    let mut rng = Rng::new(seed);
    let (start, mut printed) = (Instant::now(), Instant::now());
    let mut tally = Tally::default();
    let mut data = Vec::new();
    while start.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..256 {
            make_input(&mut data, &seeds, target.max_len, &mut rng);
            let began = Instant::now();
            let mut current = CURRENT.lock().expect("nobody panics with it");
            current.0 = Some(began);
            current.1.clone_from(&data);
            drop(current);
            let (result, peak) = peak_of(|| catch_unwind(|| (target.run)(&data)));
            let mut took = began.elapsed();
            if result.is_err() {
                return save(target.name, "panic", &data);
            }
            if took > LIMIT {
                took = again(target, &data); // a busy machine may have been the reason
                if took > LIMIT {
                    return save(target.name, "slow", &data);
                }
            }
            tally.executions += 1;
            tally.peak = tally.peak.max(peak);
            if took > tally.slowest {
                tally.slowest = took;
                tally.slowest_input.clone_from(&data);
            }
        }
        if printed.elapsed() > Duration::from_secs(every) {
            printed = Instant::now();
            tally.print(target.name, seed, start.elapsed());
        }
    }
    tally.print(target.name, seed, start.elapsed());
    ExitCode::SUCCESS
}

/// Half of the inputs are random bytes, the others seeds with some bytes changed; most are short.
fn make_input(data: &mut Vec<u8>, seeds: &[Vec<u8>], max_len: usize, rng: &mut Rng) {
    data.clear();
    let how = rng.next_u64();
    let len = 1 + ((how >> 8) as usize & 0xffff) * max_len / 0x1_0000;
    if how & 1 == 0 {
        while data.len() < len {
            data.extend(rng.next_u64().to_le_bytes());
        }
        data.truncate(len);
        return;
    }
    data.extend(&seeds[rng.below(seeds.len())]);
    for _ in 0..1 + (how >> 32 & 7) {
        let change = rng.next_u64();
        let at = (change >> 16) as usize % (data.len() + 1);
        match change & 3 {
            0 | 1 if at < data.len() => data[at] = (change >> 8) as u8,
            2 if at < data.len() => data[at] ^= 1 << (change >> 8 & 7),
            _ if data.len() < 2 * max_len => data.extend(rng.next_u64().to_le_bytes()),
            _ => data.truncate(at),
        }
    }
}

/// The shortest of three further tries.
fn again(target: Target, data: &[u8]) -> Duration {
    let tries = [(); 3].map(|()| {
        let began = Instant::now();
        (target.run)(data);
        began.elapsed()
    });
    tries.into_iter().min().expect("three")
}

fn save(name: &str, what: &str, data: &[u8]) -> ExitCode {
    let path = format!("{name}-{what}-{:016x}", siskin_format::xxh64::xxh64(data));
    std::fs::write(&path, data).expect("the working folder can be written");
    eprintln!("{name}: {what}: the input is in {path}");
    ExitCode::FAILURE
}

/// Ends the program when an input takes far too long.
fn watch(name: &'static str) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let current = CURRENT.lock().expect("nobody panics with it");
            if current.0.is_some_and(|began| began.elapsed() > HANG) {
                save(name, "hang", &current.1);
                std::process::exit(1);
            }
        }
    });
}
