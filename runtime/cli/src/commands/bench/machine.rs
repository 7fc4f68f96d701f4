//! `siskin bench --machine`: what this machine can do at most.

use super::median;
use crate::args::BenchArgs;
use crate::memory;
use crate::out::{Failure, Out, Progress, next};
use crate::units;
use serde_json::{Value, json};
use siskin::{Isa, Machine, SessionOptions};

/// Most bytes that are read to measure memory; more than most caches hold.
const MEMORY: u64 = 256 << 20;
/// Bytes per thread that stay in caches.
const CACHED: [u64; 3] = [12 << 20, 4 << 20, 256 << 10];

/// The measurements of a model of `bytes`; `None` where memory is short.
pub fn for_reading(isa: Isa, bytes: u64) -> Option<Machine> {
    let bytes = bytes.min(MEMORY) as usize;
    // Never what makes the system run out.
    let free = memory::available().is_none_or(|free| bytes < free / 4);
    if free { Machine::new(isa, bytes).ok() } else { None }
}

/// Measures and prints the limits for one thread and for all.
pub fn machine(args: &BenchArgs) -> Result<(), Failure> {
    let isa = Isa::detect()?;
    let all = SessionOptions { threads: args.threads, ..SessionOptions::default() }.n_threads();
    let machine = for_reading(isa, MEMORY)
        .ok_or_else(|| Failure::Failed(format!("{} of memory to read are not free", units::bytes(MEMORY))))?;
    let mut progress = Progress::new();
    let mut columns = Vec::new();
    for threads in if all > 1 { vec![1, all] } else { vec![1] } {
        progress.show(|| format!("measuring {}", units::plural(threads as u64, "thread")));
        columns.push(Limits::measure(&machine, threads, args.reps));
    }
    progress.clear();
    let mut out = Out::new();
    if args.json {
        out.json(
            &json!({"isa": isa.name(), "limits": columns.iter().map(Limits::json).collect::<Vec<_>>()}),
        )?;
    } else {
        out.text(&table(isa, &columns))?;
    }
    out.flush()?;
    next("siskin bench MODEL");
    Ok(())
}

/// What so many threads reach together.
struct Limits {
    threads: usize,
    memory: f64,                 // bytes/s
    cached: [f64; CACHED.len()], // bytes/s
    int8: f64,                   // operations/s
    f32: f64,                    // operations/s
}

impl Limits {
    /// Medians of `reps` measurements each.
    fn measure(machine: &Machine, threads: usize, reps: usize) -> Limits {
        let medians =
            |measure: &dyn Fn() -> f64| median(&mut (0..reps).map(|_| measure()).collect::<Vec<_>>());
        Limits {
            threads,
            memory: medians(&|| machine.read(MEMORY as usize, threads)),
            cached: CACHED.map(|bytes| medians(&|| machine.read(bytes as usize * threads, threads))),
            int8: medians(&|| machine.int8(threads)),
            f32: medians(&|| machine.f32(threads)),
        }
    }

    fn json(&self) -> Value {
        let cached = CACHED.iter().zip(self.cached);
        let cached = cached.map(|(bytes, rate)| json!({"bytes_per_thread": bytes, "bytes_per_second": rate}));
        json!({
            "threads": self.threads,
            "memory_bytes_per_second": self.memory,
            "cached": cached.collect::<Vec<_>>(),
            "int8_operations_per_second": self.int8,
            "f32_operations_per_second": self.f32,
        })
    }
}

fn table(isa: Isa, columns: &[Limits]) -> String {
    let line = |name: &str, cell: &dyn Fn(&Limits) -> String| {
        let cells: String = columns.iter().map(|limits| format!("{:>16}", cell(limits))).collect();
        format!("{name:<32}{cells}\n")
    };
    let rate = |rate: f64| format!("{}/s", units::bytes(rate as u64));
    let mut text = line(isa.name(), &|limits| units::plural(limits.threads as u64, "thread"));
    text += &line(&format!("read, {} in all", units::bytes(MEMORY)), &|limits| rate(limits.memory));
    for (i, bytes) in CACHED.into_iter().enumerate() {
        text += &line(&format!("read, {} a thread", units::bytes(bytes)), &|limits| rate(limits.cached[i]));
    }
    text += &line("int8 multiply-adds", &|limits| units::operations(limits.int8));
    text + &line("f32 multiply-adds", &|limits| units::operations(limits.f32))
}
