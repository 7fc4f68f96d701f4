//! Speed of encoding beside the `tokenizers` crate: the same tokenizer, the same texts, one core, in turns.
//!
//! ```text
//! cargo run --release -p siskin-tests --example encode_speed -- TOKENIZER.json TEXT...
//! ```
//!
//! Each text is cut into pieces of about 16 KiB at line ends, and both encode piece by piece (the crate without offsets,
//! `encode_fast`, which is its fastest way) and keep their caches of words. Five rounds each, in turns; the table shows the
//! medians. Exits with 1 if an id differs.

use siskin::Tokenizer;
use siskin_convert::tokenizer::{JsonTokenizer, from_json};
use siskin_format::vocab::SpecialIds;
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs};

const PIECE: usize = 16 * 1024;
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let [json, texts @ ..] = &args[..] else {
        eprintln!("usage: encode_speed TOKENIZER.json TEXT...");
        return ExitCode::from(2);
    };
    let tokenizer = fs::read_to_string(json).expect("the tokenizer can be read");
    let source = JsonTokenizer { tokenizer: &tokenizer, config: None, special: SpecialIds::default() };
    let n_tokens = 1 << 17; // more than the tokenizers that this is for have
    let vocab = from_json(Path::new(json), &source, n_tokens).expect("siskin knows the tokenizer").vocab;
    let ours = Tokenizer::from_vocab(&vocab).expect("siskin knows the vocabulary");
    let theirs = tokenizers::Tokenizer::from_file(json).expect("the crate knows the tokenizer");
    println!(
        "{:<28} {:>8} {:>9} {:>13} {:>15} {:>7}",
        "text", "MB", "tokens", "siskin MB/s", "tokenizers MB/s", "ratio"
    );
    let mut same = true;
    for path in texts {
        let text = fs::read_to_string(path).expect("the text can be read");
        same &= measure(path, &text, &ours, &theirs);
    }
    if same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(path: &str, text: &str, ours: &Tokenizer, theirs: &tokenizers::Tokenizer) -> bool {
    let pieces = pieces(text);
    let (mut our_ids, mut their_ids) = (Vec::new(), Vec::new());
    let (mut our_seconds, mut their_seconds) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut encoder = ours.encoder();
        our_ids.clear();
        for piece in &pieces {
            encoder.encode_into(piece.as_bytes(), &mut our_ids).expect("the vocabulary has all bytes");
        }
        black_box(&our_ids);
        our_seconds.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        their_ids.clear();
        for piece in &pieces {
            let encoding = theirs.encode_fast(*piece, false).expect("the crate encodes");
            their_ids.extend_from_slice(encoding.get_ids());
        }
        black_box(&their_ids);
        their_seconds.push(start.elapsed().as_secs_f64());
    }
    let speed = |seconds: &mut Vec<f64>| {
        seconds.sort_by(f64::total_cmp);
        text.len() as f64 / 1e6 / seconds[ROUNDS / 2]
    };
    let (our_speed, their_speed) = (speed(&mut our_seconds), speed(&mut their_seconds));
    let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
    println!(
        "{name:<28} {:>8.2} {:>9} {our_speed:>13.1} {their_speed:>15.1} {:>7.1}",
        text.len() as f64 / 1e6,
        our_ids.len(),
        our_speed / their_speed
    );
    let same = our_ids == their_ids;
    if !same {
        println!("    the ids differ");
    }
    same
}

fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > PIECE {
        let cut = rest.as_bytes()[PIECE..].iter().position(|&byte| byte == b'\n');
        let (piece, tail) = rest.split_at(cut.map_or(rest.len(), |at| PIECE + at + 1));
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    pieces
}
