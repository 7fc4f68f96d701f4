//! What sessions and batches share: a model, the state of one or more sequences, and all that a pass needs.

use crate::cancel::CancelFlag;
use crate::error::Error;
use crate::kernels::memory::{Buffer, Memory};
use crate::kernels::{Isa, Kernels, Team};
use crate::model::Model;
use crate::pass::{Cx, Segment};
use crate::profile::Profile;
use crate::session::SessionOptions;
use crate::state::{Parts, Plan, State, Workspace};
use crate::watch::Watch;
use std::sync::Arc;

/// Sequences of one model that step together; a session has one of them.
pub(crate) struct Engine {
    pub(crate) model: Arc<Model>,
    pub(crate) kernels: &'static Kernels,
    pub(crate) team: Team,
    pub(crate) ws: Workspace,
    pub(crate) state: State,
    pub(crate) plan: Plan,
    /// Positions that each sequence can hold, in a model that bounds them.
    pub(crate) ctx: Option<usize>,
    pub(crate) cancel: CancelFlag,
    /// Tokens of the next pass, and whose they are.
    tokens: Buffer<u32>,
    segments: Buffer<Segment>,
    pub(crate) profile: Profile,
    pub(crate) watch: Option<Watch>,
    pub(crate) profiling: bool,
}

impl Engine {
    /// Takes the memory of `slots` sequences, from the caller or from the system, and starts the threads. Errors are those of
    /// [`crate::Session::new_in`].
    pub(crate) fn new(
        model: Arc<Model>,
        slots: usize,
        options: &SessionOptions,
        memory: Option<&'static mut [u8]>,
    ) -> Result<Engine, Error> {
        let plan = model.plan(slots, options)?;
        let bytes = plan.bytes;
        let given = memory.as_ref().map_or(usize::MAX, |memory| memory.len());
        let max = options.max_bytes.unwrap_or(usize::MAX).min(given);
        if bytes > max {
            return Err(Error::Budget { needed: bytes, max });
        }
        let isa = options.isa.map_or_else(Isa::detect, Ok)?;
        let kernels = isa.kernels().ok_or_else(|| Error::Isa { name: isa.name().to_string() })?;
        let config = model.config();
        let memory = match memory {
            Some(given) => Some(Memory::within(&mut given[..bytes])),
            None => Memory::new(bytes),
        };
        let parts = memory.and_then(|mut memory| Parts::new(config, &plan, &mut memory));
        let Parts { ws, state, tokens, segments, scratch } = parts.ok_or(Error::OutOfMemory { bytes })?;
        Ok(Engine {
            kernels,
            ws,
            state,
            team: Team::new(scratch, options.pins()).map_err(Error::Threads)?,
            ctx: model.bound(options)?,
            cancel: CancelFlag::new(),
            tokens,
            segments,
            profile: Profile::new(),
            watch: None,
            profiling: false,
            plan,
            model,
        })
    }

    /// Whether the sequence can take `tokens`.
    pub(crate) fn check(&self, slot: usize, tokens: &[u32]) -> Result<(), Error> {
        if self.state.sources().get(slot) == Some(&0) {
            return Err(Error::NoSource);
        }
        self.check_tokens(self.state.positions[slot], tokens)
    }

    fn check_tokens(&self, position: usize, tokens: &[u32]) -> Result<(), Error> {
        if tokens.is_empty() {
            return Err(Error::NoTokens);
        }
        let vocab_size = self.plan.vocab_size;
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab_size) {
            return Err(Error::Token { token, vocab_size });
        }
        match self.ctx {
            Some(ctx) if tokens.len() > ctx - position => {
                Err(Error::ContextFull { position, tokens: tokens.len(), ctx })
            }
            _ => Ok(()),
        }
    }

    /// Forgets the sequence and encodes the source of the next one. Cancelled, it has changed nothing.
    pub(crate) fn encode(&mut self, slot: usize, source: &[u32]) -> Result<(), Error> {
        if !self.model.config().has_encoder() {
            return Err(Error::NoEncoder);
        }
        self.check_tokens(0, source)?;
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let batch = self.plan.batch;
        self.segments.push(Segment { slot, position: 0, origin: 0, start: 0, len: 0, wanted: 0 });
        let (mut cx, ws, state, model, _) = self.cx();
        model.encode(&mut cx, ws, state, slot, source, batch);
        let cancelled = cx.cancelled;
        self.segments.clear();
        if cancelled {
            return Err(Error::Cancelled);
        }
        self.state.reset(slot);
        if let Some(encoder) = &mut self.state.encoder {
            encoder.lens[slot] = source.len();
        }
        Ok(())
    }

    /// Begins a call of one or more passes, which is done wholly or not at all.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        self.state.keep();
        Ok(())
    }

    /// Adds checked tokens to the next pass, as many as there is room for; the logits of the last `wanted` are wanted.
    pub(crate) fn add(&mut self, slot: usize, tokens: &[u32], wanted: usize) {
        let (start, len) = (self.tokens.len(), tokens.len());
        assert!(start + len <= self.plan.batch, "{} tokens in a pass of {}", start + len, self.plan.batch);
        self.tokens.extend_from_slice(tokens);
        self.state.make_room(slot, len);
        let (position, origin) = (self.state.positions[slot], self.state.origins[slot]);
        self.segments.push(Segment { slot, position, origin, start, len, wanted });
    }

    /// Runs the pass: its tokens join their sequences. When it is cancelled, everything since [`Engine::begin`] is undone.
    pub(crate) fn run(&mut self) -> Result<(), Error> {
        let (mut cx, ws, state, model, tokens) = self.cx();
        model.forward(&mut cx, ws, state, tokens);
        let cancelled = cx.cancelled;
        for segment in &self.segments {
            self.state.positions[segment.slot] = segment.position + segment.len;
        }
        self.tokens.clear();
        self.segments.clear();
        if cancelled {
            self.state.undo();
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    /// Logits of the pass's wanted tokens `start..start + n`, as rows `at..at + n` of what [`Engine::rows`] gives.
    pub(crate) fn logits(&mut self, start: usize, n: usize, at: usize) {
        let (mut cx, ws, _, model, _) = self.cx();
        model.logits(&mut cx, ws, start, n, at);
    }

    /// Rows of logits.
    pub(crate) fn rows(&self, rows: std::ops::Range<usize>) -> &[f32] {
        &self.ws.logits[rows.start * self.plan.vocab_size..rows.end * self.plan.vocab_size]
    }

    fn cx(&mut self) -> (Cx<'_>, &mut Workspace, &mut State, &Model, &[u32]) {
        let cx = Cx {
            file: self.model.file(),
            weights: self.model.file().bytes(),
            kernels: self.kernels,
            team: &mut self.team,
            profile: self.profiling.then_some(&mut self.profile),
            watch: self.watch.as_mut(),
            cancel: &self.cancel,
            cancelled: false,
            tokens: self.tokens.len(),
            segments: &mut self.segments,
        };
        (cx, &mut self.ws, &mut self.state, &self.model, &self.tokens)
    }

    /// Whether to time the following passes.
    pub(crate) fn set_profiling(&mut self, on: bool) {
        self.profiling = on;
        if on {
            self.profile = Profile::new();
        }
    }
}
