//! Tokenizers against goldens: the sections that files hold, the ids that another program gives.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use siskin::{EncodeOptions, Tokenizer};
use siskin_convert::tokenizer::{JsonTokenizer, from_gpt2_merges, from_json, from_llama2c};
use siskin_format::Vocab;
use siskin_format::vocab::{SpecialIds, TokenKind, VocabKind};
use siskin_trainer::data::Text;
use siskin_trainer::tokenizer::{Kind, train};

fn golden(name: &str) -> PathBuf {
    siskin_tests::root().join("tests/goldens/tokenizers").join(name)
}

fn golden_vocab() -> Vec<u8> {
    fs::read(golden("bpe-shakespeare-1024.vocab")).unwrap()
}

#[test]
fn ids_are_those_of_another_encoder() {
    let tokenizer = Tokenizer::from_vocab(&Vocab::from_bytes(&golden_vocab()).unwrap()).unwrap();
    let lines = fs::read_to_string(golden("bpe-shakespeare-1024.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 70);
    for line in lines.lines() {
        let golden: Value = serde_json::from_str(line).unwrap();
        let text = golden["text"].as_str().unwrap();
        let expected: Vec<u32> = serde_json::from_value(golden["ids"].clone()).unwrap();
        assert_eq!(tokenizer.encode(text).unwrap(), expected, "{text:?}");
        assert_eq!(tokenizer.decode(&expected), text.as_bytes());
    }
}

/// The section of a first version is read and written unchanged, and learning the same text gives the same bytes.
#[test]
fn the_section_and_its_making_do_not_change() {
    let bytes = golden_vocab();
    let vocab = Vocab::from_bytes(&bytes).unwrap();
    assert_eq!(vocab.len(), 1024);
    assert_eq!(vocab.to_bytes(), bytes);
    let text = Text::open(&[siskin_tests::root().join("trainer/data/shakespeare.txt")]).unwrap();
    let scan = text.scan().unwrap();
    let again = train(&text, &scan, 0..text.len(), Kind::Bpe, Some(1024)).unwrap();
    assert_eq!(again, vocab);
}

/// All texts of a golden: ids with special tokens parsed, what the ids say, and the same from the section's bytes.
fn check_all(vocab: &Vocab, name: &str) {
    let read = Vocab::from_bytes(&vocab.to_bytes()).unwrap();
    assert_eq!(read, *vocab);
    let tokenizer = Tokenizer::from_vocab(&read).unwrap();
    let specials = EncodeOptions { specials: true, ..EncodeOptions::default() };
    let lines = fs::read_to_string(golden(name)).unwrap();
    assert_eq!(lines.lines().count(), 70);
    for line in lines.lines() {
        let golden: Value = serde_json::from_str(line).unwrap();
        let text = golden["text"].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(golden["ids"].clone()).unwrap();
        assert_eq!(tokenizer.encode_with(text, specials).unwrap(), ids, "{name}: {text:?}");
        let decoded = golden["decoded"].as_str().unwrap_or(text);
        assert_eq!(
            String::from_utf8(tokenizer.decode_with_specials(&ids)).unwrap(),
            decoded,
            "{name}: {ids:?}"
        );
    }
}

#[test]
fn gpt2_gives_the_ids_of_the_tokenizers_crate() {
    let merges = fs::read_to_string(golden("gpt2-merges.txt")).unwrap();
    let vocab = from_gpt2_merges(&golden("gpt2-merges.txt"), &merges).unwrap().vocab;
    assert_eq!((vocab.len(), vocab.format_version().minor), (50257, 0));
    check_all(&vocab, "gpt2.jsonl");
}

#[test]
fn sentencepiece_of_llama2c_gives_the_ids_of_the_tokenizers_crate() {
    let bytes = fs::read(golden("tok512.bin")).unwrap();
    let vocab = from_llama2c(&golden("tok512.bin"), &bytes, 512).unwrap().vocab;
    assert_eq!((vocab.kind(), vocab.special().eos), (VocabKind::SentencePiece, Some(2)));
    check_all(&vocab, "stories260K.jsonl");
    let fails = |bytes: &[u8], vocab_size| {
        from_llama2c(&golden("tok512.bin"), bytes, vocab_size).unwrap_err().to_string()
    };
    assert!(fails(&bytes, 500).contains("more than 500 tokens, but the embedding has 500 rows"));
    assert!(fails(&bytes, 513).contains("512 tokens, but the embedding has 513 rows"));
    assert!(fails(&bytes[..bytes.len() - 1], 512).contains("511 tokens and "));
    assert!(fails(b"abc", 512).ends_with("ends before its first token"));
}

#[test]
fn a_tokenizer_json_gives_the_ids_of_the_tokenizers_crate() {
    let tokenizer = fs::read_to_string(golden("minimind.json")).unwrap();
    let source = JsonTokenizer { tokenizer: &tokenizer, config: None, special: SpecialIds::default() };
    let vocab = from_json(&golden("minimind.json"), &source, 6400).unwrap().vocab;
    assert_eq!(vocab.token_kind(35), Some(TokenKind::UserDefined));
    check_all(&vocab, "minimind.jsonl");
    // A model with a larger embedding has tokens without text behind these; one with a smaller does not fit.
    let padded = from_json(&golden("minimind.json"), &source, 6410).unwrap();
    assert_eq!((padded.vocab.len(), padded.vocab.token_kind(6409)), (6410, Some(TokenKind::Control)));
    assert_eq!(padded.notes, ["10 tokens without text pad the tokenizer's 6400"]);
    let error = from_json(&golden("minimind.json"), &source, 6399).unwrap_err().to_string();
    assert!(error.contains("6400 tokens, but the embedding has 6399 rows"), "{error}");
}
