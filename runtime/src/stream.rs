//! Bytes of tokens to text, as they come.

/// Turns a stream of bytes into text. A character that is not complete yet is held back; bytes that cannot become
/// one are replaced by U+FFFD, exactly as [`String::from_utf8_lossy`] would replace them in the whole.
#[derive(Clone, Debug, Default)]
pub struct Utf8Stream {
    held: [u8; 3], // the beginning of a character
    n_held: usize,
}

impl Utf8Stream {
    /// A stream with nothing held back.
    pub fn new() -> Utf8Stream {
        Utf8Stream::default()
    }

    /// Appends to `text` all that `bytes` completes.
    pub fn push(&mut self, mut bytes: &[u8], text: &mut String) {
        while self.n_held > 0 {
            let Some((&next, rest)) = bytes.split_first() else { return };
            let mut joined = [0; 4];
            joined[..self.n_held].copy_from_slice(&self.held[..self.n_held]);
            joined[self.n_held] = next;
            match std::str::from_utf8(&joined[..=self.n_held]) {
                Ok(complete) => {
                    text.push_str(complete);
                    self.n_held = 0;
                    bytes = rest;
                }
                Err(error) if error.error_len().is_none() => {
                    self.held[self.n_held] = next; // at most 3 bytes are incomplete
                    self.n_held += 1;
                    bytes = rest;
                }
                // What was held ends here; `next` may begin something new.
                Err(_) => self.flush(text),
            }
        }
        while let Err(error) = std::str::from_utf8(bytes) {
            let (valid, rest) = bytes.split_at(error.valid_up_to());
            text.push_str(std::str::from_utf8(valid).unwrap_or_default());
            let Some(invalid) = error.error_len() else {
                self.held[..rest.len()].copy_from_slice(rest);
                self.n_held = rest.len();
                return;
            };
            text.push(char::REPLACEMENT_CHARACTER);
            bytes = &rest[invalid..];
        }
        text.push_str(std::str::from_utf8(bytes).unwrap_or_default());
    }

    /// Takes what [`Utf8Stream::held`] told of another stream; false when it is not what would be held back.
    pub(crate) fn take_back(&mut self, held: &[u8]) -> bool {
        let mut text = String::new(); // nothing is pushed to it, unless the answer is false
        self.push(held, &mut text);
        self.held() == held
    }

    /// The beginning of a character that is held back.
    pub(crate) fn held(&self) -> &[u8] {
        &self.held[..self.n_held]
    }

    /// Ends the stream: what was held back becomes U+FFFD.
    pub fn flush(&mut self, text: &mut String) {
        if self.n_held > 0 {
            text.push(char::REPLACEMENT_CHARACTER);
            self.n_held = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_character_waits_for_its_last_byte() {
        let mut stream = Utf8Stream::new();
        let mut text = String::new();
        for (byte, expected) in "é你🙂".bytes().zip(["", "é", "é", "é", "é你", "é你", "é你", "é你", "é你🙂"])
        {
            stream.push(&[byte], &mut text);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn flush_replaces_what_never_came() {
        let mut stream = Utf8Stream::new();
        let mut text = String::new();
        stream.push(b"a\xE4\xBD", &mut text);
        assert_eq!(text, "a");
        stream.flush(&mut text);
        stream.flush(&mut text);
        assert_eq!(text, "a\u{FFFD}");
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<char>().prop_map(|c| c.to_string().into_bytes()),
            any::<u8>().prop_map(|b| vec![b]),
            prop::sample::select(vec![
                &b"\xE4\xBD"[..],
                b"\xF0\x9F",
                b"\xF0\x9F\x99",
                b"\xC3",
                b"\xE0\x80",
                b"\xED\xA0\x80",
                b"\xF4\x90",
            ])
            .prop_map(|b| b.to_vec()),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn any_cutting_gives_the_text_of_the_whole(bytes in bytes(), cut in 1usize..6) {
            let mut stream = Utf8Stream::new();
            let mut text = String::new();
            for piece in bytes.chunks(cut) {
                stream.push(piece, &mut text);
            }
            stream.flush(&mut text);
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
