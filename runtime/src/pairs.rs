//! How well a model with an encoder turns sources into targets: what the targets cost it, and whether it writes them itself.
//!
//! Every target is predicted token by token after its own tokens so far, as in training (teacher forcing), and its end token too,
//! where the vocabulary has one.

use crate::error::Error;
use crate::eval::Evaluation;
use crate::replay::greatest;
use crate::session::{Session, log_prob};

/// What pairs cost a model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairEvaluation {
    /// Over the tokens of all targets, their end tokens included.
    pub evaluation: Evaluation,
    /// Pairs.
    pub pairs: u64,
    /// Pairs whose target the model wrote itself, token by token, when it always took the most probable one.
    pub exact: u64,
}

impl PairEvaluation {
    /// Share of the pairs whose target the model wrote itself; NaN without pairs.
    pub fn accuracy(&self) -> f64 {
        self.exact as f64 / self.pairs as f64
    }
}

/// Measures pairs one after the other.
#[derive(Debug)]
pub struct PairScorer {
    session: Session,
    start: u32,
    end: Option<u32>,
    tokens: Vec<u32>, // of one target, between start and end
}

impl PairScorer {
    /// A scorer that uses a session made elsewhere; what the session holds is forgotten.
    ///
    /// # Errors
    /// [`Error::NoEncoder`] for a session of another kind of model.
    pub fn new(session: Session) -> Result<PairScorer, Error> {
        let model = session.model();
        if !model.config().has_encoder() {
            return Err(Error::NoEncoder);
        }
        let (start, end) = (model.target_start(), model.file().vocab().special().eos);
        Ok(PairScorer { session, start, end, tokens: Vec::new() })
    }

    /// Calls `f(token, log_prob)` for every token of `target` and its end, after `source`.
    ///
    /// # Errors
    /// As [`Session::encode`] and [`Session::forward`]: an empty source, ids outside the vocabulary, a source or a target, with its
    /// begin token, that is longer than the context.
    pub fn score(
        &mut self,
        source: &[u32],
        target: &[u32],
        mut f: impl FnMut(u32, f64),
    ) -> Result<(), Error> {
        self.tokens.clear();
        self.tokens.push(self.start);
        self.tokens.extend_from_slice(target);
        self.session.encode(source)?;
        let next = |i: usize| target.get(i).copied().or(self.end.filter(|_| i == target.len()));
        self.session.forward_each(&self.tokens, |i, logits| {
            if let Some(token) = next(i) {
                f(token, log_prob(logits, token as usize));
            }
        })
    }

    /// What the model writes after `source` when it always takes the most probable token, without the end token: at most `most`
    /// tokens, or as many as the context has room for.
    ///
    /// # Errors
    /// As [`Session::encode`].
    pub fn write(&mut self, source: &[u32], most: usize) -> Result<&[u32], Error> {
        self.tokens.clear();
        self.session.encode(source)?;
        let mut last = self.start;
        while self.tokens.len() < most && self.session.remaining() != Some(0) {
            last = greatest(self.session.forward(&[last])?);
            if Some(last) == self.end {
                break;
            }
            self.tokens.push(last);
        }
        Ok(&self.tokens)
    }

    /// Adds a pair to `sum`: what its target costs, and whether the model writes it.
    ///
    /// # Errors
    /// As [`PairScorer::score`].
    pub fn add(&mut self, source: &[u32], target: &[u32], sum: &mut PairEvaluation) -> Result<(), Error> {
        self.score(source, target, |_, log_prob| sum.evaluation.push(log_prob))?;
        sum.pairs += 1;
        // One token more than the target tells whether the model would have ended it.
        let most = target.len() + usize::from(self.end.is_some());
        sum.exact += u64::from(self.write(source, most)? == target);
        Ok(())
    }
}
