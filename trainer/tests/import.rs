//! `siskin-train import` and `export --format` as their users run them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siskin-train"));
    command.args(args).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

/// Runs and expects success; gives stdout.
fn ok(folder: &Path, args: &[&str]) -> String {
    let out = run(folder, args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Runs and expects a failure; gives the line of error.
fn fails(folder: &Path, args: &[&str]) -> String {
    let out = run(folder, args);
    assert_eq!(out.status.code(), Some(1), "{args:?}");
    let stderr = String::from_utf8(out.stderr).unwrap();
    let errors: Vec<&str> = stderr.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{args:?}: {stderr}");
    errors[0].to_string()
}

/// A run of a plain Llama over characters of ASCII, which other programs can run.
fn trained(folder: &Path) -> PathBuf {
    let text: String =
        (0..400).map(|i| format!("line {} of the song: {}\n", i % 7, "la".repeat(1 + i % 4))).collect();
    std::fs::write(folder.join("song.txt"), text).unwrap();
    let words = "train song.txt --model llama --n-layers 1 --d-model 32 --n-heads 2 --context 32 --batch-size 4 --steps 6 --eval-every 6 \
                 --sample-every 0 --token-shift false --logit-softcap 0 --qk-norm false --tokenizer byte --out run -o song.siskin --quiet";
    ok(folder, &words.split_whitespace().collect::<Vec<_>>());
    folder.join("song.siskin")
}

#[test]
fn a_model_goes_out_and_comes_back() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    trained(folder);
    let said = ok(folder, &["export", "run", "-o", "out", "--format", "safetensors"]);
    assert!(said.contains("safetensors, f32"), "{said}");
    let said = ok(
        folder,
        &["import", "out", "-o", "back.siskin", "--dtype", "f32", "--verify", "--text", "song.txt"],
    );
    assert!(said.contains("verified f32: at most 0.000 %") && said.contains("perplexity"), "{said}");
    let said = ok(folder, &["export", "back.siskin", "-o", "song.gguf", "--format", "gguf", "--dtype", "q8"]);
    assert!(said.contains("GGUF, q8"), "{said}");
    let bytes = std::fs::read(folder.join("song.gguf")).unwrap();
    assert_eq!(&bytes[..4], b"GGUF");
    // A text rounds the weights again, and the receipt goes along.
    let calibrated = [
        "export",
        "run",
        "-o",
        "c.siskin",
        "--dtype",
        "q4",
        "--calibrate",
        "song.txt",
        "--bits-per-weight",
        "6",
    ];
    assert!(ok(folder, &calibrated).contains("by the runtime: float"));
    let again = ["export", "back.siskin", "-o", "d.siskin", "--dtype", "q4", "--calibrate", "song.txt"];
    assert!(ok(folder, &again).contains("4.50 bits a weight"));
}

#[test]
fn what_cannot_be_is_one_line() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    trained(folder);
    std::fs::write(folder.join("weights.pt"), b"PK\x03\x04pickled").unwrap();
    let line = fails(folder, &["import", "weights.pt", "-o", "a.siskin"]);
    assert!(line.contains("pickled Python") && line.contains("safetensors"), "{line}");
    std::fs::write(folder.join("noise.gguf"), b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff").unwrap();
    assert!(fails(folder, &["import", "noise.gguf", "-o", "a.siskin"]).contains("noise.gguf"));
    assert!(fails(folder, &["import", "song.txt", "-o", "a.siskin"]).contains("expected a GGUF file"));
    let line =
        fails(folder, &["export", "song.siskin", "-o", "x", "--format", "safetensors", "--dtype", "q4"]);
    assert!(line.contains("leave --dtype out"), "{line}");
    let line = fails(folder, &["export", "run", "-o", "x.siskin", "--dtype", "q8", "--bits-per-weight", "5"]);
    assert!(line.contains("needs --dtype q4"), "{line}");
    assert!(!folder.join("a.siskin").exists() && !folder.join("x.siskin").exists());
}

/// Where a file cannot be written is said before anything is read, and no source is replaced.
#[test]
fn an_output_that_cannot_be_is_refused_and_nothing_is_lost() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    trained(folder);
    ok(folder, &["export", "run", "-o", "hf", "--format", "safetensors"]);
    std::fs::create_dir(folder.join("there")).unwrap();
    for (args, expected) in [
        ("import hf -o there", "there is a directory, expected the name of a file"),
        ("import hf -o nowhere/a.siskin", "there is no folder nowhere; create it"),
        ("import hf -o hf/model.safetensors", "would replace what is read"),
        ("import hf/model.safetensors -o ./hf/../hf/model.safetensors", "would replace what is read"),
        ("import hf -o song.txt --text song.txt", "would replace what is read"),
        ("import hf -o song.txt --dtype q4 --calibrate song.txt", "would replace what is read"),
        ("export song.siskin -o song.siskin --format gguf", "would replace what is read"),
        ("export song.siskin -o nowhere/a.gguf --format gguf", "there is no folder nowhere; create it"),
        ("export run -o there", "there is a directory, expected the name of a file"),
        ("export song.txt -o a.siskin", "song.txt: not a siskin model"),
    ] {
        let before = std::fs::read(folder.join("hf/model.safetensors")).unwrap();
        let line = fails(folder, &args.split(' ').collect::<Vec<_>>());
        assert!(line.contains(expected), "{args}: {line}");
        assert_eq!(std::fs::read(folder.join("hf/model.safetensors")).unwrap(), before);
    }
    // An import that fails leaves what stood there, and nothing else.
    std::fs::write(folder.join("hf/config.json"), "{}").unwrap();
    let before = std::fs::read(folder.join("song.siskin")).unwrap();
    fails(folder, &["import", "hf", "-o", "song.siskin"]);
    assert_eq!(std::fs::read(folder.join("song.siskin")).unwrap(), before);
    // Nor is a text that has no two tokens calibrated by.
    std::fs::write(folder.join("empty.txt"), "").unwrap();
    let line =
        fails(folder, &["export", "run", "-o", "a.siskin", "--dtype", "q4", "--calibrate", "empty.txt"]);
    assert!(line.contains("calibrate: 0 tokens, expected at least 2"), "{line}");
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["empty.txt", "hf", "run", "song.siskin", "song.txt", "there"]);
}
