//! The siskin-train command as its users run it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder with a text to train on, removed when dropped.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text: String = (0..400)
            .map(|i| {
                format!("line {} of the song: {}\n", i % 7, ["la", "li", "lo"][i * i % 3].repeat(1 + i % 4))
            })
            .collect();
        std::fs::write(dir.path().join("song.txt"), text).unwrap();
        Place { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_siskin-train"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs and expects success; gives stdout.
    fn ok(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Runs and expects one line of error, which it gives.
    fn fails(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        let stderr = String::from_utf8(out.stderr).unwrap();
        let errors: Vec<&str> = stderr.lines().filter(|l| l.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{args:?}: {stderr}");
        assert!(stderr.ends_with(&format!("{}\n", errors[0])), "{args:?}: {stderr}");
        errors[0].to_string()
    }
}

/// A model so small that a step takes a millisecond.
const TINY: &[&str] = &[
    "--n-layers",
    "1",
    "--d-model",
    "16",
    "--hidden",
    "16",
    "--n-heads",
    "2",
    "--context",
    "16",
    "--batch-size",
    "4",
    "--eval-every",
    "20",
    "--sample-every",
    "0",
    "--threads",
    "2",
    "--quiet",
];

fn train<'a>(model: &'a str, steps: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["train", "song.txt", "--model", model, "--steps", steps];
    args.extend(TINY);
    args.extend(more);
    args
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn every_family_trains_exports_and_speaks() {
    let place = Place::new();
    for model in ["rnn", "gru", "lstm", "gpt", "llama"] {
        let file = format!("{model}.siskin");
        let out = place.ok(&train(model, "60", &["--out", model, "-o", &file]));
        assert!(out.contains(&format!("exported {file}: q8")), "{model}: {out}");
        assert!(out.contains("by the runtime: float") && out.contains("q8"), "{model}: {out}");
        assert!(out.contains("from the mapped file:"), "{model}: {out}");
        let json = place.ok(&["eval", model, "--json"]);
        let found: serde_json::Value = serde_json::from_str(&json).unwrap();
        let loss = found["loss"].as_f64().unwrap();
        // 26 characters, uniformly: 3.26 nats.
        assert!(loss < 2.9, "{model} has learnt nothing in 60 steps: {loss}");
        let out = place.ok(&["export", model, "-o", "again.siskin", "--dtype", "q8"]);
        assert!(out.contains("exported again.siskin: q8"), "{out}");
        assert!(!place.ok(&["sample", model, "-n", "20", "--prompt", "l"]).is_empty());
    }
}

#[test]
fn names_that_exist_are_never_overwritten() {
    let place = Place::new();
    for expected in ["song.siskin", "song-2.siskin"] {
        let out = place.ok(&train("rnn", "3", &[]));
        assert!(out.contains(expected), "{out}");
    }
    assert!(place.path("runs/song").is_dir() && place.path("runs/song-2").is_dir());
    let line = place.fails(&train("rnn", "3", &["--out", "runs/song"]));
    assert!(line.contains("holds a run already") && line.contains("resume"), "{line}");
}

/// Kills a run again and again at random moments; resumed, it ends with the very weights of an undisturbed one.
#[test]
fn a_killed_run_resumes_to_the_very_same_weights() {
    for (model, more) in
        [("lstm", &["--optimizer", "adamw", "--ema", "0.9"][..]), ("llama", &["--dropout", "0.1"])]
    {
        let place = Place::new();
        let mut whole =
            train(model, "300", &["--checkpoint-every", "7", "--out", "whole", "-o", "whole.siskin"]);
        whole.extend(more);
        let began = Instant::now();
        place.ok(&whole);
        let took = began.elapsed();
        let mut killed =
            train(model, "300", &["--checkpoint-every", "7", "--out", "killed", "-o", "killed.siskin"]);
        killed.extend(more);
        let mut args = killed;
        let mut kills = 0;
        for i in 0..40 {
            let mut child = place.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            // Scattered over the first half of the time that the whole run took.
            std::thread::sleep(took.mul_f64(0.15 + 0.35 * (f64::from(i) * 0.618 % 1.0)));
            child.kill().unwrap(); // SIGKILL
            let killed_now = !child.wait().unwrap().success();
            kills += usize::from(killed_now);
            let has_checkpoint = std::fs::read_dir(place.path("killed"))
                .is_ok_and(|d| d.flatten().any(|e| e.path().extension().is_some_and(|x| x == "ckpt")));
            if has_checkpoint {
                args = vec!["resume", "killed", "--quiet"];
            }
            if !killed_now || kills == 8 {
                break;
            }
        }
        assert!(kills > 0, "{model}: no run was killed");
        place.ok(&args);
        assert_eq!(
            bytes(&place.path("whole.siskin")),
            bytes(&place.path("killed.siskin")),
            "{model} after {kills} kills"
        );
    }
}

#[test]
fn the_number_of_threads_does_not_change_the_result() {
    let place = Place::new();
    for (threads, file) in [("1", "one.siskin"), ("3", "three.siskin")] {
        let mut args = train("gpt", "30", &["-o", file]);
        args.extend(["--threads", threads, "--out", file.trim_end_matches(".siskin")]);
        // The last --threads would be a second one: drop that of TINY.
        let at = args.iter().position(|a| *a == "--threads").unwrap();
        args.drain(at..at + 2);
        place.ok(&args);
    }
    assert_eq!(bytes(&place.path("one.siskin")), bytes(&place.path("three.siskin")));
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_stops() {
    let place = Place::new();
    let mut args = train("gpt", "1000000", &["--out", "long"]);
    args.retain(|a| *a != "--quiet");
    let child = place.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = place.path("long/log.jsonl");
    while std::fs::metadata(&log).map_or(0, |m| m.len()) == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let out = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{stderr}");
    assert!(
        stderr.contains("saved in long") && stderr.contains("next: siskin-train resume long"),
        "{stderr}"
    );
    assert!(place.ok(&["eval", "long"]).starts_with("step "));
}

#[test]
fn a_run_that_diverges_says_where_and_keeps_the_last_good_state() {
    let place = Place::new();
    let mut args =
        train("rnn", "400", &["--out", "wild", "--lr", "1e30", "--optimizer", "sgd", "--warmup", "0"]);
    args.extend(["--clip-norm", "0", "--activation", "relu"]);
    let line = place.fails(&args);
    assert!(
        line.contains("at step ") && line.contains(": gradient of ") || line.contains(": weight of "),
        "{line}"
    );
    assert!(line.contains("Lower lr") && line.contains("The last good state is in wild"), "{line}");
}

#[test]
fn it_stops_when_there_is_nothing_more_to_learn_and_says_so() {
    let place = Place::new();
    let mut args = train("gpt", "5000", &["--target-loss", "2.5"]);
    args.retain(|a| *a != "--quiet");
    let out = place.run(&args);
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() && stderr.contains("target reached at step"), "{stderr}");
}

#[test]
fn descent_can_be_full_batch_stochastic_and_upwards() {
    let place = Place::new();
    let loss = |name: &str| {
        let json = place.ok(&["eval", name, "--json"]);
        serde_json::from_str::<serde_json::Value>(&json).unwrap()["loss"].as_f64().unwrap()
    };
    for (name, more) in [
        ("full", &["--batch-size", "full", "--optimizer", "nesterov", "--lr", "0.5"][..]),
        ("one", &["--batch-size", "1", "--optimizer", "rmsprop"]),
        ("up", &["--maximize", "--optimizer", "sgd", "--lr", "0.5"]),
    ] {
        let mut args = train("rnn", "40", &["--out", name, "-o", "x.siskin"]);
        let at = args.iter().position(|a| *a == "--batch-size").unwrap();
        if more[0] == "--batch-size" {
            args.drain(at..at + 2);
        }
        args.extend(more);
        place.ok(&args);
    }
    assert!(loss("full") < 3.2 && loss("one") < 3.2, "{} {}", loss("full"), loss("one"));
    assert!(loss("up") > 3.4, "{}", loss("up"));
}

#[test]
fn gradcheck_passes_every_family_and_fails_on_a_planted_fault() {
    let place = Place::new();
    for model in ["rnn", "gru", "lstm", "gpt", "llama"] {
        let out = place.ok(&["gradcheck", "--model", model, "--samples", "6"]);
        assert!(out.contains("agree within") && out.contains("embed.weight"), "{model}: {out}");
    }
    let line = place.fails(&["gradcheck", "--model", "gru", "--samples", "6", "--fault", "blocks.1.w_h"]);
    assert!(line.contains("blocks.1.w_h"), "{line}");
    assert!(place.fails(&["gradcheck", "--fault", "nothing"]).contains("expected one of embed.weight"));
}

#[test]
fn bad_input_is_one_clear_line() {
    let place = Place::new();
    let write = |name: &str, text: &[u8]| std::fs::write(place.path(name), text).unwrap();
    write("empty.txt", b"");
    write("short.txt", b"abc");
    write("broken.txt", b"abc \xff def");
    write("typo.toml", b"n_layer = 3");
    write("song.siskin", b"not a model");
    let case = |args: &[&str], expected: &[&str]| {
        // Whatever is not refused ends soon, and fails the test.
        let bound: &[&str] =
            if args.iter().any(|a| ["--minutes", "--steps"].contains(a)) || args[0] != "train" {
                &[]
            } else {
                &["--steps", "1"]
            };
        let line = place.fails(&[args, bound].concat());
        for part in expected {
            assert!(line.contains(part), "{args:?}: {line} lacks {part}");
        }
    };
    case(&["train", "missing.txt"], &["missing.txt", "No such file"]);
    case(&["train", "empty.txt"], &["empty.txt", "is empty"]);
    case(&["train", "."], &["directory"]);
    case(&["train", "short.txt"], &["tokens", "smaller context"]);
    case(&["train", "broken.txt", "--tokenizer", "char"], &["broken.txt", "UTF-8"]);
    case(&["train", "song.txt", "--config", "typo.toml"], &["n_layer", "did you mean 'n_layers'"]);
    case(&["train", "song.txt", "--config", "none.toml"], &["none.toml"]);
    case(&["train", "song.txt", "--model", "gpt", "--d-model", "130"], &["130", "n_heads 4"]);
    case(&["train", "song.txt", "--lr", "0"], &["lr", "never learn"]);
    case(&["train", "song.txt", "--lr", "nan"], &["lr", "NaN"]);
    case(&["train", "song.txt", "--minutes", "0"], &["minutes", "positive"]);
    case(&["train", "song.txt", "--steps", "0"], &["steps", "at least 1"]);
    case(&["train", "song.txt", "--batch-size", "none"], &["batch_size", "full"]);
    case(&["train", "song.txt", "--optimizer", "sgd", "--beta2", "0.9"], &["beta2", "not used by sgd"]);
    case(&["train", "song.txt", "--val-fraction", "1.5"], &["val"]);
    case(&["resume", "nowhere"], &["nowhere"]);
    case(&["resume", "."], &["no checkpoint"]);
    case(&["eval", "."], &["no checkpoint"]);
    assert_eq!(place.run(&["train"]).status.code(), Some(2));
    assert_eq!(place.run(&["train", "song.txt", "--optimizer", "adamm"]).status.code(), Some(2));
    assert_eq!(bytes(&place.path("song.siskin")), b"not a model", "nothing that existed is lost");
}
