//! A long text to tokens: in pieces, on all cores, in bounded memory, with the ids of the whole.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::ThreadPool;
use rayon::prelude::*;
use siskin_format::Vocab;

use super::text::Text;
use crate::error::{Error, Result};
use crate::tokenizer::{EncodeOptions, Tokenizer, TokenizerError};

/// What one core encodes at a time.
const PIECE: usize = 512 * 1024;
/// What is in memory at a time. A single word longer than this is cut.
const BUFFER: usize = 16 * PIECE;

/// Encodes part of a text on all cores, in bounded memory: `take` is given the ids piece by piece and the bytes done so far, and says whether
/// to go on.
///
/// # Errors
/// Text that the vocabulary cannot express, with file and line; those of `take`.
///
/// # Panics
/// If the range is not within the text.
pub fn stream(
    text: &Text,
    range: Range<u64>,
    vocab: &Vocab,
    mut take: impl FnMut(&[u32], u64) -> Result<bool>,
) -> Result<()> {
    let tokenizer = Tokenizer::from_vocab(vocab).map_err(|e| Error::Data(e.to_string()))?;
    let start = range.start;
    each_piece(text, range, true, &tokenizer, None, <[u32]>::to_vec, |ids, done| take(&ids, done - start))?;
    Ok(())
}

/// Encodes part of a text on the threads of `pool`, or on all cores: what `map` makes of the ids of each piece is handed to `take`, in
/// order and on the caller's thread.
///
/// `take` is told how far the text is done, and says whether to go on.
///
/// `last` says that no text follows the part. Otherwise it may end within a word, which is then left to who encodes what follows:
/// the result is where that begins.
pub(super) fn each_piece<R: Send>(
    text: &Text,
    range: Range<u64>,
    last: bool,
    tokenizer: &Tokenizer,
    pool: Option<&ThreadPool>,
    map: impl Fn(&[u32]) -> R + Sync,
    take: impl FnMut(R, u64) -> Result<bool>,
) -> Result<u64> {
    each_piece_of(PIECE, BUFFER, text, range, last, tokenizer, pool, map, take)
}

/// As [`each_piece`], by pieces of `piece` bytes, of which `room` are in memory.
fn each_piece_of<R: Send>(
    piece: usize,
    room: usize,
    text: &Text,
    range: Range<u64>,
    last: bool,
    tokenizer: &Tokenizer,
    pool: Option<&ThreadPool>,
    map: impl Fn(&[u32]) -> R + Sync,
    mut take: impl FnMut(R, u64) -> Result<bool>,
) -> Result<u64> {
    let mut reader = text.reader(range.clone());
    let mut done = range.start;
    let (mut buffer, mut next) = (Vec::new(), Vec::new());
    // Encoders remember words: whoever encodes a piece takes one that has seen the text before.
    let encoders = Mutex::new(Vec::new());
    let lock = || encoders.lock().unwrap_or_else(PoisonError::into_inner);
    reader.fill(&mut buffer, room)?;
    while !buffer.is_empty() {
        let at_end = reader.at_end();
        let mut pieces = cut(&buffer, piece, tokenizer, at_end && last);
        if pieces.is_empty() {
            if at_end && done > range.start {
                return Ok(done);
            }
            pieces.push(0..within_word(&buffer));
        }
        let used = pieces.last().map_or(0, |piece| piece.end);
        next.clear();
        next.extend_from_slice(&buffer[used..]);
        let encode = |piece: &Range<usize>| {
            let (mut encoder, mut ids) = lock().pop().unwrap_or_else(|| (tokenizer.encoder(), Vec::new()));
            ids.clear();
            let options =
                EncodeOptions { continues: done + piece.start as u64 > 0, ..EncodeOptions::default() };
            let result = encoder.encode_with(&buffer[piece.clone()], options, &mut ids);
            let result = result.map(|()| map(&ids)).map_err(|e| (piece.start, e));
            lock().push((encoder, ids));
            result
        };
        // What comes next is read meanwhile.
        let mut both = || {
            rayon::join(|| pieces.par_iter().map(encode).collect::<Vec<_>>(), || reader.fill(&mut next, room))
        };
        let (encoded, read) = match pool {
            Some(pool) => pool.install(both),
            None => both(),
        };
        for (piece, encoded) in pieces.iter().zip(encoded) {
            let encoded = encoded.map_err(|(start, error)| explain(text, done + start as u64, error))?;
            let done = done + piece.end as u64;
            if !take(encoded, done)? {
                return Ok(done);
            }
        }
        read?;
        done += used as u64;
        std::mem::swap(&mut buffer, &mut next);
    }
    Ok(done)
}

/// Cuts the buffer into pieces that can be encoded one by one. If more text follows, its end is left for later.
fn cut(buffer: &[u8], piece: usize, tokenizer: &Tokenizer, is_last: bool) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < buffer.len() {
        let mut end = buffer.len().min(start + piece);
        // A piece without a place to cut grows until it has one.
        let cut = loop {
            if end == buffer.len() && is_last {
                break end;
            }
            match tokenizer.split_point(&buffer[start..end]) {
                0 if end == buffer.len() => break start,
                0 => end = buffer.len().min(end + piece),
                n => break start + n,
            }
        };
        if cut == start {
            break;
        }
        pieces.push(start..cut);
        start = cut;
    }
    pieces
}

/// Where to cut one word that fills all the memory that there is: between characters.
fn within_word(buffer: &[u8]) -> usize {
    let tail = buffer[buffer.len().saturating_sub(3)..].utf8_chunks().last().map_or(&[][..], |c| c.invalid());
    let incomplete = std::str::from_utf8(tail).is_err_and(|e| e.error_len().is_none());
    match buffer.len() - if incomplete { tail.len() } else { 0 } {
        0 => buffer.len(),
        n => n,
    }
}

/// An encoder's error, with its place in the text.
fn explain(text: &Text, start: u64, error: TokenizerError) -> Error {
    let (at, what) = match error {
        TokenizerError::UnknownChar { found, at, vocab_size, .. } => {
            let code = u32::from(found);
            let what = format!(
                "{found:?} (U+{code:04X}) is not among the {vocab_size} characters of the vocabulary"
            );
            (at, what)
        }
        TokenizerError::InvalidUtf8 { at } => {
            (at, "not UTF-8: convert the text, or use the byte or bpe tokenizer".to_string())
        }
        TokenizerError::UnknownByte { byte, at } => {
            (at, format!("byte 0x{byte:02X} is not in the vocabulary"))
        }
        other => (0, other.to_string()),
    };
    Error::Data(format!("{}: {what}", text.place(start + at as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin_format::vocab::{PreTokenizer, SpecialIds, TokenKind, VocabKind, VocabParts};

    fn bpe() -> Vocab {
        let mut tokens: Vec<(Vec<u8>, TokenKind)> =
            (0..=255u8).map(|b| (vec![b], TokenKind::Normal)).collect();
        let pairs: [(&[u8], &[u8]); 5] =
            [(b"a", b"b"), (b" ", b"ab"), (b"\n", b"\n"), (b"\xE4\xBD", b"\xA0"), (b"\xE4", b"\xBD")];
        tokens.extend(pairs.iter().map(|(l, r)| ([*l, *r].concat(), TokenKind::Normal)));
        let id = |bytes: &[u8]| tokens.iter().position(|(b, _)| b == bytes).unwrap() as u32;
        let merges = pairs.iter().map(|(left, right)| siskin_format::vocab::Merge {
            left: id(left),
            right: id(right),
            result: id(&[*left, *right].concat()),
        });
        let merges = merges.collect();
        let (kind, pre_tokenizer) = (VocabKind::Bpe, PreTokenizer::Gpt2);
        let special = SpecialIds::default();
        Vocab::new(VocabParts {
            kind,
            pre_tokenizer,
            tokens,
            scores: None,
            merges,
            special,
            ..VocabParts::default()
        })
        .unwrap()
    }

    /// Ids of part of a text, and where the encoding ended.
    fn ids_of(
        (piece, room): (usize, usize),
        text: &Text,
        range: Range<u64>,
        last: bool,
        tokenizer: &Tokenizer,
    ) -> (Vec<u32>, u64) {
        let (mut ids, mut reached) = (Vec::new(), range.start);
        let take = |piece: Vec<u32>, done| {
            ids.extend(piece);
            reached = done;
            Ok(true)
        };
        let end =
            each_piece_of(piece, room, text, range, last, tokenizer, None, <[u32]>::to_vec, take).unwrap();
        assert_eq!(end, reached);
        (ids, end)
    }

    fn text_of(content: &str) -> (tempfile::TempDir, Text) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        std::fs::write(&path, content).unwrap();
        let text = Text::open(&[&path]).unwrap();
        (dir, text)
    }

    /// Whatever the sizes of pieces and buffer, and wherever the parts end, the ids are those of the whole text.
    #[test]
    fn pieces_give_the_ids_of_the_whole() {
        let content = "ab abab\n\nab'll 你你 abab  你，ab! \n".repeat(20);
        let (_dir, text) = text_of(&content);
        let chars = Vocab::chars(&text.scan().unwrap().chars, false).unwrap();
        for vocab in [bpe(), chars, Vocab::bytes()] {
            let tokenizer = Tokenizer::from_vocab(&vocab).unwrap();
            let expected = tokenizer.encode(&content).unwrap();
            for sizes in [(40, 40), (40, 64), (64, 200), (33, 500), (10_000, 100_000)] {
                let (ids, end) = ids_of(sizes, &text, 0..text.len(), true, &tokenizer);
                assert_eq!((ids, end), (expected.clone(), text.len()), "{} {sizes:?}", vocab.kind().name());
                for part in [41, 100, 333] {
                    let (mut ids, mut at) = (Vec::new(), 0);
                    while at < text.len() {
                        let end = text.len().min(at + part);
                        let (more, reached) = ids_of(sizes, &text, at..end, end == text.len(), &tokenizer);
                        ids.extend(more);
                        at = reached;
                    }
                    assert_eq!(ids, expected, "{} {sizes:?} in parts of {part}", vocab.kind().name());
                }
            }
        }
    }

    #[test]
    fn a_word_that_fills_the_memory_is_cut_between_characters() {
        let (_dir, text) = text_of(&"你".repeat(100));
        let tokenizer = Tokenizer::from_vocab(&bpe()).unwrap();
        let (ids, _) = ids_of((16, 32), &text, 0..text.len(), true, &tokenizer);
        assert_eq!(tokenizer.decode(&ids), "你".repeat(100).as_bytes());
        assert_eq!(ids.len(), 100);
        assert_eq!(within_word("你".as_bytes()), 3);
        assert_eq!(within_word("a你".as_bytes().split_last().unwrap().1), 1);
        assert_eq!(within_word(&"你".as_bytes()[..2]), 2); // nothing else to cut
    }
}
