//! Contiguous streams of the training part, for truncated backpropagation through time.

use super::batch::{Batch, Cursor};
use super::tokens::Tokens;
use crate::error::{Error, Result};
use crate::rng::Rng;

/// The tokens, cut into lanes of equal length that run side by side: row `i` of each batch continues row `i` of the
/// batch before, so a recurrent model carries its state over. When the lanes end, [`Batch::reset`] says that the next
/// batch begins anew.
///
/// Every pass begins at a random offset below the length of a batch, as far as the lanes' remainder allows, so that
/// the cuts in time fall elsewhere.
#[derive(Clone, Debug)]
pub struct Lanes {
    tokens: Tokens,
    n_lanes: usize,
    seq_len: usize,
    seed: u64,
    lane_len: u64, // targets in a lane
    cursor: Cursor,
}

impl Lanes {
    /// A loader at the beginning of its first pass.
    ///
    /// # Errors
    /// Too few tokens for one batch.
    ///
    /// # Panics
    /// If `n_lanes` or `seq_len` is 0.
    pub fn new(tokens: Tokens, n_lanes: usize, seq_len: usize, seed: u64) -> Result<Lanes> {
        assert!(n_lanes > 0 && seq_len > 0, "{n_lanes} lanes of {seq_len} tokens");
        let lane_len = tokens.len().saturating_sub(1) / n_lanes as u64;
        if lane_len < seq_len as u64 {
            return Err(Error::Data(format!(
                "the training part has {} tokens, {n_lanes} lanes of {seq_len} need {}: give more text, a smaller \
                 batch or a smaller context",
                tokens.len(),
                n_lanes as u64 * seq_len as u64 + 1
            )));
        }
        Ok(Lanes { tokens, n_lanes, seq_len, seed, lane_len, cursor: Cursor::default() })
    }

    /// Lanes side by side.
    pub(super) fn n_lanes(&self) -> usize {
        self.n_lanes
    }

    /// Batches in one pass.
    pub fn batches_per_epoch(&self) -> u64 {
        self.lane_len / self.seq_len as u64
    }

    /// Fills `batch` with the next `seq_len` tokens of every lane.
    ///
    /// # Errors
    /// A damaged token cache.
    pub fn next_batch(&mut self, batch: &mut Batch) -> Result<()> {
        batch.clear(self.seq_len);
        batch.reset = self.push_next(batch)?;
        Ok(())
    }

    /// Adds the next tokens of every lane to a batch; true if the lanes begin anew.
    pub(super) fn push_next(&mut self, batch: &mut Batch) -> Result<bool> {
        if self.cursor.position == self.batches_per_epoch() {
            self.cursor = Cursor { epoch: self.cursor.epoch + 1, position: 0 };
        }
        let slack = self.lane_len % self.seq_len as u64;
        let offset = Rng::stream(self.seed, self.cursor.epoch).next_u64() % (slack + 1);
        let at = offset + self.cursor.position * self.seq_len as u64;
        let starts = (0..self.n_lanes as u64).map(|lane| lane * self.lane_len + at);
        batch.push(&self.tokens, starts)?;
        self.cursor.position += 1;
        Ok(self.cursor.position == 1)
    }

    /// Where the loader stands.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Goes on from a cursor of a loader with the same tokens and settings.
    ///
    /// # Errors
    /// A position beyond the batches of a pass: the text, the batch or the context is another.
    pub fn seek(&mut self, cursor: Cursor) -> Result<()> {
        if cursor.position > self.batches_per_epoch() {
            return Err(Error::Run(format!(
                "the checkpoint stands at batch {} of {}: it belongs to another text, batch or context",
                cursor.position,
                self.batches_per_epoch()
            )));
        }
        self.cursor = cursor;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(n: u32, n_lanes: usize, seq_len: usize) -> Lanes {
        Lanes::new(Tokens::from_vec((0..n).collect()), n_lanes, seq_len, 5).unwrap()
    }

    fn batch(lanes: &mut Lanes) -> Batch {
        let mut batch = Batch::new();
        lanes.next_batch(&mut batch).unwrap();
        batch
    }

    #[test]
    fn rows_continue_until_the_lanes_end() {
        let mut lanes = lanes(101, 4, 8); // lanes of 25: 3 batches and 1 to spare
        assert_eq!(lanes.batches_per_epoch(), 3);
        let mut offsets = [0; 2];
        for _ in 0..40 {
            let first = batch(&mut lanes);
            assert!(first.reset);
            offsets[first.inputs[0] as usize] += 1;
            let mut before = first;
            for _ in 1..3 {
                let next = batch(&mut lanes);
                assert!(!next.reset && next.rows == 4);
                for row in 0..4 {
                    assert_eq!(next.inputs[row * 8], before.targets[row * 8 + 7]);
                }
                before = next;
            }
            let ends: Vec<u32> = before.targets.iter().skip(7).step_by(8).copied().collect();
            assert_eq!(ends, [0, 1, 2, 3].map(|lane| lane * 25 + before.inputs[0] - 16 + 24));
        }
        assert!(offsets[0] > 5 && offsets[1] > 5, "{offsets:?}");
        assert_eq!(lanes.cursor().epoch, 39);
    }

    #[test]
    fn one_lane_is_the_text_in_order() {
        let mut lanes = lanes(31, 1, 10);
        let text: Vec<u32> = (0..3).flat_map(|_| batch(&mut lanes).inputs).collect();
        assert_eq!(text, (0..30).collect::<Vec<_>>());
        assert!(batch(&mut lanes).reset);
    }

    #[test]
    fn a_cursor_goes_on_where_it_stood() {
        let mut a = lanes(5000, 3, 11);
        let mut b = lanes(5000, 3, 11);
        for _ in 0..400 {
            assert_eq!(batch(&mut a), batch(&mut b));
            b = lanes(5000, 3, 11);
            b.seek(a.cursor()).unwrap();
        }
        assert!(matches!(a.seek(Cursor { epoch: 0, position: 999 }), Err(Error::Run(_))));
    }

    #[test]
    fn too_short_a_text_is_refused() {
        assert_eq!(lanes(33, 4, 8).batches_per_epoch(), 1);
        let message = Lanes::new(Tokens::from_vec(vec![0; 32]), 4, 8, 0).unwrap_err().to_string();
        assert!(message.starts_with("the training part has 32 tokens, 4 lanes of 8 need 33"), "{message}");
        assert!(Lanes::new(Tokens::from_vec(Vec::new()), 1, 1, 0).is_err());
    }
}
