//! Every token of a part once, in order: for evaluation.

use super::batch::Batch;
use super::tokens::Tokens;
use crate::error::{Error, Result};

/// Batches that together have every token but the first as a target, exactly once. Their shapes differ: what does not
/// fill whole batches comes in smaller ones at the end.
#[derive(Clone, Debug)]
pub struct Sequential {
    tokens: Tokens,
    seq_len: usize,
    rows: usize,
    lanes: bool,
    next: u64, // windows: the next target's input; lanes: the next position in every lane
    lane_len: u64,
    rest_done: bool,
}

impl Sequential {
    /// Windows of `seq_len` side by side, `rows` at a time, each with a fresh state.
    ///
    /// # Errors
    /// Fewer than 2 tokens: nothing to predict.
    ///
    /// # Panics
    /// If `seq_len` or `rows` is 0.
    pub fn windows(tokens: Tokens, seq_len: usize, rows: usize) -> Result<Sequential> {
        Sequential::new(tokens, seq_len, rows, false)
    }

    /// `n_lanes` long streams, for models that carry state: [`Batch::reset`] is set at their beginning only, and for
    /// the few tokens left over, which come last in one row.
    ///
    /// # Errors
    /// Fewer than 2 tokens: nothing to predict.
    ///
    /// # Panics
    /// If `seq_len` or `n_lanes` is 0.
    pub fn lanes(tokens: Tokens, seq_len: usize, n_lanes: usize) -> Result<Sequential> {
        Sequential::new(tokens, seq_len, n_lanes, true)
    }

    fn new(tokens: Tokens, seq_len: usize, rows: usize, lanes: bool) -> Result<Sequential> {
        assert!(seq_len > 0 && rows > 0, "{rows} rows of {seq_len} tokens");
        if tokens.len() < 2 {
            return Err(Error::Data(format!(
                "{} tokens to evaluate on, expected at least 2: give more text or a larger validation fraction",
                tokens.len()
            )));
        }
        let lane_len = (tokens.len() - 1) / rows as u64;
        Ok(Sequential { tokens, seq_len, rows, lanes, next: 0, lane_len, rest_done: false })
    }

    /// Number of targets of all batches together.
    pub fn n_targets(&self) -> u64 {
        self.tokens.len() - 1
    }

    /// Fills `batch` with the next rows; false, and the batch is as it was, if there are none left.
    ///
    /// # Errors
    /// A damaged token cache.
    pub fn next_batch(&mut self, batch: &mut Batch) -> Result<bool> {
        if self.lanes { self.next_of_lanes(batch) } else { self.next_windows(batch) }
    }

    fn next_windows(&mut self, batch: &mut Batch) -> Result<bool> {
        let left = self.n_targets() - self.next;
        if left == 0 {
            return Ok(false);
        }
        let len = (self.seq_len as u64).min(left);
        let rows = (left / len).min(self.rows as u64);
        let first = self.next;
        batch.fill(&self.tokens, len as usize, (0..rows).map(|row| first + row * len), true)?;
        self.next += rows * len;
        Ok(true)
    }

    fn next_of_lanes(&mut self, batch: &mut Batch) -> Result<bool> {
        let (rows, lane_len, at) = (self.rows as u64, self.lane_len, self.next);
        if at < lane_len {
            let len = (self.seq_len as u64).min(lane_len - at);
            let starts = (0..rows).map(|lane| lane * lane_len + at);
            batch.fill(&self.tokens, len as usize, starts, at == 0)?;
            self.next += len;
            return Ok(true);
        }
        let rest = self.n_targets() - rows * lane_len; // less than a lane for each row
        if rest == 0 || self.rest_done {
            return Ok(false);
        }
        batch.fill(&self.tokens, rest as usize, std::iter::once(rows * lane_len), true)?;
        self.rest_done = true;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(mut loader: Sequential) -> Vec<Batch> {
        let mut all = Vec::new();
        let mut batch = Batch::new();
        while loader.next_batch(&mut batch).unwrap() {
            all.push(batch.clone());
        }
        all
    }

    #[test]
    fn every_target_comes_once() {
        for n in 2..80u32 {
            for (seq_len, rows) in [(1, 1), (7, 1), (7, 3), (16, 4), (100, 2), (3, 90)] {
                let tokens = Tokens::from_vec((0..n).collect());
                for loader in [
                    Sequential::windows(tokens.clone(), seq_len, rows).unwrap(),
                    Sequential::lanes(tokens.clone(), seq_len, rows).unwrap(),
                ] {
                    assert_eq!(loader.n_targets(), u64::from(n) - 1);
                    let mut targets = Vec::new();
                    for batch in batches(loader) {
                        assert_eq!(batch.n_targets(), batch.rows * batch.seq_len);
                        assert!(batch.rows <= rows && batch.rows > 0);
                        assert!(batch.inputs.iter().zip(&batch.targets).all(|(i, t)| i + 1 == *t));
                        targets.extend(batch.targets);
                    }
                    targets.sort_unstable();
                    assert_eq!(targets, (1..n).collect::<Vec<_>>(), "{n} {seq_len} {rows}");
                }
            }
        }
    }

    #[test]
    fn lanes_carry_their_state() {
        let tokens = Tokens::from_vec((0..30).collect());
        let all = batches(Sequential::lanes(tokens, 6, 2).unwrap());
        let shapes: Vec<_> = all.iter().map(|b| (b.rows, b.seq_len, b.reset)).collect();
        assert_eq!(shapes, [(2, 6, true), (2, 6, false), (2, 2, false), (1, 1, true)]);
        assert_eq!(all[1].inputs[6], all[0].targets[11]);
    }

    #[test]
    fn nothing_to_predict_is_an_error() {
        for n in 0..2 {
            let tokens = Tokens::from_vec(vec![0; n]);
            assert!(matches!(Sequential::windows(tokens, 4, 4), Err(Error::Data(_))));
        }
    }
}
