//! A vocabulary at work, for what is short enough to be in memory.

use siskin::Tokenizer;
use siskin_format::Vocab;

use crate::error::{Error, Result};

/// The token ids of a text.
///
/// # Errors
/// Text that the vocabulary cannot express.
pub fn encode(vocab: &Vocab, text: &[u8]) -> Result<Vec<u32>> {
    let tokenizer = Tokenizer::from_vocab(vocab).map_err(|e| Error::Data(e.to_string()))?;
    tokenizer.encode(text).map_err(|e| Error::Data(e.to_string()))
}

/// A vocabulary of `size` tokens for a model that knows no text: bytes for 256, else as many characters.
///
/// # Errors
/// A size of 0 or beyond what Unicode has.
pub fn placeholder(size: usize) -> Result<Vocab> {
    if size == 256 {
        return Ok(Vocab::bytes());
    }
    // The line feed and then what can be printed, so that ASCII prompts work.
    let chars: Vec<char> = std::iter::once('\n').chain(' '..=char::MAX).take(size).collect();
    if chars.len() != size {
        return Err(Error::Setting {
            key: "vocab_size",
            problem: format!("{size} is more than there are characters"),
        });
    }
    Vocab::chars(&chars, false).map_err(|e| Error::Setting { key: "vocab_size", problem: e.to_string() })
}

/// Length of the longest prefix that does not end inside a character.
pub fn whole_chars(bytes: &[u8]) -> usize {
    let cut =
        |n: &usize| std::str::from_utf8(&bytes[bytes.len() - n..]).is_err_and(|e| e.error_len().is_none());
    match (1..=3.min(bytes.len())).find(cut) {
        Some(n) if bytes[bytes.len() - n] >= 0xC0 => bytes.len() - n,
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_never_ends_inside_a_character() {
        let text = "aé漢😀".as_bytes();
        let whole: Vec<usize> = (0..=text.len()).map(|n| whole_chars(&text[..n])).collect();
        assert_eq!(whole, [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10]);
        assert_eq!(whole_chars(b"\xff\xff"), 2);
    }

    #[test]
    fn placeholders_have_their_size_and_know_ascii() {
        for size in [1, 65, 256, 32_000] {
            let vocab = placeholder(size).unwrap();
            assert_eq!(vocab.len(), size);
        }
        assert_eq!(encode(&placeholder(128).unwrap(), b"ab").unwrap().len(), 2);
        assert!(placeholder(1 << 22).is_err());
    }
}
