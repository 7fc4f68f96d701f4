use super::*;
use siskin_format::vocab::{Merge, PreTokenizer, SpecialIds, VocabKind};

fn json(tokenizer: &str) -> Result<Converted> {
    let source = JsonTokenizer { tokenizer, config: None, special: SpecialIds::default() };
    from_json(Path::new("tokenizer.json"), &source, 8)
}

/// A byte-level tokenizer of a, b, ab and one added token, with some part replaced.
fn byte_level(from: &str, to: &str) -> String {
    let text = r#"{"added_tokens": [{"id": 3, "content": "<|end|>", "special": true, "rstrip": true}],
        "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "post_processor": null,
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "Ġab": 4, "ab": 2}, "merges": [["a", "b"]]}}"#;
    assert!(text.contains(from), "{from}");
    text.replace(from, to)
}

const SENTENCEPIECE: &str = r#"{"added_tokens": [{"id": 0, "content": "<unk>", "special": true}, {"id": 1, "content": "<s>", "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "pre_tokenizer": null,
    "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]},
    "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "merges": ["▁ a"],
        "vocab": {"<unk>": 0, "<s>": 1, "<0x41>": 2, "▁": 3, "a": 4, "▁a": 5}}}"#;

#[test]
fn a_byte_level_tokenizer_json() {
    let Converted { vocab, notes } = json(&byte_level("null", "null")).unwrap();
    assert_eq!((vocab.kind(), vocab.pre_tokenizer(), vocab.len()), (VocabKind::Bpe, PreTokenizer::Gpt2, 8));
    assert_eq!(vocab.token(4), Some(&b" ab"[..]));
    assert_eq!((vocab.token_kind(3), vocab.rstrip()), (Some(TokenKind::Control), &[3][..]));
    assert_eq!(vocab.merges(), [Merge { left: 0, right: 1, result: 2 }]);
    assert_eq!(notes, ["3 tokens without text pad the tokenizer's 5"]);
    let nfc = json(&byte_level("\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}")).unwrap();
    assert!(nfc.notes[0].contains("NFC"), "{:?}", nfc.notes);
}

#[test]
fn a_sentencepiece_tokenizer_json() {
    let vocab = json(SENTENCEPIECE).unwrap().vocab;
    assert_eq!(vocab.kind(), VocabKind::SentencePiece);
    assert!(vocab.add_bos() && vocab.add_space_prefix());
    assert_eq!((vocab.special().bos, vocab.special().unk), (Some(1), Some(0)));
    assert_eq!((vocab.token(2), vocab.token_kind(2)), (Some(&b"A"[..]), Some(TokenKind::Byte)));
    assert_eq!(vocab.token(5), Some(&b" a"[..]));
}

#[test]
fn what_siskin_does_not_have_is_named() {
    let split = r#"{"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated"}, {"type": "ByteLevel", "use_regex": false}]}"#;
    let pre = r#"{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}"#;
    for (from, to, expected) in [
        ("\"BPE\"", "\"Unigram\"", "the tokenizer's model is Unigram, supported is BPE"),
        (
            "\"normalizer\": null",
            r#""normalizer": {"type": "Lowercase"}"#,
            "the tokenizer's normalizer is Lowercase, supported is NFC",
        ),
        (
            pre,
            r#"{"type": "Whitespace"}"#,
            "the tokenizer's pre-tokenizer is Whitespace, supported are ByteLevel",
        ),
        (pre, split, r#"siskin has no pre-tokenizer for the patterns ["x+"]"#),
        (pre, "null", "neither byte-level nor SentencePiece's"),
        ("\"add_prefix_space\": false", "\"add_prefix_space\": true", "adds a space before the text"),
        ("\"vocab\"", "\"end_of_word_suffix\": \"</w>\", \"vocab\"", "end_of_word_suffix is \"</w>\""),
        ("[\"a\", \"b\"]", "[\"a\", \"c\"]", "merge 0 joins \"a\" and \"c\""),
        ("\"ab\": 2", "\"ab\": 1", "token 1 is both"),
        ("\"ab\": 2", "\"ab\": 4000000000", "expected no such gaps"),
        ("\"merges\"", "\"merge\"", "is not the JSON of a tokenizer: missing field `merges`"),
        ("{\"added", "{\"added", ""),
    ] {
        let result = json(&byte_level(from, to));
        if expected.is_empty() {
            result.unwrap();
            continue;
        }
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with("tokenizer.json: ") && error.contains(expected), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    assert!(json("{").unwrap_err().to_string().contains("is not the JSON of a tokenizer"));
    assert!(json("[]").unwrap_err().to_string().contains("is not the JSON of a tokenizer"));
}

fn gguf<'a>(model: &'a str, tokens: &'a [&'a [u8]]) -> GgufTokenizer<'a> {
    GgufTokenizer { model, tokens, ..GgufTokenizer::default() }
}

#[test]
fn gguf_of_both_models() {
    let tokens: [&[u8]; 6] = [b"<unk>", b"<s>", b"</s>", b"<0x0A>", "▁".as_bytes(), b"a"];
    let (types, scores) = ([2, 3, 3, 6, 1, 1], [0.0; 6]);
    let source = GgufTokenizer { types: Some(&types), scores: Some(&scores), ..gguf("llama", &tokens) };
    let vocab = from_gguf(Path::new("m.gguf"), &source, 6).unwrap().vocab;
    assert!(vocab.add_bos() && vocab.add_space_prefix());
    assert_eq!(vocab.special(), SpecialIds { bos: Some(1), eos: Some(2), unk: Some(0), pad: None });
    assert_eq!((vocab.token(3), vocab.token(4)), (Some(&b"\n"[..]), Some(&b" "[..])));
    let padded = from_gguf(Path::new("m.gguf"), &source, 8).unwrap().vocab;
    assert_eq!((padded.len(), padded.scores().map(<[f32]>::len)), (8, Some(8)));

    let tokens: [&[u8]; 4] = ["Ġ".as_bytes(), b"a", "Ġa".as_bytes(), "ü".as_bytes()];
    let merges: [&[u8]; 1] = ["Ġ a".as_bytes()];
    let types = [1, 1, 1, 4];
    let bpe = GgufTokenizer {
        types: Some(&types),
        merges: Some(&merges),
        pre: Some("llama-bpe"),
        ..gguf("gpt2", &tokens)
    };
    let vocab = from_gguf(Path::new("m.gguf"), &bpe, 4).unwrap().vocab;
    assert_eq!((vocab.pre_tokenizer(), vocab.ignore_merges()), (PreTokenizer::Llama3, true));
    assert_eq!((vocab.token(2), vocab.token(3)), (Some(&b" a"[..]), Some("ü".as_bytes())));

    for (source, expected) in [
        (
            GgufTokenizer { pre: Some("tekken"), ..bpe },
            "tokenizer.ggml.pre is \"tekken\"; siskin knows the pre-tokenizers gpt-2, ",
        ),
        (GgufTokenizer { pre: None, ..bpe }, "tokenizer.ggml.pre is missing; siskin knows"),
        (GgufTokenizer { merges: None, ..bpe }, "tokenizer.ggml.merges is missing"),
        (GgufTokenizer { merges: Some(&[b"a a"]), ..bpe }, "merge 0 is \"a a\""),
        (GgufTokenizer { model: "bert", ..bpe }, "tokenizer.ggml.model is \"bert\", supported are"),
        (GgufTokenizer { model: "llama", ..bpe }, "tokenizer.ggml.scores is missing"),
        (
            GgufTokenizer { types: Some(&types[1..]), ..bpe },
            "tokenizer.ggml.token_type has 3 elements for 4 tokens",
        ),
        (GgufTokenizer { types: Some(&[1, 1, 1, 9]), ..bpe }, "token 3 has the type 9"),
        (
            GgufTokenizer { special: SpecialIds { eos: Some(9), ..SpecialIds::default() }, ..bpe },
            "eos is token 9, the vocabulary has 4 tokens",
        ),
    ] {
        let error = from_gguf(Path::new("m.gguf"), &source, 4).unwrap_err().to_string();
        assert!(error.starts_with("m.gguf: ") && error.contains(expected), "{error}");
    }
}

/// Of the tokenizers that siskin writes for bytes and characters, it reads what has nothing to choose between.
#[test]
fn longest_match_and_unigrams_of_longer_tokens_are_refused() {
    let types = [1, 1, 2];
    let special = SpecialIds { unk: Some(2), ..SpecialIds::default() };
    let tokens: [&[u8]; 3] = [b"a", "\u{2581}".as_bytes(), b"<unk>"];
    let t5 =
        GgufTokenizer { types: Some(&types), special, add_space_prefix: Some(false), ..gguf("t5", &tokens) };
    let vocab = from_gguf(Path::new("m.gguf"), &t5, 3).unwrap().vocab;
    assert_eq!((vocab.token(1), vocab.special()), (Some(&b" "[..]), special));
    let rwkv: [&[u8]; 5] = [b"\\x0a", b"\\\\", b"\\t", b"\\'", b"z"];
    let vocab = from_gguf(Path::new("m.gguf"), &gguf("rwkv", &rwkv), 5).unwrap().vocab;
    assert_eq!(vocab.tokens().map(|(bytes, _)| bytes[0]).collect::<Vec<_>>(), b"\n\\\t'z");

    for (source, expected) in [
        (gguf("rwkv", &[b"a", b"ab"]), "token 1 of the \"rwkv\" tokenizer is no single byte"),
        (gguf("rwkv", &["é".as_bytes()]), "token 0 of the \"rwkv\" tokenizer is no single byte"),
        (gguf("rwkv", &[b"\\x+1"]), "token 0 of the \"rwkv\" tokenizer is no single byte"),
        (
            GgufTokenizer { tokens: &[b"a", b"ab", b"<unk>"], ..t5 },
            "token 1 of the \"t5\" tokenizer is no single char",
        ),
        (
            GgufTokenizer { types: Some(&[4, 1, 2]), ..t5 },
            "token 0 of the \"t5\" tokenizer is no single char",
        ),
        (GgufTokenizer { scores: Some(&[0.0, -1.0, 0.0]), ..t5 }, "has scores that differ"),
        (GgufTokenizer { special: SpecialIds::default(), ..t5 }, "unknown_token_id is missing"),
        (GgufTokenizer { add_space_prefix: None, ..t5 }, "add_space_prefix is not false"),
    ] {
        let error = from_gguf(Path::new("m.gguf"), &source, 9).unwrap_err().to_string();
        assert!(error.starts_with("m.gguf: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn merges_come_from_scores_best_first() {
    let piece = |text: &str| (text.as_bytes().to_vec(), TokenKind::Normal);
    let mut tokens = vec![piece("a"), piece("é"), piece("aé"), piece("aa"), piece("aaé")];
    tokens.push((b"<s>".to_vec(), TokenKind::Control));
    let merge = |left, right, result| Merge { left, right, result };
    let best_first = merges_from_scores(&tokens, &[0.0, 0.0, -2.0, -1.0, -3.0, 0.0]);
    assert_eq!(best_first, [merge(0, 0, 3), merge(0, 1, 2), merge(0, 2, 4), merge(3, 1, 4)]);
    assert_eq!(merges_from_scores(&tokens, &[0.0; 6])[0], merge(0, 1, 2), "equal scores go by id");
}

#[test]
fn gpt2_merges_are_of_tokens_made_before() {
    let of = |text: &str| from_gpt2_merges(Path::new("merges.txt"), text);
    let vocab = of("#version: 0.2\nĠ t\nĠt h\n").unwrap().vocab;
    assert_eq!((vocab.len(), vocab.token(257)), (259, Some(&b" th"[..])));
    assert_eq!(vocab.special().eos, Some(258));
    for bad in ["Ġth e\n", "ab\n", "你 a\n"] {
        let error = of(bad).unwrap_err().to_string();
        assert!(error.starts_with("merges.txt: line 1: "), "{error}");
    }
}
