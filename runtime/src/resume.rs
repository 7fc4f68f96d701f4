//! A generator's state as bytes: all that decides what comes next, so that the text goes on elsewhere as it would have here.
//!
//! All numbers are little-endian; `NONE` is all ones.
//!
//! ```text
//! magic         8    "SISKTEXT"
//! version       u32  1
//! flags         u32  bit 0: a text was begun; bit 1: temperature first
//! len           u64  of this part, with its checksum; the session's state follows (saved.rs)
//! temperature, top-p, min-p, repetition, frequency, presence penalty   f32 [6]
//! top-k, last n of penalties or NONE, seed                             u64 [3]
//! random numbers                                                       u64 [4]
//! pending token, token of the last piece, each or NONE                 u32 [2]
//! stop, index of the stop string                                       u32 [2]
//! tokens left, tokens generated                                        u64 [2]
//! logit bias    u32 n, then n × (u32 token, f32 bias)
//! history       u32 n, then n × (u32 token, u32 count)
//! stop strings  u32 n, then n × (u32 len, bytes)
//! held back     u32 len, bytes that may begin a stop string; u32 len, bytes that begin a character
//! checksum      u64  XXH64 of all bytes before it
//! ```

use crate::activations::reserved;
use crate::error::Error;
use crate::generate::{Generator, Progress, Stop};
use crate::sampler::{Rng, SamplerError, SamplerOptions};
use crate::stop::{StopError, StopMatcher};
use crate::stream::Utf8Stream;
use siskin_format::xxh64::xxh64;

const MAGIC: &[u8; 8] = b"SISKTEXT";
const VERSION: u32 = 1;
/// Bytes up to `len`.
const START: usize = 24;
const CHECKSUM: usize = 8;
const NONE: u32 = u32::MAX;

impl Generator {
    /// Bytes that [`Generator::save`] writes now.
    pub fn saved_bytes(&self) -> usize {
        self.text_bytes() + self.session.saved_bytes()
    }

    fn text_bytes(&self) -> usize {
        let mut count = 0;
        self.write(0, &mut |bytes| count += bytes.len());
        count + CHECKSUM
    }

    /// Writes all that decides what comes next to `out`, [`Generator::saved_bytes`] long: the session's state, the options,
    /// random numbers and history of the sampler, the stop strings, what is held back of the text, and how far it is.
    ///
    /// # Panics
    /// When `out` has another length.
    pub fn save(&self, out: &mut [u8]) {
        assert_eq!(out.len(), self.saved_bytes(), "bytes of a saved state");
        let (text, session) = out.split_at_mut(self.text_bytes());
        let mut at = 0;
        self.write(text.len() as u64, &mut |bytes| {
            text[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        });
        let checksum = xxh64(&text[..at]);
        text[at..].copy_from_slice(&checksum.to_le_bytes());
        self.session.save(session);
    }

    /// Gives `put` everything but the checksum.
    fn write(&self, len: u64, put: &mut dyn FnMut(&[u8])) {
        let (options, progress) = (self.sampler.options(), &self.progress);
        put(MAGIC);
        put(&VERSION.to_le_bytes());
        put(&(u32::from(progress.begun) | u32::from(options.temperature_first) << 1).to_le_bytes());
        put(&len.to_le_bytes());
        let penalties = [options.repetition_penalty, options.frequency_penalty, options.presence_penalty];
        for x in [options.temperature, options.top_p, options.min_p].into_iter().chain(penalties) {
            put(&x.to_le_bytes());
        }
        let last_n = options.penalty_last_n.map_or(u64::MAX, |n| n as u64);
        for x in [options.top_k as u64, last_n, options.seed].into_iter().chain(self.sampler.rng().state()) {
            put(&x.to_le_bytes());
        }
        let (stop, index) = stop_code(progress.stop);
        for x in [progress.pending.unwrap_or(NONE), progress.token.unwrap_or(NONE), stop, index] {
            put(&x.to_le_bytes());
        }
        for x in [progress.left as u64, progress.n_tokens as u64] {
            put(&x.to_le_bytes());
        }
        put(&(options.logit_bias.len() as u32).to_le_bytes());
        for (token, bias) in &options.logit_bias {
            put(&token.to_le_bytes());
            put(&bias.to_le_bytes());
        }
        put(&(self.sampler.history().count() as u32).to_le_bytes());
        for (token, count) in self.sampler.history() {
            put(&token.to_le_bytes());
            put(&count.to_le_bytes());
        }
        put(&(self.stops.stops().len() as u32).to_le_bytes());
        for bytes in self.stops.stops().chain([self.stops.held(), self.utf8.held()]) {
            put(&(bytes.len() as u32).to_le_bytes());
            put(bytes);
        }
    }

    /// Goes on from what [`Generator::save`] wrote, of the same model, on whatever machine, with any number of threads and any
    /// context that is large enough. The options of this generator are replaced by the saved ones.
    ///
    /// # Errors
    /// [`Error::SavedState`] for bytes that are damaged or of another model, [`Error::ContextFull`] when the session's context
    /// is too small for them, [`Error::OutOfMemory`]. The generator then stands where it stood.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let (text, session) = split(bytes)?;
        let vocab_size = self.tokenizer().vocab_size();
        let saved = Saved::read(Reader { left: text }, vocab_size)?;
        self.make_room(saved.stops.longest())?;
        // The sampler's part is checked in a copy of nothing but its history, then the session; neither fails half-way.
        let history = Reader { left: saved.history };
        let pairs = history.pairs();
        let sampler =
            self.sampler.prepared(saved.options, saved.rng, pairs).map_err(|error| match error {
                Some(SamplerError::OutOfMemory { bytes }) => Error::OutOfMemory { bytes },
                _ => Error::SavedState("its sampler cannot have been so"),
            })?;
        self.session.restore(session)?;
        self.sampler.resume(sampler);
        (self.stops, self.utf8, self.progress) = (saved.stops, saved.utf8, saved.progress);
        Ok(())
    }
}

/// A stop as two numbers.
fn stop_code(stop: Option<Stop>) -> (u32, u32) {
    match stop {
        None => (0, 0),
        Some(Stop::MaxTokens) => (1, 0),
        Some(Stop::StopString(index)) => (2, index as u32),
        Some(Stop::EndOfText) => (3, 0),
        Some(Stop::ContextFull) => (4, 0),
    }
}

/// Checks that a saved state is whole and of this version, and gives its two parts, the first without start and checksum.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let mut reader = Reader { left: bytes };
    if !reader.array::<8>().is_ok_and(|magic| magic == *MAGIC) {
        return Err(Error::SavedState("it does not begin like one"));
    }
    if reader.u32()? != VERSION {
        return Err(Error::SavedState("another version of siskin wrote it"));
    }
    let _flags = reader.u32()?;
    let len = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
    let parts = bytes.split_at_checked(len).filter(|_| len >= START + CHECKSUM);
    let (text, session) = parts.ok_or(Error::SavedState("it is too short"))?;
    let (body, checksum) = text.split_at(len - CHECKSUM);
    if *checksum != xxh64(body).to_le_bytes() {
        return Err(Error::SavedState("its checksum does not match: it is cut or damaged"));
    }
    Ok((&body[MAGIC.len() + 4..], session))
}

/// What the text's part of a saved state says.
struct Saved<'a> {
    options: SamplerOptions,
    rng: Rng,
    history: &'a [u8],
    stops: StopMatcher,
    utf8: Utf8Stream,
    progress: Progress,
}

impl<'a> Saved<'a> {
    /// Reads what [`split`] found; nothing of it is believed but the checksum.
    fn read(mut reader: Reader<'a>, vocab_size: usize) -> Result<Saved<'a>, Error> {
        const WRONG: Error = Error::SavedState("it says what no session can be in");
        let flags = reader.u32()?;
        reader.u64()?; // its length
        let [temperature, top_p, min_p, repetition_penalty, frequency_penalty, presence_penalty] =
            reader.numbers(f32::from_le_bytes)?;
        let [top_k, last_n, seed] = reader.numbers(u64::from_le_bytes)?;
        let rng = Rng::from_state(reader.numbers(u64::from_le_bytes)?).ok_or(WRONG)?;
        let [pending, token, stop, index] = reader.numbers(u32::from_le_bytes)?;
        let [left, n_tokens] = reader.numbers(u64::from_le_bytes)?;
        let size = |n: u64| usize::try_from(n).map_err(|_| WRONG);
        let id = |token: u32| match token {
            NONE => Ok(None),
            token if (token as usize) < vocab_size => Ok(Some(token)),
            _ => Err(WRONG),
        };
        let biases = reader.list(8)?;
        let mut logit_bias = reserved(biases.len() / 8)?;
        logit_bias.extend(Reader { left: biases }.pairs().map(|(token, bias)| (token, f32::from_bits(bias))));
        let history = reader.list(8)?;
        let (stops, utf8) = reader.held()?;
        let stop = match (stop, index as usize) {
            (0, 0) => None,
            (1, 0) => Some(Stop::MaxTokens),
            (2, index) if index < stops.stops().len() => Some(Stop::StopString(index)),
            (3, 0) => Some(Stop::EndOfText),
            (4, 0) => Some(Stop::ContextFull),
            _ => return Err(WRONG),
        };
        let begun = flags & 1 == 1;
        // A text that goes on has tokens left; the rest of what progress says decides nothing by itself.
        if flags > 3 || !reader.left.is_empty() || (begun && stop.is_none() && left == 0) {
            return Err(WRONG);
        }
        let (left, n_tokens) = (size(left)?, size(n_tokens)?);
        n_tokens.checked_add(left).ok_or(WRONG)?;
        Ok(Saved {
            options: SamplerOptions {
                temperature,
                top_k: size(top_k)?,
                top_p,
                min_p,
                repetition_penalty,
                frequency_penalty,
                presence_penalty,
                penalty_last_n: if last_n == u64::MAX { None } else { Some(size(last_n)?) },
                logit_bias,
                temperature_first: flags & 2 == 2,
                seed,
            },
            rng,
            history,
            stops,
            utf8,
            progress: Progress { begun, pending: id(pending)?, token: id(token)?, left, n_tokens, stop },
        })
    }
}

/// Bytes that are still to be read; every reading may find too few.
struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let (bytes, left) = self.left.split_at_checked(n).ok_or(Error::SavedState("it is too short"))?;
        self.left = left;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    fn numbers<T: Copy + Default, const B: usize, const N: usize>(
        &mut self,
        from: fn([u8; B]) -> T,
    ) -> Result<[T; N], Error> {
        let mut numbers = [T::default(); N];
        for number in &mut numbers {
            *number = from(self.array()?);
        }
        Ok(numbers)
    }

    /// The bytes of as many elements of `size` bytes as a count before them says.
    fn list(&mut self, size: usize) -> Result<&'a [u8], Error> {
        let n = self.u32()? as usize;
        self.bytes(n.checked_mul(size).ok_or(Error::SavedState("it is too short"))?)
    }

    /// Stop strings, and what is held back: bytes that begin one of them, and bytes that begin a character.
    fn held(&mut self) -> Result<(StopMatcher, Utf8Stream), Error> {
        let n = self.u32()? as usize;
        // Each of them takes at least five bytes, so a wrong count cannot ask for much memory.
        let mut strings = reserved(n.min(self.left.len() / 5))?;
        for _ in 0..n {
            strings.push(self.list(1)?);
        }
        let mut stops = StopMatcher::new(&strings).map_err(|error| match error {
            StopError::OutOfMemory => Error::OutOfMemory { bytes: self.left.len() },
            _ => Error::SavedState("its stop strings are none"),
        })?;
        let (begins_stop, begins_char) = (self.list(1)?, self.list(1)?);
        let mut utf8 = Utf8Stream::new();
        let held = begins_stop.len() <= stops.longest() && begins_char.len() < 4;
        // What was held back is held back again.
        if !held || !stops.take_back(begins_stop) || !utf8.take_back(begins_char) {
            return Err(Error::SavedState("it holds back what is no beginning"));
        }
        Ok((stops, utf8))
    }

    /// Pairs of numbers, to the end.
    fn pairs(&self) -> impl Iterator<Item = (u32, u32)> + use<'a> {
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
        self.left.chunks_exact(8).map(move |pair| (number(&pair[..4]), number(&pair[4..])))
    }
}
