//! Curves of any length in bounded memory.

/// Most points of a curve: more than a terminal has dots.
const MOST: usize = 2048;

/// Values over updates. When there are too many, neighbours become one.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    points: Vec<(f64, f64)>,
    /// Values that become one point.
    stride: u64,
    pending: (f64, u64),
}

impl Default for Curve {
    fn default() -> Self {
        Curve { points: Vec::new(), stride: 1, pending: (0.0, 0) }
    }
}

impl Curve {
    /// Appends the `value` after update `step`; what is not finite is left out.
    pub(crate) fn push(&mut self, step: u64, value: f64) {
        if !value.is_finite() {
            return;
        }
        let (sum, n) = (self.pending.0 + value, self.pending.1 + 1);
        self.pending = (sum, n);
        if n < self.stride {
            return;
        }
        self.pending = (0.0, 0);
        self.points.push((step as f64, sum / n as f64));
        if self.points.len() == MOST {
            let mean = |p: &[(f64, f64)]| (p[1].0, (p[0].1 + p[1].1) / 2.0);
            self.points = self.points.chunks_exact(2).map(mean).collect();
            self.stride *= 2;
        }
    }

    /// Updates so far and value, ascending.
    pub(crate) fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// The points from update `from` on.
    pub(crate) fn since(&self, from: f64) -> &[(f64, f64)] {
        &self.points[self.points.partition_point(|p| p.0 < from)..]
    }

    /// Forgets what came after update `step`, which a run that goes back does anew.
    pub(crate) fn take_back(&mut self, step: u64) {
        self.points.truncate(self.points.partition_point(|p| p.0 <= step as f64));
        self.pending = (0.0, 0);
    }
}

/// The mean of the points in each of `n` equal parts of `from..=to`; a part without points has what the one before it has.
pub(crate) fn resample(points: &[(f64, f64)], from: f64, to: f64, n: usize) -> Vec<Option<f64>> {
    let mut sums = vec![(0.0, 0.0); n];
    for &(step, value) in points {
        let at = (step - from) / (to - from).max(1e-9) * n as f64;
        if at >= 0.0 && n > 0 {
            let (sum, count) = &mut sums[(at as usize).min(n - 1)];
            (*sum, *count) = (*sum + value, *count + 1.0);
        }
    }
    let mut last = None;
    let mean = |(sum, count): (f64, f64)| {
        last = if count > 0.0 { Some(sum / count) } else { last };
        last
    };
    sums.into_iter().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_values_keep_their_course_in_few_points() {
        let mut curve = Curve::default();
        (1..=1_000_000).for_each(|step| curve.push(step, step as f64));
        let points = curve.points();
        assert!((MOST / 2..MOST).contains(&points.len()), "{}", points.len());
        let width = curve.stride as f64;
        assert!(points.iter().all(|p| (p.0 - p.1 - (width - 1.0) / 2.0).abs() < 1e-6));
        assert!(points.last().unwrap().0 > 1_000_000.0 - width);
        assert_eq!(curve.since(750_000.0)[0].0, points.iter().find(|p| p.0 >= 750_000.0).unwrap().0);
    }

    #[test]
    fn what_is_taken_back_is_forgotten() {
        let mut curve = Curve::default();
        (1..=10).for_each(|step| curve.push(step, 1.0));
        curve.push(11, f64::NAN);
        curve.take_back(4);
        assert_eq!(curve.points().last(), Some(&(4.0, 1.0)));
    }

    #[test]
    fn parts_without_points_have_the_value_before() {
        let points = [(2.0, 1.0), (3.0, 3.0), (9.0, 5.0)];
        assert_eq!(resample(&points, 0.0, 10.0, 5), [None, Some(2.0), Some(2.0), Some(2.0), Some(5.0)]);
        assert_eq!(resample(&points, 0.0, 10.0, 0), []);
        assert_eq!(resample(&[], 0.0, 0.0, 2), [None, None]);
    }
}
