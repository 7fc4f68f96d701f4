//! Norms of the gradient by part of the model, over a run.

use crate::observe::record::Record;

/// Most columns.
const MOST: usize = 512;

/// A row for each part of a model, a column for each record.
#[derive(Clone, Debug)]
pub(crate) struct Heat {
    /// `embed`, `block 0`, …, `head`, in the order of the forward pass.
    pub(crate) names: Vec<String>,
    /// Updates so far and the norm of each part's gradient, ascending.
    pub(crate) columns: Vec<(u64, Vec<f64>)>,
    /// One of so many records becomes a column.
    stride: u64,
    seen: u64,
}

impl Default for Heat {
    fn default() -> Self {
        Heat { names: Vec::new(), columns: Vec::new(), stride: 1, seen: 0 }
    }
}

impl Heat {
    /// Takes in a record.
    pub(crate) fn push(&mut self, record: &Record) {
        self.seen += 1;
        if !(self.seen - 1).is_multiple_of(self.stride) {
            return;
        }
        let mut sums: Vec<(String, f64)> = Vec::new();
        for tensor in &record.tensors {
            let (name, square) = (part(&tensor.name), tensor.gradient * tensor.gradient);
            match sums.iter_mut().find(|s| s.0 == name) {
                Some(sum) => sum.1 += square,
                None => sums.push((name, square)),
            }
        }
        let (names, norms): (Vec<_>, Vec<_>) = sums.into_iter().map(|(n, s)| (n, s.sqrt())).unzip();
        if self.names != names {
            *self = Heat { names, seen: 1, ..Heat::default() };
        }
        self.columns.push((record.step, norms));
        if self.columns.len() == MOST {
            let mut keep = false;
            self.columns.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
        }
    }

    /// Forgets what came after update `step`.
    pub(crate) fn take_back(&mut self, step: u64) {
        self.columns.retain(|c| c.0 <= step);
    }

    /// The newest column at or before update `step`.
    pub(crate) fn at(&self, step: f64) -> Option<&[f64]> {
        let after = self.columns.partition_point(|c| c.0 as f64 <= step);
        self.columns[..after].last().map(|c| c.1.as_slice())
    }

    /// The smallest and largest positive norm.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        let all = || self.columns.iter().flat_map(|c| &c.1).copied().filter(|v| v.is_finite() && *v > 0.0);
        Some((all().reduce(f64::min)?, all().reduce(f64::max)?))
    }
}

/// Which part of a model a tensor belongs to: `blocks.3.attn.wq` to `block 3`.
fn part(tensor: &str) -> String {
    let mut words = tensor.split('.');
    match (words.next(), words.next()) {
        (Some("blocks"), Some(number)) => format!("block {number}"),
        (first, _) => first.unwrap_or_default().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::record::TensorRecord;

    fn record(step: u64, gradients: &[(&str, f64)]) -> Record {
        let tensor = |t: &(&str, f64)| TensorRecord { name: t.0.into(), gradient: t.1, ..Default::default() };
        Record { step, tensors: gradients.iter().map(tensor).collect(), ..Default::default() }
    }

    #[test]
    fn tensors_of_a_part_are_one_norm() {
        let mut heat = Heat::default();
        heat.push(&record(
            1,
            &[("embed.weight", 2.0), ("blocks.0.a", 3.0), ("blocks.0.b.w", 4.0), ("head.weight", 0.0)],
        ));
        assert_eq!(heat.names, ["embed", "block 0", "head"]);
        assert_eq!(heat.at(1.0), Some(&[2.0, 5.0, 0.0][..]));
        assert_eq!((heat.at(0.5), heat.range()), (None, Some((2.0, 5.0))));
    }

    #[test]
    fn many_records_stay_few_columns_in_order() {
        let mut heat = Heat::default();
        (1..=5000).for_each(|step| heat.push(&record(step, &[("embed.weight", step as f64)])));
        assert!((MOST / 2..MOST).contains(&heat.columns.len()));
        assert!(heat.columns.windows(2).all(|w| w[0].0 < w[1].0) && heat.columns[0].0 == 1);
        assert!(heat.columns.last().unwrap().0 > 4950);
        heat.take_back(100);
        assert!(heat.columns.last().unwrap().0 <= 100);
    }
}
