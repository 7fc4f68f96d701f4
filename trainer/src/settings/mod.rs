//! Everything that a run can be told, by flag or by TOML file, under one flat set of names.
//!
//! [`Settings`] holds what was said, every field optional. [`presets::fill`] adds what was left open, from the
//! model family and the text; [`model::model_config`] builds the model. Flags win over the file, the file over
//! the preset. A run folder keeps the filled settings, so that `resume` needs nothing else.

pub mod descent;
pub mod model;
pub mod presets;
mod toml_file;

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::{Deserialize, Serialize};
use siskin_format::config::{Activation, Ffn, Norm};

use crate::error::{Error, Result};
pub use toml_file::{nearest, parse_toml, read_toml};

/// Spellings of the model presets.
pub const MODELS: &[&str] = &["rnn", "gru", "lstm", "gpt", "llama", "seq2seq"];
/// Spellings of the position codes.
pub const POSITIONS: &[&str] = &["none", "learned", "sinusoidal", "rope"];
/// Spellings of the tokenizers.
pub const TOKENIZERS: &[&str] = &["auto", "byte", "char", "bpe"];
/// Spellings of the optimisers.
pub const OPTIMIZERS: &[&str] =
    &["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lion", "muon"];
/// Spellings of the schedules.
pub const SCHEDULES: &[&str] = &[
    "constant",
    "step",
    "exponential",
    "inverse-time",
    "polynomial",
    "linear",
    "cosine",
    "one-cycle",
    "wsd",
    "plateau",
];
/// Shapes of a schedule's decay.
pub const ANNEALS: &[&str] = &["linear", "cosine", "one-minus-sqrt"];
/// Spellings of the initialisers.
pub const INITS: &[&str] =
    &["auto", "xavier-uniform", "xavier-normal", "he-uniform", "he-normal", "orthogonal", "gpt"];
/// Spellings of the export dtypes.
pub const DTYPES: &[&str] = &["f32", "f16", "q8", "q4"];

/// What was said. A field that is `None` is left to the preset.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Model family; sets every default below. seq2seq is the encoder-decoder Transformer for lines of source TAB target
    #[arg(long, value_parser = PossibleValuesParser::new(MODELS), help_heading = "Model")]
    pub model: Option<String>,
    /// Number of blocks
    #[arg(long, help_heading = "Model")]
    pub n_layers: Option<usize>,
    /// Number of blocks of a seq2seq's encoder (default n-layers)
    #[arg(long, help_heading = "Model")]
    pub n_encoder_layers: Option<usize>,
    /// Width of the embedding and of a Transformer's residual stream
    #[arg(long, help_heading = "Model")]
    pub d_model: Option<usize>,
    /// Width of a recurrent block's state
    #[arg(long, help_heading = "Model")]
    pub hidden: Option<usize>,
    /// Query heads of a Transformer block
    #[arg(long, help_heading = "Model")]
    pub n_heads: Option<usize>,
    /// Key and value heads; divides n-heads
    #[arg(long, help_heading = "Model")]
    pub n_kv_heads: Option<usize>,
    /// Channels per head (default d-model / n-heads)
    #[arg(long, help_heading = "Model")]
    pub head_dim: Option<usize>,
    /// Inner width of the feed-forward part
    #[arg(long, help_heading = "Model")]
    pub d_ff: Option<usize>,
    /// Kind of the feed-forward part
    #[arg(long, value_parser = PossibleValuesParser::new(Ffn::NAMES), help_heading = "Model")]
    pub ffn: Option<String>,
    /// Nonlinearity of an RNN block
    #[arg(long, value_parser = PossibleValuesParser::new(Activation::NAMES), help_heading = "Model")]
    pub activation: Option<String>,
    /// Norm before each part of a block
    #[arg(long, value_parser = PossibleValuesParser::new(Norm::NAMES), help_heading = "Model")]
    pub norm: Option<String>,
    /// Norm before the head
    #[arg(long, value_parser = PossibleValuesParser::new(Norm::NAMES), help_heading = "Model")]
    pub final_norm: Option<String>,
    /// Added under the root of every norm
    #[arg(long, help_heading = "Model")]
    pub norm_eps: Option<f32>,
    /// Norms have a learned scale
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Model")]
    pub norm_weight: Option<bool>,
    /// Layer norms have a learned bias
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Model")]
    pub norm_bias: Option<bool>,
    /// How a Transformer learns where a token stands
    #[arg(long, value_parser = PossibleValuesParser::new(POSITIONS), help_heading = "Model")]
    pub position: Option<String>,
    /// Base of the RoPE angles
    #[arg(long, help_heading = "Model")]
    pub rope_theta: Option<f32>,
    /// Products inside the blocks have biases
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Model")]
    pub bias: Option<bool>,
    /// Blocks add to their input
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Model")]
    pub residual: Option<bool>,
    /// RMS norm over each head's query and key
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Model")]
    pub qk_norm: Option<bool>,
    /// Attention and feed-forward part also read the token before, by a learned share per channel (RWKV)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Model")]
    pub token_shift: Option<bool>,
    /// Each token attends to the last N tokens only, its own among them; 0: to all before it. Layer by layer a text still reaches
    /// farther, and `siskin run` goes on without end in memory for the window (unless positions are learned)
    #[arg(long, value_name = "N", help_heading = "Model")]
    pub window: Option<usize>,
    /// The head reuses the embedding
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Model")]
    pub tied_head: Option<bool>,
    /// The head has a bias
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Model")]
    pub head_bias: Option<bool>,
    /// Logits become cap * tanh(logits / cap); 0 is off
    #[arg(long, help_heading = "Model")]
    pub logit_softcap: Option<f32>,
    /// Share of channels dropped while training
    #[arg(long, help_heading = "Model")]
    pub dropout: Option<f32>,
    /// Initialiser of the weight matrices
    #[arg(long, value_parser = PossibleValuesParser::new(INITS), help_heading = "Model")]
    pub init: Option<String>,
    /// Multiplies Xavier, He and orthogonal weights
    #[arg(long, help_heading = "Model")]
    pub init_gain: Option<f32>,
    /// Standard deviation of GPT weights, embeddings and head
    #[arg(long, help_heading = "Model")]
    pub init_std: Option<f32>,
    /// Begin with zero in the projections that are added to the residual stream
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Model")]
    pub zero_residual: Option<bool>,
    /// Begin with zero in the head
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Model")]
    pub zero_head: Option<bool>,
    /// What the forget-gate bias of an LSTM begins at
    #[arg(long, help_heading = "Model")]
    pub forget_bias: Option<f32>,
    /// Tokenizer; auto is char for small alphabets, else bpe
    #[arg(long, value_parser = PossibleValuesParser::new(TOKENIZERS), help_heading = "Data")]
    pub tokenizer: Option<String>,
    /// Vocabulary of a bpe tokenizer
    #[arg(long, help_heading = "Data")]
    pub vocab_size: Option<usize>,
    /// Tokens per training window
    #[arg(long, help_heading = "Data")]
    pub context: Option<usize>,
    /// Share of the steps over which windows grow from an eighth of the context to all of it (Transformers); 0 is off
    #[arg(long, help_heading = "Data")]
    pub length_warmup: Option<f64>,
    /// Windows per step, or `full` for full-batch descent (1 is stochastic descent)
    #[arg(long, help_heading = "Data")]
    pub batch_size: Option<String>,
    /// Share of the text, at its end, held out for validation
    #[arg(long, help_heading = "Data")]
    pub val_fraction: Option<f64>,
    /// Weights of the texts, one for each in their order, as in `--mix 3,1`: batches are drawn by weight, and each text holds out a part of
    /// its own (default: the texts are one, in their order)
    #[arg(long, value_delimiter = ',', value_name = "W,W,…", help_heading = "Data")]
    pub mix: Option<Vec<f64>>,
    /// Folder of token caches, which several runs may share (default: in the run folder)
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    pub cache: Option<PathBuf>,
    /// Update rule
    #[arg(long, value_parser = PossibleValuesParser::new(OPTIMIZERS), help_heading = "Gradient descent")]
    pub optimizer: Option<String>,
    /// Peak learning rate
    #[arg(long, help_heading = "Gradient descent")]
    pub lr: Option<f32>,
    /// Decay of the weight matrices (decoupled in AdamW, Lion and Muon)
    #[arg(long, help_heading = "Gradient descent")]
    pub weight_decay: Option<f32>,
    /// Take the decay out of the gradient (SGD, Adagrad, RMSProp, Adam)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Gradient descent")]
    pub decoupled: Option<bool>,
    /// Ascend: maximise the loss instead of minimising it
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Gradient descent")]
    pub maximize: Option<bool>,
    /// Momentum (SGD, RMSProp, Muon)
    #[arg(long, help_heading = "Gradient descent")]
    pub momentum: Option<f32>,
    /// Dampening of the momentum (SGD)
    #[arg(long, help_heading = "Gradient descent")]
    pub dampening: Option<f32>,
    /// Look ahead along the momentum (SGD, Muon)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Gradient descent")]
    pub nesterov: Option<bool>,
    /// Memory of the mean gradient (Adam, AdamW, Lion, Muon)
    #[arg(long, help_heading = "Gradient descent")]
    pub beta1: Option<f32>,
    /// Memory of the mean square (Adam, AdamW, Muon) or of the momentum (Lion)
    #[arg(long, help_heading = "Gradient descent")]
    pub beta2: Option<f32>,
    /// Memory of the mean square (RMSProp)
    #[arg(long, help_heading = "Gradient descent")]
    pub alpha: Option<f32>,
    /// Divide by the variance instead of the mean square (RMSProp)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Gradient descent")]
    pub centered: Option<bool>,
    /// Added to the denominator of adaptive updates
    #[arg(long, help_heading = "Gradient descent")]
    pub eps: Option<f32>,
    /// Decay of the learning rate per step (Adagrad)
    #[arg(long, help_heading = "Gradient descent")]
    pub lr_decay: Option<f32>,
    /// What the sums begin at (Adagrad)
    #[arg(long, help_heading = "Gradient descent")]
    pub initial_accumulator: Option<f32>,
    /// Newton-Schulz steps (Muon)
    #[arg(long, help_heading = "Gradient descent")]
    pub ns_steps: Option<u32>,
    /// Learning rate of embedding, head and vectors (Muon)
    #[arg(long, help_heading = "Gradient descent")]
    pub adam_lr: Option<f32>,
    /// Multiplies the learning rate of embeddings
    #[arg(long, help_heading = "Gradient descent")]
    pub embedding_lr_mult: Option<f32>,
    /// Multiplies the learning rate of the head
    #[arg(long, help_heading = "Gradient descent")]
    pub head_lr_mult: Option<f32>,
    /// Multiplies the learning rate of biases and norms
    #[arg(long, help_heading = "Gradient descent")]
    pub vector_lr_mult: Option<f32>,
    /// Batches whose gradients are averaged before an update
    #[arg(long, help_heading = "Gradient descent")]
    pub accumulate: Option<usize>,
    /// Largest global norm of the gradient; 0 is off
    #[arg(long, help_heading = "Gradient descent")]
    pub clip_norm: Option<f32>,
    /// Largest magnitude of a gradient's element; 0 is off
    #[arg(long, help_heading = "Gradient descent")]
    pub clip_value: Option<f32>,
    /// Decay of the moving average of the weights, which is evaluated and exported; 0 is off
    #[arg(long, help_heading = "Gradient descent")]
    pub ema: Option<f32>,
    /// Share of the updates, at the end, over which the weights are averaged evenly (SWA) to be evaluated and exported; 0 is off
    #[arg(long, value_name = "FRACTION", help_heading = "Gradient descent")]
    pub swa: Option<f64>,
    /// How the learning rate changes
    #[arg(long, value_parser = PossibleValuesParser::new(SCHEDULES), help_heading = "Schedule")]
    pub schedule: Option<String>,
    /// Steps of linear warm-up
    #[arg(long, help_heading = "Schedule")]
    pub warmup: Option<u64>,
    /// Share of the peak rate at the end (polynomial, linear, cosine, wsd)
    #[arg(long, help_heading = "Schedule")]
    pub end_factor: Option<f64>,
    /// Share of the steps, at the end, that decay (wsd)
    #[arg(long, help_heading = "Schedule")]
    pub decay_fraction: Option<f64>,
    /// Shape of the decay (wsd, one-cycle)
    #[arg(long, value_parser = PossibleValuesParser::new(ANNEALS), help_heading = "Schedule")]
    pub anneal: Option<String>,
    /// Factor of a drop (step) or of every step (exponential)
    #[arg(long, help_heading = "Schedule")]
    pub gamma: Option<f64>,
    /// Steps between drops (step)
    #[arg(long, help_heading = "Schedule")]
    pub step_size: Option<u64>,
    /// Decay per step (inverse-time)
    #[arg(long, help_heading = "Schedule")]
    pub rate: Option<f64>,
    /// Exponent (polynomial)
    #[arg(long, help_heading = "Schedule")]
    pub power: Option<f64>,
    /// Share of the steps that the rate rises (one-cycle)
    #[arg(long, help_heading = "Schedule")]
    pub pct_start: Option<f64>,
    /// The rate begins at the peak divided by this (one-cycle)
    #[arg(long, help_heading = "Schedule")]
    pub div_factor: Option<f64>,
    /// The rate ends at its begin divided by this (one-cycle)
    #[arg(long, help_heading = "Schedule")]
    pub final_div_factor: Option<f64>,
    /// What the rate is multiplied by when the loss stands still (plateau)
    #[arg(long, help_heading = "Schedule")]
    pub reduce: Option<f64>,
    /// Evaluations without improvement before that (plateau)
    #[arg(long, help_heading = "Schedule")]
    pub plateau_patience: Option<u32>,
    /// How much lower, relatively, counts as improvement (plateau)
    #[arg(long, help_heading = "Schedule")]
    pub threshold: Option<f64>,
    /// Evaluations after a reduction that do not count (plateau)
    #[arg(long, help_heading = "Schedule")]
    pub cooldown: Option<u32>,
    /// The share of the peak that the rate does not fall under (plateau)
    #[arg(long, help_heading = "Schedule")]
    pub min_factor: Option<f64>,
    /// Updates to make
    #[arg(long, help_heading = "Run")]
    pub steps: Option<u64>,
    /// Wall-clock budget instead of steps, of the whole run with all its --restarts; the number of steps is measured and fixed at the start
    #[arg(long, help_heading = "Run")]
    pub minutes: Option<f64>,
    /// Seed of initialisation, shuffling, dropout and samples
    #[arg(long, help_heading = "Run")]
    pub seed: Option<u64>,
    /// Seeds to begin with: seed, seed + 1, …; the one that does best after its beginning goes on, all inside the budget of --steps or --minutes
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub restarts: Option<u64>,
    /// Share of the run that each beginning of --restarts takes; 1 trains every seed to its end and keeps the best
    #[arg(long, value_name = "FRACTION", help_heading = "Run")]
    pub restart_share: Option<f64>,
    /// Cores to use (default all); does not change the result
    #[arg(long, help_heading = "Run")]
    pub threads: Option<usize>,
    /// Pieces that each batch is cut into, at most one core works on each; part of the result (default: by batch and model)
    #[arg(long, help_heading = "Run")]
    pub shards: Option<usize>,
    /// Keep only the inputs of the blocks and run each again on the way back: less memory, a third more time, the same result
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Run")]
    pub recompute: Option<bool>,
    /// Steps between evaluations
    #[arg(long, help_heading = "Run")]
    pub eval_every: Option<u64>,
    /// Validation tokens per evaluation while training (the last one uses all)
    #[arg(long, help_heading = "Run")]
    pub eval_tokens: Option<usize>,
    /// Steps between samples; 0 is never
    #[arg(long, help_heading = "Run")]
    pub sample_every: Option<u64>,
    /// What samples begin with
    #[arg(long, help_heading = "Run")]
    pub sample_prompt: Option<String>,
    /// Steps between checkpoints (default: those of half a minute)
    #[arg(long, help_heading = "Run")]
    pub checkpoint_every: Option<u64>,
    /// Steps between looks at gradients and activations, for doctor and report (default: about 150 looks a run); 0 is never
    #[arg(long, help_heading = "Run")]
    pub observe_every: Option<u64>,
    /// Evaluations without improvement after which to stop; 0 is never
    #[arg(long, help_heading = "Run")]
    pub patience: Option<u32>,
    /// Smallest fall of the validation loss that counts as improvement
    #[arg(long, help_heading = "Run")]
    pub min_delta: Option<f64>,
    /// Stop at this validation loss
    #[arg(long, help_heading = "Run")]
    pub target_loss: Option<f64>,
    /// Stop when the gradient norm falls below this
    #[arg(long, help_heading = "Run")]
    pub grad_tol: Option<f64>,
    /// A loss this many standard deviations above the recent mean is a spike; 0 is off
    #[arg(long, help_heading = "Run")]
    pub spike: Option<f64>,
    /// Export the weights with the best validation loss instead of the last
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Run")]
    pub keep_best: Option<bool>,
    /// Weights of the exported file
    #[arg(long, value_parser = PossibleValuesParser::new(DTYPES), help_heading = "Run")]
    pub dtype: Option<String>,
    /// Train for weights and activations of few bits: every product computes with what the exported file will hold
    #[arg(long, value_parser = PossibleValuesParser::new(["q8", "q4"]), help_heading = "Run")]
    pub qat: Option<String>,
    /// Share of the steps after which --qat begins
    #[arg(long, help_heading = "Run")]
    pub qat_start: Option<f64>,

    /// The stack block by block, first block first, instead of n_layers equal ones (only in a settings file).
    #[arg(skip)]
    pub blocks: Option<Vec<BlockSettings>>,
}

/// One block of a mixed stack: `[[blocks]]` in a settings file. What it leaves open comes from the flat settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlockSettings {
    /// `rnn`, `gru`, `lstm` or `transformer`.
    pub kind: String,
    /// Width of a recurrent block's state.
    pub hidden: Option<usize>,
    /// Nonlinearity of an RNN block.
    pub activation: Option<String>,
    /// Norm of the block.
    pub norm: Option<String>,
    /// The block adds to its input.
    pub residual: Option<bool>,
    /// Products have biases.
    pub bias: Option<bool>,
    /// Query heads.
    pub n_heads: Option<usize>,
    /// Key and value heads.
    pub n_kv_heads: Option<usize>,
    /// Channels per head.
    pub head_dim: Option<usize>,
    /// Inner width of the feed-forward part.
    pub d_ff: Option<usize>,
    /// Kind of the feed-forward part.
    pub ffn: Option<String>,
    /// RMS norm over each head's query and key.
    pub qk_norm: Option<bool>,
    /// Both parts also read the token before.
    pub token_shift: Option<bool>,
    /// Tokens that a token attends to at most; 0: all before it.
    pub window: Option<usize>,
}

impl Settings {
    /// `self`, with whatever it leaves open taken from `other`.
    pub fn or(&self, other: &Settings) -> Settings {
        macro_rules! merge {
            ($($field:ident),+) => {
                Settings { $($field: self.$field.clone().or_else(|| other.$field.clone())),+ }
            };
        }
        // The compiler sees to it that none is missing.
        merge!(
            model,
            n_layers,
            n_encoder_layers,
            d_model,
            hidden,
            n_heads,
            n_kv_heads,
            head_dim,
            d_ff,
            ffn,
            activation,
            norm,
            final_norm,
            norm_eps,
            norm_weight,
            norm_bias,
            position,
            rope_theta,
            bias,
            residual,
            qk_norm,
            token_shift,
            window,
            tied_head,
            head_bias,
            logit_softcap,
            dropout,
            init,
            init_gain,
            init_std,
            zero_residual,
            zero_head,
            forget_bias,
            tokenizer,
            vocab_size,
            context,
            length_warmup,
            batch_size,
            val_fraction,
            mix,
            cache,
            optimizer,
            lr,
            weight_decay,
            decoupled,
            maximize,
            momentum,
            dampening,
            nesterov,
            beta1,
            beta2,
            alpha,
            centered,
            eps,
            lr_decay,
            initial_accumulator,
            ns_steps,
            adam_lr,
            embedding_lr_mult,
            head_lr_mult,
            vector_lr_mult,
            accumulate,
            clip_norm,
            clip_value,
            ema,
            swa,
            schedule,
            warmup,
            end_factor,
            decay_fraction,
            anneal,
            gamma,
            step_size,
            rate,
            power,
            pct_start,
            div_factor,
            final_div_factor,
            reduce,
            plateau_patience,
            threshold,
            cooldown,
            min_factor,
            steps,
            minutes,
            seed,
            restarts,
            restart_share,
            threads,
            shards,
            recompute,
            eval_every,
            eval_tokens,
            sample_every,
            sample_prompt,
            checkpoint_every,
            observe_every,
            patience,
            min_delta,
            target_loss,
            grad_tol,
            spike,
            keep_best,
            dtype,
            qat,
            qat_start,
            blocks
        )
    }

    /// Every key of the settings, sorted.
    pub fn keys() -> Vec<String> {
        Settings::default().to_map().into_iter().map(|(key, _)| key).collect()
    }

    fn to_map(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(self).expect("plain data") {
            serde_json::Value::Object(map) => map,
            _ => unreachable!("a struct serialises to an object"),
        }
    }
}

/// `value` if it is one of `names`, else an error that lists them and suggests the nearest.
pub(crate) fn choice<'a>(key: &'static str, value: &'a str, names: &[&str]) -> Result<&'a str> {
    if names.contains(&value) {
        return Ok(value);
    }
    let hint =
        nearest(value, names.iter().copied()).map(|n| format!(", did you mean '{n}'?")).unwrap_or_default();
    Err(Error::Setting {
        key,
        problem: format!("found '{value}', expected one of {}{hint}", names.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_preset() {
        let flags = Settings { lr: Some(0.1), ..Default::default() };
        let file = Settings { lr: Some(0.2), n_layers: Some(3), ..Default::default() };
        let merged = flags.or(&file);
        assert_eq!((merged.lr, merged.n_layers, merged.seed), (Some(0.1), Some(3), None));
        let nan = Settings { lr: Some(f32::NAN), ..Default::default() };
        assert!(nan.or(&file).lr.unwrap().is_nan(), "a NaN is kept, to be refused");
    }

    #[test]
    fn a_wrong_choice_names_the_nearest() {
        let message = choice("optimizer", "adamm", OPTIMIZERS).unwrap_err().to_string();
        assert!(message.starts_with("optimizer: found 'adamm'"), "{message}");
        assert!(message.contains("did you mean 'adam'"), "{message}");
    }
}
