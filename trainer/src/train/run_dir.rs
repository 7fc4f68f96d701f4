//! Where a run and its exported model go when nobody says.

use std::path::{Path, PathBuf};

/// The folder that runs are collected in.
const RUNS: &str = "runs";

/// A name for a run on `text`: the file's stem, and a number behind it if a run folder or a model file of that name
/// exists below `base`. Nothing that exists is ever overwritten.
///
/// Gives the run folder and the model file.
pub fn fresh(base: &Path, text: &Path) -> (PathBuf, PathBuf) {
    let stem = text.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = if stem.is_empty() { "model".to_string() } else { stem };
    let named = |name: &str| (base.join(RUNS).join(name), base.join(format!("{name}.siskin")));
    let is_free = |(run, model): &(PathBuf, PathBuf)| !run.exists() && !model.exists();
    std::iter::once(stem.clone())
        .chain((2..).map(|n| format!("{stem}-{n}")))
        .map(|name| named(&name))
        .find(is_free)
        .expect("numbers do not end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_exist_are_passed_over() {
        let base = tempfile::tempdir().unwrap();
        let name = |pair: (PathBuf, PathBuf)| pair.1.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(name(fresh(base.path(), Path::new("a/my.txt"))), "my.siskin");
        std::fs::write(base.path().join("my.siskin"), "x").unwrap();
        std::fs::create_dir_all(base.path().join("runs/my-2")).unwrap();
        assert_eq!(name(fresh(base.path(), Path::new("a/my.txt"))), "my-3.siskin");
    }
}
