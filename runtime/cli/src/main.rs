//! The siskin command.

mod args;
mod commands;
mod memory;
mod open;
mod out;
mod text;
mod units;

use args::{Cli, Command};
use clap::Parser;
use out::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse(); // leaves with 2 on wrong usage, with 0 after help
    out::set_quiet(cli.quiet);
    let done = match &cli.command {
        Command::Run(args) => commands::run::run(args),
        Command::Chat(args) => commands::chat::chat(args),
        Command::Info(args) => commands::info::info(args),
        Command::Verify(args) => commands::verify::verify(args),
        Command::Eval(args) => commands::eval::eval(args),
        Command::Score(args) => commands::score::score(args),
        Command::Tokenize(args) => commands::tokenize::tokenize(args),
        Command::Bench(args) => commands::bench::bench(args),
    };
    match done {
        Ok(()) | Err(Failure::BrokenPipe) => ExitCode::SUCCESS,
        Err(Failure::Failed(message)) => {
            out::error_line(&message);
            ExitCode::from(1)
        }
        Err(Failure::Usage(message)) => {
            out::error_line(&message);
            ExitCode::from(2)
        }
    }
}
