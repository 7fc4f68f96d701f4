//! What runs is what is measured: exported files, opened and run by the runtime that devices use.
//!
//! This is the only place, besides the tokenizer, where the trainer reaches the runtime.

use std::path::Path;
use std::sync::Arc;

use siskin::eval::{EvalOptions, Evaluation, Scorer, evaluate};
use siskin::generate::{GenerateOptions, Generator, prompt_tokens};
use siskin::{Model, SamplerOptions, Session, SessionOptions, Tokenizer};
use siskin_format::receipt::Golden;

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

    /// Mean loss over `tokens`, nats per token: the figure of `siskin eval`.
    ///
    /// # Errors
    /// Fewer than 2 tokens, or ids outside the vocabulary.
    pub fn loss(&self, tokens: &[u32], threads: usize) -> Result<f64> {
        let options = EvalOptions { threads: Some(threads), ..Default::default() };
        let found = evaluate(&self.model, tokens, options).map_err(refused)?;
        Ok(found.loss())
    }

    /// Measures the loss of a text that comes in pieces.
    ///
    /// # Errors
    /// Too little memory.
    pub fn meter(&self, threads: usize) -> Result<Meter> {
        let options = EvalOptions { threads: Some(threads), ..Default::default() };
        Ok(Meter { scorer: Scorer::new(&self.model, &options).map_err(refused)?, sum: Evaluation::default() })
    }

    /// Logits after each of `tokens`, for tests that compare the trainer with the runtime.
    ///
    /// # Errors
    /// More tokens than the context, or ids outside the vocabulary.
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let mut session = Session::new(self.model.clone(), &SessionOptions::default()).map_err(refused)?;
        let mut all = Vec::new();
        session.forward_each(tokens, |_, logits| all.extend_from_slice(logits)).map_err(refused)?;
        Ok(all)
    }

    /// A golden run for a receipt.
    ///
    /// # Errors
    /// A run that does not fit the context.
    pub fn golden(&self, prompt: &[u32], n: u64) -> Result<Golden> {
        siskin::replay::record(&self.model, prompt, n).map_err(refused)
    }

    /// Lets the model speak: the prompt and what follows it, each piece handed to `say` as soon as it is whole.
    ///
    /// # Errors
    /// A prompt that the vocabulary cannot express.
    pub fn sample(&self, options: &SampleOptions, mut say: impl FnMut(&str)) -> Result<()> {
        let vocab = self.model.file().vocab();
        let tokenizer = Arc::new(Tokenizer::from_vocab(vocab).map_err(|e| Error::Export(e.to_string()))?);
        let prompt = prompt_tokens(&tokenizer, &options.prompt).map_err(|e| Error::Export(e.to_string()))?;
        let context = self.model.config().context;
        let session = SessionOptions { threads: Some(options.threads), ..Default::default() };
        let session = Session::new(self.model.clone(), &session).map_err(refused)?;
        // A Transformer speaks until its context is full.
        let n = session.context().map_or(options.n, |_| options.n.min(context.saturating_sub(prompt.len())));
        let sampler =
            SamplerOptions { temperature: options.temperature, seed: options.seed, ..Default::default() };
        let generate = GenerateOptions { sampler, ..Default::default() };
        let mut generator = Generator::new(session, tokenizer, &generate).map_err(refused)?;
        generator.start(&prompt, n).map_err(refused)?;
        say(&options.prompt);
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
