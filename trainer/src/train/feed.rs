//! Batches for one update after the other, whatever the family and the kind of descent.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::data::{
    Batch, Cursor, LaneMix, Lanes, PairBatches, Pairs, PairsInOrder, Sequential, Tokens, WindowMix, Windows,
};
use crate::error::{Error, Result};
use crate::model;
use crate::ops::cross_entropy::IGNORE;

/// Windows that go through the model together when the batch is the whole text.
const FULL_ROWS: usize = 32;

/// How many windows make an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// The whole training part: full-batch descent.
    Full,
    /// So many windows: mini-batch descent, and with one window stochastic descent.
    Windows(usize),
}

/// Where a feed stands in its text, or in each of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Place {
    /// In its only text.
    One(Cursor),
    /// In each text of a mixture.
    Several(Vec<Cursor>),
}

/// Gives the batches of a run.
pub struct Feed {
    loader: Loader,
    rows: usize,
    seq_len: usize,
    /// Batches per update, as far as the kind of descent decides.
    per_update: u64,
    batch: Batch,
    /// Rows of the batch that begin a text.
    fresh: Vec<Range<usize>>,
}

enum Loader {
    /// Random windows, each with a fresh state.
    Windows(WindowMix),
    /// Streams whose state is carried on.
    Lanes(LaneMix),
    /// Pairs for an encoder-decoder.
    Pairs(PairBatches),
}

impl Feed {
    /// Batches of texts, each of which has the share beside it (they add up to 1): streams for a purely recurrent model (`carries`), else
    /// windows.
    ///
    /// # Errors
    /// Fewer tokens than a batch needs; full-batch descent on several texts.
    pub fn new(
        texts: Vec<(Tokens, f64)>,
        seq_len: usize,
        size: BatchSize,
        carries: bool,
        seed: u64,
    ) -> Result<Self> {
        refuse_full_mixture(texts.len(), size)?;
        let n_tokens: u64 = texts.iter().map(|(tokens, _)| tokens.len()).sum();
        let (loader, rows, per_update) = if carries {
            let most = (n_tokens.saturating_sub(1) / seq_len as u64).clamp(1, FULL_ROWS as u64) as usize;
            let rows = if let BatchSize::Windows(n) = size { n } else { most };
            let lanes = LaneMix::new(texts, rows, seq_len, seed)?;
            let pass = lanes.only().map_or(1, Lanes::batches_per_epoch);
            (Loader::Lanes(lanes), rows, if size == BatchSize::Full { pass } else { 1 })
        } else {
            let windows = WindowMix::new(texts, seq_len, seed, size != BatchSize::Full)?;
            let pass = windows.only().map_or(1, Windows::windows_per_epoch);
            match size {
                BatchSize::Windows(n) => (Loader::Windows(windows), n, 1),
                BatchSize::Full => {
                    let rows = pass.min(FULL_ROWS as u64) as usize;
                    (Loader::Windows(windows), rows, pass.div_ceil(rows as u64))
                }
            }
        };
        Ok(Feed { loader, rows, seq_len, per_update, batch: Batch::new(), fresh: Vec::new() })
    }

    /// Batches of the pairs in `tokens`, with sides of up to `context` tokens of a vocabulary of `vocab_size`.
    ///
    /// # Errors
    /// No pairs, or tokens that are none.
    pub fn of_pairs(
        tokens: &Tokens,
        vocab_size: usize,
        context: usize,
        size: BatchSize,
        seed: u64,
    ) -> Result<Self> {
        let pairs = PairBatches::new(Pairs::find(tokens, vocab_size)?, vocab_size, context, seed)?;
        let pass = pairs.pairs_per_epoch();
        let (rows, per_update) = match size {
            BatchSize::Windows(n) => (n, 1),
            BatchSize::Full => {
                let rows = pass.min(FULL_ROWS as u64);
                (rows as usize, pass.div_ceil(rows))
            }
        };
        let (batch, fresh) = (Batch::new(), Vec::new());
        Ok(Feed { loader: Loader::Pairs(pairs), rows, seq_len: context, per_update, batch, fresh })
    }

    /// Windows of every batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Batches that make one update: more than 1 in full-batch descent.
    pub fn per_update(&self) -> u64 {
        self.per_update
    }

    /// The next batch, and the rows of it before which a recurrent model forgets its state.
    ///
    /// # Errors
    /// A damaged token cache.
    pub fn next_batch(&mut self) -> Result<(model::Batch<'_>, &[Range<usize>])> {
        match &mut self.loader {
            Loader::Lanes(lanes) => lanes.next_batch(&mut self.batch, &mut self.fresh)?,
            Loader::Windows(windows) => {
                let left = windows.only().map_or(0, |w| w.windows_per_epoch() - w.cursor().position);
                windows.next_batch(short(self.per_update, self.rows, left), &mut self.batch)?;
                self.fresh.clear();
                self.fresh.push(0..self.rows);
            }
            Loader::Pairs(pairs) => {
                let left = pairs.pairs_per_epoch() - pairs.cursor().position;
                pairs.next_batch(short(self.per_update, self.rows, left), &mut self.batch)?;
                self.seq_len = self.batch.seq_len;
                self.fresh.clear();
                self.fresh.push(0..self.rows);
            }
        }
        pad(&mut self.batch, self.rows, self.seq_len);
        Ok((view(&self.batch), &self.fresh))
    }

    /// Lanes of each text, where streams are drawn from several.
    pub fn lanes(&self) -> Option<Vec<usize>> {
        match &self.loader {
            Loader::Lanes(lanes) if lanes.only().is_none() => Some(lanes.lanes()),
            _ => None,
        }
    }

    /// Where the feed stands, for a checkpoint.
    pub fn place(&self) -> Place {
        let cursors = match &self.loader {
            Loader::Windows(windows) => windows.cursors(),
            Loader::Lanes(lanes) => lanes.cursors(),
            Loader::Pairs(pairs) => vec![pairs.cursor()],
        };
        match cursors[..] {
            [only] => Place::One(only),
            _ => Place::Several(cursors),
        }
    }

    /// Goes on from a saved place.
    ///
    /// # Errors
    /// A place of another text.
    pub fn seek(&mut self, place: &Place) -> Result<()> {
        let cursors = match place {
            Place::One(cursor) => std::slice::from_ref(cursor),
            Place::Several(cursors) => cursors,
        };
        match &mut self.loader {
            Loader::Windows(windows) => windows.seek(cursors),
            Loader::Lanes(lanes) => lanes.seek(cursors),
            Loader::Pairs(pairs) => match cursors {
                [only] => pairs.seek(*only),
                _ => Err(Error::Run(format!(
                    "the checkpoint has {} places among pairs, expected one: it is damaged",
                    cursors.len()
                ))),
            },
        }
    }
}

/// Rows of the next batch, of which there are `left` in this pass: in full-batch descent none may count twice, so that the last
/// batch of a pass may be short.
fn short(per_update: u64, rows: usize, left: u64) -> usize {
    if per_update == 1 || left == 0 { rows } else { rows.min(left as usize) }
}

/// Every token of a part once, in batches of exactly `rows` windows: what is missing is ignored.
pub struct EvalFeed {
    inner: Inner,
    rows: usize,
    batch: Batch,
}

enum Inner {
    Text(Sequential),
    Pairs(PairsInOrder),
}

impl EvalFeed {
    /// Batches of the pairs in `tokens`, with sides of up to `context` tokens of a vocabulary of `vocab_size`.
    ///
    /// # Errors
    /// Tokens that are no pairs.
    pub fn of_pairs(tokens: &Tokens, vocab_size: usize, context: usize, rows: usize) -> Result<Self> {
        let pairs = PairsInOrder::new(Pairs::find(tokens, vocab_size)?, vocab_size, context, rows);
        Ok(EvalFeed { inner: Inner::Pairs(pairs), rows, batch: Batch::new() })
    }

    /// Batches of `tokens`: streams for a purely recurrent model (`carries`), else windows.
    ///
    /// # Errors
    /// Fewer than 2 tokens.
    pub fn new(tokens: Tokens, seq_len: usize, rows: usize, carries: bool) -> Result<Self> {
        let inner = if carries {
            Sequential::lanes(tokens, seq_len, rows)?
        } else {
            Sequential::windows(tokens, seq_len, rows)?
        };
        Ok(EvalFeed { inner: Inner::Text(inner), rows, batch: Batch::new() })
    }

    /// The next batch and whether the model forgets its state before it; `None` at the end.
    ///
    /// # Errors
    /// A damaged token cache.
    pub fn next_batch(&mut self) -> Result<Option<(model::Batch<'_>, bool)>> {
        let any = match &mut self.inner {
            Inner::Text(text) => text.next_batch(&mut self.batch)?,
            Inner::Pairs(pairs) => pairs.next_batch(&mut self.batch)?,
        };
        if !any {
            return Ok(None);
        }
        let seq_len = self.batch.seq_len;
        pad(&mut self.batch, self.rows, seq_len);
        Ok(Some((view(&self.batch), self.batch.reset)))
    }
}

/// Weights mean nothing where every window is taken.
///
/// # Errors
/// Full-batch descent on several texts by weight.
pub fn refuse_full_mixture(texts: usize, size: BatchSize) -> Result<()> {
    if texts > 1 && size == BatchSize::Full {
        let problem =
            "cannot be with full-batch descent, which takes every window once: choose a batch-size".into();
        return Err(Error::Setting { key: "mix", problem });
    }
    Ok(())
}

/// Fills a batch up to `rows` rows that count for nothing.
fn pad(batch: &mut Batch, rows: usize, seq_len: usize) {
    batch.inputs.resize(rows * seq_len, 0);
    batch.targets.resize(rows * seq_len, IGNORE);
    if batch.source_len > 0 {
        batch.sources.resize(rows * batch.source_len, 0);
        batch.source_lens.resize(rows, 1);
    }
    batch.rows = rows;
}

fn view(batch: &Batch) -> model::Batch<'_> {
    let source = model::Source { tokens: &batch.sources, lens: &batch.source_lens, len: batch.source_len };
    model::Batch {
        tokens: &batch.inputs,
        targets: &batch.targets,
        batch: batch.rows,
        len: batch.seq_len,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(n: u32) -> Tokens {
        Tokens::from_vec((0..n).collect())
    }

    fn texts(n: u32) -> Vec<(Tokens, f64)> {
        vec![(tokens(n), 1.0)]
    }

    /// Targets of one update, sorted.
    fn update(feed: &mut Feed) -> Vec<u32> {
        let mut seen = Vec::new();
        for _ in 0..feed.per_update() {
            let (batch, _) = feed.next_batch().unwrap();
            seen.extend(batch.targets.iter().filter(|t| **t != IGNORE));
        }
        seen.sort_unstable();
        seen
    }

    #[test]
    fn a_full_batch_has_every_window_once_in_every_update() {
        let mut feed = Feed::new(texts(403), 4, BatchSize::Full, false, 1).unwrap();
        assert!(feed.per_update() > 1 && !100u64.is_multiple_of(feed.rows() as u64));
        let all: Vec<u32> = (1..=400).collect();
        assert_eq!(update(&mut feed), all);
        assert_eq!(update(&mut feed), all);
    }

    #[test]
    fn evaluation_pads_to_whole_batches_and_sees_every_target_once() {
        for carries in [false, true] {
            let mut feed = EvalFeed::new(tokens(150), 8, 4, carries).unwrap();
            let mut seen = Vec::new();
            while let Some((batch, _)) = feed.next_batch().unwrap() {
                assert_eq!(batch.batch, 4);
                seen.extend(batch.targets.iter().copied().filter(|t| *t != IGNORE));
            }
            seen.sort_unstable();
            assert_eq!(seen, (1..150).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_feed_goes_on_where_it_was() {
        for carries in [false, true] {
            let make = || Feed::new(texts(500), 8, BatchSize::Windows(3), carries, 7).unwrap();
            let mut one = make();
            for _ in 0..29 {
                one.next_batch().unwrap();
            }
            let mut two = make();
            two.seek(&one.place()).unwrap();
            for _ in 0..29 {
                assert_eq!(one.next_batch().unwrap().0.targets, two.next_batch().unwrap().0.targets);
            }
        }
    }
}
