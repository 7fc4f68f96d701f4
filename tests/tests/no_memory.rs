//! Every allocation of some size refused, one after the other, while a file is opened, its model and tokenizer are made
//! and a text is encoded: each gives the documented error, and what works without gives the same tokens.

use siskin::{Error, Model, Tokenizer};
use siskin_format::config::{BlockConfig, Ffn, MAX_BLOCKS, ModelConfig, Norm, Position, TransformerConfig};
use siskin_format::receipt::{Golden, Receipt, Source};
use siskin_format::vocab::{Merge, PreTokenizer, SpecialIds, TokenKind, VocabKind, VocabParts};
use siskin_format::writer::to_bytes;
use siskin_format::{Contents, DType, File, OpenOptions, TensorSpec, Vocab};
use siskin_tests::alloc::{Counting, refusing};
use siskin_tests::{models, temp_dir};
use std::collections::BTreeSet;
use std::path::Path;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations from this size on are refused; smaller ones are left to a program's reserve.
const LEAST: usize = 4096;

/// Byte pairs over an alphabet of 26 letters and a space: some thousand tokens and merges, with scores.
fn pairs() -> Vocab {
    let mut tokens: Vec<(Vec<u8>, TokenKind)> =
        (b'a'..=b'z').chain([b' ']).map(|byte| (vec![byte], TokenKind::Normal)).collect();
    let mut merges = Vec::new();
    for left in 0..26u32 {
        for right in 0..26u32 {
            merges.push(Merge { left, right, result: tokens.len() as u32 });
            tokens.push((vec![b'a' + left as u8, b'a' + right as u8], TokenKind::Normal));
        }
    }
    for left in 27..27 + 676 {
        for right in 0..3u32 {
            merges.push(Merge { left, right, result: tokens.len() as u32 });
            let joined = [&tokens[left as usize].0[..], &tokens[right as usize].0].concat();
            tokens.push((joined, TokenKind::Normal));
        }
    }
    vocab(VocabKind::Bpe, tokens, merges)
}

fn characters() -> Vocab {
    let chars = ('a'..='z').chain([' ']).chain('一'..'僿');
    vocab(
        VocabKind::Char,
        chars.map(|c| (c.to_string().into_bytes(), TokenKind::Normal)).collect(),
        Vec::new(),
    )
}

fn vocab(kind: VocabKind, tokens: Vec<(Vec<u8>, TokenKind)>, merges: Vec<Merge>) -> Vocab {
    let pre_tokenizer = if kind == VocabKind::Bpe { PreTokenizer::Gpt2 } else { PreTokenizer::None };
    let scores = Some(vec![0.5; tokens.len()]);
    Vocab::new(VocabParts {
        kind,
        pre_tokenizer,
        tokens,
        scores,
        merges,
        special: SpecialIds::default(),
        ..VocabParts::default()
    })
    .unwrap()
}

/// As many blocks as there can be, positions of a width of their own, a long receipt: every table is large.
fn large(vocab: &Vocab, position: Position) -> Vec<u8> {
    let block = BlockConfig::Transformer(TransformerConfig {
        n_heads: 1,
        n_kv_heads: 1,
        head_dim: 1200,
        d_ff: 1,
        ffn: Ffn::Relu,
        norm: Norm::None,
        residual: true,
        qkv_bias: false,
        out_bias: false,
        ffn_bias: false,
        qk_norm: false,
        token_shift: false,
        cross_attention: false,
        window: 0,
    });
    let small = match &block {
        BlockConfig::Transformer(t) => {
            BlockConfig::Transformer(TransformerConfig { head_dim: 2, ..t.clone() })
        }
        _ => unreachable!("made above"),
    };
    let mut blocks = vec![small; MAX_BLOCKS];
    blocks[0] = block;
    let d_model = if position == Position::Sinusoidal { 1500 } else { 1 };
    blocks.truncate(if d_model > 1 { 2 } else { MAX_BLOCKS });
    let config =
        ModelConfig { vocab_size: vocab.len(), d_model, position, blocks, tied_head: true, ..models::gpt() };
    let receipt = Receipt {
        producer: Some("p".repeat(5000)),
        sources: (0..256).map(|i| Source { name: "s".repeat(100), bytes: i, hash: i }).collect(),
        golden: vec![Golden { prompt: vec![1; 1030], n_tokens: 4, tokens_hash: 5, logits_hash: 6 }; 90],
        ..Receipt::default()
    };
    let contents = Contents { config: &config, vocab, receipt: &receipt };
    let zeros = |spec: &TensorSpec| Ok::<_, siskin_format::Error>(vec![0.0; spec.len()].into());
    to_bytes(&contents, |spec| spec.dtype_for(DType::Q8), zeros).unwrap()
}

/// Opens, makes the model and the tokenizer, and encodes.
fn all(path: &Path, mmap: bool, text: &str) -> Result<Vec<u32>, Error> {
    let file = File::open(path, &OpenOptions { mmap, ..OpenOptions::default() })?;
    let model = Model::from_file(file)?;
    let tokenizer = Tokenizer::from_vocab(model.file().vocab())?;
    let mut ids = tokenizer.encode(text)?;
    tokenizer.encoder().encode_into(text.as_bytes(), &mut ids)?;
    Ok(ids)
}

/// Refuses the first allocation, then the second, until nothing is refused any more.
fn refuse_each(vocab: &Vocab, position: Position, mmap: bool) -> usize {
    let folder = temp_dir();
    let path = folder.path().join("model.siskin");
    std::fs::write(&path, large(vocab, position)).unwrap();
    // Beyond 16 KiB, for the cache of words; with a word that is merged by the heap.
    let text = format!("{} {}", "word siskin ".repeat(1500), "aabb".repeat(2000));
    let expected = all(&path, mmap, &text).unwrap();
    let mut sizes = BTreeSet::new();
    for n in 0.. {
        let (result, refused) = refusing(n, LEAST, || all(&path, mmap, &text));
        match result {
            Ok(ids) => assert!(ids == expected, "what works without its memory works the same"),
            Err(Error::OutOfMemory { bytes }) => drop(sizes.insert(bytes)),
            Err(error) => panic!("allocation {n}: {error}"),
        }
        if !refused {
            assert!(sizes.iter().all(|&bytes| bytes >= LEAST / 2), "{sizes:?}");
            return n;
        }
    }
    unreachable!("some run has no allocation left to refuse")
}

#[test]
fn every_allocation_of_a_deep_model_with_byte_pairs_may_fail() {
    let rope = Position::Rope { theta: 10_000.0 };
    assert!(refuse_each(&pairs(), rope, true) > 60);
    assert!(refuse_each(&pairs(), rope, false) > 60);
}

#[test]
fn every_allocation_of_a_wide_model_with_characters_may_fail() {
    assert!(refuse_each(&characters(), Position::Sinusoidal, true) > 30);
}

/// Bytes that are given are copied unless they happen to begin at a multiple of 64.
#[test]
fn a_copy_may_fail() {
    let file = models::file(&models::lstm(), DType::Q8, 1);
    let given: Vec<Vec<u8>> = (0..9)
        .map(|i| {
            let mut bytes = Vec::with_capacity(file.len() + 16 * i);
            bytes.extend(&file);
            bytes
        })
        .collect();
    let mut n_copied = 0;
    for bytes in given {
        let is_aligned = bytes.as_ptr().addr().is_multiple_of(64);
        match refusing(0, file.len(), || File::from_bytes(bytes)).0 {
            Ok(_) => assert!(is_aligned),
            Err(siskin_format::Error::OutOfMemory { bytes }) => n_copied += usize::from(bytes == file.len()),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(n_copied > 0);
}
