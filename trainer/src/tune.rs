//! Trains the weights of a finished model for the types that its file will have, with the float model as the teacher.
//!
//! Every update rounds weights and activations as the file and the runtime will ([`crate::train::quantized`]) and descends on the divergence of
//! the answers from those of the float model ([`crate::ops::distillation`]): quantization-aware training by distillation (Polino, Pascanu &
//! Alistarh 2018; Liu et al. 2023, LLM-QAT), with learnt step sizes ([`crate::train::step_sizes`]). It takes a text of the kind that the model is
//! for, not the one that the model learnt from, since it is held to what it said before and not to the text.

use siskin_format::{DType, File, ModelConfig};

use crate::data::Tokens;
use crate::error::{Error, Result};
use crate::optim::clip::ClipConfig;
use crate::optim::{OptimConfig, OptimName, ScheduleConfig, ScheduleName};
use crate::params::ParamLayout;
use crate::settings::descent::DescentConfig;
use crate::train::feed::BatchSize;
use crate::train::quantized::QatConfig;
use crate::train::step_sizes::Grid;
use crate::train::trainer::{Trainer, TrainerConfig};

/// Tokens of an update.
const UPDATE_TOKENS: usize = 2048;
/// Longest window.
const LONGEST: usize = 256;
/// Share of the text that is held out, and most tokens of that.
const HELD_OUT: f64 = 0.1;
const MOST_HELD_OUT: usize = 1 << 14;
/// Adam's first rate, as a share of the weights' root mean square: some thousand such steps lie between two codes of 4 bits.
const RATE: f64 = 4e-4;
/// Adam's first rate for the logarithms of the scales.
const SCALE_RATE: f32 = 1e-3;
/// Seed of the order of the windows.
const SEED: u64 = 1;

/// How a model is tuned.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Name of the text.
    pub text: String,
    /// Its tokens, of which [`Tuning::held_out`] are not trained on.
    pub tokens: Vec<u32>,
    /// Updates.
    pub updates: u64,
}

/// Weights, in the order of the schema, and the grid of each tensor that they are to be rounded to.
#[derive(Clone, Debug)]
pub struct Tuned {
    /// The weights, exact.
    pub weights: Vec<f32>,
    /// A grid for each tensor.
    pub grids: Vec<Grid>,
}

impl Tuning {
    fn parts(&self) -> (&[u32], &[u32]) {
        let held_out = ((self.tokens.len() as f64 * HELD_OUT) as usize).min(MOST_HELD_OUT);
        self.tokens.split_at(self.tokens.len() - held_out)
    }

    /// The text without its end.
    pub fn trained_on(&self) -> &[u32] {
        self.parts().0
    }

    /// The end of the text, which is held out.
    pub fn held_out(&self) -> &[u32] {
        self.parts().1
    }
}

/// Tunes `weights`, in the order of the schema, for a file that stores them as `rounded` does. `step` is told the updates so far.
///
/// # Errors
/// A model with an encoder or with batch norms, a text that is too short, or too little memory: some ten times that of the weights.
pub fn tune(
    config: &ModelConfig,
    weights: &[f32],
    rounded: &File,
    tuning: &Tuning,
    threads: usize,
    step: &mut dyn FnMut(u64),
) -> Result<Tuned> {
    check(config, tuning)?;
    let train = tuning.trained_on();
    let seq_len = config.context.min(LONGEST).min(train.len() - 1);
    let config = TrainerConfig {
        model: config.clone(),
        descent: descent(config, weights, tuning.updates),
        batch_size: BatchSize::Windows((UPDATE_TOKENS / seq_len).max(1)),
        seq_len,
        dropout: 0.0,
        qat: Some(QatConfig { dtype: DType::Q4, start: 0.0 }),
        shards: None,
        length_warmup: 0.0,
        recompute: false,
        seed: SEED,
        threads,
    };
    let mut trainer = Trainer::new(config, Tokens::from_vec(train.to_vec()), Tokens::from_vec(Vec::new()))?;
    trainer.begin_with(weights)?;
    trainer.learn_from_present()?;
    let grids = rounded.tensors().iter().map(|info| Grid::of(&rounded.view(info)));
    trainer.learn_scales(grids.collect(), SCALE_RATE)?;
    for at in 0..tuning.updates {
        step(at);
        trainer.step(tuning.updates)?;
    }
    let grids = trainer.grids().unwrap_or_default().to_vec();
    Ok(Tuned { weights: trainer.weights(), grids })
}

/// Whether this model can be tuned by this text: asked before anything is read or written.
///
/// # Errors
/// As [`tune`], but for memory.
pub fn check(config: &ModelConfig, tuning: &Tuning) -> Result<()> {
    let refused = |problem| Err(Error::Setting { key: "tune", problem });
    if config.has_encoder() {
        return refused("is for models of one text, not of pairs; leave it out".into());
    }
    if !ParamLayout::new(config).buffers().is_empty() {
        return refused("is not for models with batch norms; leave it out".into());
    }
    let (train, val) = tuning.parts();
    if val.len() < 2 || train.len() < 2 {
        let (n, text) = (tuning.tokens.len(), &tuning.text);
        return refused(format!("{text} has {n} tokens, expected at least 20 and better a million"));
    }
    Ok(())
}

/// Adam, whose rate fits the size of the weights and falls to nothing, so that codes come to rest.
fn descent(config: &ModelConfig, weights: &[f32], updates: u64) -> DescentConfig {
    let layout = ParamLayout::new(config);
    let matrices = layout.tensors().filter(|(spec, _)| !spec.is_vector());
    let (sum, n) = matrices.fold((0.0, 0), |(sum, n), (_, range)| {
        let squares: f64 = weights[range.clone()].iter().map(|&w| f64::from(w) * f64::from(w)).sum();
        (sum + squares, n + range.len())
    });
    let rate = RATE * (sum / n.max(1) as f64).sqrt();
    DescentConfig {
        optim: OptimConfig { lr: Some((rate as f32).max(1e-7)), ..OptimConfig::new(OptimName::Adam) },
        schedule: ScheduleConfig {
            name: ScheduleName::Cosine,
            warmup: (updates / 20).min(100),
            ..Default::default()
        },
        clip: ClipConfig { norm: Some(1.0), value: None },
        accumulate: 1,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::Trained;
    use crate::model::tests::{filled, gru_config, lstm_config, tiny_gpt, tiny_seq2seq, tokens};
    use crate::tokenizer::placeholder;
    use crate::verify::Measured;
    use siskin_format::schema::schema;
    use siskin_format::{Contents, Receipt, Writer};
    use std::io::Cursor;

    fn weights_of(config: &ModelConfig) -> Vec<f32> {
        // Larger than those of an initialisation, so that rounding moves the answers.
        filled(config, 3).cast::<f32>().values.iter().map(|w| 2.0 * w).collect()
    }

    fn file(config: &ModelConfig, weights: &[f32], dtype: DType) -> Vec<u8> {
        let vocab = placeholder(config.vocab_size).unwrap();
        Trained { config, vocab: &vocab, weights }.to_bytes(dtype).unwrap()
    }

    /// The file of tuned weights.
    fn tuned_file(config: &ModelConfig, tuned: &Tuned) -> Vec<u8> {
        let (vocab, receipt) = (placeholder(config.vocab_size).unwrap(), Receipt::default());
        let contents = Contents { config, vocab: &vocab, receipt: &receipt };
        let mut writer =
            Writer::new(Cursor::new(Vec::new()), "memory", &contents, |spec| spec.dtype_for(DType::Q4))
                .unwrap();
        let mut at = 0;
        for (spec, grid) in schema(config).iter().zip(&tuned.grids) {
            let weights = &tuned.weights[at..at + spec.len()];
            match spec.is_vector() {
                true => writer.put(&spec.name, weights).unwrap(),
                false => writer.put_packed(&spec.name, &grid.pack(spec, weights).unwrap()).unwrap(),
            }
            at += spec.len();
        }
        writer.finish().unwrap().into_inner()
    }

    fn log_softmax(z: &[f32]) -> Vec<f64> {
        let sum: f64 = z.iter().map(|&z| f64::from(z).exp()).sum();
        z.iter().map(|&z| f64::from(z) - sum.ln()).collect()
    }

    #[test]
    fn the_runtime_of_a_tuned_file_answers_nearer_to_the_float_model() {
        for config in [tiny_gpt(), lstm_config()] {
            let weights = weights_of(&config);
            let tuning =
                Tuning { text: "text".into(), tokens: tokens(20_000, config.vocab_size, 7), updates: 150 };
            let rounded = file(&config, &weights, DType::Q4);
            let run = |threads: usize| {
                let mut steps = 0;
                let start = File::copy_of(&rounded).unwrap();
                let tuned = tune(&config, &weights, &start, &tuning, threads, &mut |_| steps += 1).unwrap();
                assert_eq!(steps, 150);
                tuned_file(&config, &tuned)
            };
            let tuned = run(2);
            assert!(tuned == run(1), "the number of threads decides nothing");
            let log_probs = |file: Vec<u8>| -> Vec<Vec<f64>> {
                let model = Measured::from_bytes(file).unwrap();
                let windows = tuning.held_out()[..300].chunks_exact(config.context);
                let rows = windows.flat_map(|ids| model.logits(&[], ids).unwrap()).collect::<Vec<f32>>();
                rows.chunks_exact(config.vocab_size).map(log_softmax).collect()
            };
            let exact = log_probs(file(&config, &weights, DType::F32));
            let divergence = |file: Vec<u8>| -> f64 {
                let of_row = |(p, q): (&Vec<f64>, &Vec<f64>)| -> f64 {
                    p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum()
                };
                exact.iter().zip(&log_probs(file)).map(of_row).sum()
            };
            let (plain, better) = (divergence(rounded), divergence(tuned));
            assert!(better < 0.6 * plain, "{better} after {plain}");
        }
    }

    #[test]
    fn what_cannot_be_tuned_is_refused() {
        let refused = |config: &ModelConfig, n: usize| {
            let tuning = Tuning { text: "text".into(), tokens: tokens(n, config.vocab_size, 7), updates: 3 };
            check(config, &tuning).unwrap_err().to_string()
        };
        assert!(refused(&tiny_gpt(), 9).contains("text has 9 tokens, expected at least 20"));
        assert!(refused(&gru_config(), 600).contains("batch norms"));
        assert!(refused(&tiny_seq2seq(false), 600).contains("not of pairs"));
    }
}
