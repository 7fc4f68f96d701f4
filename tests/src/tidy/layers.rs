//! Who may know whom: `format ← runtime ← {cli, ffi}`, `trainer → format`, and the trainer reaches the runtime
//! from few files only.

use super::Problem;
use super::source::{Source, find_word};

/// Workspace crates and the workspace crates that each may depend on.
const MAY_USE: [(&str, &[&str]); 10] = [
    ("siskin-format", &[]),
    ("siskin", &["siskin-format"]),
    ("siskin-cli", &["siskin", "siskin-format"]),
    ("siskin-ffi", &["siskin", "siskin-format"]),
    ("siskin-convert", &["siskin-format"]),
    ("siskin-trainer", &["siskin", "siskin-convert", "siskin-format"]),
    ("siskin-fuzz", &["siskin-tests"]),
    ("siskin-loom", &[]),
    ("siskin-pages", &["siskin", "siskin-convert", "siskin-trainer"]),
    (
        "siskin-tests",
        &["siskin", "siskin-cli", "siskin-convert", "siskin-ffi", "siskin-format", "siskin-trainer"],
    ),
];

/// Parts of the trainer that may name the runtime: what re-measures exported files, and the tokenizers, whose
/// encoder and decoder are the runtime's own.
const TRAINER_MAY_NAME_RUNTIME: [&str; 3] =
    ["trainer/src/verify.rs", "trainer/src/verify/", "trainer/src/tokenizer/"];

/// Whether `path` is one of `allowed`: equal to an entry, or below an entry that ends in `/`.
pub fn listed(path: &str, allowed: &[&str]) -> bool {
    allowed.iter().any(|a| path == *a || (a.ends_with('/') && path.starts_with(a)))
}

/// The dependencies that a `Cargo.toml` declares, of any kind and target: (line, package name).
pub fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_table = false;
    for (i, line) in manifest.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            in_table = header.ends_with("dependencies") && !header.starts_with("workspace");
            // [dependencies.NAME] declares one by its header.
            if let Some((table, name)) = header.rsplit_once("dependencies.")
                && !table.starts_with("workspace")
            {
                found.push((i + 1, name.trim_matches(['"', '\'']).to_string()));
            }
        } else if in_table && let Some((key, value)) = line.split_once('=') {
            let key = key.trim().split('.').next().unwrap_or("").trim_matches(['"', '\'']);
            // { package = "real-name" } renames.
            let package = value.split_once("package").and_then(|(_, v)| v.split('"').nth(1)).unwrap_or(key);
            found.push((i + 1, package.to_string()));
        }
    }
    found
}

/// The `name` of a manifest's package.
pub fn package_name(manifest: &str) -> Option<&str> {
    let package = manifest.split("[package]").nth(1)?;
    let line = package.lines().find(|l| l.trim_start().starts_with("name"))?;
    line.split('"').nth(1)
}

/// A crate of the workspace depends on one that its layer must not know.
pub fn manifest(path: &str, text: &str) -> Vec<Problem> {
    let Some(name) = package_name(text) else { return Vec::new() };
    let Some((_, allowed)) = MAY_USE.iter().find(|(crate_name, _)| *crate_name == name) else {
        let message = format!("crate {name} has no layer; add it to MAY_USE in tests/src/tidy/layers.rs");
        return vec![Problem::new(path, 0, message)];
    };
    let ours = |dep: &str| MAY_USE.iter().any(|(crate_name, _)| *crate_name == dep);
    let wrong = dependencies(text).into_iter().filter(|(_, d)| ours(d) && !allowed.contains(&d.as_str()));
    wrong
        .map(|(line, dep)| {
            let message = format!(
                "{name} must not depend on {dep} (format <- runtime <- cli, ffi; trainer -> format); \
                 move the shared part down, or test it from tests/"
            );
            Problem::new(path, line, message)
        })
        .collect()
}

/// A source file names a crate that its layer must not know.
pub fn names(path: &str, text: &str) -> Vec<Problem> {
    let forbidden: &[&str] = if path.starts_with("format/") {
        &["siskin", "siskin_trainer"]
    } else if path.starts_with("runtime/") {
        &["siskin_trainer"]
    } else if path.starts_with("trainer/src/") && !listed(path, &TRAINER_MAY_NAME_RUNTIME) {
        &["siskin"]
    } else {
        &[]
    };
    let code = Source::new(text).code;
    let mut problems = Vec::new();
    for (i, line) in code.lines().enumerate() {
        for name in forbidden.iter().filter(|name| names_crate(line, name)) {
            let message = format!(
                "names the crate {name}, which this layer must not know; in the trainer only verify.rs and \
                 tokenizer/ may: call them instead"
            );
            problems.push(Problem::new(path, i + 1, message));
        }
    }
    problems
}

/// `name::…`, `use name…` or `extern crate name` as a crate, not as the end of a longer path.
fn names_crate(line: &str, name: &str) -> bool {
    let mut from = 0;
    while let Some(at) = find_word(&line[from..], name).map(|i| i + from) {
        let (before, after) = (line[..at].trim_end(), &line[at + name.len()..]);
        let is_crate = after.starts_with("::") || before.ends_with("use") || before.ends_with("crate");
        // `crate::siskin::x` is a module of ours; `::siskin::x` is the crate.
        let is_module = before.ends_with("::") && before.len() > 2 && !before.ends_with(" ::");
        if is_crate && !is_module {
            return true;
        }
        from = at + name.len();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_dependency_is_found_in_every_spelling() {
        for wrong in [
            "[dependencies]\nsiskin-trainer.workspace = true",
            "[dev-dependencies]\nsiskin-trainer = { path = \"../trainer\" }",
            "[target.'cfg(unix)'.dependencies]\nsiskin-trainer = \"0.1\"",
            "[dependencies.siskin-trainer]\npath = \"../trainer\"",
            "[dependencies]\nt = { package = \"siskin-trainer\", path = \"../trainer\" }",
        ] {
            let text = format!("[package]\nname = \"siskin\"\n{wrong}\n");
            let found = manifest("runtime/Cargo.toml", &text);
            assert_eq!(found.len(), 1, "{wrong}");
            assert!(
                found[0].line >= 3 && found[0].message.contains("siskin must not depend on siskin-trainer")
            );
        }
    }

    #[test]
    fn allowed_and_foreign_dependencies_pass() {
        let text =
            "[package]\nname = \"siskin\"\n[dependencies]\nsiskin-format.workspace = true\nhalf = \"2\"\n";
        assert_eq!(manifest("runtime/Cargo.toml", text), []);
        let workspace = "[workspace.dependencies]\nsiskin-trainer = { path = \"trainer\" }\n";
        assert_eq!(dependencies(workspace), []);
    }

    #[test]
    fn a_new_crate_needs_a_layer() {
        let found = manifest("x/Cargo.toml", "[package]\nname = \"siskin-x\"\n");
        assert!(found[0].message.contains("has no layer"));
    }

    #[test]
    fn the_trainer_names_the_runtime_in_few_files_only() {
        let text = "//! siskin::Model in a comment\nuse siskin::Model;\n";
        assert_eq!(names("trainer/src/export.rs", text)[0].line, 2);
        assert_eq!(names("trainer/src/verify.rs", text), []);
        assert_eq!(names("trainer/src/tokenizer/bpe.rs", text), []);
        for code in
            ["use siskin;", "use ::siskin::x;", "extern crate siskin;", "let m = siskin::Model::open(p);"]
        {
            assert_eq!(names("trainer/src/train.rs", code).len(), 1, "{code}");
        }
        for code in ["use siskin_format::x;", "let siskin = 1;", "crate::siskin::x()", "\"siskin::x\""] {
            assert_eq!(names("trainer/src/train.rs", code), [], "{code}");
        }
    }

    #[test]
    fn the_runtime_and_the_format_never_look_up() {
        assert_eq!(names("runtime/src/session.rs", "use siskin_trainer::x;").len(), 1);
        assert_eq!(names("runtime/cli/src/main.rs", "use siskin_trainer::x;").len(), 1);
        assert_eq!(names("format/src/lib.rs", "use siskin::x;").len(), 1);
        assert_eq!(names("format/src/lib.rs", "use siskin_format::x;"), []);
    }
}
