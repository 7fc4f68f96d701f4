//! The tokenizer section inside a file. Every rule of its own bytes is tested beside `siskin_format::vocab`.

use super::{assert_refused, peak_of, receipt, tiny, vocab};
use siskin_format::header::Section;
use siskin_format::vocab::{Merge, PreTokenizer, SpecialIds, TokenKind, VocabKind, VocabParts};
use siskin_format::writer::to_bytes;
use siskin_format::{Contents, DType, Error, File, ModelConfig, OpenOptions, TensorSpec, Vocab, VocabError};
use siskin_tests::raw_file::RawFile;
use siskin_tests::{models, temp_dir};

fn with_vocab(bytes: &[u8]) -> RawFile {
    tiny().with_section(Section::Tokenizer, bytes)
}

/// A BPE vocabulary of 5 tokens: a, b, c, ab, abc; with scores.
fn bpe() -> Vec<u8> {
    let normal = |text: &str| (text.as_bytes().to_vec(), TokenKind::Normal);
    let vocab = Vocab::new(VocabParts {
        kind: VocabKind::Bpe,
        pre_tokenizer: PreTokenizer::Gpt2,
        tokens: ["a", "b", "c", "ab", "abc"].map(normal).to_vec(),
        scores: Some(vec![0.0; 5]),
        merges: vec![Merge { left: 0, right: 1, result: 3 }, Merge { left: 3, right: 2, result: 4 }],
        special: SpecialIds { eos: Some(4), ..SpecialIds::default() },
        ..VocabParts::default()
    });
    vocab.unwrap().to_bytes()
}

// Offsets in the section (see `siskin_format::vocab`): special ids at 20, 5 lengths of 2 bytes at 36, 5 kinds, 8
// bytes of text from 51 to 59, one zero, 5 scores from 60, merges from 80.
const EOS: usize = 24;
const LENGTHS: usize = 36;
const TEXT: usize = 51;
const SCORES: usize = 60;
const MERGES: usize = 80;

fn patched(at: usize, bytes: &[u8]) -> RawFile {
    let mut section = bpe();
    section[at..at + bytes.len()].copy_from_slice(bytes);
    with_vocab(&section)
}

#[test]
fn the_offsets_are_right() {
    assert_eq!(&bpe()[TEXT..TEXT + 8], b"abcababc");
    assert_eq!(bpe().len(), MERGES + 24);
    super::open(&with_vocab(&bpe())).unwrap();
}

#[test]
fn the_vocabulary_has_as_many_tokens_as_the_embedding_rows() {
    for n in [1, 4, 6, 26] {
        let file = with_vocab(&vocab(n).to_bytes());
        assert_refused!(file, Error::VocabSize { vocab, config: 5 } if vocab == n);
    }
}

#[test]
fn special_ids_are_tokens() {
    for id in [5u32, 1 << 31, u32::MAX - 1] {
        let file = patched(EOS, &id.to_le_bytes());
        assert_refused!(file, Error::Vocab(VocabError::SpecialOutOfRange { role: "eos", id: i, .. }) if i == id);
    }
}

#[test]
fn tokens_are_unique_and_of_some_length() {
    assert_refused!(
        patched(TEXT + 1, b"a"),
        Error::Vocab(VocabError::DuplicateToken { first: 0, second: 1 })
    );
    assert_refused!(patched(LENGTHS, &[0, 0]), Error::Vocab(VocabError::TokenLength { id: 0, len: 0 }));
    let long = 1025u16.to_le_bytes();
    assert_refused!(patched(LENGTHS, &long), Error::Vocab(VocabError::TokenLength { id: 0, len: 1025 }));
}

#[test]
fn merges_name_tokens_and_cannot_be_cyclic() {
    for id in [5u32, u32::MAX] {
        let file = patched(MERGES + 4, &id.to_le_bytes());
        assert_refused!(file, Error::Vocab(VocabError::MergeOutOfRange { rank: 0, id: i, .. }) if i == id);
    }
    // abc + b -> ab: a result that is longer again than itself.
    let cyclic = [4u32, 1, 3].map(u32::to_le_bytes).concat();
    assert_refused!(patched(MERGES, &cyclic), Error::Vocab(VocabError::MergeResult { rank: 0, .. }));
    let own_result = [3u32, 1, 3].map(u32::to_le_bytes).concat();
    assert_refused!(patched(MERGES, &own_result), Error::Vocab(VocabError::MergeResult { rank: 0, .. }));
}

#[test]
fn scores_are_numbers() {
    for id in 0..5 {
        let file = patched(SCORES + 4 * id, &f32::NAN.to_le_bytes());
        assert_refused!(file, Error::Vocab(VocabError::NanScore { id: i }) if i as usize == id);
    }
}

#[test]
fn counts_are_compared_with_the_bytes() {
    for at in [8, 12, 16] {
        for count in [7u32, u32::MAX] {
            let file = patched(at, &count.to_le_bytes());
            assert_refused!(file, Error::Vocab(_));
        }
    }
    for len in 0..bpe().len() {
        assert_refused!(with_vocab(&bpe()[..len]), Error::Vocab(VocabError::Truncated { .. }));
    }
    let longer = [bpe(), vec![0]].concat();
    assert_refused!(with_vocab(&longer), Error::Vocab(VocabError::TrailingBytes { .. }));
}

/// The bound on memory for a vocabulary much larger than 1 MiB of slack could hide, from a mapped file.
#[test]
fn a_large_vocabulary_stays_within_its_memory() {
    let n = 200_000;
    let chars: Vec<char> = (0x1_0000..).filter_map(char::from_u32).take(n).collect();
    let config = ModelConfig { vocab_size: n, tied_head: true, head_bias: false, ..models::lstm() };
    let config = ModelConfig { d_model: 33, ..config };
    let vocab = Vocab::chars(&chars, false).unwrap();
    let contents = Contents { config: &config, vocab: &vocab, receipt: &receipt() };
    let zeros = |spec: &TensorSpec| Ok::<_, Error>(vec![0.0; spec.len()].into());
    let bytes = to_bytes(&contents, |spec| spec.dtype_for(DType::Q4), zeros).unwrap();
    let file = RawFile::new(bytes);
    let dir = temp_dir();
    let path = dir.path().join("model.siskin");
    std::fs::write(&path, &file.bytes).unwrap();
    let (result, peak) = peak_of(|| File::open(&path, &OpenOptions::default()));
    assert_eq!(result.unwrap().vocab(), &vocab);
    let metadata = file.range(Section::TensorData).start;
    assert!(metadata > 1_400_000 && peak <= 2 * metadata + (1 << 20), "{peak} bytes for {metadata}");
}
