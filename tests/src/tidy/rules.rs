//! Rules on single files, and on sizes.

use super::layers::listed;
use super::source::{Source, find_word};
use super::{File, Problem};

/// Files that may hold `unsafe`; an entry with `/` at its end is a folder.
const UNSAFE_ALLOWED: [&str; 11] = [
    "format/src/pod.rs",
    "format/src/mmap.rs",
    "runtime/src/kernels/",
    "runtime/ffi/",
    "runtime/tests/no_alloc.rs",
    "tests/loom/",
    "tests/src/alloc.rs",
    "tests/src/fuzz/calls.rs",
    "trainer/src/ops/gemm.rs",
    "trainer/src/ops/simd.rs",
    "trainer/src/ops/tiles.rs", // micro-kernels of matrix products
];

/// What a clone must hold beside sources.
const HOUSE_FILES: [&str; 14] = [
    ".cargo/config.toml",
    ".ci/aarch64",
    ".ci/run",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "format/SPEC.md",
    "runtime/NUMERICS.md",
    "tests/goldens/logits/hashes.txt",
];

/// Most lines of a hand-written file.
pub const MAX_LINES: usize = 1000;
/// Median lines of the Rust files.
pub const MAX_MEDIAN_LINES: usize = 250;
/// Most bytes of all files together.
pub const MAX_REPOSITORY_BYTES: u64 = 10_000_000;

/// Whether `path` is Rust.
fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

/// Whether `path` is written by hand, rather than data.
fn is_hand_written(path: &str) -> bool {
    let ends = [".rs", ".py", ".sh", ".c", ".h", ".md", ".toml", "Makefile", ".ci/run"];
    ends.iter().any(|e| path.ends_with(e))
}

/// `unsafe` outside the few files that may hold it. A test with its own global allocator needs it too.
pub fn unsafe_places(path: &str, text: &str) -> Vec<Problem> {
    if !is_rust(path) || listed(path, &UNSAFE_ALLOWED) {
        return Vec::new();
    }
    let code = Source::new(text).code;
    let counts_allocations = code.contains("#[global_allocator]") && path.contains("tests/");
    if counts_allocations {
        return Vec::new();
    }
    unsafe_lines(&code)
        .map(|line| {
            let message = "unsafe is confined to a few files; build on the safe functions of \
                           format/src/pod.rs and runtime/src/kernels/, or argue for a place in \
                           UNSAFE_ALLOWED (tests/src/tidy/rules.rs)";
            Problem::new(path, line, message)
        })
        .collect()
}

/// `unsafe` without a `// SAFETY:` comment (or, for a function or trait, a `# Safety` section) above it.
pub fn safety_comments(path: &str, text: &str) -> Vec<Problem> {
    if !is_rust(path) {
        return Vec::new();
    }
    let source = Source::new(text);
    let (code, comments): (Vec<&str>, Vec<&str>) =
        (source.code.lines().collect(), source.comments.lines().collect());
    unsafe_lines(&source.code)
        .filter(|line| needs_reason(code[line - 1]))
        .filter(|line| !has_safety_comment(&code, &comments, line - 1))
        .map(|line| {
            let message = "unsafe without its reason; write `// SAFETY:` above it, naming the fact that makes \
                           it sound and who checked it (`# Safety` for what callers must uphold)";
            Problem::new(path, line, message)
        })
        .collect()
}

/// A function pointer's type promises nothing yet, and a private function or a trait's method made real has its
/// contract at its callers or at the trait.
fn needs_reason(line: &str) -> bool {
    !line.contains("unsafe fn(") && (!line.contains("unsafe fn ") || find_word(line, "pub").is_some())
}

/// Line numbers, from 1, that use the keyword.
fn unsafe_lines(code: &str) -> impl Iterator<Item = usize> + '_ {
    code.lines().enumerate().filter(|(_, line)| find_word(line, "unsafe").is_some()).map(|(i, _)| i + 1)
}

/// Looks upwards through the paragraph (up to a blank line) in which line `at` stands.
fn has_safety_comment(code: &[&str], comments: &[&str], at: usize) -> bool {
    for line in (0..=at).rev().take(40) {
        if comments[line].contains("SAFETY:") || comments[line].contains("# Safety") {
            return true;
        }
        let blank = code[line].trim().is_empty() && comments[line].trim().is_empty();
        if blank && line != at {
            return false;
        }
    }
    false
}

/// Marks of unfinished work.
pub fn leftovers(path: &str, text: &str) -> Vec<Problem> {
    if !is_hand_written(path) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    let (prose, code) = match is_rust(path) {
        true => {
            let source = Source::new(text);
            (source.comments, source.code)
        }
        false => (text.to_string(), String::new()),
    };
    for (i, line) in prose.lines().enumerate() {
        for word in [concat!("TO", "DO"), concat!("FIX", "ME")] {
            if find_word(line, word).is_some() {
                problems.push(Problem::new(
                    path,
                    i + 1,
                    format!("{word} is left; do it, or open an issue and say so in plain words"),
                ));
            }
        }
    }
    for (i, line) in code.lines().enumerate() {
        for name in ["todo", "unimplemented", "dbg"] {
            if find_word(line, name).is_some_and(|at| line[at + name.len()..].starts_with('!')) {
                problems.push(Problem::new(
                    path,
                    i + 1,
                    format!("{name}! is left; write what belongs there"),
                ));
            }
        }
    }
    problems
}

/// A hand-written file that does more than one thing.
pub fn long_file(path: &str, text: &str) -> Vec<Problem> {
    let lines = text.lines().count();
    if !is_hand_written(path) || lines <= MAX_LINES {
        return Vec::new();
    }
    vec![Problem::new(
        path,
        lines,
        format!("{lines} lines, at most {MAX_LINES} are allowed; split it by what its parts do"),
    )]
}

/// The median length of the Rust files, given as (path, lines).
pub fn median_length(lengths: &[(String, usize)]) -> Vec<Problem> {
    let mut sorted: Vec<usize> = lengths.iter().map(|(_, lines)| *lines).collect();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
    if median <= MAX_MEDIAN_LINES {
        return Vec::new();
    }
    let message = format!(
        "the median Rust file has {median} lines, at most {MAX_MEDIAN_LINES} are wanted; split the longest"
    );
    let longest = lengths.iter().max_by_key(|(_, lines)| *lines).map_or("", |(path, _)| path);
    vec![Problem::new(longest, 0, message)]
}

/// Paths that exist on one machine only.
pub fn machine_paths(path: &str, text: &str) -> Vec<Problem> {
    // Cut in two, so that this file passes.
    let places = [
        concat!("/wo", "rk/"),
        concat!("/tmp/ba", "sh_jobs"),
        concat!("/opt/pe", "ers"),
        concat!("/ro", "ot/"),
    ];
    let mut problems = Vec::new();
    for (i, line) in text.lines().enumerate() {
        for place in places {
            let starts_path = |at: usize| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "._-}".contains(c))
            };
            if line.match_indices(place).any(|(at, _)| starts_path(at)) {
                let message = format!(
                    "{place} exists on one machine only; use a path inside the repository or an option"
                );
                problems.push(Problem::new(path, i + 1, message));
            }
        }
    }
    problems
}

/// A lock file that takes a crate from elsewhere than crates.io.
pub fn lock_sources(path: &str, text: &str) -> Vec<Problem> {
    let home = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let sources = text.lines().enumerate().filter(|(_, l)| l.starts_with("source = ") && *l != home);
    sources
        .map(|(i, line)| {
            Problem::new(
                path,
                i + 1,
                format!("{line}: only crates.io serves everybody; depend on a released crate"),
            )
        })
        .collect()
}

/// A member's manifest that does not take over the workspace's lints.
pub fn member_lints(path: &str, text: &str) -> Vec<Problem> {
    let inherits =
        text.split("[lints]").nth(1).is_some_and(|t| t.trim_start().starts_with("workspace = true"));
    if !text.contains("[package]") || inherits {
        return Vec::new();
    }
    vec![Problem::new(
        path,
        0,
        "add `[lints]` with `workspace = true`, so that the house's lints hold here too",
    )]
}

/// The workspace's manifest without one of the lints on which the house relies.
pub fn workspace_lints(path: &str, text: &str) -> Vec<Problem> {
    let section =
        |name: &str| text.split(name).nth(1).map(|t| t.split("\n[").next().unwrap_or("")).unwrap_or("");
    let (rust, clippy) = (section("[workspace.lints.rust]"), section("[workspace.lints.clippy]"));
    let wanted = [
        (rust, "unsafe_code"),
        (rust, "unsafe_op_in_unsafe_fn"),
        (rust, "missing_docs"),
        (clippy, "undocumented_unsafe_blocks"),
    ];
    let denies = |section: &str, lint: &str| {
        section
            .lines()
            .any(|l| l.split_once('=').is_some_and(|(k, v)| k.trim() == lint && v.contains("\"deny\"")))
    };
    wanted
        .iter()
        .filter(|(section, lint)| !denies(section, lint))
        .map(|(_, lint)| Problem::new(path, 0, format!("[workspace.lints] must deny {lint}")))
        .collect()
}

/// A test that may pass without having run, and does not say so through `siskin_tests::skip`.
pub fn hidden_skips(path: &str, text: &str) -> Vec<Problem> {
    if !is_rust(path) || path == "tests/src/lib.rs" {
        return Vec::new();
    }
    let source = Source::new(text);
    let in_tests = if path.contains("tests/") || path.ends_with("tests.rs") {
        0
    } else {
        source.code.lines().position(|l| l.contains("#[cfg(test)]")).unwrap_or(usize::MAX)
    };
    let code: Vec<&str> = source.code.lines().collect();
    let strings: Vec<&str> = source.strings.lines().collect();
    let mut problems = Vec::new();
    let mut found = |i: usize, what: &str| {
        let message = format!(
            "{what} hides that a test did not run; return siskin_tests::skip(reason), which shows it"
        );
        problems.push(Problem::new(path, i + 1, message));
    };
    for (i, line) in code.iter().enumerate() {
        // A generator that prints a table or writes a golden is no test, and says what it does.
        let makes = ["prints ", "writes "].iter().any(|verb| strings[i].trim_start().starts_with(verb));
        if line.contains("#[ignore") && !makes {
            found(i, "#[ignore]");
        }
        if i < in_tests {
            continue;
        }
        if line.contains("print") && strings[i].trim_start().to_ascii_lowercase().starts_with("skip") {
            found(i, "printing");
        }
        let condition = ["_feature_detected!", ".exists()", ".is_file()", "env::var"];
        let near = &code[i.saturating_sub(2)..=i];
        if find_word(line, "return").is_some_and(|at| line[at..].starts_with("return;"))
            && near.iter().any(|l| condition.iter().any(|c| l.contains(c)))
        {
            found(i, "returning early");
        }
    }
    problems
}

/// A paper or a script of the house that is gone.
pub fn missing_files(files: &[File]) -> Vec<Problem> {
    let here = |path: &str| files.iter().any(|f| f.path == path);
    HOUSE_FILES
        .iter()
        .filter(|path| !here(path))
        .map(|path| {
            Problem::new(path, 0, "is missing; a merge may have dropped it: bring it back from the history")
        })
        .collect()
}

/// Everything together is larger than a clone should be.
pub fn repository_size(files: &[File]) -> Vec<Problem> {
    let total: u64 = files.iter().map(|f| f.size).sum();
    if total <= MAX_REPOSITORY_BYTES {
        return Vec::new();
    }
    let largest = files.iter().max_by_key(|f| f.size).expect("a size above zero has a file");
    let message = format!(
        "all files are {total} bytes, at most {MAX_REPOSITORY_BYTES} are allowed; this is the largest"
    );
    vec![Problem::new(&largest.path, 0, message)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(problems: &[Problem]) -> Vec<usize> {
        problems.iter().map(|p| p.line).collect()
    }

    #[test]
    fn unsafe_is_found_outside_its_places() {
        let text = "#![deny(unsafe_code)]\n// unsafe\nlet s = \"unsafe\";\nunsafe { f() }\n";
        assert_eq!(lines(&unsafe_places("runtime/src/session.rs", text)), [4]);
        assert_eq!(lines(&unsafe_places("trainer/src/ops/matmul.rs", text)), [4]);
        assert_eq!(unsafe_places("runtime/src/kernels/isa/avx2.rs", text), []);
        let counting = format!("#[global_allocator]\nstatic A: B = B;\n{text}");
        assert_eq!(unsafe_places("runtime/tests/steps.rs", &counting), []);
        assert_eq!(lines(&unsafe_places("runtime/src/steps.rs", &counting)), [6]);
    }

    #[test]
    fn unsafe_needs_its_reason() {
        let path = "format/src/pod.rs";
        assert_eq!(lines(&safety_comments(path, "let a = 1;\nunsafe { f() }\n")), [2]);
        assert_eq!(safety_comments(path, "// SAFETY: checked above.\nlet a = unsafe { f() };\n"), []);
        assert_eq!(
            lines(&safety_comments(path, "// SAFETY: of f.\nunsafe { f() }\n\nlet b = unsafe { g() };\n")),
            [4]
        );
        assert_eq!(lines(&safety_comments(path, "/// Adds.\npub unsafe fn f() {}\n")), [2]);
        assert_eq!(
            safety_comments(path, "/// # Safety\n/// `p` is aligned.\n#[inline]\npub unsafe fn f() {}\n"),
            []
        );
        assert_eq!(safety_comments(path, "type Kernel = unsafe fn(&[f32]);\n"), []);
    }

    #[test]
    fn unfinished_work_is_found() {
        let text = format!("fn f() {{\n    // {}: later\n    todo!()\n}}\n", concat!("TO", "DO"));
        assert_eq!(lines(&leftovers("a.rs", &text)), [2, 3]);
        assert_eq!(
            lines(&leftovers("a.rs", "dbg!(x);\nunimplemented!();\nlet todo = 1;\n\"todo!\";\n")),
            [1, 2]
        );
        assert_eq!(lines(&leftovers("README.md", concat!("a\nFIX", "ME b\n"))), [2]);
        assert_eq!(leftovers("data.txt", concat!("FIX", "ME")), []);
    }

    #[test]
    fn long_files_are_found() {
        assert_eq!(long_file("a.rs", &"x\n".repeat(1000)), []);
        assert_eq!(lines(&long_file("a.rs", &"x\n".repeat(1001))), [1001]);
        assert_eq!(long_file("shakespeare.txt", &"x\n".repeat(9999)), []);
        let files = |sizes: &[usize]| sizes.iter().map(|n| (format!("{n}.rs"), *n)).collect::<Vec<_>>();
        assert_eq!(median_length(&files(&[10, 250, 900])), []);
        let found = median_length(&files(&[10, 251, 900]));
        assert!(found[0].path == "900.rs" && found[0].message.contains("median Rust file has 251 lines"));
    }

    #[test]
    fn machine_paths_are_found() {
        for place in [concat!("/wo", "rk/x"), concat!("/tmp/ba", "sh_jobs.0"), concat!("/ro", "ot/.cargo")] {
            assert_eq!(lines(&machine_paths("a.md", &format!("ok\nsee \"{place}\"\n"))), [2], "{place}");
        }
        assert_eq!(machine_paths("a.md", concat!("net/wo", "rk/x target/ro", "ot/")), []);
    }

    #[test]
    fn foreign_crate_sources_are_found() {
        let text = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\nsource = \"git+https://x\"\n";
        assert_eq!(lines(&lock_sources("Cargo.lock", text)), [2]);
    }

    #[test]
    fn lints_must_be_inherited_and_denied() {
        assert_eq!(member_lints("a/Cargo.toml", "[package]\nname = \"a\"\n[lints]\nworkspace = true\n"), []);
        assert_eq!(member_lints("a/Cargo.toml", "[package]\nname = \"a\"\n").len(), 1);
        assert_eq!(member_lints("Cargo.toml", "[workspace]\n"), []);
        let rust = "[workspace.lints.rust]\nunsafe_code = \"deny\"\nmissing_docs = \"deny\"\nunsafe_op_in_unsafe_fn = \"deny\"\n";
        let clippy = "\n[workspace.lints.clippy]\nundocumented_unsafe_blocks = \"deny\"\n";
        assert_eq!(workspace_lints("Cargo.toml", &format!("{rust}{clippy}")), []);
        let weak = format!("{}{clippy}", rust.replace("missing_docs = \"deny\"", "missing_docs = \"warn\""));
        assert_eq!(
            workspace_lints("Cargo.toml", &weak)[0].message,
            "[workspace.lints] must deny missing_docs"
        );
        assert_eq!(workspace_lints("Cargo.toml", "").len(), 4);
    }

    #[test]
    fn hidden_skips_are_found() {
        let ignored = format!("#[test]\n#[{}]\nfn f() {{}}\n", "ignore = \"slow\"");
        assert_eq!(lines(&hidden_skips("runtime/src/a.rs", &ignored)), [2]);
        let generator = ignored.replace("slow", "prints the table");
        assert_eq!(hidden_skips("runtime/src/a.rs", &generator), []);
        let early = "#[cfg(test)]\nmod tests {\n    if !is_x86_feature_detected!(\"avx2\") {\n        return;\n    }\n}\n";
        assert_eq!(lines(&hidden_skips("runtime/src/a.rs", early)), [4]);
        assert_eq!(hidden_skips("runtime/src/a.rs", &early.replace("#[cfg(test)]\n", "")), []);
        let printed = "eprintln!(\"skipping: no file\");\n";
        assert_eq!(lines(&hidden_skips("tests/tests/a.rs", printed)), [1]);
        assert_eq!(hidden_skips("trainer/src/data.rs", printed), []);
        assert_eq!(hidden_skips("tests/tests/a.rs", "if !x.exists() {\n    return skip(\"no x\");\n}\n"), []);
    }

    fn file(path: &str, size: u64) -> File {
        File { path: path.to_string(), size, text: None }
    }

    #[test]
    fn a_missing_paper_is_found() {
        let mut all: Vec<File> = HOUSE_FILES.iter().map(|path| file(path, 1)).collect();
        assert_eq!(missing_files(&all), []);
        let gone = all.remove(2);
        assert_eq!(missing_files(&all)[0].path, gone.path);
    }

    #[test]
    fn a_heavy_repository_is_found() {
        assert_eq!(repository_size(&[file("a", 9_999_999), file("b", 1)]), []);
        let found = repository_size(&[file("a", 9_999_999), file("b", 2)]);
        assert!(found[0].path == "a" && found[0].message.contains("10000001 bytes"));
    }
}
