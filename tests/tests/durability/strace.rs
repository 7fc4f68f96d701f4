//! `strace` as the hand that kills, and that lets calls fail.

use crate::place::{Outcome, output};
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// A call of the program's first thread, which does all of its file work.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its number among the calls of that name, from 1.
    pub number: usize,
    /// Its line in the trace.
    pub line: String,
}

/// Why there is no strace that can inject faults here, if so.
pub fn missing() -> Option<String> {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO:when=1", "true"]);
    match command.output() {
        Err(error) => Some(format!("strace does not start ({error})")),
        Ok(out) if !out.status.success() => {
            Some(format!("strace cannot trace here ({})", String::from_utf8_lossy(&out.stderr).trim()))
        }
        Ok(_) => None,
    }
}

fn traced(command: &Command, calls: &str, inject: Option<&str>, log: &Path) -> Outcome {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "0", "-qq", "-e", &format!("trace={calls}"), "-o"]).arg(log);
    if let Some(inject) = inject {
        strace.args(["-e", &format!("inject={inject}")]);
    }
    strace.arg(command.get_program()).args(command.get_args());
    command.get_current_dir().map(|dir| strace.current_dir(dir));
    output(&strace)
}

/// Runs `command` undisturbed and gives its calls of the kinds `calls` ("write,fsync"). `log` is a file to write to.
pub fn record(command: &Command, calls: &str, log: &Path) -> Vec<Call> {
    let out = traced(command, calls, None, log);
    assert!(out.status.success(), "{out:?}");
    parse(&std::fs::read_to_string(log).unwrap())
}

fn parse(trace: &str) -> Vec<Call> {
    let first = trace.split_whitespace().next().unwrap_or("").to_string();
    let mut counts: HashMap<String, usize> = HashMap::new();
    let call = |line: &str| {
        let (thread, rest) = line.split_once(' ')?;
        let name = rest.trim_start().split_once('(')?.0;
        let is_call = thread == first && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        is_call.then(|| {
            let number = counts.entry(name.to_string()).or_default();
            *number += 1;
            Call { name: name.to_string(), number: *number, line: line.to_string() }
        })
    };
    trace.lines().filter_map(call).collect()
}

impl Call {
    /// Whether the call names a file in `folder`, by path or by descriptor.
    pub fn touches(&self, folder: &Path) -> bool {
        let folder = folder.to_string_lossy();
        // The working folder stands before every path.
        self.line.replace(&format!("AT_FDCWD<{folder}>"), "").contains(&*folder)
    }

    /// Runs `command`, which makes this very call, with `fault` at it: "signal=KILL", "error=EIO". Gives how it ended, and
    /// its calls.
    pub fn strike(&self, command: &Command, fault: &str, log: &Path) -> (Outcome, Vec<Call>) {
        let inject = format!("{}:{fault}:when={}", self.name, self.number);
        // What follows a failed call tells whether it was taken for final.
        let calls = format!("{},fsync,unlink,rename", self.name);
        let out = traced(command, &calls, Some(&inject), log);
        (out, parse(&std::fs::read_to_string(log).unwrap_or_default()))
    }
}

/// Runs `command` with `fault` at every call that `inject` describes: "flock:error=ENOLCK".
pub fn always(command: &Command, inject: &str, log: &Path) -> Outcome {
    let name = inject.split(':').next().unwrap();
    traced(command, name, Some(inject), log)
}

#[test]
fn traces_are_read() {
    let trace = "7 openat(AT_FDCWD</d/x>, \"/lib/a\", O_RDONLY) = 3</lib/a>\n\
                 9 write(4</d/x/y>, \"\"..., 5) = 5\n\
                 7 write(4</d/x/y>, \"\"..., 5 <unfinished ...>\n\
                 7 <... write resumed>) = 5\n\
                 7 openat(AT_FDCWD</d/x>, \"/d/x/b\", O_RDONLY) = 3</d/x/b>\n\
                 7 +++ exited with 0 +++\n";
    let calls = parse(trace);
    let found: Vec<_> = calls.iter().map(|c| (&c.name[..], c.number, c.touches(Path::new("/d/x")))).collect();
    assert_eq!(found, [("openat", 1, false), ("write", 1, true), ("openat", 2, true)]);
}
