//! `siskin score`: each token of a text with its log-probability.

use super::eval::{Token, measure};
use crate::args::ScoreArgs;
use crate::out::{Failure, Out, next};
use crate::units;
use serde_json::json;

/// Prints every token as it is scored.
pub fn score(args: &ScoreArgs) -> Result<(), Failure> {
    let mut out = Out::new();
    let mut begun = false;
    let why = "a score is of the tokens of one text";
    let measured = measure(&args.model, &args.text, &args.session, why, |token, log_prob| {
        if args.json {
            // One object, written as it comes: a token is one line.
            out.text(if std::mem::replace(&mut begun, true) { ",\n" } else { "{\"tokens\": [\n" })?;
            out.text(&json_token(token, log_prob).to_string())
        } else {
            let log_prob = log_prob.map_or("-".into(), |value| format!("{value:.6}"));
            out.line(format_args!("{}\t{log_prob}\t{}", token.id, printable(token.bytes())))
        }
    })?;
    if args.json {
        let sum = measured.evaluation;
        out.line(format_args!(
            "\n], \"n_predicted\": {}, \"nats\": {}, \"loss\": {}, \"bytes\": {}}}",
            sum.tokens,
            json!(sum.nats),
            json!(sum.loss()),
            measured.bytes
        ))?;
    }
    out.flush()?;
    let (model, text) = (units::quoted(&args.model.model), units::quoted(&args.text.text));
    next(format_args!("siskin eval {model} --text {text}"));
    Ok(())
}

/// The token's text, and its bytes where they are not text by themselves.
fn json_token(token: Token<'_>, log_prob: Option<f64>) -> serde_json::Value {
    let bytes = token.bytes();
    let mut value = json!({"id": token.id, "log_prob": log_prob, "text": String::from_utf8_lossy(bytes)});
    if std::str::from_utf8(bytes).is_err() {
        value["bytes"] = json!(bytes);
    }
    value
}

/// Text as it is, except what would break a line or is no text.
fn printable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text
            .chars()
            .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.into() })
            .collect(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}
