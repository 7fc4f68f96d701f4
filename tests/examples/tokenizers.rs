//! Checks every tokenizer of a data folder against what other programs made of the same texts.
//!
//! ```text
//! cargo run --release -p siskin-tests --example tokenizers -- FOLDER
//! ```
//!
//! `FOLDER/golden/tokenizers/NAME.jsonl` holds texts, their ids and what the ids say again, by Hugging Face's `tokenizers`;
//! `FOLDER/tokenizers/ggml-vocab/*.gguf.inp` and `.out` hold texts and ids by llama.cpp. Prints a table; exits with 1 if an id or
//! a byte is another.

use serde_json::Value;
use siskin::{EncodeOptions, Tokenizer};
use siskin_convert::tokenizer::{
    GgufTokenizer, JsonTokenizer, from_gguf, from_gpt2_merges, from_json, from_llama2c,
};
use siskin_format::Vocab;
use siskin_format::vocab::SpecialIds;
use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Where a vocabulary comes from, how many tokens its model has, and the texts that prove it.
const SOURCES: &[(&str, usize, &str)] = &[
    ("tokenizers/gpt2/tokenizer.json", 50257, "gpt2"),
    ("tokenizers/gpt2/merges.txt", 50257, "gpt2"),
    ("tokenizers/llama2/tokenizer.json", 32064, "llama2"),
    ("tokenizers/llama2/tokenizer.bin", 32000, "llama2 sentencepiece_ids"),
    ("tokenizers/minimind/tokenizer.json", 6400, "minimind"),
    ("tokenizers/smollm/tokenizer.json", 49152, "smollm"),
    ("models/stories260K/hf/tokenizer.json", 512, "stories260K"),
    ("models/stories260K/tok512.bin", 512, "stories260K"),
    ("models/stories260K/stories260K-F32.gguf", 512, "stories260K"),
    ("models/llama2xs/hf/tokenizer.json", 512, "stories260K"),
    ("models/llama-2-tiny-random.gguf", 32000, "llama2 sentencepiece_ids"),
    ("tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf", 50257, "gpt2"),
    ("tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf", 50257, ".inp"),
    ("tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf", 32000, ".inp"),
    ("tokenizers/ggml-vocab/ggml-vocab-phi-3.gguf", 32064, ".inp"),
    ("tokenizers/ggml-vocab/ggml-vocab-deepseek-coder.gguf", 32256, ".inp"),
];

/// A text, its ids, what the ids say, and whether special tokens were looked for.
struct Golden {
    text: String,
    ids: Vec<u32>,
    decoded: Option<String>,
    specials: bool,
}

fn main() -> ExitCode {
    let Some(folder) = env::args().nth(1) else {
        eprintln!("usage: tokenizers FOLDER");
        return ExitCode::from(2);
    };
    println!("{:<54} {:<26} {:>6} {:>5}", "vocabulary", "goldens", "texts", "wrong");
    let mut n_wrong = 0;
    for &(source, vocab_size, goldens) in SOURCES {
        match check(Path::new(&folder), source, vocab_size, goldens) {
            Ok((texts, wrong)) => {
                println!("{source:<54} {goldens:<26} {texts:>6} {:>5}", wrong.len());
                wrong.iter().take(3).for_each(|line| println!("    {line}"));
                n_wrong += wrong.len();
            }
            Err(error) => {
                println!("{source:<54} {goldens:<26} {error}");
                n_wrong += 1;
            }
        }
    }
    match n_wrong {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn check(folder: &Path, source: &str, vocab_size: usize, goldens: &str) -> Result<(usize, Vec<String>)> {
    let vocab = open(&folder.join(source), vocab_size)?;
    assert_eq!(Vocab::from_bytes(&vocab.to_bytes())?, vocab, "the section is read back");
    let tokenizer = Tokenizer::from_vocab(&vocab)?;
    let goldens = match goldens.split_once(' ') {
        _ if goldens == ".inp" => llamacpp_goldens(&folder.join(source))?,
        Some((name, key)) => json_goldens(folder, name, key)?,
        None => json_goldens(folder, goldens, "ids")?,
    };
    let mut wrong = Vec::new();
    for golden in &goldens {
        let options = EncodeOptions { specials: golden.specials, ..EncodeOptions::default() };
        let ids = tokenizer.encode_with(&golden.text, options)?;
        if ids != golden.ids {
            wrong.push(format!("{:?}: {ids:?}, expected {:?}", golden.text, golden.ids));
            continue;
        }
        let decoded = tokenizer.decode_with_specials(&golden.ids);
        if let Some(expected) = golden.decoded.as_ref().filter(|expected| expected.as_bytes() != decoded) {
            let decoded = String::from_utf8_lossy(&decoded);
            wrong.push(format!("{:?}: decoded {decoded:?}, expected {expected:?}", golden.ids));
        }
    }
    Ok((goldens.len(), wrong))
}

fn open(path: &Path, vocab_size: usize) -> Result<Vocab> {
    let text = || fs::read_to_string(path);
    let converted = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => {
            let config = fs::read_to_string(path.with_file_name("tokenizer_config.json")).ok();
            let tokenizer = text()?;
            let source = JsonTokenizer {
                tokenizer: &tokenizer,
                config: config.as_deref(),
                special: SpecialIds::default(),
            };
            from_json(path, &source, vocab_size)?
        }
        Some("txt") => from_gpt2_merges(path, &text()?)?,
        Some("bin") => from_llama2c(path, &fs::read(path)?, vocab_size)?,
        _ => gguf(path, vocab_size)?,
    };
    Ok(converted.vocab)
}

fn json_goldens(folder: &Path, name: &str, key: &str) -> Result<Vec<Golden>> {
    let lines = fs::read_to_string(folder.join(format!("golden/tokenizers/{name}.jsonl")))?;
    let golden = |line: &str| -> Result<Golden> {
        let value: Value = serde_json::from_str(line)?;
        let ids: Vec<u32> = serde_json::from_value(value[key].clone())?;
        let decoded = (ids == serde_json::from_value::<Vec<u32>>(value["ids"].clone())?)
            .then(|| value["decoded"].as_str().unwrap_or_default().to_string());
        let text = value["text"].as_str().ok_or("a line without text")?.to_string();
        Ok(Golden { text, ids, decoded, specials: key == "ids" })
    };
    lines.lines().map(golden).collect()
}

fn llamacpp_goldens(gguf: &Path) -> Result<Vec<Golden>> {
    let beside = |extension: &str| fs::read_to_string(format!("{}{extension}", gguf.display()));
    let (texts, ids) = (beside(".inp")?, beside(".out")?);
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").filter(|text| !text.is_empty()).collect();
    let ids: Vec<&str> = ids.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(texts.len(), ids.len(), "a line of ids for each text");
    let mut goldens = Vec::new();
    for (text, ids) in texts.iter().zip(ids) {
        let ids = ids.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
        goldens.push(Golden { text: (*text).into(), ids, decoded: None, specials: false });
    }
    Ok(goldens)
}

/// The tokenizer of a GGUF file, by as much of a reader as that takes.
fn gguf(path: &Path, vocab_size: usize) -> Result<siskin_convert::tokenizer::Converted> {
    let bytes = fs::read(path)?;
    let mut reader = Reader { rest: bytes.get(8..).ok_or("no GGUF")? };
    let (_tensors, n) = (reader.u64()?, reader.u64()?);
    let mut keys = HashMap::new();
    for _ in 0..n {
        let key = String::from_utf8(reader.bytes()?.to_vec())?;
        let kind = reader.u32()?;
        keys.insert(key, reader.value(kind)?);
    }
    let get = |key: &str| keys.get(&format!("tokenizer.ggml.{key}"));
    let text = |key| match get(key) {
        Some(Item::Text(text)) => std::str::from_utf8(text).ok(),
        _ => None,
    };
    let list = |key| match get(key) {
        Some(Item::List(list)) => Some(list),
        _ => None,
    };
    let texts = |key| -> Option<Vec<&[u8]>> {
        Some(list(key)?.iter().map(|item| if let Item::Text(text) = item { *text } else { &[] }).collect())
    };
    let number = |item: &Item<'_>| if let Item::Number(number) = item { *number } else { f64::NAN };
    let id = |key| get(key).map(|item| number(item) as u32);
    let flag = |key| get(key).map(|item| number(item) != 0.0);
    let scores = list("scores").map(|list| list.iter().map(|item| number(item) as f32).collect::<Vec<_>>());
    let types =
        list("token_type").map(|list| list.iter().map(|item| number(item) as i32).collect::<Vec<_>>());
    let (tokens, merges) = (texts("tokens").ok_or("no tokens")?, texts("merges"));
    let source = GgufTokenizer {
        model: text("model").ok_or("no model")?,
        pre: text("pre"),
        tokens: &tokens,
        scores: scores.as_deref(),
        types: types.as_deref(),
        merges: merges.as_deref(),
        special: SpecialIds {
            bos: id("bos_token_id"),
            eos: id("eos_token_id"),
            unk: id("unknown_token_id"),
            pad: id("padding_token_id"),
        },
        add_bos: flag("add_bos_token"),
        add_space_prefix: flag("add_space_prefix"),
    };
    Ok(from_gguf(path, &source, vocab_size)?)
}

enum Item<'a> {
    Number(f64),
    Text(&'a [u8]),
    List(Vec<Item<'a>>),
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk().ok_or("GGUF ends early")?;
        self.rest = rest;
        Ok(*first)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.u64()? as usize;
        let (first, rest) = self.rest.split_at_checked(len).ok_or("GGUF ends early")?;
        self.rest = rest;
        Ok(first)
    }

    fn value(&mut self, kind: u32) -> Result<Item<'a>> {
        Ok(match kind {
            0 | 1 | 7 => Item::Number(self.take::<1>()?[0].into()),
            2 | 3 => Item::Number(u16::from_le_bytes(self.take()?).into()),
            4 => Item::Number(self.u32()?.into()),
            5 => Item::Number((self.u32()? as i32).into()),
            6 => Item::Number(f32::from_le_bytes(self.take()?).into()),
            8 => Item::Text(self.bytes()?),
            9 => {
                let kind = self.u32()?;
                let n = self.u64()?;
                Item::List((0..n).map(|_| self.value(kind)).collect::<Result<_>>()?)
            }
            10 | 11 => Item::Number(self.u64()? as f64),
            12 => Item::Number(f64::from_le_bytes(self.take()?)),
            _ => return Err("a GGUF value of an unknown type".into()),
        })
    }
}
