//! The character classes of pre-tokenizers, on bytes that may not be UTF-8.

use super::unicode_table::STARTS;

/// A character's class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `\p{L}`
    Letter,
    /// `\p{N}`
    Number,
    /// `\s`, which is `\p{White_Space}`
    Space,
    /// `\p{P}`
    Punctuation,
    /// All the rest, and bytes that are not UTF-8.
    Other,
}

impl Class {
    /// The class for patterns that know only letters, numbers and space.
    #[inline]
    fn coarse(self) -> Class {
        if self == Class::Punctuation { Class::Other } else { self }
    }
}

const ASCII: [Class; 128] = {
    let mut classes = [Class::Other; 128];
    let mut i = 0;
    while i < 128 {
        classes[i] = match i as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            b'0'..=b'9' => Class::Number,
            b'\t'..=b'\r' | b' ' => Class::Space,
            b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'`' | b'|' | b'~' | 0..=0x1F | 0x7F => Class::Other,
            _ => Class::Punctuation,
        };
        i += 1;
    }
    classes
};

/// Class of a code point.
pub(super) fn class(c: u32) -> Class {
    match c {
        0..128 => ASCII[c as usize],
        0x4E00..=0x9FFF => Class::Letter, // CJK: the one range worth a short cut
        _ => {
            // The last range that begins at or before `c`; U+0080 begins the first.
            let after = STARTS.partition_point(|&start| start >> 3 <= c);
            match STARTS[after - 1] & 7 {
                1 => Class::Letter,
                2 => Class::Number,
                3 => Class::Space,
                4 => Class::Punctuation,
                _ => Class::Other,
            }
        }
    }
}

/// Class and length in bytes of the character at the beginning of `text`, which is not empty. A byte that does
/// not begin a whole, valid character is `Other`, alone.
#[inline]
pub(super) fn fine_class_of_first(text: &[u8]) -> (Class, usize) {
    let first = text[0];
    if first < 128 {
        return (ASCII[first as usize], 1);
    }
    class_of_bytes(text)
}

/// The same for a character that is not ASCII.
#[inline(never)]
fn class_of_bytes(text: &[u8]) -> (Class, usize) {
    match decode(text) {
        Some((c, len)) => (class(c), len),
        None => (Class::Other, 1),
    }
}

/// The same, where punctuation is `Other`.
#[inline]
pub(super) fn class_of_first(text: &[u8]) -> (Class, usize) {
    let (class, len) = fine_class_of_first(text);
    (class.coarse(), len)
}

/// Code point and length of the multi-byte character at the beginning of `text`.
pub(super) fn decode(text: &[u8]) -> Option<(u32, usize)> {
    let bits = |at: usize| match text.get(at) {
        Some(&byte) if byte & 0xC0 == 0x80 => Some(u32::from(byte & 0x3F)),
        _ => None,
    };
    let first = u32::from(*text.first()?);
    match first {
        0xC2..=0xDF => Some(((first & 0x1F) << 6 | bits(1)?, 2)),
        0xE0..=0xEF => {
            let c = (first & 0x0F) << 12 | bits(1)? << 6 | bits(2)?;
            (c >= 0x800 && !(0xD800..=0xDFFF).contains(&c)).then_some((c, 3))
        }
        0xF0..=0xF4 => {
            let c = (first & 0x07) << 18 | bits(1)? << 12 | bits(2)? << 6 | bits(3)?;
            (0x1_0000..=0x10_FFFF).contains(&c).then_some((c, 4))
        }
        _ => None,
    }
}

/// Number of bytes at the end of `text` that begin a character without completing it: 0 to 3.
pub(super) fn incomplete_tail(text: &[u8]) -> usize {
    let tail = &text[text.len().saturating_sub(3)..];
    for (i, &byte) in tail.iter().enumerate().rev() {
        if byte & 0xC0 != 0x80 {
            let rest = &tail[i..];
            let incomplete = std::str::from_utf8(rest).is_err_and(|e| e.error_len().is_none());
            return if incomplete { rest.len() } else { 0 };
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex_syntax::hir::{Class as HirClass, HirKind};

    /// The code points of a pattern such as `\p{L}`, by regex-syntax.
    fn ranges(pattern: &str, class: Class) -> Vec<(u32, u32, Class)> {
        let hir = regex_syntax::parse(pattern).unwrap();
        let HirKind::Class(HirClass::Unicode(set)) = hir.kind() else { panic!("{pattern} is not a class") };
        set.ranges().iter().map(|r| (r.start() as u32, r.end() as u32, class)).collect()
    }

    const CODES: [(&str, Class, u32); 4] = [
        (r"\p{L}", Class::Letter, 1),
        (r"\p{N}", Class::Number, 2),
        (r"\s", Class::Space, 3),
        (r"\p{P}", Class::Punctuation, 4),
    ];

    /// Where each range begins, from U+0080 on, with the code of its class.
    fn expected_table() -> Vec<u32> {
        let mut named: Vec<(u32, u32, u32)> = Vec::new();
        for (pattern, class, code) in CODES {
            named.extend(ranges(pattern, class).iter().map(|&(first, last, _)| (first, last, code)));
        }
        named.retain(|&(first, _, _)| first >= 128);
        named.sort_unstable();
        let mut table = vec![];
        let mut next = 0x80;
        for (first, last, code) in named {
            if first > next {
                table.push(next << 3);
            }
            table.push(first << 3 | code);
            next = last + 1;
        }
        table.push(next << 3);
        table.dedup_by_key(|start| *start >> 3);
        table
    }

    /// The text of `unicode_table.rs`.
    fn generated() -> String {
        let mut lines = vec![String::from("   ")];
        for start in expected_table() {
            let entry = format!(" 0x{start:X},");
            if lines[lines.len() - 1].len() + entry.len() > 110 {
                lines.push(String::from("   "));
            }
            lines.last_mut().unwrap().push_str(&entry);
        }
        format!(
            "//! Generated by the tests of `unicode.rs` from the tables of regex-syntax; do not edit.\n\n\
             /// Where ranges of one class begin, from U+0080 on, in order: 8 times the first code point, plus 1 for\n\
             /// letters, 2 for numbers, 3 for white space, 4 for punctuation, 0 for all the rest.\n\
             #[rustfmt::skip]\n\
             pub(super) static STARTS: &[u32] = &[\n{}\n];\n",
            lines.join("\n")
        )
    }

    /// If this fails after an update of regex-syntax, the message is the new file.
    #[test]
    fn the_table_is_that_of_regex_syntax() {
        let expected = generated();
        assert!(include_str!("unicode_table.rs") == expected, "unicode_table.rs should be:\n{expected}");
        assert_eq!(STARTS, expected_table());
    }

    #[test]
    fn every_class_is_that_of_its_pattern() {
        let mut expected = vec![Class::Other; 0x11_0000];
        for (pattern, class, _) in CODES {
            for (first, last, class) in ranges(pattern, class) {
                expected[first as usize..=last as usize].fill(class);
            }
        }
        for (c, expected) in expected.into_iter().enumerate() {
            assert_eq!(class(c as u32), expected, "U+{c:04X}");
        }
    }

    #[test]
    fn every_character_decodes_and_nothing_else_does() {
        for c in (0x80..=0x10_FFFF).filter_map(char::from_u32) {
            let text = c.to_string().into_bytes();
            assert_eq!(decode(&text), Some((c as u32, text.len())));
            assert_eq!(decode(&text[..text.len() - 1]), None);
        }
        for pair in 0..=u16::MAX {
            for tail in [[0x80, 0x80], [0xBF, 0xBF], [0x41, 0x80]] {
                let [a, b] = pair.to_be_bytes();
                let text = [a, b, tail[0], tail[1]];
                let valid =
                    (2..=4).find(|&n| std::str::from_utf8(&text[..n]).is_ok_and(|s| s.chars().count() == 1));
                assert_eq!(decode(&text).map(|(_, n)| n), valid, "{text:x?}");
            }
        }
    }

    #[test]
    fn an_incomplete_tail_is_what_more_bytes_could_complete() {
        for text in ["", "a", "aé", "你", "x🙂"] {
            assert_eq!(incomplete_tail(text.as_bytes()), 0);
        }
        assert_eq!(incomplete_tail(&"é".as_bytes()[..1]), 1);
        assert_eq!(incomplete_tail(&"a你".as_bytes()[..3]), 2);
        assert_eq!(incomplete_tail(&"🙂".as_bytes()[..3]), 3);
        assert_eq!(incomplete_tail(&[0x80, 0x80, 0x80]), 0);
        assert_eq!(incomplete_tail(&[b'a', 0xFF]), 0);
        assert_eq!(incomplete_tail(&[0xE0, 0x80]), 0); // no character begins so
    }
}
