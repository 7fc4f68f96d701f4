//! A model that other programs wrote: stories260K with matrices of Q4_0, F16 and F32 (`tests/goldens/gguf`).

use siskin_convert::{Options, gguf, open};
use siskin_format::config::{BlockConfig, Ffn, Norm, Position};
use siskin_format::vocab::{TokenKind, VocabKind};
use siskin_format::xxh64::xxh64;
use siskin_format::{DType, schema};
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/gguf").join(name)
}

fn stories() -> siskin_convert::Import {
    open(&golden("stories260K-Q4_0mix.gguf"), &Options::default()).unwrap()
}

#[test]
fn the_config_is_that_of_stories260k() {
    let config = stories().config;
    assert_eq!((config.vocab_size, config.d_model, config.context, config.n_layers()), (512, 64, 512, 5));
    assert_eq!((config.position, config.norm_eps), (Position::Rope { theta: 10_000.0 }, 1e-5));
    assert!(config.tied_head && config.rope_divisors.is_empty());
    let BlockConfig::Transformer(block) = &config.blocks[0] else { panic!("{:?}", config.blocks[0]) };
    assert_eq!((block.n_heads, block.n_kv_heads, block.head_dim, block.d_ff), (8, 4, 8, 172));
    assert_eq!((block.norm, block.ffn, block.qkv_bias, block.window), (Norm::Rms, Ffn::GatedSilu, false, 0));
}

#[test]
fn its_tokens_are_sentence_pieces() {
    let vocab = stories().vocab;
    assert_eq!((vocab.kind(), vocab.len()), (VocabKind::SentencePiece, 512));
    assert_eq!((vocab.special().bos, vocab.special().eos, vocab.special().unk), (Some(1), Some(2), Some(0)));
    assert_eq!((vocab.token(3 + 10), vocab.token_kind(13)), (Some(b"\n".as_slice()), Some(TokenKind::Byte)));
    assert_eq!(vocab.token(403), Some(b" Once".as_slice()));
    assert!(vocab.add_bos() && vocab.add_space_prefix());
}

/// Decoders, names and the order of q's and k's rows: each tensor is what gguf-py makes of it.
#[test]
fn every_weight_has_the_reference_bits() {
    let mut import = stories();
    let hashes = std::fs::read_to_string(golden("stories260K-Q4_0mix.tsv")).unwrap();
    let mut hashes: Vec<(&str, &str)> = hashes.lines().map(|line| line.split_once('\t').unwrap()).collect();
    for spec in schema(&import.config) {
        let weights = import.weights.read(&spec).unwrap();
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        let at = hashes.iter().position(|(name, _)| *name == spec.name).expect("each tensor has a hash");
        assert_eq!(format!("{:016x}", xxh64(&bytes)), hashes.swap_remove(at).1, "{}", spec.name);
    }
    assert!(hashes.is_empty(), "{hashes:?}");
}

/// Q4_0 is siskin's q4: exporting what was imported changes no weight and no token.
#[test]
fn it_is_exported_as_it_was_imported() {
    let mut import = stories();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("again.gguf");
    gguf::write(&path, &import.config, &import.vocab, import.weights.as_mut(), DType::Q4).unwrap();
    let mut again = open(&path, &Options::default()).unwrap();
    assert!(again.config == import.config && again.vocab == import.vocab);
    for spec in schema(&import.config) {
        assert!(again.weights.read(&spec).unwrap() == import.weights.read(&spec).unwrap(), "{}", spec.name);
    }
    let sizes =
        [&path, &golden("stories260K-Q4_0mix.gguf")].map(|path| std::fs::metadata(path).unwrap().len());
    assert!(sizes[0].abs_diff(sizes[1]) < 1024, "{sizes:?}");
}

#[test]
fn other_files_are_no_gguf() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, [0; 64]).unwrap();
    let error = open(&path, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("64 bytes that begin with"), "{error}");
}
