//! The audit of the dependencies: what `docs/dependencies.md` allows, compared with `Cargo.lock` and with what
//! cargo says of each crate. Each rule is a function from texts to problems; the tests here plant a fault for each.

use crate::tidy::Problem;

/// The page that lists what is allowed.
pub const LIST: &str = "docs/dependencies.md";

/// The crates that the format, the runtime and the C library name themselves.
pub const RUNTIME_CRATES: [&str; 2] = ["half", "memmap2"];

/// Rooms from low to high. A crate may be used in its room and in all after it.
pub const ROOMS: [&str; 4] = ["runtime", "cli", "trainer", "tests"];

/// Licences that both of siskin's own are compatible with.
const LICENCES: [&str; 8] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSL-1.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A crate that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Its name.
    pub name: String,
    /// Compatible versions: `1`, `0.9`.
    pub versions: Vec<String>,
    /// The lowest room that may use it, or `other`.
    pub room: String,
    /// Its licence, as its manifest says it.
    pub licence: String,
    /// What it is for.
    pub why: String,
}

/// Versions of a crate that have a known fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advisory {
    /// The crate.
    pub name: String,
    /// The first version without the fault, of each compatible series that was repaired; none: not repaired.
    pub fixed: Vec<String>,
    /// Its number and what it is about.
    pub text: String,
}

/// A crate in `Cargo.lock`, or in the output of `cargo tree`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its whole version.
    pub version: String,
    /// Where it comes from; empty for the workspace's own.
    pub source: String,
    /// Whether the lock file pins its contents.
    pub has_checksum: bool,
    /// Its licence, where known.
    pub licence: String,
}

/// The rows of the Markdown table whose heading row begins with `columns`.
fn table<'a>(page: &'a str, columns: &str) -> Vec<Vec<&'a str>> {
    let rows = page.lines().skip_while(|line| !line.starts_with(columns)).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

fn list_of(cell: &str) -> Vec<String> {
    cell.split(", ").filter(|item| *item != "none").map(str::to_string).collect()
}

/// The crates that the page allows.
///
/// # Panics
/// When a row has not five cells.
pub fn allowed(page: &str) -> Vec<Allowed> {
    let rows = table(page, "| crate | versions |").into_iter().map(|row| {
        let [name, versions, room, licence, why] = row[..] else { panic!("{LIST}: row {row:?}") };
        let [name, room, licence, why] = [name, room, licence, why].map(str::to_string);
        Allowed { name, versions: list_of(versions), room, licence, why }
    });
    rows.collect()
}

/// The advisories of the page.
///
/// # Panics
/// When a row has not four cells.
pub fn advisories(page: &str) -> Vec<Advisory> {
    let rows = table(page, "| crate | fixed in |").into_iter().map(|row| {
        let [name, fixed, number, what] = row[..] else { panic!("{LIST}: row {row:?}") };
        Advisory { name: name.to_string(), fixed: list_of(fixed), text: format!("{number}: {what}") }
    });
    rows.collect()
}

/// The crates of a `Cargo.lock`.
pub fn locked(lock: &str) -> Vec<Crate> {
    let packages = lock.split("[[package]]").skip(1).map(|text| {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            line.unwrap_or("").trim_matches('"').to_string()
        };
        let has_checksum = !value("checksum").is_empty();
        Crate {
            name: value("name"),
            version: value("version"),
            source: value("source"),
            has_checksum,
            ..Crate::default()
        }
    });
    packages.collect()
}

/// The crates in the output of `cargo tree --prefix none --format '{p}|{l}'`, without the workspace's own.
pub fn tree(output: &str) -> Vec<Crate> {
    let lines = output.lines().filter(|line| !line.contains("(/") && !line.contains(":\\"));
    let mut crates: Vec<Crate> = lines
        .filter_map(|line| {
            let (package, licence) = line.split_once('|')?;
            let (name, version) = package.split_once(" v")?;
            let version = version.split(' ').next()?.to_string();
            let licence = licence.trim_end_matches(" (*)").to_string();
            Some(Crate { name: name.to_string(), version, licence, ..Crate::default() })
        })
        .collect();
    crates.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    crates.dedup();
    crates
}

/// A version as numbers, and its compatible series: `1.2.3` is of series `1`, `0.9.4` of `0.9`.
fn numbers(version: &str) -> Vec<u64> {
    let core = version.split(['+', '-']).next().unwrap_or("");
    core.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

fn series(version: &str) -> String {
    match numbers(version)[..] {
        [0, 0, patch] => format!("0.0.{patch}"),
        [0, minor, ..] => format!("0.{minor}"),
        [major, ..] => major.to_string(),
        [] => String::new(),
    }
}

fn problem(what: &Crate, message: String) -> Problem {
    Problem::new("Cargo.lock", 0, format!("{} {}: {message}", what.name, what.version))
}

fn foreign(lock: &[Crate]) -> impl Iterator<Item = &Crate> {
    lock.iter().filter(|c| !(c.source.is_empty() && c.name.starts_with("siskin")))
}

/// Crates, or series of versions, that the page does not name, and lines of the page that are no longer needed.
pub fn unlisted(lock: &[Crate], allowed: &[Allowed]) -> Vec<Problem> {
    let names = |a: &Allowed, c: &Crate| a.name == c.name && a.versions.contains(&series(&c.version));
    let new = foreign(lock).filter(|c| !allowed.iter().any(|a| names(a, c)));
    let new = new.map(|c| problem(c, format!("is not in {LIST}; add its line there, or do without it")));
    let stale = allowed.iter().flat_map(|a| a.versions.iter().map(move |v| (a, v)));
    let stale = stale.filter(|(a, v)| !lock.iter().any(|c| c.name == a.name && series(&c.version) == **v));
    let stale =
        stale.map(|(a, v)| Problem::new(LIST, 0, format!("{} {v} is no longer used; remove it", a.name)));
    new.chain(stale).collect()
}

/// Several versions of a crate without a reason.
pub fn duplicates(allowed: &[Allowed]) -> Vec<Problem> {
    let several = allowed.iter().filter(|a| a.versions.len() > 1 && !a.why.contains("two versions because"));
    let message =
        |a: &Allowed| format!("{} has {}; say `two versions because …`", a.name, a.versions.join(" and "));
    several.map(|a| Problem::new(LIST, 0, message(a))).collect()
}

/// Crates from elsewhere than the public registry, or whose contents are not pinned.
pub fn sources(lock: &[Crate]) -> Vec<Problem> {
    let elsewhere = foreign(lock).filter(|c| c.source != REGISTRY || !c.has_checksum);
    elsewhere
        .map(|c| problem(c, format!("comes from {:?}; only crates.io, with a checksum", c.source)))
        .collect()
}

/// Versions with a known fault.
pub fn vulnerable(lock: &[Crate], advisories: &[Advisory]) -> Vec<Problem> {
    let mut found = Vec::new();
    for advisory in advisories.iter().filter(|a| !a.fixed.is_empty()) {
        for c in lock.iter().filter(|c| c.name == advisory.name && !is_fixed(&c.version, &advisory.fixed)) {
            let fixed = advisory.fixed.join(" or ");
            found.push(problem(
                c,
                format!("{}; needs at least {fixed}: cargo update -p {}", advisory.text, c.name),
            ));
        }
    }
    found
}

/// Within a repaired series a version from the repaired one on is good, else one after all of them.
fn is_fixed(version: &str, fixed: &[String]) -> bool {
    match fixed.iter().find(|f| series(f) == series(version)) {
        Some(first) => numbers(version) >= numbers(first),
        None => fixed.iter().all(|f| numbers(version) > numbers(f)),
    }
}

/// Licences that are not allowed, and those that are not what the page says.
pub fn licences(tree: &[Crate], allowed: &[Allowed]) -> Vec<Problem> {
    let mut found = Vec::new();
    for a in allowed.iter().filter(|a| !is_allowed_licence(&a.licence)) {
        found.push(Problem::new(
            LIST,
            0,
            format!("{} has licence {:?}, which is not allowed", a.name, a.licence),
        ));
    }
    for c in tree {
        for a in allowed.iter().filter(|a| a.name == c.name && a.licence != c.licence) {
            found.push(problem(c, format!("has licence {:?}, {LIST} says {:?}", c.licence, a.licence)));
        }
    }
    found
}

/// Whether an SPDX expression offers a choice of allowed licences: alternatives by `OR` or `/`, each of parts by `AND`.
fn is_allowed_licence(expression: &str) -> bool {
    let expression = expression.trim();
    if let Some((before, after)) = outside_parentheses(expression, " AND ") {
        return is_allowed_licence(before) && is_allowed_licence(after);
    }
    let alternatives =
        outside_parentheses(expression, " OR ").or_else(|| outside_parentheses(expression, "/"));
    if let Some((before, after)) = alternatives {
        return is_allowed_licence(before) || is_allowed_licence(after);
    }
    match expression.strip_prefix('(').and_then(|e| e.strip_suffix(')')) {
        Some(inner) => is_allowed_licence(inner),
        None => LICENCES.contains(&expression),
    }
}

/// Cuts at the first separator that no parenthesis encloses. `AND` binds closer than `OR`; an expression that mixes both
/// without parentheses is read as if `AND` bound less, which allows less, never more.
fn outside_parentheses<'a>(expression: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    let depth_at = |at: usize| {
        let before = &expression[..at];
        before.matches('(').count() - before.matches(')').count()
    };
    let (at, _) = expression.match_indices(separator).find(|(at, _)| depth_at(*at) == 0)?;
    Some((&expression[..at], &expression[at + separator.len()..]))
}

/// Crates that `room` contains although they belong to a higher one.
pub fn rooms(room: &str, tree: &[Crate], allowed: &[Allowed]) -> Vec<Problem> {
    let height = |room: &str| ROOMS.iter().position(|r| *r == room).unwrap_or(ROOMS.len());
    let mut found = Vec::new();
    for c in tree {
        for a in allowed.iter().filter(|a| a.name == c.name && height(&a.room) > height(room)) {
            found.push(problem(c, format!("is of room {} ({LIST}), but {room} contains it", a.room)));
        }
    }
    found
}

/// Crates that the runtime library names itself, beyond the two that it may.
pub fn chosen(tree: &[Crate]) -> Vec<Problem> {
    let more = tree.iter().filter(|c| !RUNTIME_CRATES.contains(&c.name.as_str()));
    more.map(|c| problem(c, format!("the runtime may choose {} alone", RUNTIME_CRATES.join(" and "))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# x\n\n| crate | fixed in | advisory | what |\n|---|---|---|---|\n| rand | 0.8.6, 0.9.3 | R-1 | bad |\n\
                        | paste | none | R-2 | old |\n\n| crate | versions | room | licence | why |\n|---|---|---|---|---|\n\
                        | half | 2 | runtime | MIT OR Apache-2.0 | floats |\n| rand | 0.9, 0.10 | trainer | MIT | dice |\n";

    fn lock(entries: &[(&str, &str)]) -> Vec<Crate> {
        let text: String = entries
            .iter()
            .map(|(name, version)| {
                format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"{REGISTRY}\"\nchecksum = \"0a\"\n\n")
            })
            .collect();
        locked(&format!("version = 4\n\n{text}"))
    }

    fn messages(problems: Vec<Problem>) -> Vec<String> {
        problems.into_iter().map(|p| p.message).collect()
    }

    #[test]
    fn a_new_crate_a_new_series_and_a_stale_line_are_found() {
        let list = allowed(PAGE);
        assert_eq!(unlisted(&lock(&[("half", "2.7.1"), ("rand", "0.9.5"), ("rand", "0.10.1")]), &list), []);
        let found =
            messages(unlisted(&lock(&[("half", "3.0.0"), ("rand", "0.9.5"), ("evil", "1.0.0")]), &list));
        let begins = [
            "half 3.0.0: is not in",
            "evil 1.0.0: is not in",
            "half 2 is no longer",
            "rand 0.10 is no longer",
        ];
        assert_eq!(found.len(), begins.len());
        assert!(found.iter().zip(begins).all(|(f, b)| f.starts_with(b)), "{found:?}");
    }

    #[test]
    fn a_second_version_needs_a_reason() {
        assert!(messages(duplicates(&allowed(PAGE)))[0].starts_with("rand has 0.9 and 0.10"));
        assert_eq!(duplicates(&allowed(&PAGE.replace("dice", "two versions because of dice"))), []);
    }

    #[test]
    fn a_git_source_a_path_and_a_missing_checksum_are_found() {
        assert_eq!(sources(&lock(&[("half", "2.7.1")])), []);
        let package = "[[package]]\nname = \"half\"\nversion = \"2.7.1\"\n";
        assert_eq!(sources(&locked(package)).len(), 1);
        assert_eq!(
            sources(&locked(&format!("{package}source = \"git+https://x\"\nchecksum = \"0a\"\n"))).len(),
            1
        );
        assert_eq!(sources(&locked(&format!("{package}source = \"{REGISTRY}\"\n"))).len(), 1);
        assert_eq!(sources(&locked("[[package]]\nname = \"siskin-format\"\nversion = \"0.1.0\"\n")), []);
    }

    #[test]
    fn a_version_below_the_repaired_one_is_found() {
        let list = advisories(PAGE);
        for good in ["0.8.6", "0.8.10", "0.9.3", "0.9.30", "0.10.0", "1.0.0"] {
            assert_eq!(vulnerable(&lock(&[("rand", good)]), &list), [], "{good}");
        }
        for bad in ["0.7.9", "0.8.5", "0.9.0", "0.9.2"] {
            let found = messages(vulnerable(&lock(&[("rand", bad)]), &list));
            assert!(found[0].contains("R-1: bad; needs at least 0.8.6 or 0.9.3"), "{found:?}");
        }
        assert_eq!(vulnerable(&lock(&[("paste", "1.0.0")]), &list), []);
    }

    #[test]
    fn a_licence_must_be_allowed_and_as_listed() {
        for good in ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
            assert!(is_allowed_licence(good), "{good}");
        }
        for bad in
            ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-2.0", "GPL-2.0 OR AGPL-3.0"]
        {
            assert!(!is_allowed_licence(bad), "{bad}");
        }
        let found = licences(&tree("half v2.7.1|GPL-3.0\n"), &allowed(PAGE));
        assert!(messages(found)[0].contains("has licence \"GPL-3.0\""));
        assert_eq!(licences(&[], &allowed(&PAGE.replace("MIT |", "GPL-3.0 |"))).len(), 1);
    }

    #[test]
    fn a_crate_in_too_low_a_room_is_found() {
        let output = "siskin v0.1.0 (/home/x)|MIT\nhalf v2.7.1|MIT OR Apache-2.0\nrand v0.9.5|MIT (*)\nrand v0.9.5|MIT\n";
        let crates = tree(output);
        assert_eq!(crates.len(), 2);
        assert_eq!(messages(rooms("cli", &crates, &allowed(PAGE))).len(), 1);
        assert_eq!(rooms("trainer", &crates, &allowed(PAGE)), []);
        assert!(messages(chosen(&crates))[0].starts_with("rand 0.9.5: the runtime may choose"));
    }
}
