//! `landscape`: the loss on a plane through weight space.

use siskin_trainer::landscape::picture::picture;
use siskin_trainer::landscape::{Landscape, Options};
use siskin_trainer::progress::Counter;
use siskin_trainer::train::trained::TrainedRun;
use siskin_trainer::{Result, plot};

use crate::args::LandscapeArgs;

/// Name of the picture in a run folder.
const FILE: &str = "landscape.svg";

pub fn landscape(args: LandscapeArgs) -> Result<()> {
    let runs = [&args.run].into_iter().chain(&args.between).map(|run| TrainedRun::open(run));
    let runs = runs.collect::<Result<Vec<_>>>()?;
    runs.iter().try_for_each(|run| run.must_read_text("landscape"))?;
    let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
    let options = Options {
        grid: args.grid,
        span: args.span,
        tokens: args.tokens,
        seed: args.seed,
        threads: args.threads.unwrap_or_else(cores),
    };
    let counter = Counter::new(Landscape::points(runs.len(), options), "points");
    let found = Landscape::of(&runs, options, &|| counter.step());
    counter.finish();
    let found = found?;
    if args.json {
        println!("{}", found.to_json());
    } else {
        print(&found);
    }
    if !args.json || args.output.is_some() {
        let path = args.output.unwrap_or_else(|| args.run.join(FILE));
        plot::save(&path, &picture(&found))?;
        eprintln!("picture: {}", path.display());
    }
    let run = args.run.display();
    if runs.len() == 1 {
        eprintln!("next: siskin-train landscape {run} --between ANOTHER_RUN");
    } else {
        eprintln!("next: siskin-train inspect {run} --text \"…\"");
    }
    Ok(())
}

fn print(found: &Landscape) {
    for model in &found.models {
        let (x, y) = model.at;
        println!("{}: loss {:.4} at ({x:.2}, {y:.2})", model.name, model.loss);
    }
    if let Some((loss, (x, y))) = found.lowest() {
        println!("lowest of the grid: {loss:.4} at ({x:.2}, {y:.2})");
    }
    if found.not_finite() > 0 {
        println!("not finite: {} points of the grid", found.not_finite());
    }
    for path in &found.paths {
        let (rise, at) = path.barrier();
        let name = |i: usize| &found.models[i].name;
        println!(
            "{} to {}: barrier {rise:.4} nats per token at {:.0} % of the way",
            name(path.ends.0),
            name(path.ends.1),
            100.0 * at
        );
    }
}
