//! Opens a model from elsewhere and writes it as a safetensors folder, without going through a `.siskin` file.
//!
//! ```text
//! cargo run --release -p siskin-convert --example reexport -- SRC FOLDER [TOKENIZER]
//! ```
//!
//! `check_reexport.py` beside this file does so with the staged models and compares what transformers and PyTorch compute with them.

use siskin_convert::{Options, open, safetensors};
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let (Some(source), Some(folder)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: reexport SRC FOLDER [TOKENIZER]");
        return ExitCode::from(2);
    };
    let options = Options { tokenizer: arguments.next(), placeholder_vocab: true };
    let done = open(&source, &options).and_then(|mut import| {
        import.notes.iter().for_each(|note| eprintln!("note: {note}"));
        safetensors::write(&folder, &import.config, &import.vocab, &mut *import.weights)
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
