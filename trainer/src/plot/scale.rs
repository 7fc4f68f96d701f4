//! From values to places: linear and logarithmic axes and their ticks.

/// An axis: values between `lo` and `hi`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    log: bool,
    lo: f64,
    hi: f64,
}

impl Scale {
    /// The axis that holds all finite values (positive ones, if `log`).
    pub(crate) fn over(values: impl Iterator<Item = f64>, log: bool) -> Self {
        let usable = values.filter(|v| v.is_finite() && (!log || *v > 0.0));
        let (lo, hi) = usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
        let (lo, hi) = match (lo, hi) {
            _ if lo > hi => (if log { 0.1 } else { 0.0 }, 1.0),
            _ if lo == hi && log => (lo / 2.0, hi * 2.0),
            _ if lo == hi => (lo - 0.1 * lo.abs().max(1e-12), hi + 0.1 * lo.abs().max(1e-12)),
            _ => (lo, hi),
        };
        // Numbers whose difference or ratio overflows would leave no place for any.
        let (least, most) = if log { (1e-140, 1e140) } else { (-1e300, 1e300) };
        let (lo, hi) = (lo.clamp(least, most), hi.clamp(least, most));
        Scale { log, lo, hi }
    }

    /// The axis from `lo` to `hi`.
    pub(crate) fn between(lo: f64, hi: f64) -> Self {
        Scale::over([lo, hi].into_iter(), false)
    }

    /// The same with some room at both ends; a linear axis that comes close to 0 begins there.
    pub(crate) fn roomy(self) -> Self {
        if self.log {
            let room = 10f64.powf(0.04 * (self.hi.log10() - self.lo.log10()));
            return Scale { lo: self.lo / room, hi: self.hi * room, ..self };
        }
        let room = 0.04 * (self.hi - self.lo);
        let lo = if self.lo >= 0.0 && self.lo < 0.2 * self.hi { 0.0 } else { self.lo - room };
        Scale { lo, hi: self.hi + room, ..self }
    }

    /// The value at its beginning.
    pub(crate) fn first(&self) -> f64 {
        self.lo
    }

    /// Where on the axis a value lies: 0 is its beginning, 1 its end; `None` for what has no place on it.
    pub(crate) fn place(&self, value: f64) -> Option<f64> {
        let from = if self.log { f64::log10 } else { |v| v };
        // Far outside is outside, whatever the sums below would overflow to.
        let at = (from(value.clamp(-1e305, 1e305)) - from(self.lo)) / (from(self.hi) - from(self.lo));
        (value.is_finite() && at.is_finite()).then_some(at.clamp(-1e3, 1e3))
    }

    /// At most about `most` values with their labels, in order.
    pub(crate) fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        let values = match self.log {
            true => self.log_ticks(most.max(2)),
            false => self.linear_ticks(most.max(2)),
        };
        let largest = values.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let step = values.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min);
        values.into_iter().map(|v| (v, if self.log { plain(v) } else { even(v, step, largest) })).collect()
    }

    fn linear_ticks(&self, most: usize) -> Vec<f64> {
        let raw = (self.hi - self.lo) / most as f64;
        let power = 10f64.powf(raw.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= raw * 0.999).unwrap_or(raw);
        let first = (self.lo / step - 1e-9).ceil();
        (0..=2 * most)
            .map(|i| (first + i as f64) * step)
            .take_while(|v| *v <= self.hi + 1e-9 * step)
            .map(|v| if v.abs() < 1e-9 * step { 0.0 } else { v })
            .collect()
    }

    fn log_ticks(&self, most: usize) -> Vec<f64> {
        let (first, last) = (self.lo.log10().floor() as i32, self.hi.log10().ceil() as i32);
        let inside = |v: &f64| *v >= self.lo * 0.999_999 && *v <= self.hi * 1.000_001;
        let of = |parts: &[f64], every: usize| -> Vec<f64> {
            let powers = (first..=last).filter(|p| p.rem_euclid(every as i32) == 0);
            powers.flat_map(|p| parts.iter().map(move |m| m * 10f64.powi(p))).filter(inside).collect()
        };
        let decades = of(&[1.0], 1);
        match decades.len() {
            0 | 1 => [of(&[1.0, 2.0, 5.0], 1)]
                .into_iter()
                .chain([1, 2, 4].map(|finer| self.linear_ticks(finer * most)))
                .find(|t| t.len() >= 2)
                .unwrap_or_default(),
            2 => of(&[1.0, 2.0, 5.0], 1),
            n => of(&[1.0], n.div_ceil(most)),
        }
    }
}

/// A tick among others that are `step` apart and at most `largest`.
fn even(v: f64, step: f64, largest: f64) -> String {
    let (unit, suffix) = match largest {
        l if l >= 1e15 => return plain(v),
        l if l >= 1e9 => (1e9, "G"),
        l if l >= 1e6 => (1e6, "M"),
        l if l >= 1e4 => (1e3, "k"),
        l if l < 1e-3 => return plain(v),
        _ => (1.0, ""),
    };
    if v == 0.0 {
        return "0".to_string();
    }
    let decimals = (-(step / unit).log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize;
    // A step of 2.5 needs a place more than its power of ten says; ours are 1, 2 and 5.
    let text = format!("{:.decimals$}{suffix}", v / unit);
    if unit == 1.0 && v.abs() >= 1e3 && decimals == 0 { crate::progress::thousands(v) } else { text }
}

/// A number on its own: `0.05`, `300`, `2e-5`.
pub(crate) fn plain(v: f64) -> String {
    if v == 0.0 {
        return "0".to_string();
    }
    if !(1e-3..1e5).contains(&v.abs()) {
        let text = format!("{v:.2e}");
        let (digits, power) = text.split_once('e').expect("a power");
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        return format!("{digits}e{power}");
    }
    let decimals = (2.0 - v.abs().log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{v:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, most: usize) -> Vec<String> {
        scale.ticks(most).into_iter().map(|(_, label)| label).collect()
    }

    fn over(lo: f64, hi: f64, log: bool) -> Scale {
        Scale::over([lo, hi].into_iter(), log)
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(labels(over(0.0, 2000.0, false), 5), ["0", "500", "1,000", "1,500", "2,000"]);
        assert_eq!(labels(over(1.37, 4.2, false), 6), ["1.5", "2.0", "2.5", "3.0", "3.5", "4.0"]);
        assert_eq!(labels(over(0.0, 3e4, false), 3), ["0", "10k", "20k", "30k"]);
        assert_eq!(labels(over(-1.0, 1.0, false), 4), ["-1.0", "-0.5", "0", "0.5", "1.0"]);
        assert_eq!(labels(over(0.0, 6e-4, false), 3), ["0", "2e-4", "4e-4", "6e-4"]);
    }

    #[test]
    fn logarithmic_ticks_are_powers_where_there_are_enough() {
        assert_eq!(labels(over(1e-5, 1.0, true), 6), ["1e-5", "1e-4", "0.001", "0.01", "0.1", "1"]);
        assert_eq!(labels(over(0.5, 20.0, true), 6), ["0.5", "1", "2", "5", "10", "20"]);
        assert_eq!(labels(over(2.1, 2.4, true), 3), ["2.1", "2.2", "2.3", "2.4"]);
        assert_eq!(labels(over(1.1, 1.9, true), 2), ["1.2", "1.4", "1.6", "1.8"]);
        assert!(labels(over(1e-12, 1e12, true), 6).len() <= 7);
    }

    #[test]
    fn every_finite_value_has_a_place() {
        for (values, log) in [
            (vec![], false),
            (vec![f64::NAN, f64::INFINITY], true),
            (vec![3.0], false),
            (vec![0.0], false),
            (vec![5.0, -1.0], true),
            (vec![f64::MAX, f64::MIN], false),
            (vec![f64::MIN_POSITIVE, f64::MAX], true),
            (vec![f64::MIN_POSITIVE, 1e-300], true),
            (vec![1e200, 1e250], true),
            (vec![1e305, 1.1e305], false),
            (vec![1.0, 1.0 + f64::EPSILON], false),
        ] {
            for scale in
                [Scale::over(values.iter().copied(), log), Scale::over(values.iter().copied(), log).roomy()]
            {
                assert!(scale.ticks(6).len() < 20, "{scale:?}");
                for v in values.iter().copied().filter(|v| v.is_finite() && (!log || *v > 0.0)) {
                    let place = scale.place(v).unwrap_or(0.5); // where all values are one
                    assert!((-1e3..=1e3).contains(&place), "{v} on {scale:?}");
                }
            }
        }
    }
}
