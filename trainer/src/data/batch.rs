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
    /// Number of rows.
    pub rows: usize,
    /// Tokens per row.
    pub seq_len: usize,
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

    /// Fills the batch with the rows that begin at `starts`.
    pub(super) fn fill(
        &mut self,
        tokens: &Tokens,
        seq_len: usize,
        starts: impl Iterator<Item = u64>,
        reset: bool,
    ) -> Result<()> {
        self.inputs.clear();
        self.targets.clear();
        (self.rows, self.seq_len, self.reset) = (0, seq_len, reset);
        for start in starts {
            let from = self.inputs.len();
            self.inputs.resize(from + seq_len, 0);
            tokens.read(start, &mut self.inputs[from..])?;
            self.targets.extend_from_slice(&self.inputs[from + 1..]);
            let mut last = [0];
            tokens.read(start + seq_len as u64, &mut last)?;
            self.targets.extend_from_slice(&last);
            self.rows += 1;
        }
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
