//! `doctor`: what goes wrong in a run, why, and what to do; with `--try`, whether that helps.

use std::path::Path;

use siskin_trainer::doctor::trial::{self, Arm, Trial, Verdict};
use siskin_trainer::doctor::{Case, Examination};
use siskin_trainer::train::interrupt;
use siskin_trainer::{Error, Result};

use crate::args::DoctorArgs;

pub fn doctor(args: DoctorArgs) -> Result<()> {
    let examination = Examination::of(&Case::read(&args.run)?);
    if args.json && !args.try_remedies {
        println!("{}", json(&examination)?);
    } else if !args.json {
        print!("{examination}");
    }
    let healthy = examination.findings.is_empty();
    if !args.try_remedies {
        next(&args.run, healthy);
        return Ok(());
    }
    if healthy {
        if args.json {
            println!("{}", serde_json::json!({ "examination": json(&examination)?, "trial": null }));
        }
        eprintln!("\nnothing to try: no trouble was found");
        next(&args.run, healthy);
        return Ok(());
    }
    interrupt::install();
    eprintln!();
    let trial =
        trial::run(&args.run, &examination.findings, args.steps, &|line| eprintln!("trying: {line}"))?;
    if args.json {
        println!("{}", serde_json::json!({ "examination": json(&examination)?, "trial": json(&trial)? }));
    } else {
        print_trial(&trial);
    }
    match trial.best() {
        Some(best) => eprintln!("\nnext: train again with {}", best.name),
        None => {
            eprintln!("\nnext: siskin-train doctor {} --try --steps {}", args.run.display(), 4 * trial.steps)
        }
    }
    Ok(())
}

fn json(what: &impl serde::Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(what).map_err(|e| Error::Run(format!("the findings cannot be written as JSON: {e}")))
}

fn next(run: &Path, healthy: bool) {
    let run = run.display();
    match healthy {
        true => eprintln!("\nnext: siskin-train report {run}"),
        false => eprintln!("\nnext: siskin-train doctor {run} --try"),
    }
}

fn print_trial(trial: &Trial) {
    println!("\n{} updates side by side, same text and seed:\n", trial.steps);
    println!("{:>9}  {:>9}  {:>9}  {:>7}  {:>6}  run", "training", "best val", "last val", "updates", "time");
    let loss = |loss: Option<f64>| loss.map_or("–".to_string(), |loss| format!("{loss:.4}"));
    for arm in &trial.arms {
        let figures = [loss(arm.training), loss(arm.best), loss(arm.last)];
        let [training, best, last] = figures;
        println!(
            "{training:>9}  {best:>9}  {last:>9}  {:>7}  {:>5.1}s  {}",
            arm.steps, arm.seconds, arm.name
        );
    }
    println!();
    for (i, arm) in trial.arms.iter().enumerate().skip(1) {
        println!("{}", verdict(trial, i, arm));
    }
    println!("picture: {}", trial.picture.display());
}

/// A sentence on one remedy.
fn verdict(trial: &Trial, index: usize, arm: &Arm) -> String {
    let change = match (trial.arms[0].last, arm.last) {
        (Some(own), Some(with)) => format!("loss {own:.3} → {with:.3}"),
        (None, Some(with)) => format!("no finite loss → {with:.3}"),
        (_, None) => "no finite loss".to_string(),
    };
    let word = match trial.verdict(index) {
        Verdict::Helped => "helped",
        Verdict::Neither => "made no noticeable difference",
        Verdict::Harmed => "did harm",
    };
    let names = |troubles: Vec<&'static str>| troubles.join(", ");
    let still: Vec<&str> = arm.treats.iter().filter(|t| arm.troubles.contains(t)).map(|t| t.name()).collect();
    let gone: Vec<&str> = arm.treats.iter().filter(|t| !arm.troubles.contains(t)).map(|t| t.name()).collect();
    let mut line = format!("{} {word}: {change}", arm.name);
    if !gone.is_empty() {
        line.push_str(&format!("; not seen any more: {}", names(gone)));
    }
    if !still.is_empty() {
        line.push_str(&format!("; still seen: {}", names(still)));
    }
    if let Some(reason) = &arm.ended {
        line.push_str(&format!("; ended early: {reason}"));
    }
    line
}
