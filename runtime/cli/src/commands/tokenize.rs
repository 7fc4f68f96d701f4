//! `siskin tokenize`: text to ids, and back.

use crate::args::TokenizeArgs;
use crate::memory;
use crate::open;
use crate::out::{Failure, Out, next};
use crate::text::{MAX_PROMPT, Source};
use crate::units;
use siskin::{Encoder, Tokenizer};
use std::fmt::Write;
use std::io::{BufRead, BufReader, Read};

/// Prints the ids of each line, or the text of each line of ids.
pub fn tokenize(args: &TokenizeArgs) -> Result<(), Failure> {
    let source = Source::open(&args.text.text)?;
    memory::check_file(&args.model)?;
    let file = open::file(&args.model.model, !args.model.no_mmap)?;
    let tokenizer = Tokenizer::from_vocab(file.vocab()).map_err(Failure::failed)?;
    let mut encoder = tokenizer.encoder();
    let mut out = Out::new();
    let (reader, name) = source.into_parts();
    let mut reader = BufReader::with_capacity(1 << 16, reader);
    let (mut line, mut number) = (Vec::new(), 0u64);
    loop {
        number += 1;
        line.clear();
        let failed = |error: &dyn std::fmt::Display| {
            Failure::Failed(format!("{}: line {number}: {error}", name.display()))
        };
        let read = (&mut reader).take(MAX_PROMPT).read_until(b'\n', &mut line);
        if read.map_err(|error| failed(&error))? == 0 {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() as u64 == MAX_PROMPT {
            return Err(failed(&format_args!("a line has at most {} MiB", MAX_PROMPT >> 20)));
        }
        if args.decode {
            out.bytes(&decode(&tokenizer, &line).map_err(|error| failed(&error))?)?;
            out.bytes(b"\n")?;
        } else {
            out.line(encode(&mut encoder, &line).map_err(|error| failed(&error))?)?;
        }
    }
    out.flush()?;
    let (model, text) = (units::quoted(&args.model.model), units::quoted(&args.text.text));
    match args.decode {
        true => next(format_args!("siskin run {model}")),
        false => next(format_args!("siskin eval {model} --text {text}")),
    }
    Ok(())
}

fn encode(encoder: &mut Encoder<'_>, line: &[u8]) -> Result<String, siskin::TokenizerError> {
    let mut ids = Vec::new();
    encoder.encode_into(line, &mut ids)?;
    let mut text = String::with_capacity(4 * ids.len());
    for id in ids {
        let space = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{space}{id}"); // a string takes everything
    }
    Ok(text)
}

fn decode(tokenizer: &Tokenizer, line: &[u8]) -> Result<Vec<u8>, String> {
    let text = String::from_utf8_lossy(line);
    let vocab_size = tokenizer.vocab_size();
    let mut ids = Vec::new();
    for word in text.split_ascii_whitespace() {
        let id = word.parse::<u32>().ok().filter(|&id| (id as usize) < vocab_size);
        let id = id.ok_or_else(|| format!("{word:?} is no token, expected ids below {vocab_size}"))?;
        ids.push(id);
    }
    Ok(tokenizer.decode(&ids))
}
