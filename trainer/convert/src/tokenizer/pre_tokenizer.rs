//! Pre-tokenizers by the names and patterns of others.

use siskin_format::vocab::PreTokenizer;

/// GGUF's names (`tokenizer.ggml.pre`, llama.cpp's `llama-vocab.cpp`).
const GGUF_NAMES: &[(PreTokenizer, &[&str])] = &[
    (
        PreTokenizer::Gpt2,
        &["gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais", "jina-es", "jina-de", "gigachat", "mellum"],
    ),
    (
        PreTokenizer::Llama3,
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2", "smaug-bpe", "dbrx"],
    ),
    (PreTokenizer::Qwen2, &["qwen2", "deepseek-r1-qwen", "stablelm2", "megrez"]),
    (
        PreTokenizer::SmolLm,
        &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
    ),
    (PreTokenizer::DeepSeekCoder, &["deepseek-coder"]),
];

/// Whether a text begins with bos and whole words are taken without merging where GGUF's name says so.
pub(super) fn is_llama3(name: &str) -> bool {
    matches!(name, "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "lfm2")
}

/// The pre-tokenizer of GGUF's name.
pub(super) fn from_gguf_name(name: &str) -> Option<PreTokenizer> {
    GGUF_NAMES.iter().find(|(_, names)| names.contains(&name)).map(|&(pre, _)| pre)
}

/// All names that [`from_gguf_name`] knows, for a message.
pub(super) fn gguf_names() -> String {
    GGUF_NAMES.iter().flat_map(|(_, names)| *names).copied().collect::<Vec<_>>().join(", ")
}

/// Patterns of `Split` pre-tokenizers, one after the other, as `tokenizer.json` spells them. `Digits` with individual digits is
/// written `\p{N}` here, and the pattern of `ByteLevel` is GPT-2's.
const PATTERNS: &[(PreTokenizer, &[&str])] = &[
    (PreTokenizer::Gpt2, &[GPT2]),
    (
        PreTokenizer::Llama3,
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
    ),
    (
        PreTokenizer::Qwen2,
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
    ),
    (PreTokenizer::SmolLm, &[r"\p{N}", GPT2]),
    (PreTokenizer::DeepSeekCoder, &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"]),
    (PreTokenizer::None, &[]),
];

/// GPT-2's pattern, which `ByteLevel` implies.
pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The pre-tokenizer that cuts by these patterns, one after the other.
pub(super) fn from_patterns(patterns: &[String]) -> Option<PreTokenizer> {
    PATTERNS.iter().find(|(_, known)| *known == patterns).map(|&(pre, _)| pre)
}
