//! Hostile and damaged files: each way of being wrong has its own error, in one line, without a panic and within
//! the bound on memory that SPEC.md promises.

mod config;
mod fifty;
mod file;
mod found;
mod fuzz;
mod metadata;
mod sections;
mod sweep;
mod tensors;
mod tokenizer;
mod values;

use siskin_format::config::{BlockConfig, RecurrentConfig};
use siskin_format::header::Section;
use siskin_format::receipt::{Golden, Receipt, Source, Training};
use siskin_format::writer::to_bytes;
use siskin_format::{Contents, DType, Error, File, ModelConfig, TensorSpec, Vocab};
use siskin_tests::alloc::{Counting, peak_of};
use siskin_tests::models;
use siskin_tests::raw_file::RawFile;
use std::borrow::Cow;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Opens bytes and checks the bound on memory: twice the metadata and 1 MiB, and the one aligned copy of bytes that
/// were given on the heap.
fn open(file: &RawFile) -> Result<File, Error> {
    let bytes = file.bytes.clone();
    let len = bytes.len();
    let metadata = match file.range(Section::TensorData).start {
        0 => len,
        start => start,
    };
    let (result, peak) = peak_of(|| File::from_bytes(bytes));
    let bound = 2 * metadata + (1 << 20) + len;
    assert!(peak <= bound, "{peak} bytes allocated for {metadata} bytes of metadata: {result:?}");
    if let Err(error) = &result {
        let line = error.to_string();
        assert!(!line.is_empty() && !line.contains(char::is_control), "one clear line: {line:?}");
        assert!(line.len() < 800, "a line that somebody can read: {line}");
    }
    result
}

/// Why a file is refused.
fn refusal(file: &RawFile) -> Error {
    match open(file) {
        Ok(_) => panic!("the file was accepted"),
        Err(error) => error,
    }
}

/// Asserts the very error with which a file is refused.
macro_rules! assert_refused {
    ($file:expr, $pattern:pat $(if $guard:expr)?) => {
        match crate::refusal(&$file) {
            $pattern $(if $guard)? => {}
            other => panic!("{other:?}"),
        }
    };
}
use assert_refused;

fn vocab(n: usize) -> Vocab {
    let chars: Vec<char> = (0..n as u32).map(|i| char::from_u32(0x61 + i).unwrap()).collect();
    Vocab::chars(&chars, false).unwrap()
}

fn receipt() -> Receipt {
    Receipt {
        producer: Some("a test".into()),
        sources: vec![Source { name: "text.txt".into(), bytes: 12, hash: 34 }],
        training: Some(Training { steps: 5, tokens: 6, optimizer: "sgd lr=0.1".into(), seed: 7 }),
        golden: vec![Golden { prompt: vec![1, 2, 3], n_tokens: 4, tokens_hash: 5, logits_hash: 6 }],
        ..Receipt::default()
    }
}

fn file_of(config: &ModelConfig, dtype: DType) -> RawFile {
    let (vocab, receipt) = (vocab(config.vocab_size), receipt());
    let contents = Contents { config, vocab: &vocab, receipt: &receipt };
    let weights = |spec: &TensorSpec| Ok::<_, Error>(Cow::Owned(models::values(spec, 1)));
    RawFile::new(to_bytes(&contents, |spec| spec.dtype_for(dtype), weights).unwrap())
}

/// A model of a few bytes: one LSTM layer, 5 tokens.
fn tiny_config() -> ModelConfig {
    let mut config = models::lstm();
    config.vocab_size = 5;
    config.d_model = 3;
    config.blocks = vec![BlockConfig::Lstm(RecurrentConfig {
        hidden: 2,
        norm: siskin_format::config::Norm::Layer,
        residual: false,
        bias: true,
    })];
    config
}

/// The smallest file of interest, in q8.
fn tiny() -> RawFile {
    file_of(&tiny_config(), DType::Q8)
}

/// A Transformer with every section that it can have, in q4.
fn llama() -> RawFile {
    file_of(&models::llama(), DType::Q4)
}

#[test]
fn the_samples_are_valid() {
    for file in [tiny(), llama()] {
        open(&file).unwrap().verify().unwrap();
        let rebuilt = file.with_section(Section::Receipt, file.section(Section::Receipt));
        assert_eq!(rebuilt.bytes, file.bytes, "taking apart and putting together changes nothing");
    }
}
