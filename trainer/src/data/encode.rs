//! A long text to tokens: in pieces, on all cores, in bounded memory, with the ids of the whole.

use std::ops::Range;

use rayon::prelude::*;

use super::text::Text;
use crate::error::{Error, Result};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// What one core encodes at a time.
const PIECE: usize = 512 * 1024;
/// What is in memory at a time. A single word longer than this is cut.
const BUFFER: usize = 16 * PIECE;

/// Encodes part of a text and hands the ids on, in order.
pub(super) fn each_piece(
    text: &Text,
    range: Range<u64>,
    tokenizer: &Tokenizer,
    progress: &mut dyn FnMut(u64),
    mut take: impl FnMut(&[u32]) -> Result<()>,
) -> Result<()> {
    each_piece_of(PIECE, BUFFER, text, range, tokenizer, progress, &mut take)
}

fn each_piece_of(
    piece: usize,
    room: usize,
    text: &Text,
    range: Range<u64>,
    tokenizer: &Tokenizer,
    progress: &mut dyn FnMut(u64),
    take: &mut dyn FnMut(&[u32]) -> Result<()>,
) -> Result<()> {
    let mut reader = text.reader(range.clone());
    let mut done = range.start;
    let mut buffer = Vec::with_capacity(room.min((range.end - range.start) as usize));
    loop {
        reader.fill(&mut buffer, room)?;
        if buffer.is_empty() {
            return Ok(());
        }
        let pieces = cut(&buffer, piece, tokenizer, reader.at_end());
        let encoded: Vec<_> = pieces
            .par_iter()
            .map_init(
                || tokenizer.encoder(),
                |encoder, piece| {
                    let mut ids = Vec::with_capacity(piece.len() / 2);
                    let result = encoder.encode_into(&buffer[piece.clone()], &mut ids);
                    result.map_err(|e| (piece.start, e)).map(|()| ids)
                },
            )
            .collect();
        for ids in encoded {
            take(&ids.map_err(|(start, error)| explain(text, done + start as u64, error))?)?;
        }
        let used = pieces.last().map_or(0, |piece| piece.end);
        done += used as u64;
        buffer.drain(..used);
        progress(done);
    }
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
    if pieces.is_empty() {
        // One word fills all the memory that there is: cut it between characters.
        let tail =
            buffer[buffer.len().saturating_sub(3)..].utf8_chunks().last().map_or(&[][..], |c| c.invalid());
        let incomplete = std::str::from_utf8(tail).is_err_and(|e| e.error_len().is_none());
        pieces.push(0..buffer.len() - if incomplete { tail.len() } else { 0 });
    }
    pieces
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
    use siskin_format::Vocab;
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
        Vocab::new(VocabParts { kind, pre_tokenizer, tokens, scores: None, merges, special }).unwrap()
    }

    /// Whatever the sizes of pieces and buffer, the ids are those of the whole text.
    #[test]
    fn pieces_give_the_ids_of_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        let content = "ab abab\n\nab'll 你你 abab  你，ab! \n".repeat(20);
        std::fs::write(&path, &content).unwrap();
        let text = Text::open(&[&path]).unwrap();
        let chars = Vocab::chars(&text.scan().unwrap().chars, false).unwrap();
        for vocab in [bpe(), chars, Vocab::bytes()] {
            let tokenizer = Tokenizer::from_vocab(&vocab).unwrap();
            let expected = tokenizer.encode(&content).unwrap();
            for (piece, room) in [(40, 40), (40, 64), (64, 200), (33, 500), (10_000, 100_000)] {
                let (mut ids, mut last) = (Vec::new(), 0);
                let mut take = |piece: &[u32]| {
                    ids.extend_from_slice(piece);
                    Ok(())
                };
                let progress = &mut |done| last = done;
                each_piece_of(piece, room, &text, 0..text.len(), &tokenizer, progress, &mut take).unwrap();
                assert_eq!(ids, expected, "{} by {piece} of {room}", vocab.kind().name());
                assert_eq!(last, text.len());
            }
        }
    }

    #[test]
    fn a_word_that_fills_the_memory_is_cut_between_characters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        std::fs::write(&path, "你".repeat(100)).unwrap();
        let text = Text::open(&[&path]).unwrap();
        let tokenizer = Tokenizer::from_vocab(&bpe()).unwrap();
        let mut ids = Vec::new();
        let mut take = |piece: &[u32]| {
            ids.extend_from_slice(piece);
            Ok(())
        };
        each_piece_of(16, 32, &text, 0..text.len(), &tokenizer, &mut |_| (), &mut take).unwrap();
        assert_eq!(tokenizer.decode(&ids), "你".repeat(100).as_bytes());
        assert_eq!(ids.len(), 100);
    }
}
