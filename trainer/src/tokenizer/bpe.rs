//! Byte-level BPE, learnt by the `tokenizers` crate with GPT-2's pre-tokenizer.

use std::collections::HashMap;
use std::ops::Range;

use serde::Deserialize;
use siskin_format::Vocab;
use siskin_format::vocab::{Merge, PreTokenizer, SpecialIds, TokenKind, VocabKind, VocabParts};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::utils::parallelism::set_parallelism;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _, Trainer};

use crate::data::Text;
use crate::error::{Error, Result};

/// Most bytes to learn from: more text hardly changes the merges, and the crate takes some 50 bytes of memory for
/// each.
const SAMPLE: u64 = 8 << 20;
/// A longer text is sampled in this many pieces, evenly spread.
const N_PIECES: u64 = 64;
/// A pair that occurs once is no pattern.
const MIN_FREQUENCY: u64 = 2;
/// Longest token, in bytes: rules of a thousand dashes are not worth one.
const MAX_TOKEN: usize = 64;

/// The text to learn from: lines of the part of the text, or of pieces spread over it. Bytes that are not UTF-8 are
/// left out. `share` is what may be taken of the most that is learnt from.
pub(super) fn sample(text: &Text, range: Range<u64>, share: f64) -> Result<Vec<String>> {
    sample_of(text, range, ((SAMPLE as f64 * share) as u64).max(N_PIECES), N_PIECES)
}

fn sample_of(text: &Text, range: Range<u64>, size: u64, n_pieces: u64) -> Result<Vec<String>> {
    let len = range.end - range.start;
    let (n_pieces, piece) = if len <= size { (1, len) } else { (n_pieces, size / n_pieces) };
    let mut lines = Vec::new();
    let mut bytes = Vec::new();
    for i in 0..n_pieces {
        // In u128, so that no length overflows.
        let start = range.start + (u128::from(len) * u128::from(i) / u128::from(n_pieces)) as u64;
        bytes.clear();
        text.reader(start..start + piece).fill(&mut bytes, piece as usize)?;
        // A piece that begins within a line gives its first, broken line away.
        let first = match i {
            0 => 0,
            _ => bytes.iter().position(|&b| b == b'\n').map_or(0, |newline| newline + 1),
        };
        for chunk in bytes[first..].utf8_chunks() {
            lines.extend(chunk.valid().split_inclusive('\n').map(str::to_string));
        }
    }
    Ok(lines)
}

/// Learns a vocabulary of `vocab_size` tokens, or fewer if the lines have no more pairs to merge.
pub(super) fn train(lines: &[String], vocab_size: usize) -> Result<Vocab> {
    // Each merge touches too few words to be worth handing to other cores: one is faster.
    vocab_of(&learn(lines, vocab_size, false)?)
}

/// The crate's model, learnt on one core or on all.
pub(super) fn learn(lines: &[String], vocab_size: usize, parallel: bool) -> Result<BPE> {
    set_parallelism(parallel);
    let byte_level = ByteLevel::new(false, false, true);
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .min_frequency(MIN_FREQUENCY)
        .max_token_length(Some(MAX_TOKEN))
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    let words = |line: &str| {
        let mut line = PreTokenizedString::from(line);
        byte_level.pre_tokenize(&mut line)?;
        let words = line.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
        Ok(words.into_iter().map(|(word, _, _)| word.to_string()).collect())
    };
    let mut model = BPE::default();
    trainer.feed(lines.iter(), words).map_err(failed)?;
    trainer.train(&mut model).map_err(failed)?;
    Ok(model)
}

/// The part of the crate's own file format that matters here.
#[derive(Deserialize)]
struct Learnt {
    vocab: HashMap<String, u32>,
    merges: Vec<(String, String)>, // by rank
}

/// The crate's model as a vocabulary: its tokens spell each byte as a printable character.
pub(super) fn vocab_of(model: &BPE) -> Result<Vocab> {
    let learnt = serde_json::to_value(model).and_then(serde_json::from_value::<Learnt>).map_err(failed)?;
    let bytes_of = bytes_by_char();
    let mut tokens = vec![(Vec::new(), TokenKind::Normal); learnt.vocab.len()];
    for (token, &id) in &learnt.vocab {
        let bytes: Option<Vec<u8>> = token.chars().map(|c| bytes_of.get(&c).copied()).collect();
        let entry = tokens.get_mut(id as usize).ok_or_else(|| failed("ids are not consecutive"))?;
        entry.0 = bytes.ok_or_else(|| failed("a token is not made of bytes"))?;
    }
    let id = |token: &str| learnt.vocab.get(token).copied().ok_or_else(|| failed("a merge has no token"));
    let merges = learnt.merges.iter().map(|(left, right)| {
        Ok(Merge { left: id(left)?, right: id(right)?, result: id(&format!("{left}{right}"))? })
    });
    let parts = VocabParts {
        kind: VocabKind::Bpe,
        pre_tokenizer: PreTokenizer::Gpt2,
        merges: merges.collect::<Result<_>>()?,
        tokens,
        scores: None,
        special: SpecialIds::default(),
        ..VocabParts::default()
    };
    Vocab::new(parts).map_err(failed)
}

/// GPT-2's spelling of bytes (Radford et al. 2019, `bytes_to_unicode`): printable Latin-1 characters stand for
/// themselves, all other bytes, in order, for U+0100 and on.
fn bytes_by_char() -> HashMap<char, u8> {
    let mut others = '\u{100}'..;
    let spell = |byte: u8| match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => Some((char::from(byte), byte)),
        _ => others.next().map(|c| (c, byte)),
    };
    (0..=255).filter_map(spell).collect()
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Data(format!("the bpe tokenizer cannot be trained: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_spelling_is_that_of_the_crate() {
        let mut ours: Vec<char> = bytes_by_char().into_keys().collect();
        let mut theirs: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        ours.sort_unstable();
        theirs.sort_unstable();
        assert_eq!(ours, theirs);
        for byte in (0..128u8).map(char::from) {
            let mut spelt = PreTokenizedString::from(byte.to_string());
            ByteLevel::new(false, false, false).pre_tokenize(&mut spelt).unwrap();
            let splits = spelt.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
            let c = splits[0].0.chars().next().unwrap();
            assert_eq!(bytes_by_char()[&c], byte as u8);
        }
    }

    #[test]
    fn a_long_text_is_sampled_all_over_in_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        let content: String = (0..1000).map(|i| format!("line number {i:03}\n")).collect(); // 16 bytes each
        fs::write(&path, &content).unwrap();
        let text = Text::open(&[&path]).unwrap();
        let all = sample_of(&text, 0..text.len(), 1 << 20, 10).unwrap();
        assert_eq!(all.concat(), content);
        let some = sample_of(&text, 0..8000, 1000, 10).unwrap();
        let numbers: Vec<usize> = some.iter().filter_map(|l| l.get(12..15)?.parse().ok()).collect();
        assert!((40..=70).contains(&numbers.len()), "{numbers:?}");
        assert!(numbers.is_sorted() && numbers[0] == 0);
        for tenth in 0..10 {
            assert!(numbers.iter().any(|n| n / 50 == tenth), "{numbers:?}");
        }
        assert!(some.iter().all(|line| line.starts_with("line")));
    }
}
