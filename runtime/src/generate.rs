//! The generation loop: prompt in, text out, piece by piece.
//!
//! A [`Generator`] joins a session, a sampler, stop strings and UTF-8-safe streaming. It keeps its session between
//! runs, so a conversation goes on where it stood.

use crate::error::Error;
use crate::sampler::{Sampler, SamplerOptions};
use crate::session::Session;
use crate::stop::StopMatcher;
use crate::stream::Utf8Stream;
use crate::tokenizer::{Tokenizer, TokenizerError};
use siskin_format::vocab::TokenKind;
use std::fmt;
use std::sync::Arc;

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// As many tokens as were asked for.
    MaxTokens,
    /// A stop string appeared: which, as an index into [`GenerateOptions::stop`].
    StopString(usize),
    /// The model ended the text with the vocabulary's end token.
    EndOfText,
    /// A model with attention has no room for another token.
    ContextFull,
}

impl Stop {
    /// The spelling in reports.
    pub fn name(self) -> &'static str {
        match self {
            Stop::MaxTokens => "max_tokens",
            Stop::StopString(_) => "stop_string",
            Stop::EndOfText => "end_of_text",
            Stop::ContextFull => "context_full",
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stop::MaxTokens => "as many tokens as asked for",
            Stop::StopString(_) => "a stop string appeared",
            Stop::EndOfText => "the model ended the text",
            Stop::ContextFull => "the context is full",
        })
    }
}

/// How to generate.
#[derive(Clone, Debug, Default)]
pub struct GenerateOptions {
    /// How tokens are chosen.
    pub sampler: SamplerOptions,
    /// Strings that end the text; none of them is shown.
    pub stop: Vec<String>,
}

/// The tokens with which a model goes on from `text`: those of the text, after the vocabulary's begin token if it
/// has one. For an empty text without one, [`start_token`] alone.
///
/// # Errors
/// Text that the vocabulary cannot express.
pub fn prompt_tokens(tokenizer: &Tokenizer, text: impl AsRef<[u8]>) -> Result<Vec<u32>, TokenizerError> {
    let bos = tokenizer.vocab().special().bos;
    let mut tokens: Vec<u32> = bos.into_iter().collect();
    tokens.extend(tokenizer.encode(text)?);
    if tokens.is_empty() {
        tokens.push(start_token(tokenizer));
    }
    Ok(tokens)
}

/// What a model is given when it is given nothing: the begin token; else the end token, which ends the text before
/// (GPT-2's habit); else a line end, else a space, else the first token that has text.
pub fn start_token(tokenizer: &Tokenizer) -> u32 {
    let vocab = tokenizer.vocab();
    let special = vocab.special();
    let one = |text: &str| match tokenizer.encode(text).as_deref() {
        Ok(&[id]) if special.unk != Some(id) => Some(id),
        _ => None,
    };
    let has_text = |kind| matches!(kind, TokenKind::Normal | TokenKind::Byte);
    let first = || vocab.tokens().position(|(_, kind)| has_text(kind)).map(|id| id as u32);
    let chosen = special.bos.or(special.eos).or_else(|| one("\n")).or_else(|| one(" ")).or_else(first);
    chosen.unwrap_or(0)
}

/// Generates text with one session. Between [`Generator::start`] and the end of the text nothing is allocated
/// beyond the piece of text at hand.
#[derive(Debug)]
pub struct Generator {
    session: Session,
    tokenizer: Arc<Tokenizer>,
    sampler: Sampler,
    stops: StopMatcher,
    utf8: Utf8Stream,
    bytes: Vec<u8>,
    text: String,
    sampled: Option<u32>, // chosen, not shown yet
    pending: Option<u32>, // shown, not fed to the model yet
    token: Option<u32>,   // of the last piece
    left: usize,
    n_tokens: usize,
    stop: Option<Stop>,
}

impl Generator {
    /// A generator that begins where `session` stands.
    ///
    /// # Errors
    /// [`Error::Sampler`] and [`Error::Stop`] for options that make no sense.
    ///
    /// # Panics
    /// When the tokenizer is not that of the session's model: another number of tokens.
    pub fn new(
        session: Session,
        tokenizer: Arc<Tokenizer>,
        options: &GenerateOptions,
    ) -> Result<Generator, Error> {
        let vocab_size = session.model().config().vocab_size;
        assert_eq!(tokenizer.vocab_size(), vocab_size, "tokens of tokenizer and model");
        let mut sampler = options.sampler.clone();
        let special = tokenizer.vocab().special();
        if let Some(pad) = special.pad.filter(|pad| special.eos != Some(*pad)) {
            sampler.logit_bias.push((pad, f32::NEG_INFINITY)); // padding is never generated
        }
        Ok(Generator {
            sampler: Sampler::new(sampler, vocab_size)?,
            stops: StopMatcher::new(&options.stop)?,
            utf8: Utf8Stream::new(),
            bytes: Vec::with_capacity(64),
            text: String::with_capacity(64),
            sampled: None,
            pending: None,
            token: None,
            left: 0,
            n_tokens: 0,
            stop: None,
            session,
            tokenizer,
        })
    }

    /// Feeds `prompt` and begins a text of at most `max_tokens` tokens. It goes on from what the session holds;
    /// after an earlier text `prompt` may be empty.
    ///
    /// # Errors
    /// [`Error::NoTokens`], [`Error::Token`] and [`Error::ContextFull`] as [`Session::forward`]; the generator then
    /// stands where it stood. [`Error::Sampler`] when the logits allow no token.
    pub fn start(&mut self, prompt: &[u32], max_tokens: usize) -> Result<(), Error> {
        let logits = match self.pending {
            None => self.session.forward(prompt)?,
            Some(last) => {
                let joined: Vec<u32> = std::iter::once(last).chain(prompt.iter().copied()).collect();
                self.session.forward(&joined)?
            }
        };
        for &token in prompt {
            self.sampler.accept(token);
        }
        self.pending = None;
        self.sampled = None;
        self.stops.flush(&mut self.bytes);
        self.utf8 = Utf8Stream::new();
        (self.left, self.n_tokens, self.stop) = (max_tokens, 0, None);
        match max_tokens {
            0 => self.stop = Some(Stop::MaxTokens),
            _ => self.sampled = Some(self.sampler.sample(logits)?),
        }
        Ok(())
    }

    /// Generates one token and returns the text that it completes: empty while a character or what may be a stop
    /// string is not complete. `None` at the end; [`Generator::stop`] then says why.
    ///
    /// # Errors
    /// [`Error::NoTokens`] before [`Generator::start`]; [`Error::Sampler`] when the logits allow no token.
    pub fn next_piece(&mut self) -> Result<Option<&str>, Error> {
        self.text.clear();
        self.bytes.clear();
        self.token = None;
        if self.stop.is_some() {
            return Ok(None);
        }
        let Some(token) = self.next_token()? else {
            self.end(Stop::ContextFull);
            return Ok(Some(self.text.as_str()).filter(|text| !text.is_empty()));
        };
        if self.tokenizer.vocab().special().eos == Some(token) {
            self.pending = Some(token);
            self.end(Stop::EndOfText);
            return Ok(Some(self.text.as_str()).filter(|text| !text.is_empty()));
        }
        (self.pending, self.token) = (Some(token), Some(token));
        self.left -= 1;
        self.n_tokens += 1;
        let found = self.stops.push(self.tokenizer.token_bytes(token), &mut self.bytes);
        self.utf8.push(&self.bytes, &mut self.text);
        match found {
            Some(index) => self.end(Stop::StopString(index)),
            None if self.left == 0 => self.end(Stop::MaxTokens),
            None => {}
        }
        Ok(Some(&self.text))
    }

    /// Feeds what was shown last and samples; `None` when there is no room for it.
    fn next_token(&mut self) -> Result<Option<u32>, Error> {
        if let Some(token) = self.sampled.take() {
            return Ok(Some(token));
        }
        let Some(last) = self.pending else { return Err(Error::NoTokens) };
        if self.session.remaining() == Some(0) {
            return Ok(None);
        }
        let logits = self.session.forward(&[last])?;
        self.pending = None;
        Ok(Some(self.sampler.sample(logits)?))
    }

    /// Ends the text: what was held back is shown, unless it belongs to a stop string.
    fn end(&mut self, stop: Stop) {
        self.bytes.clear();
        self.stops.flush(&mut self.bytes);
        self.utf8.push(&self.bytes, &mut self.text);
        self.utf8.flush(&mut self.text);
        self.stop = Some(stop);
    }

    /// Why the text ended; `None` while it goes on.
    pub fn stop(&self) -> Option<Stop> {
        self.stop
    }

    /// The token of the last piece; `None` when the piece is only what had been held back.
    pub fn token(&self) -> Option<u32> {
        self.token
    }

    /// Tokens generated since [`Generator::start`], the end token not counted.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Forgets everything: session, history of penalties, random numbers.
    pub fn reset(&mut self) {
        self.session.reset();
        self.sampler.reset();
        self.stops.flush(&mut self.bytes);
        self.utf8 = Utf8Stream::new();
        (self.sampled, self.pending, self.token) = (None, None, None);
        (self.left, self.n_tokens, self.stop) = (0, 0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin_format::Vocab;
    use siskin_format::vocab::{PreTokenizer, SpecialIds, VocabKind, VocabParts};

    fn tokenizer(special: SpecialIds, chars: &[char]) -> Tokenizer {
        let mut tokens = vec![(b"<s>".to_vec(), TokenKind::Control), (b"</s>".to_vec(), TokenKind::Control)];
        tokens.extend(chars.iter().map(|c| (c.to_string().into_bytes(), TokenKind::Normal)));
        let (kind, pre_tokenizer) = (VocabKind::Char, PreTokenizer::None);
        let parts = VocabParts { kind, pre_tokenizer, tokens, scores: None, merges: Vec::new(), special };
        Tokenizer::from_vocab(&Vocab::new(parts).unwrap()).unwrap()
    }

    #[test]
    fn a_text_begins_with_the_most_sensible_token() {
        let (bos, eos) = (Some(0), Some(1));
        let both = tokenizer(SpecialIds { bos, eos, ..SpecialIds::default() }, &['a', '\n']);
        let end = tokenizer(SpecialIds { eos, ..SpecialIds::default() }, &['a', '\n']);
        let plain = |chars: &[char]| tokenizer(SpecialIds::default(), chars);
        assert_eq!(start_token(&both), 0);
        assert_eq!(start_token(&end), 1);
        assert_eq!(start_token(&plain(&['a', ' ', '\n'])), 4);
        assert_eq!(start_token(&plain(&['a', ' '])), 3);
        assert_eq!(start_token(&plain(&['b', 'a'])), 2);
        assert_eq!(prompt_tokens(&both, "a").unwrap(), [0, 2]);
        assert_eq!(prompt_tokens(&both, "").unwrap(), [0]);
        assert_eq!(prompt_tokens(&end, "a").unwrap(), [2]);
        assert_eq!(prompt_tokens(&end, "").unwrap(), [1]);
        assert!(prompt_tokens(&end, "x").is_err());
    }
}
