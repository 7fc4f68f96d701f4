use super::*;
use proptest::prelude::*;
use siskin_format::vocab::{Merge, SpecialIds, VocabParts};

/// All 256 bytes and a few merges.
fn small_bpe() -> Tokenizer {
    let mut tokens: Vec<(Vec<u8>, TokenKind)> = (0..=255u8).map(|b| (vec![b], TokenKind::Normal)).collect();
    let mut merges = Vec::new();
    let pairs: [(&[u8], &[u8]); 8] = [
        (b" ", b"t"),
        (b"h", b"e"),
        (b" t", b"he"),
        (b"'", b"s"),
        (b"\xE4", b"\xBD"),
        (b"\xE4\xBD", b"\xA0"),
        (b"x", b"x"),
        (b"xx", b"xx"),
    ];
    for (left, right) in pairs {
        let id = |bytes: &[u8]| tokens.iter().position(|(b, _)| b == bytes).unwrap() as u32;
        merges.push(Merge { left: id(left), right: id(right), result: tokens.len() as u32 });
        tokens.push(([left, right].concat(), TokenKind::Normal));
    }
    tokens.push((b"<|endoftext|>".to_vec(), TokenKind::Control));
    let special = SpecialIds { eos: Some(264), ..SpecialIds::default() };
    let (kind, pre_tokenizer) = (VocabKind::Bpe, PreTokenizer::Gpt2);
    let vocab = Vocab::new(VocabParts {
        kind,
        pre_tokenizer,
        tokens,
        scores: None,
        merges,
        special,
        ..VocabParts::default()
    });
    Tokenizer::from_vocab(&vocab.unwrap()).unwrap()
}

fn chars(list: &str, with_unk: bool) -> Tokenizer {
    let list: Vec<char> = list.chars().collect();
    Tokenizer::from_vocab(&Vocab::chars(&list, with_unk).unwrap()).unwrap()
}

#[test]
fn bytes_are_their_own_tokens() {
    let tokenizer = Tokenizer::from_vocab(&Vocab::bytes()).unwrap();
    let text = "né 你".as_bytes();
    let ids = tokenizer.encode(text).unwrap();
    assert_eq!(ids, text.iter().map(|&b| u32::from(b)).collect::<Vec<_>>());
    assert_eq!(tokenizer.decode(&ids), text);
    assert_eq!(tokenizer.encode([0xFF, 0x00]).unwrap(), [255, 0]);
}

#[test]
fn characters_of_any_script() {
    let tokenizer = chars("\n a你é🙂b", false);
    assert_eq!(tokenizer.encode("a你🙂\nbé").unwrap(), [2, 3, 5, 0, 6, 4]);
    assert_eq!(tokenizer.decode(&[2, 3, 5, 0, 6, 4]), "a你🙂\nbé".as_bytes());
    assert_eq!(tokenizer.encode("").unwrap(), []);
}

#[test]
fn a_character_outside_the_vocabulary_is_named_with_its_place() {
    let error = chars("ab你", false).encode("a你é").unwrap_err();
    assert_eq!(error, TokenizerError::UnknownChar { found: 'é', at: 4, index: 2, vocab_size: 3 });
    let message = error.to_string();
    assert!(message.contains("'é' (U+00E9) at byte 4 (character 2)"), "{message}");
    assert_eq!(chars("ab", true).encode("aéb").unwrap(), [0, 2, 1]);
    assert_eq!(chars("ab", true).decode(&[0, 2, 1]), "a\u{FFFD}b".as_bytes());
}

#[test]
fn broken_utf8_is_an_error_for_characters_and_text_for_bpe() {
    for with_unk in [false, true] {
        let error = chars("ab", with_unk).encode(b"ab\xFFa").unwrap_err();
        assert_eq!(error, TokenizerError::InvalidUtf8 { at: 2 });
    }
    let bpe = small_bpe();
    let ids = bpe.encode(b" the\xFF\xE4\xBD").unwrap();
    assert_eq!(ids, [258, 255, 260]);
    assert_eq!(bpe.decode(&ids), b" the\xFF\xE4\xBD");
}

#[test]
fn an_unknown_character_before_broken_utf8_is_reported_first() {
    let error = chars("ab", false).encode(b"ax\xFF").unwrap_err();
    assert!(matches!(error, TokenizerError::UnknownChar { found: 'x', at: 1, .. }));
}

#[test]
fn merges_stay_within_words() {
    let bpe = small_bpe();
    assert_eq!(bpe.encode(" the").unwrap(), [258]);
    assert_eq!(bpe.encode("he's 's 你").unwrap(), [257, 259, 32, 39, 115, 32, 261]);
    assert_eq!(bpe.encode("  the").unwrap(), [32, 258]);
    assert_eq!(bpe.encode(" xxxxx").unwrap(), [32, 263, 120]);
}

#[test]
fn text_never_becomes_a_control_token() {
    let bpe = small_bpe();
    let ids = bpe.encode("<|endoftext|>").unwrap();
    assert!(!ids.contains(&264));
    assert_eq!(bpe.decode(&ids), b"<|endoftext|>");
    assert_eq!(bpe.token_bytes(264), b"");
    assert_eq!(bpe.token_bytes(265), "\u{FFFD}".as_bytes());
    assert_eq!(bpe.token_bytes(u32::MAX), "\u{FFFD}".as_bytes());
}

#[test]
fn a_word_of_a_million_bytes_takes_no_time_to_speak_of() {
    let bpe = small_bpe();
    let text = "x".repeat(1_000_003);
    let start = std::time::Instant::now();
    let ids = bpe.encode(&text).unwrap();
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    assert_eq!(ids.len(), 250_000 + 2);
    assert_eq!(bpe.decode(&ids), text.as_bytes());
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<char>().prop_map(|c| c.to_string().into_bytes()),
        any::<u8>().prop_map(|b| vec![b]),
        prop::sample::select(vec![" ", "  ", "\n", "'s", " the", "你", "xxxx", "12", "!"])
            .prop_map(|s| s.as_bytes().to_vec()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn bpe_gives_every_byte_string_back(text in pieces()) {
        let bpe = small_bpe();
        let ids = bpe.encode(&text).unwrap();
        prop_assert_eq!(bpe.decode(&ids), text);
    }

    #[test]
    fn the_cache_changes_nothing_and_pieces_are_the_whole(text in pieces(), cuts in any::<[u8; 3]>()) {
        let bpe = small_bpe();
        let whole = bpe.encode(&text).unwrap();
        let mut encoder = bpe.encoder();
        for _ in 0..2 {
            let mut ids = Vec::new();
            encoder.encode_into(&text, &mut ids).unwrap();
            prop_assert_eq!(&ids, &whole);
        }
        let mut ids = Vec::new();
        let mut done = 0;
        for cut in cuts {
            let seen = done + (text.len() - done) * usize::from(cut) / 255;
            let n = bpe.split_point(&text[done..seen]);
            encoder.encode_into(&text[done..done + n], &mut ids).unwrap();
            done += n;
        }
        encoder.encode_into(&text[done..], &mut ids).unwrap();
        prop_assert_eq!(ids, whole);
    }

    #[test]
    fn char_and_byte_pieces_are_the_whole(text in "[ab你🙂]{0,20}", cut in any::<prop::sample::Index>()) {
        for tokenizer in [chars("ab你🙂", false), Tokenizer::from_vocab(&Vocab::bytes()).unwrap()] {
            let bytes = text.as_bytes();
            let cut = tokenizer.split_point(&bytes[..cut.index(bytes.len() + 1)]);
            let mut ids = tokenizer.encode(&bytes[..cut]).unwrap();
            ids.extend(tokenizer.encode(&bytes[cut..]).unwrap());
            prop_assert_eq!(ids, tokenizer.encode(bytes).unwrap());
        }
    }
}
