//! Small runs with a fault that a user could have made, and healthy ones beside them, to hold the doctor to.

use std::path::Path;

use clap::Parser;

use super::Case;
use super::finding::Trouble;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::train::fit::fit;
use crate::train::run::Run;

/// A small run, and what is wrong with it.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    /// What is special about it.
    pub name: &'static str,
    /// The trouble that the fault brings; `None` for a healthy run.
    pub trouble: Option<Trouble>,
    /// The fault, or all of a healthy run, as flags.
    pub flags: &'static str,
    /// Shape and seed while the thresholds were chosen, as flags.
    pub tuning: &'static str,
    /// Shape and seed of the table, as flags.
    pub held_out: &'static str,
    /// Bytes of the text that it is trained on; all with 0.
    pub text: usize,
}

/// What all of them say, as flags.
pub const COMMON: &str = "--context 32 --batch-size 8 --steps 300 --warmup 20 --eval-every 50 --eval-tokens 4096 \
                          --sample-every 0 --threads 1 --tokenizer char";

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

/// The settings that `flags` say; of a flag that is said twice, the last counts.
///
/// # Errors
/// [`Error::Settings`]: what clap says of them, as one line.
pub fn settings_of(flags: &str) -> Result<Settings> {
    let command = <Flags as clap::CommandFactory>::command().args_override_self(true);
    let words = std::iter::once("train").chain(flags.split_whitespace());
    let matches = command.try_get_matches_from(words);
    let flags = matches.and_then(|m| <Flags as clap::FromArgMatches>::from_arg_matches(&m));
    flags.map(|f| f.settings).map_err(|e| Error::Settings(e.to_string().replace('\n', " ")))
}

impl Planted {
    /// Every flag of the run.
    pub fn all_flags(&self, held_out: bool) -> String {
        let shape = if held_out { self.held_out } else { self.tuning };
        format!("{COMMON} {shape} {}", self.flags)
    }

    /// Trains it on the beginning of `text`, in the folder `dir`, and takes it to the doctor.
    ///
    /// # Errors
    /// A folder that cannot be written, or settings that cannot work. A run that diverges to its end is none.
    pub fn train(&self, text: &str, held_out: bool, dir: &Path) -> Result<Case> {
        let settings = settings_of(&self.all_flags(held_out))?;
        let path = dir.join("text.txt");
        let end = if self.text == 0 {
            text.len()
        } else {
            (0..=self.text).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
        };
        std::fs::write(&path, &text[..end]).map_err(Error::io("write", &path))?;
        let folder = dir.join("run");
        let mut run = Run::start(&settings, &[path], &folder, Path::new("model.siskin"), &|_| ())?;
        let mut progress = Progress::muted(0, run.total);
        match fit(&mut run, &mut progress, &mut |_| Ok(String::new())) {
            Ok(_) | Err(Error::Diverged(_)) => {}
            Err(error) => return Err(error),
        }
        drop(run);
        Case::read(&folder)
    }
}

use Trouble::*;

/// Bytes of the text that most runs are trained on.
const TEXT: usize = 200_000;
/// Bytes of a text that a small model soon knows by heart.
const TINY_TEXT: usize = 6_000;

const fn run(
    trouble: Option<Trouble>,
    name: &'static str,
    flags: &'static str,
    tuning: &'static str,
    held_out: &'static str,
) -> Planted {
    Planted { name, trouble, flags, tuning, held_out, text: TEXT }
}

const fn fault(
    trouble: Trouble,
    name: &'static str,
    flags: &'static str,
    tuning: &'static str,
    held_out: &'static str,
) -> Planted {
    run(Some(trouble), name, flags, tuning, held_out)
}

const fn healthy(
    name: &'static str,
    flags: &'static str,
    tuning: &'static str,
    held_out: &'static str,
) -> Planted {
    run(None, name, flags, tuning, held_out)
}

const fn on_tiny_text(planted: Planted) -> Planted {
    Planted { text: TINY_TEXT, ..planted }
}

/// Every run, faults first. Those of Transformers say what their presets said when the thresholds were chosen.
#[rustfmt::skip]
pub const RUNS: &[Planted] = &[
    fault(Divergence, "GPT, rate 250 times the usual", "--model gpt --token-shift false --optimizer adamw --lr 4e-3 --weight-decay 0.1 --lr 1 --clip-norm 0",
        "--d-model 48 --n-layers 2", "--d-model 64 --n-layers 3 --seed 101"),
    fault(Divergence, "LSTM, SGD at a huge rate", "--model lstm --optimizer sgd --lr 100 --clip-norm 0",
        "--hidden 64 --n-layers 1", "--hidden 80 --n-layers 1 --seed 102"),
    fault(Divergence, "LSTM, told to ascend", "--model lstm --maximize",
        "--hidden 64 --n-layers 1", "--hidden 48 --n-layers 2 --seed 103"),
    fault(Divergence, "ReLU RNN whose states overflow", "--model rnn --activation relu --clip-norm 0",
        "--hidden 64 --n-layers 1 --context 64 --init-gain 6", "--hidden 48 --n-layers 1 --context 80 --init-gain 5 --seed 104"),
    fault(Exploding, "RNN, recurrent gain 3, no clipping", "--model rnn --init-gain 3 --clip-norm 0",
        "--hidden 64 --n-layers 1", "--hidden 80 --n-layers 1 --context 40 --seed 105"),
    fault(Exploding, "ReLU RNN, recurrent gain 1.5, no clipping", "--model rnn --activation relu --clip-norm 0 --init-gain 1.5",
        "--hidden 64 --n-layers 1", "--hidden 80 --n-layers 1 --context 40 --seed 106"),
    fault(Exploding, "GRU, gain 8, no clipping", "--model gru --init-gain 8 --clip-norm 0",
        "--hidden 64 --n-layers 1", "--hidden 48 --n-layers 1 --seed 107"),
    fault(Exploding, "GPT without norms, weights 15 times the usual", "--model gpt --token-shift false --optimizer adamw --lr 4e-3 --weight-decay 0.1 --norm none --final-norm none --init-std 0.3",
        "--d-model 64 --n-layers 5", "--d-model 48 --n-layers 7 --seed 108"),
    fault(AttentionCollapse, "GPT, weights 25 times the usual", "--model gpt --token-shift false --optimizer adamw --lr 4e-3 --weight-decay 0.1 --init-std 0.5",
        "--d-model 64 --n-layers 2", "--d-model 48 --n-layers 3 --seed 109"),
    fault(AttentionCollapse, "GPT, rate 12 times the usual", "--model gpt --token-shift false --optimizer adamw --lr 4e-3 --weight-decay 0.1 --lr 0.05",
        "--d-model 48 --n-layers 2", "--d-model 64 --n-layers 2 --seed 110"),
    fault(AttentionCollapse, "Llama without query and key norm, rate 15 times the usual", "--model llama --token-shift false --qk-norm false --lr 0.3",
        "--d-model 64 --n-layers 2", "--d-model 48 --n-layers 3 --seed 111"),
    fault(AttentionCollapse, "GPT, weight decay 100", "--model gpt --token-shift false --optimizer adamw --lr 4e-3 --weight-decay 0.1 --weight-decay 100",
        "--d-model 48 --n-layers 2", "--d-model 64 --n-layers 2 --seed 112"),
    fault(DeadUnits, "ReLU RNN, rate 16 times the usual", "--model rnn --activation relu --lr 0.1",
        "--hidden 64 --n-layers 1", "--hidden 96 --n-layers 1 --seed 113"),
    fault(DeadUnits, "ReLU RNN, rate 33 times the usual", "--model rnn --activation relu --lr 0.2",
        "--hidden 48 --n-layers 1", "--hidden 64 --n-layers 1 --seed 114"),
    fault(RateTooHigh, "GPT with query and key norm, rate 50 times the usual", "--model gpt --token-shift false --optimizer adamw --lr 4e-3 --weight-decay 0.1 --ffn relu --qk-norm --lr 0.2",
        "--d-model 48 --n-layers 2", "--d-model 64 --n-layers 2 --seed 133"),
    fault(RateTooHigh, "GRU, rate 16 times the usual", "--model gru --lr 0.1",
        "--hidden 64 --n-layers 1", "--hidden 80 --n-layers 1 --seed 115"),
    fault(RateTooHigh, "LSTM, rate 16 times the usual", "--model lstm --lr 0.1",
        "--hidden 64 --n-layers 2", "--hidden 48 --n-layers 1 --seed 116"),
    fault(Saturation, "RNN, weights of standard deviation 2", "--model rnn --init gpt --init-std 2",
        "--hidden 64 --n-layers 1", "--hidden 96 --n-layers 1 --seed 117"),
    fault(Saturation, "RNN, embedding 20 times the usual", "--model rnn --init-std 4",
        "--hidden 64 --n-layers 1", "--hidden 80 --n-layers 1 --seed 118"),
    fault(VanishingDepth, "GPT without residuals and norms", "--model gpt --token-shift false --optimizer adamw --lr 4e-3 --weight-decay 0.1 --residual false --norm none",
        "--d-model 48 --n-layers 5", "--d-model 40 --n-layers 7 --seed 119"),
    fault(VanishingDepth, "GPT without residuals", "--model gpt --token-shift false --optimizer adamw --lr 4e-3 --weight-decay 0.1 --residual false",
        "--d-model 48 --n-layers 5", "--d-model 40 --n-layers 6 --seed 120"),
    fault(VanishingDepth, "LSTM, many layers without residuals", "--model lstm",
        "--hidden 48 --n-layers 6", "--hidden 40 --n-layers 7 --seed 121"),
    fault(VanishingTime, "RNN, recurrent gain 0.1", "--model rnn --init xavier-uniform --init-gain 0.1 --lr 1e-4",
        "--hidden 64 --n-layers 1", "--hidden 80 --n-layers 1 --context 40 --seed 122"),
    fault(VanishingTime, "RNN that begins with GPT's weights", "--model rnn --init gpt --init-std 0.02 --lr 2e-3",
        "--hidden 64 --n-layers 1", "--hidden 96 --n-layers 1 --seed 123"),
    fault(VanishingTime, "RNN, AdamW, weight decay 50", "--model rnn --optimizer adamw --lr 6e-3 --weight-decay 50",
        "--hidden 64 --n-layers 1", "--hidden 80 --n-layers 1 --context 40 --seed 124"),
    fault(Plateau, "LSTM, rate 6,000 times below the usual", "--model lstm --lr 1e-6",
        "--hidden 64 --n-layers 1", "--hidden 48 --n-layers 2 --seed 125"),
    fault(Plateau, "GPT, a warm-up longer than the run", "--model gpt --token-shift false --optimizer adamw --lr 4e-3 --weight-decay 0.1 --warmup 100000",
        "--d-model 48 --n-layers 2", "--d-model 64 --n-layers 2 --seed 126"),
    fault(Plateau, "GPT, weight decay 245", "--model gpt --token-shift false --optimizer adamw --lr 4e-3 --weight-decay 0.1 --weight-decay 245 --schedule constant",
        "--d-model 48 --n-layers 2", "--d-model 64 --n-layers 2 --seed 127"),
    fault(RateTooLow, "GRU, rate 24 times below the usual", "--model gru --lr 2.5e-4",
        "--hidden 64 --n-layers 1", "--hidden 80 --n-layers 1 --seed 128"),
    fault(RateTooLow, "LSTM, momentum at a low rate", "--model lstm --optimizer momentum --lr 0.03",
        "--hidden 64 --n-layers 1", "--hidden 80 --n-layers 1 --seed 129"),
    fault(RateTooLow, "RNN, rate 30 times below the usual", "--model rnn --lr 2e-4",
        "--hidden 64 --n-layers 1", "--hidden 48 --n-layers 2 --seed 129"),
    on_tiny_text(fault(Overfitting, "LSTM, tiny text", "--model lstm --steps 500",
        "--hidden 96 --n-layers 1", "--hidden 80 --n-layers 2 --seed 130")),
    on_tiny_text(fault(Overfitting, "GRU, tiny text", "--model gru --steps 500",
        "--hidden 96 --n-layers 1", "--hidden 112 --n-layers 1 --seed 131")),
    on_tiny_text(fault(Overfitting, "Llama, tiny text", "--model llama --token-shift false --steps 500",
        "--d-model 64 --n-layers 2", "--d-model 80 --n-layers 2 --seed 132")),
    healthy("RNN", "--model rnn", "--hidden 64 --n-layers 1", "--hidden 80 --n-layers 1 --seed 201"),
    healthy("RNN, longer windows", "--model rnn --context 64", "--hidden 64 --n-layers 2", "--hidden 48 --n-layers 2 --seed 202"),
    healthy("RNN with ReLU", "--model rnn --activation relu", "--hidden 64 --n-layers 1", "--hidden 48 --n-layers 2 --seed 203"),
    healthy("RNN, residuals and norms", "--model rnn --norm layer --residual",
        "--d-model 64 --hidden 64 --n-layers 4", "--d-model 48 --hidden 48 --n-layers 3 --seed 204"),
    healthy("GRU", "--model gru", "--hidden 64 --n-layers 1", "--hidden 80 --n-layers 1 --seed 205"),
    healthy("GRU, RMSProp", "--model gru --optimizer rmsprop --lr 2e-3", "--hidden 48 --n-layers 2", "--hidden 64 --n-layers 1 --seed 206"),
    healthy("GRU, subwords", "--model gru --tokenizer bpe --vocab-size 400", "--hidden 64 --n-layers 1", "--hidden 80 --n-layers 1 --seed 207"),
    healthy("LSTM", "--model lstm", "--hidden 64 --n-layers 1", "--hidden 96 --n-layers 1 --seed 208"),
    healthy("LSTM, momentum", "--model lstm --optimizer momentum --lr 1", "--hidden 64 --n-layers 2", "--hidden 80 --n-layers 1 --seed 209"),
    healthy("LSTM, Muon", "--model lstm --optimizer muon --lr 0.02", "--hidden 64 --n-layers 2", "--hidden 48 --n-layers 2 --seed 210"),
    healthy("GPT", "--model gpt --token-shift false --optimizer adamw --lr 4e-3 --weight-decay 0.1", "--d-model 64 --n-layers 2", "--d-model 80 --n-layers 2 --seed 211"),
    healthy("GPT, more layers", "--model gpt --token-shift false --optimizer adamw --lr 4e-3 --weight-decay 0.1", "--d-model 48 --n-layers 4", "--d-model 48 --n-layers 5 --seed 212"),
    healthy("GPT, ReLU, Lion", "--model gpt --token-shift false --ffn relu --optimizer lion --lr 5e-4", "--d-model 64 --n-layers 2", "--d-model 48 --n-layers 3 --seed 213"),
    healthy("GPT, ReLU²", "--model gpt --token-shift false --optimizer adamw --lr 4e-3 --weight-decay 0.1 --ffn relu2", "--d-model 64 --n-layers 2", "--d-model 48 --n-layers 3 --seed 214"),
    healthy("Llama", "--model llama --token-shift false", "--d-model 64 --n-layers 2", "--d-model 80 --n-layers 2 --seed 215"),
    healthy("Llama, more layers", "--model llama --token-shift false", "--d-model 48 --n-layers 4", "--d-model 48 --n-layers 5 --seed 216"),
    healthy("Llama, AdamW, cosine", "--model llama --token-shift false --optimizer adamw --lr 3e-3 --schedule cosine",
        "--d-model 64 --n-layers 3", "--d-model 48 --n-layers 2 --seed 217"),
];
