//! Folders that somebody else works in, or that vanish.

use crate::place::{EVERY, Place, STEPS, output, reference};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A run that does not end by itself, once it has saved.
fn running(place: &Place) -> Child {
    let train = place.train();
    let mut command = Command::new(train.get_program());
    let args: Vec<_> = train.get_args().collect();
    let steps = args.iter().position(|a| *a == "--steps").unwrap();
    for (i, arg) in args.iter().enumerate() {
        command.arg(if i == steps + 1 { "100000000".as_ref() } else { *arg });
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until("a checkpoint", || {
        fs::read_dir(place.run())
            .is_ok_and(|d| d.flatten().any(|e| e.path().extension().is_some_and(|x| x == "ckpt")))
    });
    child
}

/// Waits for at most 20 s.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_second_trainer_is_refused_until_the_first_is_gone() {
    let place = Place::new();
    let mut first = running(&place);
    for command in [place.train(), place.resume()] {
        let out = output(&command);
        let expected = format!("error: another siskin-train (process {}) works in ", first.id());
        assert!(out.error().starts_with(&expected), "{out:?}");
    }
    // Looking at a run that trains is allowed.
    place.ok(&place.export());
    // The lock goes with its process, however that ends.
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(place.run().join("lock").exists());
    let mut second =
        place.resume().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    signal(&second, "-INT");
    assert!(second.wait().unwrap().success());
}

/// The first Ctrl-C saves at the end of the step, the second leaves at once.
#[test]
fn two_interrupts_leave_at_once() {
    let place = Place::new();
    let mut child = running(&place);
    // Many at a time: whichever comes second finds the first taken.
    for _ in 0..50 {
        if Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .stderr(Stdio::null())
            .status()
            .is_err()
        {
            break;
        }
    }
    let code = child.wait().unwrap().code();
    assert!(code == Some(130) || code == Some(0), "{code:?}");
    assert!(!place.checkpoints().is_empty());
}

#[test]
fn a_run_folder_deleted_under_the_trainer_costs_checkpoints_but_not_the_model() {
    let place = Place::new();
    let child = running(&place);
    fs::rename(place.run(), place.path().join("gone")).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    signal(&child, "-INT");
    let out = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("warning: ") && stderr.contains("training goes on"), "{stderr}");
    assert!(stderr.lines().last().unwrap().starts_with("error: the state after step "), "{stderr}");
}

#[test]
fn a_checkpoint_replaced_by_a_folder_or_by_noise_is_passed_over() {
    let place = Place::new();
    place.ok(&place.train());
    let newest = place.run().join(format!("step-{STEPS:010}.ckpt"));
    fs::remove_file(&newest).unwrap();
    fs::create_dir(&newest).unwrap();
    fs::write(place.run().join("step-9999999999.ckpt"), "SISKCKPT noise").unwrap();
    let out = output(&place.resume());
    assert!(out.status.success(), "{out:?}");
    assert_eq!(place.checkpoints(), [STEPS - EVERY, STEPS]);
    assert!(newest.with_extension("ckpt.damaged").is_dir());
    assert!(fs::read(place.model()).unwrap() == reference().model);
}

#[test]
fn what_killed_trainers_left_is_cleaned_up() {
    let place = Place::new();
    place.ok(&place.train());
    for name in [".step-0000000015.ckpt.tmp-1-0", ".log.jsonl.tmp-99-3"] {
        fs::write(place.run().join(name), "half").unwrap();
    }
    fs::write(place.path().join(".model.siskin.tmp-1-0"), "half").unwrap();
    fs::write(place.run().join("lock"), "1").unwrap();
    fs::write(place.run().join(".notes.tmp-mine"), "not ours").unwrap();
    place.ok(&place.resume());
    assert_eq!(place.temporaries(), [place.run().join(".notes.tmp-mine")]);
}
