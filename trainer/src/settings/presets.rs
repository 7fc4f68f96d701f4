//! What a run does when it is told nothing: the defaults of each model family.

use super::Settings;
use super::model::family;
use crate::error::Result;

/// The family when none is named.
pub const DEFAULT_MODEL: &str = "llama";
/// Wall-clock budget when neither minutes nor steps are named.
pub const DEFAULT_MINUTES: f64 = 5.0;

/// What the defaults look at besides the family.
#[derive(Clone, Copy, Debug)]
pub struct TextFacts {
    /// Cores of this machine.
    pub threads: usize,
}

/// `said` with every open setting filled, except `steps` (which a budget in minutes leaves open until it is
/// measured), `out` and what a setting that is switched off would need.
///
/// # Errors
/// The model family is not known.
pub fn fill(said: &Settings, text: &TextFacts) -> Result<Settings> {
    let preset = match family(said)? {
        "gpt" => gpt(),
        "llama" => llama(),
        "seq2seq" => seq2seq(),
        _ => recurrent(),
    };
    let mut s = said.or(&without_overruled(preset, said)).or(&common());
    s.model = Some(family(said)?.to_string());
    if s.minutes.is_none() && s.steps.is_none() {
        s.minutes = Some(DEFAULT_MINUTES);
    }
    let d_model = s.d_model.unwrap_or(1);
    s.d_ff = s.d_ff.or(Some(match s.ffn.as_deref() {
        // A gated part has three matrices instead of two: 8/3 of the width keeps the number of weights.
        Some("gated-silu" | "gated-gelu") => (d_model * 8 / 3).next_multiple_of(32),
        _ => 4 * d_model,
    }));
    s.hidden = s.hidden.or(s.d_model);
    s.threads = s.threads.or(Some(text.threads));
    s.dtype = s.dtype.or_else(|| s.qat.clone()).or(str("q8"));
    Ok(s)
}

/// The preset without what belongs to an optimiser or a schedule that the user replaced.
fn without_overruled(preset: Settings, said: &Settings) -> Settings {
    let mut p = preset;
    if said.optimizer.is_some() && said.optimizer != p.optimizer {
        p = Settings { lr: None, adam_lr: None, weight_decay: None, beta1: None, beta2: None, ..p };
    }
    if said.schedule.is_some() && said.schedule != p.schedule {
        p = Settings { decay_fraction: None, end_factor: None, anneal: None, ..p };
    }
    p
}

fn str(text: &str) -> Option<String> {
    Some(text.to_string())
}

/// GPT-2's form (Radford et al. 2019) at nanoGPT's CPU size, with Muon and token shift.
fn gpt() -> Settings {
    Settings {
        norm: str("layer"),
        final_norm: str("layer"),
        position: str("learned"),
        ffn: str("gelu"),
        bias: Some(true),
        norm_bias: Some(true),
        tied_head: Some(true),
        init: str("gpt"),
        // With AdamW at 4e-3 and so small batches it came to 2.47 where this comes to 1.83 (docs/recipes.md).
        token_shift: Some(true),
        optimizer: str("muon"),
        lr: Some(0.02),
        adam_lr: Some(4e-3),
        weight_decay: Some(0.0),
        clip_norm: Some(1.0),
        decay_fraction: Some(0.8),
        ..transformer()
    }
}

/// Llama's form (Touvron et al. 2023) trained by Muon (Jordan et al. 2024). docs/recipes.md has the runs behind these choices.
fn llama() -> Settings {
    Settings {
        norm: str("rms"),
        final_norm: str("rms"),
        position: str("rope"),
        // Windows are short: angles that turn faster tell their positions apart.
        rope_theta: Some(1000.0),
        // As good as squared ReLU with as many weights.
        ffn: str("gated-silu"),
        bias: Some(false),
        norm_bias: Some(false),
        qk_norm: Some(true),
        // 0.004 nats here, which may be chance; 0.03 in a trial in PyTorch; 2 % of the time.
        token_shift: Some(true),
        logit_softcap: Some(15.0),
        zero_residual: Some(true),
        optimizer: str("muon"),
        // Half of it came to 1.6069 and twice of it to 1.6110, one run each, where it came to 1.6179 (docs/recipes.md).
        lr: Some(0.02),
        adam_lr: Some(4e-3),
        warmup: Some(50),
        ..transformer()
    }
}

/// The encoder-decoder of Vaswani et al. 2017, pre-norm, with learned positions and Llama's norms, trained by Muon. The context is the
/// longest side that is accepted; a run takes that of its longest pair.
fn seq2seq() -> Settings {
    Settings {
        n_layers: Some(2),
        position: str("learned"),
        ffn: str("gelu"),
        tied_head: Some(true),
        batch_size: str("32"),
        sample_prompt: str(""),
        ..llama()
    }
}

fn transformer() -> Settings {
    Settings {
        n_layers: Some(4),
        d_model: Some(128),
        n_heads: Some(4),
        schedule: str("wsd"),
        context: Some(256),
        // 512 tokens a step: with 1,024 the same text teaches 0.03 nats less.
        batch_size: str("2"),
        ..Default::default()
    }
}

/// char-rnn's shape (Karpathy 2015), with the state carried from window to window.
fn recurrent() -> Settings {
    Settings {
        n_layers: Some(2),
        d_model: Some(128),
        hidden: Some(256),
        context: Some(64),
        batch_size: str("32"),
        position: str("none"),
        norm: str("none"),
        final_norm: str("none"),
        bias: Some(true),
        residual: Some(false),
        head_bias: Some(true),
        schedule: str("wsd"),
        // An embedding as small as a Transformer's would leave a cell without norms almost without input.
        init_std: Some(0.2),
        optimizer: str("adam"),
        lr: Some(6e-3),
        clip_norm: Some(1.0),
        ..Default::default()
    }
}

/// What all families share.
fn common() -> Settings {
    Settings {
        n_heads: Some(4),
        ffn: str("gelu"),
        activation: str("tanh"),
        norm: str("none"),
        final_norm: str("none"),
        norm_eps: Some(1e-5),
        norm_weight: Some(true),
        norm_bias: Some(true),
        position: str("none"),
        rope_theta: Some(10_000.0),
        bias: Some(true),
        residual: Some(true),
        qk_norm: Some(false),
        token_shift: Some(false),
        window: Some(0),
        tied_head: Some(false),
        head_bias: Some(false),
        logit_softcap: Some(0.0),
        dropout: Some(0.0),
        init: str("auto"),
        tokenizer: str("auto"),
        val_fraction: Some(0.1),
        maximize: Some(false),
        accumulate: Some(1),
        clip_norm: Some(0.0),
        clip_value: Some(0.0),
        ema: Some(0.0),
        swa: Some(0.0),
        warmup: Some(100),
        seed: Some(1),
        restarts: Some(1),
        restart_share: Some(0.1),
        eval_every: Some(250),
        eval_tokens: Some(16_384),
        sample_every: Some(500),
        sample_prompt: str("\n"),
        spike: Some(8.0),
        keep_best: Some(true),
        // Later than the middle, while the rate still moves weights: docs/few-bits.md.
        qat_start: Some(0.75),
        ..Default::default()
    }
}
