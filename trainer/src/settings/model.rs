//! From filled settings to the model that they describe.

use siskin_format::ModelConfig;
use siskin_format::config::{
    Activation, BlockConfig, Ffn, Norm, Position, RecurrentConfig, RnnConfig, TransformerConfig,
};

use super::{BlockSettings, Settings, choice};
use crate::error::{Error, Result};

/// Spellings of the block families.
const KINDS: &[&str] = &["rnn", "gru", "lstm", "transformer"];

/// The model that `settings`, [filled](super::presets::fill), describe, for a vocabulary of `vocab_size` tokens.
///
/// # Errors
/// A spelling that is not known, a size that is missing, or a combination that cannot be built.
pub fn model_config(settings: &Settings, vocab_size: usize) -> Result<ModelConfig> {
    let s = settings;
    let kind = match family(s)? {
        "gpt" | "llama" | "seq2seq" => "transformer",
        recurrent => recurrent,
    };
    let blocks = match &s.blocks {
        Some(blocks) => blocks.iter().map(|b| block(s, b)).collect::<Result<Vec<_>>>()?,
        None => vec![
            block(s, &BlockSettings { kind: kind.into(), ..Default::default() })?;
            need(s.n_layers, "n_layers")?
        ],
    };
    let mut config = ModelConfig {
        vocab_size,
        d_model: need(s.d_model, "d_model")?,
        context: need(s.context, "context")?,
        position: position(s)?,
        blocks,
        encoder: Vec::new(),
        final_norm: norm("final_norm", s.final_norm.as_deref())?,
        norm_eps: need(s.norm_eps, "norm_eps")?,
        norm_weight: need(s.norm_weight, "norm_weight")?,
        norm_bias: need(s.norm_bias, "norm_bias")?,
        tied_head: need(s.tied_head, "tied_head")?,
        head_bias: need(s.head_bias, "head_bias")?,
        logit_softcap: need(s.logit_softcap, "logit_softcap")?,
        rope_divisors: Vec::new(),
    };
    if is_seq2seq(s) {
        add_encoder(s, &mut config)?;
    } else if s.n_encoder_layers.is_some() {
        let problem = "is for model seq2seq, leave it out or choose that".into();
        return Err(Error::Setting { key: "n_encoder_layers", problem });
    }
    config.validate()?;
    Ok(config)
}

/// Whether the model reads pairs of source and target.
pub fn is_seq2seq(s: &Settings) -> bool {
    s.model.as_deref() == Some("seq2seq")
}

/// An encoder of the flat settings' blocks, to which every Transformer block of the decoder attends.
fn add_encoder(s: &Settings, config: &mut ModelConfig) -> Result<()> {
    let kind = "transformer".to_string();
    let BlockConfig::Transformer(t) = block(s, &BlockSettings { kind, ..Default::default() })? else {
        unreachable!("a block of this kind")
    };
    let n = s.n_encoder_layers.unwrap_or(need(s.n_layers, "n_layers")?);
    if n > siskin_format::config::MAX_BLOCKS {
        return Err(Error::Setting {
            key: "n_encoder_layers",
            problem: format!("is {n}, expected at most 1024"),
        });
    }
    config.encoder = vec![TransformerConfig { token_shift: false, window: 0, ..t }; n];
    for block in &mut config.blocks {
        if let BlockConfig::Transformer(t) = block {
            t.cross_attention = true;
        }
    }
    Ok(())
}

/// The preset's name.
///
/// # Errors
/// It is not known.
pub(crate) fn family(s: &Settings) -> Result<&str> {
    choice("model", s.model.as_deref().unwrap_or(super::presets::DEFAULT_MODEL), super::MODELS)
}

fn block(s: &Settings, b: &BlockSettings) -> Result<BlockConfig> {
    if b.kind.is_empty() {
        return Err(Error::Setting {
            key: "blocks",
            problem: "a block has no kind, expected rnn, gru, lstm or transformer".into(),
        });
    }
    let residual = need(b.residual.or(s.residual), "residual")?;
    let bias = need(b.bias.or(s.bias), "bias")?;
    let norm = norm("norm", b.norm.as_deref().or(s.norm.as_deref()))?;
    let cell = || -> Result<RecurrentConfig> {
        Ok(RecurrentConfig { hidden: need(b.hidden.or(s.hidden), "hidden")?, norm, residual, bias })
    };
    Ok(match choice("kind", &b.kind, KINDS)? {
        "rnn" => {
            let name = need(b.activation.as_deref().or(s.activation.as_deref()), "activation")?;
            let activation =
                Activation::from_name(choice("activation", name, Activation::NAMES)?).expect("checked");
            BlockConfig::Rnn(RnnConfig { cell: cell()?, activation })
        }
        "gru" => BlockConfig::Gru(cell()?),
        "lstm" => BlockConfig::Lstm(cell()?),
        _ => BlockConfig::Transformer(transformer(s, b, norm, residual, bias)?),
    })
}

fn transformer(
    s: &Settings,
    b: &BlockSettings,
    norm: Norm,
    residual: bool,
    bias: bool,
) -> Result<TransformerConfig> {
    let d_model = need(s.d_model, "d_model")?;
    let n_heads = need(b.n_heads.or(s.n_heads), "n_heads")?;
    let head_dim = match b.head_dim.or(s.head_dim) {
        Some(head_dim) => head_dim,
        None if n_heads > 0 && d_model.is_multiple_of(n_heads) => d_model / n_heads,
        None => {
            let problem =
                format!("{d_model} does not divide by n_heads {n_heads}, set head_dim or change one of them");
            return Err(Error::Setting { key: "d_model", problem });
        }
    };
    let ffn = need(b.ffn.as_deref().or(s.ffn.as_deref()), "ffn")?;
    Ok(TransformerConfig {
        n_heads,
        n_kv_heads: b.n_kv_heads.or(s.n_kv_heads).unwrap_or(n_heads),
        head_dim,
        d_ff: need(b.d_ff.or(s.d_ff), "d_ff")?,
        ffn: Ffn::from_name(choice("ffn", ffn, Ffn::NAMES)?).expect("checked"),
        norm,
        residual,
        qkv_bias: bias,
        out_bias: bias,
        ffn_bias: bias,
        qk_norm: need(b.qk_norm.or(s.qk_norm), "qk_norm")?,
        token_shift: need(b.token_shift.or(s.token_shift), "token_shift")?,
        cross_attention: false,
        window: need(b.window.or(s.window), "window")?,
    })
}

fn position(s: &Settings) -> Result<Position> {
    let name = need(s.position.as_deref(), "position")?;
    Ok(match choice("position", name, super::POSITIONS)? {
        "learned" => Position::Learned,
        "sinusoidal" => Position::Sinusoidal,
        "rope" => Position::Rope { theta: need(s.rope_theta, "rope_theta")? },
        _ => Position::None,
    })
}

fn norm(key: &'static str, name: Option<&str>) -> Result<Norm> {
    let name = need(name, key)?;
    Ok(Norm::from_name(choice(key, name, Norm::NAMES)?).expect("checked"))
}

/// A setting that [`fill`](super::presets::fill) always sets.
fn need<T>(value: Option<T>, key: &'static str) -> Result<T> {
    value.ok_or_else(|| Error::Setting { key, problem: "is missing, set it".into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::presets::{TextFacts, fill};

    fn filled(edit: impl Fn(&mut Settings)) -> Settings {
        let mut s = Settings::default();
        edit(&mut s);
        fill(&s, &TextFacts { threads: 2 }).unwrap()
    }

    #[test]
    fn every_preset_builds() {
        for model in crate::settings::MODELS {
            let s = filled(|s| s.model = Some((*model).into()));
            let config = model_config(&s, 65).unwrap();
            assert!(config.n_layers() > 0, "{model}");
        }
    }

    #[test]
    fn a_width_that_heads_do_not_divide_is_one_line() {
        let s = filled(|s| {
            s.model = Some("gpt".into());
            s.d_model = Some(130);
            s.n_heads = Some(4);
        });
        let message = model_config(&s, 65).unwrap_err().to_string();
        assert_eq!(message, "d_model: 130 does not divide by n_heads 4, set head_dim or change one of them");
    }

    #[test]
    fn a_window_is_of_the_blocks_that_write() {
        let window = |block: &BlockConfig| matches!(block, BlockConfig::Transformer(t) if t.window == 24);
        for model in ["gpt", "llama", "seq2seq"] {
            let s = filled(|s| (s.model, s.window) = (Some(model.into()), Some(24)));
            let config = model_config(&s, 65).unwrap();
            assert!(config.blocks.iter().all(window), "{model}");
            assert!(config.encoder.iter().all(|t| t.window == 0), "{model}");
        }
    }

    #[test]
    fn mixed_stacks_take_what_they_leave_open_from_the_flat_settings() {
        let s = filled(|s| {
            s.model = Some("llama".into());
            s.d_model = Some(64);
            s.hidden = Some(64);
            s.blocks = Some(vec![
                BlockSettings { kind: "lstm".into(), ..Default::default() },
                BlockSettings { kind: "transformer".into(), n_heads: Some(2), ..Default::default() },
            ]);
        });
        let config = model_config(&s, 65).unwrap();
        assert_eq!(config.blocks[0].name(), "lstm");
        assert!(
            matches!(&config.blocks[1], BlockConfig::Transformer(t) if t.n_heads == 2 && t.head_dim == 32)
        );
    }
}
