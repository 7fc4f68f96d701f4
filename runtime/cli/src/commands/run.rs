//! `siskin run`: generate text.

use crate::args::{RunArgs, SamplerArgs};
use crate::open;
use crate::out::{Failure, Out, next, note};
use crate::text::Source;
use crate::units;
use serde_json::json;
use siskin::{GenerateOptions, Generator, Model, Sampler, Tokenizer};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// Generates text and streams it to standard output.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let seed = seed(&args.sampler);
    let options = generate_options(&args.sampler, seed)?;
    let prompt = read_prompt(args)?;
    let (model, tokenizer) = open::model(&args.model)?;
    let tokens = encode_prompt(&model, &tokenizer, &prompt)?;
    let session = open::session(&model, &args.model, &args.session)?;
    let mut generator = Generator::new(session, tokenizer, &options)?;
    let opened = started.elapsed();

    let mut out = Out::new();
    if args.echo && !args.json {
        out.bytes(&prompt)?;
        out.flush()?;
    }
    let begun = Instant::now();
    generator.start(&tokens, args.sampler.n)?;
    let prompted = begun.elapsed();
    let (mut text, mut ids) = (String::new(), Vec::new());
    let begun = Instant::now();
    while let Some(piece) = generator.next_piece()? {
        if args.json {
            text.push_str(piece);
            ids.extend(generator.token());
        } else if !piece.is_empty() {
            out.text(piece)?;
            out.flush()?;
        }
    }
    let times = Times { opened, prompted, generated: begun.elapsed() };
    if args.json {
        let prompt = String::from_utf8_lossy(&prompt);
        out.json(&report(&prompt, &tokens, &text, &ids, &generator, &times, seed))?;
    }
    out.finish()?;
    note(summary(tokens.len(), &generator, &times, seed));
    next(suggestion(generator.session().model(), &args.model.model));
    Ok(())
}

/// How long each part took.
struct Times {
    opened: Duration,
    prompted: Duration,
    generated: Duration,
}

impl Times {
    /// Tokens per second of generation. The first token comes out of the prompt's own pass.
    fn tokens_per_second(&self, n_tokens: usize) -> f64 {
        n_tokens.saturating_sub(1) as f64 / self.generated.as_secs_f64()
    }
}

/// The seed asked for, or another one each time, short enough to be typed again.
pub fn seed(args: &SamplerArgs) -> u64 {
    args.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (now.as_micros() as u64 ^ (u64::from(std::process::id()) << 12)) % 1_000_000_000
    })
}

/// The options of a generator, checked before a model is opened.
pub fn generate_options(args: &SamplerArgs, seed: u64) -> Result<GenerateOptions, Failure> {
    let options = GenerateOptions { sampler: args.sampler(seed), stop: args.stop.clone() };
    Sampler::new(options.sampler.clone(), 1)?;
    siskin::StopMatcher::new(&options.stop).map_err(siskin::Error::from)?;
    Ok(options)
}

/// The tokens of a prompt; the message says that it is the prompt which cannot be expressed.
pub fn encode_prompt(model: &Model, tokenizer: &Tokenizer, prompt: &[u8]) -> Result<Vec<u32>, Failure> {
    if model.config().has_encoder() && prompt.is_empty() {
        let what = "the model turns a source into a text, and the prompt is empty: give the source by -p, --file or --stdin";
        return Err(Failure::Failed(what.into()));
    }
    let tokens = model.prompt_tokens(tokenizer, prompt);
    tokens.map_err(|error| Failure::Failed(format!("the prompt: {error}")))
}

fn read_prompt(args: &RunArgs) -> Result<Vec<u8>, Failure> {
    if args.stdin.is_some() {
        return Source::stdin().read_prompt();
    }
    match (&args.prompt, &args.file) {
        (Some(prompt), _) => Ok(prompt.as_encoded_bytes().to_vec()),
        (None, Some(file)) => Source::open(file)?.read_prompt(),
        (None, None) => Ok(Vec::new()),
    }
}

fn report(
    prompt: &str,
    prompt_tokens: &[u32],
    text: &str,
    tokens: &[u32],
    generator: &Generator,
    times: &Times,
    seed: u64,
) -> serde_json::Value {
    json!({
        "prompt": prompt,
        "prompt_tokens": prompt_tokens,
        "text": text,
        "tokens": tokens,
        "stop": generator.stop().map(|stop| stop.name()),
        "seed": seed,
        "isa": generator.session().isa().name(),
        "threads": generator.session().n_threads(),
        "seconds": {
            "open": times.opened.as_secs_f64(),
            "prompt": times.prompted.as_secs_f64(),
            "generate": times.generated.as_secs_f64(),
        },
    })
}

fn summary(n_prompt: usize, generator: &Generator, times: &Times, seed: u64) -> String {
    let n = generator.n_tokens();
    let why = generator.stop().map(|stop| stop.to_string()).unwrap_or_default();
    format!(
        "prompt: {} in {} ({} tokens/s) · generated: {} in {} ({} tokens/s) · {why} · seed {seed}",
        units::plural(n_prompt as u64, "token"),
        units::seconds(times.prompted.as_secs_f64()),
        units::rate(n_prompt as f64 / times.prompted.as_secs_f64()),
        units::plural(n as u64, "token"),
        units::seconds(times.generated.as_secs_f64()),
        if n > 1 { units::rate(times.tokens_per_second(n)) } else { "-".into() },
    )
}

fn suggestion(model: &Model, path: &Path) -> String {
    match model.config().has_encoder() {
        true => format!("siskin eval {} --text PAIRS.tsv", units::quoted(path)),
        false => format!("siskin chat {0}   (or: siskin bench {0})", units::quoted(path)),
    }
}
