//! Opens every staged Hugging Face folder, llama2.c file and recurrent checkpoint under DATA and checks what can be checked without
//! computing: all weights decode, sizes are those of the golden outputs, and files of the same model give the same numbers.
//!
//! ```text
//! cargo run --release -p siskin-convert --example hf_goldens -- DATA DESCRIPTIONS
//! ```
//!
//! DESCRIPTIONS is a folder with the TOML files of the recurrent models, `tests/goldens/recurrent`. Prints a table; exits with 1 if anything is off.

use siskin_convert::{Import, Options, open};
use siskin_format::schema;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where a model lies under DATA, its tokenizer, the size of its vocabulary, and what it is to be compared with: another of these models,
/// and by how much a weight may differ in units of the largest of its tensor.
const MODELS: [Model; 13] = [
    ("models/stories260K/hf", None, 512, None),
    ("models/stories260K/stories260K.bin", Some(TOK512), 512, Some(("models/stories260K/hf", 0.0))),
    ("models/stories260K/stories260K_v1.bin", Some(TOK512), 512, Some(("models/stories260K/hf", 0.0))),
    ("models/stories260K/stories260K_q80.bin", Some(TOK512), 512, Some(("models/stories260K/hf", STEP))),
    ("models/llama2xs/hf", None, 512, None),
    ("models/llama2xs/model.bin", Some(TOK512), 512, Some(("models/llama2xs/hf", 0.0))),
    ("models/llama2xs/llama2xs_v1.bin", Some(TOK512), 512, Some(("models/llama2xs/hf", 0.0))),
    ("models/llama2xs/llama2xs_q80.bin", Some(TOK512), 512, Some(("models/llama2xs/hf", STEP))),
    ("models/gpt-nano-sort/hf", None, 3, None),
    ("models/hf-random/gpt2-rand", None, 512, None),
    ("models/hf-random/llama-bias-linrope-tied-rand", None, 300, None),
    ("models/hf-random/llama-gqa-untied-rand", None, 512, None),
    (
        "models/hf-random/llama-gqa-untied-rand-bf16-sharded",
        None,
        512,
        Some(("models/hf-random/llama-gqa-untied-rand", BF16)),
    ),
];

type Model = (&'static str, Option<&'static str>, usize, Option<Twin>);
type Twin = (&'static str, f32);

/// The recurrent models, without their ending, and the sizes of their vocabularies.
const RECURRENT: [(&str, usize); 5] = [
    ("models/nlp-hw1-char/rnn", 44),
    ("models/nlp-hw1-char/lstm", 44),
    ("models/ml5-charrnn/charlotte_bronte", 108),
    ("models/ml5-charrnn/shakespeare", 65),
    ("models/char-rnn.js/small", 196),
];

const TOK512: &str = "models/stories260K/tok512.bin";
/// Half a step of 8 bits, and a little for its scale's rounding.
const STEP: f32 = 0.501 / 127.0;
/// Half a unit of bf16's last place.
const BF16: f32 = 1.0 / 256.0;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let (Some(data), Some(descriptions)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: hf_goldens DATA DESCRIPTIONS");
        return ExitCode::from(2);
    };
    let mut table = Table { wrong: 0, weights: HashMap::new() };
    println!("{:<54} {:>6} {:>9} {:>10}  found", "model", "tokens", "weights", "difference");
    for (name, tokenizer, tokens, twin) in MODELS {
        let options = Options { tokenizer: tokenizer.map(|t| data.join(t)), placeholder_vocab: true };
        let found = open(&data.join(name), &options).map_err(|e| e.to_string());
        table.row(name, found.and_then(|import| check(import, tokens)), twin);
    }
    for (name, tokens) in RECURRENT {
        let found = beside(&data.join(name), &descriptions).and_then(|import| check(import, tokens));
        table.row(name, found, None);
    }
    println!(
        "{} of {} as expected",
        MODELS.len() + RECURRENT.len() - table.wrong,
        MODELS.len() + RECURRENT.len()
    );
    ExitCode::from(u8::from(table.wrong > 0))
}

type Tensors = Vec<(String, Vec<f32>)>;

struct Table {
    wrong: usize,
    weights: HashMap<&'static str, Tensors>,
}

impl Table {
    fn row(&mut self, name: &'static str, found: Result<(Import, Tensors), String>, twin: Option<Twin>) {
        let line = found.and_then(|(import, tensors)| {
            let difference =
                twin.map_or(Ok(0.0), |(twin, most)| difference(&tensors, &self.weights[twin], most))?;
            let n: usize = tensors.iter().map(|(_, values)| values.len()).sum();
            self.weights.insert(name, tensors);
            let notes = import.notes.join("; ");
            let twin = if twin.is_some() { format!("{difference:.2e}") } else { "-".to_string() };
            Ok(format!(
                "{:>6} {n:>9} {twin:>10}  {} blocks, {} vocabulary; {notes}",
                import.vocab.len(),
                import.config.n_layers(),
                import.vocab.kind().name()
            ))
        });
        if line.is_err() {
            self.wrong += 1;
        }
        println!("{name:<54} {}", line.unwrap_or_else(|problem| format!("WRONG: {problem}")));
    }
}

/// A recurrent checkpoint with its description copied beside a copy of it.
fn beside(model: &Path, descriptions: &Path) -> Result<Import, String> {
    let file = model.file_name().unwrap_or_default();
    let folder = std::env::temp_dir().join(format!("siskin-goldens-{}", std::process::id()));
    let says = |e: std::io::Error| e.to_string();
    fs::create_dir_all(&folder).map_err(says)?;
    let copy = folder.join(file).with_extension("safetensors");
    fs::copy(model.with_extension("safetensors"), &copy).map_err(says)?;
    fs::copy(descriptions.join(file).with_extension("toml"), copy.with_extension("toml")).map_err(says)?;
    let import = open(&copy, &Options::default()).map_err(|e| e.to_string());
    fs::remove_dir_all(&folder).map_err(says)?;
    import
}

/// Decodes every tensor of the schema.
fn check(mut import: Import, tokens: usize) -> Result<(Import, Tensors), String> {
    if import.config.vocab_size != tokens || import.vocab.len() != tokens {
        return Err(format!(
            "{} rows and {} tokens, expected {tokens}",
            import.config.vocab_size,
            import.vocab.len()
        ));
    }
    let mut tensors = Vec::new();
    for spec in schema(&import.config) {
        let values = import.weights.read(&spec).map_err(|e| e.to_string())?;
        if values.len() != spec.len() || values.iter().all(|v| *v == 0.0) && !spec.is_vector() {
            return Err(format!(
                "{} has {} values, expected {} and not all zero",
                spec.name,
                values.len(),
                spec.len()
            ));
        }
        tensors.push((spec.name, values));
    }
    Ok((import, tensors))
}

/// The largest difference between two models' weights, in units of the largest weight of the tensor.
fn difference(found: &Tensors, expected: &Tensors, most: f32) -> Result<f32, String> {
    let mut largest = 0.0f32;
    for ((name, found), (expected_name, expected)) in found.iter().zip(expected) {
        if name != expected_name || found.len() != expected.len() {
            return Err(format!("{name} where {expected_name} was expected"));
        }
        let scale = expected.iter().fold(f32::MIN_POSITIVE, |max, v| max.max(v.abs()));
        let apart = found.iter().zip(expected).fold(0.0f32, |max, (a, b)| max.max((a - b).abs())) / scale;
        if apart > most {
            return Err(format!(
                "{name} differs by {apart:e} of its largest weight, expected at most {most:e}"
            ));
        }
        largest = largest.max(apart);
    }
    if found.len() != expected.len() {
        return Err(format!("{} tensors, expected {}", found.len(), expected.len()));
    }
    Ok(largest)
}
