//! Keys and values of the config and receipt sections.

use super::{assert_refused, file_of, open, peak_of, tiny};
use siskin_format::config::{BlockConfig, Ffn, MAX_BLOCKS, Norm, TransformerConfig};
use siskin_format::header::Section;
use siskin_format::meta::{MAX_ENTRIES, MAX_STRINGS, Meta, MetaError, Value};
use siskin_format::{DType, Error, File, OpenOptions};
use siskin_tests::raw_file::{RawFile, RawTensor};
use siskin_tests::{models, temp_dir};
use std::time::{Duration, Instant};

const BOTH: [Section; 2] = [Section::Config, Section::Receipt];

/// One entry as bytes, nothing checked.
fn entry(key: &[u8], type_code: u32, value: &[u8]) -> Vec<u8> {
    let head = [(key.len() as u32).to_le_bytes(), type_code.to_le_bytes()].concat();
    [&head, key, value].concat()
}

/// The tiny file with such entries as one of its metadata sections.
fn with_entries(section: Section, count: u64, entries: &[Vec<u8>]) -> RawFile {
    tiny().with_section(section, &[&count.to_le_bytes()[..], &entries.concat()].concat())
}

/// Asserts the very error in both sections.
macro_rules! assert_both {
    ($count:expr, $entries:expr, $pattern:pat $(if $guard:expr)?) => {
        for which in BOTH {
            let file = with_entries(which, $count, $entries);
            assert_refused!(file, Error::Meta { section, error: $pattern } if section == which $(&& $guard)?);
        }
    };
}

#[test]
fn counts_are_compared_with_the_bytes() {
    for count in [1, 7, 1 << 32, u64::MAX] {
        assert_both!(count, &[], MetaError::Count { found, room: 0 } if found == count);
    }
    for type_code in [7, 8, 9] {
        for count in [1, 1 << 61, u64::MAX] {
            let entries = [entry(b"k", type_code, &count.to_le_bytes())];
            assert_both!(1, &entries, MetaError::Count { found, room: 0 } if found == count);
        }
    }
    for section in BOTH {
        let file = tiny().with_section(section, &[0; 7]);
        assert_refused!(file, Error::Meta { error: MetaError::Truncated { entry: 0 }, .. });
    }
    assert_both!(1, &[entry(b"key", 2, &[0; 4])], MetaError::Truncated { entry: 0 });
}

#[test]
fn strings_end_inside_their_section() {
    for type_code in [5, 6] {
        for len in [1, 1 << 20, u64::MAX] {
            let entries = [entry(b"k", type_code, &len.to_le_bytes())];
            assert_both!(1, &entries, MetaError::StringLength { found, room: 0, .. } if found == len);
        }
    }
    let element = [1u64.to_le_bytes(), u64::MAX.to_le_bytes()].concat();
    assert_both!(1, &[entry(b"k", 9, &element)], MetaError::StringLength { found: u64::MAX, .. });
}

#[test]
fn keys_are_printable_text_of_some_length() {
    assert_both!(1, &[entry(b"", 1, &[1, 0])], MetaError::KeyLength { found: 0, .. });
    for len in [256, 100_000] {
        assert_both!(1, &[entry(&vec![b'k'; len], 1, &[1])], MetaError::KeyLength { found, .. } if found == len as u64);
    }
    for key in [&b"a\0b"[..], b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"a\nb", b"\x1b[2J"] {
        assert_both!(1, &[entry(key, 1, &[1])], MetaError::KeyText { entry: 0 });
    }
}

#[test]
fn keys_are_sorted_and_unique() {
    let of = |keys: [&[u8]; 2]| keys.map(|key| entry(key, 1, &[1]));
    assert_both!(2, &of([b"k", b"k"]), MetaError::DuplicateKey { ref key } if key == "k");
    assert_both!(2, &of([b"kk", b"k"]), MetaError::KeyOrder { ref key } if key == "k");
}

#[test]
fn types_are_known_and_do_not_nest() {
    for code in [0, 10, 255, u32::MAX] {
        assert_both!(1, &[entry(b"k", code, &[0; 16])], MetaError::UnknownType { code: c, .. } if c == code);
    }
    // An array of arrays would be a type of its own, so there is nothing to nest; 10,000 levels are one unknown type.
    let nested: Vec<u8> =
        (0..10_000).flat_map(|_| [10u64.to_le_bytes(), 1u64.to_le_bytes()].concat()).collect();
    assert_both!(1, &[entry(b"k", 10, &nested)], MetaError::UnknownType { code: 10, .. });
}

#[test]
fn values_are_of_their_type() {
    assert_both!(1, &[entry(b"k", 1, &[2])], MetaError::BadBool { found: 2, .. });
    let text = [1u64.to_le_bytes().to_vec(), vec![0xff]].concat();
    assert_both!(1, &[entry(b"k", 5, &text)], MetaError::NotUtf8 { .. });
    let trailing = [entry(b"k", 1, &[1]), vec![0; 3]];
    assert_both!(1, &trailing, MetaError::TrailingBytes { count: 3 });
}

#[test]
fn known_keys_have_their_type() {
    let config = Meta::from_bytes(tiny().section(Section::Config)).unwrap();
    let receipt = Meta::from_bytes(tiny().section(Section::Receipt)).unwrap();
    for (section, meta) in [(Section::Config, config), (Section::Receipt, receipt)] {
        let keys: Vec<String> = meta.iter().map(|(key, _)| key.to_string()).collect();
        assert!(keys.len() > 8);
        for key in keys {
            let mut wrong = meta.clone();
            wrong.set(&key, Value::Bytes(vec![1]));
            let file = tiny().with_section(section, &wrong.to_bytes());
            assert_refused!(file, Error::Meta { error: MetaError::WrongType { found: "bytes", .. }, .. });
        }
    }
}

#[test]
fn unknown_keys_stop_a_config_and_not_a_receipt() {
    let mut meta = Meta::from_bytes(tiny().section(Section::Config)).unwrap();
    meta.set("model.from_the_future", Value::Bool(true));
    let file = tiny().with_section(Section::Config, &meta.to_bytes());
    assert_refused!(file, Error::Meta { error: MetaError::UnknownKey { ref key }, .. } if key == "model.from_the_future");

    let mut meta = Meta::from_bytes(tiny().section(Section::Receipt)).unwrap();
    meta.set("mood", Value::Str("good".into()));
    let file = open(&tiny().with_section(Section::Receipt, &meta.to_bytes())).unwrap();
    assert_eq!(file.receipt_meta().str("mood").unwrap(), Some("good"));
}

#[test]
fn a_flood_of_keys_is_refused_at_once() {
    let key = |i: usize| entry(format!("{i:07}").as_bytes(), 1, &[1]);
    let million: Vec<Vec<u8>> = (0..1_000_000).map(key).collect();
    let start = Instant::now();
    for section in BOTH {
        let file = with_entries(section, million.len() as u64, &million);
        assert_refused!(file, Error::SectionLength { .. });
    }
    let fitting = &million[..60_000];
    assert_both!(60_000, fitting, MetaError::TooMany { found: 60_000, max: MAX_ENTRIES, .. });
    assert!(start.elapsed() < Duration::from_secs(4), "{:?} for four files", start.elapsed());
}

/// The bound on memory where it is tightest: metadata full of the smallest things there are, from a mapped file.
#[test]
fn metadata_at_its_limits_stays_within_its_memory() {
    let mut small_entries = Meta::new();
    (0..MAX_ENTRIES - 1).for_each(|i| small_entries.set(&format!("{i:x}"), Value::Bool(true)));
    let mut empty_strings = Meta::new();
    empty_strings.set("k", Value::Strs(vec![String::new(); MAX_STRINGS]));
    let dir = temp_dir();
    let path = dir.path().join("model.siskin");
    for meta in [small_entries, empty_strings] {
        for section in BOTH {
            let file = tiny().with_section(section, &meta.to_bytes());
            std::fs::write(&path, &file.bytes).unwrap();
            let (result, peak) = peak_of(|| File::open(&path, &OpenOptions::default()));
            assert_eq!(result.is_ok(), section == Section::Receipt);
            let metadata = file.range(Section::TensorData).start;
            assert!(peak <= 2 * metadata + (1 << 20), "{peak} bytes for {metadata}");
        }
    }
}

/// The same bound for a valid file with as many blocks, and about as many tensors, as there can be.
#[test]
fn the_deepest_model_stays_within_its_memory() {
    let mut config = models::llama();
    config.d_model = 1;
    config.blocks = vec![
        BlockConfig::Transformer(TransformerConfig {
            n_heads: 1,
            n_kv_heads: 1,
            head_dim: 2,
            d_ff: 1,
            ffn: Ffn::GatedSilu,
            norm: Norm::Layer,
            residual: true,
            qkv_bias: true,
            out_bias: true,
            ffn_bias: true,
            qk_norm: true,
            token_shift: true,
            cross_attention: false,
            window: 0,
        });
        MAX_BLOCKS
    ];
    config.norm_bias = true;
    config.vocab_size = 5;
    let file = file_of(&config, DType::Q4);
    let dir = temp_dir();
    let path = dir.path().join("model.siskin");
    std::fs::write(&path, &file.bytes).unwrap();
    let (result, peak) = peak_of(|| File::open(&path, &OpenOptions::default()));
    assert_eq!(result.unwrap().tensors().len(), 22 * MAX_BLOCKS + 3);
    let metadata = file.range(Section::TensorData).start;
    assert!(peak <= 2 * metadata + (1 << 20), "{peak} bytes for {metadata}");

    // The same blocks without their tensors.
    let list = RawTensor::list(file.section(Section::TensorDirectory));
    let directory = RawTensor::directory(&list[..2 * MAX_BLOCKS], 2 * MAX_BLOCKS as u64);
    assert_refused!(file.with_section(Section::TensorDirectory, &directory), Error::Tensor { .. });
}
