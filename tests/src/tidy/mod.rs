//! The rules that hold the house together, as functions from text to problems.
//!
//! `tests/tests/tidy.rs` applies them to every file of the repository; the tests here plant a violation of
//! each and see it found.

pub mod layers;
pub mod rules;
pub mod source;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A broken rule: where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path from the repository root, with `/`.
    pub path: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    /// A problem at a line.
    pub fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Problem { path: path.to_string(), line, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// A file of the repository.
#[derive(Clone, Debug)]
pub struct File {
    /// Path from the repository root, with `/`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Contents, when they are UTF-8 without NUL.
    pub text: Option<String>,
}

impl File {
    /// Whether the name ends in `.ext`.
    pub fn has_extension(&self, ext: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|e| e == ext)
    }
}

/// Every file that git tracks or would track; without git, every file outside build and run folders.
///
/// # Panics
/// When the repository cannot be read.
pub fn files(root: &Path) -> Vec<File> {
    let mut paths = tracked(root).unwrap_or_else(|| {
        let mut found = Vec::new();
        walk(root, root, &mut found);
        found
    });
    paths.sort();
    paths.iter().filter_map(|path| read(root, path)).collect()
}

fn read(root: &Path, path: &str) -> Option<File> {
    let full = root.join(path);
    // Git also lists files that were just deleted.
    let size = full.symlink_metadata().ok().filter(|m| m.is_file())?.len();
    let bytes = std::fs::read(&full).unwrap_or_else(|e| panic!("{path}: {e}"));
    let text = String::from_utf8(bytes).ok().filter(|t| !t.contains('\0'));
    Some(File { path: path.to_string(), size, text })
}

/// Paths by git: tracked, and new ones that no ignore rule names. `None` where git or its folder is missing.
fn tracked(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        // CI may run as another user than the one who owns the checkout.
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()
        .filter(|o| o.status.success())?;
    let list = String::from_utf8(output.stdout).ok()?;
    Some(list.split('\0').filter(|p| !p.is_empty()).map(str::to_string).collect())
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("the repository can be listed") {
        let path: PathBuf = entry.expect("the repository can be listed").path();
        let relative = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | "runs" | ".git" | "__pycache__") {
                walk(root, &path, found);
            }
        } else if !name.ends_with(".siskin") || relative.starts_with("tests/goldens/") {
            found.push(relative);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_and_the_walk_agree_on_sources() {
        let root = crate::root();
        let mut walked = Vec::new();
        walk(&root, &root, &mut walked);
        let sources = |paths: Vec<String>| -> Vec<String> {
            let mut rust: Vec<_> = paths.into_iter().filter(|p| p.ends_with(".rs")).collect();
            rust.sort();
            rust
        };
        assert!(walked.iter().any(|p| p == "tests/src/tidy/mod.rs"));
        if let Some(listed) = tracked(&root) {
            let listed: Vec<_> = listed.into_iter().filter(|p| root.join(p).is_file()).collect();
            assert_eq!(sources(walked), sources(listed));
        }
    }

    #[test]
    fn problems_name_file_and_line() {
        assert_eq!(Problem::new("a/b.rs", 3, "x").to_string(), "a/b.rs:3: x");
        assert_eq!(Problem::new("a/b.rs", 0, "x").to_string(), "a/b.rs: x");
    }
}
