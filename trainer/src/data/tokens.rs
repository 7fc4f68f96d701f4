//! Tokens as the loaders see them: a part of a store on disk or in memory.

use std::ops::Range;
use std::sync::Arc;

use super::shard::Shard;
use crate::error::Result;

/// A run of token ids. Cloning it copies no tokens.
#[derive(Clone, Debug)]
pub struct Tokens {
    store: Arc<Store>,
    range: Range<u64>,
}

#[derive(Debug)]
enum Store {
    Memory(Vec<u32>),
    Shards(Shards),
}

/// Shards one after the other.
#[derive(Debug)]
struct Shards {
    shards: Vec<Shard>,
    /// First token of each.
    starts: Vec<u64>,
}

impl Tokens {
    /// Tokens in memory.
    pub fn from_vec(ids: Vec<u32>) -> Tokens {
        let range = 0..ids.len() as u64;
        Tokens { store: Arc::new(Store::Memory(ids)), range }
    }

    /// Tokens on disk.
    pub(super) fn from_shards(shards: Vec<Shard>) -> Tokens {
        let mut len = 0;
        let starts = shards
            .iter()
            .map(|shard| {
                len += shard.len();
                len - shard.len()
            })
            .collect();
        Tokens { store: Arc::new(Store::Shards(Shards { shards, starts })), range: 0..len }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The first `n` of them, or all if there are fewer.
    pub fn first(&self, n: u64) -> Tokens {
        let end = self.range.start + n.min(self.len());
        Tokens { store: Arc::clone(&self.store), range: self.range.start..end }
    }

    /// Fills `ids` with those from `at` on.
    ///
    /// # Errors
    /// A token cache on disk that cannot be read, or holds ids which its vocabulary does not have.
    ///
    /// # Panics
    /// If the tokens end before `ids` is full.
    pub fn read(&self, at: u64, ids: &mut [u32]) -> Result<()> {
        let n = ids.len();
        assert!(at + n as u64 <= self.len(), "tokens {at} to {} of {}", at + n as u64, self.len());
        let start = self.range.start + at;
        match &*self.store {
            Store::Memory(all) => {
                ids.copy_from_slice(&all[start as usize..start as usize + n]);
                Ok(())
            }
            Store::Shards(shards) => shards.read(start, ids),
        }
    }
}

impl Shards {
    fn read(&self, mut at: u64, mut ids: &mut [u32]) -> Result<()> {
        // The last that begins there or before; empty ones before it begin there too.
        let first = self.starts.partition_point(|&start| start <= at).saturating_sub(1);
        for (shard, start) in self.shards[first..].iter().zip(&self.starts[first..]) {
            let n = (start + shard.len() - at).min(ids.len() as u64);
            let (here, rest) = ids.split_at_mut(n as usize);
            if !here.is_empty() {
                shard.read(at - start, here)?;
            }
            if rest.is_empty() {
                break;
            }
            (at, ids) = (at + n, rest);
        }
        Ok(())
    }
}
