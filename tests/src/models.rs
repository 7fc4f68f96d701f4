//! Small models of every family, with seeded weights that are the same bits on every machine.

use siskin_format::config::{
    Activation, BlockConfig, Ffn, ModelConfig, Norm, Position, RecurrentConfig, RnnConfig, TransformerConfig,
};
use siskin_format::schema::{Role, TensorSpec, schema};
use siskin_format::writer::to_bytes;
use siskin_format::{Contents, DType, Error, Receipt, Vocab};
use std::borrow::Cow;

/// SplitMix64 (Steele, Lea & Flood 2014).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator of its own sequence per seed.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An index below `n` (with a bias below n / 2^64).
    pub fn below(&mut self, n: usize) -> usize {
        ((self.next_u64() as u128 * n as u128) >> 64) as usize
    }

    /// A multiple of 2^-16 in [-1, 1): exact in f32, no rounding anywhere.
    pub fn signed_unit(&mut self) -> f32 {
        ((self.next_u64() >> 47) as i32 - (1 << 16)) as f32 / 65536.0
    }
}

/// Elements of one tensor. Only products with powers of two, so the bits do not depend on the machine.
///
/// Matrices are uniform with a spread near `1 / sqrt(cols)`, rounded to a power of two; norm weights lie
/// around 1.
pub fn values(spec: &TensorSpec, seed: u64) -> Vec<f32> {
    let hash =
        spec.name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ b as u64).wrapping_mul(0x100_0000_01b3));
    let mut rng = Rng::new(seed ^ hash);
    let draw = |rng: &mut Rng| match spec.role {
        Role::NormWeight => 1.0 + 0.25 * rng.signed_unit(),
        Role::NormBias | Role::Bias => 0.125 * rng.signed_unit(),
        Role::Embedding | Role::Position | Role::TokenShift => rng.signed_unit(),
        _ => {
            // Products keep the size of their input, about.
            let halvings = spec.cols.max(1).ilog2() / 2;
            rng.signed_unit() / (1u32 << halvings) as f32
        }
    };
    (0..spec.len()).map(|_| draw(&mut rng)).collect()
}

/// Every tensor of a model in schema order, with its seeded elements.
pub fn weights(config: &ModelConfig, seed: u64) -> Vec<(TensorSpec, Vec<f32>)> {
    schema(config).into_iter().map(|spec| (spec.clone(), values(&spec, seed))).collect()
}

/// The bytes of a file with seeded weights: characters as tokens, an empty receipt.
///
/// # Panics
/// When the configuration is not valid.
pub fn file(config: &ModelConfig, dtype: DType, seed: u64) -> Vec<u8> {
    let first = 0x4e00; // the first Chinese characters: as many as any test wants, none of them special
    let chars: Vec<char> = (first..).filter_map(char::from_u32).take(config.vocab_size).collect();
    let vocab = Vocab::chars(&chars, false).expect("distinct characters");
    let contents = Contents { config, vocab: &vocab, receipt: &Receipt::default() };
    let weights = |spec: &TensorSpec| Ok::<_, Error>(Cow::Owned(values(spec, seed)));
    to_bytes(&contents, |spec| spec.dtype_for(dtype), weights).expect("a valid configuration")
}

fn base(vocab_size: usize, d_model: usize, blocks: Vec<BlockConfig>) -> ModelConfig {
    ModelConfig {
        vocab_size,
        d_model,
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

fn cell(hidden: usize) -> RecurrentConfig {
    RecurrentConfig { hidden, norm: Norm::None, residual: false, bias: true }
}

/// Two Elman layers of unequal widths.
pub fn rnn(activation: Activation) -> ModelConfig {
    let block = |hidden| BlockConfig::Rnn(RnnConfig { cell: cell(hidden), activation });
    base(61, 24, vec![block(40), block(33)])
}

/// Two GRU layers of unequal widths.
pub fn gru() -> ModelConfig {
    base(61, 24, vec![BlockConfig::Gru(cell(40)), BlockConfig::Gru(cell(33))])
}

/// Two LSTM layers of unequal widths.
pub fn lstm() -> ModelConfig {
    base(61, 24, vec![BlockConfig::Lstm(cell(40)), BlockConfig::Lstm(cell(33))])
}

/// GPT-2 form: learned positions, layer norm, GELU, biases, tied head.
pub fn gpt() -> ModelConfig {
    let block = BlockConfig::Transformer(TransformerConfig {
        n_heads: 4,
        n_kv_heads: 4,
        head_dim: 10,
        d_ff: 96,
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
    });
    ModelConfig {
        position: Position::Learned,
        final_norm: Norm::Layer,
        tied_head: true,
        head_bias: false,
        ..base(61, 40, vec![block; 2])
    }
}

/// Llama form: RoPE, RMS norm, gated SiLU, grouped heads, untied head, no biases.
pub fn llama() -> ModelConfig {
    let block = BlockConfig::Transformer(TransformerConfig {
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 10,
        d_ff: 88,
        ffn: Ffn::GatedSilu,
        norm: Norm::Rms,
        residual: true,
        qkv_bias: false,
        out_bias: false,
        ffn_bias: false,
        qk_norm: false,
        token_shift: false,
        cross_attention: false,
        window: 0,
    });
    ModelConfig {
        position: Position::Rope { theta: 10_000.0 },
        final_norm: Norm::Rms,
        norm_bias: false,
        head_bias: false,
        ..base(61, 40, vec![block; 2])
    }
}

/// An encoder-decoder in the form of Vaswani et al. 2017, pre-norm: learned positions, layer norm, GELU, biases, tied head.
pub fn seq2seq() -> ModelConfig {
    attending_to_a_source(gpt(), 1)
}

/// `config` as the decoder of an encoder of `n` of its Transformer blocks.
///
/// # Panics
/// When its first block is of another kind.
pub fn attending_to_a_source(mut config: ModelConfig, n: usize) -> ModelConfig {
    let BlockConfig::Transformer(t) = config.blocks[0].clone() else { panic!("a Transformer") };
    config.encoder = vec![TransformerConfig { token_shift: false, ..t }; n];
    for block in &mut config.blocks {
        if let BlockConfig::Transformer(t) = block {
            t.cross_attention = true;
        }
    }
    config
}

/// One model per family, none of whose widths is a multiple of a panel or a group.
pub fn families() -> Vec<(&'static str, ModelConfig)> {
    vec![
        ("rnn-tanh", rnn(Activation::Tanh)),
        ("rnn-relu", rnn(Activation::Relu)),
        ("rnn-leaky-relu", rnn(Activation::LeakyRelu)),
        ("gru", gru()),
        ("lstm", lstm()),
        ("gpt", gpt()),
        ("llama", llama()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_valid() {
        for (name, config) in families().into_iter().chain([("seq2seq", seq2seq())]) {
            config.validate().unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }

    #[test]
    fn weights_are_the_same_bits_everywhere() {
        // Reference output of SplitMix64 for seed 0.
        assert_eq!(Rng::new(0).next_u64(), 0xe220_a839_7b1d_cdaf);
        let all = weights(&gpt(), 1);
        let sum = all.iter().flat_map(|(_, v)| v).fold(0u64, |h, v| h.rotate_left(5) ^ v.to_bits() as u64);
        assert_eq!(sum, 17_596_708_149_123_963_983);
    }

    #[test]
    fn values_spread_like_an_initialiser() {
        for (spec, values) in weights(&llama(), 3) {
            let rms = (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt();
            assert!(rms > 0.02 && rms < 1.2, "{} has root mean square {rms}", spec.name);
        }
    }
}
