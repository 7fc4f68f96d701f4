//! Batches of pairs, each filled up to its own longest source and target.

use super::batch::{Batch, Cursor};
use super::pairs::Pairs;
use super::permutation::Permutation;
use crate::error::{Error, Result};
use crate::ops::cross_entropy::IGNORE;
use crate::rng::Rng;
use crate::tokenizer::Marks;

/// Lengths are rounded up to a multiple of this, so that few shapes occur and buffers are used again.
const STEP: usize = 8;

/// Every pass gives all pairs in a random order of its own.
#[derive(Clone, Debug)]
pub struct PairBatches {
    pairs: Pairs,
    marks: Marks,
    context: usize,
    seed: u64,
    cursor: Cursor,
    order: (u64, Permutation), // of the pass of this number
}

impl PairBatches {
    /// A loader at the beginning of its first pass. No side is longer than `context`; the vocabulary has `vocab_size` tokens.
    ///
    /// # Errors
    /// No pairs.
    pub fn new(pairs: Pairs, vocab_size: usize, context: usize, seed: u64) -> Result<PairBatches> {
        if pairs.is_empty() {
            return Err(Error::Data("there are no pairs to train on".into()));
        }
        let order = (0, order(pairs.len(), seed, 0));
        Ok(PairBatches {
            pairs,
            marks: Marks::of(vocab_size),
            context,
            seed,
            cursor: Cursor::default(),
            order,
        })
    }

    /// Pairs in one pass.
    pub fn pairs_per_epoch(&self) -> u64 {
        self.pairs.len()
    }

    /// Fills `batch` with the next `rows` pairs; after the last of a pass comes the first of the next.
    ///
    /// # Errors
    /// A damaged token cache.
    pub fn next_batch(&mut self, rows: usize, batch: &mut Batch) -> Result<()> {
        let chosen: Vec<u64> = (0..rows).map(|_| self.next_pair()).collect();
        fill(batch, &self.pairs, &chosen, self.marks, self.context)
    }

    fn next_pair(&mut self) -> u64 {
        if self.cursor.position == self.pairs.len() {
            self.cursor = Cursor { epoch: self.cursor.epoch + 1, position: 0 };
        }
        if self.order.0 != self.cursor.epoch {
            self.order = (self.cursor.epoch, order(self.pairs.len(), self.seed, self.cursor.epoch));
        }
        self.cursor.position += 1;
        self.order.1.at(self.cursor.position - 1)
    }

    /// Where the loader stands.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Goes on from a cursor of a loader with the same pairs.
    ///
    /// # Errors
    /// A position beyond the pairs: the text is another.
    pub fn seek(&mut self, cursor: Cursor) -> Result<()> {
        if cursor.position > self.pairs.len() {
            return Err(Error::Run(format!(
                "the checkpoint stands at pair {} of {}: it belongs to another text",
                cursor.position,
                self.pairs.len()
            )));
        }
        self.cursor = cursor;
        Ok(())
    }
}

fn order(n: u64, seed: u64, epoch: u64) -> Permutation {
    let mut rng = Rng::stream(seed, epoch);
    Permutation::new(n, || rng.next_u64())
}

/// Fills `batch` with the pairs `chosen`: sources, targets behind their begin mark, and what should follow, up to the end mark.
pub(super) fn fill(
    batch: &mut Batch,
    pairs: &Pairs,
    chosen: &[u64],
    marks: Marks,
    context: usize,
) -> Result<()> {
    let longest = |side: fn((usize, usize)) -> usize| {
        let most = chosen.iter().map(|&i| side(pairs.lens(i))).max().unwrap_or(1);
        most.next_multiple_of(STEP).min(context.max(most))
    };
    let (source_len, len) = (longest(|lens| lens.0), longest(|lens| lens.1 + 1));
    (batch.rows, batch.seq_len, batch.source_len, batch.reset) = (chosen.len(), len, source_len, true);
    batch.inputs.clear();
    batch.targets.clear();
    batch.sources.clear();
    batch.source_lens.clear();
    for &i in chosen {
        let (n_source, n_target) = pairs.lens(i);
        let (row, source_row) = (batch.inputs.len(), batch.sources.len());
        batch.sources.resize(source_row + source_len, 0);
        batch.inputs.resize(row + len, 0);
        batch.inputs[row] = marks.begin;
        let target = &mut batch.inputs[row + 1..][..n_target];
        pairs.read(i, &mut batch.sources[source_row..][..n_source], target)?;
        batch.targets.extend_from_slice(target);
        batch.targets.push(marks.end);
        batch.targets.resize(row + len, IGNORE);
        batch.source_lens.push(n_source as u32);
    }
    Ok(())
}

/// Every pair once, in order.
#[derive(Clone, Debug)]
pub struct PairsInOrder {
    pairs: Pairs,
    marks: Marks,
    context: usize,
    rows: usize,
    next: u64,
}

impl PairsInOrder {
    /// Batches of at most `rows` pairs, with sides up to `context` long, by a vocabulary of `vocab_size` tokens.
    pub fn new(pairs: Pairs, vocab_size: usize, context: usize, rows: usize) -> PairsInOrder {
        PairsInOrder { pairs, marks: Marks::of(vocab_size), context, rows, next: 0 }
    }

    /// Fills `batch` with the next pairs; false at the end.
    ///
    /// # Errors
    /// A damaged token cache.
    pub fn next_batch(&mut self, batch: &mut Batch) -> Result<bool> {
        let end = self.pairs.len().min(self.next + self.rows as u64);
        let chosen: Vec<u64> = (self.next..end).collect();
        self.next = end;
        if chosen.is_empty() {
            return Ok(false);
        }
        fill(batch, &self.pairs, &chosen, self.marks, self.context)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Tokens;

    /// Pairs of the sources 0, 1, … of one to three tokens with their first token as target.
    fn pairs(n: u32) -> Pairs {
        let stream = (0..n).flat_map(|i| std::iter::repeat_n(i, 1 + i as usize % 3).chain([100, i, 101]));
        Pairs::find(&Tokens::from_vec(stream.collect()), 102).unwrap()
    }

    #[test]
    fn sides_are_filled_up_to_the_longest() {
        let mut batch = Batch::new();
        fill(&mut batch, &pairs(3), &[2, 0], Marks::of(102), 3).unwrap();
        assert_eq!((batch.rows, batch.seq_len, batch.source_len), (2, 3, 3));
        assert_eq!(batch.sources, [2, 2, 2, 0, 0, 0]);
        assert_eq!(batch.source_lens, [3, 1]);
        assert_eq!(batch.inputs, [100, 2, 0, 100, 0, 0]);
        assert_eq!(batch.targets, [2, 101, IGNORE, 0, 101, IGNORE]);
    }

    #[test]
    fn every_pass_gives_every_pair_once_and_goes_on_where_it_was() {
        let make = || PairBatches::new(pairs(50), 102, 3, 7).unwrap();
        let (mut one, mut batch, mut passes) = (make(), Batch::new(), Vec::new());
        for _ in 0..3 {
            let mut seen = Vec::new();
            for _ in 0..10 {
                one.next_batch(5, &mut batch).unwrap();
                seen.extend(batch.targets.chunks(batch.seq_len).map(|row| row[0]));
            }
            passes.push(seen.clone());
            seen.sort_unstable();
            assert_eq!(seen, (0..50).collect::<Vec<_>>());
        }
        assert_ne!(passes[0], passes[1]);
        let mut two = make();
        two.seek(one.cursor()).unwrap();
        let mut other = Batch::new();
        one.next_batch(7, &mut batch).unwrap();
        two.next_batch(7, &mut other).unwrap();
        assert_eq!(batch, other);
        let mut all = PairsInOrder::new(pairs(50), 102, 3, 8);
        let mut n = 0;
        while all.next_batch(&mut batch).unwrap() {
            n += batch.rows;
        }
        assert_eq!(n, 50);
    }
}
