//! Tiny valid files of every kind, and a map of the fields of each: what structure-aware mutation starts from.

use crate::models::values;
use crate::raw_file::RawFile;
use siskin_format::config::{
    Activation, BlockConfig, Ffn, ModelConfig, Norm, Position, RecurrentConfig, RnnConfig, TransformerConfig,
};
use siskin_format::header::Section;
use siskin_format::receipt::{Golden, HeldOut, Origin, Receipt, Source, Training};
use siskin_format::vocab::{Merge, PreTokenizer, SpecialIds, TokenKind, VocabKind, VocabParts};
use siskin_format::writer::to_bytes;
use siskin_format::{Contents, DType, Error, TensorSpec, Vocab};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::OnceLock;

/// A valid file, taken apart.
#[derive(Debug)]
pub struct Sample {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// The bytes of each section, in file order.
    pub sections: [Vec<u8>; 5],
    /// The fields of each section: where each number or text stands.
    pub fields: [Vec<Range<usize>>; 5],
    /// The entries of each section that has entries: metadata keys with their values, tensors.
    pub entries: [Vec<Range<usize>>; 5],
}

/// The samples, made once.
pub fn samples() -> &'static [Sample] {
    static SAMPLES: OnceLock<Vec<Sample>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let files = configs().into_iter().enumerate().flat_map(|(i, config)| {
            // Two storage types of each, so that every type meets every family.
            [0, 2].map(|step| file(&config, i, DType::ALL[(i + step) % DType::ALL.len()]))
        });
        files.map(Sample::new).collect()
    })
}

fn file(config: &ModelConfig, index: usize, dtype: DType) -> Vec<u8> {
    let vocab = vocab(config.vocab_size, index);
    let receipt = if index.is_multiple_of(2) { receipt() } else { Receipt::default() };
    let contents = Contents { config, vocab: &vocab, receipt: &receipt };
    let weights = |spec: &TensorSpec| Ok::<_, Error>(Cow::Owned(values(spec, 1)));
    to_bytes(&contents, |spec| spec.dtype_for(dtype), weights).expect("a valid configuration")
}

/// A Transformer block with a window.
fn windowed(mut block: BlockConfig, window: usize) -> BlockConfig {
    if let BlockConfig::Transformer(t) = &mut block {
        t.window = window;
    }
    block
}

/// One config per family and option; every width is tiny, none a multiple of a panel or a group.
fn configs() -> Vec<ModelConfig> {
    let cell = |hidden, norm| RecurrentConfig { hidden, norm, residual: false, bias: true };
    let transformer = |norm, ffn, biases| {
        BlockConfig::Transformer(TransformerConfig {
            n_heads: 2,
            n_kv_heads: 1,
            head_dim: 2,
            d_ff: 3,
            ffn,
            norm,
            residual: true,
            qkv_bias: biases,
            out_bias: biases,
            ffn_bias: biases,
            qk_norm: !biases,
            token_shift: norm == Norm::Batch,
            cross_attention: false,
            window: 0,
        })
    };
    let base = |vocab_size, position, blocks| ModelConfig {
        vocab_size,
        d_model: 3,
        context: 6,
        position,
        blocks,
        encoder: Vec::new(),
        final_norm: Norm::None,
        norm_eps: 1e-5,
        norm_weight: true,
        norm_bias: true,
        tied_head: false,
        head_bias: true,
        logit_softcap: 0.0,
        rope_divisors: Vec::new(),
    };
    let rnn = |activation, norm| BlockConfig::Rnn(RnnConfig { cell: cell(2, norm), activation });
    let residual = RecurrentConfig { residual: true, ..cell(3, Norm::Rms) };
    let rope = Position::Rope { theta: 10_000.0 };
    vec![
        base(5, Position::None, vec![rnn(Activation::Tanh, Norm::None)]),
        base(
            7,
            Position::None,
            vec![rnn(Activation::Relu, Norm::Batch), rnn(Activation::LeakyRelu, Norm::Rms)],
        ),
        base(5, Position::Learned, vec![BlockConfig::Gru(cell(4, Norm::Layer))]),
        base(7, Position::None, vec![BlockConfig::Gru(residual.clone()), BlockConfig::Lstm(residual)]),
        base(
            5,
            Position::None,
            vec![BlockConfig::Lstm(RecurrentConfig { bias: false, ..cell(2, Norm::Layer) })],
        ),
        ModelConfig {
            final_norm: Norm::Layer,
            tied_head: true,
            ..base(7, Position::Learned, vec![transformer(Norm::Layer, Ffn::Gelu, true)])
        },
        ModelConfig {
            final_norm: Norm::Rms,
            logit_softcap: 30.0,
            rope_divisors: Vec::new(),
            ..base(5, rope, vec![transformer(Norm::Rms, Ffn::GatedSilu, false); 2])
        },
        base(7, Position::Sinusoidal, vec![transformer(Norm::Batch, Ffn::Relu2, true)]),
        ModelConfig {
            rope_divisors: vec![2.5],
            ..base(7, rope, vec![windowed(transformer(Norm::Rms, Ffn::Relu, false), 3)])
        },
        base(
            5,
            Position::Learned,
            vec![
                windowed(transformer(Norm::None, Ffn::Gelu, true), 1),
                transformer(Norm::Rms, Ffn::Silu, false),
            ],
        ),
        base(
            5,
            rope,
            vec![
                rnn(Activation::Tanh, Norm::Layer),
                transformer(Norm::None, Ffn::GatedGelu, false),
                BlockConfig::Lstm(cell(3, Norm::None)),
            ],
        ),
        ModelConfig { d_model: 1, ..base(256, Position::None, vec![rnn(Activation::Tanh, Norm::None)]) },
        crate::models::attending_to_a_source(
            base(7, Position::Learned, vec![transformer(Norm::Rms, Ffn::GatedSilu, true)]),
            2,
        ),
    ]
}

/// A vocabulary of `n` tokens: bytes, byte pairs for 7, characters otherwise.
fn vocab(n: usize, index: usize) -> Vocab {
    match n {
        256 => Vocab::bytes(),
        7 => {
            let token = |text: &str| (text.as_bytes().to_vec(), TokenKind::Normal);
            let mut tokens = ["a", "b", "c", "ab", "abc", "aa"].map(token).to_vec();
            tokens.push((b"<end>".to_vec(), TokenKind::Control));
            let merge = |left, right, result| Merge { left, right, result };
            Vocab::new(VocabParts {
                kind: VocabKind::Bpe,
                pre_tokenizer: if index.is_multiple_of(4) { PreTokenizer::None } else { PreTokenizer::Gpt2 },
                tokens,
                scores: (index % 4 != 3).then(|| vec![-1.0; 7]),
                merges: vec![merge(0, 1, 3), merge(3, 2, 4), merge(0, 0, 5)],
                special: SpecialIds { bos: None, eos: Some(6), unk: Some(2), pad: Some(6) },
                ..VocabParts::default()
            })
            .expect("a valid vocabulary")
        }
        _ => {
            let chars: Vec<char> = "aé世🐦 ".chars().take(n - 1).collect();
            Vocab::chars(&chars, true).expect("distinct characters")
        }
    }
}

fn receipt() -> Receipt {
    Receipt {
        producer: Some("fuzz".into()),
        sources: vec![Source { name: "text".into(), bytes: 12, hash: 34 }],
        training: Some(Training { steps: 5, tokens: 6, optimizer: "sgd".into(), seed: 7 }),
        origin: Some(Origin { name: "run".into(), hash: 3 }),
        held_out: Some(HeldOut { name: "tail".into(), tokens: 4, float_loss: 1.5, file_loss: 1.5 }),
        golden: vec![Golden { prompt: vec![1, 2], n_tokens: 2, tokens_hash: 5, logits_hash: 6 }],
    }
}

impl Sample {
    /// The version field of the header.
    pub fn version(&self) -> [u8; 4] {
        [8, 9, 10, 11].map(|at| self.bytes[at])
    }

    fn new(bytes: Vec<u8>) -> Sample {
        let raw = RawFile::new(bytes);
        let sections = Section::ALL.map(|section| raw.section(section).to_vec());
        let mut fields: [Vec<Range<usize>>; 5] = Default::default();
        let mut entries: [Vec<Range<usize>>; 5] = Default::default();
        for index in [0, 2] {
            (fields[index], entries[index]) = meta_map(&sections[index]);
        }
        fields[1] = vocab_map(&sections[1]);
        (fields[3], entries[3]) = tensor_map(&sections[3]);
        // Weights have no fields; two bytes are a scale, and half a float.
        fields[4] = (0..sections[4].len() / 2).map(|i| 2 * i..2 * i + 2).collect();
        Sample { bytes: raw.bytes, sections, fields, entries }
    }
}

/// Walks over fields of a valid section, noting where each stands.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    fields: Vec<Range<usize>>,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8]) -> Walk<'a> {
        Walk { bytes, at: 0, fields: Vec::new() }
    }

    /// A field of `len` bytes, as a number (of its last 8 bytes, when it is longer).
    fn take(&mut self, len: usize) -> usize {
        let range = self.at..self.at + len;
        self.at += len;
        let number = self.bytes[range.clone()].iter().rev().fold(0, |n, &b| n << 8 | usize::from(b));
        self.fields.push(range);
        number
    }

    /// `n` fields of `len` bytes each.
    fn pass(&mut self, n: usize, len: usize) {
        for _ in 0..n {
            self.take(len);
        }
    }

    /// A text or byte string behind its length.
    fn string(&mut self) {
        let len = self.take(8);
        self.take(len);
    }
}

fn meta_map(bytes: &[u8]) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let mut walk = Walk::new(bytes);
    let mut entries = Vec::new();
    for _ in 0..walk.take(8) {
        let start = walk.at;
        let (key_len, type_code) = (walk.take(4), walk.take(4));
        walk.take(key_len);
        match type_code {
            1 => walk.pass(1, 1),
            2..=4 => walk.pass(1, 8),
            5 | 6 => walk.string(),
            7 | 8 => {
                let n = walk.take(8);
                walk.pass(n, 8);
            }
            _ => (0..walk.take(8)).for_each(|_| walk.string()),
        }
        entries.push(start..walk.at);
    }
    (walk.fields, entries)
}

fn vocab_map(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut walk = Walk::new(bytes);
    walk.take(4);
    walk.pass(2, 1);
    let flags = walk.take(2);
    let [n_tokens, n_merges, n_bytes] = [4, 4, 4].map(|len| walk.take(len));
    walk.pass(4, 4);
    walk.pass(n_tokens, 2);
    walk.pass(n_tokens + n_bytes, 1);
    walk.take(walk.at.next_multiple_of(4) - walk.at);
    walk.pass(3 * n_merges + if flags & 1 == 1 { n_tokens } else { 0 }, 4);
    walk.fields
}

fn tensor_map(bytes: &[u8]) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let mut walk = Walk::new(bytes);
    let mut entries = Vec::new();
    for _ in 0..walk.take(8) {
        let start = walk.at;
        let name_len = walk.take(2);
        walk.take(1);
        let rank = walk.take(1);
        walk.take(4);
        walk.pass(2 + rank, 8);
        walk.take(name_len);
        walk.take(walk.at.next_multiple_of(8) - walk.at);
        entries.push(start..walk.at);
    }
    (walk.fields, entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin_format::File;

    #[test]
    fn samples_are_valid_and_their_maps_cover_them() {
        assert_eq!(samples().len(), 26);
        for sample in samples() {
            File::from_bytes(sample.bytes.clone()).unwrap().verify().unwrap();
            for (section, fields) in sample.sections.iter().zip(&sample.fields) {
                let mut end = 0;
                for field in fields {
                    assert_eq!(field.start, end);
                    end = field.end;
                }
                assert_eq!(end, section.len());
            }
            assert_eq!(sample.entries[0].first().map(|e| e.start), Some(8));
            assert_eq!(sample.entries[3].last().map(|e| e.end), Some(sample.sections[3].len()));
        }
    }
}
