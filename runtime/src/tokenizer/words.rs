//! Words: where a pre-tokenizer cuts a text, and where it certainly does.

use super::unicode::{Class, fine_class_of_first, incomplete_tail};
use super::{deepseek, gpt2, llama3};
use siskin_format::vocab::PreTokenizer;

/// Length of the first word of `text`, which is not empty.
#[inline]
pub(super) fn word_len(pre: PreTokenizer, text: &[u8]) -> usize {
    match pre {
        PreTokenizer::Gpt2 => gpt2::word_len(text),
        PreTokenizer::Llama3 => llama3::word_len(text, 3),
        PreTokenizer::Qwen2 => llama3::word_len(text, 1),
        PreTokenizer::SmolLm => gpt2::word_len_among_digits(text),
        PreTokenizer::DeepSeekCoder => deepseek::word_len(text),
        _ => text.len(),
    }
}

/// Whether there is a scanner for it.
pub(super) fn is_known(pre: PreTokenizer) -> bool {
    PreTokenizer::ALL.contains(&pre)
}

/// The last place in `text` where a word certainly ends, whatever stands before and after; 0 if there is none.
///
/// A word certainly ends after a run of letters or numbers, and between another character and white space that follows
/// it. It does not between other characters and letters (`'` and `s` may be one word) or between white space and the
/// rest (a space belongs to the word that follows it). Llama 3's words may end in line ends, and DeepSeek Coder's in
/// white space after what is neither letter, number nor punctuation.
pub(super) fn last_boundary(pre: PreTokenizer, text: &[u8]) -> usize {
    if pre == PreTokenizer::None {
        return 0;
    }
    let coarse = |class| if class == Class::Punctuation { Class::Other } else { class };
    let takes_line_ends = matches!(pre, PreTokenizer::Llama3 | PreTokenizer::Qwen2);
    let mut end = text.len() - incomplete_tail(text);
    let mut next = None;
    while end > 0 {
        let start = last_char_start(&text[..end]);
        let (class, _) = fine_class_of_first(&text[start..end]);
        let boundary = match (class, next) {
            (_, None) | (Class::Space, _) => false,
            (Class::Other, Some(Class::Space)) if pre == PreTokenizer::DeepSeekCoder => false,
            (Class::Other | Class::Punctuation, Some(next)) => {
                next == Class::Space && !(takes_line_ends && llama3::is_line_end(text[end]))
            }
            (class, Some(next)) => coarse(next) != class,
        };
        if boundary {
            return end;
        }
        (next, end) = (Some(class), start);
    }
    0
}

/// Where the last character of `text`, which is not empty, begins; an invalid byte is a character of its own.
fn last_char_start(text: &[u8]) -> usize {
    let last = text.len() - 1;
    for start in (text.len().saturating_sub(4)..last).rev() {
        let (_, len) = fine_class_of_first(&text[start..]);
        if len == text.len() - start {
            return start;
        }
    }
    last
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn words(pre: PreTokenizer, text: &[u8]) -> Vec<&[u8]> {
        let mut rest = text;
        let mut words = Vec::new();
        while !rest.is_empty() {
            let (word, tail) = rest.split_at(word_len(pre, rest));
            words.push(word);
            rest = tail;
        }
        words
    }

    pub(in super::super) fn check(pre: PreTokenizer, text: &str, expected: &[&str]) {
        let expected: Vec<&[u8]> = expected.iter().map(|w| w.as_bytes()).collect();
        assert_eq!(words(pre, text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn boundaries() {
        for (text, expected) in [
            ("", 0),
            ("abc", 0),
            ("abc def", 3),
            ("abc def ", 7),
            ("abc\n\nx", 3),
            ("don't", 3),
            ("'s", 0),
            ("!s", 0),
            ("12a", 2),
            ("你好，世", 6),
            ("   x", 0),
            ("x   ", 1),
            ("!  ", 1),
        ] {
            assert_eq!(last_boundary(PreTokenizer::Gpt2, text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(last_boundary(PreTokenizer::Gpt2, b"ab \xE4\xBD"), 2); // it may become a letter
        assert_eq!(last_boundary(PreTokenizer::Gpt2, b"ab\xE4\xBD"), 0);
        assert_eq!(last_boundary(PreTokenizer::Llama3, b"!\n"), 0);
        assert_eq!(last_boundary(PreTokenizer::Llama3, b"! "), 1);
        assert_eq!(last_boundary(PreTokenizer::DeepSeekCoder, b"+ "), 0);
        assert_eq!(last_boundary(PreTokenizer::None, b"a b"), 0);
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop::sample::select(vec![
            &b"a"[..],
            b"'",
            b"'s",
            b"'ll",
            b" ",
            b"  ",
            b"\n",
            b"\t",
            b"7",
            b"!",
            b"+",
            b"s",
            b"\xFF",
            b"\xE4\xBD",
            "你".as_bytes(),
            "，".as_bytes(),
            "。".as_bytes(),
            "é".as_bytes(),
            "🙂".as_bytes(),
            "\u{3000}".as_bytes(),
            "①".as_bytes(),
            b"\x85",
        ]);
        prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn cutting_at_a_boundary_changes_no_word(
            pre in prop::sample::select(&PreTokenizer::ALL[1..]), before in text(), after in text()
        ) {
            let cut = last_boundary(pre, &before);
            let whole = [&before[..], &after[..]].concat();
            let mut parts = words(pre, &whole[..cut]);
            parts.extend(words(pre, &whole[cut..]));
            prop_assert_eq!(words(pre, &whole), parts);
        }
    }
}
