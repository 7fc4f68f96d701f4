//! The only list of tensors that a model has.
//!
//! [`schema`] turns a [`ModelConfig`] into tensor names, shapes and roles, in the order in which a file stores
//! them. Writer, reader, trainer and importers all ask here; nobody else spells a tensor name.

use crate::config::{BlockConfig, ModelConfig, Norm, Position, RecurrentConfig, TransformerConfig};
use crate::dtype::DType;

/// What a tensor is for; decides which dtypes it may have and how it is initialised and decayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Token embedding, `[vocab_size, d_model]`; a tied head multiplies by it too.
    Embedding,
    /// Learned positions, `[context, d_model]`.
    Position,
    /// A weight matrix from the input of a block, `[out, in]`.
    Matrix,
    /// A weight matrix whose product is added to the residual stream, `[d_model, in]`.
    MatrixToResidual,
    /// A weight matrix from a recurrent block's previous state, `[gates * hidden, hidden]`.
    Recurrent,
    /// The untied head, `[vocab_size, width]`.
    Head,
    /// Scale of a norm, a vector.
    NormWeight,
    /// Bias of a norm, a vector.
    NormBias,
    /// Bias of a product, a vector.
    Bias,
    /// How much of the token before a token shift takes, a vector.
    TokenShift,
}

/// One tensor: its name, its shape, its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Dotted name, unique in the model.
    pub name: String,
    /// Output features of a matrix; elements of a vector.
    pub rows: usize,
    /// Input features of a matrix; 1 for a vector.
    pub cols: usize,
    /// What it is for.
    pub role: Role,
    /// Block it belongs to, if any, in its stack.
    pub block: Option<usize>,
    /// Equal parts stacked along the rows: 4 gates of an LSTM, 3 of a GRU, else 1. Each is initialised on its own.
    pub gates: usize,
}

impl TensorSpec {
    /// Whether it is stored as a vector (rank 1) rather than as a matrix in panels (rank 2).
    pub fn is_vector(&self) -> bool {
        matches!(self.role, Role::NormWeight | Role::NormBias | Role::Bias | Role::TokenShift)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Never true for a validated configuration.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a file may store this tensor as `dtype`: vectors are f32, positions are never quantized to q4.
    pub fn allows(&self, dtype: DType) -> bool {
        match self.role {
            _ if self.is_vector() => dtype == DType::F32,
            Role::Position => dtype != DType::Q4,
            _ => true,
        }
    }

    /// The dtype that an export to `target` gives this tensor.
    pub fn dtype_for(&self, target: DType) -> DType {
        match (self.role, target) {
            _ if self.is_vector() => DType::F32,
            (Role::Position, DType::Q8 | DType::Q4) => DType::F16,
            _ => target,
        }
    }
}

/// Every tensor of the model that `config` describes, in file order.
///
/// `config` must be valid ([`ModelConfig::validate`]); the names and shapes of an invalid one mean nothing.
pub fn schema(config: &ModelConfig) -> Vec<TensorSpec> {
    tensors(config).collect()
}

/// The tensors of [`schema`] one by one, so that a reader need not hold the list of a model that may not be there.
pub fn tensors(config: &ModelConfig) -> impl Iterator<Item = TensorSpec> {
    let blocks = config.blocks.iter().enumerate().scan(config.d_model, move |width, (index, block)| {
        let input = *width;
        *width = block.output_width(input);
        Some(block_tensors(config, index, block, input))
    });
    let encoder = config.encoder.iter().enumerate().map(move |(index, t)| encoder_tensors(config, index, t));
    std::iter::once_with(|| input_tensors(config))
        .chain(encoder)
        .chain(std::iter::once_with(|| encoder_norm(config)))
        .chain(blocks)
        .chain(std::iter::once_with(|| output_tensors(config)))
        .flatten()
}

fn input_tensors(config: &ModelConfig) -> Vec<TensorSpec> {
    let mut list = List { tensors: Vec::new(), stack: "", block: None, config };
    list.matrix("embed.weight", config.vocab_size, config.d_model, Role::Embedding);
    if config.position == Position::Learned {
        list.matrix("position.weight", config.context, config.d_model, Role::Position);
    }
    list.tensors
}

fn encoder_tensors(config: &ModelConfig, index: usize, t: &TransformerConfig) -> Vec<TensorSpec> {
    let mut list = List { tensors: Vec::new(), stack: "encoder.blocks.", block: Some(index), config };
    list.transformer(t, config.d_model);
    list.tensors
}

fn encoder_norm(config: &ModelConfig) -> Vec<TensorSpec> {
    let mut list = List { tensors: Vec::new(), stack: "", block: None, config };
    if config.has_encoder() {
        list.norm("encoder.final_norm", config.final_norm, config.d_model);
    }
    list.tensors
}

fn block_tensors(config: &ModelConfig, index: usize, block: &BlockConfig, width: usize) -> Vec<TensorSpec> {
    let mut list = List { tensors: Vec::new(), stack: "blocks.", block: Some(index), config };
    match block {
        BlockConfig::Rnn(rnn) => list.recurrent(&rnn.cell, width, 1),
        BlockConfig::Gru(cell) => list.recurrent(cell, width, 3),
        BlockConfig::Lstm(cell) => list.recurrent(cell, width, 4),
        BlockConfig::Transformer(t) => list.transformer(t, width),
    }
    list.tensors
}

fn output_tensors(config: &ModelConfig) -> Vec<TensorSpec> {
    let mut list = List { tensors: Vec::new(), stack: "", block: None, config };
    let width = config.head_width();
    list.norm("final_norm", config.final_norm, width);
    if !config.tied_head {
        list.matrix("head.weight", config.vocab_size, width, Role::Head);
    }
    if config.head_bias {
        list.vector("head.bias", config.vocab_size, Role::Bias);
    }
    list.tensors
}

struct List<'a> {
    tensors: Vec<TensorSpec>,
    stack: &'static str, // what the names of its blocks begin with
    block: Option<usize>,
    config: &'a ModelConfig,
}

impl List<'_> {
    fn push(&mut self, name: &str, rows: usize, cols: usize, role: Role, gates: usize) {
        let name = match self.block {
            Some(index) => format!("{}{index}.{name}", self.stack),
            None => name.to_string(),
        };
        self.tensors.push(TensorSpec { name, rows, cols, role, block: self.block, gates });
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize, role: Role) {
        self.push(name, rows, cols, role, 1);
    }

    fn vector(&mut self, name: &str, len: usize, role: Role) {
        self.push(name, len, 1, role, 1);
    }

    fn norm(&mut self, name: &str, norm: Norm, width: usize) {
        let (weight, bias) = match norm {
            Norm::None => (false, false),
            Norm::Layer => (self.config.norm_weight, self.config.norm_bias),
            Norm::Rms => (self.config.norm_weight, false),
            Norm::Batch => (true, true),
        };
        if weight {
            self.vector(&format!("{name}.weight"), width, Role::NormWeight);
        }
        if bias {
            self.vector(&format!("{name}.bias"), width, Role::NormBias);
        }
    }

    /// A recurrent cell of `gates` gates: PyTorch's layouts, i f g o (LSTM) and r z n (GRU).
    fn recurrent(&mut self, cell: &RecurrentConfig, input: usize, gates: usize) {
        let rows = gates * cell.hidden;
        self.norm("norm", cell.norm, input);
        self.push("w_x", rows, input, Role::Matrix, gates);
        self.push("w_h", rows, cell.hidden, Role::Recurrent, gates);
        if cell.bias {
            self.push("b_x", rows, 1, Role::Bias, gates);
            if gates == 3 {
                // The GRU's reset gate multiplies U h + b_h, so its two biases cannot be summed.
                self.push("b_h", rows, 1, Role::Bias, gates);
            }
        }
    }

    /// Attention of tokens `width` wide to others that are `source` wide.
    fn attention(&mut self, part: &str, t: &TransformerConfig, width: usize, source: usize) {
        let name = |tensor: &str| format!("{part}.{tensor}");
        self.matrix(&name("wq"), t.q_width(), width, Role::Matrix);
        self.matrix(&name("wk"), t.kv_width(), source, Role::Matrix);
        self.matrix(&name("wv"), t.kv_width(), source, Role::Matrix);
        self.matrix(&name("wo"), width, t.q_width(), Role::MatrixToResidual);
        if t.qkv_bias {
            self.vector(&name("bq"), t.q_width(), Role::Bias);
            self.vector(&name("bk"), t.kv_width(), Role::Bias);
            self.vector(&name("bv"), t.kv_width(), Role::Bias);
        }
        if t.out_bias {
            self.vector(&name("bo"), width, Role::Bias);
        }
        if t.qk_norm && self.config.norm_weight {
            self.vector(&name("q_norm.weight"), t.head_dim, Role::NormWeight);
            self.vector(&name("k_norm.weight"), t.head_dim, Role::NormWeight);
        }
    }

    fn transformer(&mut self, t: &TransformerConfig, width: usize) {
        self.norm("norm1", t.norm, width);
        if t.token_shift {
            self.vector("attn.shift", width, Role::TokenShift);
        }
        self.attention("attn", t, width, width);
        if t.cross_attention {
            self.norm("norm_cross", t.norm, width);
            self.attention("cross", t, width, self.config.d_model);
        }
        self.norm("norm2", t.norm, width);
        if t.token_shift {
            self.vector("ffn.shift", width, Role::TokenShift);
        }
        if t.ffn.is_gated() {
            self.matrix("ffn.w_gate", t.d_ff, width, Role::Matrix);
        }
        self.matrix("ffn.w_up", t.d_ff, width, Role::Matrix);
        self.matrix("ffn.w_down", width, t.d_ff, Role::MatrixToResidual);
        if t.ffn_bias {
            if t.ffn.is_gated() {
                self.vector("ffn.b_gate", t.d_ff, Role::Bias);
            }
            self.vector("ffn.b_up", t.d_ff, Role::Bias);
            self.vector("ffn.b_down", width, Role::Bias);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Ffn;

    fn gpt2_block() -> BlockConfig {
        BlockConfig::Transformer(TransformerConfig {
            n_heads: 12,
            n_kv_heads: 12,
            head_dim: 64,
            d_ff: 3072,
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
        })
    }

    fn gpt2() -> ModelConfig {
        ModelConfig {
            vocab_size: 50257,
            d_model: 768,
            context: 1024,
            position: Position::Learned,
            blocks: vec![gpt2_block(); 12],
            encoder: Vec::new(),
            final_norm: Norm::Layer,
            norm_eps: 1e-5,
            norm_weight: true,
            norm_bias: true,
            tied_head: true,
            head_bias: false,
            logit_softcap: 0.0,
            rope_divisors: Vec::new(),
        }
    }

    #[test]
    fn gpt2_small_has_its_published_number_of_parameters() {
        let total: usize = schema(&gpt2()).iter().map(TensorSpec::len).sum();
        assert_eq!(total, 124_439_808);
    }

    /// The base model of Vaswani et al. 2017, pre-norm: 6 blocks of 512 channels in encoder and decoder.
    fn encoder_decoder() -> ModelConfig {
        let mut config = gpt2();
        let BlockConfig::Transformer(mut t) = gpt2_block() else { unreachable!("made above") };
        (t.n_heads, t.n_kv_heads, t.d_ff) = (8, 8, 2048);
        config.encoder = vec![t.clone(); 6];
        t.cross_attention = true;
        config.blocks = vec![BlockConfig::Transformer(t); 6];
        ModelConfig { d_model: 512, vocab_size: 37_000, position: Position::Sinusoidal, ..config }
    }

    #[test]
    fn names_are_unique() {
        for config in [gpt2(), encoder_decoder()] {
            let mut names: Vec<String> = schema(&config).into_iter().map(|t| t.name).collect();
            let total = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), total);
        }
    }

    #[test]
    fn an_encoder_lies_before_the_decoder_that_attends_to_it() {
        let config = encoder_decoder();
        config.validate().unwrap();
        let schema = schema(&config);
        let at = |name: &str| schema.iter().position(|t| t.name == name).expect(name);
        assert!(at("embed.weight") < at("encoder.blocks.0.attn.wq"));
        assert!(at("encoder.blocks.5.ffn.w_down") < at("encoder.final_norm.weight"));
        assert!(at("encoder.final_norm.bias") < at("blocks.0.norm1.weight"));
        assert!(at("blocks.0.attn.bo") < at("blocks.0.norm_cross.weight"));
        assert!(at("blocks.0.cross.bo") < at("blocks.0.norm2.weight"));
        let total: usize = schema.iter().map(TensorSpec::len).sum();
        // 6 (4 d² + 2 d d_ff) + 6 (8 d² + 2 d d_ff), the embedding, and 6 (6,656 + 9,728) + 2,048 of vectors.
        assert_eq!(total, 6 * (4 + 8 + 8 + 8) * 512 * 512 + 37_000 * 512 + 100_352);
    }

    #[test]
    fn vectors_stay_f32_and_positions_are_never_quantized() {
        for spec in schema(&gpt2()) {
            let stored = spec.dtype_for(DType::Q4);
            assert!(spec.allows(stored), "{} as {stored:?}", spec.name);
            if spec.is_vector() {
                assert_eq!(stored, DType::F32);
            }
        }
    }
}
