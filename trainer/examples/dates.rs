//! Pairs for an encoder-decoder: dates as people write them, a tab, and the same day as `YYYY-MM-DD`. Always the same lines.
//!
//! `cargo run --release -p siskin-trainer --example dates -- 20000 > dates.tsv`

use std::io::{BufWriter, Write, stdout};

use siskin_trainer::rng::Rng;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
/// The first year, whose first day was a Monday, and how many there are.
const FIRST_YEAR: usize = 1900;
const YEARS: usize = 200;

fn main() -> std::io::Result<()> {
    let n = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let mut rng = Rng::new(1);
    let mut out = BufWriter::new(stdout().lock());
    for _ in 0..n {
        let mut below = |n: usize| rng.below(n as u64) as usize;
        let (year, month) = (FIRST_YEAR + below(YEARS), below(12));
        let day = 1 + below(days_in(year, month));
        let written = written(year, month, day, below(7));
        writeln!(out, "{written}\t{year}-{:02}-{day:02}", month + 1)?;
    }
    out.flush()
}

fn is_leap(year: usize) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: usize, month: usize) -> usize {
    match month {
        1 => 28 + usize::from(is_leap(year)),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

/// One of seven ways to write a day.
fn written(year: usize, month: usize, day: usize, how: usize) -> String {
    let name = MONTHS[month];
    let short = &name[..3];
    match how {
        0 => format!("{name} {day}, {year}"),
        1 => format!("{day} {name} {year}"),
        2 => format!("{short} {day} {year}"),
        3 => format!("{day}.{}.{year}", month + 1),
        4 => format!("the {day}{} of {name} {year}", ordinal(day)),
        5 => format!("{year}, {name} {day}"),
        _ => format!("{}, {day} {short} {year}", DAYS[weekday(year, month, day)]),
    }
}

fn ordinal(day: usize) -> &'static str {
    match day {
        1 | 21 | 31 => "st",
        2 | 22 => "nd",
        3 | 23 => "rd",
        _ => "th",
    }
}

fn weekday(year: usize, month: usize, day: usize) -> usize {
    let years: usize = (FIRST_YEAR..year).map(|y| 365 + usize::from(is_leap(y))).sum();
    let months: usize = (0..month).map(|m| days_in(year, m)).sum();
    (years + months + day - 1) % 7
}
