//! What a comparison came to, for people and for programs.

use serde_json::{Value, json};
use siskin_trainer::experiment::compare::{Comparison, Outcome, Spread};
use siskin_trainer::experiment::flags::flags_of;
use siskin_trainer::experiment::lr_find::rates_of;
use siskin_trainer::progress::thousands;

/// Prints a row for each variant that was trained.
pub fn print(comparison: &Comparison) {
    let several = comparison.outcomes.iter().any(|o| o.runs.len() > 1);
    let figure = |s: Spread| match (s.mean.is_finite(), several) {
        (false, _) => "diverged".to_string(),
        (true, false) => format!("{:.4}", s.mean),
        (true, true) => format!("{:.4} ± {:.4}", s.mean, s.std),
    };
    let header = ["variant", "rate", "parameters", "train", "validation", "steps", "seconds", "tok/s", ""];
    let mut rows = vec![header.map(str::to_string)];
    let best = comparison.best().map(|o| &o.variant.name);
    for o in comparison.outcomes.iter().filter(|o| !o.runs.is_empty()) {
        let trouble = o.trouble();
        let remark = trouble
            .unwrap_or_else(|| if Some(&o.variant.name) == best { "best".into() } else { String::new() });
        rows.push([
            o.variant.name.clone(),
            (rates_of(&o.settings).0 as f32).to_string(),
            thousands(o.n_params as f64),
            figure(o.train()),
            o.val().map_or("–".to_string(), figure),
            o.runs.iter().map(|r| r.curve.steps()).max().unwrap_or(0).to_string(),
            format!("{:.1}", o.seconds()),
            thousands(o.tokens_per_second()),
            remark,
        ]);
    }
    let widths: Vec<usize> =
        (0..header.len()).map(|c| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0)).collect();
    for row in rows {
        let cell = |(c, text): (usize, &String)| {
            let pad = " ".repeat(widths[c] - text.chars().count());
            if c == 0 || c + 1 == header.len() { format!("{text}{pad}") } else { format!("{pad}{text}") }
        };
        let line = row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ");
        println!("{}", line.trim_end());
    }
}

/// A variant with every loss; what is not finite is null.
pub fn as_json(outcome: &Outcome) -> Value {
    let number = |x: f64| if x.is_finite() { json!(x) } else { Value::Null };
    let runs: Vec<Value> = outcome
        .runs
        .iter()
        .map(|r| {
            json!({
                "seed": r.seed, "train_loss": number(r.curve.last_loss()), "validation_loss_by_trainer": r.val.map(number),
                "steps": r.curve.steps(), "seconds": r.curve.seconds(), "tokens": r.curve.tokens, "curve": r.curve,
            })
        })
        .collect();
    json!({
        "name": outcome.variant.name, "flags": flags_of(&outcome.variant.changes), "lr": rates_of(&outcome.settings).0,
        "parameters": outcome.n_params, "train_loss": number(outcome.train().mean),
        "validation_loss_by_trainer": outcome.val().map(|v| number(v.mean)), "seconds": outcome.seconds(),
        "tokens_per_second": outcome.tokens_per_second(), "trouble": outcome.trouble(), "runs": runs,
    })
}
