//! Shared helpers of the cross-crate tests: visible skips, temporary folders, binaries, small deterministic
//! texts, configurations and weights.

#![deny(unsafe_code, missing_docs)]

pub mod alloc;
pub mod audit;
pub mod fuzz;
pub mod models;
pub mod raw_file;
pub mod text;
pub mod tidy;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says visibly that a test did not run, and why: `return skip("no aarch64 emulator")`.
///
/// The line goes to standard error past the test harness's capture. No other way of skipping a test is
/// accepted ([`tidy::rules::hidden_skips`]).
///
/// # Panics
/// When `SISKIN_REQUIRE_ALL=1`, as in CI, where everything that a test may need is installed.
pub fn skip(reason: &str) {
    let required = std::env::var("SISKIN_REQUIRE_ALL").is_ok_and(|v| v == "1");
    assert!(!required, "SISKIN_REQUIRE_ALL=1, but a test wants to be skipped: {reason}");
    let name = std::thread::current().name().unwrap_or("a test").to_string();
    let _ = writeln!(std::io::stderr(), "SKIPPED: {name}: {reason}");
}

/// A folder of its own for one test, removed when the value is dropped.
///
/// # Panics
/// When the system's temporary folder cannot be written.
pub fn temp_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("siskin-test-").tempdir().expect("the temporary folder is writable")
}

/// Root of the repository.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests package lies in the repository").to_path_buf()
}

/// Path of a file below `tests/goldens/`.
pub fn golden(name: &str) -> PathBuf {
    root().join("tests/goldens").join(name)
}

/// Path of a binary of the workspace (`siskin`, `siskin-train`), built now in the running test's profile.
///
/// # Panics
/// When it does not build.
pub fn bin(name: &str) -> PathBuf {
    // target/<profile>/deps/<this test> -> target/<profile>
    let exe = std::env::current_exe().expect("a test knows its own path");
    let profile_dir = exe.ancestors().nth(2).expect("a test lies in <profile>/deps").to_path_buf();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root()).args(["build", "--quiet", "--bin", name]);
    command.arg("--target-dir").arg(profile_dir.parent().expect("profiles lie in the target folder"));
    if profile_dir.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().expect("cargo starts");
    assert!(status.success(), "cargo build --bin {name} failed: {status}");
    profile_dir.join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("Cargo.lock").is_file());
    }

    #[test]
    fn temp_dirs_differ_and_vanish() {
        let (a, b) = (temp_dir(), temp_dir());
        assert_ne!(a.path(), b.path());
        let gone = a.path().to_path_buf();
        drop(a);
        assert!(!gone.exists());
    }
}
