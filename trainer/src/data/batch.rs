//! What loaders give and what checkpoints keep of them.

use serde::{Deserialize, Serialize};

use super::tokens::Tokens;
use crate::error::Result;

/// Rows of tokens and, for each, the token that follows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// What the model reads.
    pub inputs: Vec<u32>, // [rows, seq_len]
    /// What it should predict: `inputs`, one position later.
    pub targets: Vec<u32>, // [rows, seq_len]
    /// What an encoder reads before, filled up with padding; empty for models without one.
    pub sources: Vec<u32>, // [rows, source_len]
    /// Tokens of each source that are none of the padding.
    pub source_lens: Vec<u32>, // [rows]
    /// Number of rows.
    pub rows: usize,
    /// Tokens per row.
    pub seq_len: usize,
    /// Tokens per row of the sources.
    pub source_len: usize,
    /// The rows do not continue those of the batch before: a recurrent model begins with a fresh state.
    pub reset: bool,
}

impl Batch {
    /// An empty batch, whose memory grows at its first use and then stays.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Number of targets.
    pub fn n_targets(&self) -> usize {
        self.targets.len()
    }

    /// Takes all rows out.
    pub(super) fn clear(&mut self, seq_len: usize) {
        self.inputs.clear();
        self.targets.clear();
        (self.rows, self.seq_len, self.reset) = (0, seq_len, false);
    }

    /// Adds the rows that begin at `starts`.
    pub(super) fn push(&mut self, tokens: &Tokens, starts: impl Iterator<Item = u64>) -> Result<()> {
        let mut window = vec![0; self.seq_len + 1];
        for start in starts {
            tokens.read(start, &mut window)?;
            self.inputs.extend_from_slice(&window[..self.seq_len]);
            self.targets.extend_from_slice(&window[1..]);
            self.rows += 1;
        }
        Ok(())
    }

    /// Fills the batch with the rows that begin at `starts`.
    pub(super) fn fill(
        &mut self,
        tokens: &Tokens,
        seq_len: usize,
        starts: impl Iterator<Item = u64>,
        reset: bool,
    ) -> Result<()> {
        self.clear(seq_len);
        self.push(tokens, starts)?;
        self.reset = reset;
        Ok(())
    }
}

/// Where a loader stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Passes over the training part that are complete.
    pub epoch: u64,
    /// Windows (or, for lanes, batches) of this pass that were given.
    pub position: u64,
}
