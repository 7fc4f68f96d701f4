use std::fs;
use std::path::{Path, PathBuf};

use super::begins;
use crate::testing::{decoded, golden, opened, refused};

fn file(name: &str) -> PathBuf {
    golden("llama2c").join(name)
}

/// A file with some bytes replaced.
fn patched(name: &str, at: usize, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let mut all = fs::read(file(name)).unwrap();
    all[at..at + bytes.len()].copy_from_slice(bytes);
    written(&all)
}

fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bin");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// llama2.c's own export of the model of `hf/llama`, whose queries and keys are turned in pairs of halves: every number is where it is there.
#[test]
fn versions_0_and_1_are_the_model_that_they_were_exported_from() {
    let (config, expected) = decoded(&golden("hf/llama")).unwrap();
    for name in ["v0.bin", "v1.bin"] {
        let (found_config, found) = decoded(&file(name)).unwrap();
        assert_eq!(found_config, config, "{name}");
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_negative_vocabulary_means_a_head_of_its_own() {
    let (config, tensors) = decoded(&file("v0-untied.bin")).unwrap();
    assert!(!config.tied_head && config.vocab_size == 40);
    let get = |name: &str| &tensors.iter().find(|(n, _)| n == name).unwrap().1;
    assert!(get("head.weight").iter().zip(get("embed.weight")).all(|(head, embed)| *head == -embed));
}

/// Groups of 16 over rows of 24: the second row begins inside the second group.
#[test]
fn version_2_has_groups_that_cross_rows() {
    let (config, expected) = decoded(&golden("hf/llama")).unwrap();
    let (found_config, found) = decoded(&file("v2.bin")).unwrap();
    assert_eq!(found_config, config);
    let mut exact = 0;
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        if name.contains("norm") {
            assert_eq!(found, expected, "{name}");
            continue;
        }
        // wq and wk have changed the order of their rows, which groups of 16 over rows of 16 do not notice.
        for (found, expected) in found.chunks(16).zip(expected.chunks(16)) {
            let largest = expected.iter().fold(0.0f32, |max, v| max.max(v.abs()));
            for (a, b) in found.iter().zip(expected) {
                assert!((a - b).abs() <= largest / 127.0 * 0.5001, "{name}: {a} for {b}");
            }
            exact += usize::from(found.iter().any(|v| v.abs() == largest));
        }
    }
    assert!(exact > 200, "the largest of a group is kept, {exact} are");
}

#[test]
fn each_malformed_file_is_one_line() {
    let long = |at: usize, value: i32, expected: &'static str| (at, value.to_le_bytes().to_vec(), expected);
    let v1 = [
        long(4, 3, "version 3 of llama2.c's format, expected 0, 1 or 2"),
        long(8, 0, "dim is 0, expected 1 to"),
        long(8, i32::MAX, "dim is 2147483647, expected 1 to"),
        long(8, 15, "head_dim 3 is not a multiple of the RoPE pair 2"),
        long(8, 1 << 20, "(dim 1048576, 2 layers, 40 tokens) has"),
        long(12, -1, "hidden_dim is -1"),
        long(16, 1025, "n_layers is 1025, expected 1 to 1024"),
        long(20, 0, "n_heads is 0"),
        long(20, 3, "n_heads 3 is not a multiple of n_kv_heads 2"),
        long(20, 16, "head_dim 1 is not a multiple of the RoPE pair 2"),
        long(24, 3, "n_heads 4 is not a multiple of n_kv_heads 3"),
        long(28, -40, "vocab_size is -40"),
        long(28, 41, "bytes, but a llama2.c file with its first numbers"),
        long(32, 0, "seq_len is 0"),
        (36, vec![2], "tied is 2, expected 0 or 1"),
        (36, vec![0], "but a llama2.c file with its first numbers"),
        (256, f32::NAN.to_le_bytes().to_vec(), "tensor blocks.0.norm1.weight: element 0 is NaN"),
    ];
    for (at, bytes, expected) in v1 {
        let (_folder, path) = patched("v1.bin", at, &bytes);
        let line = refused(decoded(&path));
        assert!(line.contains(expected), "{line:?} does not say {expected:?}");
    }
    for (group, expected) in [
        (0, "the group size is 0"),
        (-16, "the group size is -16"),
        (7, "groups of 7 do not fill"),
        (8, "bytes, but a llama2.c file with its first numbers"),
        (i32::MAX, "do not fill"),
    ] {
        let (_folder, path) = patched("v2.bin", 37, &i32::to_le_bytes(group));
        let line = refused(decoded(&path));
        assert!(line.contains(expected), "{line:?} does not say {expected:?}");
    }
}

/// Version 0 has no magic: seven sizes that a model may have are its header, and the file has to be as long as they say.
#[test]
fn version_0_is_known_by_its_sizes() {
    let whole = fs::read(file("v0.bin")).unwrap();
    assert!(begins(&whole) && begins(&whole[..28]) && !begins(&whole[..27]) && !begins(&[0; 28]));
    let words = b"Once upon a time there was a little girl.";
    assert!(!begins(words) && !begins(&[0xff; 28]) && !begins(&[]));
    for length in [28, 40, whole.len() / 2, whole.len() - 4] {
        let (_folder, path) = written(&whole[..length]);
        let line = refused(opened(&path));
        assert!(
            line.contains("but a llama2.c file with its first numbers (dim 16, 2 layers, 40 tokens) has"),
            "{line}"
        );
    }
    for name in ["v1.bin", "v2.bin"] {
        let whole = fs::read(file(name)).unwrap();
        for length in [1, 4, 8, 40, 255, 256, whole.len() / 2, whole.len() - 1] {
            let (_folder, path) = written(&whole[..length]);
            refused(opened(&path));
        }
        let (_folder, path) = written(&[&whole[..], &[0]].concat());
        assert!(refused(opened(&path)).contains("but a llama2.c file with its first numbers"));
    }
}

#[test]
fn a_missing_tokenizer_is_asked_for() {
    let line = refused(crate::open(&file("v1.bin"), &crate::Options::default()));
    assert!(line.contains("tokenizer.bin") && line.contains("--tokenizer FILE"), "{line}");
    assert_eq!(opened(&file("v0.bin")).unwrap().origin.name, "v0.bin");
}

#[test]
fn pickles_and_strangers_are_refused() {
    for (bytes, expected) in [
        (&b"PK\x03\x04archive/data.pkl"[..], "is pickled Python"),
        (b"\x80\x02\x8a\x0al\xfc\x9c", "is pickled Python"),
        (b"plain text\n", "begin with \"plain te\""),
        (b"\x1b[2J\n\0\xff", "bytes that begin with"),
    ] {
        let (_folder, path) = written(bytes);
        let line = refused(opened(&path));
        assert!(line.contains(expected), "{line:?} does not say {expected:?}");
    }
    for path in ["/dev/null", "/dev/zero", "/nowhere"] {
        refused(opened(Path::new(path)));
    }
}

/// Any change of the first bytes gives a model or one line.
#[test]
fn changed_headers_never_panic() {
    for name in ["v0.bin", "v1.bin", "v2.bin"] {
        let whole = fs::read(file(name)).unwrap();
        let (_folder, path) = written(&whole);
        for at in 0..44 {
            for byte in [0, 1, 2, 0x7f, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                fs::write(&path, &changed).unwrap();
                if let Err(error) = decoded(&path) {
                    crate::testing::line(&error);
                }
            }
        }
    }
}
