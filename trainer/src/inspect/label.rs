//! Tokens as labels: whatever is in them can be seen, and takes little room.

/// A token's bytes as a label: line feed `↵`, tab `⇥`, space `␣`; what has no look of its own is escaped.
pub fn label(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push(&mut out, c));
        chunk.invalid().iter().for_each(|b| out.push_str(&format!("\\x{b:02X}")));
    }
    out
}

fn push(out: &mut String, c: char) {
    match c {
        '\n' => out.push('↵'),
        '\r' => out.push('␍'),
        '\t' => out.push('⇥'),
        ' ' => out.push('␣'),
        '\u{a0}' => out.push('⍽'),
        // A mark that is drawn onto the character before it gets a circle to stand on.
        c if is_combining(c) => out.extend(['◌', c]),
        c if c.is_control() || is_invisible(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        c => out.push(c),
    }
}

/// Combining marks and variation selectors.
fn is_combining(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}')
}

/// Characters of no width, other spaces, changes of direction, unassigned ends.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{1680}' | '\u{180e}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}'
        | '\u{205f}'..='\u{206f}' | '\u{3000}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_shown() {
        for (bytes, expected) in [
            ("a\n\t b".as_bytes(), "a↵⇥␣b"),
            ("漢😀".as_bytes(), "漢😀"),
            (b"\xf0\x9f", "\\xF0\\x9F"),
            (b"e\xcc\x81", "e◌\u{301}"),
            (b"\x00\x7f", "\\u{0}\\u{7f}"),
            ("\u{200b}\u{202e}".as_bytes(), "\\u{200b}\\u{202e}"),
            (b"", ""),
        ] {
            assert_eq!(label(bytes), expected);
        }
    }
}
