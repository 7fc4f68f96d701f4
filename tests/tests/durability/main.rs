//! Training and export against kills, failing system calls, missing memory and full disks: nothing torn, nothing lost, one clear
//! line for whoever sits in front of it.
//!
//! The tests run `siskin-train` on a tiny model, a run of a few hundredths of a second, under `strace`, which kills or lets
//! calls fail by number, or with a small C library before libc. What is missing (strace, a C compiler) is skipped
//! visibly; where mounting or control groups are not permitted, a line says so. By default the calls that touch the run's own files are tried; with `SISKIN_DURABILITY=all` (`make durability`)
//! every call of the program is, with more errors, and a thousand kills at random moments.

#![cfg(all(target_os = "linux", feature = "trainer"))]

mod disk;
mod faults;
mod folder;
mod kills;
mod memory;
mod place;
mod strace;

/// Whether to try everything.
fn thorough() -> bool {
    std::env::var("SISKIN_DURABILITY").is_ok_and(|v| v == "all")
}

/// A line of the report, past the test harness's capture.
fn report(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}
