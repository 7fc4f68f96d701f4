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

/// SentencePiece's BPE over a few pieces, with byte tokens, a control token and a user-defined one.
fn sentencepiece(add_space_prefix: bool) -> Vocab {
    let mut tokens: Vec<(Vec<u8>, TokenKind)> = vec![
        (b"<unk>".to_vec(), TokenKind::Unknown),
        (b"<s>".to_vec(), TokenKind::Control),
        (b"<t>".to_vec(), TokenKind::UserDefined),
    ];
    tokens.extend((0..=255u8).map(|byte| (vec![byte], TokenKind::Byte))); // byte b is 3 + b
    let pieces = [" ", "a", "b", "é", "<", "s", ">", "t", "ab", " a", " ab", "  ", "éa", "bé", "aba"];
    tokens.extend(pieces.map(|piece| (piece.as_bytes().to_vec(), TokenKind::Normal))); // from 259 on
    let id = |piece: &str| {
        let is =
            |(bytes, kind): &(Vec<u8>, TokenKind)| bytes == piece.as_bytes() && *kind == TokenKind::Normal;
        tokens.iter().position(is).unwrap() as u32
    };
    let merge = |left: &str, right: &str| Merge {
        left: id(left),
        right: id(right),
        result: id(&format!("{left}{right}")),
    };
    let merges =
        [(" ", "a"), ("a", "b"), (" ", "ab"), (" a", "b"), (" ", " "), ("é", "a"), ("b", "é"), ("ab", "a")];
    let merges = merges.iter().map(|(l, r)| merge(l, r)).collect();
    Vocab::new(VocabParts {
        kind: VocabKind::SentencePiece,
        merges,
        tokens,
        special: SpecialIds { bos: Some(1), unk: Some(0), ..SpecialIds::default() },
        add_bos: true,
        add_space_prefix,
        ..VocabParts::default()
    })
    .unwrap()
}

/// SentencePiece by its definition: code points, then the best of all neighbours that make a piece, the leftmost of equals.
fn by_definition(vocab: &Vocab, text: &str) -> Vec<u32> {
    let id = |text: &str, kind| {
        vocab.tokens().position(|(bytes, k)| bytes == text.as_bytes() && k == kind).map(|id| id as u32)
    };
    let mut symbols: Vec<String> = text.chars().map(String::from).collect();
    let rank = |joined: &str| {
        let result = id(joined, TokenKind::Normal)?;
        vocab.merges().iter().position(|merge| merge.result == result)
    };
    loop {
        let best =
            symbols.windows(2).enumerate().filter_map(|(at, pair)| Some((rank(&pair.concat())?, at))).min();
        let Some((_, at)) = best else { break };
        let right = symbols.remove(at + 1);
        symbols[at].push_str(&right);
    }
    let bytes = |symbol: &String| symbol.bytes().map(|byte| 3 + u32::from(byte)).collect::<Vec<_>>();
    symbols.iter().flat_map(|s| id(s, TokenKind::Normal).map_or_else(|| bytes(s), |id| vec![id])).collect()
}

fn named(vocab: &Vocab, ids: &[u32]) -> Vec<String> {
    ids.iter().map(|&id| String::from_utf8_lossy(vocab.token(id).unwrap()).into_owned()).collect()
}

#[test]
fn sentencepiece_has_a_dummy_prefix_and_bytes() {
    let vocab = sentencepiece(true);
    let tokenizer = Tokenizer::from_vocab(&vocab).unwrap();
    let names = |text: &str| named(&vocab, &tokenizer.encode(text).unwrap());
    assert_eq!(names(""), [""; 0]);
    assert_eq!(names("ab"), [" ab"]);
    assert_eq!(names(" ab"), [" ", " ab"]);
    assert_eq!(names("\u{2581}ab"), [" ", " ab"], "SentencePiece's mark is a space");
    assert_eq!(tokenizer.encode("a你").unwrap()[1..], [3 + 0xE4, 3 + 0xBD, 3 + 0xA0]);
    assert_eq!(tokenizer.encode(b"a\xFF").unwrap()[1..], [3 + 0xFF]);
    for text in ["ab", " ab", "  a你é b ", "🙂", " "] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()), text.as_bytes());
    }
    // In the middle of a conversation nothing is put before a text.
    let goes_on = EncodeOptions { continues: true, ..EncodeOptions::default() };
    assert_eq!(named(&vocab, &tokenizer.encode_with("ab", goes_on).unwrap()), ["ab"]);
}

#[test]
fn special_tokens_are_found_only_where_they_are_asked_for() {
    let vocab = sentencepiece(true);
    let tokenizer = Tokenizer::from_vocab(&vocab).unwrap();
    let specials = EncodeOptions { specials: true, ..EncodeOptions::default() };
    let found = tokenizer.encode_with("a<s>b<t>a<unk>", specials).unwrap();
    assert_eq!(named(&vocab, &found), [" a", "<s>", " ", "b", "<t>", " a", "<unk>"]);
    let plain = tokenizer.encode("a<s>b<t>a").unwrap();
    assert_eq!(
        named(&vocab, &plain),
        [" a", "<", "s", ">", "b", "<t>", " a"],
        "user-defined tokens are text"
    );
    assert_eq!(tokenizer.decode(&found), "a b<t> a\u{FFFD}".as_bytes());
    assert_eq!(tokenizer.decode_with_specials(&found), b"a<s> b<t> a<unk>");
}

#[test]
fn literals_are_the_longest_and_take_white_space() {
    let mut tokens: Vec<(Vec<u8>, TokenKind)> = (0..=255u8).map(|b| (vec![b], TokenKind::Normal)).collect();
    for (name, kind) in [
        ("<a>", TokenKind::Control), // 256
        ("<a><a>", TokenKind::Control),
        ("<a", TokenKind::UserDefined),
        ("<a><", TokenKind::UserDefined),
        ("<left>", TokenKind::Control), // 260
        ("<right>", TokenKind::Control),
    ] {
        tokens.push((name.into(), kind));
    }
    let parts = VocabParts {
        kind: VocabKind::Bpe,
        tokens,
        lstrip: vec![260],
        rstrip: vec![261],
        ..VocabParts::default()
    };
    let tokenizer = Tokenizer::from_vocab(&Vocab::new(parts).unwrap()).unwrap();
    let specials = EncodeOptions { specials: true, ..EncodeOptions::default() };
    let special = |text: &str| tokenizer.encode_with(text, specials).unwrap();
    assert_eq!(special("<a><a>"), [257]);
    assert_eq!(special("<a><b"), [259, b'b'.into()]);
    assert_eq!(special("<a>b"), [256, b'b'.into()]);
    assert_eq!(special("<ab"), [258, b'b'.into()]);
    assert_eq!(tokenizer.encode("<a><a>").unwrap(), [259, b'a'.into(), b'>'.into()]);
    assert_eq!(special("x \n<left> y"), [b'x'.into(), 260, b' '.into(), b'y'.into()]);
    assert_eq!(special("x <right> \ny"), [b'x'.into(), b' '.into(), 261, b'y'.into()]);
    assert_eq!(special("<right>  <left>"), [261, 260]);
}

#[test]
fn whole_words_may_be_taken_without_merging() {
    let mut tokens: Vec<(Vec<u8>, TokenKind)> = (0..=255u8).map(|b| (vec![b], TokenKind::Normal)).collect();
    tokens.extend(["ab", "abc", " abc"].map(|t| (t.into(), TokenKind::Normal)));
    let merges = vec![Merge { left: b'a'.into(), right: b'b'.into(), result: 256 }];
    let parts = |ignore_merges| VocabParts {
        kind: VocabKind::Bpe,
        pre_tokenizer: PreTokenizer::Llama3,
        tokens: tokens.clone(),
        merges: merges.clone(),
        ignore_merges,
        ..VocabParts::default()
    };
    let ids = |ignore| {
        Tokenizer::from_vocab(&Vocab::new(parts(ignore)).unwrap()).unwrap().encode("abc abc abcd").unwrap()
    };
    assert_eq!(ids(true), [257, 258, 32, 256, 99, 100]);
    assert_eq!(ids(false), [256, 99, 32, 256, 99, 32, 256, 99, 100]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn sentencepiece_is_what_its_definition_says(text in "( |a|b|é|你|\u{2581}| a){0,14}", prefix: bool) {
        let vocab = sentencepiece(prefix);
        let tokenizer = Tokenizer::from_vocab(&vocab).unwrap();
        let ids = tokenizer.encode(&text).unwrap();
        let prefixed = if prefix && !text.is_empty() { format!(" {text}") } else { text.clone() };
        prop_assert_eq!(&ids, &by_definition(&vocab, &prefixed.replace('\u{2581}', " ")));
        prop_assert_eq!(tokenizer.decode(&ids), text.replace('\u{2581}', " ").into_bytes());
    }

    #[test]
    fn texts_with_literals_may_be_cut_where_they_are_said_to(
        text in "( |a|b|é|<t>|<|t|>|<s>|  ){0,14}", seen in 0usize..40, specials: bool, prefix: bool,
    ) {
        let tokenizer = Tokenizer::from_vocab(&sentencepiece(prefix)).unwrap();
        let cut = tokenizer.split_point(&text.as_bytes()[..seen.min(text.len())]);
        let whole = EncodeOptions { specials, continues: false };
        let mut parts = tokenizer.encode_with(&text.as_bytes()[..cut], whole).unwrap();
        parts.extend(tokenizer.encode_with(&text.as_bytes()[cut..], EncodeOptions { specials, continues: cut > 0 }).unwrap());
        prop_assert_eq!(tokenizer.encode_with(&text, whole).unwrap(), parts);
        let mut cached = Vec::new();
        tokenizer.encoder().encode_with(text.as_bytes(), whole, &mut cached).unwrap();
        prop_assert_eq!(cached, tokenizer.encode_with(&text, whole).unwrap());
    }
}
