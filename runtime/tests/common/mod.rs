//! Small models with seeded random weights, in memory.

#![allow(dead_code)] // each test binary uses its own part

use siskin::Model;
use siskin_format::config::{Activation, Ffn, Norm, Position, RecurrentConfig, RnnConfig, TransformerConfig};
use siskin_format::schema::Role;
use siskin_format::{BlockConfig, Contents, DType, ModelConfig, Receipt, TensorSpec, Vocab, writer};
use std::sync::Arc;

/// Pseudo-random numbers (xorshift64*), the same in every run.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// Uniform in [-1, 1).
    pub fn float(&mut self) -> f32 {
        (self.next() & 0xFF_FFFF) as f32 / (1 << 23) as f32 - 1.0
    }
}

pub const VOCAB: usize = 61;

pub fn config(d_model: usize, blocks: Vec<BlockConfig>) -> ModelConfig {
    ModelConfig {
        vocab_size: VOCAB,
        d_model,
        context: 320,
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

pub fn cell(hidden: usize) -> RecurrentConfig {
    RecurrentConfig { hidden, norm: Norm::None, residual: false, bias: true }
}

pub fn gpt_block() -> TransformerConfig {
    TransformerConfig {
        n_heads: 4,
        n_kv_heads: 4,
        head_dim: 10,
        d_ff: 75,
        ffn: Ffn::Gelu,
        norm: Norm::Layer,
        residual: true,
        qkv_bias: true,
        out_bias: true,
        ffn_bias: true,
        qk_norm: false,
        token_shift: false,
        cross_attention: false,
        window: 0,
    }
}

pub fn llama_block() -> TransformerConfig {
    TransformerConfig {
        n_kv_heads: 2,
        d_ff: 99,
        ffn: Ffn::GatedSilu,
        norm: Norm::Rms,
        qkv_bias: false,
        out_bias: false,
        ffn_bias: false,
        ..gpt_block()
    }
}

/// Every family and, spread over them, every option.
pub fn models() -> Vec<(&'static str, ModelConfig)> {
    let rnn = |hidden, activation| BlockConfig::Rnn(RnnConfig { cell: cell(hidden), activation });
    let full = |hidden, norm| RecurrentConfig { norm, residual: true, ..cell(hidden) };
    let transformer = BlockConfig::Transformer;
    let rope = Position::Rope { theta: 10_000.0 };
    let gpt = config(40, vec![transformer(gpt_block()), transformer(gpt_block())]);
    let llama = config(40, vec![transformer(llama_block()), transformer(llama_block())]);
    vec![
        ("rnn", config(24, vec![rnn(40, Activation::Tanh), rnn(33, Activation::Relu)])),
        ("rnn leaky", config(17, vec![rnn(17, Activation::LeakyRelu)])),
        ("gru", config(24, vec![BlockConfig::Gru(cell(40)), BlockConfig::Gru(full(40, Norm::Layer))])),
        ("lstm", config(33, vec![BlockConfig::Lstm(full(33, Norm::Rms)), BlockConfig::Lstm(cell(20))])),
        (
            "gru batch norm",
            ModelConfig {
                final_norm: Norm::Batch,
                ..config(12, vec![BlockConfig::Gru(full(12, Norm::Batch))])
            },
        ),
        (
            "gpt",
            ModelConfig {
                position: Position::Learned,
                final_norm: Norm::Layer,
                tied_head: true,
                head_bias: false,
                ..gpt.clone()
            },
        ),
        ("llama", ModelConfig { position: rope, final_norm: Norm::Rms, head_bias: false, ..llama.clone() }),
        (
            "qk-norm, relu2, soft-cap",
            ModelConfig {
                position: rope,
                norm_weight: false,
                logit_softcap: 15.0,
                rope_divisors: Vec::new(),
                ..config(
                    36,
                    vec![
                        transformer(TransformerConfig { qk_norm: true, ffn: Ffn::Relu2, ..llama_block() }),
                        transformer(TransformerConfig {
                            qk_norm: true,
                            head_dim: 24,
                            n_kv_heads: 1,
                            ..llama_block()
                        }),
                    ],
                )
            },
        ),
        (
            "sinusoidal, gated gelu, no residual",
            ModelConfig {
                position: Position::Sinusoidal,
                ..config(
                    35,
                    vec![
                        transformer(TransformerConfig {
                            ffn: Ffn::GatedGelu,
                            residual: false,
                            ..gpt_block()
                        }),
                        transformer(TransformerConfig { ffn: Ffn::Silu, norm: Norm::None, ..gpt_block() }),
                        transformer(TransformerConfig { ffn: Ffn::Relu, qk_norm: true, ..gpt_block() }),
                    ],
                )
            },
        ),
        (
            "token shift",
            ModelConfig {
                position: rope,
                ..config(
                    35,
                    vec![
                        transformer(TransformerConfig { token_shift: true, ..gpt_block() }),
                        transformer(llama_block()),
                        transformer(TransformerConfig { token_shift: true, ..llama_block() }),
                    ],
                )
            },
        ),
        (
            "windows",
            ModelConfig {
                position: rope,
                rope_divisors: vec![1.0, 1.5, 2.0, 4.0, 8.0],
                ..config(
                    35,
                    vec![
                        transformer(TransformerConfig { window: 21, ..llama_block() }),
                        transformer(TransformerConfig { window: 1, token_shift: true, ..gpt_block() }),
                        transformer(TransformerConfig { window: 33, n_kv_heads: 1, ..llama_block() }),
                    ],
                )
            },
        ),
        (
            "windows here and there",
            ModelConfig {
                position: Position::Learned,
                ..config(
                    40,
                    vec![
                        transformer(TransformerConfig { window: 5, ..gpt_block() }),
                        BlockConfig::Gru(full(40, Norm::Rms)),
                        transformer(llama_block()),
                    ],
                )
            },
        ),
        (
            "mixed",
            config(
                40,
                vec![
                    BlockConfig::Lstm(cell(32)),
                    transformer(llama_block()),
                    BlockConfig::Gru(full(32, Norm::None)),
                    transformer(TransformerConfig { token_shift: true, ..gpt_block() }),
                    rnn(50, Activation::Tanh),
                ],
            ),
        ),
    ]
}

/// An encoder-decoder: a decoder of two blocks, an LSTM between them, and an encoder of two blocks of other widths.
pub fn seq2seq(position: Position) -> ModelConfig {
    let crossing =
        |t: TransformerConfig| BlockConfig::Transformer(TransformerConfig { cross_attention: true, ..t });
    let blocks = vec![
        crossing(TransformerConfig { token_shift: true, ..gpt_block() }),
        BlockConfig::Lstm(cell(40)),
        crossing(TransformerConfig { qk_norm: true, ..llama_block() }),
    ];
    let encoder = vec![gpt_block(), TransformerConfig { head_dim: 12, ..llama_block() }];
    ModelConfig { position, encoder, final_norm: Norm::Rms, ..config(40, blocks) }
}

/// Weights of a tensor: near 1 for norms, small for biases, of unit gain for matrices.
fn weights(spec: &TensorSpec, rng: &mut Rng) -> Vec<f32> {
    let spread = match spec.role {
        Role::NormWeight | Role::NormBias | Role::Bias => 0.2,
        Role::Embedding | Role::Position | Role::TokenShift => 1.0,
        _ => 1.7 / (spec.cols as f32).sqrt(),
    };
    let center = if spec.role == Role::NormWeight { 1.0 } else { 0.0 };
    (0..spec.len()).map(|_| center + spread * rng.float()).collect()
}

/// A `.siskin` file in memory.
pub fn file(config: &ModelConfig, dtype: DType, seed: u64) -> Vec<u8> {
    let chars: Vec<char> =
        (0..config.vocab_size as u32).map(|i| char::from_u32(0x4E00 + i).unwrap()).collect();
    let vocab = Vocab::chars(&chars, false).unwrap();
    let receipt = Receipt::default();
    let contents = Contents { config, vocab: &vocab, receipt: &receipt };
    let mut rng = Rng(seed);
    writer::to_bytes(
        &contents,
        |spec| spec.dtype_for(dtype),
        |spec| Ok::<_, siskin_format::Error>(weights(spec, &mut rng).into()),
    )
    .unwrap()
}

pub fn model(config: &ModelConfig, dtype: DType, seed: u64) -> Arc<Model> {
    Arc::new(Model::from_bytes(file(config, dtype, seed)).unwrap())
}
