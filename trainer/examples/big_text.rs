//! Writes a text of any size, for measurements: the same bytes each time, of sentences of Shakespeare in random order with names and numbers between
//! them, so that neither words nor characters run out and no stretch comes twice.
//!
//! ```text
//! cargo run --release -p siskin-trainer --example big_text -- 4G big.txt
//! ```

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use siskin_trainer::rng::Rng;

const SENTENCES: &str = include_str!("../data/shakespeare.txt");

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(size), [_, path]) = (args.first().and_then(|size| bytes(size)), &args[..]) else {
        eprintln!("usage: big_text SIZE FILE, with SIZE as in 40M or 4G (powers of ten)");
        return ExitCode::from(2);
    };
    match File::create(path).and_then(|file| write(size, BufWriter::with_capacity(1 << 20, file))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write {path}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `40M` as 40,000,000.
fn bytes(size: &str) -> Option<u64> {
    let (number, unit) = match size.strip_suffix(['K', 'M', 'G']) {
        Some(number) => (number, size.chars().last()?),
        None => (size, ' '),
    };
    let unit = match unit {
        'K' => 1_000,
        'M' => 1_000_000,
        'G' => 1_000_000_000,
        _ => 1,
    };
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|bytes| *bytes > 0)
}

/// Writes exactly `size` bytes.
fn write(size: u64, mut out: impl Write) -> io::Result<()> {
    let speeches: Vec<&str> = SENTENCES.split("\n\n").filter(|speech| !speech.is_empty()).collect();
    let mut rng = Rng::new(1);
    let (mut left, mut line) = (size, Vec::new());
    for scene in 1u64.. {
        line.clear();
        if rng.below(20) == 0 {
            writeln!(line, "SCENE {scene}. {} men and {} horses.\n", rng.below(90_000), rng.below(1000))?;
        }
        let speech = speeches[rng.below(speeches.len() as u64) as usize];
        writeln!(line, "{speech}\n")?;
        let n = left.min(line.len() as u64);
        out.write_all(&line[..n as usize])?;
        left -= n;
        if left == 0 {
            break;
        }
    }
    out.flush()
}
