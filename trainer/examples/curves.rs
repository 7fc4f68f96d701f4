//! Draws validation losses of several runs over the tokens that they saw, the pictures of docs/recipes.md:
//!
//! ```text
//! cargo run --release -p siskin-trainer --example curves -- OUT.svg TITLE LABEL=RUN [LABEL=RUN …]
//! ```

use std::error::Error;
use std::path::Path;

use siskin_trainer::checkpoint::Checkpoint;
use siskin_trainer::plot::{Chart, save};
use siskin_trainer::train::log;
use siskin_trainer::train::run::Meta;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [out, title, runs @ ..] = &args[..] else { return Err("give OUT.svg TITLE LABEL=RUN …".into()) };
    let mut chart = Chart::new(title, "tokens seen", "validation loss, nats per token").log_x();
    for run in runs {
        let (label, run) = run.split_once('=').ok_or("a run is LABEL=RUN")?;
        chart = chart.line(label, losses(Path::new(run))?);
    }
    save(Path::new(out), &chart.to_svg())?;
    Ok(())
}

/// Tokens seen and loss of each evaluation of a run.
fn losses(run: &Path) -> Result<Vec<(f64, f64)>, Box<dyn Error>> {
    let meta: Meta = Checkpoint::load_latest(run)?.checkpoint.meta()?;
    let per_step = meta.trainer.tokens_seen as f64 / meta.trainer.step.max(1) as f64;
    let mut losses = Vec::new();
    for line in std::fs::read_to_string(run.join(log::FILE))?.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        if let (Some("eval"), Some(step)) = (line["event"].as_str(), line["step"].as_f64()) {
            losses.push((step * per_step, line["val_loss"].as_f64().unwrap_or(f64::NAN)));
        }
    }
    Ok(losses)
}
