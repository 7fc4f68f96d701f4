//! Several sequences of one model that step together, so that each weight is read once for all of them.

use crate::activations::reserved;
use crate::cancel::CancelFlag;
use crate::engine::Engine;
use crate::error::Error;
use crate::kernels::Isa;
use crate::model::Model;
use crate::profile::Profile;
use crate::session::SessionOptions;
use std::sync::Arc;

/// A fixed number of slots, each with a sequence of its own. What a sequence gives does not depend on the others: its logits
/// are, bit for bit, those of a [`Session`](crate::Session) that is fed the same tokens.
///
/// Slots are reset and used again independently, so that a new sequence can begin while others go on. After [`Batch::new`], a
/// step allocates nothing.
///
/// ```
/// # fn run(model: std::sync::Arc<siskin::Model>) -> Result<(), siskin::Error> {
/// let mut batch = siskin::Batch::new(model, 2, &siskin::SessionOptions::default())?;
/// batch.forward(&[(0, &[5, 3, 8]), (1, &[7])])?; // two prompts
/// batch.forward(&[(0, &[1]), (1, &[4])])?; // a token each
/// let first = batch.logits(0);
/// # let _ = first;
/// # Ok(())
/// # }
/// ```
pub struct Batch {
    engine: Engine,
    /// For each slot, the row of its logits.
    rows: Vec<Option<usize>>,
    /// For each slot, how many of its tokens the step has fed.
    fed: Vec<usize>,
}

impl Batch {
    /// Allocates the memory of `slots` sequences and starts the threads. The options are those of a session, with a context
    /// for each sequence.
    ///
    /// # Errors
    /// As [`Session::new`](crate::Session::new), and [`Error::Slot`] for no slots at all.
    pub fn new(model: Arc<Model>, slots: usize, options: &SessionOptions) -> Result<Batch, Error> {
        let engine = Engine::new(model, slots, options, None)?;
        Ok(Batch { engine, rows: filled(slots, None)?, fed: filled(slots, 0)? })
    }

    /// Reads the source of a slot and begins its target, as [`Session::encode`](crate::Session::encode); the other slots go on
    /// where they stand.
    ///
    /// # Errors
    /// [`Error::Slot`], and those of [`Session::encode`](crate::Session::encode). No sequence is changed then.
    pub fn encode(&mut self, slot: usize, source: &[u32]) -> Result<(), Error> {
        self.slot(slot)?;
        self.engine.encode(slot, source)?;
        self.rows[slot] = None;
        Ok(())
    }

    /// Feeds tokens to some of the slots, `(slot, tokens)` in any order, each as many as it likes: prompts and single tokens
    /// mix. Every slot that was fed has [`Batch::logits`] then, and no other.
    ///
    /// # Errors
    /// [`Error::Slot`] and [`Error::SlotTwice`] for a slot that does not exist or comes twice, [`Error::NoTokens`] for no
    /// slots or a slot without tokens, [`Error::Token`], [`Error::ContextFull`] and [`Error::NoSource`] as with a session. No sequence is
    /// changed then.
    pub fn forward(&mut self, feeds: &[(usize, &[u32])]) -> Result<(), Error> {
        self.check(feeds)?;
        self.engine.begin()?;
        self.rows.fill(None);
        self.fed.fill(0);
        let batch = self.engine.plan.batch;
        let mut n_logits = 0;
        loop {
            let open = feeds.iter().filter(|(slot, tokens)| self.fed[*slot] < tokens.len()).count();
            if open == 0 {
                return Ok(());
            }
            let first = n_logits;
            // There are at least as many rows as slots.
            for slot in 0..self.slots() {
                let Some((_, tokens)) = feeds.iter().find(|(s, _)| *s == slot) else { continue };
                let left = &tokens[self.fed[slot]..];
                if left.is_empty() {
                    continue;
                }
                let piece = &left[..left.len().min(batch / open)];
                let ends = piece.len() == left.len();
                self.engine.add(slot, piece, if ends { 1 } else { 0 });
                self.fed[slot] += piece.len();
                if ends {
                    self.rows[slot] = Some(n_logits);
                    n_logits += 1;
                }
            }
            self.engine.run().inspect_err(|_| self.rows.fill(None))?;
            if n_logits > first {
                self.engine.logits(0, n_logits - first, first);
            }
        }
    }

    fn check(&self, feeds: &[(usize, &[u32])]) -> Result<(), Error> {
        if feeds.is_empty() {
            return Err(Error::NoTokens);
        }
        for (i, (slot, tokens)) in feeds.iter().enumerate() {
            self.slot(*slot)?;
            if feeds[..i].iter().any(|(other, _)| other == slot) {
                return Err(Error::SlotTwice { slot: *slot });
            }
            self.engine.check(*slot, tokens)?;
        }
        Ok(())
    }

    fn slot(&self, slot: usize) -> Result<(), Error> {
        let slots = self.slots();
        if slot < slots { Ok(()) } else { Err(Error::Slot { slot, slots }) }
    }

    /// The logits that follow the last token of a slot, `[vocab_size]`; `None` when the last step did not feed it.
    pub fn logits(&self, slot: usize) -> Option<&[f32]> {
        let row = self.rows.get(slot).copied().flatten()?;
        Some(self.engine.rows(row..row + 1))
    }

    /// The flag that stops the batch's steps; a clone of it may be set from any thread.
    pub fn cancel_flag(&self) -> &CancelFlag {
        &self.engine.cancel
    }

    /// Forgets the tokens of a slot, and its source in a model with an encoder, which is then free for another sequence.
    ///
    /// # Errors
    /// [`Error::Slot`] when there is no such slot.
    pub fn reset(&mut self, slot: usize) -> Result<(), Error> {
        self.slot(slot)?;
        self.engine.state.reset(slot);
        self.rows[slot] = None;
        Ok(())
    }

    /// Slots, used or free.
    pub fn slots(&self) -> usize {
        self.rows.len()
    }

    /// Tokens fed to a slot so far; `None` when there is no such slot.
    pub fn position(&self, slot: usize) -> Option<usize> {
        self.engine.state.positions.get(slot).copied()
    }

    /// Positions that each slot can hold; `None` for a model without limit, as [`Session::context`](crate::Session::context) says.
    pub fn context(&self) -> Option<usize> {
        self.engine.ctx
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.engine.model
    }

    /// The instruction set whose kernels run.
    pub fn isa(&self) -> Isa {
        self.engine.kernels.isa
    }

    /// Threads, the caller's included.
    pub fn n_threads(&self) -> usize {
        self.engine.team.n_threads()
    }

    /// Bytes that the batch allocated, besides the stacks of its threads.
    pub fn bytes(&self) -> usize {
        self.engine.plan.bytes
    }

    /// Whether to time the stages of the following steps; see [`Session::set_profiling`](crate::Session::set_profiling).
    pub fn set_profiling(&mut self, on: bool) {
        self.engine.set_profiling(on);
    }

    /// What [`Batch::set_profiling`] has measured.
    pub fn profile(&self) -> &Profile {
        &self.engine.profile
    }
}

fn filled<T: Clone>(n: usize, value: T) -> Result<Vec<T>, Error> {
    let mut list = reserved(n)?;
    list.resize(n, value);
    Ok(list)
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("isa", &self.isa())
            .field("n_threads", &self.n_threads())
            .field("positions", &self.engine.state.positions)
            .field("context", &self.context())
            .finish_non_exhaustive()
    }
}
