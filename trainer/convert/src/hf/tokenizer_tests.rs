//! What is written as `tokenizer.json` is read again as the same vocabulary.

use siskin_format::vocab::{
    ChatTemplate, Merge, PreTokenizer, SpecialIds, TokenKind, Vocab, VocabKind, VocabParts,
};
use std::path::Path;

use super::tokenizer_json::texts;
use crate::tokenizer::{JsonTokenizer, from_json};
use crate::{Options, vocabulary};

/// The vocabulary that the written files are read as.
fn again(vocab: &Vocab) -> Vocab {
    let [tokenizer, config] = texts(vocab, 64).unwrap();
    let source =
        JsonTokenizer { tokenizer: &tokenizer, config: Some(&config), special: SpecialIds::default() };
    from_json(Path::new("tokenizer.json"), &source, vocab.len()).unwrap().vocab
}

/// A chat template goes along in tokenizer_config.json, and stands where the importer looks for it.
#[test]
fn chat_templates_are_the_same() {
    let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
    let chat = ChatTemplate {
        begin: "<|begin|>user: ".into(),
        system: pair("<|begin|>system: ", "\nuser: "),
        user: pair("\nuser: ", "\n"),
        assistant: pair("model: ", "<|end|>"),
        reply: "model: ".into(),
        stops: vec![261],
    };
    let vocab = Vocab::new(VocabParts { chat: Some(chat), ..byte_level(PreTokenizer::Gpt2) }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let [tokenizer, config] = texts(&vocab, 64).unwrap();
    std::fs::write(&path, tokenizer).unwrap();
    std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    let mut notes = Vec::new();
    let found = vocabulary::of(&path, &Options::default(), vocab.len(), SpecialIds::default(), &mut notes);
    assert_eq!((found.unwrap(), notes.len()), (vocab, 0));
}

fn token(text: &str) -> (Vec<u8>, TokenKind) {
    (text.as_bytes().to_vec(), TokenKind::Normal)
}

fn control(text: &str) -> (Vec<u8>, TokenKind) {
    (text.as_bytes().to_vec(), TokenKind::Control)
}

/// All bytes, some merges, marks.
fn byte_level(pre_tokenizer: PreTokenizer) -> VocabParts {
    let mut tokens: Vec<_> = (0..=255u8).map(|byte| (vec![byte], TokenKind::Normal)).collect();
    tokens.extend([token(" t"), token("he"), token(" the"), token("世")]);
    tokens.extend([control("<|begin|>"), control("<|end|>"), (b"<tool>".to_vec(), TokenKind::UserDefined)]);
    let bytes = "世".as_bytes().iter().map(|&b| u32::from(b)).collect::<Vec<_>>();
    tokens.push((bytes[..2].iter().map(|&b| b as u8).collect(), TokenKind::Normal));
    let merge = |left, right, result| Merge { left, right, result };
    VocabParts {
        kind: VocabKind::Bpe,
        pre_tokenizer,
        tokens,
        merges: vec![
            merge(u32::from(b' '), u32::from(b't'), 256),
            merge(u32::from(b'h'), u32::from(b'e'), 257),
            merge(256, 257, 258),
            merge(bytes[0], bytes[1], 263),
            merge(263, bytes[2], 259),
        ],
        special: SpecialIds { bos: None, eos: Some(261), ..SpecialIds::default() },
        lstrip: vec![262],
        rstrip: vec![261, 262],
        ..VocabParts::default()
    }
}

#[test]
fn byte_level_vocabularies_are_the_same_with_every_pre_tokenizer() {
    for pre_tokenizer in PreTokenizer::ALL {
        let vocab = Vocab::new(byte_level(pre_tokenizer)).unwrap();
        assert_eq!(again(&vocab), vocab, "{}", pre_tokenizer.name());
    }
    let mut parts = byte_level(PreTokenizer::Llama3);
    (parts.add_bos, parts.ignore_merges, parts.special.bos) = (true, true, Some(260));
    let vocab = Vocab::new(parts).unwrap();
    assert_eq!(again(&vocab), vocab);
}

#[test]
fn sentencepiece_vocabularies_are_the_same() {
    let mut tokens = vec![(b"<unk>".to_vec(), TokenKind::Unknown), control("<s>"), control("</s>")];
    tokens.extend((0..=255u8).map(|byte| (vec![byte], TokenKind::Byte)));
    tokens.extend([token(" "), token("t"), token(" t"), token("é"), token("世"), token("t世")]);
    let merge = |left: u32, right: u32, result: u32| Merge {
        left: 259 + left,
        right: 259 + right,
        result: 259 + result,
    };
    for add_space_prefix in [false, true] {
        let parts = VocabParts {
            kind: VocabKind::SentencePiece,
            tokens: tokens.clone(),
            merges: vec![merge(0, 1, 2), merge(1, 4, 5)],
            special: SpecialIds { bos: Some(1), eos: Some(2), unk: Some(0), pad: None },
            add_bos: true,
            add_space_prefix,
            ..VocabParts::default()
        };
        let vocab = Vocab::new(parts).unwrap();
        assert_eq!(again(&vocab), vocab);
    }
}

/// Bytes and characters become BPE without merges: bytes another kind with the same tokens, characters the same.
#[test]
fn bytes_and_characters_keep_their_ids() {
    let found = again(&Vocab::bytes());
    assert!((0..=255u8).all(|byte| found.token(u32::from(byte)) == Some(&[byte])));
    for with_unk in [false, true] {
        let vocab = Vocab::chars(&['a', ' ', '世', '\u{2581}', 'Ġ', '\n'], with_unk).unwrap();
        assert_eq!(again(&vocab), vocab);
    }
    let [tokenizer, _] = texts(&Vocab::chars(&['a', ' ', '世'], true).unwrap(), 64).unwrap();
    let written: serde_json::Value = serde_json::from_str(&tokenizer).unwrap();
    assert_eq!(written["model"]["vocab"], serde_json::json!({ "a": 0, " ": 1, "世": 2, "<unk>": 3 }));
    assert_eq!(
        (&written["model"]["unk_token"], &written["decoder"]["type"]),
        (&"<unk>".into(), &"Fuse".into())
    );
}

#[test]
fn tokens_that_would_be_written_alike_are_refused() {
    let mut parts = byte_level(PreTokenizer::Gpt2);
    parts.tokens.push(control("he"));
    let problem = texts(&Vocab::new(parts).unwrap(), 64).unwrap_err();
    assert_eq!(problem, "the tokens 257 and 264 would both be written \"he\" in tokenizer.json");
    let mut parts = byte_level(PreTokenizer::Gpt2);
    parts.tokens.push((vec![0xff, b'\n'], TokenKind::Control));
    let problem = texts(&Vocab::new(parts).unwrap(), 64).unwrap_err();
    assert!(problem.contains("is not UTF-8"), "{problem}");
}
