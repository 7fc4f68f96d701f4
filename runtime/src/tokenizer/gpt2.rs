//! GPT-2's pre-tokenizer, by hand:
//!
//! `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
//!
//! (Radford et al. 2019, `encoder.py`.) Every byte belongs to exactly one word. Bytes that are not UTF-8 count as
//! neither space, letter nor number.

use super::unicode::{Class, class_of_first, incomplete_tail};

/// Length of the first word of `text`, which is not empty.
pub(super) fn word_len(text: &[u8]) -> usize {
    if let Some(len) = contraction_len(text) {
        return len;
    }
    let (mut class, mut end) = class_of_first(text);
    if text[0] == b' ' && text.len() > 1 {
        let (second, len) = class_of_first(&text[1..]);
        if second != Class::Space {
            (class, end) = (second, 1 + len);
        }
    }
    let mut last = 0; // where the last character of the run begins
    while end < text.len() {
        let (next, len) = class_of_first(&text[end..]);
        if next != class {
            // A run of white space leaves its last character to the word that follows: `\s+(?!\S)`.
            return if class == Class::Space && last > 0 { last } else { end };
        }
        last = end;
        end += len;
    }
    end
}

fn contraction_len(text: &[u8]) -> Option<usize> {
    match text {
        [b'\'', b's' | b't' | b'm' | b'd', ..] => Some(2),
        [b'\'', b'r', b'e', ..] | [b'\'', b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => Some(3),
        _ => None,
    }
}

/// The last place in `text` where a word certainly ends, whatever stands before and after; 0 if there is none.
///
/// A word certainly ends between a character and white space that follows it, and after a run of letters or
/// numbers. It does not between other characters and letters (`'` and `s` may be one word) or between white space
/// and the rest (a space belongs to the word that follows it).
pub(super) fn last_boundary(text: &[u8]) -> usize {
    let mut end = text.len() - incomplete_tail(text);
    let mut next = None;
    while end > 0 {
        let start = last_char_start(&text[..end]);
        let (class, _) = class_of_first(&text[start..end]);
        let boundary = match (class, next) {
            (_, None) | (Class::Space, _) => false,
            (Class::Other, Some(next)) => next == Class::Space,
            (class, Some(next)) => next != class,
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
        let (_, len) = class_of_first(&text[start..]);
        if len == text.len() - start {
            return start;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &[u8]) -> Vec<&[u8]> {
        let mut rest = text;
        let mut words = Vec::new();
        while !rest.is_empty() {
            let (word, tail) = rest.split_at(word_len(rest));
            words.push(word);
            rest = tail;
        }
        words
    }

    fn check(text: &str, expected: &[&str]) {
        let expected: Vec<&[u8]> = expected.iter().map(|w| w.as_bytes()).collect();
        assert_eq!(words(text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn examples() {
        check("Hello, world!", &["Hello", ",", " world", "!"]);
        check(
            "I'm you're we've they'll he'd it's",
            &["I", "'m", " you", "'re", " we", "'ve", " they", "'ll", " he", "'d", " it", "'s"],
        );
        check("DON'T 'tis 's", &["DON", "'", "T", " '", "tis", " '", "s"]);
        check("'sam'", &["'s", "am", "'"]);
        check("a  b", &["a", " ", " b"]);
        check("a \n b\n", &["a", " \n", " b", "\n"]);
        check("a\n\nb", &["a", "\n", "\n", "b"]);
        check("a\nb", &["a", "\n", "b"]);
        check("x   ", &["x", "   "]);
        check("   x", &["  ", " x"]);
        check(" ", &[" "]);
        check("3.14 x2", &["3", ".", "14", " x", "2"]);
        check("½²Ⅷ٣", &["½²Ⅷ٣"]);
        check("你好，世界！ 再见", &["你好", "，", "世界", "！", " 再见"]);
        check("a\u{3000}b", &["a", "\u{3000}", "b"]);
        check("a\u{3000}\u{3000}b", &["a", "\u{3000}", "\u{3000}", "b"]);
        check("👩‍👩 ❤️", &["👩‍👩", " ❤️"]);
        check("e\u{301}t", &["e", "\u{301}", "t"]); // a combining mark is not a letter
        check("a\u{85}b\u{a0}c\u{200b}", &["a", "\u{85}", "b", "\u{a0}", "c", "\u{200b}"]);
    }

    #[test]
    fn broken_utf8_counts_as_other() {
        assert_eq!(words(b"ab\xFF\xFEcd \x80"), [&b"ab"[..], b"\xFF\xFE", b"cd", b" \x80"]);
        assert_eq!(words(b"\xE4\xBD!"), [&b"\xE4\xBD!"[..]]);
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
            assert_eq!(last_boundary(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(last_boundary(b"ab \xE4\xBD"), 2); // the incomplete character may become a letter
        assert_eq!(last_boundary(b"ab\xE4\xBD"), 0);
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
            b"s",
            b"\xFF",
            b"\xE4\xBD",
            "你".as_bytes(),
            "，".as_bytes(),
            "é".as_bytes(),
            "🙂".as_bytes(),
            "\u{3000}".as_bytes(),
            b"\x85",
        ]);
        prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn cutting_at_a_boundary_changes_no_word(before in text(), after in text()) {
            let cut = last_boundary(&before);
            let whole = [&before[..], &after[..]].concat();
            let mut parts = words(&whole[..cut]);
            parts.extend(words(&whole[cut..]));
            prop_assert_eq!(words(&whole), parts);
        }
    }
}
