//! Memory that cannot be had, and writes that take only a part: a small C library before libc.

use crate::place::{Outcome, Place, output, reference};
use crate::{report, thorough};
use siskin_tests::skip;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

/// The library, compiled into the folder of a place; `None` when there is no C compiler, which has been said.
fn shim(place: &Place) -> Option<PathBuf> {
    let (source, library) =
        (siskin_tests::root().join("tests/tests/durability/shim.c"), place.path().join("shim.so"));
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let out = Command::new(&compiler)
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output();
    match out {
        Ok(out) => {
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            Some(library)
        }
        Err(error) => {
            skip(&format!("no C compiler ({error})"));
            None
        }
    }
}

fn with_shim(mut command: Command, library: &PathBuf, settings: &[(&str, &str)]) -> Outcome {
    command.env("LD_PRELOAD", library).envs(settings.iter().copied());
    output(&command)
}

/// Every write of every file takes a third of what it is given: the files are those of an undisturbed run.
#[test]
fn short_writes_change_nothing() {
    let place = Place::new();
    let Some(library) = shim(&place) else { return };
    let out = with_shim(place.train(), &library, &[("SHIM_SHORT_WRITES", "1")]);
    assert!(out.status.success(), "{out:?}");
    place.check();
    assert!(fs::read(place.model()).unwrap() == reference().model);
    let out = with_shim(place.export(), &library, &[("SHIM_SHORT_WRITES", "1")]);
    assert!(out.status.success(), "{out:?}");
    assert!(fs::read(place.other()).unwrap() == reference().other);
}

/// How a program without memory may end: with its own line, or, for an allocation too small to be asked for, with the
/// standard library's line and an abort (stable Rust gives a program no other way).
fn ended_clearly(out: &Outcome) -> bool {
    match (out.status.code(), out.status.signal()) {
        (Some(0), _) => true,
        (Some(1), _) => out.error().len() > 10,
        (Some(101), _) => out.stderr.contains("memory"),
        // Also libc's own line: "Fatal glibc error: ... out of memory".
        (_, Some(6)) => out.stderr.contains("memory allocation of ") || out.stderr.contains("out of memory"),
        // libc's loader
        (Some(127), _) => out.stderr.contains("cannot allocate memory"),
        _ => false,
    }
}

#[test]
fn every_allocation_fails() {
    let place = Place::new();
    let Some(library) = shim(&place) else { return };
    let count = place.path().join("count");
    let out = with_shim(place.train(), &library, &[("SHIM_COUNT_TO", count.to_str().unwrap())]);
    assert!(out.status.success(), "{out:?}");
    let n: usize = fs::read_to_string(&count).unwrap().trim().parse().unwrap();
    assert!(n > 100, "{n} allocations");
    let tried = if thorough() { n } else { 60 };
    let mut lines = 0;
    for i in 0..tried {
        let nth = 1 + i * n / tried;
        let place = Place::new();
        let out = with_shim(place.train(), &library, &[("SHIM_FAIL_ALLOCATION", &nth.to_string())]);
        assert!(ended_clearly(&out), "allocation {nth} of {n}: {out:?}");
        lines += usize::from(!out.status.success());
        place.check();
        if !thorough() || i % 16 == 0 {
            place.finish();
        }
    }
    report(&format!(
        "{tried} of {n} allocations failed, one each: {lines} runs ended with one line, nothing torn"
    ));
}

/// Large allocations, those that a machine may lack, end in the trainer's own words.
#[test]
fn too_little_memory_for_the_model_is_said() {
    let place = Place::new();
    let Some(library) = shim(&place) else { return };
    let mut large = place.train();
    large.args(["--d-model", "512", "--hidden", "512"]);
    let args: Vec<_> = large.get_args().map(std::ffi::OsStr::to_os_string).collect();
    let mut command = Command::new(large.get_program());
    // The first of two values goes.
    let twice = |i: usize| ["--d-model", "--hidden"].iter().any(|n| args[i] == *n) && i + 4 < args.len();
    command.args((0..args.len()).filter(|&i| !(twice(i) || i > 0 && twice(i - 1))).map(|i| &args[i]));
    let out = with_shim(command, &library, &[("SHIM_FAIL_ABOVE", "8000000")]);
    let line = out.error();
    assert!(line.contains("MB of memory") && line.contains("smaller model"), "{line}");
}
