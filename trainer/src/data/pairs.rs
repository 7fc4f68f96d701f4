//! Pairs of source and target: a text of lines, source and target of each with a tab between them.
//!
//! All pairs become one stream of tokens, `source… <begin> target… <end>` one after the other; [`Pairs`] finds them in it again.
//! A pair is held out by the hash of its source, so that the same line is always on the same side, wherever it stands, and a source
//! that comes twice is never both learned and asked.

use std::ops::Range;
use std::sync::Arc;

use siskin_format::Vocab;
use siskin_format::xxh64::xxh64;

use super::cache::Dataset;
use super::text::Text;
use super::tokens::Tokens;
use crate::error::{Error, Result};
use crate::tokenizer::{Marks, Tokenizer};

/// What [`Pairs::prepare`] makes of a text.
#[derive(Debug)]
pub struct PairData {
    /// Streams of the pairs to train on and of those held out.
    pub data: Dataset,
    /// Tokens of the longest source, or of the longest target with its mark.
    pub longest: usize,
}

/// Pairs in a stream of tokens. Cloning them copies nothing.
#[derive(Clone, Debug)]
pub struct Pairs {
    tokens: Tokens,
    places: Arc<[Place]>,
}

/// Where a pair begins, and how many tokens its sides have.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u64,
    source: u32,
    target: u32,
}

impl Pairs {
    /// Tokenizes the lines of `text` and holds about `val_fraction` of them out. No side may have more than `most` tokens, the
    /// target counted with its mark.
    ///
    /// # Errors
    /// A line that is no pair, or too long a one, named by file and line; a fraction that leaves nothing to train on or holds
    /// nothing out though it should.
    pub fn prepare(text: &Text, vocab: &Vocab, val_fraction: f64, most: usize) -> Result<PairData> {
        if !(0.0..1.0).contains(&val_fraction) {
            let problem = format!("{val_fraction} is not a fraction from 0 up to, but not including, 1");
            return Err(Error::Setting { key: "val_fraction", problem });
        }
        let reader = Lines { text, bytes: text.read(0..text.len())?, vocab, most };
        let tokenizer = Tokenizer::from_vocab(vocab).map_err(|e| Error::Data(e.to_string()))?;
        let (mut sides, mut longest) = ([Vec::new(), Vec::new()], 0);
        for line in reader.lines() {
            let (source, _) = reader.sides(line.clone())?;
            let out = usize::from(is_held_out(source, val_fraction));
            let pair = reader.encode(&tokenizer, line, &mut sides[out])?;
            longest = longest.max(pair);
        }
        let [train, val] = sides;
        let missing = if train.is_empty() { "to train on" } else { "to hold out" };
        if train.is_empty() || (val.is_empty() && val_fraction > 0.0) {
            let name = text.name();
            return Err(Error::Data(format!(
                "{name} has too few pairs: none is left {missing} with a val_fraction of {val_fraction}, give more of them"
            )));
        }
        let (train, val) = (Tokens::from_vec(train), Tokens::from_vec(val));
        Ok(PairData { data: Dataset { train, val }, longest })
    }

    /// The pairs of a stream that [`Pairs::prepare`] made with a vocabulary of `vocab_size` tokens; what is cut off at its end is
    /// left out.
    ///
    /// # Errors
    /// A damaged token cache, or tokens that are no pairs.
    pub fn find(tokens: &Tokens, vocab_size: usize) -> Result<Pairs> {
        const PIECE: usize = 1 << 16;
        let marks = Marks::of(vocab_size);
        let (mut places, mut piece) = (Vec::new(), Vec::new());
        let (mut start, mut begin) = (0, None);
        for at in (0..tokens.len()).step_by(PIECE) {
            piece.resize(PIECE.min((tokens.len() - at) as usize), 0);
            tokens.read(at, &mut piece)?;
            for (at, id) in (at..).zip(&piece) {
                match begin {
                    None if *id == marks.begin && at > start => begin = Some(at),
                    Some(begun) if *id == marks.end => {
                        let (source, target) = ((begun - start) as u32, (at - begun - 1) as u32);
                        places.push(Place { start, source, target });
                        (start, begin) = (at + 1, None);
                    }
                    _ if *id < marks.begin => {}
                    _ => return Err(Error::Data(format!("token {id} at {at} is out of place among pairs"))),
                }
            }
        }
        Ok(Pairs { tokens: tokens.clone(), places: places.into() })
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.places.len() as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Tokens of source and target of pair number `i`, without marks.
    pub fn lens(&self, i: u64) -> (usize, usize) {
        let Place { source, target, .. } = self.places[i as usize];
        (source as usize, target as usize)
    }

    /// Pair number `i`: fills `source` and `target`, as long as [`Pairs::lens`] says.
    ///
    /// # Errors
    /// A damaged token cache.
    pub fn read(&self, i: u64, source: &mut [u32], target: &mut [u32]) -> Result<()> {
        let start = self.places[i as usize].start;
        self.tokens.read(start, source)?;
        self.tokens.read(start + source.len() as u64 + 1, target)
    }

    /// Pair number `i`, in memory of its own.
    ///
    /// # Errors
    /// As [`Pairs::read`].
    pub fn pair(&self, i: u64) -> Result<(Vec<u32>, Vec<u32>)> {
        let (n_source, n_target) = self.lens(i);
        let (mut source, mut target) = (vec![0; n_source], vec![0; n_target]);
        self.read(i, &mut source, &mut target)?;
        Ok((source, target))
    }
}

/// Whether the pair of this source is held out: the same on every run.
fn is_held_out(source: &[u8], fraction: f64) -> bool {
    (xxh64(source) >> 11) as f64 / ((1u64 << 53) as f64) < fraction
}

/// The lines of a text.
struct Lines<'a> {
    text: &'a Text,
    bytes: Vec<u8>,
    vocab: &'a Vocab,
    most: usize,
}

impl Lines<'_> {
    /// Ranges of the lines, without what ends them.
    fn lines(&self) -> Vec<Range<usize>> {
        let (mut lines, mut start) = (Vec::new(), 0);
        for line in self.bytes.split_inclusive(|byte| *byte == b'\n') {
            let end = line.strip_suffix(b"\n").unwrap_or(line);
            let end = end.strip_suffix(b"\r").unwrap_or(end).len();
            lines.push(start..start + end);
            start += line.len();
        }
        lines
    }

    /// Source and target of a line.
    fn sides(&self, line: Range<usize>) -> Result<(&[u8], &[u8])> {
        let bytes = &self.bytes[line.clone()];
        let mut sides = bytes.split(|byte| *byte == b'\t');
        let (Some(source), Some(target), None) = (sides.next(), sides.next(), sides.next()) else {
            let n = bytes.iter().filter(|byte| **byte == b'\t').count();
            return Err(self.wrong(&line, format!("{n} tabs, expected one, between source and target")));
        };
        for (side, name) in [(source, "source"), (target, "target")] {
            if side.is_empty() {
                return Err(
                    self.wrong(&line, format!("the {name} is empty, expected text on both sides of the tab"))
                );
            }
        }
        Ok((source, target))
    }

    /// Adds a line's pair to a stream; gives the tokens of its longer side.
    fn encode(&self, tokenizer: &Tokenizer, line: Range<usize>, stream: &mut Vec<u32>) -> Result<usize> {
        let (source, target) = self.sides(line.clone())?;
        let marks = Marks::of(self.vocab.len());
        let mut longest = 0;
        for (side, name, mark, marked) in
            [(source, "source", marks.begin, 0), (target, "target", marks.end, 1)]
        {
            let ids = tokenizer.encode(side).map_err(|e| self.wrong(&line, e.to_string()))?;
            let n = ids.len() + marked;
            if n > self.most {
                let with = if marked > 0 { " with its end mark" } else { "" };
                return Err(self.wrong(
                    &line,
                    format!("the {name} has {n} tokens{with}, expected at most {}, the context: set --context or shorten it", self.most),
                ));
            }
            longest = longest.max(n);
            stream.extend(ids);
            stream.push(mark);
        }
        Ok(longest)
    }

    fn wrong(&self, line: &Range<usize>, what: String) -> Error {
        Error::Data(format!("{}: {what}", self.text.place(line.start as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{self, Kind};

    fn prepare(bytes: &[u8], val_fraction: f64, most: usize) -> Result<(Vocab, PairData)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pairs.tsv");
        std::fs::write(&path, bytes).unwrap();
        let text = Text::open(&[path])?;
        let scan = text.scan()?;
        let vocab = tokenizer::train(&text, &scan, 0..text.len(), Kind::Auto, None)?;
        let vocab = tokenizer::with_marks(&vocab)?;
        let data = Pairs::prepare(&text, &vocab, val_fraction, most)?;
        Ok((vocab, data))
    }

    #[test]
    fn pairs_are_found_again() {
        let (vocab, PairData { data, longest }) = prepare(b"ab\tc\r\nb\tcab\nc\ta", 0.0, 9).unwrap();
        assert_eq!((vocab.len(), longest, data.val.len()), (5, 4, 0));
        let pairs = Pairs::find(&data.train, vocab.len()).unwrap();
        let all: Vec<_> = (0..pairs.len()).map(|i| pairs.pair(i).unwrap()).collect();
        assert_eq!(all, [(vec![0, 1], vec![2]), (vec![1], vec![2, 0, 1]), (vec![2], vec![0])]);
        let cut = Pairs::find(&data.train.first(data.train.len() - 1), vocab.len()).unwrap();
        assert_eq!(cut.len(), 2);
        assert!(Pairs::find(&Tokens::from_vec(vec![0, 4, 1]), 5).is_err());
    }

    #[test]
    fn a_source_is_on_one_side_only() {
        let text: String = (0..400).map(|i| format!("{}\t{i}\n", i % 100)).collect();
        let (vocab, PairData { data, .. }) = prepare(text.as_bytes(), 0.2, 99).unwrap();
        let sources = |tokens: &Tokens| -> std::collections::BTreeSet<Vec<u32>> {
            let pairs = Pairs::find(tokens, vocab.len()).unwrap();
            (0..pairs.len()).map(|i| pairs.pair(i).unwrap().0).collect()
        };
        let (train, val) = (sources(&data.train), sources(&data.val));
        assert_eq!(train.len() + val.len(), 100);
        assert!(train.is_disjoint(&val) && (10..30).contains(&val.len()), "{}", val.len());
    }

    #[test]
    fn a_line_that_is_no_pair_is_named() {
        for (bytes, expected) in [
            (&b"a\tb\nab\n"[..], "line 2 (byte 4): 0 tabs, expected one"),
            (b"a\tb\tc\n", "line 1 (byte 0): 2 tabs, expected one"),
            (b"a\tb\n\na\tb\n", "line 2 (byte 4): 0 tabs"),
            (b"\tb\n", "line 1 (byte 0): the source is empty"),
            (b"a\t\r\n", "line 1 (byte 0): the target is empty"),
            (b"a\tb\nabcdefg\tb\n", "line 2 (byte 4): the source has 7 tokens, expected at most 6"),
            (
                b"a\tabcdef\n",
                "line 1 (byte 0): the target has 7 tokens with its end mark, expected at most 6",
            ),
        ] {
            let message = prepare(bytes, 0.0, 6).unwrap_err().to_string();
            assert!(message.contains("pairs.tsv") && message.contains(expected), "{message}");
        }
        let message = prepare(b"a\tb\n", 0.5, 6).unwrap_err().to_string();
        assert!(message.contains("too few pairs"), "{message}");
    }
}
