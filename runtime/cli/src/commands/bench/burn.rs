//! A load to compete with: processes that keep every core busy.

use crate::out::Failure;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

/// A process that keeps every core busy until this is dropped.
pub struct Burners {
    process: Child,
}

impl Burners {
    /// Starts it and waits until it burns.
    pub fn start() -> Result<Burners, Failure> {
        let failed = |error| Failure::Failed(format!("cannot start this program again as a load: {error}"));
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["bench", "--burn"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut burners = Burners { process: command.spawn().map_err(failed)? };
        if let Some(stdout) = &mut burners.process.stdout {
            stdout.read_exact(&mut [0]).map_err(failed)?;
        }
        Ok(burners)
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        drop(self.process.stdin.take()); // tells it to end
        let _ = self.process.wait();
    }
}

/// Keeps every core busy until standard input ends, so until whoever started this tells it to, or is gone.
pub fn until_told() -> Result<(), Failure> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    for _ in 0..cores {
        std::thread::spawn(|| {
            let mut x = 1u64;
            loop {
                x = std::hint::black_box(x.wrapping_mul(3));
            }
        });
    }
    let mut stdout = std::io::stdout();
    stdout.write_all(b".").and_then(|()| stdout.flush()).map_err(Failure::failed)?;
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(()) // the threads end with the process
}
