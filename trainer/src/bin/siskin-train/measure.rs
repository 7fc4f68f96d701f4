//! `eval` and `sample`: what a run's weights are worth and what they say, by the runtime's kernels.

use siskin_format::DType;
use siskin_trainer::checkpoint::Checkpoint;
use siskin_trainer::data::{Text, Tokens};
use siskin_trainer::export::Trained;
use siskin_trainer::train::run::{Meta, exported_weights, trainer_config, validation_text, vocab_of};
use siskin_trainer::verify::{Measured, SampleOptions};
use siskin_trainer::{Error, Result, tokenizer};

use crate::args::{EvalArgs, SampleArgs};
use crate::train::print_sample;

/// A run's model in the runtime, in f32, with the settings that it was trained by.
fn open(run: &std::path::Path) -> Result<(Measured, Meta, siskin_format::Vocab)> {
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
    let bytes = match &args.text {
        Some(path) => {
            let text = Text::open(&[path])?;
            text.read(0..text.len())?
        }
        None => validation_text(&meta)?,
    };
    let ids = tokenizer::encode(&vocab, &bytes)?;
    if ids.len() < 2 {
        return Err(Error::Data(format!("{} tokens to evaluate on, expected at least 2", ids.len())));
    }
    let threads = args.threads.or(meta.settings.threads).unwrap_or(1);
    let loss = model.loss(&ids, threads)?;
    let n = ids.len() as f64 - 1.0;
    let bits_per_byte = loss * n / std::f64::consts::LN_2 / bytes.len() as f64;
    let step = meta.trainer.step;
    if args.json {
        let found = serde_json::json!({
            "step": step, "tokens": ids.len() - 1, "bytes": bytes.len(), "loss": loss,
            "perplexity": loss.exp(), "bits_per_byte": bits_per_byte,
        });
        println!("{found}");
    } else {
        println!(
            "step {step}: loss {loss:.4} nats/token, perplexity {:.3}, {bits_per_byte:.4} bits/byte over {n} tokens",
            loss.exp()
        );
    }
    let run = args.run.display();
    eprintln!("next: siskin-train export {run} -o MODEL.siskin");
    Ok(())
}

pub fn sample(args: SampleArgs) -> Result<()> {
    let (model, meta, _) = open(&args.run)?;
    let options = SampleOptions {
        prompt: args.prompt.or(meta.settings.sample_prompt).unwrap_or_default(),
        n: args.n,
        temperature: args.temp,
        seed: args.seed,
        threads: meta.settings.threads.unwrap_or(1),
    };
    print_sample(&model, &options)
}

/// The validation part of a run's text, tokenized.
pub fn held_out(meta: &Meta, vocab: &siskin_format::Vocab) -> Result<Tokens> {
    Ok(Tokens::from_vec(tokenizer::encode(vocab, &validation_text(meta)?)?))
}
