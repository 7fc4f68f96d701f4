//! An encoder-decoder from a file of pairs to an exported file, by the siskin-train command.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder with pairs: three letters, and the same letters backwards.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let letter = |i: usize| (b'a' + (i % 6) as u8) as char;
    let lines: String = (0..216)
        .map(|i| {
            let [a, b, c] = [letter(i), letter(i / 6), letter(i / 36)];
            format!("{a}{b}{c}\t{c}{b}{a}\n")
        })
        .collect();
    std::fs::write(dir.path().join("pairs.tsv"), lines).unwrap();
    dir
}

fn train(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siskin-train"));
    command.args(args).current_dir(dir).stdin(Stdio::null());
    command.output().unwrap()
}

fn ok(dir: &Path, args: &[&str]) -> String {
    let out = train(dir, args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn error(dir: &Path, args: &[&str]) -> String {
    let out = train(dir, args);
    assert_eq!(out.status.code(), Some(1), "{args:?}");
    let stderr = String::from_utf8(out.stderr).unwrap();
    stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default().to_string()
}

const SMALL: &[&str] = &[
    "train",
    "pairs.tsv",
    "--model",
    "seq2seq",
    "--n-layers",
    "1",
    "--d-model",
    "32",
    "--n-heads",
    "2",
    "--batch-size",
    "16",
    "--sample-every",
    "0",
    "--threads",
    "1",
];

fn small(more: &[&'static str]) -> Vec<&'static str> {
    [SMALL, more].concat()
}

#[test]
fn pairs_are_learned_exported_and_measured() {
    let dir = place();
    let out = ok(
        dir.path(),
        &small(&["--steps", "400", "--eval-every", "100", "--out", "run", "--export", "m.siskin"]),
    );
    assert!(out.contains("loss on ") && out.contains("by the runtime"), "{out}");
    let line = out.lines().find(|line| line.starts_with("exact match")).expect("a line of exact matches");
    let percent: f64 = line.split(' ').find_map(|word| word.parse().ok()).expect("a number");
    assert!(percent > 70.0, "reversing three letters is easy, but: {line}");
    assert!(out.lines().any(|line| line.contains(" → ")), "held-out pairs are shown: {out}");
    let json = ok(dir.path(), &["eval", "run", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let held_out = value["pairs"].as_u64().unwrap();
    assert!((5..50).contains(&held_out), "{json}");
    assert_eq!(value["tokens"].as_u64(), Some(4 * held_out));
    let text = ok(dir.path(), &["eval", "run", "--text", "pairs.tsv", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["pairs"], 216);
    assert_eq!(ok(dir.path(), &["sample", "run"]).lines().count(), 10);
    assert_eq!(ok(dir.path(), &["sample", "run", "-p", "abc", "--temp", "0"]).trim().len(), 3);
    let q4 = ok(dir.path(), &["export", "run", "-o", "q4.siskin", "--dtype", "q4"]);
    assert!(q4.contains("exact match"), "{q4}");
}

#[test]
fn a_run_that_was_interrupted_ends_with_the_very_file() {
    let dir = place();
    let whole = ["--steps", "40", "--eval-every", "20", "--checkpoint-every", "20", "--dropout", "0.1"];
    ok(dir.path(), &small(&[&whole[..], &["--out", "whole", "--export", "whole.siskin"]].concat()));
    ok(dir.path(), &small(&[&whole[..], &["--out", "two", "--export", "two.siskin"]].concat()));
    // Back to the checkpoint of the middle: the last one goes.
    let checkpoints = || -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = std::fs::read_dir(dir.path().join("two"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "ckpt"))
            .collect();
        all.sort();
        all
    };
    let before = checkpoints();
    assert!(before.len() > 1, "{before:?}");
    std::fs::remove_file(before.last().unwrap()).unwrap();
    ok(dir.path(), &["resume", "two"]);
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert_eq!(read("whole.siskin"), read("two.siskin"));
}

#[test]
fn what_cannot_be_trained_on_is_one_line() {
    let dir = place();
    for (lines, expected) in [
        ("ab\tba\nabba\n", "bad.tsv line 2 (byte 6): 0 tabs, expected one"),
        ("ab\t\n", "bad.tsv line 1 (byte 0): the target is empty"),
        ("ab\tba\nabcabcabc\tb\n", "bad.tsv line 2 (byte 6): the source has 9 tokens, expected at most 8"),
    ] {
        std::fs::write(dir.path().join("bad.tsv"), lines).unwrap();
        let found =
            error(dir.path(), &["train", "bad.tsv", "--model", "seq2seq", "--context", "8", "--steps", "1"]);
        assert!(found.contains(expected), "{found}");
    }
    let found = error(dir.path(), &["train", "pairs.tsv", "--model", "gpt", "--n-encoder-layers", "1"]);
    assert!(found.contains("n_encoder_layers: is for model seq2seq"), "{found}");
    let found = error(dir.path(), &small(&["--length-warmup", "0.3", "--steps", "1"]));
    assert!(found.contains("length_warmup: is for models of one text"), "{found}");
    assert!(error(dir.path(), &["bench", "--model", "seq2seq"]).contains("seq2seq reads pairs"));
    let checked = ok(dir.path(), &["gradcheck", "--model", "seq2seq", "--samples", "3"]);
    assert!(checked.contains("cross.wq") && checked.contains("tensors agree"), "{checked}");
    ok(dir.path(), &["init", "--model", "seq2seq", "--d-model", "16", "--context", "8", "-o", "init.siskin"]);
}
