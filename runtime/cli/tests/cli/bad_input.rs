//! Whatever is wrong with the input: one clear line, and the exit code that was promised.

use crate::models::{self, Dir};
use crate::{answer, output, siskin};
use siskin_format::{DType, Vocab};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The one line of a failure.
fn line(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert!(lines.len() == 1 && lines[0].starts_with("error: "), "expected one line, found {stderr:?}");
    lines[0].to_string()
}

/// Every command that opens a model, with what else it needs.
const COMMANDS: [&[&str]; 8] = [
    &["run", "-n", "1"],
    &["chat"],
    &["info"],
    &["verify"],
    &["eval", "--text", "/dev/null"],
    &["score", "--text", "/dev/null"],
    &["tokenize", "--text", "/dev/null"],
    &["bench"],
];

fn each_command(model: &Path, expected: &str) {
    for command in COMMANDS {
        let output = siskin().arg(command[0]).arg(model).args(&command[1..]).output().unwrap();
        let line = line(&output, 1);
        assert!(line.contains(expected) && line.contains(model.to_str().unwrap()), "{command:?}: {line}");
    }
}

#[test]
fn a_missing_file() {
    each_command(&Dir::new().path("nowhere.siskin"), "No such file");
}

#[test]
fn not_a_siskin_file() {
    let dir = Dir::new();
    each_command(
        &dir.file("letter.txt", "Dear reader, this is a text and no model.".repeat(9)),
        "not a siskin model",
    );
    each_command(&dir.file("empty", ""), "is empty");
    each_command(&dir.path("."), "is a directory");
}

#[test]
fn a_truncated_file() {
    let dir = Dir::new();
    let whole = std::fs::read(dir.gpt()).unwrap();
    each_command(&dir.file("cut.siskin", &whole[..whole.len() - 100]), "cut off");
    each_command(&dir.file("head.siskin", &whole[..200]), "cut off");
}

#[test]
fn a_prompt_outside_a_character_vocabulary_names_the_character() {
    let dir = Dir::new();
    let model = dir.chars();
    let line = line(&output("run", &model, &["-p", "abz"]), 1);
    assert!(line.contains("the prompt: character 'z' (U+007A) at byte 2"), "{line}");
}

#[test]
fn a_prompt_that_is_not_utf8_for_a_model_of_characters() {
    let dir = Dir::new();
    let model = dir.chars();
    let file = dir.file("latin1.txt", b"abc \xe9");
    let line = line(&output("run", &model, &["-f", file.to_str().unwrap()]), 1);
    assert!(line.contains("the prompt: byte 4 is not UTF-8"), "{line}");
    let text = dir.file("bytes.txt", b"abc\xff");
    for command in ["eval", "score", "tokenize"] {
        let line = self::line(&output(command, &model, &["--text", text.to_str().unwrap(), "-q"]), 1);
        assert!(line.contains("bytes.txt") && line.contains("byte 3 is not UTF-8"), "{command}: {line}");
    }
}

#[test]
fn a_prompt_longer_than_the_context() {
    let dir = Dir::new();
    let model = dir.gpt();
    let line = line(&output("run", &model, &["-p", &"x".repeat(65)]), 1);
    assert!(line.contains("65 tokens") && line.contains("64 positions"), "{line}");
}

#[test]
fn a_context_that_the_model_does_not_have() {
    let dir = Dir::new();
    let model = dir.gpt();
    let line = line(&output("run", &model, &["--ctx", "65"]), 1);
    assert!(line.contains("--ctx 65") && line.contains("64 positions"), "{line}");
}

#[test]
fn absurd_sampling_options() {
    let dir = Dir::new();
    let model = dir.gpt();
    let cases = [
        ("--temp=-1", "temperature is -1"),
        ("--temp=nan", "temperature is NaN"),
        ("--temp=inf", "temperature is inf"),
        ("--top-p=0", "top-p is 0"),
        ("--top-p=1.5", "top-p is 1.5"),
        ("--min-p=2", "min-p is 2"),
        ("--repeat-penalty=0", "repetition penalty is 0"),
        ("--frequency-penalty=nan", "frequency penalty is NaN"),
        ("--presence-penalty=inf", "presence penalty is inf"),
        ("--penalty-last-n=99999999999", "penalties over the last"),
        ("--stop=", "a stop string is empty"),
    ];
    for (option, expected) in cases {
        let line = line(&output("run", &model, &[option]), 2);
        assert!(line.contains(expected), "{option}: {line}");
    }
}

#[test]
fn wrong_usage_is_code_2_and_help_is_0() {
    let dir = Dir::new();
    let model = dir.gpt();
    for args in [
        &["--threads", "0"][..],
        &["--ctx", "many"],
        &["--no-such-option"],
        &["-p", "a", "-f", "b"],
        &["-", "-p", "a"],
        &["--temp", "warm"],
        &["-n", "-5"],
    ] {
        let output = output("run", &model, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && output.stderr.starts_with(b"error: "), "{args:?}");
    }
    assert_eq!(siskin().output().unwrap().status.code(), Some(2));
    assert_eq!(siskin().args(["info"]).output().unwrap().status.code(), Some(2));
    for args in [&["--help"][..], &["--version"], &["run", "--help"], &["help", "bench"]] {
        let output = siskin().args(args).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{args:?}");
    }
}

#[test]
fn an_unknown_instruction_set() {
    let dir = Dir::new();
    let model = dir.gpt();
    for command in COMMANDS {
        if command[0] == "tokenize" {
            continue; // runs no kernels
        }
        let output = siskin()
            .env("SISKIN_ISA", "z80")
            .arg(command[0])
            .arg(&model)
            .args(&command[1..])
            .output()
            .unwrap();
        let line = line(&output, 1);
        assert!(line.contains("SISKIN_ISA=z80") && line.contains("scalar"), "{command:?}: {line}");
    }
}

#[test]
fn texts_that_cannot_be_measured() {
    let dir = Dir::new();
    let model = dir.gpt();
    let cases = [
        (dir.path("nowhere.txt"), "cannot read"),
        (dir.path("."), "is a directory"),
        (dir.file("empty.txt", ""), "has 0 tokens, expected at least 2"),
        (dir.file("one.txt", "x"), "has 1 token, expected at least 2"),
    ];
    for (text, expected) in cases {
        for command in ["eval", "score"] {
            let output = output(command, &model, &["--text", text.to_str().unwrap()]);
            let line = line(&output, 1);
            assert!(line.contains(expected), "{command} {}: {line}", text.display());
        }
    }
}

#[test]
fn bench_of_more_than_the_context() {
    let dir = Dir::new();
    let line = line(&output("bench", &dir.gpt(), &["--prompt", "60", "--gen", "10"]), 1);
    assert!(line.contains("64 positions"), "{line}");
}

#[test]
fn ids_that_are_no_tokens() {
    let dir = Dir::new();
    let model = dir.gpt();
    let ids = dir.file("ids.txt", "1 2 3\n4 256 5\n");
    let output = output("tokenize", &model, &["--decode", "--text", ids.to_str().unwrap()]);
    let line = line(&output, 1);
    assert!(line.contains("line 2") && line.contains("\"256\""), "{line}");
}

#[test]
fn a_full_disk_under_standard_output() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        panic!("this test needs /dev/full, which Linux has");
    };
    let dir = Dir::new();
    let output = siskin().arg("info").arg(dir.gpt()).stdout(full).output().unwrap();
    let line = line(&output, 1);
    assert!(line.contains("cannot write to standard output"), "{line}");
}

#[test]
fn closed_standard_streams_do_no_harm() {
    let dir = Dir::new();
    let model = dir.gpt();
    let closed = |redirections: &str| {
        let script = format!("\"$0\" run \"$1\" -n 3 {redirections}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_siskin")]).arg(&model);
        let status = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.unwrap().code()
    };
    assert_eq!(closed(">&-"), Some(0));
    assert_eq!(closed("2>&-"), Some(0));
    assert_eq!(closed("<&-"), Some(0));
}

#[test]
fn a_model_whose_logits_are_all_alike_or_huge() {
    // Zero and near-overflow weights: generation and evaluation give a result or one line, never a panic.
    let dir = Dir::new();
    let vocab = Vocab::bytes();
    let text = dir.file("t.txt", "some text to measure");
    for scale in [0.0f32, 1e30] {
        let config = models::gpt(vocab.len());
        let path = dir.path("extreme.siskin");
        models::write_scaled(&path, &config, &vocab, DType::F32, scale);
        for args in [&["run", "-n", "5"][..], &["eval", "--text", text.to_str().unwrap()], &["verify"]] {
            let output = siskin().arg(args[0]).arg(&path).args(&args[1..]).output().unwrap();
            match output.status.code() {
                Some(0) => {}
                _ => drop(line(&output, 1)),
            }
        }
    }
}

#[test]
fn a_huge_prompt_is_refused_before_it_fills_the_memory() {
    let dir = Dir::new();
    let model = dir.chars();
    let output = output("run", &model, &["-f", "/dev/zero"]);
    assert!(line(&output, 1).contains("64 MiB"));
}

#[test]
fn chat_goes_on_after_a_bad_line_and_reports_it_at_the_end() {
    let dir = Dir::new();
    let output =
        answer(siskin().arg("-q").arg("chat").arg(dir.chars()).args(["-n", "4"]), b"abc\nxyz\nabc\n");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<&str> = stderr.lines().collect();
    assert!(
        lines.len() == 2
            && lines[0].contains("the line: character 'x'")
            && lines[1].contains("1 line had no"),
        "{stderr}"
    );
}

#[test]
fn a_memory_limit_is_kept_before_anything_is_taken() {
    let dir = Dir::new();
    let model = dir.gpt();
    let with = |limit: &str, more: &[&str]| {
        siskin()
            .args(["run", "-n", "1"])
            .arg(&model)
            .args(["--max-memory", limit])
            .args(more)
            .output()
            .unwrap()
    };
    let small = line(&with("10k", &[]), 1);
    assert!(small.contains("the session needs") && small.contains("choose a smaller --ctx"), "{small}");
    let file = line(&with("10k", &["--no-mmap"]), 1);
    assert!(file.contains("--max-memory") && file.contains("leave --no-mmap out"), "{file}");
    for wrong in ["0", "half", "5 GB"] {
        let output = with(wrong, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(2) && stderr.contains("expected a size such as 512M"),
            "{stderr}"
        );
    }
    assert!(with("1G", &[]).status.success() && with("1G", &["--no-mmap"]).status.success());
    crate::verify::add_goldens(&model);
    let verify = siskin().arg("verify").arg(&model).args(["--max-memory", "10k"]).output().unwrap();
    assert!(line(&verify, 1).contains("the session needs"));
}
