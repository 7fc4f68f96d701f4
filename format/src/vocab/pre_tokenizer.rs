//! How a text is cut into words before merging.

/// How byte-level BPE cuts a text into words before merging. Merges never cross such a cut. Each is a pattern of its
/// model's authors, given here in the syntax of regular expressions; where there are several, each cuts the pieces that
/// the one before it left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PreTokenizer {
    /// The whole text is one word.
    #[default]
    None,
    /// GPT-2: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// Llama 3: `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    Llama3,
    /// Qwen 2: Llama 3's with `\p{N}` in place of `\p{N}{1,3}`
    Qwen2,
    /// SmolLM, StarCoder: `\p{N}`, each on its own; then GPT-2's
    SmolLm,
    /// DeepSeek Coder: `[\r\n]`; then `\s?\p{L}+`; then `\s?\p{P}+`; then `[一-龥ࠀ-一가-퟿]+`; then `\p{N}`
    DeepSeekCoder,
}

impl PreTokenizer {
    /// All of them; the index is the code in a file.
    pub const ALL: [PreTokenizer; 6] = [
        PreTokenizer::None,
        PreTokenizer::Gpt2,
        PreTokenizer::Llama3,
        PreTokenizer::Qwen2,
        PreTokenizer::SmolLm,
        PreTokenizer::DeepSeekCoder,
    ];

    /// The name that commands and messages use; GGUF's, where it has one.
    pub fn name(self) -> &'static str {
        match self {
            PreTokenizer::None => "none",
            PreTokenizer::Gpt2 => "gpt-2",
            PreTokenizer::Llama3 => "llama-bpe",
            PreTokenizer::Qwen2 => "qwen2",
            PreTokenizer::SmolLm => "smollm",
            PreTokenizer::DeepSeekCoder => "deepseek-coder",
        }
    }

    /// The pre-tokenizer of a name.
    pub fn from_name(name: &str) -> Option<PreTokenizer> {
        PreTokenizer::ALL.into_iter().find(|pre| pre.name() == name)
    }

    pub(super) fn code(self) -> u8 {
        self as u8
    }

    pub(super) fn from_code(code: u8) -> Option<PreTokenizer> {
        PreTokenizer::ALL.get(usize::from(code)).copied()
    }
}
