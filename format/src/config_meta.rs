//! [`ModelConfig`] as the metadata of the config section, and back (SPEC.md, "Config section").
//!
//! Model-wide settings are single values. Block settings are columns: one array per setting with one element per
//! block, 0 or "" where a block's family does not have the setting; a column that no block uses is left out. So
//! one configuration has exactly one encoding, and reading checks that it is this one.

use crate::config::{
    Activation, BlockConfig, ConfigError, Ffn, MAX_BLOCKS, ModelConfig, Norm, Position, RecurrentConfig,
    RnnConfig, TransformerConfig,
};
use crate::error::Error;
use crate::header::{Section, Version};
use crate::memory::{self, NoMemory};
use crate::meta::{Meta, MetaError, Value, quote};

/// Every key that a config section may have in this version.
const KEYS: &[&str] = &[
    "blocks.activation",
    "blocks.bias",
    "blocks.cross_attention",
    "blocks.d_ff",
    "blocks.ffn",
    "blocks.ffn_bias",
    "blocks.head_dim",
    "blocks.hidden",
    "blocks.kind",
    "blocks.n_heads",
    "blocks.n_kv_heads",
    "blocks.norm",
    "blocks.out_bias",
    "blocks.qk_norm",
    "blocks.qkv_bias",
    "blocks.residual",
    "blocks.token_shift",
    "blocks.window",
    "encoder.d_ff",
    "encoder.ffn",
    "encoder.ffn_bias",
    "encoder.head_dim",
    "encoder.n_heads",
    "encoder.n_kv_heads",
    "encoder.norm",
    "encoder.out_bias",
    "encoder.qk_norm",
    "encoder.qkv_bias",
    "encoder.residual",
    "model.context",
    "model.d_model",
    "model.final_norm",
    "model.head_bias",
    "model.logit_softcap",
    "model.norm_bias",
    "model.norm_eps",
    "model.norm_weight",
    "model.position",
    "model.rope_divisors",
    "model.rope_theta",
    "model.tied_head",
    "model.vocab_size",
];

impl ModelConfig {
    /// The metadata that stands for this configuration in a file.
    ///
    /// # Panics
    /// Without the memory for it.
    pub fn to_meta(&self) -> Meta {
        self.try_to_meta().unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_to_meta(&self) -> Result<Meta, NoMemory> {
        let mut meta = Meta::new();
        let mut number = |key: &str, value: usize| meta.set(key, Value::U64(value as u64));
        number("model.vocab_size", self.vocab_size);
        number("model.d_model", self.d_model);
        number("model.context", self.context);
        meta.set("model.final_norm", text(self.final_norm.name()));
        meta.set("model.norm_eps", Value::F64(self.norm_eps.into()));
        meta.set("model.norm_weight", Value::Bool(self.norm_weight));
        meta.set("model.norm_bias", Value::Bool(self.norm_bias));
        meta.set("model.tied_head", Value::Bool(self.tied_head));
        meta.set("model.head_bias", Value::Bool(self.head_bias));
        meta.set("model.logit_softcap", Value::F64(self.logit_softcap.into()));
        let position = match self.position {
            Position::None => "none",
            Position::Learned => "learned",
            Position::Sinusoidal => "sinusoidal",
            Position::Rope { theta } => {
                meta.set("model.rope_theta", Value::F64(theta.into()));
                "rope"
            }
        };
        meta.set("model.position", text(position));
        if !self.rope_divisors.is_empty() {
            let divisors = memory::collect(self.rope_divisors.iter().map(|&d| f64::from(d)))?;
            meta.set("model.rope_divisors", Value::F64s(divisors));
        }
        for (index, block) in self.blocks.iter().enumerate() {
            let n_layers = self.n_layers();
            Column { meta: &mut meta, stack: "blocks", index, n_layers }.write_block(block)?;
        }
        for (index, block) in self.encoder.iter().enumerate() {
            let n_layers = self.encoder.len();
            Column { meta: &mut meta, stack: "encoder", index, n_layers }.write_transformer(block)?;
        }
        Ok(meta)
    }

    /// The lowest version of the format that can express this configuration.
    pub fn format_version(&self) -> Version {
        let any = |option: fn(&TransformerConfig) -> bool| {
            self.blocks.iter().any(|block| matches!(block, BlockConfig::Transformer(t) if option(t)))
        };
        let minor = match () {
            () if !self.rope_divisors.is_empty() || any(|t| t.window > 0) => 3,
            () if self.has_encoder() => 2,
            () => u16::from(any(|t| t.token_shift)),
        };
        Version { major: 1, minor }
    }

    /// The configuration that metadata stands for, validated.
    ///
    /// # Errors
    /// [`Error::Meta`] for a missing, unknown, ill-typed or meaningless value, [`Error::Config`] for values that make
    /// no model.
    pub fn from_meta(meta: &Meta) -> Result<ModelConfig, Error> {
        if let Some((key, _)) = meta.iter().find(|(key, _)| KEYS.binary_search(key).is_err()) {
            return Err(in_config(MetaError::UnknownKey { key: key.into() }));
        }
        let n_layers = meta.strs_required("blocks.kind").map_err(in_config)?.len();
        if n_layers > MAX_BLOCKS {
            let field = "n_layers";
            return Err(ConfigError::TooLarge { field, value: n_layers, max: MAX_BLOCKS }.into());
        }
        let config = read(meta, n_layers).map_err(in_config)?;
        config.validate()?;
        let expected = config.try_to_meta()?;
        match meta.iter().find(|(key, value)| expected.get(key) != Some(value)) {
            Some((key, value)) => Err(in_config(not_canonical(key, value, expected.get(key)))),
            None => Ok(config),
        }
    }
}

fn in_config(error: MetaError) -> Error {
    Error::meta(Section::Config, error)
}

fn text(name: &str) -> Value {
    Value::Str(name.to_string())
}

fn not_canonical(key: &str, found: &Value, expected: Option<&Value>) -> MetaError {
    let expected = match expected {
        Some(value) => value.to_string(),
        None => "nothing, as no block has this setting".to_string(),
    };
    MetaError::BadValue { key: key.into(), found: found.to_string(), expected }
}

/// Writes the settings of one block into their columns.
struct Column<'m> {
    meta: &'m mut Meta,
    stack: &'static str, // "blocks" or "encoder", before the dot of every key
    index: usize,
    n_layers: usize,
}

impl Column<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.stack)
    }

    fn number(&mut self, name: &str, value: usize) -> Result<(), NoMemory> {
        let zeros = || memory::repeated(0, self.n_layers).map(Value::U64s);
        let key = self.key(name);
        if let Value::U64s(column) = self.meta.get_or_set(&key, zeros)? {
            column[self.index] = value as u64;
        }
        Ok(())
    }

    fn flag(&mut self, name: &str, value: bool) -> Result<(), NoMemory> {
        self.number(name, usize::from(value))
    }

    /// A flag that came with a later version: where no block sets it, the column is left out.
    fn option(&mut self, name: &str, value: bool) -> Result<(), NoMemory> {
        if value { self.flag(name, true) } else { Ok(()) }
    }

    fn name(&mut self, name: &str, value: &str) -> Result<(), NoMemory> {
        let nothing = || memory::repeated(String::new(), self.n_layers).map(Value::Strs);
        let key = self.key(name);
        if let Value::Strs(column) = self.meta.get_or_set(&key, nothing)? {
            column[self.index] = value.to_string();
        }
        Ok(())
    }

    fn write_block(&mut self, block: &BlockConfig) -> Result<(), NoMemory> {
        self.name("kind", block.name())?;
        if let BlockConfig::Rnn(rnn) = block {
            self.name("activation", rnn.activation.name())?;
        }
        if let Some(cell) = block.recurrent() {
            self.name("norm", cell.norm.name())?;
            self.number("hidden", cell.hidden)?;
            self.flag("residual", cell.residual)?;
            self.flag("bias", cell.bias)?;
        }
        match block {
            BlockConfig::Transformer(t) => self.write_transformer(t),
            _ => Ok(()),
        }
    }

    fn write_transformer(&mut self, t: &TransformerConfig) -> Result<(), NoMemory> {
        self.name("norm", t.norm.name())?;
        self.name("ffn", t.ffn.name())?;
        self.number("n_heads", t.n_heads)?;
        self.number("n_kv_heads", t.n_kv_heads)?;
        self.number("head_dim", t.head_dim)?;
        self.number("d_ff", t.d_ff)?;
        self.flag("residual", t.residual)?;
        self.flag("qkv_bias", t.qkv_bias)?;
        self.flag("out_bias", t.out_bias)?;
        self.flag("ffn_bias", t.ffn_bias)?;
        self.flag("qk_norm", t.qk_norm)?;
        self.option("token_shift", t.token_shift)?;
        self.option("cross_attention", t.cross_attention)?;
        if t.window > 0 { self.number("window", t.window) } else { Ok(()) }
    }
}

fn read(meta: &Meta, n_layers: usize) -> Result<ModelConfig, MetaError> {
    let number = |key: &str| to_usize(key, meta.u64_required(key)?);
    let position = match meta.str_required("model.position")? {
        "none" => Position::None,
        "learned" => Position::Learned,
        "sinusoidal" => Position::Sinusoidal,
        "rope" => Position::Rope { theta: to_f32(meta, "model.rope_theta")? },
        found => {
            return Err(bad_name("model.position", found, &["none", "learned", "sinusoidal", "rope"]));
        }
    };
    let final_norm = meta.str_required("model.final_norm")?;
    let mut blocks = memory::with_capacity(n_layers)?;
    for index in 0..n_layers {
        blocks.push(Row { meta, stack: "blocks", index, n_layers }.block()?);
    }
    // Any of an encoder's columns tells how many blocks it has; what is left over fails the check of the encoding.
    let n_layers = match meta.get("encoder.n_heads") {
        Some(_) => meta.u64s_required("encoder.n_heads")?.len().min(MAX_BLOCKS + 1),
        None => 0,
    };
    let mut encoder = memory::with_capacity(n_layers)?;
    for index in 0..n_layers {
        encoder.push(Row { meta, stack: "encoder", index, n_layers }.transformer()?);
    }
    Ok(ModelConfig {
        vocab_size: number("model.vocab_size")?,
        d_model: number("model.d_model")?,
        context: number("model.context")?,
        position,
        blocks,
        encoder,
        final_norm: Norm::from_name(final_norm)
            .ok_or_else(|| bad_name("model.final_norm", final_norm, Norm::NAMES))?,
        norm_eps: to_f32(meta, "model.norm_eps")?,
        norm_weight: meta.bool_required("model.norm_weight")?,
        norm_bias: meta.bool_required("model.norm_bias")?,
        tied_head: meta.bool_required("model.tied_head")?,
        head_bias: meta.bool_required("model.head_bias")?,
        logit_softcap: to_f32(meta, "model.logit_softcap")?,
        rope_divisors: match meta.get("model.rope_divisors") {
            Some(_) => memory::collect(meta.f64s_required("model.rope_divisors")?.iter().map(|&d| d as f32))?,
            None => Vec::new(),
        },
    })
}

fn to_usize(key: &str, value: u64) -> Result<usize, MetaError> {
    usize::try_from(value).map_err(|_| MetaError::BadValue {
        key: key.into(),
        found: value.to_string(),
        expected: format!("at most {}", usize::MAX),
    })
}

/// Settings are f32 in memory; a value that is not one, such as 0.1 in f64, fails the check of the encoding.
fn to_f32(meta: &Meta, key: &str) -> Result<f32, MetaError> {
    Ok(meta.f64_required(key)? as f32)
}

fn bad_name(key: &str, found: &str, names: &[&str]) -> MetaError {
    MetaError::BadValue { key: key.into(), found: quote(found), expected: names.join(" or ") }
}

/// Reads the settings of one block out of their columns.
struct Row<'m> {
    meta: &'m Meta,
    stack: &'static str, // "blocks" or "encoder", before the dot of every key
    index: usize,
    n_layers: usize,
}

impl<'m> Row<'m> {
    fn element<T>(&self, key: &str, column: &'m [T]) -> Result<&'m T, MetaError> {
        if column.len() != self.n_layers {
            return Err(MetaError::BadValue {
                key: key.into(),
                found: format!("{} elements", column.len()),
                expected: format!("one for each of {} blocks", self.n_layers),
            });
        }
        Ok(&column[self.index])
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.stack)
    }

    fn number(&self, name: &str) -> Result<usize, MetaError> {
        let key = &self.key(name);
        to_usize(key, *self.element(key, self.meta.u64s_required(key)?)?)
    }

    fn flag(&self, name: &str) -> Result<bool, MetaError> {
        let key = &self.key(name);
        match self.element(key, self.meta.u64s_required(key)?)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(bad_name(key, &found.to_string(), &["0", "1"])),
        }
    }

    /// A flag that came with a later version; false where the column is left out.
    fn option(&self, name: &str) -> Result<bool, MetaError> {
        if self.meta.get(&self.key(name)).is_some() { self.flag(name) } else { Ok(false) }
    }

    fn name<T>(&self, name: &str, parse: fn(&str) -> Option<T>, names: &[&str]) -> Result<T, MetaError> {
        let key = &self.key(name);
        let name = self.element(key, self.meta.strs_required(key)?)?;
        parse(name).ok_or_else(|| bad_name(key, name, names))
    }

    fn block(&self) -> Result<BlockConfig, MetaError> {
        let kind = self.element("blocks.kind", self.meta.strs_required("blocks.kind")?)?;
        Ok(match kind.as_str() {
            "rnn" => BlockConfig::Rnn(RnnConfig {
                cell: self.recurrent()?,
                activation: self.name("activation", Activation::from_name, Activation::NAMES)?,
            }),
            "gru" => BlockConfig::Gru(self.recurrent()?),
            "lstm" => BlockConfig::Lstm(self.recurrent()?),
            "transformer" => BlockConfig::Transformer(self.transformer()?),
            found => return Err(bad_name("blocks.kind", found, &["rnn", "gru", "lstm", "transformer"])),
        })
    }

    fn recurrent(&self) -> Result<RecurrentConfig, MetaError> {
        Ok(RecurrentConfig {
            hidden: self.number("hidden")?,
            norm: self.name("norm", Norm::from_name, Norm::NAMES)?,
            residual: self.flag("residual")?,
            bias: self.flag("bias")?,
        })
    }

    fn transformer(&self) -> Result<TransformerConfig, MetaError> {
        Ok(TransformerConfig {
            n_heads: self.number("n_heads")?,
            n_kv_heads: self.number("n_kv_heads")?,
            head_dim: self.number("head_dim")?,
            d_ff: self.number("d_ff")?,
            ffn: self.name("ffn", Ffn::from_name, Ffn::NAMES)?,
            norm: self.name("norm", Norm::from_name, Norm::NAMES)?,
            residual: self.flag("residual")?,
            qkv_bias: self.flag("qkv_bias")?,
            out_bias: self.flag("out_bias")?,
            ffn_bias: self.flag("ffn_bias")?,
            qk_norm: self.flag("qk_norm")?,
            token_shift: self.option("token_shift")?,
            cross_attention: self.option("cross_attention")?,
            window: if self.meta.get(&self.key("window")).is_some() { self.number("window")? } else { 0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that came with later versions.
    const LATER: [&str; 5] = [
        "blocks.token_shift",
        "blocks.cross_attention",
        "blocks.window",
        "encoder.n_heads",
        "model.rope_divisors",
    ];

    fn config() -> ModelConfig {
        let cell = RecurrentConfig { hidden: 48, norm: Norm::Layer, residual: false, bias: true };
        let transformer = TransformerConfig {
            n_heads: 6,
            n_kv_heads: 2,
            head_dim: 8,
            d_ff: 96,
            ffn: Ffn::GatedSilu,
            norm: Norm::Rms,
            residual: true,
            qkv_bias: true,
            out_bias: false,
            ffn_bias: false,
            qk_norm: true,
            token_shift: true,
            cross_attention: true,
            window: 32,
        };
        let encoder = TransformerConfig {
            token_shift: false,
            cross_attention: false,
            window: 0,
            ..transformer.clone()
        };
        ModelConfig {
            encoder: vec![encoder; 2],
            vocab_size: 65,
            d_model: 32,
            context: 64,
            position: Position::Rope { theta: 10_000.0 },
            blocks: vec![
                BlockConfig::Rnn(RnnConfig { cell: cell.clone(), activation: Activation::LeakyRelu }),
                BlockConfig::Gru(RecurrentConfig { residual: true, ..cell.clone() }),
                BlockConfig::Lstm(RecurrentConfig { bias: false, ..cell }),
                BlockConfig::Transformer(transformer),
            ],
            final_norm: Norm::Rms,
            norm_eps: 1e-5,
            norm_weight: true,
            norm_bias: false,
            tied_head: false,
            head_bias: true,
            logit_softcap: 30.0,
            rope_divisors: vec![1.0, 1.0, 2.5, 8.0],
        }
    }

    /// The message of reading `config` after `change`.
    fn refusal(change: impl Fn(&mut Meta)) -> String {
        let mut meta = config().to_meta();
        change(&mut meta);
        ModelConfig::from_meta(&meta).unwrap_err().to_string()
    }

    #[test]
    fn every_option_round_trips() {
        for position in [Position::None, Position::Learned, Position::Sinusoidal, config().position] {
            let mut config = ModelConfig { position, ..config() };
            if position != self::config().position {
                config.rope_divisors.clear();
            }
            assert_eq!(ModelConfig::from_meta(&config.to_meta()).unwrap(), config);
        }
        let mut one = config();
        one.blocks.truncate(1);
        one.encoder.clear();
        let meta = one.to_meta();
        assert_eq!(meta.get("blocks.n_heads"), None);
        assert_eq!(ModelConfig::from_meta(&meta).unwrap(), one);
    }

    #[test]
    fn every_key_is_listed_in_order() {
        assert!(KEYS.is_sorted());
        let meta = config().to_meta();
        let keys: Vec<&str> = meta.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, KEYS);
    }

    #[test]
    fn every_key_is_needed_and_typed() {
        for key in KEYS {
            let message = refusal(|meta| meta.set(key, Value::I64(1)));
            assert!(message.contains("is i64, expected"), "{key}: {message}");
            if LATER.contains(key) {
                continue; // left out where nothing sets it, or there is no encoder
            }
            let mut missing = Meta::new();
            config().to_meta().iter().filter(|(k, _)| k != key).for_each(|(k, v)| missing.set(k, v.clone()));
            match ModelConfig::from_meta(&missing) {
                Err(Error::Meta { error: MetaError::MissingKey { key: found }, .. }) => {
                    assert_eq!(found, *key)
                }
                other => panic!("{key}: {other:?}"),
            }
        }
    }

    #[test]
    fn options_of_later_versions_are_left_out_where_nothing_sets_them() {
        let mut plain = config();
        assert_eq!(plain.format_version(), Version { major: 1, minor: 3 });
        plain.rope_divisors.clear();
        assert_eq!(plain.format_version(), Version { major: 1, minor: 3 });
        let BlockConfig::Transformer(t) = &mut plain.blocks[3] else { unreachable!("made above") };
        t.window = 0;
        assert_eq!(plain.format_version(), Version { major: 1, minor: 2 });
        plain.encoder.clear();
        let BlockConfig::Transformer(t) = &mut plain.blocks[3] else { unreachable!("made above") };
        t.cross_attention = false;
        assert_eq!(plain.format_version(), Version { major: 1, minor: 1 });
        let BlockConfig::Transformer(t) = &mut plain.blocks[3] else { unreachable!("made above") };
        t.token_shift = false;
        assert_eq!(plain.format_version(), Version { major: 1, minor: 0 });
        let meta = plain.to_meta();
        for key in LATER {
            assert_eq!(meta.get(key), None);
        }
        assert_eq!(ModelConfig::from_meta(&meta).unwrap(), plain);
        let message = refusal(|meta| meta.set("blocks.token_shift", Value::U64s(vec![0; 4])));
        assert!(message.contains("is [0, 0, 0, 0], expected nothing"), "{message}");
    }

    #[test]
    fn columns_of_no_encoder_or_of_other_lengths_are_refused() {
        let mut plain = config();
        plain.encoder.clear();
        let BlockConfig::Transformer(t) = &mut plain.blocks[3] else { unreachable!("made above") };
        t.cross_attention = false;
        let mut meta = plain.to_meta();
        meta.set("encoder.d_ff", Value::U64s(vec![8]));
        let message = ModelConfig::from_meta(&meta).unwrap_err().to_string();
        assert!(message.contains("is [8], expected nothing"), "{message}");
        let message = refusal(|meta| meta.set("encoder.d_ff", Value::U64s(vec![8; 3])));
        assert!(message.contains("3 elements, expected one for each of 2 blocks"), "{message}");
        let message = refusal(|meta| meta.set("encoder.n_heads", Value::U64s(Vec::new())));
        assert!(message.contains("no encoder"), "{message}");
        let message = refusal(|meta| meta.set("encoder.n_heads", Value::U64s(vec![1; 5000])));
        assert!(message.contains("encoder."), "{message}");
    }

    #[test]
    fn unknown_keys_come_from_newer_versions() {
        let message = refusal(|meta| meta.set("blocks.n_experts", Value::U64s(vec![8; 4])));
        assert!(message.contains("newer version"), "{message}");
    }

    #[test]
    fn meaningless_values_are_named() {
        let message = refusal(|meta| meta.set("model.final_norm", text("group")));
        assert!(message.contains(r#""group", expected none or layer or rms or batch"#), "{message}");
        let message = refusal(|meta| meta.set("blocks.hidden", Value::U64s(vec![48; 3])));
        assert!(message.contains("3 elements, expected one for each of 4 blocks"), "{message}");
        let message = refusal(|meta| meta.set("blocks.bias", Value::U64s(vec![1, 1, 2, 0])));
        assert!(message.contains("expected 0 or 1"), "{message}");
        let message = refusal(|meta| meta.set("blocks.bias", Value::U64s(vec![1, 1, 0, 1])));
        assert!(message.contains("is [1, 1, 0, 1], expected [1, 1, 0, 0]"), "{message}");
        let message = refusal(|meta| meta.set("model.norm_eps", Value::F64(0.1)));
        assert!(message.contains("model.norm_eps"), "{message}");
        let message = refusal(|meta| meta.set("model.norm_eps", Value::F64(f64::NAN)));
        assert!(message.contains("positive number"), "{message}");
        let message = refusal(|meta| meta.set("blocks.kind", Value::Strs(vec![String::new(); 2000])));
        assert!(message.contains("2000"), "{message}");
    }
}
