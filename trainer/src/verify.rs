//! What runs is what is measured: exported files, opened and run by the runtime that devices use.
//!
//! This is the only place, besides the tokenizer, where the trainer reaches the runtime.

use std::path::Path;
use std::sync::Arc;

use siskin::eval::{EvalOptions, Evaluation, Scorer, evaluate};
use siskin::generate::{GenerateOptions, Generator};
use siskin::watch::Watch;
use siskin::{Model, PairEvaluation, PairScorer, SamplerOptions, Session, SessionOptions, Tokenizer};
use siskin_format::receipt::Golden;

use crate::data::{Pairs, Tokens};
use crate::error::{Error, Result};

/// A model in the runtime.
pub struct Measured {
    model: Arc<Model>,
}

/// How a sample is drawn.
#[derive(Clone, Debug)]
pub struct SampleOptions {
    /// What it begins with.
    pub prompt: String,
    /// Tokens to draw.
    pub n: usize,
    /// Temperature; 0 is greedy.
    pub temperature: f32,
    /// Seed.
    pub seed: u64,
    /// Cores.
    pub threads: usize,
}

impl Measured {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// A file that the runtime refuses.
    pub fn open(path: &Path) -> Result<Self> {
        let model = Model::open(path).map_err(refused)?;
        Ok(Measured { model: Arc::new(model) })
    }

    /// A file in memory.
    ///
    /// # Errors
    /// Bytes that the runtime refuses.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        let model = Model::from_bytes(bytes).map_err(refused)?;
        Ok(Measured { model: Arc::new(model) })
    }

    /// The runtime's model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Mean loss over `tokens`, nats per token, and how many were predicted: the figures of `siskin eval`. In a model with an encoder
    /// the tokens are those of [`Pairs`], and it is the targets that are predicted.
    ///
    /// # Errors
    /// Fewer than 2 tokens, tokens that are no pairs, or ids outside the vocabulary.
    pub fn loss(&self, tokens: &[u32], threads: usize) -> Result<(f64, u64)> {
        self.loss_telling(tokens, threads, &mut |_| {})
    }

    /// As [`Measured::loss`]; `tell` learns now and then how many tokens are predicted, of a model that reads no pairs.
    ///
    /// # Errors
    /// As [`Measured::loss`].
    pub fn loss_telling(
        &self,
        tokens: &[u32],
        threads: usize,
        tell: &mut dyn FnMut(usize),
    ) -> Result<(f64, u64)> {
        if self.reads_pairs() {
            let (mut scorer, mut sum) = (self.scorer(threads)?, siskin::Evaluation::default());
            self.each_pair(tokens, u64::MAX, |source, target| {
                scorer.score(source, target, |_, log_prob| sum.push(log_prob)).map_err(refused)
            })?;
            return Ok((sum.loss(), sum.tokens));
        }
        let mut on_progress = |done, _| tell(done);
        let options =
            EvalOptions { threads: Some(threads), on_progress: Some(&mut on_progress), ..Default::default() };
        let found = evaluate(&self.model, tokens, options).map_err(refused)?;
        Ok((found.loss(), found.tokens))
    }

    /// Measures the loss of a text that comes in pieces.
    ///
    /// # Errors
    /// Too little memory.
    pub fn meter(&self, threads: usize) -> Result<Meter> {
        let options = EvalOptions { threads: Some(threads), ..Default::default() };
        Ok(Meter { scorer: Scorer::new(&self.model, &options).map_err(refused)?, sum: Evaluation::default() })
    }

    /// Reads `tokens` in the windows of an evaluation, and tells `watch` what every matrix multiplies, and `tell` after each window
    /// how many tokens are read.
    ///
    /// # Errors
    /// As [`Measured::loss`].
    pub fn watch(
        &self,
        tokens: &[u32],
        threads: usize,
        watch: Watch,
        tell: &mut dyn FnMut(usize),
    ) -> Result<()> {
        let options = SessionOptions { threads: Some(threads), ..Default::default() };
        let mut session = Session::new(self.model.clone(), &options).map_err(refused)?;
        session.set_watch(Some(watch));
        let mut scorer = Scorer::with_session(session);
        let mut read = 0;
        for window in tokens.chunks(scorer.window()) {
            scorer.push(window, |_, _| {}).map_err(refused)?;
            read += window.len();
            tell(read);
        }
        scorer.finish(|_, _| {}).map_err(refused)
    }

    /// Whether the model turns sources into targets.
    pub fn reads_pairs(&self) -> bool {
        self.model.config().has_encoder()
    }

    /// How many of the first `most` pairs in `tokens` have a target that the model writes itself, always taking the most
    /// probable token.
    ///
    /// # Errors
    /// As [`Measured::loss`], or a model without an encoder.
    pub fn exact_matches(&self, tokens: &[u32], most: u64, threads: usize) -> Result<PairEvaluation> {
        let (mut scorer, mut sum) = (self.scorer(threads)?, PairEvaluation::default());
        self.each_pair(tokens, most, |source, target| scorer.add(source, target, &mut sum).map_err(refused))?;
        Ok(sum)
    }

    /// The first `most` pairs in `tokens` as lines: source, what the model writes, and the target where that is another.
    ///
    /// # Errors
    /// As [`Measured::exact_matches`].
    pub fn show_pairs(&self, tokens: &[u32], most: u64, threads: usize) -> Result<String> {
        let tokenizer =
            Tokenizer::from_vocab(self.model.file().vocab()).map_err(|e| Error::Export(e.to_string()))?;
        let text = |ids: &[u32]| {
            let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.token_bytes(*id)).copied().collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (mut scorer, mut lines) = (self.scorer(threads)?, String::new());
        self.each_pair(tokens, most, |source, target| {
            let written = scorer.write(source, 2 * target.len() + 8).map_err(refused)?;
            let wrong =
                if written == target { String::new() } else { format!("   (expected {})", text(target)) };
            lines.push_str(&format!("{} → {}{wrong}\n", text(source), text(written)));
            Ok(())
        })?;
        Ok(lines)
    }

    fn scorer(&self, threads: usize) -> Result<PairScorer> {
        let options = SessionOptions { threads: Some(threads), ..Default::default() };
        PairScorer::new(Session::new(self.model.clone(), &options).map_err(refused)?).map_err(refused)
    }

    fn each_pair(
        &self,
        tokens: &[u32],
        most: u64,
        mut f: impl FnMut(&[u32], &[u32]) -> Result<()>,
    ) -> Result<()> {
        let pairs = Pairs::find(&Tokens::from_vec(tokens.to_vec()), self.model.config().vocab_size)?;
        for i in 0..pairs.len().min(most) {
            let (source, target) = pairs.pair(i)?;
            f(&source, &target)?;
        }
        Ok(())
    }

    /// Logits after each of `tokens`, which follow the `source` of a model with an encoder, for tests that compare the trainer with the runtime.
    ///
    /// # Errors
    /// More tokens than the context, or ids outside the vocabulary.
    pub fn logits(&self, source: &[u32], tokens: &[u32]) -> Result<Vec<f32>> {
        let mut session = Session::new(self.model.clone(), &SessionOptions::default()).map_err(refused)?;
        if self.reads_pairs() {
            session.encode(source).map_err(refused)?;
        }
        let mut all = Vec::new();
        session.forward_each(tokens, |_, logits| all.extend_from_slice(logits)).map_err(refused)?;
        Ok(all)
    }

    /// Bytes that a session on `threads` threads allocates.
    ///
    /// # Errors
    /// A session that cannot be.
    pub fn session_bytes(&self, threads: usize) -> Result<usize> {
        let options = SessionOptions { threads: Some(threads), ..Default::default() };
        self.model.session_bytes(&options).map_err(refused)
    }

    /// A golden run for a receipt.
    ///
    /// # Errors
    /// A run that does not fit the context.
    pub fn golden(&self, prompt: &[u32], n: u64) -> Result<Golden> {
        siskin::replay::record(&self.model, prompt, n).map_err(refused)
    }

    /// Lets the model speak: the prompt and what follows it, each piece handed to `say` as soon as it is whole. Of a model with an
    /// encoder, whose source the prompt is, only what follows.
    ///
    /// # Errors
    /// A prompt that the vocabulary cannot express.
    pub fn sample(&self, options: &SampleOptions, mut say: impl FnMut(&str)) -> Result<()> {
        let vocab = self.model.file().vocab();
        let tokenizer = Arc::new(Tokenizer::from_vocab(vocab).map_err(|e| Error::Export(e.to_string()))?);
        let prompt = self
            .model
            .prompt_tokens(&tokenizer, &options.prompt)
            .map_err(|e| Error::Export(e.to_string()))?;
        let held = if self.reads_pairs() { 1 } else { prompt.len() };
        let context = self.model.config().context;
        let session = SessionOptions { threads: Some(options.threads), ..Default::default() };
        let session = Session::new(self.model.clone(), &session).map_err(refused)?;
        // A Transformer speaks until its context is full.
        let n = session.context().map_or(options.n, |_| options.n.min(context.saturating_sub(held)));
        let sampler =
            SamplerOptions { temperature: options.temperature, seed: options.seed, ..Default::default() };
        let generate = GenerateOptions { sampler, ..Default::default() };
        let mut generator = Generator::new(session, tokenizer, &generate).map_err(refused)?;
        generator.start(&prompt, n).map_err(refused)?;
        if !self.reads_pairs() {
            say(&options.prompt);
        }
        while let Some(piece) = generator.next_piece().map_err(refused)? {
            say(piece);
        }
        Ok(())
    }
}

/// The loss of a text that comes in pieces: the figure of [`Measured::loss`], in memory that does not grow.
pub struct Meter {
    scorer: Scorer,
    sum: Evaluation,
}

impl Meter {
    /// Takes more tokens of the text.
    ///
    /// # Errors
    /// Ids outside the vocabulary.
    pub fn push(&mut self, ids: &[u32]) -> Result<()> {
        let sum = &mut self.sum;
        self.scorer.push(ids, |_, log_prob| sum.push(log_prob)).map_err(refused)
    }

    /// Sum of `-ln p` over all tokens but the first, nats, and how many these are.
    ///
    /// # Errors
    /// As [`Meter::push`].
    pub fn finish(mut self) -> Result<(f64, u64)> {
        let sum = &mut self.sum;
        self.scorer.finish(|_, log_prob| sum.push(log_prob)).map_err(refused)?;
        Ok((self.sum.nats, self.sum.tokens))
    }
}

fn refused(error: siskin::Error) -> Error {
    Error::Export(error.to_string())
}
