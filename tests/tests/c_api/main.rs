//! The contract of `siskin.h`, by programs in C: each of its points has a test. They are compiled here and linked with the
//! static library, which is built here, too.

mod encoder;
mod models;

use siskin_tests::{golden, root, skip, temp_dir};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use tempfile::TempDir;

/// What the static library needs of the system.
const SYSTEM: [&str; 4] = ["-lpthread", "-ldl", "-lm", "-lgcc_s"];

/// Functions of the system that may be refused in `memory.c`.
const WRAPPED: [&str; 7] =
    ["malloc", "calloc", "realloc", "posix_memalign", "free", "mmap64", "pthread_create"];

/// Folder of the running test's profile, and whether it is a release.
fn profile() -> (PathBuf, bool) {
    let exe = std::env::current_exe().expect("a test knows its own path");
    let folder = exe.ancestors().nth(2).expect("a test lies in <profile>/deps").to_path_buf();
    let release = folder.ends_with("release");
    (folder, release)
}

/// Builds libsiskin with these features and kinds into a target folder of its own name, and gives the folder it lies in.
fn library(features: &str, kinds: &[&str]) -> PathBuf {
    let (folder, release) = profile();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root()).args([
        "rustc",
        "--quiet",
        "-p",
        "siskin-ffi",
        "--lib",
        "--features",
        features,
    ]);
    command.args(kinds.iter().flat_map(|kind| ["--crate-type", kind]));
    command.arg("--target-dir").arg(folder.parent().expect("profiles lie in the target folder"));
    if release {
        command.arg("--release");
    }
    let status = command.status().expect("cargo starts");
    assert!(status.success(), "libsiskin does not build: {status}");
    folder
}

/// What the tests need: programs and models, made once.
struct Programs {
    folder: TempDir,
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    output
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The sources and the header.
fn sources() -> (PathBuf, PathBuf) {
    (root().join("tests/tests/c_api"), root().join("runtime/ffi/include"))
}

static PROGRAMS: LazyLock<Option<Programs>> = LazyLock::new(|| {
    if !has("cc") {
        return None;
    }
    let folder = temp_dir();
    let built = library("capi,planted-panic", &["staticlib"]).join("libsiskin_ffi.a");
    let library = folder.path().join("libsiskin.a");
    std::fs::copy(built, &library).unwrap();
    let (sources, include) = sources();
    for (name, extra) in [
        ("contract", vec![]),
        ("memory", WRAPPED.map(|f| format!("-Wl,--wrap={f}")).to_vec()),
        ("numbers", vec![]),
        ("encoder", vec![]),
    ] {
        let mut cc = Command::new("cc");
        cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-O1", "-I"]).arg(&include);
        cc.arg(sources.join(name).with_extension("c")).arg(&library).args(SYSTEM).args(extra);
        // .ci/c asks for sanitizers.
        cc.args(std::env::var("SISKIN_CFLAGS").unwrap_or_default().split_whitespace());
        run(cc.arg("-o").arg(folder.path().join(name)));
    }
    models::write(folder.path());
    Some(Programs { folder })
});

impl Programs {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a program with these arguments and the models of these names.
    fn run(&self, program: &str, arguments: &[&str], models: &[&str]) -> Output {
        let mut command = Command::new(self.path(program));
        run(command.args(arguments).args(models.iter().map(|name| self.path(name))))
    }
}

/// Runs a point of the contract on every model.
fn point(number: u32) {
    let Some(programs) = &*PROGRAMS else { return skip("no C compiler") };
    for model in models::NAMES {
        programs.run("contract", &[&number.to_string()], &[model]);
    }
}

#[test]
fn point_01_a_panic_becomes_a_status() {
    point(1);
}

#[test]
fn point_02_handles_come_in_pairs() {
    point(2);
}

#[test]
fn point_03_senseless_arguments_are_refused() {
    point(3);
}

#[test]
fn point_04_structs_of_other_versions() {
    point(4);
}

#[test]
fn point_05_statuses_and_texts_of_errors() {
    point(5);
}

#[test]
fn point_06_short_buffers_tell_the_size() {
    point(6);
}

#[test]
fn point_07_models_are_shared_and_sessions_are_busy() {
    point(7);
}

#[test]
fn point_08_a_model_outlives_its_owner() {
    point(8);
}

#[test]
fn point_09_nothing_is_printed_or_installed() {
    point(9);
}

#[test]
fn point_10_every_allocation_may_be_refused() {
    let Some(programs) = &*PROGRAMS else { return skip("no C compiler") };
    for model in models::NAMES {
        programs.run("memory", &["fail"], &[model]);
    }
}

#[test]
fn point_11_version_and_symbols() {
    point(11);
    if !has("nm") {
        return skip("no nm");
    }
    let folder = library("capi", &["cdylib"]);
    let symbols = |kind: &str| {
        let output = run(Command::new("nm").args(["-D", kind]).arg(folder.join("libsiskin_ffi.so")));
        let text = String::from_utf8(output.stdout).unwrap();
        let mut names: Vec<String> =
            text.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_string).collect();
        names.sort();
        names
    };
    let expected = std::fs::read_to_string(golden("c_api/symbols.txt")).unwrap();
    assert_eq!(
        symbols("--defined-only"),
        expected.lines().collect::<Vec<_>>(),
        "symbols of the shared library"
    );
    let header = std::fs::read_to_string(sources().1.join("siskin.h")).unwrap();
    for name in expected.lines() {
        assert!(header.contains(&format!("{name}(")), "{name} is not in siskin.h");
    }
    // Point 9, too: nothing that ends the process, catches signals, starts programs or opens connections.
    // `abort` and `write` belong to Rust's standard library, for what cannot happen here.
    let imported = symbols("--undefined-only");
    for name in [
        "exit",
        "_exit",
        "quick_exit",
        "atexit",
        "signal",
        "sigaction",
        "raise",
        "kill",
        "system",
        "execve",
        "fork",
        "socket",
        "printf",
        "puts",
        "perror",
    ] {
        assert!(!imported.iter().any(|import| import.split('@').next() == Some(name)), "{name} is imported");
    }
}

#[test]
fn point_12_text_is_whole_characters() {
    point(12);
}

#[test]
fn point_13_sessions_in_the_callers_memory() {
    point(13);
    let Some(programs) = &*PROGRAMS else { return skip("no C compiler") };
    for model in models::NAMES {
        programs.run("memory", &["count"], &[model]);
    }
}

#[test]
fn numbers_that_go_wrong() {
    let Some(programs) = &*PROGRAMS else { return skip("no C compiler") };
    for model in models::NAMES {
        programs.run("numbers", &[], &[model, &format!("nan-{model}"), "char"]);
    }
}

#[test]
fn encoders_write_what_rust_writes() {
    let Some(programs) = &*PROGRAMS else { return skip("no C compiler") };
    let expected = encoder::transcript(&programs.path("seq2seq"));
    for [threads, batch] in [["1", "64"], ["3", "5"]] {
        let path = programs.path("seq2seq");
        let mut command = Command::new(programs.path("encoder"));
        let output = run(command.arg(path).args([threads, batch]).args(encoder::SOURCES));
        let found = String::from_utf8(output.stdout).unwrap();
        assert!(found == expected, "with {threads} threads: {found}\nexpected\n{expected}");
    }
    programs.run("memory", &["count"], &["seq2seq"]);
    for point in ["1", "2", "8", "9"] {
        programs.run("contract", &[point], &["seq2seq"]);
    }
}

#[test]
fn the_header_is_c99_and_cpp17() {
    if !has("cc") || !has("c++") {
        return skip("no C or C++ compiler");
    }
    let folder = temp_dir();
    for (compiler, standard, name) in [
        ("cc", "-std=c99", "a.c"),
        ("cc", "-std=c17", "a.c"),
        ("c++", "-std=c++17", "a.cpp"),
        ("c++", "-std=c++11", "a.cpp"),
    ] {
        let source = folder.path().join(name);
        std::fs::write(
            &source,
            "#include <siskin.h>\n#include <siskin.h>\nint main(void) { return siskin_version() == 0; }\n",
        )
        .unwrap();
        for conversion in ["-Wconversion", "-Wno-conversion"] {
            let mut command = Command::new(compiler);
            command
                .args([
                    standard,
                    "-pedantic",
                    "-Wall",
                    "-Wextra",
                    "-Wshadow",
                    conversion,
                    "-Werror",
                    "-c",
                    "-I",
                ])
                .arg(sources().1);
            run(command.arg(&source).arg("-o").arg(Path::new("/dev/null")));
        }
    }
}
