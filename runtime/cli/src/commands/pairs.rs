//! `siskin eval` of a model with an encoder: how well it turns sources into targets.

use crate::args::{EvalArgs, ModelArgs};
use crate::open;
use crate::out::{Failure, Out, Progress, next};
use crate::text::Source;
use crate::units;
use serde_json::json;
use siskin::{PairEvaluation, PairScorer, Tokenizer};
use std::io::{BufRead, BufReader, Read};
use std::time::Instant;

/// Longest line of a file of pairs, in bytes.
const MAX_LINE: u64 = 16 << 20;

/// Whether the model turns sources into targets.
pub fn reads_pairs(args: &ModelArgs) -> Result<bool, Failure> {
    Ok(open::file(&args.model, !args.no_mmap)?.config().has_encoder())
}

/// Prints loss, perplexity and how many targets the model writes exactly.
pub fn eval(args: &EvalArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let (reader, name) = Source::open(&args.text.text)?.into_parts();
    let (model, tokenizer) = open::model(&args.model)?;
    let mut scorer = PairScorer::new(open::session(&model, &args.model, &args.session)?)?;
    let mut progress = Progress::new();
    let mut sum = PairEvaluation::default();
    let (mut reader, mut line) = (BufReader::new(reader), Vec::new());
    for number in 1u64.. {
        line.clear();
        let cannot = |error| Failure::Failed(format!("cannot read {}: {error}", name.display()));
        if (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).map_err(cannot)? == 0 {
            break;
        }
        let wrong = |what: String| Failure::Failed(format!("{} line {number}: {what}", name.display()));
        let (source, target) = pair(&tokenizer, &line).map_err(wrong)?;
        scorer.add(&source, &target, &mut sum).map_err(|error| match error {
            error @ siskin::Error::ContextFull { .. } => wrong(error.to_string()),
            error => error.into(),
        })?;
        progress.show(|| {
            let n = units::plural(sum.pairs, "pair");
            format!("{n} · loss {:.4} · {}", sum.evaluation.loss(), share(&sum))
        });
    }
    progress.clear();
    if sum.pairs == 0 {
        let name = name.display();
        return Err(Failure::Failed(format!("{name} is empty, expected lines of source, tab and target")));
    }
    print(args, &sum, started.elapsed().as_secs_f64())?;
    let model = units::quoted(&args.model.model);
    next(format_args!("siskin run {model} -p SOURCE"));
    Ok(())
}

/// Source and target of a line as tokens.
fn pair(tokenizer: &Tokenizer, line: &[u8]) -> Result<(Vec<u32>, Vec<u32>), String> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut sides = line.split(|byte| *byte == b'\t');
    let (Some(source), Some(target), None) = (sides.next(), sides.next(), sides.next()) else {
        let tabs = line.iter().filter(|byte| **byte == b'\t').count();
        return Err(format!(
            "{}, expected one, between source and target",
            units::plural(tabs as u64, "tab")
        ));
    };
    if source.is_empty() || target.is_empty() {
        let side = if source.is_empty() { "source" } else { "target" };
        return Err(format!("the {side} is empty, expected text on both sides of the tab"));
    }
    let tokens = |side: &[u8]| tokenizer.encode(side).map_err(|error| error.to_string());
    Ok((tokens(source)?, tokens(target)?))
}

fn share(sum: &PairEvaluation) -> String {
    format!("{:.2} % exact", 100.0 * sum.accuracy())
}

fn print(args: &EvalArgs, sum: &PairEvaluation, seconds: f64) -> Result<(), Failure> {
    let PairEvaluation { evaluation, pairs, exact } = *sum;
    let (loss, perplexity) = (evaluation.loss(), evaluation.perplexity());
    let mut out = Out::new();
    if args.json {
        out.json(&json!({
            "loss": loss, "perplexity": perplexity, "nats": evaluation.nats, "tokens": evaluation.tokens,
            "pairs": pairs, "exact": exact, "accuracy": sum.accuracy(), "seconds": seconds,
        }))?;
        return out.flush();
    }
    out.line(format_args!("loss           {loss:.6} nats/token of the target"))?;
    out.line(format_args!("perplexity     {perplexity:.4}"))?;
    out.line(format_args!("exact match    {:.2} % ({exact} of {pairs}, greedy)", 100.0 * sum.accuracy()))?;
    out.line(format_args!("predicted      {}", units::plural(evaluation.tokens, "token")))?;
    let rate = units::rate(pairs as f64 / seconds);
    out.line(format_args!("time           {} ({rate} pairs/s)", units::seconds(seconds)))?;
    out.flush()
}
