//! The doctor's confusion table: every run of [`siskin_trainer::doctor::planted`] is trained and examined.
//!
//! ```text
//! cargo run --release -p siskin-trainer --example doctor_table                     # runs that no threshold was chosen on
//! cargo run --release -p siskin-trainer --example doctor_table -- --tuning         # those that they were chosen on
//! cargo run --release -p siskin-trainer --example doctor_table -- --write docs/doctor.md
//! ```
//!
//! `--only TEXT` takes the runs whose name contains the text, `--explain` prints all that the doctor says of each.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use siskin_trainer::doctor::planted::{COMMON, Planted, RUNS};
use siskin_trainer::doctor::{Examination, Trouble, diagnose};
use siskin_trainer::{Error, Result};

/// Where the tables stand in the file of `--write`.
const MARKS: (&str, &str) = ("<!-- made by doctor_table -->\n", "<!-- end -->\n");

/// A run and what the doctor named, the likeliest cause first.
struct Row {
    run: &'static Planted,
    named: Vec<Trouble>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| args.iter().any(|a| a == name);
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    let held_out = !flag("--tuning");
    let only = value("--only").map(String::as_str).unwrap_or_default();
    let text = include_str!("../data/shakespeare.txt");
    let (started, mut rows) = (Instant::now(), Vec::new());
    for run in RUNS.iter().filter(|r| r.name.contains(only)) {
        let dir = std::env::temp_dir().join(format!("siskin-doctor-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let case = run.train(text, held_out, &dir);
        std::fs::remove_dir_all(&dir).map_err(Error::io("remove", &dir))?;
        let case = case?;
        let named: Vec<Trouble> = diagnose(&case).into_iter().map(|f| f.trouble).collect();
        let verdict = if named.first().copied() == run.trouble { "right" } else { "WRONG" };
        eprintln!("{verdict}  {}: {}", run.name, names(&named));
        if flag("--explain") {
            eprintln!("{}", Examination::of(&case));
        }
        rows.push(Row { run, named });
    }
    let tables = tables(&rows, held_out, started.elapsed().as_secs_f64());
    match value("--write") {
        Some(path) => write(Path::new(path), &tables),
        None => {
            print!("{tables}");
            Ok(())
        }
    }
}

/// Puts the tables between the marks of a file.
fn write(path: &Path, tables: &str) -> Result<()> {
    let old = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let cut = old.split_once(MARKS.0).and_then(|(head, rest)| Some((head, rest.split_once(MARKS.1)?.1)));
    let Some((head, tail)) = cut else {
        return Err(Error::Run(format!(
            "{} has no place for the tables: it lacks the marks",
            path.display()
        )));
    };
    let new = format!("{head}{}{tables}{}{tail}", MARKS.0, MARKS.1);
    std::fs::write(path, new).map_err(Error::io("write", path))
}

fn name(trouble: Option<Trouble>) -> &'static str {
    trouble.map_or("none", Trouble::name)
}

fn names(troubles: &[Trouble]) -> String {
    match troubles {
        [] => "none".into(),
        all => all.iter().map(|t| t.name()).collect::<Vec<_>>().join(", "),
    }
}

fn tables(rows: &[Row], held_out: bool, seconds: f64) -> String {
    let mut out = confusion(rows);
    let faults = rows.iter().filter(|r| r.run.trouble.is_some());
    let first = faults.clone().filter(|r| r.named.first().copied() == r.run.trouble).count();
    let among = faults.clone().filter(|r| r.run.trouble.is_some_and(|t| r.named.contains(&t))).count();
    let healthy = rows.iter().filter(|r| r.run.trouble.is_none());
    let alarms = healthy.clone().filter(|r| !r.named.is_empty()).count();
    let _ = writeln!(
        out,
        "\n{} planted faults: {first} named first, {among} named at all. {} healthy runs: {alarms} false alarms. {} in {seconds:.0} s.\n",
        faults.count(),
        healthy.count(),
        if held_out {
            "Runs that no threshold was chosen on"
        } else {
            "The runs that thresholds were chosen on"
        },
    );
    let _ = writeln!(
        out,
        "Every run says `{COMMON}`, and:\n\n| run | flags | planted | named |\n|---|---|---|---|"
    );
    for Row { run, named } in rows {
        let flags = run.all_flags(held_out).split_off(COMMON.len() + 1);
        let _ = writeln!(out, "| {} | `{flags}` | {} | {} |", run.name, name(run.trouble), names(named));
    }
    out
}

/// Planted troubles by row, first named ones by column, with recall and precision.
fn confusion(rows: &[Row]) -> String {
    let all: Vec<Option<Trouble>> = Trouble::ALL.into_iter().map(Some).chain([None]).collect();
    let count = |planted: Option<Trouble>, named: Option<Trouble>| {
        rows.iter().filter(|r| r.run.trouble == planted && r.named.first().copied() == named).count()
    };
    let mut out = String::from("| planted \\ named first |");
    all.iter().for_each(|t| {
        let _ = write!(out, " {} |", name(*t));
    });
    out.push_str(" recall |\n|---|");
    out.push_str(&"--:|".repeat(all.len() + 1));
    out.push('\n');
    let share = |part: usize, whole: usize| match whole {
        0 => "–".to_string(),
        _ => format!("{:.2}", part as f64 / whole as f64),
    };
    for planted in &all {
        let label = if planted.is_none() { "none: healthy" } else { name(*planted) };
        let cells: Vec<usize> = all.iter().map(|named| count(*planted, *named)).collect();
        let shown =
            cells.iter().map(|n| if *n == 0 { "·".to_string() } else { n.to_string() }).collect::<Vec<_>>();
        let recall = share(count(*planted, *planted), cells.iter().sum());
        let _ = writeln!(out, "| {label} | {} | {recall} |", shown.join(" | "));
    }
    let precision = all
        .iter()
        .map(|named| share(count(*named, *named), all.iter().map(|planted| count(*planted, *named)).sum()));
    let _ = writeln!(out, "| precision | {} | |", precision.collect::<Vec<_>>().join(" | "));
    out
}
