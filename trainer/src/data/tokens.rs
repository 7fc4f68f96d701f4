//! Tokens as the loaders see them: a part of a store on disk or in memory.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use siskin_format::MappedFile;

use crate::error::{Error, Result};

/// A run of token ids. Cloning it copies no tokens.
#[derive(Clone, Debug)]
pub struct Tokens {
    store: Arc<Store>,
    range: Range<u64>,
}

#[derive(Debug)]
pub(super) enum Store {
    Memory(Vec<u32>),
    Mapped(MappedTokens),
}

/// Ids of two or four bytes, little-endian, in a mapped file.
#[derive(Debug)]
pub(super) struct MappedTokens {
    pub(super) path: PathBuf,
    pub(super) file: MappedFile,
    pub(super) offset: usize, // of the first id, in bytes
    pub(super) wide: bool,    // four bytes an id
    pub(super) vocab_size: u32,
}

impl Tokens {
    /// Tokens in memory.
    pub fn from_vec(ids: Vec<u32>) -> Tokens {
        let range = 0..ids.len() as u64;
        Tokens { store: Arc::new(Store::Memory(ids)), range }
    }

    pub(super) fn new(store: Arc<Store>, range: Range<u64>) -> Tokens {
        Tokens { store, range }
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
    /// A token cache on disk that holds ids which its vocabulary does not have.
    ///
    /// # Panics
    /// If the tokens end before `ids` is full.
    pub fn read(&self, at: u64, ids: &mut [u32]) -> Result<()> {
        let n = ids.len();
        assert!(at + n as u64 <= self.len(), "tokens {at} to {} of {}", at + n as u64, self.len());
        let start = (self.range.start + at) as usize;
        match &*self.store {
            Store::Memory(all) => {
                ids.copy_from_slice(&all[start..start + n]);
                Ok(())
            }
            Store::Mapped(mapped) => mapped.read(start, ids),
        }
    }
}

impl MappedTokens {
    fn read(&self, start: usize, ids: &mut [u32]) -> Result<()> {
        let width = if self.wide { 4 } else { 2 };
        let from = self.offset + width * start;
        let bytes = &self.file[from..from + width * ids.len()];
        if self.wide {
            for (id, b) in ids.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *id = u32::from_le_bytes(*b);
            }
        } else {
            for (id, b) in ids.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *id = u16::from_le_bytes(*b).into();
            }
        }
        match ids.iter().find(|&&id| id >= self.vocab_size) {
            None => Ok(()),
            Some(id) => Err(Error::Data(format!(
                "{} holds token {id} of a vocabulary of {}: it is damaged, delete it and start again",
                self.path.display(),
                self.vocab_size
            ))),
        }
    }
}
