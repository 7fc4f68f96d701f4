//! Words that are tokens as they are (`ignore_merges`): from bytes to id.

use super::cache::hash;
use siskin_format::memory::{self, NoMemory};
use siskin_format::sort;
use siskin_format::vocab::{TokenKind, Vocab};

/// The normal tokens of a vocabulary by their bytes. Buckets are sorted, so that no vocabulary makes a look-up slow.
#[derive(Debug)]
pub(super) struct WholeWords {
    starts: Vec<u32>, // [vocab_size + 1] where each bucket begins in `ids`
    ids: Vec<u32>,
}

impl WholeWords {
    pub(super) fn new(vocab: &Vocab) -> Result<WholeWords, NoMemory> {
        let n = vocab.len();
        let normal = || vocab.tokens().enumerate().filter(|(_, (_, kind))| *kind == TokenKind::Normal);
        let mut starts = memory::repeated(0u32, n + 1)?;
        for (_, (bytes, _)) in normal() {
            starts[bucket(bytes, n) + 1] += 1;
        }
        for i in 0..n {
            starts[i + 1] += starts[i];
        }
        let mut ends = memory::collect(starts.iter().copied())?;
        let mut ids = memory::repeated(0, starts[n] as usize)?;
        for (id, (bytes, _)) in normal() {
            let end = &mut ends[bucket(bytes, n)];
            ids[*end as usize] = id as u32;
            *end += 1;
        }
        for pair in starts.windows(2).filter(|pair| pair[1] - pair[0] > 1) {
            sort_by_bytes(vocab, &mut ids[pair[0] as usize..pair[1] as usize]);
        }
        Ok(WholeWords { starts, ids })
    }

    pub(super) fn find(&self, vocab: &Vocab, word: &[u8]) -> Option<u32> {
        let bucket = bucket(word, self.starts.len() - 1);
        let ids = &self.ids[self.starts[bucket] as usize..self.starts[bucket + 1] as usize];
        let found = ids.binary_search_by_key(&Some(word), |&id| vocab.token(id)).ok()?;
        Some(ids[found])
    }
}

/// Sorts ids by the bytes of their tokens, and by themselves where these are equal.
pub(super) fn sort_by_bytes(vocab: &Vocab, ids: &mut [u32]) {
    sort::indices(ids, &|a, b| (vocab.token(a), a) < (vocab.token(b), b));
}

fn bucket(bytes: &[u8], n_buckets: usize) -> usize {
    ((u64::from(hash(bytes)) * n_buckets as u64) >> 32) as usize
}
