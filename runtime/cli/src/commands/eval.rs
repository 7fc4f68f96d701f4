//! `siskin eval`: how well the model predicts a text.

use crate::args::{EvalArgs, ModelArgs, SessionArgs, TextArgs};
use crate::open;
use crate::out::{Failure, Out, Progress, next};
use crate::text::Source;
use crate::units;
use serde_json::json;
use siskin::Tokenizer;
use siskin::eval::{Evaluation, Scorer};
use std::path::Path;
use std::time::Instant;

/// Prints loss, perplexity and bits per byte.
pub fn eval(args: &EvalArgs) -> Result<(), Failure> {
    if super::pairs::reads_pairs(&args.model)? {
        return super::pairs::eval(args);
    }
    let started = Instant::now();
    let mut progress = Progress::new();
    let mut so_far = Evaluation::default();
    let measured = measure(&args.model, &args.text, &args.session, "this is one text", |_, log_prob| {
        if let Some(log_prob) = log_prob {
            so_far.push(log_prob);
            progress.show(|| {
                let rate = so_far.tokens as f64 / started.elapsed().as_secs_f64();
                let n = units::plural(so_far.tokens, "token");
                format!("{n} · loss {:.4} · {} tokens/s", so_far.loss(), units::rate(rate))
            });
        }
        Ok(())
    })?;
    progress.clear();
    let Measured { evaluation, bytes, predicted_bytes, scorer_context, .. } = measured;
    let seconds = started.elapsed().as_secs_f64();
    let (loss, perplexity) = (evaluation.loss(), evaluation.perplexity());
    let bits = evaluation.bits_per_byte(predicted_bytes);
    let mut out = Out::new();
    if args.json {
        out.json(&json!({
            "loss": loss, "perplexity": perplexity, "bits_per_byte": bits, "nats": evaluation.nats,
            "tokens": evaluation.tokens, "bytes": bytes, "window": scorer_context, "seconds": seconds,
        }))?;
    } else {
        out.line(format_args!("loss           {loss:.6} nats/token"))?;
        out.line(format_args!("perplexity     {perplexity:.4}"))?;
        out.line(format_args!("bits per byte  {bits:.6}"))?;
        out.line(format_args!(
            "predicted      {} of {bytes} bytes",
            units::plural(evaluation.tokens, "token")
        ))?;
        out.line(match scorer_context {
            Some(window) => {
                format!("windows        {}, none overlapping", units::plural(window as u64, "token"))
            }
            None => "windows        none, one stream".to_string(),
        })?;
        let rate = units::rate(evaluation.tokens as f64 / seconds);
        out.line(format_args!("time           {} ({rate} tokens/s)", units::seconds(seconds)))?;
    }
    out.flush()?;
    let (model, text) = (units::quoted(&args.model.model), units::quoted(&args.text.text));
    next(format_args!("siskin score {model} --text {text}"));
    Ok(())
}

/// What a whole text gave.
pub struct Measured {
    /// Sum over the predicted tokens.
    pub evaluation: Evaluation,
    /// Bytes of the text.
    pub bytes: u64,
    /// Those of its predicted tokens: all but the first.
    pub predicted_bytes: u64,
    /// Tokens of a window; `None` for a stream.
    pub scorer_context: Option<usize>,
}

/// Scores a text piece by piece, by a model without an encoder (`why_not_encoder` says why); `f` is told every token with its
/// log-probability, `None` for the first.
pub fn measure(
    model_args: &ModelArgs,
    text: &TextArgs,
    session: &SessionArgs,
    why_not_encoder: &str,
    mut f: impl FnMut(Token<'_>, Option<f64>) -> Result<(), Failure>,
) -> Result<Measured, Failure> {
    let source = Source::open(&text.text)?;
    let (model, tokenizer) = open::model(model_args)?;
    open::refuse_encoder(&model, &model_args.model, why_not_encoder, "eval")?;
    let mut scorer = Scorer::with_session(open::session(&model, model_args, session)?);
    let mut evaluation = Evaluation::default();
    let (mut first, mut seen, mut told) = (None, 0u64, Ok(()));
    let mut tell = |id: u32, log_prob: Option<f64>, told: &mut Result<(), Failure>| {
        if let Some(log_prob) = log_prob {
            evaluation.push(log_prob);
        }
        if told.is_ok() {
            *told = f(Token { id, tokenizer: &tokenizer }, log_prob);
        }
    };
    let bytes = source.for_each_piece(&tokenizer, |ids| {
        if let (None, Some(&id)) = (first, ids.first()) {
            first = Some(id);
            tell(id, None, &mut told);
        }
        seen += ids.len() as u64;
        scorer.push(ids, |id, log_prob| tell(id, Some(log_prob), &mut told))?;
        std::mem::replace(&mut told, Ok(()))
    })?;
    scorer.finish(|id, log_prob| tell(id, Some(log_prob), &mut told))?;
    told?;
    if seen < 2 {
        let name = if text.text == Path::new("-") {
            "standard input".into()
        } else {
            text.text.display().to_string()
        };
        let n = units::plural(seen, "token");
        return Err(Failure::Failed(format!("{name} has {n}, expected at least 2: give a longer text")));
    }
    if !evaluation.nats.is_finite() {
        return Err(Failure::Failed(
            "the model gives some token no probability at all (its logits are not finite): run siskin verify"
                .into(),
        ));
    }
    let first_bytes = first.map_or(0, |id| tokenizer.token_bytes(id).len() as u64);
    let scorer_context = (!scorer.carries_state()).then(|| scorer.window());
    Ok(Measured { evaluation, bytes, predicted_bytes: bytes.saturating_sub(first_bytes), scorer_context })
}

/// A token of the text.
#[derive(Clone, Copy)]
pub struct Token<'a> {
    /// Its id.
    pub id: u32,
    tokenizer: &'a Tokenizer,
}

impl Token<'_> {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.tokenizer.token_bytes(self.id)
    }
}
