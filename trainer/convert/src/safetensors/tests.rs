use proptest::prelude::*;
use std::fs;
use std::path::Path;

use super::*;
use crate::source::Source;
use crate::testing::{Part, part, refused, safetensors, with_header};

/// The shards of one file's bytes.
fn shards(bytes: &[u8]) -> Result<Shards> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, bytes).unwrap();
    Shards::of(vec![Source::open(&path)?])
}

fn entry(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#""a": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}"#)
}

fn one(dtype: &str, shape: &str, offsets: &str, data: usize) -> Vec<u8> {
    with_header(&format!("{{{}}}", entry(dtype, shape, offsets)), &vec![0; data])
}

#[test]
fn every_type_is_decoded_exactly() {
    let values = [1.0f32, -0.5, 65504.0, 6.103_515_6e-5, 0.0, -0.0];
    let halves: Vec<u8> = values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
    let brains: Vec<u8> = values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect();
    let parts: [Part; 4] = [
        part("f32", &[2, 3], |i| values[i]),
        ("f16".to_string(), "F16", vec![6], halves),
        ("bf16".to_string(), "BF16", vec![6], brains),
        ("none".to_string(), "F32", vec![0, 7], vec![]),
    ];
    let shards = shards(&safetensors(&parts)).unwrap();
    let bits = |name: &str| -> Vec<u32> {
        shards.get(name).unwrap().decode().unwrap().into_iter().map(f32::to_bits).collect()
    };
    assert_eq!(bits("f32"), values.map(f32::to_bits));
    assert_eq!(bits("f16"), values.map(f32::to_bits));
    assert_eq!(bits("bf16"), values.map(|v| half::bf16::from_f32(v).to_f32().to_bits()));
    assert!(bits("none").is_empty());
    assert_eq!(shards.get("f32").unwrap().decode_range(1, 3).unwrap(), [-0.5, 65504.0, 6.103_515_6e-5]);
    assert_eq!(shards.names(), ["bf16", "f16", "f32", "none"]);
}

/// Halves longer than a chunk, by two ways.
#[test]
fn long_tensors_of_halves_are_whole() {
    let bytes: Vec<u8> =
        (0..5000u32).flat_map(|i| half::f16::from_f32(i as f32 / 8.0).to_le_bytes()).collect();
    let shards = shards(&safetensors(&[("a".to_string(), "F16", vec![5000], bytes)])).unwrap();
    let found = shards.get("a").unwrap().decode().unwrap();
    assert!(found.iter().enumerate().all(|(i, &v)| v == half::f16::from_f32(i as f32 / 8.0).to_f32()));
}

/// SAFETY's list, adapted: each case is one line that says what was found.
#[test]
fn each_malformed_file_is_one_line() {
    let two = |a: &str, b: &str| {
        let entry = |name: &str, at: &str| {
            format!(r#""{name}": {{"dtype": "F32", "shape": [1], "data_offsets": {at}}}"#)
        };
        with_header(&format!("{{{}, {}}}", entry("a", a), entry("b", b)), &[0; 8])
    };
    let mut long = with_header("{}", &[]);
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![1, 2, 3], "3 bytes, expected a safetensors file"),
        (long, "a header of 18446744073709551615 bytes, expected at most 100000000"),
        ([&50u64.to_le_bytes()[..], b"{}"].concat(), "a header of 50 bytes, but only 2 follow"),
        (with_header("[1]", &[]), "header is wrong: invalid type"),
        (with_header("{", &[]), "header is wrong: EOF"),
        (with_header("{\"a\": \u{1}}", &[]), "header is wrong"),
        (with_header(&"[".repeat(10_000), &[]), "header is wrong"),
        (with_header(&format!("{{\"__metadata__\": {}", "[".repeat(10_000)), &[]), "header is wrong"),
        (with_header(r#"{"a": 1}"#, &[]), "header is wrong: invalid type"),
        (
            with_header(&format!("{{{0}, {0}}}", entry("F32", "[1]", "[0, 4]")), &[0; 4]),
            "tensor a occurs twice",
        ),
        (one("F32", "[1]", "[0]", 4), "header is wrong"),
        (one("F32", "[-1]", "[0, 4]", 4), "header is wrong"),
        (one("F32", "[1.5]", "[0, 4]", 4), "header is wrong"),
        (one("Q4_0", "[1]", "[0, 4]", 4), "tensor a: unknown dtype Q4_0"),
        (one("F32", "[2]", "[0, 4]", 4), "F32 of shape [2] lies in 4 bytes"),
        (one("F32", "[18446744073709551615, 2]", "[0, 4]", 4), "lies in 4 bytes"),
        (one("F32", "[4611686018427387904]", "[0, 4]", 4), "lies in 4 bytes"),
        (one("F4", "[3]", "[0, 1]", 1), "lies in 1 bytes"),
        (one("F32", &format!("[{}1]", "1,".repeat(50)), "[0, 8]", 8), "shape of 51 dimensions"),
        (one("F32", &format!("[{}1]", "1,".repeat(64)), "[0, 4]", 4), "a shape of more than 64 dimensions"),
        (one("F32", "[1]", "[4, 0]", 4), "data_offsets 4 to 0 run backwards"),
        (one("F32", "[1]", "[0, 18446744073709551615]", 4), "data_offsets end at 18446744073709551615"),
        (one("F32", "[1]", "[0, 4]", 3), "the data has 3 bytes; the file is cut short"),
        (one("F32", "[1]", "[0, 4]", 5), "the tensors end at byte 4 of 5; expected nothing behind"),
        (two("[0, 4]", "[2, 6]"), "tensor b: data_offsets begin at 2, inside the tensor before it"),
        (two("[0, 4]", "[0, 4]"), "tensor b: data_offsets begin at 0, inside the tensor before it"),
        (two("[0, 4]", "[5, 8]"), "tensor b: data_offsets begin at 5, but the tensor before it ends at 4"),
        (with_header("{}", &[0; 4]), "the tensors end at byte 0 of 4"),
    ];
    for (bytes, expected) in cases {
        let line = refused(shards(&bytes));
        assert!(line.contains(expected), "{line:?} does not say {expected:?}");
    }
}

#[test]
fn every_prefix_is_refused() {
    let whole = safetensors(&[part("a", &[2], |_| 1.0), part("b", &[3], |_| 2.0)]);
    for length in 1..whole.len() {
        refused(shards(&whole[..length]));
    }
    shards(&whole).unwrap();
}

#[test]
fn values_that_are_no_numbers_and_types_that_are_no_weights_are_named() {
    let shards = shards(&safetensors(&[
        part("nan", &[3], |i| if i == 2 { f32::NAN } else { 0.0 }),
        part("infinite", &[1], |_| f32::NEG_INFINITY),
    ]))
    .unwrap();
    assert!(refused(shards.get("nan").unwrap().decode()).contains("tensor nan: element 2 is NaN"));
    assert!(refused(shards.get("infinite").unwrap().decode()).contains("element 0 is -inf"));
    for dtype in ["F64", "I64", "BOOL", "F8_E4M3"] {
        let bits: usize = if dtype.ends_with("64") { 8 } else { 1 };
        let shards = self::shards(&one(dtype, "[1]", &format!("[0, {bits}]"), bits)).unwrap();
        let expected = format!("tensor a: its dtype is {dtype}, expected F32, F16 or BF16");
        assert!(refused(shards.get("a").unwrap().decode()).contains(&expected));
        assert!(refused(shards.get("a").unwrap().expect(&[1])).contains(&expected));
        assert!(
            refused(shards.get("a").unwrap().expect(&[1, 1])).contains("its shape is [1], expected [1, 1]")
        );
    }
}

#[test]
fn a_name_cannot_break_the_line() {
    let bytes = with_header(
        r#"{"evil\n\u001b[31m": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}"#,
        &[0; 4],
    );
    assert!(refused(shards(&bytes)).contains(r"evil\n\u{1b}[31m"));
    let long = with_header(
        &format!(
            r#"{{"{}": {{"dtype": "{}", "shape": [], "data_offsets": [0, 0]}}}}"#,
            "n".repeat(100_000),
            "d".repeat(100_000)
        ),
        &[],
    );
    refused(shards(&long));
}

#[test]
fn a_flood_of_names_is_refused() {
    let entry = |i: usize| format!(r#""{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#);
    let header = |n: usize| format!("{{{}}}", (0..n).map(entry).collect::<Vec<_>>().join(","));
    assert_eq!(shards(&with_header(&header(1000), &[])).unwrap().names().len(), 1000);
    assert!(refused(shards(&with_header(&header(100_001), &[]))).contains("more than 100000 tensors"));
}

fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn names(files: &[(&str, Vec<u8>)]) -> Result<Vec<String>> {
    let folder = folder(files);
    Shards::in_folder(folder.path()).map(|shards| shards.names().into_iter().map(str::to_string).collect())
}

#[test]
fn shards_are_found_by_index_and_by_their_numbers() {
    let file = |name: &str| safetensors(&[part(name, &[1], |_| 1.0)]);
    let index = |map: &str| format!("{{\"metadata\": {{}}, \"weight_map\": {{{map}}}}}").into_bytes();
    let (a, b) = (("x-00001-of-00002.safetensors", file("a")), ("x-00002-of-00002.safetensors", file("b")));
    let both = r#""a": "x-00001-of-00002.safetensors", "b": "x-00002-of-00002.safetensors""#;
    let indexed = |map: &str| ("model.safetensors.index.json", index(map));
    assert_eq!(names(&[a.clone(), b.clone(), indexed(both)]).unwrap(), ["a", "b"]);
    assert_eq!(names(&[a.clone(), b.clone()]).unwrap(), ["a", "b"]);
    assert_eq!(names(&[a.clone(), b.clone(), ("model.safetensors", file("whole"))]).unwrap(), ["whole"]);
    assert_eq!(names(&[("weights.safetensors", file("only"))]).unwrap(), ["only"]);

    let says = |files: &[(&str, Vec<u8>)], expected: &str| {
        let line = refused(names(files));
        assert!(line.contains(expected), "{line:?} does not say {expected:?}");
    };
    let missing = "the shard x-00002-of-00002.safetensors";
    says(&[a.clone(), indexed(both)], &format!("{missing} with 1 tensors is missing"));
    says(std::slice::from_ref(&a), &format!("{missing} is missing"));
    says(
        &[a.clone(), b.clone(), ("y.safetensors", file("c"))],
        "y.safetensors does not belong to the 2 shards",
    );
    says(
        &[("y.safetensors", file("c")), ("z.safetensors", file("d"))],
        "2 safetensors files and no model.safetensors.index.json",
    );
    says(&[("x-1-of-999999999.safetensors", file("c"))], "counts 999999999 shards, but 1 are there");
    says(
        &[a.clone(), b.clone(), indexed(&both.replace("\"b\"", "\"c\""))],
        "tensor c: is not in x-00002-of-00002.safetensors",
    );
    says(&[a.clone(), indexed(r#""a": "../../etc/passwd""#)], "is no plain file name");
    says(&[a.clone(), indexed(r#""a": """#)], "is no plain file name");
    says(&[a.clone(), ("x-00002-of-00002.safetensors", file("a"))], "tensor a: is also in");
    says(&[a, ("model.safetensors.index.json", b"{}".to_vec())], "wrong JSON: missing field `weight_map`");
    says(&[("readme.md", b"x".to_vec())], "a folder without model.safetensors");
    says(&[("pytorch_model.bin", b"PK\x03\x04zip".to_vec())], "pytorch_model.bin is pickled Python");
}

/// Opens a file and reads everything that it is said to hold.
fn use_up(bytes: &[u8]) -> Result<()> {
    let shards = shards(bytes)?;
    for name in shards.names() {
        shards.require(name)?.decode()?;
    }
    Ok(())
}

proptest! {
    /// Any change of any bytes gives tensors or one line.
    #[test]
    fn mutations_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in 0usize..40) {
        let mut bytes = safetensors(&[part("layer.weight", &[2, 2], |i| i as f32), part("layer.bias", &[2], |_| 0.5)]);
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        bytes.truncate(bytes.len() - cut);
        if let Err(error) = use_up(&bytes) {
            crate::testing::line(&error);
        }
    }

    /// So does a header in which one number or word is another.
    #[test]
    fn other_headers_never_panic(shape in prop::collection::vec(prop_oneof![0u64..4, any::<u64>()], 0..5), from in prop_oneof![0u64..9, any::<u64>()], to in prop_oneof![0u64..9, any::<u64>()], dtype in "[A-Z0-9_]{0,5}|F32|F16|BF16|I64|F4") {
        let header = format!(r#"{{"a": {{"dtype": "{dtype}", "shape": {shape:?}, "data_offsets": [{from}, {to}]}}}}"#);
        if let Err(error) = use_up(&with_header(&header, &[0; 8])) {
            crate::testing::line(&error);
        }
    }
}

#[test]
fn no_file_is_an_error_of_the_system() {
    let missing = Source::open(Path::new("/nowhere/model.safetensors")).map(|_| ());
    assert!(refused(missing).starts_with("cannot open /nowhere/model.safetensors"));
}
