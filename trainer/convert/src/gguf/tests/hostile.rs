//! Broken files: each its own line, none a panic.

use super::*;
use crate::error::Error;
use crate::gguf::{self, file::Problem};
use crate::{Options, open};
use proptest::prelude::*;
use siskin_format::schema;
use std::path::Path;

fn valid() -> Vec<u8> {
    let (_folder, path) = exported(&llama(), &bpe(), DType::Q8);
    std::fs::read(path).unwrap()
}

/// Offset behind the first occurrence of a name as a string.
fn behind(bytes: &[u8], name: &str) -> usize {
    let mut string = (name.len() as u64).to_le_bytes().to_vec();
    string.extend(name.as_bytes());
    bytes.windows(string.len()).position(|window| window == string).expect(name) + string.len()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn problem(bytes: &[u8]) -> String {
    match gguf::read(Path::new("model.gguf"), bytes) {
        Ok(_) => "read".to_string(),
        Err(Problem::Malformed(e) | Problem::Unsupported(e) | Problem::Tokenizer(e)) => e,
        Err(Problem::Other(e)) => e.to_string(),
        Err(Problem::Tensor(name, e)) => format!("{name}: {e}"),
    }
}

/// Places in the directory: of a matrix of [32, 32] its dimensions, type and offset.
const MATRIX: &str = "blk.0.attn_q.weight";
const DIMS: usize = 4;
const TYPE: usize = DIMS + 16;
const OFFSET: usize = TYPE + 4;

#[test]
fn each_broken_file_has_its_line() {
    const MAX: [u8; 8] = u64::MAX.to_le_bytes();
    type Edit = fn(&mut Vec<u8>);
    let edits: [(&str, Edit); 38] = [
        ("begins with the bytes", |b| b[0] = b'X'),
        ("is GGUF version 1,", |b| b[4] = 1),
        ("is GGUF version 4,", |b| b[4] = 4),
        ("is GGUF version 0,", |b| b[4] = 0),
        ("is a big-endian GGUF", |b| put(b, 4, &[0, 0, 0, 3])),
        ("claims 18446744073709551615 tensors", |b| put(b, 8, &MAX)),
        ("claims 18446744073709551615 metadata keys", |b| put(b, 16, &MAX)),
        ("which need", |b| put(b, 16, &65_536u64.to_le_bytes())),
        ("a string claims 18446744073709551615 bytes", |b| put(b, 24, &MAX)),
        ("an empty name", |b| put(b, 24, &[0; 8])),
        ("control characters", |b| b[32] = 0),
        ("not UTF-8", |b| b[32] = 0xFF),
        ("stands in the file twice", |b| {
            let at = behind(b, "tokenizer.ggml.add_bos_token");
            put(b, at - 28, b"tokenizer.ggml.add_eos_token");
        }),
        ("value type 13 is unknown", |b| {
            let at = behind(b, "llama.context_length");
            b[at] = 13;
        }),
        ("llama.context_length is", |b| {
            let at = behind(b, "llama.context_length");
            b[at] = 6; // a float of the same size
        }),
        ("llama.context_length is missing", |b| {
            let at = behind(b, "llama.context_length");
            b[at - 1] = b'x';
        }),
        ("a bool is 2", |b| {
            let at = behind(b, "tokenizer.ggml.add_bos_token");
            b[at + 4] = 2;
        }),
        ("tokenizer.ggml.tokens: an array claims", |b| {
            let at = behind(b, "tokenizer.ggml.tokens");
            put(b, at + 4, &4u32.to_le_bytes());
            put(b, at + 8, &MAX);
        }),
        ("tokenizer.ggml.tokens: value", |b| {
            let at = behind(b, "tokenizer.ggml.tokens");
            put(b, at + 8, &MAX);
        }),
        ("nested more than 8 deep", |b| {
            let at = behind(b, "tokenizer.ggml.tokens");
            for depth in 0..200 {
                put(b, at + 4 + 12 * depth, &9u32.to_le_bytes());
                put(b, at + 8 + 12 * depth, &1u64.to_le_bytes());
            }
        }),
        ("0 dimensions", |b| {
            let at = behind(b, MATRIX);
            b[at] = 0;
        }),
        ("4294967295 dimensions", |b| {
            let at = behind(b, MATRIX);
            put(b, at, &[0xFF; 4]);
        }),
        ("a dimension of 0", |b| {
            let at = behind(b, MATRIX);
            put(b, at + DIMS + 8, &[0; 8]);
        }),
        ("more weights than can be counted", |b| {
            let at = behind(b, MATRIX);
            put(b, at + DIMS + 8, &(1u64 << 60).to_le_bytes());
        }),
        ("more bytes than can be counted", |b| {
            let at = behind(b, MATRIX);
            put(b, at + DIMS, &(1u64 << 63).to_le_bytes());
            put(b, at + DIMS + 8, &1u64.to_le_bytes());
            put(b, at + TYPE, &0u32.to_le_bytes());
        }),
        ("rows of 33 weights, expected a multiple of 32, the block of Q8_0", |b| {
            let at = behind(b, MATRIX);
            b[at + DIMS] = 33;
        }),
        ("is of type IQ2_XXS, which is not supported; supported are F32, F16,", |b| {
            let at = behind(b, MATRIX);
            b[at + TYPE] = 16;
        }),
        ("is of type code 999, which is not supported", |b| {
            let at = behind(b, MATRIX);
            put(b, at + TYPE, &999u32.to_le_bytes());
        }),
        ("a multiple of the alignment 32", |b| {
            let at = behind(b, MATRIX);
            b[at + OFFSET] += 1;
        }),
        ("reach beyond the file", |b| {
            let at = behind(b, MATRIX);
            put(b, at + OFFSET, &(u64::MAX - 31).to_le_bytes());
        }),
        ("overlaps", |b| {
            let at = behind(b, MATRIX);
            put(b, at + OFFSET, &[0; 8]);
        }),
        ("stands in the directory twice", |b| {
            let at = behind(b, "blk.0.attn_k.weight");
            b[at - 8] = b'q';
        }),
        ("blk.0.ffn_up.weight: is [32, 64], expected [64, 32] for blocks.0.ffn.w_up", |b| {
            let at = behind(b, "blk.0.ffn_up.weight") + DIMS;
            put(b, at, &64u64.to_le_bytes());
            put(b, at + 8, &32u64.to_le_bytes());
        }),
        ("blk.0.attn_q.weight: is missing, expected [32, 32] for blocks.0.attn.wq", |b| {
            let at = behind(b, MATRIX);
            b[at - 1] = b'x';
        }),
        ("architecture mamba is not", |b| {
            let at = behind(b, "general.architecture");
            put(b, at + 4 + 8, b"mamba");
        }),
        ("llama.block_count is 4294967295, expected at most 1024", |b| {
            let at = behind(b, "llama.block_count");
            put(b, at + 4, &[0xFF; 4]);
        }),
        ("n_heads 4 is not a multiple of n_kv_heads 3", |b| {
            let at = behind(b, "llama.attention.head_count_kv");
            b[at + 4] = 3;
        }),
        ("rope_theta is NaN", |b| {
            let at = behind(b, "llama.rope.freq_base");
            put(b, at + 4, &f32::NAN.to_le_bytes());
        }),
    ];
    for (expected, edit) in edits {
        let mut bytes = valid();
        edit(&mut bytes);
        let found = problem(&bytes);
        assert!(found.contains(expected) && !found.contains('\n'), "expected {expected:?}, found {found:?}");
    }
}

#[test]
fn every_prefix_is_refused() {
    let bytes = valid();
    for len in 0..bytes.len() {
        assert_ne!(problem(&bytes[..len]), "read", "{len} of {} bytes", bytes.len());
    }
    assert_eq!(problem(&bytes), "read");
}

#[test]
fn bytes_behind_the_weights_are_noted() {
    let mut bytes = valid();
    bytes.extend([0; 100]);
    let (.., notes, _) = gguf::read(Path::new("model.gguf"), &bytes).unwrap();
    assert_eq!(notes, ["100 bytes behind the last tensor were ignored"]);
}

#[test]
fn a_chat_template_becomes_pieces_or_a_note() {
    const CHATML: &str = "{% for m in messages %}{{'<|' + m['role'] + '|>' + m['content'] + '<|end|>'}}{% endfor %}\
                          {% if add_generation_prompt %}{{'<|assistant|>'}}{% endif %}";
    let imported = |program: &str| {
        let mut bytes = valid();
        let mut entry = (23u64.to_le_bytes()).to_vec();
        entry.extend(b"tokenizer.chat_template");
        entry.extend(8u32.to_le_bytes());
        // As long as the alignment asks for, so that the weights stay where they are: Jinja's comments mean nothing.
        let padding = 32 - (entry.len() + 8 + program.len() + 4) % 32;
        let program = format!("{program}{{#{}#}}", " ".repeat(padding));
        entry.extend((program.len() as u64).to_le_bytes());
        entry.extend(program.bytes());
        assert_eq!(entry.len() % 32, 0);
        bytes.splice(24..24, entry);
        bytes[16] += 1; // keys
        let (_, vocab, notes, _) = gguf::read(Path::new("model.gguf"), &bytes).unwrap();
        (vocab, notes)
    };
    let (vocab, _) = imported(CHATML);
    assert!(vocab.chat().is_some());
    for broken in ["{% for %}", "{{ messages[0] }}", "{% set x = range(1000000000) | list %}"] {
        let (vocab, notes) = imported(broken);
        assert!(vocab == bpe() && notes.len() == 1 && !notes[0].contains('\n'), "{broken}: {notes:?}");
    }
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    let mut bytes = valid();
    let frame = gguf::file::Frame::read(&bytes).unwrap();
    let at = frame.tensors.iter().find(|t| t.name == MATRIX).unwrap().offset as usize;
    put(&mut bytes, at + 34 * 5, &0x7C00u16.to_le_bytes()); // the scale of row 5
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    let mut import = open(&path, &Options::default()).unwrap();
    let spec = schema(&import.config).into_iter().find(|spec| spec.name == "blocks.0.attn.wq").unwrap();
    match import.weights.read(&spec) {
        Err(Error::Tensor { name, problem, .. }) => {
            assert!(name == MATRIX && problem.contains("expected a finite number"), "{problem}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flood_of_keys_ends() {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1_000_000u64.to_le_bytes());
    bytes.resize(20_000_000, 1);
    assert!(problem(&bytes).contains("claims 1000000 metadata keys, expected at most 65536"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Bytes changed, cut out or put in anywhere, most of them in the frame.
    #[test]
    fn no_mutation_panics(
        edits in prop::collection::vec((0u8..4, 0usize..8192, any::<[u8; 8]>(), 0usize..9), 1..6),
        anywhere: bool,
    ) {
        let mut bytes = VALID.with(Clone::clone);
        for (kind, at, value, len) in edits {
            let at = if anywhere { at * 7919 % bytes.len() } else { at % bytes.len() };
            let end = (at + len).min(bytes.len());
            match kind {
                0 => put(&mut bytes, at, &value[..end - at.min(end)]),
                1 => drop(bytes.drain(at..end)),
                2 => drop(bytes.splice(at..at, value[..len.min(8)].iter().copied())),
                _ => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][usize::from(value[0]) % 5],
            }
        }
        if gguf::read(Path::new("model.gguf"), &bytes).is_ok() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("model.gguf");
            std::fs::write(&path, bytes).unwrap();
            let mut import = open(&path, &Options::default()).unwrap();
            for spec in schema(&import.config) {
                let _ = import.weights.read(&spec);
            }
        }
    }
}

thread_local! {
    static VALID: Vec<u8> = valid();
}
