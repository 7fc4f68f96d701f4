//! `siskin chat`: write with the model, line by line.

use super::run::{encode_prompt, generate_options, seed};
use crate::args::ChatArgs;
use crate::open;
use crate::out::{Failure, Out, error_line, is_quiet, next, note};
use crate::text::MAX_PROMPT;
use crate::units;
use siskin::{Generator, Stop};
use std::io::{self, BufRead, IsTerminal, Read, Write};

/// Reads lines and lets the model go on after each, until the input ends.
pub fn chat(args: &ChatArgs) -> Result<(), Failure> {
    let seed = seed(&args.sampler);
    let options = generate_options(&args.sampler, seed)?;
    let (model, tokenizer) = open::model(&args.model)?;
    open::refuse_encoder(&model, &args.model.model, "a chat goes on with one text", "run")?;
    let session = open::session(&model, &args.model, &args.session)?;
    let room = session.context();
    let mut generator = Generator::new(session, tokenizer, &options)?;
    let mut out = Out::new();
    let interactive = io::stdin().is_terminal();
    note(match room {
        Some(ctx) => format!(
            "{} of context · /reset forgets, /quit leaves · seed {seed}",
            units::plural(ctx as u64, "token")
        ),
        None => format!("no limit of context · /reset forgets, /quit leaves · seed {seed}"),
    });
    let mut failed_lines = 0;
    while let Some(line) = read_line(interactive)? {
        match line.trim_ascii() {
            b"/quit" => break,
            b"/reset" => {
                generator.reset();
                note("the text is forgotten");
            }
            trimmed => match answer(&mut generator, trimmed.is_empty(), &line, args.sampler.n, &mut out) {
                Ok(()) => {}
                Err(Failure::Failed(message)) => {
                    error_line(&message);
                    failed_lines += 1;
                }
                Err(other) => return Err(other),
            },
        }
    }
    out.finish()?;
    next(format_args!("siskin run {} -p PROMPT", units::quoted(&args.model.model)));
    match failed_lines {
        0 => Ok(()),
        _ if interactive => Ok(()),
        n => Err(Failure::Failed(format!("{} had no answer", units::plural(n, "line")))),
    }
}

/// Adds a line to the text and prints how the model goes on.
fn answer(
    generator: &mut Generator,
    is_empty: bool,
    line: &[u8],
    max_tokens: usize,
    out: &mut Out,
) -> Result<(), Failure> {
    let begun = generator.session().position() > 0;
    let tokens = match (begun, is_empty) {
        (true, true) => Vec::new(),
        (true, false) => {
            let encoded = generator.tokenizer().encode(line);
            encoded.map_err(|error| Failure::Failed(format!("the line: {error}")))?
        }
        (false, true) => encode_prompt(generator.session().model(), generator.tokenizer(), b"")?,
        (false, false) => encode_prompt(generator.session().model(), generator.tokenizer(), line)?,
    };
    generator.start(&tokens, max_tokens).map_err(explain)?;
    while let Some(piece) = generator.next_piece()? {
        if !piece.is_empty() {
            out.text(piece)?;
            out.flush()?;
        }
    }
    out.text("\n")?;
    out.flush()?;
    if generator.stop() == Some(Stop::ContextFull) {
        note("the context is full: /reset begins anew");
    }
    Ok(())
}

fn explain(error: siskin::Error) -> Failure {
    match error {
        siskin::Error::ContextFull { position, tokens, ctx } if position > 0 => Failure::Failed(format!(
            "no room for {} more: {position} of {ctx} positions are taken; /reset begins anew",
            units::plural(tokens as u64, "token")
        )),
        error => error.into(),
    }
}

/// A line with its line end; `None` at the end of the input.
fn read_line(interactive: bool) -> Result<Option<Vec<u8>>, Failure> {
    if interactive && !is_quiet() {
        let _ = write!(io::stderr(), "> ");
    }
    let mut line = Vec::new();
    let n = io::stdin().lock().take(MAX_PROMPT).read_until(b'\n', &mut line);
    match n {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(line)),
        Err(error) => Err(Failure::Failed(format!("cannot read standard input: {error}"))),
    }
}
