//! Texts and prompts from files and standard input.

use crate::out::Failure;
use siskin::{EncodeOptions, Encoder, Tokenizer, TokenizerError};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Longest prompt, and longest line, in bytes.
pub const MAX_PROMPT: u64 = 64 << 20;

/// Bytes of a text that are encoded at once.
const PIECE: usize = 1 << 20;

/// Longest piece of a text that has no place where the tokenizer could cut it, in bytes.
const MAX_UNCUT: usize = 1 << 30;

/// Where a text comes from.
pub struct Source {
    reader: Box<dyn Read>,
    name: PathBuf,
}

impl Source {
    /// A file, or standard input for `-`.
    pub fn open(path: &Path) -> Result<Source, Failure> {
        if path.as_os_str() == "-" {
            return Ok(Source::stdin());
        }
        let cannot = |error| Failure::Failed(format!("cannot read {}: {error}", path.display()));
        let file = File::open(path).map_err(cannot)?;
        if file.metadata().map_err(cannot)?.is_dir() {
            return Err(Failure::Failed(format!("{} is a directory, expected a text file", path.display())));
        }
        Ok(Source { reader: Box::new(file), name: path.to_path_buf() })
    }

    /// Standard input.
    pub fn stdin() -> Source {
        Source { reader: Box::new(io::stdin().lock()), name: "standard input".into() }
    }

    /// A reader, and what messages call it.
    pub fn into_parts(self) -> (Box<dyn Read>, PathBuf) {
        (self.reader, self.name)
    }

    /// Everything, at most [`MAX_PROMPT`] bytes.
    pub fn read_prompt(self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let name = self.name.display();
        self.reader
            .take(MAX_PROMPT + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::Failed(format!("cannot read {name}: {error}")))?;
        if bytes.len() as u64 > MAX_PROMPT {
            return Err(Failure::Failed(format!("{name}: a prompt has at most {} MiB", MAX_PROMPT >> 20)));
        }
        Ok(bytes)
    }

    /// Encodes the text piece by piece and hands each piece's ids over; memory does not grow with the text, unless
    /// the tokenizer has no place where a text can be cut. Returns the text's bytes.
    pub fn for_each_piece(
        mut self,
        tokenizer: &Tokenizer,
        mut f: impl FnMut(&[u32]) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let name = self.name.display().to_string();
        let mut pieces = Pieces { encoder: tokenizer.encoder(), before: Position::default() };
        let (mut text, mut ids, mut want) = (Vec::new(), Vec::new(), PIECE);
        loop {
            let n = (&mut self.reader)
                .take(want as u64)
                .read_to_end(&mut text)
                .map_err(|error| Failure::Failed(format!("cannot read {name}: {error}")))?;
            let at_end = n < want;
            let cut = if at_end { text.len() } else { tokenizer.split_point(&text) };
            ids.clear();
            pieces
                .encode(&text[..cut], &mut ids)
                .map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
            f(&ids)?;
            text.drain(..cut);
            if at_end {
                return Ok(pieces.before.bytes as u64);
            }
            if text.len() > MAX_UNCUT {
                return Err(Failure::Failed(format!(
                    "{name}: a single word of more than {} MiB",
                    MAX_UNCUT >> 20
                )));
            }
            want = PIECE.max(text.len()); // no place to cut: look at twice as much
        }
    }
}

/// Encodes one text in pieces; positions in errors count from its beginning.
struct Pieces<'a> {
    encoder: Encoder<'a>,
    before: Position,
}

#[derive(Clone, Copy, Default)]
struct Position {
    bytes: usize,
    chars: usize,
}

impl Pieces<'_> {
    fn encode(&mut self, piece: &[u8], ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let before = self.before;
        let options = EncodeOptions { continues: before.bytes > 0, ..EncodeOptions::default() };
        self.encoder.encode_with(piece, options, ids).map_err(|error| moved(error, before))?;
        self.before.bytes += piece.len();
        self.before.chars += piece.iter().filter(|&&byte| byte & 0xC0 != 0x80).count();
        Ok(())
    }
}

/// The error with its position moved.
fn moved(mut error: TokenizerError, by: Position) -> TokenizerError {
    match &mut error {
        TokenizerError::UnknownChar { at, index, .. } => (*at, *index) = (*at + by.bytes, *index + by.chars),
        TokenizerError::InvalidUtf8 { at } | TokenizerError::UnknownByte { at, .. } => *at += by.bytes,
        _ => {}
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin_format::Vocab;

    fn source(text: &str) -> Source {
        Source { reader: Box::new(io::Cursor::new(text.as_bytes().to_vec())), name: "text".into() }
    }

    #[test]
    fn pieces_are_the_whole_and_errors_know_their_place() {
        let tokenizer = Tokenizer::from_vocab(&Vocab::chars(&['a', '世', '\n'], false).unwrap()).unwrap();
        let text = "a世\n".repeat(PIECE / 2);
        let mut ids = Vec::new();
        let mut calls = 0;
        let bytes = source(&text).for_each_piece(&tokenizer, |piece| {
            ids.extend_from_slice(piece);
            calls += 1;
            Ok(())
        });
        assert_eq!(bytes.unwrap(), text.len() as u64);
        assert_eq!(ids, tokenizer.encode(&text).unwrap());
        assert!(calls > 2, "{calls} pieces");

        let broken = format!("{text}b");
        let Err(Failure::Failed(message)) = source(&broken).for_each_piece(&tokenizer, |_| Ok(())) else {
            panic!("b is not in the vocabulary");
        };
        let (at, index) = (text.len(), text.chars().count());
        assert!(message.contains(&format!("at byte {at} (character {index})")), "{message}");
    }
}
