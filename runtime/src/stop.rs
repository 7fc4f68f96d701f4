//! Stop strings: generation ends where one of them appears in the text, and none of it is shown.

/// Why a set of stop strings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopError {
    /// An empty string would stop before the first token.
    Empty,
    /// Longer than [`MAX_STOP_LEN`] bytes.
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The system has no memory for them.
    OutOfMemory,
}

impl std::fmt::Display for StopError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StopError::Empty => f.write_str("a stop string is empty: give at least one character"),
            StopError::TooLong { len } => {
                write!(f, "a stop string has {len} bytes, expected at most {MAX_STOP_LEN}")
            }
            StopError::OutOfMemory => {
                f.write_str("the system has no memory for the stop strings; give fewer")
            }
        }
    }
}

impl std::error::Error for StopError {}

/// Longest stop string, in bytes.
pub const MAX_STOP_LEN: usize = 4096;

/// Looks for stop strings in a stream of bytes, across any cutting of it into tokens, and holds back what may
/// become one.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    stops: Vec<Automaton>,
    held: Vec<u8>, // the longest end of the stream that begins a stop string
}

/// Knuth, Morris and Pratt's automaton of one string.
#[derive(Clone, Debug)]
struct Automaton {
    pattern: Vec<u8>,
    fallback: Vec<usize>, // [len] longest proper beginning of pattern[..=i] that is also its end
    matched: usize,       // how much of the pattern the stream ends in
}

impl StopMatcher {
    /// A matcher for the given strings; without any it passes everything on.
    ///
    /// # Errors
    /// An empty or over-long string, and no memory.
    pub fn new<S: AsRef<[u8]>>(stops: &[S]) -> Result<StopMatcher, StopError> {
        let mut matcher = StopMatcher { stops: reserved(stops.len())?, held: Vec::new() };
        for stop in stops {
            matcher.stops.push(Automaton::new(stop.as_ref())?);
        }
        matcher.held = reserved(matcher.longest())?;
        Ok(matcher)
    }

    /// Bytes of the longest string, and most that are held back.
    pub fn longest(&self) -> usize {
        self.stops.iter().map(|s| s.pattern.len()).max().unwrap_or(0)
    }

    /// The strings, in order.
    pub(crate) fn stops(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.stops.iter().map(|stop| &stop.pattern[..])
    }

    /// Takes what [`StopMatcher::held`] told of another matcher; false when it is not what would be held back.
    pub(crate) fn take_back(&mut self, held: &[u8]) -> bool {
        let mut out = Vec::new(); // nothing is pushed to it, unless the answer is false
        held.iter().all(|byte| self.push(std::slice::from_ref(byte), &mut out).is_none() && out.is_empty())
    }

    /// What is held back. A new matcher of the same strings that is given these bytes stands where this one does.
    pub(crate) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Takes more bytes of the stream and appends to `out` what is certain not to belong to a stop string.
    ///
    /// Returns the index of the stop string that was found: then `out` has all of the stream up to where it
    /// begins, and the matcher starts afresh. Of several that end at the same byte it is the longest; bytes after
    /// it are dropped.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        if self.stops.is_empty() {
            out.extend_from_slice(bytes);
            return None;
        }
        for &byte in bytes {
            self.held.push(byte);
            let mut found: Option<(usize, usize)> = None; // length, index
            for (i, stop) in self.stops.iter_mut().enumerate() {
                let len = stop.pattern.len();
                if stop.step(byte) && found.is_none_or(|(longest, _)| len > longest) {
                    found = Some((len, i));
                }
            }
            if let Some((len, i)) = found {
                out.extend_from_slice(&self.held[..self.held.len() - len]);
                self.reset();
                return Some(i);
            }
            let keep = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
            out.extend(self.held.drain(..self.held.len() - keep));
        }
        None
    }

    /// Ends the stream: appends what was held back.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.held);
        self.reset();
    }

    fn reset(&mut self) {
        self.held.clear();
        for stop in &mut self.stops {
            stop.matched = 0;
        }
    }
}

fn reserved<T>(n: usize) -> Result<Vec<T>, StopError> {
    let mut v = Vec::new();
    v.try_reserve_exact(n).map_err(|_| StopError::OutOfMemory)?;
    Ok(v)
}

impl Automaton {
    fn new(pattern: &[u8]) -> Result<Automaton, StopError> {
        if pattern.is_empty() {
            return Err(StopError::Empty);
        }
        if pattern.len() > MAX_STOP_LEN {
            return Err(StopError::TooLong { len: pattern.len() });
        }
        let mut fallback = reserved(pattern.len())?;
        fallback.resize(pattern.len(), 0);
        let mut len = 0;
        for i in 1..pattern.len() {
            while len > 0 && pattern[i] != pattern[len] {
                len = fallback[len - 1];
            }
            len += usize::from(pattern[i] == pattern[len]);
            fallback[i] = len;
        }
        let mut owned = reserved(pattern.len())?;
        owned.extend_from_slice(pattern);
        Ok(Automaton { pattern: owned, fallback, matched: 0 })
    }

    /// Takes one byte; true if the pattern is complete, after which the automaton must be reset.
    fn step(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.pattern[self.matched] != byte {
            self.matched = self.fallback[self.matched - 1];
        }
        self.matched += usize::from(self.pattern[self.matched] == byte);
        self.matched == self.pattern.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], tokens: &[&str]) -> (String, Option<usize>) {
        let mut matcher = StopMatcher::new(stops).unwrap();
        let mut out = Vec::new();
        for token in tokens {
            if let Some(found) = matcher.push(token.as_bytes(), &mut out) {
                return (String::from_utf8(out).unwrap(), Some(found));
            }
        }
        matcher.flush(&mut out);
        (String::from_utf8(out).unwrap(), None)
    }

    #[test]
    fn a_stop_string_is_found_across_tokens_and_not_shown() {
        assert_eq!(run(&["\n\n"], &["a", "\n", "\nb"]), ("a".into(), Some(0)));
        assert_eq!(run(&["User:"], &["hi", "Us", "er", ":x"]), ("hi".into(), Some(0)));
        assert_eq!(run(&["世界"], &["你好世", "界"]), ("你好".into(), Some(0)));
        assert_eq!(run(&["aab"], &["aaaab"]), ("aa".into(), Some(0)));
        assert_eq!(run(&["abab", "b"], &["aab"]), ("aa".into(), Some(1)));
        assert_eq!(run(&["b", "ab"], &["xab"]), ("x".into(), Some(1)));
        assert_eq!(run(&[], &["all", " of it"]), ("all of it".into(), None));
    }

    #[test]
    fn only_a_possible_beginning_is_held_back() {
        let mut matcher = StopMatcher::new(&["END.", "xyz"]).unwrap();
        let mut out = Vec::new();
        assert_eq!(matcher.push(b"an EN", &mut out), None);
        assert_eq!(out, b"an ");
        assert_eq!(matcher.push(b"E", &mut out), None);
        assert_eq!(out, b"an EN");
        assert_eq!(matcher.push(b"ND", &mut out), None);
        assert_eq!(out, b"an EN");
        matcher.flush(&mut out);
        assert_eq!(out, b"an ENEND");
        assert_eq!(matcher.push(b".", &mut out), None); // flush forgot the beginning
        assert_eq!(out, b"an ENEND.");
    }

    #[test]
    fn it_starts_afresh_after_a_match() {
        let mut matcher = StopMatcher::new(&["ab"]).unwrap();
        let mut out = Vec::new();
        assert_eq!(matcher.push(b"xab", &mut out), Some(0));
        assert_eq!(matcher.push(b"b", &mut out), None);
        assert_eq!(matcher.push(b"ab", &mut out), Some(0));
        assert_eq!(out, b"xb");
    }

    #[test]
    fn useless_stop_strings_are_refused() {
        assert_eq!(StopMatcher::new(&["a", ""]).unwrap_err(), StopError::Empty);
        assert_eq!(StopMatcher::new(&["a".repeat(4097)]).unwrap_err(), StopError::TooLong { len: 4097 });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn agrees_with_searching_the_whole(
            stops in prop::collection::vec("[ab]{1,5}", 0..4), text in "[abc]{0,40}", cut in 1usize..7,
        ) {
            let mut matcher = StopMatcher::new(&stops).unwrap();
            let mut out = Vec::new();
            let found = text.as_bytes().chunks(cut).find_map(|piece| matcher.push(piece, &mut out));
            matcher.flush(&mut out);
            // The first end of any stop string; of several there, the longest.
            let expected = (0..=text.len()).find_map(|end| {
                let here = stops.iter().enumerate().filter(|(_, s)| text[..end].ends_with(s.as_str()));
                here.map(|(_, s)| (s.len(), end)).max()
            });
            match expected {
                None => {
                    prop_assert_eq!(found, None);
                    prop_assert_eq!(out, text.into_bytes());
                }
                Some((len, end)) => {
                    prop_assert_eq!(stops[found.unwrap()].len(), len);
                    prop_assert_eq!(out, &text.as_bytes()[..end - len]);
                }
            }
        }
    }
}
