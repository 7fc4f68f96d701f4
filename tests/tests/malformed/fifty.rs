//! The fifty ways in which a file is wrong, by number: each with its own error and its message. The other modules try
//! many more bytes of each; this table is the one to tick off.
//!
//! Each file is opened under the counting allocator: at most twice the metadata and 1 MiB (see [`super::open`]).

use super::fuzz::kind_of;
use super::{file_of, llama, open, peak_of, tiny, tiny_config, vocab};
use siskin::{Model, Session, SessionOptions};
use siskin_format::config::{BlockConfig, MAX_BLOCKS, Position, TransformerConfig};
use siskin_format::header::Section;
use siskin_format::meta::{Meta, Value};
use siskin_format::vocab::{Merge, PreTokenizer, SpecialIds, TokenKind, VocabKind, VocabParts};
use siskin_format::{DType, Error, ModelConfig, Vocab};
use siskin_tests::raw_file::{Field, RawFile, RawTensor};
use siskin_tests::{bin, models, skip, temp_dir};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Number of the case, what is wrong, the file, the error's variants, its message.
type Case = (u8, &'static str, RawFile, &'static str, &'static str);

fn head(at: usize, bytes: &[u8]) -> RawFile {
    tiny().put(at, bytes).sealed_header()
}

fn entry(section: Section, field: Field, value: u64) -> RawFile {
    let n = if matches!(field, Field::Kind | Field::Reserved) { 4 } else { 8 };
    head(RawFile::field(section, field), &value.to_le_bytes()[..n])
}

/// The tiny file whose receipt is one entry, nothing checked.
fn receipt_of(count: u64, key: &[u8], type_code: u32, value: &[u8]) -> RawFile {
    let mut bytes = count.to_le_bytes().to_vec();
    bytes.extend((key.len() as u32).to_le_bytes());
    bytes.extend(type_code.to_le_bytes());
    bytes.extend([key, value].concat());
    tiny().with_section(Section::Receipt, &bytes)
}

fn tensors(change: impl FnOnce(&mut Vec<RawTensor>)) -> RawFile {
    let mut list = RawTensor::list(tiny().section(Section::TensorDirectory));
    change(&mut list);
    let directory = RawTensor::directory(&list, list.len() as u64);
    tiny().with_section(Section::TensorDirectory, &directory)
}

fn embed(change: impl FnOnce(&mut RawTensor)) -> RawFile {
    tensors(|list| change(&mut list[0]))
}

fn config(change: impl FnOnce(&mut ModelConfig)) -> RawFile {
    let mut config = models::llama();
    change(&mut config);
    llama().with_section(Section::Config, &config.to_meta().to_bytes())
}

fn block(change: impl FnOnce(&mut TransformerConfig)) -> RawFile {
    config(|c| {
        if let BlockConfig::Transformer(t) = &mut c.blocks[0] {
            change(t);
        }
    })
}

fn hidden(n: usize) -> RawFile {
    let mut config = tiny_config();
    if let BlockConfig::Lstm(cell) = &mut config.blocks[0] {
        cell.hidden = n;
    }
    tiny().with_section(Section::Config, &config.to_meta().to_bytes())
}

/// A vocabulary of the byte pairs a, b, c, ab, abc with bytes at `at` changed (`super::tokenizer` gives the offsets).
fn pairs(at: usize, bytes: &[u8]) -> RawFile {
    let normal = |text: &str| (text.as_bytes().to_vec(), TokenKind::Normal);
    let vocab = Vocab::new(VocabParts {
        kind: VocabKind::Bpe,
        pre_tokenizer: PreTokenizer::Gpt2,
        tokens: ["a", "b", "c", "ab", "abc"].map(normal).to_vec(),
        scores: Some(vec![0.0; 5]),
        merges: vec![Merge { left: 0, right: 1, result: 3 }, Merge { left: 3, right: 2, result: 4 }],
        special: SpecialIds { eos: Some(4), ..SpecialIds::default() },
        ..VocabParts::default()
    });
    let mut section = vocab.unwrap().to_bytes();
    section[at..at + bytes.len()].copy_from_slice(bytes);
    tiny().with_section(Section::Tokenizer, &section)
}

/// The tiny model in `dtype` with the bytes at `at` of its embedding changed.
fn weights(dtype: DType, at: usize, bytes: &[u8]) -> RawFile {
    let file = file_of(&tiny_config(), dtype);
    let start = file.range(Section::TensorData).start;
    file.put(start + at, bytes).sealed()
}

fn flipped(section: Section) -> RawFile {
    let at = tiny().range(section).start + 1;
    let byte = tiny().bytes[at] ^ 4;
    tiny().put(at, &[byte])
}

fn grown(n: usize) -> RawFile {
    let mut file = tiny();
    file.bytes.resize(file.bytes.len() + n, 0);
    file
}

fn swapped() -> RawFile {
    let mut file = tiny();
    file.bytes.chunks_exact_mut(4).for_each(|word| word.reverse());
    file
}

fn million_keys() -> RawFile {
    let mut bytes = 1_000_000u64.to_le_bytes().to_vec();
    for i in 0..1_000_000 {
        bytes.extend(7u32.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(format!("{i:07}").as_bytes());
        bytes.push(1);
    }
    tiny().with_section(Section::Receipt, &bytes)
}

fn known_key_of_the_wrong_type() -> RawFile {
    let mut meta = Meta::from_bytes(tiny().section(Section::Config)).unwrap();
    meta.set("model.d_model", Value::Str("three".into()));
    tiny().with_section(Section::Config, &meta.to_bytes())
}

/// Behind the checksums of the file as a whole: cases 1 to 17.
#[rustfmt::skip] // a row of the table is two lines
fn of_the_file() -> Vec<Case> {
    let len = tiny().bytes.len() as u64;
    let cut = RawFile::new(tiny().bytes[..1000].to_vec());
    let data = Section::TensorData;
    let padding = tiny().range(Section::Config).end;
    let fewer = head(32, &4u32.to_le_bytes());
    vec![
        (1, "a prefix", cut,
            "Truncated/", "the file is cut off: 1000 bytes, expected 3328; copy it again"),
        (2, "wrong magic", tiny().put(0, b"GGUF"),
            "BadMagic/", "not a siskin model: the file starts with \"GGUFKIN\\n\""),
        (3, "version 0", tiny().put(8, &[0, 0]),
            "UnsupportedVersion/", "the file has version 0.0, expected 1.0 to 1.3; no siskin ever wrote that, copy the file again"),
        (3, "version max", tiny().put(8, &[0xff, 0xff]),
            "UnsupportedVersion/", "the file has version 65535.0, expected 1.0 to 1.3; it was written by a newer version, update siskin to read it"),
        (4, "a reserved bit", head(12, &[0, 0, 0, 0x80]),
            "ReservedFlags/", "the header has the unknown flags 0x80000000, expected 0"),
        (5, "byte-swapped", swapped(),
            "ByteSwapped/", "the file's bytes are swapped; siskin files are little-endian on every machine"),
        (6, "declared length + 1", head(16, &(len + 1).to_le_bytes()),
            "Truncated/", "the file is cut off: 3328 bytes, expected 3329; copy it again"),
        (6, "declared length - 1", head(16, &(len - 1).to_le_bytes()),
            "TrailingBytes/", "the file has 3328 bytes, expected 3327: something was appended to it"),
        (7, "trailing bytes", grown(1),
            "TrailingBytes/", "the file has 3329 bytes, expected 3328: something was appended to it"),
        (10, "offset + length wraps", entry(data, Field::Offset, u64::MAX - 63),
            "SectionOverflow/", "the tensor data section of 1536 bytes at 18446744073709551552 wraps around"),
        (11, "past the end", entry(data, Field::Len, len),
            "SectionPastEnd/", "the tensor data section ends at 5120, behind the file's 3328 bytes"),
        (12, "overlaps the header", entry(Section::Config, Field::Offset, 0),
            "SectionOverlap/", "the config section starts at 0, inside what ends at 224"),
        (12, "overlaps another section", entry(Section::Receipt, Field::Offset, 320),
            "SectionOverlap/", "the receipt section starts at 320, inside what ends at 888"),
        (13, "a section twice", entry(Section::Receipt, Field::Kind, 1),
            "DuplicateSection/", "the config section occurs twice"),
        (13, "a section missing", fewer,
            "MissingSection/", "the tensor data section is missing"),
        (14, "misaligned", entry(data, Field::Offset, tiny().range(data).start as u64 + 8),
            "SectionMisaligned/", "the tensor data section starts at 1800, expected a multiple of 64"),
        // The alignment is 64, never a number of the file; what a file could claim in its place stands in no field, so
        // a directory elsewhere, and sections at 13 and at 2^63, are what is left of this case.
        (15, "a directory at 0", head(24, &[0; 8]),
            "DirectoryPosition/", "the section directory is at 0, expected 64"),
        (15, "a directory at 13", head(24, &13u64.to_le_bytes()),
            "DirectoryPosition/", "the section directory is at 13, expected 64"),
        (15, "a directory at 2^63", head(24, &(1u64 << 63).to_le_bytes()),
            "DirectoryPosition/", "the section directory is at 9223372036854775808, expected 64"),
        (16, "padding that is not zero", tiny().put(padding, &[1]).sealed(),
            "Padding/", "padding byte 777 is not zero"),
        (17, "a flipped bit in the config", flipped(Section::Config),
            "SectionChecksum/", "the config section is damaged: its checksum does not match; copy the file again"),
        (17, "a flipped bit in the tokenizer", flipped(Section::Tokenizer),
            "SectionChecksum/", "the tokenizer section is damaged: its checksum does not match; copy the file again"),
        (17, "a flipped bit in the receipt", flipped(Section::Receipt),
            "SectionChecksum/", "the receipt section is damaged: its checksum does not match; copy the file again"),
        (17, "a flipped bit in the tensor directory", flipped(Section::TensorDirectory),
            "SectionChecksum/", "the tensor directory section is damaged: its checksum does not match; copy the file again"),
        (17, "a flipped bit in the weights", flipped(data),
            "SectionChecksum/", "the tensor data section is damaged: its checksum does not match; copy the file again"),
        (17, "a flipped bit in the section directory", tiny().put(80, &[tiny().bytes[80] ^ 1]),
            "DirectoryChecksum/", "the section directory is damaged; copy the file again"),
    ]
}

/// Cases 18 to 25.
#[rustfmt::skip] // a row of the table is two lines
fn of_metadata() -> Vec<Case> {
    let nested: Vec<u8> = (0..10_000).flat_map(|_| [10u64, 1].map(u64::to_le_bytes).concat()).collect();
    let twice = [entry_bytes(b"k"), entry_bytes(b"k")].concat();
    let twice = tiny().with_section(Section::Receipt, &[&2u64.to_le_bytes()[..], &twice].concat());
    vec![
        (18, "count u64::MAX", receipt_of(u64::MAX, b"k", 1, &[1]),
            "Meta/Count", "receipt section: 18446744073709551615 elements are announced, but at most 1 fit"),
        (18, "more elements than bytes", receipt_of(1, b"k", 7, &[9, 0, 0, 0, 0, 0, 0, 0]),
            "Meta/Count", "receipt section: 9 elements are announced, but at most 0 fit"),
        (19, "a string longer than the rest", receipt_of(1, b"k", 5, &[9, 0, 0, 0, 0, 0, 0, 0]),
            "Meta/StringLength", "receipt section: \"k\" announces 9 bytes, but 0 are left"),
        (19, "a key longer than its cap", receipt_of(1, &[b'k'; 256], 1, &[1]),
            "Meta/KeyLength", "receipt section: the key of entry 0 has 256 bytes, expected 1 to 255"),
        (20, "an empty key", receipt_of(1, b"", 1, &[1, 0]),
            "Meta/KeyLength", "receipt section: the key of entry 0 has 0 bytes, expected 1 to 255"),
        (20, "NUL in a key", receipt_of(1, b"a\0", 1, &[1]),
            "Meta/KeyText", "receipt section: the key of entry 0 is not printable UTF-8"),
        (20, "a key that is not UTF-8", receipt_of(1, b"\xff", 1, &[1]),
            "Meta/KeyText", "receipt section: the key of entry 0 is not printable UTF-8"),
        (21, "a key twice", twice,
            "Meta/DuplicateKey", "receipt section: \"k\" occurs twice"),
        (22, "an unknown type", receipt_of(1, b"k", 77, &[0; 16]),
            "Meta/UnknownType", "receipt section: \"k\" has the unknown type 77"),
        (23, "10,000 levels deep", receipt_of(1, b"k", 10, &nested),
            "Meta/UnknownType", "receipt section: \"k\" has the unknown type 10"),
        (24, "a known key of the wrong type", known_key_of_the_wrong_type(),
            "Meta/WrongType", "config section: \"model.d_model\" is string, expected u64"),
        (25, "a million keys", million_keys(),
            "SectionLength/", "the receipt section has 16000008 bytes, expected at most 1048576"),
    ]
}

fn entry_bytes(key: &[u8]) -> Vec<u8> {
    [&(key.len() as u32).to_le_bytes()[..], &1u32.to_le_bytes(), key, &[1]].concat()
}

/// Cases 26 to 39.
#[rustfmt::skip] // a row of the table is two lines
fn of_tensors() -> Vec<Case> {
    let q8 = DType::Q8.code();
    let short = tiny().section(Section::TensorData)[64..].to_vec();
    let wraps = |dims: [u64; 2]| {
        embed(|t| {
            t.dtype = q8;
            t.dims = dims.to_vec();
        })
    };
    let wider = {
        let mut config = tiny_config();
        config.d_model = 4;
        tiny().with_section(Section::Config, &config.to_meta().to_bytes())
    };
    vec![
        (26, "rank 0", embed(|t| t.dims.clear()),
            "Tensor/Rank", "tensor \"embed.weight\": it has 0 dimensions, expected 1 or 2"),
        (26, "rank 5", embed(|t| t.dims = vec![1; 5]),
            "Tensor/Rank", "tensor \"embed.weight\": it has 5 dimensions, expected 1 or 2"),
        (26, "rank max", embed(|t| t.dims = vec![1; 255]),
            "Tensor/Rank", "tensor \"embed.weight\": it has 255 dimensions, expected 1 or 2"),
        (27, "a zero dimension", embed(|t| t.dims[1] = 0),
            "Tensor/ZeroDim", "tensor \"embed.weight\": a dimension is 0"),
        (28, "the product of dimensions wraps", wraps([1 << 32, 1 << 32]),
            "Tensor/ShapeOverflow", "tensor \"embed.weight\": its shape is too large to be stored"),
        (29, "product times bits wraps", wraps([1 << 62, 1]),
            "Tensor/ShapeOverflow", "tensor \"embed.weight\": its shape is too large to be stored"),
        (29, "rounding up wraps", wraps([1, u64::MAX - 30]),
            "Tensor/ShapeOverflow", "tensor \"embed.weight\": its shape is too large to be stored"),
        (30, "a row against the block size", embed(|t| t.dims[1] = 33),
            "Tensor/Length", "tensor \"embed.weight\": it has 320 bytes, its shape needs 576"),
        (31, "an unknown dtype", embed(|t| t.dtype = 9),
            "Tensor/UnknownDType", "tensor \"embed.weight\": the storage type 9 is unknown"),
        (32, "declared bytes are not the computed ones", embed(|t| t.len += 64),
            "Tensor/Length", "tensor \"embed.weight\": it has 384 bytes, its shape needs 320"),
        (33, "a range leaves its section", tiny().with_section(Section::TensorData, &short),
            "Tensor/PastEnd", "tensor \"head.bias\": it ends at 1492, behind the section's 1472 bytes"),
        (34, "aliased ranges", tensors(|l| l[1].offset = l[0].offset),
            "Tensor/Overlap", "tensor \"blocks.0.norm.weight\": it starts at 0, inside the previous one"),
        (35, "a hole", tensors(|l| l[1].offset += 64),
            "Tensor/Hole", "tensor \"blocks.0.norm.weight\": bytes from 320 next to it belong to no tensor"),
        (36, "a name twice", tensors(|l| l[2].name = l[1].name.clone()),
            "Tensor/Duplicate", "tensor \"blocks.0.norm.weight\": it occurs twice"),
        (36, "an over-long name", embed(|t| t.name = vec![b'n'; 256]),
            "TensorDirectory/NameLength", "tensor directory: the name of entry 0 has 256 bytes, expected 1 to 255"),
        (37, "the total wraps", embed(|t| t.offset = u64::MAX - 63),
            "Tensor/OffsetOverflow", "tensor \"embed.weight\": its range wraps around"),
        (38, "a tensor missing", tensors(|l| drop(l.remove(3))),
            "Tensor/Missing", "tensor \"blocks.0.w_x\": the model needs it, but the file does not have it"),
        (38, "a tensor too many", tensors(|l| l[3].name = b"blocks.0.w_z".to_vec()),
            "Tensor/Unexpected", "tensor \"blocks.0.w_z\": the model does not have it"),
        (39, "the shape of another config", wider,
            "Tensor/Shape", "tensor \"embed.weight\": its shape is [5, 3], the model needs [5, 4]"),
    ]
}

/// Cases 40 to 43.
#[rustfmt::skip] // a row of the table is two lines
fn of_the_config() -> Vec<Case> {
    let max = usize::MAX;
    let mut none = Meta::from_bytes(llama().section(Section::Config)).unwrap();
    none.set("blocks.kind", Value::Strs(Vec::new()));
    let huge =
        |t: &mut TransformerConfig| (t.n_heads, t.n_kv_heads, t.head_dim) = (1 << 20, 1 << 20, 1 << 20);
    vec![
        (40, "no layers", llama().with_section(Section::Config, &none.to_bytes()),
            "Config/Zero", "config section: n_layers is 0, expected at least 1"),
        (40, "too many layers", config(|c| c.blocks = vec![c.blocks[0].clone(); MAX_BLOCKS + 1]),
            "Config/TooLarge", "config section: n_layers is 1025, expected at most 1024"),
        (40, "no heads", block(|t| t.n_heads = 0),
            "Config/Zero", "config section: n_heads is 0, expected at least 1"),
        (40, "heads max", block(|t| t.n_heads = max),
            "Config/TooLarge", "config section: n_heads is 18446744073709551615, expected at most 1048576"),
        (40, "no kv heads", block(|t| t.n_kv_heads = 0),
            "Config/Zero", "config section: n_kv_heads is 0, expected at least 1"),
        (40, "kv heads max", block(|t| t.n_kv_heads = max),
            "Config/TooLarge", "config section: n_kv_heads is 18446744073709551615, expected at most 1048576"),
        (40, "width 0", config(|c| c.d_model = 0),
            "Config/Zero", "config section: d_model is 0, expected at least 1"),
        (40, "width max", config(|c| c.d_model = max),
            "Config/TooLarge", "config section: d_model is 18446744073709551615, expected at most 1048576"),
        (40, "head width 0", block(|t| t.head_dim = 0),
            "Config/Zero", "config section: head_dim is 0, expected at least 1"),
        (40, "head width max", block(|t| t.head_dim = max),
            "Config/TooLarge", "config section: head_dim is 18446744073709551615, expected at most 1048576"),
        (40, "inner width 0", block(|t| t.d_ff = 0),
            "Config/Zero", "config section: d_ff is 0, expected at least 1"),
        (40, "inner width max", block(|t| t.d_ff = max),
            "Config/TooLarge", "config section: d_ff is 18446744073709551615, expected at most 1048576"),
        (40, "state 0", hidden(0),
            "Config/Zero", "config section: hidden is 0, expected at least 1"),
        (40, "state max", hidden(max),
            "Config/TooLarge", "config section: hidden is 18446744073709551615, expected at most 1048576"),
        (40, "vocabulary 0", config(|c| c.vocab_size = 0),
            "Config/Zero", "config section: vocab_size is 0, expected at least 1"),
        (40, "vocabulary max", config(|c| c.vocab_size = max),
            "Config/TooLarge", "config section: vocab_size is 18446744073709551615, expected at most 16777216"),
        (40, "context 0", config(|c| c.context = 0),
            "Config/Zero", "config section: context is 0, expected at least 1"),
        (40, "context max", config(|c| c.context = max),
            "Config/TooLarge", "config section: context is 18446744073709551615, expected at most 16777216"),
        // Heads have a width of their own, so widths need not divide; rotations need pairs.
        (41, "an odd head width under RoPE", block(|t| t.head_dim = 9),
            "Config/NotDivisible", "config section: head_dim 9 is not a multiple of the RoPE pair 2"),
        (41, "heads are not a multiple of kv heads", block(|t| t.n_kv_heads = 3),
            "Config/NotDivisible", "config section: n_heads 4 is not a multiple of n_kv_heads 3"),
        (42, "a state that cannot be counted", block(huge),
            "Config/TooLarge", "config section: n_heads * head_dim is 1099511627776, expected at most 1048576"),
        (43, "eps NaN", config(|c| c.norm_eps = f32::NAN),
            "Config/BadNumber", "config section: norm_eps is NaN, expected a positive number"),
        (43, "eps 0", config(|c| c.norm_eps = 0.0),
            "Config/BadNumber", "config section: norm_eps is 0, expected a positive number"),
        (43, "theta infinite", config(|c| c.position = Position::Rope { theta: f32::INFINITY }),
            "Config/BadNumber", "config section: rope_theta is inf, expected a positive number"),
        (43, "theta negative", config(|c| c.position = Position::Rope { theta: -1.0 }),
            "Config/BadNumber", "config section: rope_theta is -1, expected a positive number"),
    ]
}

/// Cases 44 to 49, and the names of case 50.
#[rustfmt::skip] // a row of the table is two lines
fn of_tokenizer_and_values() -> Vec<Case> {
    let code_at = 64; // behind 8 scales of 2 bytes, aligned
    vec![
        (44, "another vocabulary", tiny().with_section(Section::Tokenizer, &vocab(6).to_bytes()),
            "VocabSize/", "the tokenizer has 6 tokens, but the model's vocab_size is 5"),
        (45, "a special id beyond it", pairs(24, &5u32.to_le_bytes()),
            "Vocab/SpecialOutOfRange", "tokenizer section: eos is token 5, the vocabulary has 5 tokens"),
        (46, "a token twice", pairs(52, b"a"),
            "Vocab/DuplicateToken", "tokenizer section: tokens 0 and 1 are the same"),
        (46, "an empty token", pairs(36, &[0, 0]),
            "Vocab/TokenLength", "tokenizer section: token 0 is 0 bytes long, expected 1 to 1024"),
        (46, "an over-long token", pairs(36, &1025u16.to_le_bytes()),
            "Vocab/TokenLength", "tokenizer section: token 0 is 1025 bytes long, expected 1 to 1024"),
        (47, "a merge of no token", pairs(84, &5u32.to_le_bytes()),
            "Vocab/MergeOutOfRange", "tokenizer section: merge 0 names token 5, the vocabulary has 5 tokens"),
        (47, "a cyclic merge", pairs(80, &[4u32, 1, 3].map(u32::to_le_bytes).concat()),
            "Vocab/MergeResult", "tokenizer section: merge 0: token 3 is not token 4 followed by token 1"),
        (48, "a NaN score", pairs(64, &f32::NAN.to_le_bytes()),
            "Vocab/NanScore", "tokenizer section: the score of token 1 is not a number"),
        (49, "a NaN scale", weights(DType::Q8, 2, &[0, 0x7e]),
            "Value/", "tensor \"embed.weight\": a scale that is not finite at 1"),
        (49, "an infinite scale", weights(DType::Q4, 2, &[0, 0x7c]),
            "Value/", "tensor \"embed.weight\": a scale that is not finite at 1"),
        (49, "a NaN weight", weights(DType::F32, 4, &f32::NAN.to_le_bytes()),
            "Value/", "tensor \"embed.weight\": a weight that is not finite at 1"),
        (49, "a code out of range", weights(DType::Q8, code_at, &[0x80]),
            "Value/", "tensor \"embed.weight\": the unused code -128 at 0"),
        (50, "a name that is a path", embed(|t| t.name = b"../../etc/passwd".to_vec()),
            "Tensor/Unexpected", "tensor \"../../etc/passwd\": the model does not have it"),
        (50, "a name that is a template", embed(|t| t.name = b"{{ 7 * 7 }}".to_vec()),
            "Tensor/Unexpected", "tensor \"{{ 7 * 7 }}\": the model does not have it"),
    ]
}

/// What opening says, or else what reading all weights says.
fn verdict(file: &RawFile) -> Error {
    match open(file) {
        Ok(opened) => opened.verify().expect_err("the file passes"),
        Err(error) => error,
    }
}

#[test]
fn each_of_the_fifty_has_its_own_error() {
    let tables = [of_the_file(), of_metadata(), of_tensors(), of_the_config(), of_tokenizer_and_values()];
    let cases: Vec<Case> = tables.into_iter().flatten().collect();
    let mut wrong = Vec::new();
    for (number, what, file, kind, message) in &cases {
        let start = Instant::now();
        let error = verdict(file);
        assert!(start.elapsed() < Duration::from_secs(1), "case {number}, {what}: {:?}", start.elapsed());
        let found = (kind_of(&error), error.to_string());
        if found != (kind.to_string(), message.to_string()) {
            wrong.push(format!("({number}, {what:?}, {:?}, {:?})", found.0, found.1));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Cases 8 and 9, what is no file at all and files too large to map, have tests of their own in `super::file`.
    for number in (1..=50).filter(|n| ![8, 9].contains(n)) {
        assert!(cases.iter().any(|case| case.0 == number), "case {number} is in no table");
    }
}

/// Case 42 for a budget: what a session would need is counted before anything is allocated.
#[test]
fn case_42_a_session_over_its_budget_is_refused() {
    let model = Arc::new(Model::from_bytes(llama().bytes).unwrap());
    let needed = model.session_bytes(&SessionOptions::default()).unwrap();
    let options = SessionOptions { max_bytes: Some(needed - 1), ..SessionOptions::default() };
    let (result, peak) = peak_of(|| Session::new(model, &options));
    assert!(
        matches!(result, Err(siskin::Error::Budget { needed: n, max }) if (n, max) == (needed, needed - 1))
    );
    assert!(peak < 1 << 14, "{peak} bytes allocated for a session that was refused");
}

/// Case 50: nothing in a file is a path, a template or code. The format has no field for either; names and texts are
/// compared and printed, never followed. What the program opens is the same whatever they say.
#[test]
fn case_50_opening_touches_no_other_path() {
    let folder = temp_dir();
    let opened = |name: &str, file: &RawFile| -> Option<Vec<String>> {
        let (path, log) = (folder.path().join("model.siskin"), folder.path().join(name));
        std::fs::write(&path, &file.bytes).unwrap();
        let status = Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=open,openat,openat2,execve,socket,connect,unlink,rename", "-o"])
            .arg(&log)
            .arg(bin("siskin"))
            .args(["-q", "info"])
            .arg(&path)
            .stdout(Stdio::null())
            .status();
        status.ok().filter(|status| status.success())?;
        let calls = std::fs::read_to_string(&log).unwrap();
        // Without the number of the process, and without addresses.
        let call = |line: &str| Some(line.split_once(' ')?.1.split(", 0x").next()?.trim().to_string());
        Some(calls.lines().filter_map(call).collect())
    };
    let names = [
        "/etc/passwd",
        "../../etc/shadow",
        "http://localhost/x",
        "{{ 7 * 7 }}",
        "$(id)",
        "file:///etc/hosts",
    ];
    let mut meta = Meta::from_bytes(tiny().section(Section::Receipt)).unwrap();
    for (index, name) in names.iter().enumerate() {
        meta.set(&format!("source.{index:03}.name"), Value::Str(name.to_string()));
        meta.set(&format!("source.{index:03}.bytes"), Value::U64(1));
        meta.set(&format!("source.{index:03}.hash"), Value::U64(1));
        meta.set(name, Value::Str(name.to_string()));
    }
    let hostile = tiny().with_section(Section::Receipt, &meta.to_bytes());
    let (Some(plain), Some(found)) = (opened("plain", &tiny()), opened("hostile", &hostile)) else {
        return skip("no strace, or it may not trace");
    };
    assert!(plain.iter().any(|call| call.contains("model.siskin")), "{plain:?}");
    assert!(!plain.iter().any(|call| call.starts_with("socket") || call.starts_with("connect")), "{plain:?}");
    assert_eq!(plain, found);
}
