//! The examination as text for a terminal: verdicts, then figures part by part.

use std::fmt::{self, Display, Formatter};

use super::finding::{Finding, Severity, flags};
use super::layers::{Examination, LayerRow, TimeRow};
use crate::progress::thousands;

/// Steps of a bar, from 1e-4 of the largest value to all of it, half a power of ten each.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Most columns of a row of bars.
const COLUMNS: usize = 64;

impl Display for Examination {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Examination { step, total, records, .. } = self;
        write!(
            f,
            "{} of {} updates, {records} looks inside; training loss {:.3}",
            thousands(*step as f64),
            thousands(*total as f64),
            self.loss
        )?;
        if let Some(best) = self.best_validation {
            write!(f, ", best validation loss {best:.3}")?;
        }
        if let Some(unigram) = self.unigram {
            write!(f, " (guessing by frequency {unigram:.3})")?;
        }
        writeln!(f, "\n")?;
        if self.findings.is_empty() {
            writeln!(f, "no trouble found")?;
        }
        for (i, finding) in self.findings.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{finding}")?;
        }
        write_layers(f, &self.layers)?;
        write_times(f, &self.times)
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let place = if self.place.is_empty() { String::new() } else { format!(" in {}", self.place) };
        let bad = match self.severity {
            Severity::Ruins => "ruins the run",
            Severity::Hampers => "hampers the run",
        };
        writeln!(
            f,
            "{}{place} ({bad}, since update {})",
            self.trouble.name().to_uppercase(),
            thousands(self.first_step as f64)
        )?;
        writeln!(f, "  seen:   {}", self.evidence)?;
        writeln!(f, "  remedy: {}", self.advice)?;
        let flags = flags(&self.remedy);
        if flags.is_empty() { Ok(()) } else { writeln!(f, "  flags:  {flags}") }
    }
}

fn write_layers(f: &mut Formatter<'_>, rows: &[LayerRow]) -> fmt::Result {
    if rows.is_empty() {
        return writeln!(f, "\nno look inside was recorded: train with --observe-every 16 to see layers");
    }
    let widest = rows.iter().map(|r| r.name.len()).max().unwrap_or(0).max(5);
    writeln!(
        f,
        "\n{:widest$}  {:>9}  {:>9}  {:>9}  {:>9}  {:>5}  {:>5}  {:>7}",
        "part", "gradient", "update", "output", "back", "dead", "satur", "entropy"
    )?;
    let power = |v: Option<f64>| v.map_or("–".to_string(), |v| format!("{v:.1e}"));
    let share = |v: Option<f64>| v.map_or("–".to_string(), |v| format!("{:.0} %", 100.0 * v));
    for row in rows {
        writeln!(
            f,
            "{:widest$}  {:>9}  {:>9}  {:>9}  {:>9}  {:>5}  {:>5}  {:>7}",
            row.name,
            power(Some(row.gradient).filter(|g| g.is_finite())),
            power(Some(row.update_ratio).filter(|u| u.is_finite())),
            power(row.rms),
            power(row.back),
            share(row.dead),
            share(row.saturated),
            row.entropy.map_or("–".to_string(), |e| format!("{e:.2}"))
        )?;
    }
    writeln!(
        f,
        "gradient: norm over the part's weights · update: of the weights' norm, 1e-3 is usual · output, back: root mean square"
    )
}

fn write_times(f: &mut Formatter<'_>, rows: &[TimeRow]) -> fmt::Result {
    let Some(first) = rows.first() else { return Ok(()) };
    writeln!(
        f,
        "\ngradient of the last step's loss at each of the {} steps of a window (a level is half a power of ten)",
        first.gradient.len()
    )?;
    let widest = rows.iter().map(|r| r.name.len()).max().unwrap_or(0);
    for row in rows {
        writeln!(f, "{:widest$}  ▕{}▏", row.name, bars(&row.gradient))?;
    }
    Ok(())
}

/// A row of bars on a logarithmic scale, thinned to what fits.
pub(super) fn bars(values: &[f64]) -> String {
    let top = values.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
    let bar = |v: f64| {
        let halves = 2.0 * (v / top).log10();
        let level =
            if halves.is_finite() { (BARS.len() as f64 - 1.0 + halves).round().max(0.0) as usize } else { 0 };
        BARS[level.min(BARS.len() - 1)]
    };
    let every = values.len().div_ceil(COLUMNS).max(1);
    // Thinned from the end, where the loss is.
    let mut shown: Vec<char> = values.iter().rev().step_by(every).map(|v| bar(*v)).collect();
    shown.reverse();
    shown.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fall_by_half_powers_of_ten() {
        assert_eq!(bars(&[1e-9, 1e-4, 1e-2, 0.1, 1.0]), "  ▄▆█");
        assert_eq!(bars(&[0.0, f64::NAN]), "  ");
        assert_eq!(bars(&vec![1.0; 200]).chars().count(), 50);
    }
}
