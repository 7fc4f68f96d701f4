//! The time that a fresh process needs.

use crate::args::ModelArgs;
use crate::out::Failure;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Seconds from the start of a fresh process to its first output: `siskin run` of one token.
pub fn time_to_first_token(model: &ModelArgs, threads: Option<usize>) -> Result<f64, Failure> {
    let failed = |error| Failure::Failed(format!("cannot start this program again to time it: {error}"));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["-q", "run", "-n", "1", "--temp", "0"]);
    if model.no_mmap {
        command.arg("--no-mmap");
    }
    if let Some(threads) = threads {
        command.arg(format!("--threads={threads}"));
    }
    command.arg("--").arg(&model.model);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let begun = Instant::now();
    let mut child = command.spawn().map_err(failed)?;
    // The end of the output counts as the first token where that has no text.
    let mut first = [0];
    let read = child.stdout.take().map(|mut stdout| stdout.read(&mut first));
    let seconds = begun.elapsed().as_secs_f64();
    let status = child.wait().map_err(failed)?;
    match read {
        Some(Ok(_)) if status.success() => Ok(seconds),
        _ => Err(Failure::Failed(format!("siskin run, started to be timed, ended with {status}"))),
    }
}
