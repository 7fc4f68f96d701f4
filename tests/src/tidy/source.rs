//! Rust text taken apart into code, comments and string contents, line for line.

/// One source file in three layers of equal shape: what belongs to another layer is blanked with spaces, and
/// line breaks stay, so a line number means the same in all of them.
#[derive(Debug)]
pub struct Source {
    /// Code without comments and without the insides of strings.
    pub code: String,
    /// Comments, doc comments included.
    pub comments: String,
    /// Insides of string literals.
    pub strings: String,
}

#[derive(Clone, Copy)]
enum Layer {
    Code,
    Comment,
    String,
}

impl Source {
    /// Takes `text` apart.
    pub fn new(text: &str) -> Source {
        let mut source = Source { code: String::new(), comments: String::new(), strings: String::new() };
        let mut rest = text;
        let mut previous = ' ';
        while let Some(c) = rest.chars().next() {
            let (len, layer, edges) = token(rest, previous);
            let token = &rest[..len];
            for (i, c) in token.char_indices() {
                // The quotes of a string stay in the code, so that it still reads as an expression.
                let inside = i >= edges.0 && i + edges.1 < len;
                source.push(c, if inside { layer } else { Layer::Code });
            }
            previous = token.chars().next_back().unwrap_or(c);
            rest = &rest[len..];
        }
        source
    }

    fn push(&mut self, c: char, layer: Layer) {
        let blank = if c == '\n' { '\n' } else { ' ' };
        self.code.push(if matches!(layer, Layer::Code) { c } else { blank });
        self.comments.push(if matches!(layer, Layer::Comment) { c } else { blank });
        self.strings.push(if matches!(layer, Layer::String) { c } else { blank });
    }
}

/// Length of the token at the start of `rest`, its layer, and how many bytes at each end count as code.
fn token(rest: &str, previous: char) -> (usize, Layer, (usize, usize)) {
    let whole = |len| (len, Layer::Code, (0, 0));
    let first = rest.chars().next().expect("not empty");
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Layer::Comment, (0, 0));
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), Layer::Comment, (0, 0));
    }
    if first == '"' {
        return (quoted(rest, '"'), Layer::String, (1, 1));
    }
    let starts_word = !(previous.is_alphanumeric() || previous == '_');
    if starts_word && let Some((len, open, close)) = raw_string(rest) {
        return (len, Layer::String, (open, close));
    }
    if first == '\'' {
        // 'a' and '\n' are characters, 'a without a closing quote is a lifetime.
        let mut chars = rest[1..].chars();
        let is_char = matches!((chars.next(), chars.next()), (Some('\\'), _) | (Some(_), Some('\'')));
        return if is_char { (quoted(rest, '\''), Layer::String, (1, 1)) } else { whole(1) };
    }
    whole(first.len_utf8())
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0usize);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return i + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, `br"…"`, `cr"…"`: whole length, length of the opening, length of the closing.
fn raw_string(rest: &str) -> Option<(usize, usize, usize)> {
    let body = rest.strip_prefix("br").or(rest.strip_prefix("cr")).or(rest.strip_prefix('r'))?;
    let hashes = body.bytes().take_while(|b| *b == b'#').count();
    body[hashes..].strip_prefix('"')?;
    let open = rest.len() - body.len() + hashes + 1;
    let closing = format!("\"{}", "#".repeat(hashes));
    let len = rest[open..].find(&closing).map_or(rest.len(), |i| open + i + closing.len());
    Some((len, open, closing.len()))
}

/// Whether `word` stands in `line` with no letter, digit or underscore beside it; its byte offset.
pub fn find_word(line: &str, word: &str) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).map(|(i, _)| i).find(|&i| {
        let before = line[..i].chars().next_back();
        let after = line[i + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_told_apart() {
        let s = Source::new("let a = \"in // string\"; // note \"x\"\n/* b /* c */ d */ let c = 'q';\n");
        assert_eq!(s.code.lines().next().unwrap().trim_end(), "let a = \"            \";");
        assert!(s.strings.contains("in // string") && s.strings.contains('q'));
        assert!(s.comments.contains("note \"x\"") && s.comments.contains("d */"));
        assert!(s.code.contains("let c") && !s.code.contains('d'));
    }

    #[test]
    fn raw_strings_escapes_and_lifetimes() {
        let s = Source::new(
            "fn f<'a>(x: &'a str) { g(r#\"say \"hi\" // no\"#, \"a\\\"b\", b'\\'', '\"') } // end",
        );
        assert!(s.code.contains("fn f<'a>(x: &'a str)") && s.code.contains('}'));
        assert!(s.strings.contains("say \"hi\" // no"));
        assert_eq!(s.comments.trim(), "// end");
        // An identifier that ends in r does not open a raw string.
        assert!(Source::new("for_r\"x\" y").code.contains('y'));
    }

    #[test]
    fn lines_keep_their_numbers() {
        let text = "a\n\"b\nc\"\n/* d\n e */ f\n";
        let s = Source::new(text);
        for layer in [&s.code, &s.comments, &s.strings] {
            assert_eq!(layer.lines().count(), text.lines().count());
        }
        assert_eq!(s.code.lines().nth(4).unwrap().trim(), "f");
    }

    #[test]
    fn words_have_borders() {
        assert_eq!(find_word("unsafe_code", "unsafe"), None);
        assert_eq!(find_word("(unsafe {", "unsafe"), Some(1));
        assert_eq!(find_word("siskin_format::a siskin::b", "siskin"), Some(17));
    }
}
