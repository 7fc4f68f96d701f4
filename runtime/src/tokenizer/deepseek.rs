//! DeepSeek Coder's pre-tokenizer, by hand. Each of these patterns cuts what the one before it left, and what it does not
//! match stays a word:
//!
//! `[\r\n]`, `\s?\p{L}+`, `\s?\p{P}+`, `[一-龥ࠀ-一가-퟿]+`, `\p{N}`
//!
//! (`tokenizer.json` of DeepSeek Coder, 2023.)

use super::llama3::is_line_end;
use super::unicode::{Class, decode, fine_class_of_first};

/// Length of the first word of `text`, which is not empty.
pub(super) fn word_len(text: &[u8]) -> usize {
    let (class, len) = fine_class_of_first(text);
    if class == Class::Number || is_line_end(text[0]) {
        return len;
    }
    // The last two patterns part the piece that the others make.
    let piece = &text[..piece_len(text)];
    let eastern = is_eastern(text);
    let mut end = len;
    while end < piece.len() {
        let (class, len) = fine_class_of_first(&piece[end..]);
        if class == Class::Number || is_eastern(&piece[end..]) != eastern {
            break;
        }
        end += len;
    }
    end
}

/// Length of the piece that the first three patterns make.
fn piece_len(text: &[u8]) -> usize {
    let class_at = |at: usize| match text.get(at..) {
        Some(rest @ [_, ..]) if !is_line_end(rest[0]) => Some(fine_class_of_first(rest)),
        _ => None,
    };
    let is_word = |class: Class| matches!(class, Class::Letter | Class::Punctuation);
    let mut end = 0;
    let mut run = None; // the class of a run of letters or punctuation
    while let Some((class, len)) = class_at(end) {
        // The class of the run that begins here, maybe with one character of white space before it.
        let begins = match class {
            Class::Space => class_at(end + len).map(|(next, _)| next).filter(|&next| is_word(next)),
            class => Some(class).filter(|&class| is_word(class)),
        };
        match (run, begins) {
            (Some(run), _) if run == class => {}
            (Some(_), _) => break,
            (None, Some(found)) if end == 0 => run = Some(found),
            (None, Some(_)) => break,
            (None, None) => {}
        }
        end += len;
    }
    end
}

/// `[一-龥ࠀ-一가-퟿]`
fn is_eastern(text: &[u8]) -> bool {
    matches!(decode(text), Some((0x0800..=0x9FA5 | 0xAC00..=0xD7FF, _)))
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::check;
    use siskin_format::vocab::PreTokenizer::DeepSeekCoder;

    #[test]
    fn examples() {
        let check = |text, words: &[&str]| check(DeepSeekCoder, text, words);
        check("Hello, world!", &["Hello", ",", " world", "!"]);
        check("a  b", &["a", " ", " b"]);
        check("a + = b", &["a", " + =", " b"]);
        check("x\r\n\ty", &["x", "\r", "\n", "\ty"]);
        check("12 34", &["1", "2", " ", "3", "4"]);
        check("hello你好 世界，ok", &["hello", "你好", " ", "世界", "，", "ok"]);
        check("I'm", &["I", "'", "m"]);
        check("\u{3000}你", &["\u{3000}你"]);
        check("+ \u{3000}!a", &["+ ", "\u{3000}", "!", "a"]);
        check("   ", &["   "]);
    }
}
