//! Marks of pairs: the control tokens that begin and end a target.

use siskin_format::Vocab;
use siskin_format::vocab::{SpecialIds, TokenKind, VocabKind, VocabParts};

use crate::error::{Error, Result};

/// Ids of the marks in a vocabulary that [`with_marks`] made: its last two tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Begins a target.
    pub begin: u32,
    /// Ends it.
    pub end: u32,
}

impl Marks {
    /// Those of a vocabulary of `vocab_size` tokens.
    pub fn of(vocab_size: usize) -> Marks {
        let n = vocab_size.max(2) as u32;
        Marks { begin: n - 2, end: n - 1 }
    }
}

/// `vocab` for pairs: with a begin and an end token behind its own, and without the characters that only part lines and sides.
///
/// # Errors
/// A vocabulary that has no room for two more tokens, or nothing but those characters.
pub fn with_marks(vocab: &Vocab) -> Result<Vocab> {
    let parts_pairs = |token: &[u8]| matches!(token, b"\t" | b"\n" | b"\r");
    let is_char = vocab.kind() == VocabKind::Char;
    let mut tokens: Vec<(Vec<u8>, TokenKind)> = vocab
        .tokens()
        .filter(|(token, kind)| !(is_char && *kind == TokenKind::Normal && parts_pairs(token)))
        .map(|(token, kind)| (token.to_vec(), kind))
        .collect();
    let unk = tokens.iter().position(|(_, kind)| *kind == TokenKind::Unknown).map(|id| id as u32);
    let Marks { begin, end } = Marks::of(tokens.len() + 2);
    for mark in ["<begin>", "<end>"] {
        tokens.push((mark.into(), TokenKind::Control));
    }
    let parts = VocabParts {
        kind: vocab.kind(),
        pre_tokenizer: vocab.pre_tokenizer(),
        tokens,
        scores: None,
        merges: vocab.merges().to_vec(),
        special: SpecialIds { bos: Some(begin), eos: Some(end), unk, pad: None },
        add_space_prefix: vocab.add_space_prefix(),
        ignore_merges: vocab.ignore_merges(),
        ..VocabParts::default()
    };
    Vocab::new(parts).map_err(|e| Error::Data(format!("the vocabulary of the pairs: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_the_last_tokens_and_no_text() {
        let vocab = with_marks(&Vocab::chars(&['\t', '\n', 'a', 'b'], true).unwrap()).unwrap();
        let marks = Marks::of(vocab.len());
        assert_eq!((vocab.len(), marks), (5, Marks { begin: 3, end: 4 }));
        assert_eq!(vocab.special(), SpecialIds { bos: Some(3), eos: Some(4), unk: Some(2), pad: None });
        let ids = crate::tokenizer::encode(&vocab, b"ab<end>").unwrap();
        assert_eq!(ids[..2], [0, 1]);
        assert!(ids.iter().all(|id| *id < marks.begin), "{ids:?}");
        let bytes = with_marks(&Vocab::bytes()).unwrap();
        assert_eq!(Marks::of(bytes.len()), Marks { begin: 256, end: 257 });
        assert_eq!(crate::tokenizer::encode(&bytes, b"\t").unwrap(), [9]);
    }
}
