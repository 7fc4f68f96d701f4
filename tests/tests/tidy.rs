//! The house rules, applied to every file of the repository. The rules and the proof that each can fail are in
//! `tests/src/tidy/`.

use siskin_tests::tidy::{File, Problem, files, layers, rules};

type FileRule = fn(&str, &str) -> Vec<Problem>;

fn texts(files: &[File]) -> impl Iterator<Item = (&str, &str)> {
    files.iter().filter_map(|f| f.text.as_deref().map(|text| (f.path.as_str(), text)))
}

/// Applies `rule` to every text file whose path `wanted` accepts, and panics with all that it finds.
fn apply(wanted: impl Fn(&str) -> bool, rule: FileRule) {
    let files = files(&siskin_tests::root());
    let mut seen = 0;
    let mut problems = Vec::new();
    for (path, text) in texts(&files).filter(|(path, _)| wanted(path)) {
        seen += 1;
        problems.extend(rule(path, text));
    }
    assert!(seen > 0, "no file was looked at");
    report(problems);
}

fn report(problems: Vec<Problem>) {
    let list: Vec<String> = problems.iter().map(Problem::to_string).collect();
    assert!(list.is_empty(), "{} problem(s):\n{}", list.len(), list.join("\n"));
}

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

fn is_member_manifest(path: &str) -> bool {
    path.ends_with("/Cargo.toml")
}

#[test]
fn crates_depend_downwards() {
    apply(is_member_manifest, layers::manifest);
}

#[test]
fn sources_name_only_lower_crates() {
    apply(is_rust, layers::names);
}

#[test]
fn unsafe_stays_in_its_few_files() {
    apply(is_rust, rules::unsafe_places);
}

#[test]
fn every_unsafe_gives_its_reason() {
    apply(is_rust, rules::safety_comments);
}

#[test]
fn nothing_is_left_unfinished() {
    apply(|_| true, rules::leftovers);
}

#[test]
fn files_do_one_thing() {
    apply(|_| true, rules::long_file);
    let files = files(&siskin_tests::root());
    let rust = texts(&files).filter(|(path, _)| is_rust(path));
    let lengths: Vec<_> = rust.map(|(path, text)| (path.to_string(), text.lines().count())).collect();
    report(rules::median_length(&lengths));
}

#[test]
fn no_path_of_one_machine() {
    apply(|_| true, rules::machine_paths);
}

#[test]
fn crates_come_from_the_public_registry() {
    apply(|path| path == "Cargo.lock", rules::lock_sources);
}

#[test]
fn lints_hold_in_every_crate() {
    apply(is_member_manifest, rules::member_lints);
    apply(|path| path == "Cargo.toml", rules::workspace_lints);
}

#[test]
fn skipped_tests_say_so() {
    apply(is_rust, rules::hidden_skips);
}

#[test]
fn the_house_is_complete() {
    report(rules::missing_files(&files(&siskin_tests::root())));
}

#[test]
fn the_repository_stays_small() {
    report(rules::repository_size(&files(&siskin_tests::root())));
}
