//! Holds the suggestion of `lr-find` against the best rate of a grid: five families by three optimisers, a row of a Markdown table each.
//!
//! ```text
//! cargo run --release -p siskin-trainer --example lr_table > table.md
//! cargo run --release -p siskin-trainer --example lr_table lstm momentum rmsprop lion    # these rows alone
//! ```
//!
//! Small models on Shakespeare by characters: each range test takes 200 updates, each training 200 with the family's own schedule. The grid
//! climbs by factors of √10 from the optimiser's default rate until its best rate lies inside it; every rate is judged on the same held-out
//! tokens. `siskin-train lr-find` and this program read the same curves by the same code.

use std::path::Path;

use siskin_trainer::experiment::lr_find::{RangeTest, Which, at_constant_rate, rates_of};
use siskin_trainer::experiment::picture::short;
use siskin_trainer::experiment::prepared::{Prepared, filled};
use siskin_trainer::experiment::suggest::{Reading, Rule, suggest};
use siskin_trainer::settings::{MODELS, OPTIMIZERS, Settings};
use siskin_trainer::{Error, Result};

/// Updates of each training.
const STEPS: u64 = 200;
/// Held-out tokens that judge a rate.
const JUDGES: u64 = 20_000;
/// Rates of a grid at most.
const MOST: usize = 9;

fn main() -> Result<()> {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/shakespeare.txt");
    let data = Prepared::new(&[text], &filled(&small("llama", "adam"))?)?;
    let said: Vec<String> = std::env::args().skip(1).collect();
    // An encoder-decoder reads pairs, which Shakespeare has none of.
    let families: Vec<&str> = MODELS.iter().copied().filter(|name| *name != "seq2seq").collect();
    if let Some(other) = said.iter().find(|s| ![&families, OPTIMIZERS].concat().contains(&s.as_str())) {
        let known = [&families, OPTIMIZERS].concat().join(", ");
        return Err(Error::Settings(format!("found '{other}', expected families and optimisers: {known}")));
    }
    println!(
        "| model | optimiser | steepest | lowest | suggested | loss | best of the grid | loss | suggested / best |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for family in chosen(&said, &families, &families) {
        for optimizer in chosen(&said, OPTIMIZERS, &["sgd", "adam", "muon"]) {
            println!("{}", row(&data, family, optimizer)?);
        }
    }
    Ok(())
}

/// Those of `names` that are said, or else `usual`.
fn chosen<'a>(said: &[String], names: &[&'a str], usual: &[&'a str]) -> Vec<&'a str> {
    let found: Vec<&str> = names.iter().copied().filter(|name| said.iter().any(|s| s == name)).collect();
    if found.is_empty() { usual.to_vec() } else { found }
}

/// A model that a step of takes some milliseconds.
fn small(family: &str, optimizer: &str) -> Settings {
    let said = |text: &str| Some(text.to_string());
    Settings {
        model: said(family),
        optimizer: said(optimizer),
        n_layers: Some(2),
        d_model: Some(64),
        hidden: Some(64),
        n_heads: Some(2),
        context: Some(32),
        batch_size: said("16"),
        warmup: Some(20),
        steps: Some(STEPS),
        threads: Some(1),
        ..Default::default()
    }
}

fn row(data: &Prepared, family: &str, optimizer: &str) -> Result<String> {
    let said = small(family, optimizer);
    let test = RangeTest { from: 1e-6, to: 10.0, steps: 200, which: Which::Both };
    let sweep = test.run(data, &at_constant_rate(&filled(&said)?), &mut |_, _| ())?;
    let mut grid: Vec<(f64, f64)> = Vec::new();
    let mut at = rates_of(&filled(&said)?).0;
    while grid.len() < MOST {
        grid.push((at, loss_at(data, &said, at)?));
        grid.sort_by(|a, b| a.0.total_cmp(&b.0));
        let best = best_of(&grid);
        at = match best {
            0 => grid[0].0 / 10f64.sqrt(),
            last if last + 1 == grid.len() => grid[last].0 * 10f64.sqrt(),
            _ => break,
        };
    }
    let (best, best_loss) = grid[best_of(&grid)];
    eprintln!("{family} {optimizer}: {grid:?}");
    let reading = Reading::of(&sweep);
    let [steepest, lowest] = [reading.map(|r| r.steepest_at), reading.map(|r| r.lowest_at)];
    let of = |rate: Option<f64>| rate.map_or("–".to_string(), short);
    let suggested = suggest(&[sweep], Rule::of(&said)).map(|s| s.lr);
    let (loss, ratio) = match suggested {
        Some(lr) => (format!("{:.3}", loss_at(data, &said, lr)?), format!("{:.2}", lr / best)),
        None => ("–".into(), "–".into()),
    };
    Ok(format!(
        "| {family} | {optimizer} | {} | {} | {} | {loss} | {} | {best_loss:.3} | {ratio} |",
        of(steepest),
        of(lowest),
        of(suggested),
        short(best)
    ))
}

/// Place of the lowest finite loss.
fn best_of(grid: &[(f64, f64)]) -> usize {
    let finite = |i: &usize| grid[*i].1.is_finite();
    (0..grid.len()).filter(finite).min_by(|a, b| grid[*a].1.total_cmp(&grid[*b].1)).unwrap_or(0)
}

/// Loss on the held-out part after a training at this rate; NaN where it diverged.
fn loss_at(data: &Prepared, said: &Settings, lr: f64) -> Result<f64> {
    let (own, adam_lr) = rates_of(&filled(said)?);
    let muon = said.optimizer.as_deref() == Some("muon");
    let adam_lr = muon.then_some((lr / own * adam_lr) as f32);
    let mut trainer = data.trainer(&filled(&Settings { lr: Some(lr as f32), adam_lr, ..said.clone() })?)?;
    for _ in 0..STEPS {
        if trainer.step(STEPS).is_err() {
            return Ok(f64::NAN);
        }
    }
    Ok(trainer.evaluate(JUDGES)?.map_or(f64::NAN, |loss| loss.mean()))
}
