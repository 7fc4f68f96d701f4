//! Numbers as people read them.

use std::path::Path;

/// 1234567 as "1,234,567".
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// "1 token", "2 tokens".
pub fn plural(n: u64, word: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {word}{s}", count(n))
}

/// Bytes in decimal units, as files are listed.
pub fn bytes(n: u64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match units.into_iter().find(|(unit, _)| n as f64 >= *unit) {
        Some((unit, name)) => format!("{} {name}", three_digits(n as f64 / unit)),
        None => format!("{n} bytes"),
    }
}

/// Arithmetic operations per second.
pub fn operations(per_second: f64) -> String {
    format!("{} Gop/s", three_digits(per_second / 1e9))
}

/// A duration.
pub fn seconds(s: f64) -> String {
    match s {
        s if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{} ms", three_digits(s * 1e3)),
        s => format!("{s:.2} s"),
    }
}

/// Something per second.
pub fn rate(per_second: f64) -> String {
    match per_second {
        r if !r.is_finite() => "-".into(),
        r if r >= 100.0 => count(r as u64),
        r => three_digits(r),
    }
}

fn three_digits(x: f64) -> String {
    match x {
        x if x < 10.0 => format!("{x:.2}"),
        x if x < 100.0 => format!("{x:.1}"),
        x => format!("{x:.0}"),
    }
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,=@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([count(0), count(999), count(1000), count(1234567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([bytes(999), bytes(1000), bytes(16_900_000)], ["999 bytes", "1.00 kB", "16.9 MB"]);
        assert_eq!([seconds(0.0000125), seconds(0.0125), seconds(2.5)], ["12 µs", "12.5 ms", "2.50 s"]);
        assert_eq!([rate(12.34), rate(1234.5), rate(f64::INFINITY)], ["12.3", "1,234", "-"]);
        assert_eq!(operations(132.4e9), "132 Gop/s");
        assert_eq!([plural(1, "token"), plural(2, "token")], ["1 token", "2 tokens"]);
    }

    #[test]
    fn paths_survive_a_shell() {
        assert_eq!(quoted(Path::new("a/b-c.siskin")), "a/b-c.siskin");
        assert_eq!(quoted(Path::new("my model's.siskin")), r"'my model'\''s.siskin'");
    }
}
