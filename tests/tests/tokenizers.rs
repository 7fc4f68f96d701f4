//! Tokenizers against goldens: the sections that files hold, the ids that another program gives.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use siskin::Tokenizer;
use siskin_format::Vocab;
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
