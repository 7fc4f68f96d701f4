//! Models that are exported and imported again, and files that are broken in every way we could think of.

mod hostile;
mod round_trip;

use siskin_format::config::{Ffn, ModelConfig, Norm, Position, TransformerConfig};
use siskin_format::vocab::{Merge, PreTokenizer, SpecialIds, TokenKind, Vocab, VocabKind, VocabParts};
use siskin_format::{DType, TensorSpec};
use std::path::PathBuf;

use crate::import::Weights;
use crate::testing::models::{changed, gpt2, llama};

/// All bytes, one merge, an end token.
fn bpe() -> Vocab {
    let mut tokens: Vec<_> = (0..=255).map(|byte| (vec![byte], TokenKind::Normal)).collect();
    tokens.push((b" t".to_vec(), TokenKind::Normal));
    tokens.push((b"<|end|>".to_vec(), TokenKind::Control));
    let merges = vec![Merge { left: 32, right: 116, result: 256 }];
    let special = SpecialIds { eos: Some(257), ..SpecialIds::default() };
    let (kind, pre_tokenizer) = (VocabKind::Bpe, PreTokenizer::Gpt2);
    Vocab::new(VocabParts { kind, pre_tokenizer, tokens, merges, special, ..VocabParts::default() }).unwrap()
}

/// SentencePiece's BPE over a handful of pieces, with a byte fallback.
fn sentence_piece() -> Vocab {
    let mark = |name: &str, kind| (name.as_bytes().to_vec(), kind);
    let mut tokens = vec![
        mark("<unk>", TokenKind::Unknown),
        mark("<s>", TokenKind::Control),
        mark("</s>", TokenKind::Control),
    ];
    tokens.extend((0..=255).map(|byte| (vec![byte], TokenKind::Byte)));
    tokens.extend([" t", "th", " th", " ", "t", "h", "好"].map(|piece| mark(piece, TokenKind::Normal)));
    let scores: Vec<f32> = (0..tokens.len()).map(|id| 259.0 - id.max(259) as f32).collect();
    let parts = VocabParts {
        kind: VocabKind::SentencePiece,
        merges: crate::tokenizer::merges_from_scores(&tokens, &scores),
        scores: Some(scores),
        special: SpecialIds { bos: Some(1), eos: Some(2), unk: Some(0), pad: None },
        add_bos: true,
        add_space_prefix: true,
        tokens,
        ..VocabParts::default()
    };
    Vocab::new(parts).unwrap()
}

/// Weights that tell tensor, row and column apart and are exact in any type that is a power of two times small codes.
struct Numbered;

impl Weights for Numbered {
    fn read(&mut self, spec: &TensorSpec) -> crate::Result<Vec<f32>> {
        let seed = spec.name.bytes().fold(7u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let weight = |i: usize| {
            let hash = (i as u32 ^ seed).wrapping_mul(0x9E37_79B1) >> 16;
            (f32::from((hash % 15) as i8) - 7.0) / 64.0
        };
        Ok((0..spec.len()).map(weight).collect())
    }
}

/// A model as a file in a folder that goes with it.
fn exported(config: &ModelConfig, vocab: &Vocab, dtype: DType) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    super::write(&path, config, vocab, &mut Numbered, dtype).unwrap();
    (folder, path)
}
