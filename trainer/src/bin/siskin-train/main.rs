//! `siskin-train`: from a text to a quantized model that generates.

mod args;
mod average;
mod bench;
mod compare;
mod doctor;
mod export;
mod gradcheck;
mod import;
mod inspect;
mod landscape;
mod lr_find;
mod measure;
mod plan;
mod report;
mod steps;
mod table;
mod tokenizer;
mod train;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use siskin_trainer::Result;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Train(args) => train::train(*args),
        Command::Resume(args) => train::resume(args),
        Command::Plan(args) => plan::plan(*args),
        Command::Eval(args) => measure::eval(args),
        Command::Sample(args) => measure::sample(args),
        Command::Export(args) => export::export(args),
        Command::Import(args) => import::import(args),
        Command::Init(args) => export::init(*args),
        Command::Gradcheck(args) => gradcheck::gradcheck(*args),
        Command::Bench(args) => bench::bench(*args),
        Command::Compare(args) => compare::compare(*args),
        Command::LrFind(args) => lr_find::lr_find(*args),
        Command::Report(args) => report::report(args),
        Command::Inspect(args) => inspect::inspect(args),
        Command::Landscape(args) => landscape::landscape(args),
        Command::Average(args) => average::average(args),
        Command::Doctor(args) => doctor::doctor(args),
        Command::Tokenizer(args) => tokenizer::tokenizer(args),
    }
}
