//! Small deterministic texts.

use crate::models::Rng;

const WORDS: [&str; 40] = [
    "the", "a", "of", "and", "to", "in", "it", "was", "he", "she", "bird", "seed", "tree", "wind", "small",
    "green", "yellow", "sings", "flies", "eats", "sees", "finds", "near", "under", "over", "river", "house",
    "winter", "spring", "morning", "alder", "birch", "cone", "branch", "song", "nest", "feather", "snow",
    "field", "cloud",
];

/// At least `bytes` bytes of ASCII sentences from a skewed choice of 40 words; the same for a seed everywhere.
pub fn english(bytes: usize, seed: u64) -> String {
    let mut rng = Rng::new(seed);
    let mut out = String::with_capacity(bytes + 64);
    while out.len() < bytes {
        let words = 4 + rng.below(8);
        for i in 0..words {
            // The smaller of two draws: common words come first in the list.
            let word = WORDS[rng.below(WORDS.len()).min(rng.below(WORDS.len()))];
            let mut letters = word.chars();
            match (i, letters.next()) {
                (0, Some(first)) => out.extend(first.to_uppercase().chain(letters)),
                _ => out.push_str(word),
            }
            out.push_str(if i + 1 < words { " " } else { ".\n" });
        }
    }
    out
}

/// Strings on which tokenizers go wrong: empty, spaces, controls, Chinese, emoji sequences, combining marks.
pub const AWKWARD: [&str; 14] = [
    "",
    " ",
    "   two  spaces ",
    "line\nline\r\nline\ttab",
    "\u{0}\u{1}\u{7f}",
    "don't we'll I'M",
    "3.14159 1,000,000 x86_64",
    "你好，世界。天地玄黄",
    "日本語のテキスト",
    "naïve café e\u{301}",
    "👩‍👩‍👧‍👦🇩🇪",
    "\u{200b}\u{feff}\u{202e}",
    "<|endoftext|> <s> </s>",
    "\u{10ffff}",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_repeat_by_seed() {
        let text = english(1000, 7);
        assert!(text.is_ascii() && text.len() >= 1000 && text.len() < 1100);
        assert_eq!(text, english(1000, 7));
        assert_ne!(text, english(1000, 8));
    }
}
