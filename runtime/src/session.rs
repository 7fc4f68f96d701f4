//! One conversation with a model: its state, its buffers, its threads.

use crate::cancel::CancelFlag;
use crate::cpus;
use crate::engine::Engine;
use crate::error::Error;
use crate::kernels::team::MAX_THREADS;
use crate::kernels::{Isa, math};
use crate::model::Model;
use crate::profile::Profile;
use crate::saved::{self, Head};
use crate::state::Plan;
use crate::watch::Watch;
use std::sync::Arc;

/// How to make a [`Session`].
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Positions that a model with attention or learned positions can hold; the model's own context when absent. A model whose
    /// blocks all attend to a window has no limit then, unless positions are learned, and keeps about twice the widest window;
    /// asked for fewer positions, it keeps fewer. Models without attention have no limit and ignore it.
    pub ctx: Option<usize>,
    /// Threads, the caller's included; one for each big core of the machine when absent.
    pub threads: Option<usize>,
    /// Binds each thread to a core of its own, the thread that makes the session included, for good; Linux only.
    pub pin: bool,
    /// Most tokens of a prompt that are computed together. More is faster up to some dozens and takes memory in
    /// proportion; results do not depend on it.
    pub batch: usize,
    /// Most bytes that the session may allocate; no limit of its own when absent.
    pub max_bytes: Option<usize>,
    /// Instruction set; the best of this CPU, or what `SISKIN_ISA` says, when absent. Results do not depend on it.
    pub isa: Option<Isa>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions { ctx: None, threads: None, pin: false, batch: 64, max_bytes: None, isa: None }
    }
}

impl SessionOptions {
    /// The number of threads, at least 1 and at most [`MAX_THREADS`].
    pub fn n_threads(&self) -> usize {
        self.threads.unwrap_or_else(cpus::default_threads).clamp(1, MAX_THREADS)
    }

    /// The CPUs that the threads are bound to, in turn; none for threads that are not bound.
    pub(crate) fn pins(&self) -> Option<&'static [usize]> {
        self.pin.then(cpus::cores)
    }
}

/// A model's state and everything a step needs. After [`Session::new`], a step allocates nothing.
pub struct Session {
    engine: Engine,
    /// The engine's first row of logits is that of the last token fed.
    has_logits: bool,
}

impl Session {
    /// Allocates a session's memory and starts its threads.
    ///
    /// # Errors
    /// [`Error::Context`] for a context that the model does not have, [`Error::Budget`] and
    /// [`Error::OutOfMemory`] before anything is allocated or when the system refuses, [`Error::Isa`] for an instruction
    /// set that this CPU lacks, [`Error::Threads`] when threads cannot be started.
    pub fn new(model: Arc<Model>, options: &SessionOptions) -> Result<Session, Error> {
        Ok(Session { engine: Engine::new(model, 1, options, None)?, has_logits: false })
    }

    /// A session in the caller's memory, of which it takes [`Model::session_bytes`] and leaves the rest alone. Beside it, a
    /// handle and the stacks of threads are allocated, some KiB that do not depend on the context or the batch.
    ///
    /// The memory may begin anywhere, and is cleared first. It is the session's until that is dropped; whoever makes a
    /// `&'static mut` of memory that can be freed must wait for that.
    ///
    /// # Errors
    /// As [`Session::new`]; [`Error::Budget`] when the memory is too small.
    pub fn new_in(
        model: Arc<Model>,
        options: &SessionOptions,
        memory: &'static mut [u8],
    ) -> Result<Session, Error> {
        Ok(Session { engine: Engine::new(model, 1, options, Some(memory))?, has_logits: false })
    }

    /// Reads a source, and begins its target: forgets what was before. In a model with an encoder this comes before
    /// [`Session::forward`], whose tokens are those of the target; the first of them is [`Model::target_start`]. A source may
    /// have as many tokens as the session's context, and a target as many again.
    ///
    /// # Errors
    /// [`Error::NoEncoder`] in any other model; [`Error::NoTokens`], [`Error::Token`], [`Error::ContextFull`] for a source that
    /// is longer than the context, [`Error::Cancelled`]. The session then stands where it stood before.
    pub fn encode(&mut self, source: &[u32]) -> Result<(), Error> {
        self.engine.encode(0, source)?;
        self.has_logits = false;
        Ok(())
    }

    /// Tokens of the source; `None` before [`Session::encode`] and in a model without an encoder.
    pub fn source_len(&self) -> Option<usize> {
        self.engine.state.sources().first().copied().filter(|len| *len > 0)
    }

    /// Feeds `tokens`, a whole prompt or a single one, and returns the logits that follow the last, `[vocab_size]`.
    ///
    /// # Errors
    /// [`Error::NoTokens`], [`Error::Token`] for an id outside the vocabulary, [`Error::ContextFull`] when a model with
    /// attention has no room for all of them, [`Error::NoSource`] when a model with an encoder has read none,
    /// [`Error::Cancelled`]. The session then stands where it stood before.
    pub fn forward(&mut self, tokens: &[u32]) -> Result<&[f32], Error> {
        self.engine.check(0, tokens)?;
        self.engine.begin()?;
        let mut left = tokens.len();
        for piece in tokens.chunks(self.engine.plan.batch) {
            left -= piece.len();
            self.engine.add(0, piece, if left == 0 { 1 } else { 0 });
            self.engine.run()?;
        }
        self.engine.logits(0, 1, 0);
        self.has_logits = true;
        Ok(self.engine.rows(0..1))
    }

    /// Feeds `tokens` and calls `f(i, logits)` with the logits that follow each of them. Memory does not grow with the
    /// number of tokens.
    ///
    /// # Errors
    /// As [`Session::forward`].
    pub fn forward_each(&mut self, tokens: &[u32], mut f: impl FnMut(usize, &[f32])) -> Result<(), Error> {
        self.engine.check(0, tokens)?;
        self.engine.begin()?;
        let Plan { batch, head_batch, vocab_size, .. } = self.engine.plan;
        let (mut first, mut last) = (0, 0);
        for piece in tokens.chunks(batch) {
            self.engine.add(0, piece, piece.len());
            self.engine.run()?;
            for start in (0..piece.len()).step_by(head_batch) {
                let n = head_batch.min(piece.len() - start);
                // The first row stays what it was, should the call be cancelled.
                self.engine.logits(start, n, 1);
                last = n;
                for (i, logits) in self.engine.rows(1..n + 1).chunks_exact(vocab_size).enumerate() {
                    f(first + start + i, logits);
                }
            }
            first += piece.len();
        }
        self.engine.ws.logits.copy_within(last * vocab_size..(last + 1) * vocab_size, 0);
        self.has_logits = true;
        Ok(())
    }

    /// Forgets all tokens, and the source of a model with an encoder; the memory stays.
    pub fn reset(&mut self) {
        self.engine.state.reset(0);
        self.has_logits = false;
    }

    /// The logits that follow the last token, `[vocab_size]`: what [`Session::forward`] returned, or
    /// [`Session::forward_each`] gave at last. `None` at first and after [`Session::reset`].
    pub fn logits(&self) -> Option<&[f32]> {
        self.has_logits.then(|| self.engine.rows(0..1))
    }

    /// The flag that stops the session's steps; a clone of it may be set from any thread.
    pub fn cancel_flag(&self) -> &CancelFlag {
        &self.engine.cancel
    }

    /// Bytes of the session's state as [`Session::save`] writes it now: they grow with the tokens fed in a model with
    /// attention, in blocks with a window until that is full, and stay small in any other.
    pub fn saved_bytes(&self) -> usize {
        let n_logits = self.logits().map_or(0, <[f32]>::len);
        let (state, config) = (&self.engine.state, self.engine.model.config());
        saved::len(&state.blocks, config, self.position(), n_logits, state.sources().first().copied())
            .expect("what is in memory can be counted")
    }

    /// Writes the session's state to `out`, [`Session::saved_bytes`] long. A session of the same model that restores it, on
    /// whatever machine, with any number of threads and any context that is large enough, goes on with the same bits.
    ///
    /// # Panics
    /// When `out` has another length.
    pub fn save(&self, out: &mut [u8]) {
        assert_eq!(out.len(), self.saved_bytes(), "bytes of a saved state");
        let logits = self.logits().unwrap_or(&[]);
        let blocks = &self.engine.state.blocks;
        let head = Head {
            cell: saved::cell(blocks),
            model: saved::fingerprint(self.engine.model.file()),
            position: self.position() as u64,
            n_logits: logits.len() as u64,
            source: self.engine.state.sources().first().map(|len| *len as u64),
        };
        saved::write(head, blocks, self.engine.model.config(), self.engine.state.origins[0], logits, out);
    }

    /// Goes on from a state that [`Session::save`] wrote.
    ///
    /// # Errors
    /// [`Error::SavedState`] for bytes that are damaged or of another model, [`Error::ContextFull`] when the session's context
    /// is too small for them. The session then stands where it stood.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let model = self.engine.model.clone();
        let head = saved::check(bytes, model.config().has_encoder())?;
        if head.model != saved::fingerprint(model.file()) {
            return Err(Error::SavedState("it is of another model"));
        }
        let position = usize::try_from(head.position).unwrap_or(usize::MAX);
        if let Some(ctx) = self.engine.ctx.filter(|ctx| position > *ctx) {
            return Err(Error::ContextFull { position: 0, tokens: position, ctx });
        }
        let source = head.source.map(|source| usize::try_from(source).unwrap_or(usize::MAX));
        if let (Some(ctx), Some(source)) =
            (self.engine.ctx, source.filter(|source| self.engine.ctx < Some(*source)))
        {
            return Err(Error::ContextFull { position: 0, tokens: source, ctx });
        }
        let n_logits = if head.n_logits == 0 { 0 } else { model.config().vocab_size };
        let state = &mut self.engine.state;
        // Nobody has fed more, and positions must not wrap.
        let position = position.min(isize::MAX as usize / 2);
        let expected = saved::len(&state.blocks, model.config(), position, n_logits, source);
        let fits = position as u64 == head.position
            && (source != Some(0) || position == 0)
            && expected == Some(bytes.len())
            && head.n_logits == n_logits as u64;
        if !fits || head.cell != saved::cell(&state.blocks) {
            return Err(Error::SavedState("its numbers contradict each other"));
        }
        let origin = state.first_kept(position);
        (state.positions[0], state.origins[0]) = (position, origin);
        if let (Some(encoder), Some(source)) = (&mut state.encoder, source) {
            encoder.lens[0] = source;
        }
        let logits = &mut self.engine.ws.logits[..n_logits];
        saved::read(bytes, &mut state.blocks, model.config(), (position, origin), source, logits);
        self.has_logits = n_logits > 0;
        Ok(())
    }

    /// Tokens fed so far.
    pub fn position(&self) -> usize {
        self.engine.state.positions[0]
    }

    /// Positions that the session can hold; `None` for a model without limit: one whose blocks, if they attend, all have
    /// a window, and whose positions are not learned.
    pub fn context(&self) -> Option<usize> {
        self.engine.ctx
    }

    /// Tokens that still fit; `None` without limit.
    pub fn remaining(&self) -> Option<usize> {
        self.engine.ctx.map(|ctx| ctx - self.position())
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

    /// Bytes that the session allocated, besides the stacks of its threads.
    pub fn bytes(&self) -> usize {
        self.engine.plan.bytes
    }

    /// Whether to time the stages of the following steps; turning it on forgets earlier times. A stage costs two looks at
    /// the clock then, and nothing otherwise.
    pub fn set_profiling(&mut self, on: bool) {
        self.engine.set_profiling(on);
    }

    /// Who is told what the matrices of the following steps multiply; `None` for nobody. A tied head reads the tensor of the embedding.
    pub fn set_watch(&mut self, watch: Option<Watch>) {
        self.engine.watch = watch;
    }

    /// What [`Session::set_profiling`] has measured.
    pub fn profile(&self) -> &Profile {
        &self.engine.profile
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("isa", &self.isa())
            .field("n_threads", &self.n_threads())
            .field("position", &self.position())
            .field("context", &self.context())
            .finish_non_exhaustive()
    }
}

/// Natural logarithm of the probability that `logits` give to `token`: `x - max - ln(sum e^(x - max))`.
///
/// Exponentials are summed over runs of 512 in the kernels' canonical order, and over the runs in f64: the same bits on
/// every instruction set, and a large vocabulary costs no precision.
///
/// # Panics
/// When `token` is not an index of `logits`.
pub fn log_prob(logits: &[f32], token: usize) -> f64 {
    // Every instruction set gives the same bits, so a wrong SISKIN_ISA, which the session has reported, changes nothing.
    let isa = Isa::detect().unwrap_or(Isa::Scalar);
    let kernels = isa.kernels().or(Isa::Scalar.kernels()).expect("scalar kernels always run");
    let max = (kernels.max)(logits);
    let sum: f64 = logits.chunks(512).map(|run| (kernels.sum_exp)(run, max) as f64).sum();
    logits[token] as f64 - max as f64 - math::ln_f64(sum)
}
