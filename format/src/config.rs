//! What a model is: its widths and its stack of blocks, nothing about its weights.
//!
//! One description serves the trainer, the file and the runtime. A model is a stack of blocks of any mix of
//! families, not an entry in a registry of architectures; [`mod@crate::schema`] derives every tensor from it.

use std::fmt;

/// Largest value accepted for any width, count or context: products of three of them stay inside `u64`.
pub const MAX_DIM: usize = 1 << 20;
/// Largest vocabulary.
pub const MAX_VOCAB: usize = 1 << 24;
/// Most blocks in one model.
pub const MAX_BLOCKS: usize = 1024;

/// A whole language model: embedding, blocks, final norm, head.
///
/// Widths chain: the first block reads `d_model` channels, and each block reads what the one before it wrote.
///
/// A model with an [`encoder`](ModelConfig::encoder) is an encoder-decoder (Vaswani et al. 2017): it reads a source as a whole,
/// and `blocks`, its decoder, write a target token by token.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Number of tokens the model knows; rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Width of the embedding, channels.
    pub d_model: usize,
    /// Positions a Transformer can see. Recurrent stacks have no limit at run time; for them it is the window
    /// of truncated backpropagation that they were trained with.
    pub context: usize,
    /// How a Transformer learns where a token stands.
    pub position: Position,
    /// The stack, first block first.
    pub blocks: Vec<BlockConfig>,
    /// Blocks that read a source, in which every token attends to all: `d_model` wide, over the same embedding and
    /// positions, with a norm of the kind of `final_norm` behind them. Empty in a model that reads and writes one text.
    pub encoder: Vec<TransformerConfig>,
    /// Norm between the last block and the head.
    pub final_norm: Norm,
    /// Added to the variance (or mean square) under every norm's root.
    pub norm_eps: f32,
    /// Layer and RMS norms scale by a learned weight (batch norm always does).
    pub norm_weight: bool,
    /// Layer norms add a learned bias (batch norm always does, RMS norm never does).
    pub norm_bias: bool,
    /// The head reuses the embedding matrix (Press & Wolf 2017); needs the last width to be `d_model`.
    pub tied_head: bool,
    /// The head adds a bias per token.
    pub head_bias: bool,
    /// Logits become `cap * tanh(logits / cap)` (Gemma 2); 0 switches it off.
    pub logit_softcap: f32,
    /// What each RoPE frequency is divided by, one number per pair of channels, `head_dim / 2` of them, so that a model sees farther than it
    /// was first trained for: all equal for linear scaling (Chen et al. 2023), by frequency for Llama 3's. Empty for none.
    pub rope_divisors: Vec<f32>,
}

/// One block of the stack.
#[derive(Clone, Debug, PartialEq)]
pub enum BlockConfig {
    /// Elman network (Elman 1990).
    Rnn(RnnConfig),
    /// Gated recurrent unit (Cho et al. 2014, in the form that cuDNN and PyTorch use).
    Gru(RecurrentConfig),
    /// Long short-term memory (Hochreiter & Schmidhuber 1997, with forget gate).
    Lstm(RecurrentConfig),
    /// Pre-norm Transformer block (Vaswani et al. 2017; Radford et al. 2019).
    Transformer(TransformerConfig),
}

/// Options that a GRU and an LSTM share.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurrentConfig {
    /// Width of the state and of the output, channels.
    pub hidden: usize,
    /// Norm of the block's input.
    pub norm: Norm,
    /// Output is input + h; needs `hidden` to be the input width.
    pub residual: bool,
    /// Gates have biases.
    pub bias: bool,
}

/// Options of an Elman block.
#[derive(Clone, Debug, PartialEq)]
pub struct RnnConfig {
    /// What it shares with the gated cells.
    pub cell: RecurrentConfig,
    /// `h = activation(W x + U h + b)`.
    pub activation: Activation,
}

/// Options of a Transformer block.
#[derive(Clone, Debug, PartialEq)]
pub struct TransformerConfig {
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides `n_heads` (grouped-query attention, Ainslie et al. 2023).
    pub n_kv_heads: usize,
    /// Channels per head.
    pub head_dim: usize,
    /// Inner width of the feed-forward part.
    pub d_ff: usize,
    /// Kind of the feed-forward part.
    pub ffn: Ffn,
    /// Norm before attention and before the feed-forward part.
    pub norm: Norm,
    /// Both parts add to their input. Off only to show what residuals are for.
    pub residual: bool,
    /// Query, key and value projections have biases.
    pub qkv_bias: bool,
    /// The attention's output projection has a bias.
    pub out_bias: bool,
    /// The feed-forward projections have biases.
    pub ffn_bias: bool,
    /// RMS norm over each head's query and key before RoPE (Henry et al. 2020; Qwen 3).
    pub qk_norm: bool,
    /// The normed input of both parts is mixed with that of the token before, channel by channel:
    /// `x_t + mu (x_{t-1} - x_t)`, zeros before the first token (Peng et al. 2023, RWKV).
    pub token_shift: bool,
    /// Between attention and feed-forward part the block attends to what the encoder made of the source, with heads, norm,
    /// biases and `qk_norm` as in its self-attention, and without RoPE (Vaswani et al. 2017, section 3.2.3).
    pub cross_attention: bool,
    /// Each token attends to so many positions at most, its own among them (sliding window: Beltagy et al. 2020; Mistral 7B, Jiang et
    /// al. 2023); 0 for all before it.
    pub window: usize,
}

/// Where a token stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Position {
    /// Nothing is added: recurrent stacks, or a Transformer that only has the causal mask.
    None,
    /// A learned vector per position is added to the embedding (GPT-2).
    Learned,
    /// Fixed sines and cosines are added to the embedding (Vaswani et al. 2017, section 3.5).
    Sinusoidal,
    /// Queries and keys are rotated (Su et al. 2021), pairs `(i, i + head_dim/2)`, angle `pos * theta^(-2i/head_dim)`.
    Rope {
        /// Base of the angles, 10,000 in the paper.
        theta: f32,
    },
}

/// Kind of normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// None.
    None,
    /// Layer norm (Ba et al. 2016).
    Layer,
    /// RMS norm (Zhang & Sennrich 2019).
    Rms,
    /// Batch norm (Ioffe & Szegedy 2015) per channel; the file holds it folded to `x * weight + bias`.
    Batch,
}

/// Nonlinearity of an Elman block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// tanh.
    Tanh,
    /// max(0, x).
    Relu,
    /// x for x > 0, else 0.01 x.
    LeakyRelu,
}

/// Kind of feed-forward part: `down(act(up(x)))`, or gated, `down(act(gate(x)) * up(x))` (Shazeer 2020).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ffn {
    /// max(0, x).
    Relu,
    /// GELU in its tanh form (Hendrycks & Gimpel 2016).
    Gelu,
    /// x · sigmoid(x).
    Silu,
    /// max(0, x)² (So et al. 2021).
    Relu2,
    /// Gated by SiLU (SwiGLU).
    GatedSilu,
    /// Gated by GELU (GEGLU).
    GatedGelu,
}

impl Ffn {
    /// Whether a gate projection exists beside the up projection.
    pub fn is_gated(self) -> bool {
        matches!(self, Ffn::GatedSilu | Ffn::GatedGelu)
    }
}

/// Gives an enum its one spelling in files, flags and TOML.
macro_rules! spelled {
    ($ty:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        impl $ty {
            /// Every spelling, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// The spelling in files, flags and TOML.
            pub fn name(self) -> &'static str {
                match self { $($ty::$variant => $text),+ }
            }

            /// The variant of a spelling.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some($ty::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

spelled!(Norm { None = "none", Layer = "layer", Rms = "rms", Batch = "batch" });
spelled!(Activation { Tanh = "tanh", Relu = "relu", LeakyRelu = "leaky-relu" });
spelled!(Ffn {
    Relu = "relu",
    Gelu = "gelu",
    Silu = "silu",
    Relu2 = "relu2",
    GatedSilu = "gated-silu",
    GatedGelu = "gated-gelu",
});

impl BlockConfig {
    /// The family's spelling in files and flags.
    pub fn name(&self) -> &'static str {
        match self {
            BlockConfig::Rnn(_) => "rnn",
            BlockConfig::Gru(_) => "gru",
            BlockConfig::Lstm(_) => "lstm",
            BlockConfig::Transformer(_) => "transformer",
        }
    }

    /// Channels that leave the block when `input` channels enter it.
    pub fn output_width(&self, input: usize) -> usize {
        match self.recurrent() {
            Some(cell) => cell.hidden,
            None => input,
        }
    }

    /// Norm of the block's input.
    pub fn norm(&self) -> Norm {
        match self {
            BlockConfig::Rnn(RnnConfig { cell, .. }) | BlockConfig::Gru(cell) | BlockConfig::Lstm(cell) => {
                cell.norm
            }
            BlockConfig::Transformer(t) => t.norm,
        }
    }

    /// The options that all recurrent families share; `None` for a Transformer block.
    pub fn recurrent(&self) -> Option<&RecurrentConfig> {
        match self {
            BlockConfig::Rnn(rnn) => Some(&rnn.cell),
            BlockConfig::Gru(cell) | BlockConfig::Lstm(cell) => Some(cell),
            BlockConfig::Transformer(_) => None,
        }
    }
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A size that must be at least 1 is 0.
    Zero {
        /// Name of the setting.
        field: &'static str,
    },
    /// A size above its limit.
    TooLarge {
        /// Name of the setting.
        field: &'static str,
        /// What was found.
        value: usize,
        /// The largest accepted.
        max: usize,
    },
    /// One size must be a multiple of another.
    NotDivisible {
        /// Name of the setting.
        field: &'static str,
        /// What was found.
        value: usize,
        /// Name of the divisor.
        by: &'static str,
        /// Its value.
        divisor: usize,
    },
    /// A number that is NaN, infinite or outside its range.
    BadNumber {
        /// Name of the setting.
        field: &'static str,
        /// What was found.
        value: f32,
        /// What is accepted.
        expected: &'static str,
    },
    /// A block that adds to its input, or a tied head, between different widths.
    WidthMismatch {
        /// What needs equal widths.
        what: &'static str,
        /// Index of the block; `n_layers` for the head.
        block: usize,
        /// Channels that enter.
        input: usize,
        /// Channels that leave.
        output: usize,
    },
    /// A norm where it cannot stand.
    UnsupportedNorm {
        /// Where.
        place: &'static str,
        /// Which.
        norm: Norm,
    },
    /// Another number of RoPE divisors than heads have pairs of channels.
    RopeDivisors {
        /// How many were found.
        found: usize,
        /// How many are expected.
        expected: usize,
    },
    /// Encoder and decoder that do not fit together.
    Encoder {
        /// What was found, and what is expected.
        problem: &'static str,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Zero { field } => write!(f, "{field} is 0, expected at least 1"),
            ConfigError::TooLarge { field, value, max } => {
                write!(f, "{field} is {value}, expected at most {max}")
            }
            ConfigError::NotDivisible { field, value, by, divisor } => {
                write!(f, "{field} {value} is not a multiple of {by} {divisor}")
            }
            ConfigError::BadNumber { field, value, expected } => {
                write!(f, "{field} is {value}, expected {expected}")
            }
            ConfigError::WidthMismatch { what, block, input, output } => write!(
                f,
                "{what} of block {block} needs equal widths, but {input} channels enter and {output} leave it; \
                 set hidden to {input} or switch it off"
            ),
            ConfigError::UnsupportedNorm { place, norm } => {
                write!(f, "norm {norm} is not supported in {place}")
            }
            ConfigError::RopeDivisors { found, expected } => {
                write!(
                    f,
                    "{found} rope_divisors, expected none or {expected}, one per pair of channels that RoPE turns"
                )
            }
            ConfigError::Encoder { problem } => f.write_str(problem),
        }
    }
}

impl std::error::Error for ConfigError {}

fn size(field: &'static str, value: usize, max: usize) -> Result<(), ConfigError> {
    match value {
        0 => Err(ConfigError::Zero { field }),
        v if v > max => Err(ConfigError::TooLarge { field, value, max }),
        _ => Ok(()),
    }
}

impl ModelConfig {
    /// Number of blocks.
    pub fn n_layers(&self) -> usize {
        self.blocks.len()
    }

    /// Channels that enter each block, and last the channels that enter the final norm: `n_layers + 1` widths.
    pub fn widths(&self) -> Vec<usize> {
        let mut widths = vec![self.d_model];
        for block in &self.blocks {
            widths.push(block.output_width(widths[widths.len() - 1]));
        }
        widths
    }

    /// Channels that enter the head.
    pub fn head_width(&self) -> usize {
        self.blocks.iter().fold(self.d_model, |width, block| block.output_width(width))
    }

    /// Whether `context` bounds a session: a block attends to all before, a source is attended to, or positions are learned.
    pub fn is_bounded(&self) -> bool {
        let attends = self.has_attention() && self.widest_window().is_none();
        attends || self.has_encoder() || self.position == Position::Learned
    }

    /// Where every block that attends has a window, the widest of them: so many positions are all that has to be kept of a text.
    pub fn widest_window(&self) -> Option<usize> {
        let windows = self.blocks.iter().filter_map(|block| match block {
            BlockConfig::Transformer(t) => Some(t.window),
            _ => None,
        });
        windows.clone().max().filter(|_| windows.clone().all(|window| window > 0))
    }

    /// Whether any block attends.
    pub fn has_attention(&self) -> bool {
        self.blocks.iter().any(|b| matches!(b, BlockConfig::Transformer(_)))
    }

    /// Whether a source is read before the text is written.
    pub fn has_encoder(&self) -> bool {
        !self.encoder.is_empty()
    }

    /// Checks every size, number and combination.
    ///
    /// # Errors
    /// The first thing that is wrong, naming the setting, what was found and what was expected.
    pub fn validate(&self) -> Result<(), ConfigError> {
        size("vocab_size", self.vocab_size, MAX_VOCAB)?;
        size("d_model", self.d_model, MAX_DIM)?;
        size("context", self.context, MAX_VOCAB)?;
        size("n_layers", self.n_layers(), MAX_BLOCKS)?;
        positive("norm_eps", self.norm_eps)?;
        if let Position::Rope { theta } = self.position {
            positive("rope_theta", theta)?;
        }
        if !(self.logit_softcap.is_finite() && self.logit_softcap >= 0.0) {
            let expected = "0 (off) or a positive number";
            return Err(ConfigError::BadNumber {
                field: "logit_softcap",
                value: self.logit_softcap,
                expected,
            });
        }
        let mut width = self.d_model;
        for (index, block) in self.blocks.iter().enumerate() {
            match block {
                BlockConfig::Transformer(t) => t.validate(self.position)?,
                _ => validate_recurrent(block.recurrent().expect("not a Transformer"), index, width)?,
            }
            width = block.output_width(width);
        }
        self.validate_encoder()?;
        self.validate_rope_divisors()?;
        if self.tied_head && width != self.d_model {
            let block = self.n_layers();
            return Err(ConfigError::WidthMismatch {
                what: "the tied head",
                block,
                input: self.d_model,
                output: width,
            });
        }
        Ok(())
    }
}

impl ModelConfig {
    /// There are none, or one for each pair of channels of every head that RoPE turns.
    fn validate_rope_divisors(&self) -> Result<(), ConfigError> {
        if self.rope_divisors.is_empty() {
            return Ok(());
        }
        if !matches!(self.position, Position::Rope { .. }) {
            return Err(ConfigError::RopeDivisors { found: self.rope_divisors.len(), expected: 0 });
        }
        let blocks = self.blocks.iter().filter_map(|b| match b {
            BlockConfig::Transformer(t) => Some(t),
            _ => None,
        });
        for t in blocks.chain(&self.encoder) {
            if self.rope_divisors.len() != t.head_dim / 2 {
                let (found, expected) = (self.rope_divisors.len(), t.head_dim / 2);
                return Err(ConfigError::RopeDivisors { found, expected });
            }
        }
        self.rope_divisors.iter().try_for_each(|&divisor| positive("rope_divisors", divisor))
    }

    /// An encoder is there exactly if some block attends to it, and has what it has a meaning for.
    fn validate_encoder(&self) -> Result<(), ConfigError> {
        let wrong = |problem| Err(ConfigError::Encoder { problem });
        let crosses = |b: &BlockConfig| matches!(b, BlockConfig::Transformer(t) if t.cross_attention);
        match (self.has_encoder(), self.blocks.iter().any(crosses)) {
            (false, false) => return Ok(()),
            (false, true) => return wrong("a block has cross_attention, but the model has no encoder"),
            (true, false) => return wrong("the model has an encoder, but no block has cross_attention"),
            (true, true) => {}
        }
        size("n_encoder_layers", self.encoder.len(), MAX_BLOCKS)?;
        for t in &self.encoder {
            t.validate(self.position)?;
            if t.cross_attention {
                return wrong("a block of the encoder has cross_attention, expected it in the decoder only");
            }
            if t.token_shift {
                return wrong("a block of the encoder has token_shift, expected it in the decoder only");
            }
            if t.window > 0 {
                return wrong("a block of the encoder has a window, expected it in the decoder only");
            }
        }
        let norms = self.blocks.iter().map(BlockConfig::norm).chain(self.encoder.iter().map(|t| t.norm));
        match norms.chain([self.final_norm]).find(|norm| *norm == Norm::Batch) {
            Some(norm) => Err(ConfigError::UnsupportedNorm { place: "a model with an encoder", norm }),
            None => Ok(()),
        }
    }
}

fn positive(field: &'static str, value: f32) -> Result<(), ConfigError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(ConfigError::BadNumber { field, value, expected: "a positive number" })
}

fn validate_recurrent(cell: &RecurrentConfig, block: usize, input: usize) -> Result<(), ConfigError> {
    size("hidden", cell.hidden, MAX_DIM)?;
    if cell.residual && cell.hidden != input {
        return Err(ConfigError::WidthMismatch { what: "the residual", block, input, output: cell.hidden });
    }
    Ok(())
}

impl TransformerConfig {
    /// Rows of the query projection.
    pub fn q_width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Rows of the key and of the value projection.
    pub fn kv_width(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    fn validate(&self, position: Position) -> Result<(), ConfigError> {
        size("n_heads", self.n_heads, MAX_DIM)?;
        size("n_kv_heads", self.n_kv_heads, MAX_DIM)?;
        size("head_dim", self.head_dim, MAX_DIM)?;
        size("d_ff", self.d_ff, MAX_DIM)?;
        if self.window > 0 {
            size("window", self.window, MAX_VOCAB)?;
        }
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            let (value, divisor) = (self.n_heads, self.n_kv_heads);
            return Err(ConfigError::NotDivisible { field: "n_heads", value, by: "n_kv_heads", divisor });
        }
        size("n_heads * head_dim", self.n_heads.saturating_mul(self.head_dim), MAX_DIM)?;
        if matches!(position, Position::Rope { .. }) && !self.head_dim.is_multiple_of(2) {
            return Err(ConfigError::NotDivisible {
                field: "head_dim",
                value: self.head_dim,
                by: "the RoPE pair",
                divisor: 2,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lstm(hidden: usize, residual: bool) -> BlockConfig {
        BlockConfig::Lstm(RecurrentConfig { hidden, norm: Norm::None, residual, bias: true })
    }

    fn config(blocks: Vec<BlockConfig>) -> ModelConfig {
        ModelConfig {
            vocab_size: 65,
            d_model: 32,
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

    #[test]
    fn widths_chain_through_recurrent_blocks() {
        let c = config(vec![lstm(48, false), lstm(48, true), lstm(16, false)]);
        assert_eq!(c.widths(), [32, 48, 48, 16]);
        assert_eq!(c.head_width(), 16);
        c.validate().unwrap();
    }

    #[test]
    fn a_residual_between_widths_is_refused() {
        let found = config(vec![lstm(48, true)]).validate().unwrap_err();
        assert_eq!(
            found,
            ConfigError::WidthMismatch { what: "the residual", block: 0, input: 32, output: 48 }
        );
    }

    #[test]
    fn a_tied_head_needs_the_embedding_width() {
        let mut c = config(vec![lstm(48, false)]);
        c.tied_head = true;
        assert!(matches!(c.validate(), Err(ConfigError::WidthMismatch { what: "the tied head", .. })));
    }

    #[test]
    fn zero_and_huge_sizes_and_bad_numbers_are_refused() {
        assert_eq!(config(vec![]).validate(), Err(ConfigError::Zero { field: "n_layers" }));
        let mut c = config(vec![lstm(32, false)]);
        c.vocab_size = usize::MAX;
        assert!(matches!(c.validate(), Err(ConfigError::TooLarge { field: "vocab_size", .. })));
        c.vocab_size = 65;
        c.norm_eps = f32::NAN;
        assert!(matches!(c.validate(), Err(ConfigError::BadNumber { field: "norm_eps", .. })));
    }

    fn attending(n_heads: usize, n_kv_heads: usize) -> TransformerConfig {
        TransformerConfig {
            n_heads,
            n_kv_heads,
            head_dim: 8,
            d_ff: 64,
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

    #[test]
    fn heads_must_divide() {
        let found = config(vec![BlockConfig::Transformer(attending(6, 4))]).validate().unwrap_err();
        assert_eq!(found.to_string(), "n_heads 6 is not a multiple of n_kv_heads 4");
    }

    #[test]
    fn an_encoder_needs_a_decoder_that_looks_at_it() {
        let (plain, mut crossing) = (attending(4, 2), attending(4, 2));
        crossing.cross_attention = true;
        let model = |block: &TransformerConfig, encoder: Vec<TransformerConfig>| {
            let config = config(vec![lstm(32, true), BlockConfig::Transformer(block.clone())]);
            ModelConfig { encoder, ..config }
        };
        model(&crossing, vec![plain.clone(); 2]).validate().unwrap();
        let refusal = |block, encoder| model(block, encoder).validate().unwrap_err().to_string();
        assert!(refusal(&crossing, vec![]).contains("the model has no encoder"));
        assert!(refusal(&plain, vec![plain.clone()]).contains("no block has cross_attention"));
        assert!(refusal(&crossing, vec![crossing.clone()]).contains("expected it in the decoder only"));
        assert_eq!(refusal(&crossing, vec![attending(6, 4)]), "n_heads 6 is not a multiple of n_kv_heads 4");
        let many = refusal(&crossing, vec![plain.clone(); MAX_BLOCKS + 1]);
        assert_eq!(many, "n_encoder_layers is 1025, expected at most 1024");
        let shifting = TransformerConfig { token_shift: true, ..plain.clone() };
        assert!(refusal(&crossing, vec![shifting]).contains("token_shift"));
        let batch = TransformerConfig { norm: Norm::Batch, ..plain };
        assert_eq!(refusal(&crossing, vec![batch]), "norm batch is not supported in a model with an encoder");
    }

    #[test]
    fn divisors_fit_the_heads_that_are_turned() {
        let model = |position, rope_divisors: &[f32]| {
            let blocks = vec![lstm(32, true), BlockConfig::Transformer(attending(4, 2))];
            let config = ModelConfig { position, rope_divisors: rope_divisors.to_vec(), ..config(blocks) };
            config.validate().map_err(|e| e.to_string())
        };
        let rope = Position::Rope { theta: 10_000.0 };
        model(rope, &[1.0, 2.0, 4.0, 8.0]).unwrap();
        assert!(model(rope, &[1.0; 3]).unwrap_err().starts_with("3 rope_divisors, expected none or 4"));
        assert!(
            model(Position::None, &[1.0; 4]).unwrap_err().starts_with("4 rope_divisors, expected none or 0")
        );
        assert!(model(rope, &[1.0, 0.0, 1.0, 1.0]).unwrap_err().contains("positive number"));
    }

    #[test]
    fn spellings_round_trip() {
        for name in Norm::NAMES {
            assert_eq!(Norm::from_name(name).unwrap().name(), *name);
        }
        assert_eq!(Ffn::from_name("swiglu"), None);
    }
}
