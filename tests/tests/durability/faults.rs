//! The Nth system call fails, for every N: one clear line, nothing torn, and what was begun can be gone on with.

use crate::place::{EVERY, Outcome, Place, STEPS, output, reference};
use crate::strace::{self, Call};
use crate::{report, thorough};
use siskin_tests::skip;
use std::fs;
use std::process::Command;
use std::time::Instant;

/// Calls and the errors that they are made to fail with; the first alone unless everything is tried.
const FAULTS: [(&str, &[&str]); 17] = [
    ("write", &["ENOSPC", "EIO", "EDQUOT", "EINTR"]),
    ("fsync", &["EIO", "ENOSPC", "EDQUOT"]),
    ("rename", &["EIO", "ENOSPC", "EACCES"]),
    ("openat", &["EIO", "EMFILE", "ENOSPC", "EACCES"]),
    ("mkdir", &["ENOSPC", "EACCES"]),
    ("unlink", &["EIO", "EACCES"]),
    ("close", &["EIO", "EINTR"]),
    ("mmap", &["ENOMEM", "ENODEV"]),
    ("flock", &["EIO", "ENOLCK", "EINTR"]),
    ("ftruncate", &["EIO"]),
    ("lseek", &["EIO"]),
    ("read", &["EIO", "EINTR"]),
    ("getdents64", &["EIO"]),
    ("statx", &["EIO", "EACCES"]),
    ("newfstatat", &["EIO"]),
    ("munmap", &["EINVAL"]),
    ("readlink", &["EIO"]),
];

/// Whether a call writes a checkpoint of a step before the last, which a run can do without.
fn saves_in_between(call: &Call) -> bool {
    let step = call.line.split(".step-").nth(1).and_then(|rest| rest.split('.').next()?.parse::<u64>().ok());
    step.is_some_and(|step| step < STEPS) && ["write", "fsync", "rename", "openat"].contains(&&call.name[..])
}

/// What must hold of a command whose `call` failed with `error`.
fn check(call: &Call, error: &str, out: &Outcome, calls: &[Call]) {
    let case = format!("{call:?} with {error}: {out:?}");
    match out.status.code() {
        Some(0) => {}
        Some(1) => _ = out.error(),
        // The program was not yet running: the system's loader, or Rust's start-up, could not go on.
        Some(127) if out.stderr.contains("error while loading shared libraries") => {}
        // The standard library takes a folder that cannot be closed for a mistake of the program; no file system gives that.
        Some(101) if call.name == "close" && out.stderr.contains("unexpected error during closedir") => {}
        _ => panic!("{case}"),
    }
    if saves_in_between(call) && error != "EINTR" {
        assert_eq!(out.status.code(), Some(0), "{case}");
        let warnings = out.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("training goes on"), "{case}");
    }
    if call.name == "fsync" {
        let file = |c: &Call| c.line.split(['<', '>']).nth(1).unwrap_or("").to_string();
        let failed =
            calls.iter().position(|c| c.line.contains("(INJECTED)")).expect("the fault was injected");
        let again = calls[failed + 1..]
            .iter()
            .any(|c| c.name == "fsync" && file(c) == file(call) && file(call).contains(".tmp-"));
        assert!(!again, "synced again after a failed fsync: {case}");
    }
}

/// Lets `command`, made anew for each place, fail at every call, after `before` has been done.
fn fail_every_call(
    what: &str,
    before: impl Fn(&Place),
    command: impl Fn(&Place) -> Command,
    after: impl Fn(&Place, &Call, &Outcome),
) {
    if let Some(reason) = strace::missing() {
        return skip(&reason);
    }
    reference();
    let (start, place) = (Instant::now(), Place::new());
    before(&place);
    let names: Vec<&str> = FAULTS.iter().map(|(name, _)| *name).collect();
    let calls = strace::record(&command(&place), &names.join(","), &place.path().join("trace"));
    let (mut done, mut failed) = (0, 0);
    // By default, of the calls that only read, every fourth.
    let writing = ["write", "fsync", "rename", "mkdir", "unlink", "flock", "ftruncate"];
    let tried = |i: usize, c: &Call| {
        let matters = i.is_multiple_of(4) || writing.contains(&&c.name[..]) || c.line.contains("O_CREAT");
        thorough() || (c.touches(place.path()) && matters)
    };
    for (_, call) in calls.iter().enumerate().filter(|(i, c)| tried(*i, c)) {
        let (_, errors) =
            FAULTS.iter().find(|(name, _)| *name == call.name).expect("a recorded call is one of these");
        for error in &errors[..if thorough() { errors.len() } else { 1 }] {
            let place = Place::new();
            before(&place);
            let (out, calls) =
                call.strike(&command(&place), &format!("error={error}"), &place.path().join("trace"));
            check(call, error, &out, &calls);
            place.check();
            if call.name != "unlink" {
                assert_eq!(
                    place.temporaries(),
                    [] as [std::path::PathBuf; 0],
                    "{call:?} with {error}: {out:?}"
                );
            }
            after(&place, call, &out);
            done += 1;
            failed += usize::from(!out.status.success());
        }
    }
    report(&format!(
        "{what} with each of {done} calls failing: {failed} ended with one line, the others with the same bytes; \
         nothing torn ({:.0} s)",
        start.elapsed().as_secs_f64()
    ));
}

#[test]
fn every_call_of_training_fails() {
    fail_every_call(
        "training",
        |_| (),
        Place::train,
        |place, call, out| {
            if out.status.success() {
                assert!(fs::read(place.model()).unwrap() == reference().model, "{call:?}");
            }
            place.finish();
        },
    );
}

#[test]
fn every_call_of_resuming_fails() {
    let before = |place: &Place| {
        place.train_almost();
        fs::write(place.model(), "old").unwrap();
    };
    fail_every_call("resuming", before, Place::resume, |place, call, out| {
        if out.status.success() {
            assert!(fs::read(place.model()).unwrap() == reference().model, "{call:?}");
        }
        place.finish();
    });
}

#[test]
fn every_call_of_exporting_fails() {
    let before = |place: &Place| {
        place.ok(&place.train());
        fs::write(place.other(), "old").unwrap();
    };
    fail_every_call("exporting", before, Place::export, |place, call, out| {
        let found = fs::read(place.other()).unwrap();
        // A newest checkpoint that the disk does not read gives way to the one before, which is said.
        let older = out.warnings().iter().any(|w| w.contains("cannot read it any more"));
        let whole = found == reference().other || (older && found != b"old");
        let failed = found == b"old" && !out.status.success();
        assert!(whole || failed, "{call:?} left {} bytes: {out:?}", found.len());
        place.ok(&place.export());
    });
}

/// A disk that is full for a while: each save says so, none costs the run, and the first one with room succeeds.
#[test]
fn saves_fail_for_a_while_and_then_succeed() {
    if let Some(reason) = strace::missing() {
        return skip(&reason);
    }
    let place = Place::new();
    let log = place.path().join("trace");
    let calls = strace::record(&place.train(), "fsync", &log);
    let saves: Vec<&Call> = calls.iter().filter(|c| c.line.contains(".ckpt.tmp-")).collect();
    // A save that fails makes one of these calls; all but the last are to fail.
    let (first, last) = (saves[0].number, saves[0].number + saves.len() - 2);
    let place = Place::new();
    let out = strace::always(
        &place.train(),
        &format!("fsync:error=EIO:when={first}..{last}"),
        &place.path().join("trace"),
    );
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert_eq!(out.warnings().len(), saves.len() - 1, "{out:?}");
    assert_eq!(place.checkpoints(), [STEPS]);
    place.removed.set(STEPS / EVERY - 1);
    place.finish();
}

/// The last state could not be saved: the model is exported all the same, and the exit status says that something is missing.
#[test]
fn a_run_whose_last_save_fails_says_so_at_its_end() {
    if let Some(reason) = strace::missing() {
        return skip(&reason);
    }
    let place = Place::new();
    let calls = strace::record(&place.train(), "fsync", &place.path().join("trace"));
    let last = calls.iter().find(|c| c.line.contains(&format!("step-{STEPS:010}"))).unwrap();
    let place = Place::new();
    let (out, _) = last.strike(&place.train(), "error=ENOSPC", &place.path().join("trace"));
    let line = out.error();
    assert!(
        line.contains(&format!("the state after step {STEPS} is not saved"))
            && line.contains("No space left"),
        "{line}"
    );
    assert!(fs::read(place.model()).unwrap() == reference().model);
    assert_eq!(place.checkpoints(), [STEPS - 6, STEPS - 3]);
    place.finish();
}

/// Without locks on the file system (an old network drive, say) one trains unguarded, and is told so.
#[test]
fn a_file_system_without_locks_is_trained_on() {
    if let Some(reason) = strace::missing() {
        return skip(&reason);
    }
    for error in ["ENOLCK", "EOPNOTSUPP", "ENOSYS"] {
        let place = Place::new();
        let out =
            strace::always(&place.train(), &format!("flock:error={error}"), &place.path().join("trace"));
        assert_eq!(out.status.code(), Some(0), "{out:?}");
        assert!(out.warnings().len() == 1 && out.warnings()[0].contains("no locks"), "{out:?}");
        place.check();
        assert!(output(&place.resume()).status.success());
    }
}
