//! Windows of the training part, in random order.

use super::batch::{Batch, Cursor};
use super::permutation::Permutation;
use super::tokens::Tokens;
use crate::error::{Error, Result};
use crate::rng::Rng;

/// Every pass cuts the tokens into windows that do not overlap and gives them in a random order of its own.
///
/// With `shift`, each pass also begins at a random offset, so that windows begin elsewhere each time. Without, every
/// pass has the same windows: with as many rows as [`windows_per_epoch`](Self::windows_per_epoch) it is full-batch
/// descent on one fixed function; with one row, stochastic descent; in between, mini-batch descent.
#[derive(Clone, Debug)]
pub struct Windows {
    tokens: Tokens,
    seq_len: usize,
    seed: u64,
    shift: bool,
    n_windows: u64,
    cursor: Cursor,
    epoch: Epoch,
}

/// What is random about one pass.
#[derive(Clone, Debug)]
struct Epoch {
    index: u64,
    offset: u64,
    order: Permutation,
}

impl Windows {
    /// A loader at the beginning of its first pass.
    ///
    /// # Errors
    /// Fewer tokens than one window and its last target.
    ///
    /// # Panics
    /// If `seq_len` is 0.
    pub fn new(tokens: Tokens, seq_len: usize, seed: u64, shift: bool) -> Result<Windows> {
        assert!(seq_len > 0, "windows of no tokens");
        let (n, len) = (tokens.len(), seq_len as u64);
        if n < len + 1 {
            return Err(Error::Data(format!(
                "the training part has {n} tokens, one window needs {}: give more text or a smaller context",
                len + 1
            )));
        }
        // The last token is only a target. With a shift of up to len - 1, one window less fits, unless it is the only one.
        let shift = shift && n >= 2 * len;
        let n_windows = if shift { (n - len) / len } else { (n - 1) / len };
        let epoch = Epoch::new(0, seed, shift.then_some(len), n_windows);
        Ok(Windows { tokens, seq_len, seed, shift, n_windows, cursor: Cursor::default(), epoch })
    }

    /// Windows in one pass.
    pub fn windows_per_epoch(&self) -> u64 {
        self.n_windows
    }

    /// Fills `batch` with the next `rows` windows; after the last of a pass comes the first of the next.
    ///
    /// # Errors
    /// A damaged token cache.
    pub fn next_batch(&mut self, rows: usize, batch: &mut Batch) -> Result<()> {
        batch.clear(self.seq_len);
        batch.reset = true;
        (0..rows).try_for_each(|_| self.push_next(batch))
    }

    /// Adds the next window to a batch.
    pub(super) fn push_next(&mut self, batch: &mut Batch) -> Result<()> {
        let start = self.next_start();
        batch.push(&self.tokens, std::iter::once(start))
    }

    fn next_start(&mut self) -> u64 {
        if self.cursor.position == self.n_windows {
            self.cursor = Cursor { epoch: self.cursor.epoch + 1, position: 0 };
        }
        if self.epoch.index != self.cursor.epoch {
            let shift = self.shift.then_some(self.seq_len as u64);
            self.epoch = Epoch::new(self.cursor.epoch, self.seed, shift, self.n_windows);
        }
        let window = self.epoch.order.at(self.cursor.position);
        self.cursor.position += 1;
        self.epoch.offset + window * self.seq_len as u64
    }

    /// Windows that were given since the beginning.
    pub(super) fn given(&self) -> u64 {
        self.cursor.epoch * self.n_windows + self.cursor.position
    }

    /// Where the loader stands.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Goes on from a cursor of a loader with the same tokens and settings.
    ///
    /// # Errors
    /// A position beyond the windows of a pass: the text or the window is another.
    pub fn seek(&mut self, cursor: Cursor) -> Result<()> {
        if cursor.position > self.n_windows {
            return Err(Error::Run(format!(
                "the checkpoint stands at window {} of {}: it belongs to another text or context",
                cursor.position, self.n_windows
            )));
        }
        self.cursor = cursor;
        Ok(())
    }
}

impl Epoch {
    fn new(index: u64, seed: u64, shift: Option<u64>, n_windows: u64) -> Epoch {
        let mut rng = Rng::stream(seed, index);
        let offset = shift.map_or(0, |len| rng.next_u64() % len); // len is far below 2^64: no bias to speak of
        Epoch { index, offset, order: Permutation::new(n_windows, || rng.next_u64()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(n: u32, seq_len: usize, shift: bool) -> Windows {
        Windows::new(Tokens::from_vec((0..n).collect()), seq_len, 7, shift).unwrap()
    }

    fn batch(windows: &mut Windows, rows: usize) -> Batch {
        let mut batch = Batch::new();
        windows.next_batch(rows, &mut batch).unwrap();
        batch
    }

    #[test]
    fn targets_are_the_inputs_one_later() {
        let batch = batch(&mut windows(100, 8, true), 5);
        assert_eq!((batch.rows, batch.seq_len, batch.n_targets()), (5, 8, 40));
        for (row, target) in batch.inputs.chunks(8).zip(batch.targets.chunks(8)) {
            for i in 0..8 {
                assert_eq!((row[i], target[i]), (row[0] + i as u32, row[0] + i as u32 + 1));
            }
        }
    }

    #[test]
    fn a_pass_gives_every_window_once_in_an_order_of_its_own() {
        let mut windows = windows(101, 10, false);
        assert_eq!(windows.windows_per_epoch(), 10);
        let pass = |windows: &mut Windows| -> Vec<u32> {
            batch(windows, 10).inputs.iter().step_by(10).copied().collect()
        };
        let (first, second) = (pass(&mut windows), pass(&mut windows));
        assert_ne!(first, second);
        for mut starts in [first, second] {
            starts.sort_unstable();
            assert_eq!(starts, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
        }
    }

    #[test]
    fn shifted_passes_reach_every_target() {
        let mut windows = windows(57, 10, true);
        assert_eq!(windows.windows_per_epoch(), 4);
        let mut seen = [false; 57];
        for _ in 0..200 {
            batch(&mut windows, 4).targets.iter().for_each(|&t| seen[t as usize] = true);
        }
        assert!(seen[1..50].iter().all(|&s| s)); // 9 + 4 * 10 is the last target of the last shift
    }

    #[test]
    fn the_shortest_texts_have_a_window() {
        for (n, shift) in [(11, false), (11, true), (20, true), (21, true)] {
            let mut windows = windows(n, 10, shift);
            assert_eq!(windows.windows_per_epoch(), if n == 21 && !shift { 2 } else { 1 });
            batch(&mut windows, 30);
        }
        let message = Windows::new(Tokens::from_vec(vec![0; 10]), 10, 0, true).unwrap_err().to_string();
        assert!(message.starts_with("the training part has 10 tokens, one window needs 11"), "{message}");
    }

    #[test]
    fn same_seed_same_batches_and_a_cursor_goes_on_where_it_stood() {
        let mut a = windows(1000, 7, true);
        let mut b = windows(1000, 7, true);
        for _ in 0..50 {
            assert_eq!(batch(&mut a, 12), batch(&mut b, 12));
            let saved = serde_json::to_string(&a.cursor()).unwrap();
            let mut resumed = windows(1000, 7, true);
            resumed.seek(serde_json::from_str(&saved).unwrap()).unwrap();
            b = resumed;
        }
        assert!(a.cursor().epoch > 3);
        let mut other = Windows::new(Tokens::from_vec((0..1000).collect()), 7, 8, true).unwrap();
        assert_ne!(batch(&mut windows(1000, 7, true), 12), batch(&mut other, 12));
        let beyond = Cursor { epoch: 0, position: 1000 };
        assert!(matches!(a.seek(beyond), Err(Error::Run(_))));
    }
}
