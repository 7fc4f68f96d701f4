use super::*;
use proptest::prelude::*;

fn bpe_parts() -> VocabParts {
    let mut tokens: Vec<(Vec<u8>, TokenKind)> = (0..=255u8).map(|b| (vec![b], TokenKind::Normal)).collect();
    tokens.push((b"th".to_vec(), TokenKind::Normal)); // 256
    tokens.push((b"the".to_vec(), TokenKind::Normal)); // 257
    tokens.push((b"<|endoftext|>".to_vec(), TokenKind::Control)); // 258
    let merge = |left: u8, right: u8, result| Merge { left: left.into(), right: right.into(), result };
    VocabParts {
        kind: VocabKind::Bpe,
        pre_tokenizer: PreTokenizer::Gpt2,
        tokens,
        scores: None,
        merges: vec![merge(b't', b'h', 256), Merge { left: 256, right: b'e'.into(), result: 257 }],
        special: SpecialIds { eos: Some(258), ..SpecialIds::default() },
        ..VocabParts::default()
    }
}

fn chat() -> ChatTemplate {
    let pair = |role: &str| (format!("<|{role}|>"), "<|end|>\n".to_string());
    ChatTemplate {
        begin: "<s>".into(),
        system: pair("system"),
        user: pair("user"),
        assistant: pair("assistant"),
        reply: "<|assistant|>".into(),
        stops: vec![258, 7],
    }
}

/// BPE with everything of version 2 that it may have.
fn extended_parts() -> VocabParts {
    let mut parts = bpe_parts();
    parts.tokens.push((b"<think>".to_vec(), TokenKind::UserDefined)); // 259
    parts.special.bos = Some(258);
    (parts.pre_tokenizer, parts.add_bos, parts.ignore_merges) = (PreTokenizer::Qwen2, true, true);
    (parts.lstrip, parts.rstrip, parts.chat) = (vec![259], vec![258, 259], Some(chat()));
    parts
}

fn sentencepiece_parts() -> VocabParts {
    let special: [(&[u8], TokenKind); 3] =
        [(b"<unk>", TokenKind::Unknown), (b"<s>", TokenKind::Control), (b"</s>", TokenKind::UserDefined)];
    let mut tokens: Vec<(Vec<u8>, TokenKind)> = special.map(|(t, kind)| (t.to_vec(), kind)).to_vec();
    tokens.extend((0..=255u8).map(|b| (vec![b], TokenKind::Byte))); // from 3 on
    tokens.extend([" ", "t", " t", "é", "té"].map(|t| (t.into(), TokenKind::Normal))); // from 259 on
    VocabParts {
        kind: VocabKind::SentencePiece,
        tokens,
        merges: vec![
            Merge { left: 259, right: 260, result: 261 },
            Merge { left: 260, right: 262, result: 263 },
        ],
        special: SpecialIds { bos: Some(1), unk: Some(0), ..SpecialIds::default() },
        add_space_prefix: true,
        ..VocabParts::default()
    }
}

fn scored_parts() -> VocabParts {
    let mut parts = bpe_parts();
    parts.scores = Some((0..parts.tokens.len()).map(|i| -(i as f32)).collect());
    parts
}

fn samples() -> Vec<Vocab> {
    vec![
        Vocab::bytes(),
        Vocab::chars(&['\n', ' ', 'a', 'é', '你', '🙂'], false).unwrap(),
        Vocab::chars(&['x'], true).unwrap(),
        Vocab::new(bpe_parts()).unwrap(),
        Vocab::new(scored_parts()).unwrap(),
        Vocab::new(extended_parts()).unwrap(),
        Vocab::new(sentencepiece_parts()).unwrap(),
    ]
}

#[test]
fn bytes_round_trip() {
    for vocab in samples() {
        let bytes = vocab.to_bytes();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(Vocab::from_bytes(&bytes).unwrap(), vocab);
    }
}

#[test]
fn only_what_needs_version_2_is_version_2() {
    let version = |parts: VocabParts| {
        let vocab = Vocab::new(parts).unwrap();
        assert_eq!(vocab.format_version().minor, if vocab.to_bytes()[0] == 2 { 3 } else { 0 });
        vocab.to_bytes()[0]
    };
    assert_eq!((version(bpe_parts()), version(scored_parts())), (1, 1));
    let with = |change: &dyn Fn(&mut VocabParts)| {
        let mut parts = bpe_parts();
        parts.special.bos = Some(258);
        change(&mut parts);
        version(parts)
    };
    assert_eq!(with(&|_| ()), 1);
    assert_eq!(with(&|p| p.add_bos = true), 2);
    assert_eq!(with(&|p| p.ignore_merges = true), 2);
    assert_eq!(with(&|p| p.tokens[258].1 = TokenKind::UserDefined), 2);
    assert_eq!(with(&|p| p.lstrip = vec![258]), 2);
    assert_eq!(with(&|p| p.rstrip = vec![258]), 2);
    assert_eq!(with(&|p| p.chat = Some(chat())), 2);
    for pre in PreTokenizer::ALL {
        let is_old = matches!(pre, PreTokenizer::None | PreTokenizer::Gpt2);
        assert_eq!(with(&|p| p.pre_tokenizer = pre), if is_old { 1 } else { 2 });
        assert_eq!(PreTokenizer::from_name(pre.name()), Some(pre));
    }
    assert_eq!(version(sentencepiece_parts()), 2);
    assert_eq!(PreTokenizer::from_name("GPT-2"), None);
}

#[test]
fn what_version_2_adds_is_read_back() {
    let vocab = Vocab::from_bytes(&Vocab::new(extended_parts()).unwrap().to_bytes()).unwrap();
    assert!(vocab.add_bos() && vocab.ignore_merges() && !vocab.add_space_prefix());
    assert_eq!((vocab.lstrip(), vocab.rstrip()), (&[259][..], &[258, 259][..]));
    assert_eq!(vocab.chat(), Some(&chat()));
    assert_eq!(vocab.pre_tokenizer(), PreTokenizer::Qwen2);
    let plain = vocab.with_chat(None).unwrap();
    assert_eq!((plain.chat(), plain.len()), (None, vocab.len()));
    assert_eq!(plain.with_chat(Some(chat())).unwrap(), vocab);
    let vocab = Vocab::from_bytes(&Vocab::new(sentencepiece_parts()).unwrap().to_bytes()).unwrap();
    assert!(vocab.add_space_prefix() && vocab.chat().is_none());
    assert_eq!(vocab.token_kind(2), Some(TokenKind::UserDefined));
}

#[test]
fn layout_of_version_2_is_fixed() {
    let mut parts = sentencepiece_parts();
    parts.tokens.truncate(2);
    parts.merges.clear();
    parts.add_bos = true;
    parts.rstrip = vec![1];
    parts.chat = Some(ChatTemplate { reply: "ok".into(), stops: vec![1], ..ChatTemplate::default() });
    let mut expected = vec![2, 0, 0, 0, 3, 0, 6, 0]; // version, kind, pre-tokenizer, flags
    expected.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0]); // tokens, merges, bytes
    expected.extend_from_slice(&[1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
    expected.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0, 44, 0, 0, 0]); // lstrip, rstrip, chat
    expected.extend_from_slice(&[5, 0, 3, 0, 3, 1]); // lengths, kinds
    expected.extend_from_slice(b"<unk><s>\0\0");
    expected.extend_from_slice(&[1, 0, 0, 0]); // rstrip
    expected.extend_from_slice(&[1, 0, 0, 0]); // stops
    expected.extend_from_slice(&[0; 4 * 7]); // pieces that are empty
    expected.extend_from_slice(&[2, 0, 0, 0, 1, 0, 0, 0, b'o', b'k', 0, 0]);
    assert_eq!(Vocab::new(parts).unwrap().to_bytes(), expected);
}

#[test]
fn each_broken_rule_of_version_2_has_its_error() {
    let refuse = |mut parts: VocabParts, change: &dyn Fn(&mut VocabParts), expected: VocabError| {
        change(&mut parts);
        assert_eq!(Vocab::new(parts).unwrap_err(), expected);
    };
    refuse(bpe_parts(), &|p| p.add_bos = true, VocabError::AddBosWithoutBos);
    refuse(bpe_parts(), &|p| p.add_space_prefix = true, VocabError::SpacePrefixWithoutSentencePiece);
    refuse(sentencepiece_parts(), &|p| p.ignore_merges = true, VocabError::IgnoreMergesWithoutBpe);
    refuse(
        sentencepiece_parts(),
        &|p| p.pre_tokenizer = PreTokenizer::Llama3,
        VocabError::PreTokenizerWithoutBpe,
    );
    let strip = |list, id| VocabError::Strip { list, id };
    refuse(extended_parts(), &|p| p.lstrip = vec![7], strip("lstrip", 7)); // a normal token
    refuse(extended_parts(), &|p| p.rstrip = vec![258, 258], strip("rstrip", 258));
    refuse(extended_parts(), &|p| p.rstrip = vec![260], strip("rstrip", 260));
    let chat_with = |change: &dyn Fn(&mut ChatTemplate), expected| {
        refuse(extended_parts(), &|p| change(p.chat.as_mut().unwrap()), expected);
    };
    let role = "a stop of the chat template";
    chat_with(&|c| c.stops.push(260), VocabError::SpecialOutOfRange { role, id: 260, n_tokens: 260 });
    chat_with(&|c| *c = ChatTemplate::default(), VocabError::EmptyChat);
    chat_with(
        &|c| c.reply = "x".repeat(MAX_CHAT_LEN),
        VocabError::ChatLength { len: (MAX_CHAT_LEN + 104) as u64 },
    );
    let misfit = |id| VocabError::TokenDoesNotFit { id, kind: VocabKind::SentencePiece };
    refuse(sentencepiece_parts(), &|p| p.tokens[260].0 = vec![0xE4, 0xBD], misfit(260));
    refuse(sentencepiece_parts(), &|p| p.tokens[9].0 = vec![1, 2], misfit(9));
    refuse(
        sentencepiece_parts(),
        &|p| p.merges[0] = Merge { left: 3 + b' ' as u32, right: 260, result: 261 },
        VocabError::MergeOfSpecial { rank: 0, id: 3 + b' ' as u32 },
    );
    let mut parts = VocabParts { kind: VocabKind::Char, ..VocabParts::default() };
    parts.tokens.push((b"a".to_vec(), TokenKind::UserDefined));
    refuse(parts, &|_| (), VocabError::TokenDoesNotFit { id: 0, kind: VocabKind::Char });
}

#[test]
fn hostile_bytes_of_version_2_are_refused() {
    let whole = Vocab::new(extended_parts()).unwrap().to_bytes();
    let patched = |offset: usize, patch: &[u8]| {
        let mut bytes = whole.clone();
        bytes[offset..offset + patch.len()].copy_from_slice(patch);
        Vocab::from_bytes(&bytes).unwrap_err()
    };
    assert_eq!(patched(0, &[3]), VocabError::Version { found: 3 });
    assert_eq!(patched(0, &[1]), VocabError::Code { field: "pre-tokenizer", found: 3 });
    assert_eq!(patched(4, &[4]), VocabError::Code { field: "kind", found: 4 });
    assert_eq!(patched(5, &[6]), VocabError::Code { field: "pre-tokenizer", found: 6 });
    assert_eq!(patched(6, &[16]), VocabError::Code { field: "flags", found: 16 });
    let max = u32::MAX;
    assert_eq!(patched(36, &[0xFF; 4]), VocabError::StripCount { list: "lstrip", found: max, n_tokens: 260 });
    assert_eq!(patched(40, &[0xFF; 4]), VocabError::StripCount { list: "rstrip", found: max, n_tokens: 260 });
    assert_eq!(patched(44, &[0xFF; 4]), VocabError::ChatLength { len: max.into() });
    assert!(matches!(patched(44, &[0, 0, 8, 0]), VocabError::Truncated { .. }));
    let chat_at = whole.len() - chat().section_len();
    assert!(matches!(patched(chat_at, &[0xFF; 4]), VocabError::Truncated { .. }), "stops");
    assert!(
        matches!(patched(chat_at + 4, &[0xFF; 4]), VocabError::Truncated { .. }),
        "the length of a piece"
    );
    assert_eq!(patched(chat_at + 4 * 9 + 8, &[0xFF]), VocabError::ChatNotUtf8);
    assert_eq!(patched(whole.len() - 1, &[1]), VocabError::ChatLength { len: chat().section_len() as u64 });

    let mut bytes = Vocab::new(bpe_parts()).unwrap().to_bytes();
    bytes[0] = 2;
    bytes.splice(36..36, [0; 12]);
    assert_eq!(Vocab::from_bytes(&bytes).unwrap_err(), VocabError::NeedlessVersion);
}

#[test]
fn tokens_are_found_by_id() {
    let vocab = Vocab::new(bpe_parts()).unwrap();
    assert_eq!(vocab.len(), 259);
    assert_eq!(vocab.token(0), Some(&[0u8][..]));
    assert_eq!(vocab.token(257), Some(&b"the"[..]));
    assert_eq!(vocab.token(259), None);
    assert_eq!(vocab.token(u32::MAX), None);
    assert_eq!(vocab.token_kind(258), Some(TokenKind::Control));
    assert_eq!(vocab.tokens().nth(256), Some((&b"th"[..], TokenKind::Normal)));
}

#[test]
fn layout_of_the_bytes_is_fixed() {
    let bytes = Vocab::chars(&['a', 'é'], true).unwrap().to_bytes();
    let mut expected = Vec::new();
    expected.extend_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0]); // version, kind, pre-tokenizer, flags
    expected.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0]); // tokens, merges, bytes
    expected.extend_from_slice(&[0xFF; 8]); // bos, eos
    expected.extend_from_slice(&[2, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]); // unk, pad
    expected.extend_from_slice(&[1, 0, 2, 0, 5, 0, 0, 0, 3]); // lengths, kinds
    expected.extend_from_slice("aé<unk>".as_bytes());
    expected.extend_from_slice(&[0; 3]);
    assert_eq!(bytes, expected);
}

#[test]
fn each_broken_rule_has_its_error() {
    let refuse = |change: &dyn Fn(&mut VocabParts), expected: VocabError| {
        let mut parts = bpe_parts();
        change(&mut parts);
        assert_eq!(Vocab::new(parts).unwrap_err(), expected);
    };
    refuse(&|p| p.tokens.clear(), VocabError::TokenCount { found: 0 });
    refuse(&|p| p.tokens[7].0.clear(), VocabError::TokenLength { id: 7, len: 0 });
    refuse(&|p| p.tokens[7].0 = vec![b'x'; 1025], VocabError::TokenLength { id: 7, len: 1025 });
    refuse(&|p| p.tokens[7].0 = vec![9], VocabError::DuplicateToken { first: 7, second: 9 });
    refuse(&|p| p.tokens[7].1 = TokenKind::Byte, VocabError::TokenDoesNotFit { id: 7, kind: VocabKind::Bpe });
    refuse(&|p| p.scores = Some(vec![0.0; 3]), VocabError::ScoreCount { found: 3, expected: 259 });
    refuse(
        &|p| p.special.bos = Some(259),
        VocabError::SpecialOutOfRange { role: "bos", id: 259, n_tokens: 259 },
    );
    refuse(&|p| p.merges[1].right = 300, VocabError::MergeOutOfRange { rank: 1, id: 300, n_tokens: 259 });
    refuse(
        &|p| p.merges[0] = Merge { left: 257, right: 101, result: 256 },
        VocabError::MergeResult { rank: 0, left: 257, right: 101, result: 256 },
    );
    refuse(
        &|p| p.merges[0] = Merge { left: 256, right: 256, result: 256 },
        VocabError::MergeResult { rank: 0, left: 256, right: 256, result: 256 },
    );
    refuse(&|p| p.merges.push(p.merges[0]), VocabError::DuplicateMerge { left: 116, right: 104 });
    refuse(&|p| p.tokens[257].1 = TokenKind::Control, VocabError::MergeOfSpecial { rank: 1, id: 257 });

    let mut parts = scored_parts();
    parts.scores.as_mut().unwrap()[5] = f32::NAN;
    assert_eq!(Vocab::new(parts).unwrap_err(), VocabError::NanScore { id: 5 });

    let mut parts = bpe_parts();
    parts.kind = VocabKind::Char;
    assert_eq!(Vocab::new(parts).unwrap_err(), VocabError::PreTokenizerWithoutBpe);

    let mut parts = bpe_parts();
    parts.tokens.truncate(128); // ASCII: each is one code point
    (parts.kind, parts.pre_tokenizer, parts.special) =
        (VocabKind::Char, PreTokenizer::None, SpecialIds::default());
    assert_eq!(Vocab::new(parts.clone()).unwrap_err(), VocabError::MergesWithoutBpe { n_merges: 2 });
    parts.merges.clear();
    parts.tokens.push((vec![0xE4, 0xBD], TokenKind::Normal));
    let expected = VocabError::TokenDoesNotFit { id: 128, kind: VocabKind::Char };
    assert_eq!(Vocab::new(parts).unwrap_err(), expected);
    assert_eq!(
        Vocab::chars(&['a', 'b', 'a'], false).unwrap_err(),
        VocabError::DuplicateToken { first: 0, second: 2 }
    );
}

#[test]
fn every_prefix_and_every_longer_section_is_refused() {
    for vocab in samples() {
        let mut bytes = vocab.to_bytes();
        for len in 0..bytes.len() {
            assert!(Vocab::from_bytes(&bytes[..len]).is_err(), "prefix of {len} bytes");
        }
        bytes.push(0);
        assert!(matches!(Vocab::from_bytes(&bytes), Err(VocabError::TrailingBytes { .. })));
    }
}

#[test]
fn hostile_headers_are_refused_before_anything_is_allocated() {
    let patched = |offset: usize, patch: &[u8]| {
        let mut bytes = Vocab::new(scored_parts()).unwrap().to_bytes();
        bytes[offset..offset + patch.len()].copy_from_slice(patch);
        Vocab::from_bytes(&bytes).unwrap_err()
    };
    assert_eq!(patched(0, &[0]), VocabError::Version { found: 0 });
    assert_eq!(patched(0, &[0xFF; 4]), VocabError::Version { found: u32::MAX });
    assert_eq!(patched(4, &[3]), VocabError::Code { field: "kind", found: 3 });
    assert_eq!(patched(5, &[9]), VocabError::Code { field: "pre-tokenizer", found: 9 });
    assert_eq!(patched(6, &[3]), VocabError::Code { field: "flags", found: 3 });
    assert_eq!(patched(8, &[0; 4]), VocabError::TokenCount { found: 0 });
    assert_eq!(patched(8, &[0xFF; 4]), VocabError::TokenCount { found: u32::MAX.into() });
    assert_eq!(patched(12, &[0xFF; 4]), VocabError::MergeCount { found: u32::MAX.into() });
    assert!(matches!(patched(8, &(1u32 << 20).to_le_bytes()), VocabError::Truncated { .. }));
    assert!(matches!(patched(16, &[0xFF; 4]), VocabError::Truncated { .. }));
    assert!(matches!(patched(36, &[0, 0]), VocabError::TokenLength { id: 0, len: 0 }));
    assert!(matches!(patched(36, &[2, 0]), VocabError::ByteCount { .. }));
    assert_eq!(patched(36 + 2 * 259, &[4]), VocabError::Code { field: "token kind", found: 4 });
    assert_eq!(
        patched(24, &[3, 1, 0, 0]),
        VocabError::SpecialOutOfRange { role: "eos", id: 259, n_tokens: 259 }
    );

    let mut bytes = Vocab::chars(&['a'], false).unwrap().to_bytes(); // 36 + 2 + 1 + 1: no padding
    assert_eq!(bytes.len(), 40);
    bytes = Vocab::chars(&['é'], false).unwrap().to_bytes();
    assert_eq!(bytes.len(), 44);
    bytes[43] = 1;
    assert_eq!(Vocab::from_bytes(&bytes).unwrap_err(), VocabError::Padding { offset: 41 });
}

#[test]
fn a_large_vocabulary_is_checked_quickly() {
    let tokens = (0..MAX_TOKENS as u32)
        .map(|i| (format!("a long common prefix {i:07}").into_bytes(), TokenKind::Normal))
        .collect();
    let parts = VocabParts { tokens, merges: Vec::new(), special: SpecialIds::default(), ..bpe_parts() };
    let bytes = Vocab::new(parts).unwrap().to_bytes();
    let start = std::time::Instant::now();
    assert_eq!(Vocab::from_bytes(&bytes).unwrap().len(), MAX_TOKENS);
    assert!(start.elapsed().as_secs() < 5);
}

proptest! {
    #[test]
    fn any_change_of_bytes_gives_a_valid_vocabulary_or_an_error(
        which in 0usize..7, changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6)
    ) {
        let mut bytes = samples()[which].to_bytes();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Ok(vocab) = Vocab::from_bytes(&bytes) {
            prop_assert_eq!(vocab.to_bytes(), bytes);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Vocab::from_bytes(&bytes);
    }
}
