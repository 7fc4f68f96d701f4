//! A kill at every system call of training, saving and exporting, and kills at random moments.

use crate::place::{Place, reference};
use crate::strace::{self, Call};
use crate::{report, thorough};
use siskin_tests::models::Rng;
use siskin_tests::skip;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const CALLS: &str = "openat,read,pread64,write,writev,pwrite64,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,\
                     ftruncate,fallocate,copy_file_range,sendfile,mmap,munmap,close,mkdir,mkdirat,flock,lseek,getdents64,statx,newfstatat";

/// The calls at which to strike: those on the folder's files, or all.
fn targets(place: &Place, command: &Command) -> Vec<Call> {
    let mut calls = strace::record(command, CALLS, &place.path().join("trace"));
    if !thorough() {
        // Reading changes nothing: before and after it the folder is the same.
        let reads =
            ["read", "pread64", "statx", "newfstatat", "getdents64", "lseek", "mmap", "munmap", "close"];
        calls.retain(|c| c.touches(place.path()) && !reads.contains(&&c.name[..]));
        calls.retain(|c| c.name != "openat" || c.line.contains("O_CREAT"));
    }
    calls
}

/// Kills `command`, made anew for each place, at every call, after `before` has been done.
fn kill_at_every_call(
    what: &str,
    before: impl Fn(&Place),
    command: impl Fn(&Place) -> Command,
    after: impl Fn(&Place, &Call),
) {
    if let Some(reason) = strace::missing() {
        return skip(&reason);
    }
    reference();
    let (start, place) = (Instant::now(), Place::new());
    before(&place);
    let calls = targets(&place, &command(&place));
    assert!(calls.len() > 10, "{} calls of {what}", calls.len());
    for call in &calls {
        let place = Place::new();
        before(&place);
        let (out, _) = call.strike(&command(&place), "signal=KILL", &place.path().join("trace"));
        // Another thread may have made so many calls of this kind before.
        assert!(out.status.signal() == Some(9), "{call:?} is not made any more: {out:?}");
        place.check();
        after(&place, call);
    }
    report(&format!(
        "{what} killed at each of {} system calls: nothing torn, bit-identical afterwards ({:.0} s)",
        calls.len(),
        start.elapsed().as_secs_f64()
    ));
}

#[test]
fn training_is_killed_at_every_call() {
    kill_at_every_call("training", |_| (), Place::train, |place, _| place.finish());
}

/// From a checkpoint in the middle on, with a log that holds more than it.
#[test]
fn resuming_is_killed_at_every_call() {
    kill_at_every_call("resuming", Place::train_almost, Place::resume, |place, _| place.finish());
}

#[test]
fn exporting_is_killed_at_every_call() {
    let before = |place: &Place| {
        place.ok(&place.train());
        fs::write(place.other(), "old").unwrap();
    };
    kill_at_every_call("exporting", before, Place::export, |place, call| {
        let found = fs::read(place.other()).unwrap();
        assert!(found == b"old" || found == reference().other, "{call:?} left {} bytes", found.len());
        place.ok(&place.export());
        assert!(fs::read(place.other()).unwrap() == reference().other);
        assert_eq!(place.temporaries(), [] as [std::path::PathBuf; 0]);
    });
}

/// Runs are killed after random times, resumed, and killed again, until so many kills are done.
#[test]
fn training_is_killed_at_random_moments() {
    reference();
    let (wanted, start) = (if thorough() { 1000 } else { 60 }, Instant::now());
    let mut rng = Rng::new(7);
    let whole = Instant::now();
    Place::new().finish();
    let whole = whole.elapsed();
    let (mut kills, mut runs) = (0, 0);
    while kills < wanted {
        let place = Place::new();
        loop {
            let mut child = place
                .next()
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_nanos(rng.below(whole.as_nanos() as usize) as u64));
            child.kill().unwrap();
            let status = child.wait().unwrap();
            place.check();
            if status.signal() != Some(9) {
                assert!(status.success(), "{status}");
                break;
            }
            kills += 1;
        }
        place.finish();
        runs += 1;
    }
    report(&format!(
        "{kills} kills at random moments in {runs} runs: every run ended with the bytes of an undisturbed one ({:.0} s)",
        start.elapsed().as_secs_f64()
    ));
}
