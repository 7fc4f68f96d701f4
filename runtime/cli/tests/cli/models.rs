//! Small models of every family with seeded weights, as files.

use siskin_format::config::{
    Activation, BlockConfig, Ffn, ModelConfig, Norm, Position, RecurrentConfig, RnnConfig, TransformerConfig,
};
use siskin_format::schema::Role;
use siskin_format::vocab::{Merge, PreTokenizer, SpecialIds, TokenKind, VocabKind, VocabParts};
use siskin_format::{Contents, DType, Error, Receipt, TensorSpec, Vocab, writer};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// A folder with models, removed at the end.
pub struct Dir(tempfile::TempDir);

impl Dir {
    pub fn new() -> Dir {
        Dir(tempfile::Builder::new()
            .prefix("siskin-cli-")
            .tempdir()
            .expect("the temporary folder is writable"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file of these bytes.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("the temporary folder is writable");
        path
    }

    /// A model in a file of its own.
    pub fn model(&self, config: &ModelConfig, vocab: &Vocab, dtype: DType) -> PathBuf {
        let path = self.path("model.siskin");
        write(&path, config, vocab, dtype);
        path
    }

    /// GPT form over bytes, q8: what most tests use.
    pub fn gpt(&self) -> PathBuf {
        let vocab = Vocab::bytes();
        self.model(&gpt(vocab.len()), &vocab, DType::Q8)
    }

    /// A Llama form with a window over bytes, q8.
    pub fn windowed(&self) -> PathBuf {
        let vocab = Vocab::bytes();
        self.model(&windowed(vocab.len()), &vocab, DType::Q8)
    }

    /// A GRU over the characters a, b, c, 世, space and line end.
    pub fn chars(&self) -> PathBuf {
        let vocab = chars();
        self.model(&recurrent(vocab.len(), BlockConfig::Gru(cell())), &vocab, DType::Q8)
    }
}

/// Writes a model with weights that depend on their names alone.
pub fn write(path: &Path, config: &ModelConfig, vocab: &Vocab, dtype: DType) {
    write_scaled(path, config, vocab, dtype, 1.0);
}

/// The same with every weight multiplied.
pub fn write_scaled(path: &Path, config: &ModelConfig, vocab: &Vocab, dtype: DType, scale: f32) {
    let receipt = Receipt { producer: Some("a test".into()), ..Receipt::default() };
    let contents = Contents { config, vocab, receipt: &receipt };
    writer::write_file(
        path,
        &contents,
        |spec| spec.dtype_for(dtype),
        |spec| {
            let weights = values(spec).into_iter().map(|w| w * scale).collect();
            Ok::<_, Error>(Cow::Owned(weights))
        },
    )
    .expect("the model can be written");
}

/// Uniform values with the spread of an initialiser (xorshift64*, seeded by the name).
fn values(spec: &TensorSpec) -> Vec<f32> {
    let mut state = spec
        .name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let mut uniform = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let spread = match spec.role {
        Role::NormWeight | Role::NormBias | Role::Bias => 0.1,
        Role::Embedding | Role::Position | Role::TokenShift => 1.0,
        _ => 2.0 / (spec.cols as f32).sqrt(),
    };
    let centre = if spec.role == Role::NormWeight { 1.0 } else { 0.0 };
    (0..spec.len()).map(|_| centre + spread * uniform()).collect()
}

fn base(vocab_size: usize, blocks: Vec<BlockConfig>) -> ModelConfig {
    ModelConfig {
        vocab_size,
        d_model: 24,
        context: 64,
        position: Position::None,
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
    }
}

pub fn cell() -> RecurrentConfig {
    RecurrentConfig { hidden: 36, norm: Norm::None, residual: false, bias: true }
}

/// One recurrent block.
pub fn recurrent(vocab_size: usize, block: BlockConfig) -> ModelConfig {
    base(vocab_size, vec![block])
}

fn transformer(ffn: Ffn, norm: Norm, n_kv_heads: usize, bias: bool) -> BlockConfig {
    BlockConfig::Transformer(TransformerConfig {
        n_heads: 4,
        n_kv_heads,
        head_dim: 6,
        d_ff: 50,
        ffn,
        norm,
        residual: true,
        qkv_bias: bias,
        out_bias: bias,
        ffn_bias: bias,
        qk_norm: false,
        token_shift: false,
        cross_attention: false,
        window: 0,
    })
}

/// GPT-2 form, 64 positions.
pub fn gpt(vocab_size: usize) -> ModelConfig {
    let block = transformer(Ffn::Gelu, Norm::Layer, 4, true);
    let outer = base(vocab_size, vec![block.clone(), block]);
    ModelConfig {
        position: Position::Learned,
        final_norm: Norm::Layer,
        tied_head: true,
        head_bias: false,
        ..outer
    }
}

/// The same with a window, so that 64 positions are no limit.
pub fn windowed(vocab_size: usize) -> ModelConfig {
    let mut config = llama(vocab_size);
    config.rope_divisors = vec![1.0, 2.0, 4.0];
    for block in &mut config.blocks {
        if let BlockConfig::Transformer(t) = block {
            t.window = 9;
        }
    }
    config
}

/// Llama form, 64 positions.
pub fn llama(vocab_size: usize) -> ModelConfig {
    let outer = base(vocab_size, vec![transformer(Ffn::GatedSilu, Norm::Rms, 2, false)]);
    ModelConfig {
        position: Position::Rope { theta: 10_000.0 },
        final_norm: Norm::Rms,
        head_bias: false,
        ..outer
    }
}

/// A model of every family.
pub fn families(vocab_size: usize) -> Vec<(&'static str, ModelConfig)> {
    let rnn = BlockConfig::Rnn(RnnConfig { cell: cell(), activation: Activation::Tanh });
    vec![
        ("rnn", recurrent(vocab_size, rnn)),
        ("gru", recurrent(vocab_size, BlockConfig::Gru(cell()))),
        ("lstm", recurrent(vocab_size, BlockConfig::Lstm(cell()))),
        ("gpt", gpt(vocab_size)),
        ("llama", llama(vocab_size)),
        ("windows", windowed(vocab_size)),
    ]
}

/// Six characters.
pub fn chars() -> Vocab {
    Vocab::chars(&['\n', ' ', 'a', 'b', 'c', '世'], false).expect("six characters")
}

/// All bytes, a few merges, and `<|endoftext|>`.
pub fn bpe() -> Vocab {
    let mut tokens: Vec<(Vec<u8>, TokenKind)> =
        (0..=255u8).map(|byte| (vec![byte], TokenKind::Normal)).collect();
    let mut merges = Vec::new();
    for (left, right) in [("t", "h"), ("th", "e"), (" ", "the")] {
        let id = |text: &str| tokens.iter().position(|(bytes, _)| bytes == text.as_bytes());
        let (Some(left), Some(right)) = (id(left), id(right)) else { continue };
        let joined = [tokens[left].0.clone(), tokens[right].0.clone()].concat();
        merges.push(Merge { left: left as u32, right: right as u32, result: tokens.len() as u32 });
        tokens.push((joined, TokenKind::Normal));
    }
    let eos = tokens.len() as u32;
    tokens.push((b"<|endoftext|>".to_vec(), TokenKind::Control));
    let special = SpecialIds { eos: Some(eos), ..SpecialIds::default() };
    let (kind, pre_tokenizer) = (VocabKind::Bpe, PreTokenizer::Gpt2);
    Vocab::new(VocabParts {
        kind,
        pre_tokenizer,
        tokens,
        scores: None,
        merges,
        special,
        ..VocabParts::default()
    })
    .expect("a valid vocabulary")
}
