//! `siskin chat`: write with the model, line by line.

use super::run::{encode_prompt, generate_options, seed};
use crate::args::ChatArgs;
use crate::open;
use crate::out::{Failure, Out, error_line, is_quiet, next, note};
use crate::text::MAX_PROMPT;
use crate::units;
use siskin::{EncodeOptions, Generator, Stop, TokenizerError};
use siskin_format::vocab::ChatTemplate;
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
    let frame = Frame { chat: vocab_chat(&generator), system: args.system.clone() };
    if let (Some(_), None) = (&args.system, frame.system_pieces()) {
        let what = match frame.chat {
            Some(_) => "the model's chat template has no system message",
            None => "the model has no chat template, so that there is no system message",
        };
        return Err(Failure::Usage(format!("{what}: leave --system out")));
    }
    let mut failed_lines = 0;
    while let Some(line) = read_line(interactive)? {
        match line.trim_ascii() {
            b"/quit" => break,
            b"/reset" => {
                generator.reset();
                note("the text is forgotten");
            }
            trimmed => {
                match answer(&mut generator, &frame, trimmed.is_empty(), &line, args.sampler.n, &mut out) {
                    Ok(()) => {}
                    Err(Failure::Failed(message)) => {
                        error_line(&message);
                        failed_lines += 1;
                    }
                    Err(other) => return Err(other),
                }
            }
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

/// How a conversation is written, if the model says so, and what it is told first.
struct Frame {
    chat: Option<ChatTemplate>,
    system: Option<String>,
}

fn vocab_chat(generator: &Generator) -> Option<ChatTemplate> {
    generator.tokenizer().vocab().chat().cloned()
}

impl Frame {
    fn system_pieces(&self) -> Option<&(String, String)> {
        self.chat
            .as_ref()
            .map(|chat| &chat.system)
            .filter(|(before, after)| !(before.is_empty() && after.is_empty()))
    }

    /// The tokens of a line of the user and of the reply's beginning. What is said is never searched for special tokens.
    fn tokens(
        &self,
        chat: &ChatTemplate,
        generator: &Generator,
        line: &[u8],
    ) -> Result<Vec<u32>, TokenizerError> {
        let tokenizer = generator.tokenizer();
        let said = line.trim_ascii_end();
        let begun = generator.session().position() > 0;
        let after = [(said, false), (chat.user.1.as_bytes(), true), (chat.reply.as_bytes(), true)];
        let mut parts = match (begun, &self.system) {
            (true, _) => vec![(chat.assistant.1.as_bytes(), true), (chat.user.0.as_bytes(), true)],
            (false, None) => vec![(chat.begin.as_bytes(), true)],
            (false, Some(system)) => {
                let (before, between) = &chat.system;
                vec![(before.as_bytes(), true), (system.as_bytes(), false), (between.as_bytes(), true)]
            }
        };
        parts.extend(after);
        let mut tokens = tokenizer.encode_parts(&parts, begun)?;
        // The token that ended the reply is fed as the model wrote it; the template has it, too.
        let frame = tokenizer.encode_parts(&[(chat.assistant.1.as_bytes(), true)], true)?;
        if let Some(at) = generator.end_token().and_then(|end| frame.iter().position(|&token| token == end)) {
            tokens.drain(..=at);
        }
        Ok(tokens)
    }
}

/// Adds a line to the text and prints how the model goes on.
fn answer(
    generator: &mut Generator,
    frame: &Frame,
    is_empty: bool,
    line: &[u8],
    max_tokens: usize,
    out: &mut Out,
) -> Result<(), Failure> {
    let begun = generator.session().position() > 0;
    let not_encoded = |error| Failure::Failed(format!("the line: {error}"));
    let framed = frame.chat.as_ref().filter(|_| !is_empty);
    let framed = framed.map(|chat| frame.tokens(chat, generator, line)).transpose().map_err(not_encoded)?;
    let tokens = match (begun, is_empty) {
        _ if framed.is_some() => framed.unwrap_or_default(),
        (true, true) => Vec::new(),
        (true, false) => {
            let continues = EncodeOptions { continues: true, ..EncodeOptions::default() };
            generator.tokenizer().encode_with(line, continues).map_err(not_encoded)?
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
