//! Imports every GGUF file under a folder and compares its weights with those that gguf-py decoded.
//!
//! ```text
//! python3 trainer/convert/benches/gguf_values.py DATA OUT
//! cargo run --release -p siskin-convert --example gguf_goldens -- DATA [OUT]
//! ```
//!
//! Prints a line a file: what it is, its tensors and weights, how many weights differ from the reference in any bit, and how fast they were
//! decoded. Files that are refused are listed with the reason. Exits with 1 if a weight differs, or a file of `OUT` is refused.

use siskin_convert::{Options, open};
use siskin_format::{ModelConfig, schema};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(data), reference) = (args.next(), args.next()) else {
        eprintln!("usage: gguf_goldens DATA [OUT]");
        return ExitCode::from(2);
    };
    let mut files = Vec::new();
    find(&data, &mut files);
    files.sort();
    println!("{:<58} {:>7} {:>9} {:>9} {:>8}  what", "file", "tensors", "weights", "differing", "GB/s out");
    let mut is_sound = true;
    for file in &files {
        let name = file.strip_prefix(&data).unwrap_or(file);
        let expected = reference.as_ref().map(|folder| folder.join(name)).filter(|folder| folder.is_dir());
        is_sound &= check(file, name, expected.as_deref());
    }
    if files.is_empty() || !is_sound { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|end| end == "gguf") {
            files.push(path);
        }
    }
}

/// Whether the file is as expected.
fn check(file: &Path, name: &Path, expected: Option<&Path>) -> bool {
    let mut import = match open(file, &Options::default()) {
        Ok(import) => import,
        Err(error) => {
            println!("{:<58} refused: {error}", name.display());
            return expected.is_none();
        }
    };
    let (mut tensors, mut weights, mut differing, mut time) = (0, 0, 0, Duration::ZERO);
    for spec in schema(&import.config) {
        let start = Instant::now();
        let decoded = match import.weights.read(&spec) {
            Ok(decoded) => decoded,
            Err(error) => {
                println!("{:<58} {error}", name.display());
                return false;
            }
        };
        time += start.elapsed();
        tensors += 1;
        weights += decoded.len();
        if let Some(folder) = expected {
            differing += count_differing(&decoded, &folder.join(format!("{}.f32", spec.name)));
        }
    }
    let speed = 4e-9 * weights as f64 / time.as_secs_f64();
    let differing_text = if expected.is_some() { differing.to_string() } else { "?".to_string() };
    let what = describe(&import.config);
    println!("{:<58} {tensors:>7} {weights:>9} {differing_text:>9} {speed:>8.2}  {what}", name.display());
    for note in &import.notes {
        println!("{:<58} note: {note}", "");
    }
    differing == 0
}

/// How many weights are not the bits of the file, all if it is not there or of another length.
fn count_differing(decoded: &[f32], file: &Path) -> usize {
    let bytes = std::fs::read(file).unwrap_or_default();
    let (words, _) = bytes.as_chunks::<4>();
    if words.len() != decoded.len() {
        return decoded.len();
    }
    decoded.iter().zip(words).filter(|(d, word)| d.to_bits() != u32::from_le_bytes(**word)).count()
}

fn describe(config: &ModelConfig) -> String {
    format!(
        "{} blocks of {} {:?}, {} tokens, context {}, {}",
        config.n_layers(),
        config.d_model,
        config.position,
        config.vocab_size,
        config.context,
        if config.tied_head { "tied" } else { "untied" }
    )
}
