//! GPT-2's pre-tokenizer, by hand:
//!
//! `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
//!
//! (Radford et al. 2019, `encoder.py`.) Every byte belongs to exactly one word. Bytes that are not UTF-8 count as
//! neither space, letter nor number.

use super::unicode::{Class, class_of_first};

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

/// The same where every number is a word of its own, and the text around it is looked at alone: SmolLM's and StarCoder's.
pub(super) fn word_len_among_digits(text: &[u8]) -> usize {
    let (class, len) = class_of_first(text);
    if class == Class::Number {
        return len;
    }
    // White space before a number keeps its last character, for the text that is looked at ends there.
    let mut end = 0;
    while end < text.len() {
        match class_of_first(&text[end..]) {
            (Class::Space, len) => end += len,
            (Class::Number, _) => return end,
            _ => break,
        }
    }
    word_len(text)
}

#[cfg(test)]
mod tests {
    use super::super::words;
    use siskin_format::vocab::PreTokenizer::{Gpt2, SmolLm};

    fn check(text: &str, expected: &[&str]) {
        words::tests::check(Gpt2, text, expected);
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
        assert_eq!(
            words::tests::words(Gpt2, b"ab\xFF\xFEcd \x80"),
            [&b"ab"[..], b"\xFF\xFE", b"cd", b" \x80"]
        );
        assert_eq!(words::tests::words(Gpt2, b"\xE4\xBD!"), [&b"\xE4\xBD!"[..]]);
    }

    #[test]
    fn digits_stand_alone() {
        let check = |text, expected: &[&str]| words::tests::check(SmolLm, text, expected);
        check("a 12 b", &["a", " ", "1", "2", " b"]);
        check("a   1", &["a", "   ", "1"]);
        check("x1y ²", &["x", "1", "y", " ", "²"]);
        check("it's  2\n\n3", &["it", "'s", "  ", "2", "\n\n", "3"]);
        check("\t1", &["\t", "1"]);
        check("  ", &["  "]);
    }
}
