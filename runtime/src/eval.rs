//! How well a model predicts a text.
//!
//! Every token but the first is predicted exactly once:
//!
//! - stacks with attention, also where blocks attend to a window of their own and texts have no end: windows of `context` tokens
//!   that do not overlap; window `i` predicts the tokens `iT + 1 ..= iT + T` from the tokens `iT .. iT + T`, each window from an
//!   empty state;
//! - purely recurrent stacks: one stream whose state is carried to the end.
//!
//! Tokens go through the model in batches, as a prompt does, and memory does not grow with the text.

use crate::error::Error;
use crate::model::Model;
use crate::session::{Session, SessionOptions, log_prob};
use std::sync::Arc;

/// Tokens that a recurrent stack is given at once.
const STREAM_CHUNK: usize = 1024;

/// How to evaluate.
#[derive(Default)]
pub struct EvalOptions<'a> {
    /// Tokens of a window; the model's context when absent. Recurrent stacks have no windows and ignore it.
    pub context: Option<usize>,
    /// Threads; all of the machine's when absent. Results do not depend on it.
    pub threads: Option<usize>,
    /// Told after each window: tokens predicted, tokens to predict.
    pub on_progress: Option<&'a mut dyn FnMut(usize, usize)>,
}

impl std::fmt::Debug for EvalOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvalOptions")
            .field("context", &self.context)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// What a text cost a model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Sum of `-ln p` over all predicted tokens.
    pub nats: f64,
    /// Predicted tokens: all but the first.
    pub tokens: u64,
}

impl Evaluation {
    /// Mean cross-entropy, nats per token; NaN when nothing was predicted.
    pub fn loss(&self) -> f64 {
        self.nats / self.tokens as f64
    }

    /// `e^loss`: among how many equally probable tokens the model would be as unsure.
    pub fn perplexity(&self) -> f64 {
        self.loss().exp()
    }

    /// Bits per byte of a text of `bytes` bytes; comparable between models of different tokenizers.
    pub fn bits_per_byte(&self, bytes: u64) -> f64 {
        self.nats / std::f64::consts::LN_2 / bytes as f64
    }

    /// Adds one predicted token of this log-probability.
    pub fn push(&mut self, log_prob: f64) {
        self.nats -= log_prob;
        self.tokens += 1;
    }
}

/// How well `model` predicts `tokens`.
///
/// The trainer's loss over the same windows is `evaluate(..)?.loss()`.
///
/// # Errors
/// As [`Scorer::new`] and [`Scorer::push`]; [`Error::NoTokens`] when there are fewer than two.
pub fn evaluate(
    model: &Arc<Model>,
    tokens: &[u32],
    mut options: EvalOptions<'_>,
) -> Result<Evaluation, Error> {
    if tokens.len() < 2 {
        return Err(Error::NoTokens);
    }
    let mut on_progress = options.on_progress.take();
    let mut scorer = Scorer::new(model, &options)?;
    let mut sum = Evaluation::default();
    for chunk in tokens.chunks(scorer.window()) {
        scorer.push(chunk, |_, log_prob| sum.push(log_prob))?;
        if let Some(progress) = &mut on_progress {
            progress(sum.tokens as usize, tokens.len() - 1);
        }
    }
    scorer.finish(|_, log_prob| sum.push(log_prob))?;
    if let Some(progress) = &mut on_progress {
        progress(sum.tokens as usize, tokens.len() - 1);
    }
    Ok(sum)
}

/// The log-probability of each token but the first: `tokens.len() - 1` of them.
///
/// # Errors
/// As [`Scorer::new`] and [`Scorer::push`].
pub fn score(model: &Arc<Model>, tokens: &[u32], options: &EvalOptions<'_>) -> Result<Vec<f64>, Error> {
    let mut scorer = Scorer::new(model, options)?;
    let mut log_probs = Vec::with_capacity(tokens.len().saturating_sub(1));
    scorer.push(tokens, |_, log_prob| log_probs.push(log_prob))?;
    scorer.finish(|_, log_prob| log_probs.push(log_prob))?;
    Ok(log_probs)
}

/// Scores a text that comes in pieces.
#[derive(Debug)]
pub struct Scorer {
    session: Session,
    window: usize,
    carries_state: bool,
    waiting: Vec<u32>, // the beginning of a window, at most window + 1 tokens
}

impl Scorer {
    /// A scorer at the beginning of a text. [`EvalOptions::on_progress`] is not used.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn new(model: &Arc<Model>, options: &EvalOptions<'_>) -> Result<Scorer, Error> {
        let session_options =
            SessionOptions { ctx: options.context, threads: options.threads, ..Default::default() };
        Ok(Scorer::with_session(Session::new(model.clone(), &session_options)?))
    }

    /// A scorer that uses a session made elsewhere, whose context is the window, or where it has no limit the model's. What the
    /// session holds is forgotten.
    pub fn with_session(mut session: Session) -> Scorer {
        session.reset();
        let config = session.model().config();
        let carries_state = session.context().is_none() && !config.has_attention();
        let window = match carries_state {
            true => STREAM_CHUNK,
            false => session.context().unwrap_or(config.context),
        };
        Scorer { session, window, carries_state, waiting: Vec::new() }
    }

    /// Whether the text is one stream, rather than windows that each begin anew.
    pub fn carries_state(&self) -> bool {
        self.carries_state
    }

    /// Tokens that are computed together: of a window with attention, or of a piece of the stream.
    pub fn window(&self) -> usize {
        self.window
    }

    /// Takes more tokens of the text and calls `f(token, log_prob)` for those whose window is complete, in the order
    /// of the text and never for its first token.
    ///
    /// # Errors
    /// [`Error::Token`] for an id outside the vocabulary.
    pub fn push(&mut self, mut tokens: &[u32], mut f: impl FnMut(u32, f64)) -> Result<(), Error> {
        while !tokens.is_empty() {
            let taken = tokens.len().min(self.window + 1 - self.waiting.len());
            self.waiting.extend_from_slice(&tokens[..taken]);
            tokens = &tokens[taken..];
            if self.waiting.len() == self.window + 1 {
                self.score_window(&mut f)?;
            }
        }
        Ok(())
    }

    /// Scores what is left, and begins a new text.
    ///
    /// # Errors
    /// As [`Scorer::push`].
    pub fn finish(&mut self, mut f: impl FnMut(u32, f64)) -> Result<(), Error> {
        if self.waiting.len() > 1 {
            self.score_window(&mut f)?;
        }
        self.waiting.clear();
        self.session.reset();
        Ok(())
    }

    /// Predicts each waiting token but the first from those before it; the last one begins the next window.
    fn score_window(&mut self, f: &mut impl FnMut(u32, f64)) -> Result<(), Error> {
        if !self.carries_state {
            self.session.reset();
        }
        let (Some((&last, inputs)), Some(targets)) = (self.waiting.split_last(), self.waiting.get(1..))
        else {
            return Ok(());
        };
        let vocab_size = self.session.model().config().vocab_size;
        if last as usize >= vocab_size {
            return Err(Error::Token { token: last, vocab_size });
        }
        self.session
            .forward_each(inputs, |i, logits| f(targets[i], log_prob(logits, targets[i] as usize)))?;
        self.waiting.clear();
        self.waiting.push(last);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluations_add_up() {
        let mut evaluation = Evaluation::default();
        assert!(evaluation.loss().is_nan());
        evaluation.push(-1.0);
        evaluation.push(-3.0);
        assert_eq!((evaluation.tokens, evaluation.loss()), (2, 2.0));
        assert_eq!(evaluation.perplexity(), 2f64.exp());
        assert_eq!(evaluation.bits_per_byte(4), 1.0 / std::f64::consts::LN_2);
    }

    #[test]
    fn log_probabilities_are_those_of_a_softmax_in_f64() {
        let logits: Vec<f32> =
            (0..5000).map(|i| ((i * 2_654_435_761u64) % 997) as f32 / 50.0 - 10.0).collect();
        let sum: f64 = logits.iter().map(|x| (*x as f64).exp()).sum();
        for token in [0, 17, 4999] {
            let expected = logits[token] as f64 - sum.ln();
            assert!((log_prob(&logits, token) - expected).abs() < 1e-7, "token {token}");
        }
    }
}
