//! A vocabulary as `tokenizer.json` and `tokenizer_config.json`, which the `tokenizers` crate and transformers read.
//!
//! All kinds become the model "BPE": byte-level vocabularies in GPT-2's letters for bytes, SentencePiece's with U+2581 for spaces and
//! byte fallback, characters as an alphabet without merges.

use serde_json::{Map, Value, json};
use siskin_format::vocab::{PreTokenizer, TokenKind, Vocab, VocabKind};

use super::export::pretty;
use crate::chat::jinja;
use crate::source::shown;

/// Llama 3's cut into words; Qwen 2's differs in the numbers.
const LLAMA3: [&str; 3] = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|",
    r"\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];
/// DeepSeek Coder's cuts, one after the other; digits follow one by one.
const DEEPSEEK: [&str; 4] = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+"];

/// `tokenizer.json` and `tokenizer_config.json`, or in one line what of the vocabulary they cannot express.
pub(crate) fn texts(vocab: &Vocab, context: usize) -> Result<[String; 2], String> {
    let pieces = pieces(vocab)?;
    let special = vocab.special();
    let piece = |id: Option<u32>| id.and_then(|id| pieces.get(id as usize));
    let mut model = json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": piece(special.unk),
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": vocab.kind() == VocabKind::SentencePiece,
        "byte_fallback": has_fallback(vocab),
        "ignore_merges": vocab.ignore_merges(),
    });
    model["vocab"] = ids(&pieces)?;
    let merges = vocab.merges().iter().map(|merge| {
        let (left, right) = (&pieces[merge.left as usize], &pieces[merge.right as usize]);
        format!("{left} {right}")
    });
    model["merges"] = merges.collect();
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added(vocab, &pieces),
        "normalizer": normalizer(vocab),
        "pre_tokenizer": pre_tokenizer(vocab),
        "post_processor": post_processor(vocab, &pieces),
        "decoder": decoder(vocab),
        "model": model,
    });
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": piece(special.bos),
        "eos_token": piece(special.eos),
        "unk_token": piece(special.unk),
        "pad_token": piece(special.pad),
        "add_bos_token": vocab.add_bos(),
        "clean_up_tokenization_spaces": false,
        "model_max_length": context,
    });
    // The place that every version of transformers reads.
    if let Some(chat) = vocab.chat() {
        config["chat_template"] = json!(jinja(chat));
    }
    Ok([pretty(&tokenizer), pretty(&config)])
}

/// The text of every token in the file.
fn pieces(vocab: &Vocab) -> Result<Vec<String>, String> {
    let letters = letters();
    let piece = |(bytes, kind): (&[u8], TokenKind)| match (vocab.kind(), kind) {
        (VocabKind::SentencePiece, TokenKind::Byte) => Ok(format!("<0x{:02X}>", bytes[0])),
        (VocabKind::SentencePiece, TokenKind::Normal) => {
            utf8(bytes).map(|text| text.replace(' ', "\u{2581}"))
        }
        (VocabKind::Char, TokenKind::Normal) => utf8(bytes),
        (_, TokenKind::Normal | TokenKind::Byte) => {
            Ok(bytes.iter().map(|&b| letters[usize::from(b)]).collect())
        }
        _ => utf8(bytes),
    };
    vocab.tokens().map(piece).collect()
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map(str::to_string);
    text.map_err(|_| {
        format!("the token \"{}\" is not UTF-8, as names in JSON are", shown(&String::from_utf8_lossy(bytes)))
    })
}

fn ids(pieces: &[String]) -> Result<Value, String> {
    let mut ids = Map::new();
    for (id, piece) in pieces.iter().enumerate() {
        if let Some(other) = ids.insert(piece.clone(), json!(id)) {
            return Err(format!(
                "the tokens {other} and {id} would both be written \"{}\" in tokenizer.json",
                shown(piece)
            ));
        }
    }
    Ok(Value::Object(ids))
}

/// GPT-2's letter of each byte: those that print stand for themselves, the others for letters from U+0100 on.
fn letters() -> [char; 256] {
    let mut letters = ['\0'; 256];
    let mut next = 0x100;
    for byte in 0..=255u8 {
        let prints = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        letters[usize::from(byte)] = if prints {
            char::from(byte)
        } else {
            next += 1;
            char::from_u32(next - 1).expect("below U+0200")
        };
    }
    letters
}

fn is_byte_level(vocab: &Vocab) -> bool {
    matches!(vocab.kind(), VocabKind::Byte | VocabKind::Bpe)
}

fn has_fallback(vocab: &Vocab) -> bool {
    vocab.kind() == VocabKind::SentencePiece && vocab.tokens().any(|(_, kind)| kind == TokenKind::Byte)
}

/// Tokens that are looked for in a text before anything else.
fn added(vocab: &Vocab, pieces: &[String]) -> Value {
    let entry = |(id, ((_, kind), piece)): (usize, ((&[u8], TokenKind), &String))| {
        kind.is_literal().then(|| {
            json!({
                "id": id,
                "content": piece,
                "single_word": false,
                "lstrip": vocab.lstrip().contains(&(id as u32)),
                "rstrip": vocab.rstrip().contains(&(id as u32)),
                "normalized": false,
                "special": kind != TokenKind::UserDefined,
            })
        })
    };
    vocab.tokens().zip(pieces).enumerate().filter_map(entry).collect()
}

fn normalizer(vocab: &Vocab) -> Value {
    if vocab.kind() != VocabKind::SentencePiece {
        return Value::Null;
    }
    let spaces = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" });
    let prefix = json!({ "type": "Prepend", "prepend": "\u{2581}" });
    let steps = if vocab.add_space_prefix() { vec![prefix, spaces] } else { vec![spaces] };
    json!({ "type": "Sequence", "normalizers": steps })
}

fn byte_level(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}

fn pre_tokenizer(vocab: &Vocab) -> Value {
    if !is_byte_level(vocab) {
        return Value::Null;
    }
    let split = |pattern: &str| json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
    let digits = json!({ "type": "Digits", "individual_digits": true });
    let steps = match vocab.pre_tokenizer() {
        PreTokenizer::Gpt2 => return byte_level(true),
        PreTokenizer::Llama3 => vec![split(&LLAMA3.concat()), byte_level(false)],
        PreTokenizer::Qwen2 => vec![split(&[LLAMA3[0], r"\p{N}", LLAMA3[2]].concat()), byte_level(false)],
        PreTokenizer::SmolLm => vec![digits, byte_level(true)],
        PreTokenizer::DeepSeekCoder => {
            DEEPSEEK.iter().map(|pattern| split(pattern)).chain([digits, byte_level(false)]).collect()
        }
        _ => return byte_level(false),
    };
    json!({ "type": "Sequence", "pretokenizers": steps })
}

/// What begins a text.
fn post_processor(vocab: &Vocab, pieces: &[String]) -> Value {
    let Some(id) = vocab.special().bos.filter(|_| vocab.add_bos()) else { return Value::Null };
    let bos = &pieces[id as usize];
    let mark = |side: u32| json!({ "SpecialToken": { "id": bos, "type_id": side } });
    let text = |name: &str, side: u32| json!({ "Sequence": { "id": name, "type_id": side } });
    json!({
        "type": "TemplateProcessing",
        "single": [mark(0), text("A", 0)],
        "pair": [mark(0), text("A", 0), mark(1), text("B", 1)],
        "special_tokens": { bos: { "id": bos, "ids": [id], "tokens": [bos] } },
    })
}

fn decoder(vocab: &Vocab) -> Value {
    if is_byte_level(vocab) {
        return byte_level(true);
    }
    if vocab.kind() != VocabKind::SentencePiece {
        return json!({ "type": "Fuse" });
    }
    let spaces = json!({ "type": "Replace", "pattern": { "String": "\u{2581}" }, "content": " " });
    let mut steps = vec![spaces, json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" })];
    if vocab.add_space_prefix() {
        steps.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    json!({ "type": "Sequence", "decoders": steps })
}
