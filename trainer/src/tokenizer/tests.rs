use super::*;
use proptest::prelude::*;
use siskin::Tokenizer;
use siskin_format::vocab::{PreTokenizer, VocabParts};
use std::sync::LazyLock;
use tokenizers::SplitDelimiterBehavior;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

/// English, Chinese, code, contractions, emoji and white space, with enough repetition to learn from.
fn corpus() -> Vec<String> {
    let lines = [
        "It's the end, isn't it? They'll say we've won; I'd say he's lost, and you're right.\n",
        "    fn main() { println!(\"{}\", 3.14159 + 2 * 10); }\n",
        "床前明月光，疑是地上霜。举头望明月，低头思故乡。\n",
        "\n\n\t\tthe  theory   of the thing  \r\n",
        "naïve café — “quotes” … 🙂🙂 👩‍👩‍👧 你好，世界！ 123 4567 ½ Ⅷ\n",
        "Привет, мир! สวัสดี हिन्दी 한국어 日本語のテキスト\u{3000}と\u{a0}空白\n",
    ];
    (0..50).flat_map(|_| lines.map(str::to_string)).collect()
}

/// The crate's tokenizer and the runtime's, of the same training.
static BOTH: LazyLock<(tokenizers::Tokenizer, Tokenizer)> = LazyLock::new(|| {
    let model: BPE = bpe::learn(&corpus(), 600, false).unwrap();
    let mut theirs = tokenizers::Tokenizer::new(model);
    theirs.with_pre_tokenizer(Some(ByteLevel::new(false, false, true)));
    theirs.with_decoder(Some(ByteLevel::default()));
    let ours = Tokenizer::from_vocab(&bpe::train(&corpus(), 600).unwrap()).unwrap();
    (theirs, ours)
});

fn check(text: &str) {
    let (theirs, ours) = &*BOTH;
    let expected = theirs.encode(text, false).unwrap();
    let ids = ours.encode(text).unwrap();
    assert_eq!(ids, expected.get_ids(), "{text:?}");
    assert_eq!(String::from_utf8(ours.decode(&ids)).unwrap(), text);
    assert_eq!(theirs.decode(&ids, false).unwrap(), text);
}

#[test]
fn the_crate_and_the_runtime_agree_on_what_they_learnt() {
    corpus().iter().take(6).for_each(|line| check(line));
    check(&corpus().concat());
    for text in
        ["", " ", "a", "\n", "'s", "' s", "'S", "''ll", "I'llama", "x\u{85}y", "\u{0}\u{1}", "e\u{301}"]
    {
        check(text);
    }
    check(&"the ".repeat(1000));
    check(&"明月".repeat(3000));
    check(&" ".repeat(777));
}

/// Characters beside letters and beside spaces: the classes of the pre-tokenizer. (The runtime's own tests compare
/// its tables for all characters; the crate takes too long for that.)
#[test]
fn the_crate_and_the_runtime_agree_on_characters_of_all_kinds() {
    let codes = (0..0x3100u32).chain((0x3100..=0x10_FFFF).step_by(37));
    let text: String = codes.filter_map(char::from_u32).flat_map(|c| [c, 'a', c, ' ', c]).collect();
    let (theirs, ours) = &*BOTH;
    for line in text.as_bytes().chunks(1 << 16) {
        let line = String::from_utf8_lossy(line);
        assert_eq!(ours.encode(line.as_bytes()).unwrap(), theirs.encode(&*line, false).unwrap().get_ids());
    }
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => any::<char>().prop_map(String::from),
        4 => "[ \\t\\n\\r\u{3000}\u{a0}\u{2028}]{1,4}",
        4 => prop::sample::select(vec![
            "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'", " '", "the", " the", "thing", "明月", "疑是", "，",
            "🙂", "👩‍👩‍👧", "\u{301}", "1", "23", "½", "!", "--", "fn ", "é",
        ]).prop_map(String::from),
        2 => "[一-龥]{1,6}",
        2 => "[a-zA-Z]{1,12}",
        1 => "\\PC{1,20}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn the_crate_and_the_runtime_agree_on_every_string(pieces in prop::collection::vec(piece(), 0..24)) {
        check(&pieces.concat());
    }
}

proptest! {
    /// Bytes that are no text, which the crate cannot take: the runtime gives them back.
    #[test]
    fn broken_utf8_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let ours = &BOTH.1;
        prop_assert_eq!(ours.decode(&ours.encode(&bytes).unwrap()), bytes);
    }
}

#[test]
fn training_repeats_itself_whatever_the_threads() {
    let lines = corpus();
    let first = bpe::train(&lines, 700).unwrap();
    for parallel in [false, true, false, true] {
        let model = bpe::learn(&lines, 700, parallel).unwrap();
        assert_eq!(bpe::vocab_of(&model).unwrap(), first);
    }
    let mut reversed = lines;
    reversed.reverse();
    assert_eq!(bpe::train(&reversed, 700).unwrap(), first);
}

struct Sample {
    _dir: tempfile::TempDir,
    text: Text,
    scan: TextScan,
}

fn sample(content: &[u8]) -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text");
    std::fs::write(&path, content).unwrap();
    let text = Text::open(&[&path]).unwrap();
    let scan = text.scan().unwrap();
    Sample { _dir: dir, text, scan }
}

impl Sample {
    fn train(&self, kind: Kind, size: Option<usize>) -> Result<Vocab> {
        train(&self.text, &self.scan, 0..self.text.len(), kind, size)
    }
}

#[test]
fn auto_takes_characters_for_small_alphabets() {
    let english = sample(b"to be, or not to be\n");
    let vocab = english.train(Kind::Auto, None).unwrap();
    assert_eq!(vocab.kind(), VocabKind::Char);
    assert_eq!(vocab.len(), 9);
    assert_eq!(vocab.token(0), Some(&b"\n"[..])); // sorted by code point
    assert_eq!(english.train(Kind::Auto, Some(300)).unwrap().kind(), VocabKind::Bpe);
    assert_eq!(english.train(Kind::Byte, None).unwrap(), Vocab::bytes());
    let many: String = ('一'..).take(257).collect();
    let chinese = sample(many.repeat(3).as_bytes());
    let vocab = chinese.train(Kind::Auto, None).unwrap();
    assert_eq!(vocab.kind(), VocabKind::Bpe);
    assert_eq!(chinese.train(Kind::Char, None).unwrap().len(), 257);
}

#[test]
fn broken_text_is_placed_for_characters_and_learnt_from_by_bpe() {
    let broken = sample(b"line\nli\xFFne line line\n");
    let message = broken.train(Kind::Char, None).unwrap_err().to_string();
    assert!(message.contains("line 2 (byte 7) is not UTF-8: convert the text"), "{message}");
    let vocab = broken.train(Kind::Auto, None).unwrap();
    assert_eq!(vocab.kind(), VocabKind::Bpe);
    assert!(vocab.tokens().any(|(bytes, _)| bytes == b"line"));
}

#[test]
fn sizes_are_checked_and_kept() {
    let text = sample(corpus().concat().as_bytes());
    assert_eq!(text.train(Kind::Bpe, Some(400)).unwrap().len(), 400);
    assert_eq!(text.train(Kind::Bpe, Some(256)).unwrap().len(), 256);
    assert!(text.train(Kind::Bpe, Some(60_000)).unwrap().len() < 2000); // no more pairs to merge
    for (kind, size) in [(Kind::Bpe, 255), (Kind::Bpe, 0), (Kind::Bpe, usize::MAX), (Kind::Char, 300)] {
        let error = text.train(kind, Some(size)).unwrap_err();
        assert!(matches!(error, Error::Setting { key: "vocab_size", .. }), "{error}");
    }
}

#[test]
fn sizes_grow_with_the_text() {
    assert_eq!(bpe_size(1, 10), 512);
    assert_eq!(bpe_size(1_000_000, 100), 2048);
    assert_eq!(bpe_size(16_000_000, 100), 8192);
    assert_eq!(bpe_size(u64::MAX, 100), 32_768);
    assert_eq!(bpe_size(2_000_000, 4_400), 8960); // a Chinese novel
}

/// Llama 3's pattern, as its `tokenizer.json` has it; Qwen 2's differs in the numbers.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK_CODER: [&str; 4] = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+"];

/// The crate's tokenizer and the runtime's with every other pre-tokenizer of the format.
static OTHERS: LazyLock<Vec<(PreTokenizer, tokenizers::Tokenizer, Tokenizer)>> = LazyLock::new(|| {
    let split = |pattern: &str| {
        let pattern = SplitPattern::Regex(pattern.into());
        PreTokenizerWrapper::from(Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap())
    };
    let digits = || PreTokenizerWrapper::from(Digits::new(true));
    let byte_level = |use_regex| PreTokenizerWrapper::from(ByteLevel::new(false, false, use_regex));
    let qwen2 = LLAMA3.replace("{1,3}", "");
    let mut coder: Vec<PreTokenizerWrapper> = DEEPSEEK_CODER.map(split).into();
    coder.extend([digits(), byte_level(false)]);
    let learnt = bpe::train(&corpus(), 600).unwrap();
    let pre_tokenizers = [
        (PreTokenizer::Llama3, vec![split(LLAMA3), byte_level(false)]),
        (PreTokenizer::Qwen2, vec![split(&qwen2), byte_level(false)]),
        (PreTokenizer::SmolLm, vec![digits(), byte_level(true)]),
        (PreTokenizer::DeepSeekCoder, coder),
    ];
    pre_tokenizers
        .into_iter()
        .map(|(pre_tokenizer, sequence)| {
            let model: BPE = bpe::learn(&corpus(), 600, false).unwrap();
            let mut theirs = tokenizers::Tokenizer::new(model);
            theirs.with_pre_tokenizer(Some(Sequence::new(sequence)));
            let parts = VocabParts {
                kind: VocabKind::Bpe,
                pre_tokenizer,
                tokens: learnt.tokens().map(|(bytes, kind)| (bytes.to_vec(), kind)).collect(),
                merges: learnt.merges().to_vec(),
                ..VocabParts::default()
            };
            (pre_tokenizer, theirs, Tokenizer::from_vocab(&Vocab::new(parts).unwrap()).unwrap())
        })
        .collect()
});

fn check_others(text: &str) {
    for (pre_tokenizer, theirs, ours) in &*OTHERS {
        let expected = theirs.encode(text, false).unwrap();
        assert_eq!(ours.encode(text).unwrap(), expected.get_ids(), "{pre_tokenizer:?}: {text:?}");
    }
}

#[test]
fn every_pre_tokenizer_is_that_of_the_crate() {
    corpus().iter().take(6).for_each(|line| check_others(line));
    check_others(&corpus()[..6].concat());
    for text in [
        "",
        " ",
        "\n",
        "'S'ſ'LL",
        "I'm you'RE",
        "a+ = b",
        "１２３四",
        "x\r\n\r\n  y",
        "\u{3000}你 。",
        "1 2  3\n4",
        "—a\u{2003}b",
    ] {
        check_others(text);
    }
    // Characters beside letters and beside spaces.
    let codes = (0..0x3100u32).chain((0x3100..=0x10_FFFF).step_by(97));
    check_others(&codes.filter_map(char::from_u32).flat_map(|c| [c, 'a', c, ' ', c]).collect::<String>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn every_pre_tokenizer_is_that_of_the_crate_on_any_text(
        text in "( |  |a|B|'|s|S|ll|\n|\r|\t|7|12|!|\\+|\\.|你|，|。|é|①|²|🙂|\u{3000}|\u{a0}|\u{301}|ſ){0,16}"
    ) {
        check_others(&text);
    }
}
