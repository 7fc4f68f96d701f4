//! The generation loop: prompt in, text out, piece by piece.
//!
//! A [`Generator`] joins a session, a sampler, stop strings and UTF-8-safe streaming. It keeps its session between
//! runs, so a conversation goes on where it stood.

use crate::activations::reserved;
use crate::error::Error;
use crate::kernels::memory::Memory;
use crate::sampler::{Sampler, SamplerOptions};
use crate::session::{Session, log_prob};
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

/// The tokens with which a model goes on from `text`: those of the text, after the token that
/// [begins](siskin_format::Vocab::first_token) a text of the vocabulary, if one does. For an empty text without one, [`start_token`] alone. A model with an encoder reads the tokens of a text as they are:
/// [`Model::prompt_tokens`](crate::Model::prompt_tokens) tells the two apart.
///
/// # Errors
/// Text that the vocabulary cannot express.
pub fn prompt_tokens(tokenizer: &Tokenizer, text: impl AsRef<[u8]>) -> Result<Vec<u32>, TokenizerError> {
    let mut tokens: Vec<u32> = tokenizer.vocab().first_token().into_iter().collect();
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

/// Generates text with one session. Between [`Generator::start`] and the end of the text nothing is allocated.
#[derive(Debug)]
pub struct Generator {
    pub(crate) session: Session,
    tokenizer: Arc<Tokenizer>,
    pub(crate) sampler: Sampler,
    pub(crate) stops: StopMatcher,
    pub(crate) utf8: Utf8Stream,
    bytes: Vec<u8>,
    text: String,
    pub(crate) progress: Progress,
}

/// How far a text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) begun: bool,          // by `start`, and nothing else was fed since
    pub(crate) pending: Option<u32>, // shown, not fed to the model yet
    pub(crate) token: Option<u32>,   // of the last piece
    pub(crate) left: usize,
    pub(crate) n_tokens: usize,
    pub(crate) stop: Option<Stop>,
}

impl Generator {
    /// A generator that begins where `session` stands.
    ///
    /// # Errors
    /// [`Error::Sampler`] and [`Error::Stop`] for options that make no sense, [`Error::OutOfMemory`].
    ///
    /// # Panics
    /// When the tokenizer is not that of the session's model: another number of tokens.
    pub fn new(
        session: Session,
        tokenizer: Arc<Tokenizer>,
        options: &GenerateOptions,
    ) -> Result<Generator, Error> {
        let bytes = Sampler::bytes(tokenizer.vocab_size());
        let mut memory = Memory::new(bytes).ok_or(Error::OutOfMemory { bytes })?;
        Generator::new_in(session, tokenizer, options, &mut memory)
    }

    /// As [`Generator::new`], with the sampler in memory of the caller, which takes [`Sampler::bytes`] of it. What is
    /// allocated besides are the stop strings, room for one piece of text, and what penalties take.
    ///
    /// # Errors
    /// As [`Generator::new`].
    ///
    /// # Panics
    /// As [`Generator::new`].
    pub fn new_in(
        session: Session,
        tokenizer: Arc<Tokenizer>,
        options: &GenerateOptions,
        memory: &mut Memory,
    ) -> Result<Generator, Error> {
        let vocab_size = session.model().config().vocab_size;
        assert_eq!(tokenizer.vocab_size(), vocab_size, "tokens of tokenizer and model");
        let sampler = sampler_options(&tokenizer, &options.sampler)?;
        let mut generator = Generator {
            sampler: Sampler::new_in(sampler, vocab_size, memory)?,
            stops: StopMatcher::new(&options.stop)?,
            utf8: Utf8Stream::new(),
            bytes: Vec::new(),
            text: String::new(),
            progress: Progress::default(),
            session,
            tokenizer,
        };
        generator.make_room(generator.stops.longest())?;
        Ok(generator)
    }

    /// Chooses tokens by other options from now on: random numbers from their seed, an empty history for penalties. A text
    /// that is under way ends; the next goes on from what the session holds.
    ///
    /// # Errors
    /// As [`Generator::new`]; the generator is then unchanged.
    pub fn set_options(&mut self, options: &GenerateOptions) -> Result<(), Error> {
        let stops = StopMatcher::new(&options.stop)?;
        self.make_room(stops.longest())?;
        self.sampler.set_options(sampler_options(&self.tokenizer, &options.sampler)?)?;
        self.stops = stops;
        self.end_text();
        Ok(())
    }

    /// Makes room for the longest piece of text, so that no step allocates: a token and what was held back, each byte of
    /// which may become U+FFFD.
    pub(crate) fn make_room(&mut self, longest_stop: usize) -> Result<(), Error> {
        let bytes = self.tokenizer.longest_token() + longest_stop;
        let text = 3 * (bytes + size_of::<Utf8Stream>());
        self.bytes.clear();
        self.text.clear();
        self.bytes.try_reserve(bytes).map_err(|_| Error::OutOfMemory { bytes })?;
        self.text.try_reserve(text).map_err(|_| Error::OutOfMemory { bytes: text })
    }

    /// Feeds `prompt` and begins a text of at most `max_tokens` tokens. It goes on from what the session holds;
    /// after an earlier text or [`Generator::feed`] `prompt` may be empty. A model with an encoder reads a prompt that is not
    /// empty as the source of a new text, and forgets what was before.
    ///
    /// # Errors
    /// [`Error::NoTokens`], [`Error::Token`], [`Error::ContextFull`] and [`Error::Cancelled`] as [`Session::forward`];
    /// [`Error::OutOfMemory`]. The generator then stands where it stood; when it is cancelled between a source and its target, it
    /// is as after [`Generator::reset`].
    pub fn start(&mut self, prompt: &[u32], max_tokens: usize) -> Result<(), Error> {
        if !prompt.is_empty() && self.session.model().config().has_encoder() {
            self.read_source(prompt)?;
        } else {
            self.feed(prompt)?;
        }
        let stop = (max_tokens == 0).then_some(Stop::MaxTokens);
        self.progress = Progress { begun: true, left: max_tokens, stop, ..Progress::default() };
        Ok(())
    }

    /// Lets the encoder read `source`, and begins the target.
    fn read_source(&mut self, source: &[u32]) -> Result<(), Error> {
        self.session.encode(source)?;
        let start = self.session.model().target_start();
        if let Err(error) = self.session.forward(&[start]) {
            self.reset();
            return Err(error);
        }
        self.sampler.forget();
        self.end_text();
        self.progress.pending = None;
        Ok(())
    }

    /// Feeds tokens, after the last one of a text under way, which ends. Penalties count them. Without tokens it only feeds
    /// that last one. The first tokens that a model with an encoder is fed are the source, which penalties do not count, and those
    /// after it belong to the target.
    ///
    /// # Errors
    /// As [`Generator::start`].
    pub fn feed(&mut self, tokens: &[u32]) -> Result<(), Error> {
        if self.session.model().config().has_encoder() && self.session.source_len().is_none() {
            return self.read_source(tokens);
        }
        match self.progress.pending {
            None if tokens.is_empty() && self.session.logits().is_some() => {}
            None => {
                self.session.forward(tokens)?;
            }
            Some(last) => {
                let mut joined = reserved(tokens.len() + 1)?;
                joined.push(last);
                joined.extend_from_slice(tokens);
                self.session.forward(&joined)?;
            }
        }
        for &token in tokens {
            self.sampler.accept(token);
        }
        self.end_text();
        self.progress.pending = None;
        Ok(())
    }

    /// Feeds tokens as [`Generator::feed`] does and calls `f(i, log_prob)` with the log-probability of each, after all before
    /// it; not for the first token of an empty session, which nothing predicts.
    ///
    /// # Errors
    /// As [`Generator::start`]; [`Error::NoSource`] in a model with an encoder that has read none. `f` may have been called then.
    pub fn score(&mut self, tokens: &[u32], mut f: impl FnMut(usize, f64)) -> Result<(), Error> {
        let vocab_size = self.tokenizer.vocab_size();
        let Some(&first) = tokens.first() else { return Err(Error::NoTokens) };
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab_size) {
            return Err(Error::Token { token, vocab_size });
        }
        let last = self.progress.pending;
        let n = tokens.len() + usize::from(last.is_some());
        if let Some(ctx) = self.session.context().filter(|_| self.session.remaining() < Some(n)) {
            return Err(Error::ContextFull { position: self.session.position(), tokens: n, ctx });
        }
        if last.is_some() {
            self.session.forward(last.as_slice())?;
            self.progress.pending = None;
        }
        if let Some(logits) = self.session.logits() {
            f(0, log_prob(logits, first as usize));
        }
        self.session.forward_each(tokens, |i, logits| {
            if let Some(&next) = tokens.get(i + 1) {
                f(i + 1, log_prob(logits, next as usize));
            }
        })?;
        for &token in tokens {
            self.sampler.accept(token);
        }
        self.end_text();
        Ok(())
    }

    /// Chooses a token by the logits that follow all that was fed, and the last token of a text under way. It is neither fed
    /// nor counted by penalties before it is fed.
    ///
    /// # Errors
    /// [`Error::NoTokens`] when nothing was fed, [`Error::Sampler`] when the logits allow no token, and those of feeding.
    pub fn sample(&mut self) -> Result<u32, Error> {
        self.feed(&[])?;
        let logits = self.session.logits().ok_or(Error::NoTokens)?;
        Ok(self.sampler.choose(logits)?)
    }

    /// Generates one token and returns the text that it completes: empty while a character or what may be a stop
    /// string is not complete. `None` at the end; [`Generator::stop`] then says why.
    ///
    /// # Errors
    /// [`Error::NoTokens`] when no text was begun, [`Error::Sampler`] when the logits allow no token,
    /// [`Error::Cancelled`]. The text can go on after the last two.
    pub fn next_piece(&mut self) -> Result<Option<&str>, Error> {
        self.text.clear();
        self.bytes.clear();
        self.progress.token = None;
        if !self.progress.begun {
            return Err(Error::NoTokens);
        }
        if self.progress.stop.is_some() {
            return Ok(None);
        }
        let Some(token) = self.next_token()? else {
            self.end(Stop::ContextFull);
            return Ok(Some(self.text.as_str()).filter(|text| !text.is_empty()));
        };
        self.progress.pending = Some(token);
        if self.ends_text(token) {
            self.end(Stop::EndOfText);
            return Ok(Some(self.text.as_str()).filter(|text| !text.is_empty()));
        }
        self.progress.token = Some(token);
        self.progress.left -= 1;
        self.progress.n_tokens += 1;
        let mut bytes = self.tokenizer.token_bytes(token);
        let vocab = self.tokenizer.vocab();
        if self.progress.n_tokens == 1
            && vocab.add_space_prefix()
            && vocab.add_bos()
            && self.session.position() == 1
        {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes); // the dummy prefix of a text that begins here
        }
        let found = self.stops.push(bytes, &mut self.bytes);
        self.utf8.push(&self.bytes, &mut self.text);
        match found {
            Some(index) => self.end(Stop::StopString(index)),
            None if self.progress.left == 0 => self.end(Stop::MaxTokens),
            None => {}
        }
        Ok(Some(&self.text))
    }

    /// Whether a token is the vocabulary's end token or ends a reply.
    fn ends_text(&self, token: u32) -> bool {
        let vocab = self.tokenizer.vocab();
        vocab.special().eos == Some(token) || vocab.chat().is_some_and(|chat| chat.stops.contains(&token))
    }

    /// Feeds what was shown last and samples; `None` when there is no room for it.
    fn next_token(&mut self) -> Result<Option<u32>, Error> {
        if let Some(last) = self.progress.pending {
            if self.session.remaining() == Some(0) {
                return Ok(None);
            }
            self.session.forward(&[last])?;
            self.progress.pending = None;
        }
        let logits = self.session.logits().ok_or(Error::NoTokens)?;
        Ok(Some(self.sampler.sample(logits)?))
    }

    /// Ends the text: what was held back is shown, unless it belongs to a stop string.
    fn end(&mut self, stop: Stop) {
        self.bytes.clear();
        self.stops.flush(&mut self.bytes);
        self.utf8.push(&self.bytes, &mut self.text);
        self.utf8.flush(&mut self.text);
        self.progress.stop = Some(stop);
    }

    /// Gives the text up, and what was held back of it.
    fn end_text(&mut self) {
        self.bytes.clear();
        self.stops.flush(&mut self.bytes);
        self.utf8 = Utf8Stream::new();
        self.progress = Progress { pending: self.progress.pending, ..Progress::default() };
    }

    /// Whether a text was begun and nothing else was fed since: [`Generator::next_piece`] has something to say.
    pub fn has_begun(&self) -> bool {
        self.progress.begun
    }

    /// Why the text ended; `None` while it goes on.
    pub fn stop(&self) -> Option<Stop> {
        self.progress.stop
    }

    /// The token with which the model ended the text, which has no text of its own; it is fed before whatever comes next.
    pub fn end_token(&self) -> Option<u32> {
        self.progress.pending.filter(|_| self.progress.stop == Some(Stop::EndOfText))
    }

    /// The token of the last piece; `None` when the piece is only what had been held back.
    pub fn token(&self) -> Option<u32> {
        self.progress.token
    }

    /// Tokens generated since [`Generator::start`], the end token not counted.
    pub fn n_tokens(&self) -> usize {
        self.progress.n_tokens
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Forgets everything: session, history of penalties, random numbers.
    pub fn reset(&mut self) {
        self.session.reset();
        self.sampler.reset();
        self.end_text();
        self.progress.pending = None;
    }
}

/// The sampler's options, with the padding token banned, which is never to be generated.
fn sampler_options(tokenizer: &Tokenizer, options: &SamplerOptions) -> Result<SamplerOptions, Error> {
    let special = tokenizer.vocab().special();
    let pad = special.pad.filter(|pad| special.eos != Some(*pad));
    let mut logit_bias = reserved(options.logit_bias.len() + 1)?;
    logit_bias.extend_from_slice(&options.logit_bias);
    logit_bias.extend(pad.map(|pad| (pad, f32::NEG_INFINITY)));
    Ok(SamplerOptions { logit_bias, ..options.without_bias() })
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
        let parts = VocabParts {
            kind,
            pre_tokenizer,
            tokens,
            scores: None,
            merges: Vec::new(),
            special,
            ..VocabParts::default()
        };
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
