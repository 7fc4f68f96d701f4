//! The dependencies are those that `docs/dependencies.md` allows, where it allows them. The rules, and the proof that each
//! can fail, are in `tests/src/audit.rs`. No network is used.

use siskin_tests::audit::{self, Crate};
use siskin_tests::tidy::Problem;
use siskin_tests::{root, skip};
use std::process::Command;

/// Which packages make a room.
const PACKAGES: [(&str, &[&str]); 4] = [
    ("runtime", &["siskin-format", "siskin", "siskin-ffi"]),
    ("cli", &["siskin-cli"]),
    ("trainer", &["siskin-trainer"]),
    ("tests", &["siskin-tests", "siskin-pages"]),
];

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn report(problems: Vec<Problem>) {
    let list: Vec<String> = problems.iter().map(Problem::to_string).collect();
    assert!(list.is_empty(), "{} problem(s):\n{}", list.len(), list.join("\n"));
}

/// What goes into `packages` on this kind of Linux, with licences.
fn tree(packages: &[&str], depth: &str) -> Vec<Crate> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = Command::new(cargo);
    command.current_dir(root()).args([
        "tree",
        "--offline",
        "--locked",
        "--edges",
        "normal,build",
        "--no-dedupe",
    ]);
    command.args(["--prefix", "none", "--format", "{p}|{l}", "--depth", depth, "--target", &target]);
    command.args(packages.iter().flat_map(|package| ["-p", package]));
    let output = command.output().expect("cargo starts");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    audit::tree(&String::from_utf8_lossy(&output.stdout))
}

#[test]
fn every_crate_is_listed_pinned_and_without_a_known_fault() {
    let (page, lock) = (read(audit::LIST), audit::locked(&read("Cargo.lock")));
    let (allowed, advisories) = (audit::allowed(&page), audit::advisories(&page));
    assert!(lock.len() > 50 && allowed.len() > 50 && advisories.len() > 10, "a table was not read");
    report(audit::unlisted(&lock, &allowed));
    report(audit::duplicates(&allowed));
    report(audit::sources(&lock));
    report(audit::vulnerable(&lock, &advisories));
}

#[test]
fn every_crate_stays_in_its_room_with_its_licence() {
    if !cfg!(target_os = "linux") {
        return skip("the crates for Linux are not on this system");
    }
    let allowed = audit::allowed(&read(audit::LIST));
    for (room, packages) in PACKAGES {
        let crates = tree(packages, "100");
        assert!(crates.len() > 5, "{room} was not read");
        report(audit::rooms(room, &crates, &allowed));
        report(audit::licences(&crates, &allowed));
    }
    let chosen = tree(PACKAGES[0].1, "1");
    assert_eq!(chosen.len(), audit::RUNTIME_CRATES.len(), "{chosen:?}");
    report(audit::chosen(&chosen));
}
