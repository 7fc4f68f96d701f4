//! `eval` and `sample`: what a run's weights are worth and what they say, by the runtime's kernels.

use std::ops::Range;

use siskin_format::{DType, Vocab};
use siskin_trainer::checkpoint::Checkpoint;
use siskin_trainer::data::{Text, Tokens, stream};
use siskin_trainer::export::Trained;
use siskin_trainer::progress::Reading;
use siskin_trainer::train::corpus::Scanned;
use siskin_trainer::train::run::{Meta, exported_weights, texts_of, trainer_config, vocab_of};
use siskin_trainer::verify::{Measured, SampleOptions};
use siskin_trainer::{Error, Result};

use crate::args::{EvalArgs, SampleArgs};
use crate::train::print_sample;

/// A run's model in the runtime, in f32, with the settings that it was trained by.
fn open(run: &std::path::Path) -> Result<(Measured, Meta, Vocab)> {
    let checkpoint = Checkpoint::load_latest(run)?.checkpoint;
    let meta: Meta = checkpoint.meta()?;
    let vocab = vocab_of(&checkpoint)?;
    let config = trainer_config(&meta.settings, vocab.len())?.model;
    let weights = exported_weights(&meta, &config, &checkpoint)?;
    let trained = Trained { config: &config, vocab: &vocab, weights: &weights };
    let model = Measured::from_bytes(trained.to_bytes(DType::F32)?)?;
    Ok((model, meta, vocab))
}

pub fn eval(args: EvalArgs) -> Result<()> {
    let (model, meta, vocab) = open(&args.run)?;
    let most = if args.tokens == 0 { u64::MAX } else { args.tokens };
    let threads = args.threads.or(meta.settings.threads).unwrap_or(1);
    if model.reads_pairs() {
        let held_out = match &args.text {
            Some(path) => Scanned::pairs_of(path, &meta.settings, &vocab)?,
            None => texts_of(&meta, !args.json)?.held_out(&vocab, u64::MAX)?,
        };
        return eval_pairs(&args, &model, &ids_of(&held_out.first(most))?, meta.trainer.step, threads);
    }
    let mut found = Vec::new();
    let mut measure = |name: &str, text: &Text, range: Range<u64>, share: f64| {
        let most = if share == 1.0 { most } else { (most as f64 * share).ceil() as u64 };
        let text = Stretch { text, range, most };
        let loss = text.measure(&model, &vocab, threads, !args.json)?;
        found.extend(loss.map(|loss| (name.to_string(), share, loss)));
        Ok::<_, Error>(())
    };
    match &args.text {
        Some(path) => {
            let text = Text::open(&[path])?;
            measure(&text.name(), &text, 0..text.len(), 1.0)?;
        }
        None => {
            let texts = texts_of(&meta, !args.json)?;
            texts
                .validation()
                .try_for_each(|(name, text, range, share)| measure(name, text, range, share))?;
        }
    }
    if found.is_empty() {
        return Err(Error::Data("fewer than 2 tokens to evaluate on: give more text by --text".into()));
    }
    show(&found, meta.trainer.step, args.json);
    let run = args.run.display();
    eprintln!("next: siskin-train export {run} -o MODEL.siskin");
    Ok(())
}

/// Prints the losses of texts, each with its name and share, and their mean by share.
fn show(found: &[(String, f64, Measurement)], step: u64, json: bool) {
    let shares: f64 = found.iter().map(|(_, share, _)| share).sum();
    let mean =
        |of: fn(&Measurement) -> f64| found.iter().map(|(_, share, m)| share * of(m)).sum::<f64>() / shares;
    let (loss, bits_per_byte) = (mean(Measurement::loss), mean(Measurement::bits_per_byte));
    let sum = |of: fn(&Measurement) -> u64| found.iter().map(|(_, _, m)| of(m)).sum::<u64>();
    let (tokens, bytes) = (sum(|m| m.tokens), sum(|m| m.bytes));
    if json {
        let mut line = serde_json::json!({
            "step": step, "tokens": tokens, "bytes": bytes, "loss": loss,
            "perplexity": loss.exp(), "bits_per_byte": bits_per_byte,
        });
        if found.len() > 1 {
            let text = |(name, share, m): &(String, f64, Measurement)| {
                serde_json::json!({
                    "name": name, "share": share, "tokens": m.tokens, "loss": m.loss(), "bits_per_byte": m.bits_per_byte(),
                })
            };
            line["by_text"] = found.iter().map(text).collect();
        }
        println!("{line}");
        return;
    }
    println!(
        "step {step}: loss {loss:.4} nats/token, perplexity {:.3}, {bits_per_byte:.4} bits/byte over {tokens} tokens",
        loss.exp()
    );
    if found.len() > 1 {
        for (name, share, m) in found {
            println!(
                "  {name} ({:.1} %): loss {:.4}, {:.4} bits/byte over {} tokens",
                100.0 * share,
                m.loss(),
                m.bits_per_byte(),
                m.tokens
            );
        }
    }
    if found.iter().any(|(_, _, m)| m.cut) {
        eprintln!("only the beginning of the text was measured: --tokens 0 takes all of it");
    }
}

/// The tokens at the beginning of a part of a text.
struct Stretch<'a> {
    text: &'a Text,
    range: Range<u64>,
    most: u64,
}

/// What they cost a model.
struct Measurement {
    nats: f64,
    tokens: u64,
    bytes: u64,
    /// There is more text.
    cut: bool,
}

impl Measurement {
    fn loss(&self) -> f64 {
        self.nats / self.tokens as f64
    }

    fn bits_per_byte(&self) -> f64 {
        self.nats / std::f64::consts::LN_2 / self.bytes as f64
    }
}

impl Stretch<'_> {
    /// The loss by the runtime's kernels; `None` when there is nothing to predict.
    fn measure(
        self,
        model: &Measured,
        vocab: &Vocab,
        threads: usize,
        shown: bool,
    ) -> Result<Option<Measurement>> {
        let mut meter = model.meter(threads)?;
        let (mut n, mut bytes, mut cut) = (0, 0, false);
        let mut reading = Reading::new("measuring", self.range.end - self.range.start, shown);
        stream(self.text, self.range.clone(), vocab, |ids, done| {
            let taken = &ids[..(ids.len() as u64).min(self.most - n) as usize];
            // In pieces, so that the bar moves.
            for ids in taken.chunks(1 << 14) {
                meter.push(ids)?;
                bytes += ids.iter().map(|&id| vocab.token(id).map_or(0, <[u8]>::len) as u64).sum::<u64>();
                reading.at(bytes);
            }
            n += taken.len() as u64;
            cut = taken.len() < ids.len() || (n == self.most && done < self.range.end - self.range.start);
            Ok(n < self.most)
        })?;
        reading.finish();
        let (nats, tokens) = meter.finish()?;
        Ok((tokens > 0).then_some(Measurement { nats, tokens, bytes, cut }))
    }
}

fn ids_of(tokens: &Tokens) -> Result<Vec<u32>> {
    let mut ids = vec![0; tokens.len() as usize];
    tokens.read(0, &mut ids)?;
    Ok(ids)
}

/// Loss of the targets, and how many of them the model writes itself.
fn eval_pairs(args: &EvalArgs, model: &Measured, ids: &[u32], step: u64, threads: usize) -> Result<()> {
    let found = model.exact_matches(ids, u64::MAX, threads)?;
    if found.pairs == 0 {
        return Err(Error::Data("no whole pair to evaluate on: give more by --tokens or --text".into()));
    }
    let (loss, tokens) = (found.evaluation.loss(), found.evaluation.tokens);
    if args.json {
        let found = serde_json::json!({
            "step": step, "tokens": tokens, "loss": loss, "perplexity": loss.exp(),
            "pairs": found.pairs, "exact": found.exact, "accuracy": found.accuracy(),
        });
        println!("{found}");
    } else {
        println!(
            "step {step}: loss {loss:.4} nats/token of the targets, perplexity {:.3}; exact match {:.2} % ({} of {} pairs)",
            loss.exp(),
            100.0 * found.accuracy(),
            found.exact,
            found.pairs
        );
    }
    eprintln!("next: siskin-train export {} -o MODEL.siskin", args.run.display());
    Ok(())
}

pub fn sample(args: SampleArgs) -> Result<()> {
    let (model, meta, vocab) = open(&args.run)?;
    if model.reads_pairs() && args.prompt.is_none() {
        let ids = ids_of(&texts_of(&meta, false)?.held_out(&vocab, u64::MAX)?)?;
        print!("{}", model.show_pairs(&ids, 10, meta.settings.threads.unwrap_or(1))?);
        return Ok(());
    }
    let options = SampleOptions {
        prompt: args.prompt.or(meta.settings.sample_prompt).unwrap_or_default(),
        n: args.n,
        temperature: args.temp,
        seed: args.seed,
        threads: meta.settings.threads.unwrap_or(1),
    };
    print_sample(&model, &options)
}
