//! Llama 3's pre-tokenizer and its kin, by hand:
//!
//! `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
//!
//! (Meta's `tokenizer.py` of Llama 3; Qwen 2 has `\p{N}` in place of `\p{N}{1,3}`.)

use super::unicode::{Class, class_of_first};

/// Length of the first word of `text`, which is not empty; at most `max_digits` numbers are one word.
pub(super) fn word_len(text: &[u8], max_digits: usize) -> usize {
    if let Some(len) = contraction_len(text) {
        return len;
    }
    let (class, len) = class_of_first(text);
    let (next, next_len) = match text.get(len..) {
        Some(rest @ [_, ..]) => class_of_first(rest),
        _ => (Class::Space, 0),
    };
    match class {
        Class::Letter => run(text, len, Class::Letter),
        Class::Number => (1..max_digits).fold(len, |end, _| match text.get(end..) {
            Some(rest @ [_, ..]) => match class_of_first(rest) {
                (Class::Number, len) => end + len,
                _ => end,
            },
            _ => end,
        }),
        // Any character but a line end may stand before letters.
        _ if next == Class::Letter && !is_line_end(text[0]) => run(text, len + next_len, Class::Letter),
        Class::Space if text[0] == b' ' && next_len > 0 && next == Class::Other => {
            others(text, len + next_len)
        }
        Class::Space => spaces(text),
        _ => others(text, len),
    }
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)`; the long s folds to s.
fn contraction_len(text: &[u8]) -> Option<usize> {
    let [b'\'', rest @ ..] = text else { return None };
    let lower = |at: usize| rest.get(at).map_or(0, u8::to_ascii_lowercase);
    match (lower(0), lower(1)) {
        (b's' | b't' | b'm' | b'd', _) => Some(2),
        (b'r' | b'v', b'e') | (b'l', b'l') => Some(3),
        (0xC5, 0xBF) => Some(3),
        _ => None,
    }
}

/// End of the run of a class that goes on at `end`.
fn run(text: &[u8], mut end: usize, class: Class) -> usize {
    while end < text.len() {
        match class_of_first(&text[end..]) {
            (next, len) if next == class => end += len,
            _ => break,
        }
    }
    end
}

/// `[^\s\p{L}\p{N}]+[\r\n]*` from its second character on.
fn others(text: &[u8], end: usize) -> usize {
    let end = run(text, end, Class::Other);
    end + text[end..].iter().take_while(|&&byte| is_line_end(byte)).count()
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+` where a run of white space begins.
fn spaces(text: &[u8]) -> usize {
    let (mut end, mut last) = (0, 0);
    while end < text.len() {
        match class_of_first(&text[end..]) {
            (Class::Space, len) => (last, end) = (end, end + len),
            _ => break,
        }
    }
    if let Some(line_end) = text[..end].iter().rposition(|&byte| is_line_end(byte)) {
        return line_end + 1;
    }
    // A run of white space leaves its last character to what follows.
    if end < text.len() && last > 0 { last } else { end }
}

pub(super) fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::check;
    use siskin_format::vocab::PreTokenizer::{Llama3, Qwen2};

    #[test]
    fn examples() {
        check(Llama3, "Hello, world!", &["Hello", ",", " world", "!"]);
        check(Llama3, "I'M you'Re $abc_def", &["I", "'M", " you", "'Re", " $", "abc", "_def"]);
        check(Llama3, "3.14159 12", &["3", ".", "141", "59", " ", "12"]);
        check(Qwen2, "3.14 12", &["3", ".", "1", "4", " ", "1", "2"]);
        check(Llama3, "a \n b\n\n  c", &["a", " \n", " b", "\n\n", " ", " c"]);
        check(Llama3, "x();\r\n\ty", &["x", "();\r\n", "\ty"]);
        check(Llama3, "a   b   ", &["a", "  ", " b", "   "]);
        check(Llama3, "\u{3000}\u{3000}你好，世界", &["\u{3000}", "\u{3000}你好", "，世界"]);
        check(Llama3, "\na", &["\n", "a"]);
        check(Llama3, " !a 1", &[" !", "a", " ", "1"]);
        check(Llama3, "'\u{17f}a", &["'\u{17f}", "a"]);
    }
}
