//! The siskin command as its users run it.

mod bad_input;
mod chat;
mod info;
mod measure;
mod models;
mod pairs;
mod run;
mod verify;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A command that takes nothing from its surroundings.
fn siskin() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siskin"));
    command.env_remove("SISKIN_ISA").stdin(Stdio::null());
    command
}

/// `siskin COMMAND MODEL ARGS…`, and what it said.
fn output(command: &str, model: &Path, args: &[&str]) -> Output {
    siskin().arg(command).arg(model).args(args).output().expect("siskin starts")
}

/// Standard output of a run that must end well.
fn stdout(command: &str, model: &Path, args: &[&str]) -> String {
    let output = output(command, model, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "siskin {command} {args:?}: {stderr}");
    String::from_utf8(output.stdout).expect("standard output is text")
}

/// Standard output of a run that must end well, as JSON.
fn json(command: &str, model: &Path, args: &[&str]) -> serde_json::Value {
    let text = stdout(command, model, args);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("siskin {command} {args:?}: {error} in {text}"))
}

/// What a command says to `input` on its standard input.
fn answer(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("siskin starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input)); // the child may leave before it has read all
    let output = child.wait_with_output().expect("siskin ends");
    let _ = writer.join().expect("the writer does not panic");
    output
}
