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
        let end = if self.text == 0 { text.len() } else { text.floor_char_boundary(self.text) };
        std::fs::write(&path, &text[..end]).map_err(Error::io("write", &path))?;
        let folder = dir.join("run");
        let mut run = Run::start(&settings, &[path], &folder, Path::new("model.siskin"), &|_| ())?;
        let mut progress = Progress::new(0, run.total, true);
        match fit(&mut run, &mut progress, &mut |_| Ok(String::new())) {
            Ok(_) | Err(Error::Diverged(_)) => {}
            Err(error) => return Err(error),
        }
        drop(run);
        Case::read(&folder)
    }
}

use Trouble::*;

const fn planted(
    name: &'static str,
    trouble: Option<Trouble>,
    flags: &'static str,
    tuning: &'static str,
    held_out: &'static str,
) -> Planted {
    Planted { name, trouble, flags, tuning, held_out, text: 200_000 }
}

/// Small recurrent and Transformer shapes.
pub const RUNS: &[Planted] = &[
    planted(
        "rnn xavier gain 0.2",
        Some(VanishingTime),
        "--model rnn --init xavier-uniform --init-gain 0.2 --lr 1e-3",
        "--hidden 64 --n-layers 1",
        "",
    ),
    planted(
        "rnn gpt std .02",
        Some(VanishingTime),
        "--model rnn --init gpt --init-std 0.02",
        "--hidden 64 --n-layers 1",
        "",
    ),
    planted(
        "lstm forget -6",
        Some(VanishingTime),
        "--model lstm --forget-bias -6",
        "--hidden 64 --n-layers 1",
        "",
    ),
    planted(
        "rnn relu gain2 noclip",
        Some(Exploding),
        "--model rnn --activation relu --init-gain 1.5 --clip-norm 0",
        "--hidden 64 --n-layers 1",
        "",
    ),
    planted(
        "rnn tanh gain3 noclip",
        Some(Exploding),
        "--model rnn --init-gain 3 --clip-norm 0",
        "--hidden 64 --n-layers 1",
        "",
    ),
    planted(
        "rnn tanh gain2 clip",
        Some(Exploding),
        "--model rnn --init-gain 2",
        "--hidden 64 --n-layers 1",
        "",
    ),
    planted(
        "gpt no norm std .5",
        Some(Exploding),
        "--model gpt --norm none --final-norm none --init-std 0.3",
        "--d-model 64 --n-layers 6",
        "",
    ),
    planted(
        "rnn 8 layers gain .3",
        Some(VanishingDepth),
        "--model rnn --init xavier-uniform --init-gain 0.3",
        "--hidden 48 --n-layers 6",
        "",
    ),
    planted(
        "gpt no residual",
        Some(VanishingDepth),
        "--model gpt --residual false --norm none",
        "--d-model 48 --n-layers 6",
        "",
    ),
    planted(
        "gpt no residual norm",
        Some(VanishingDepth),
        "--model gpt --residual false",
        "--d-model 48 --n-layers 6",
        "",
    ),
    planted("lstm 6 layers", Some(VanishingDepth), "--model lstm", "--hidden 48 --n-layers 6", ""),
    planted(
        "gpt relu sgd lr",
        Some(DeadUnits),
        "--model gpt --ffn relu --lr 0.1 --clip-norm 0",
        "--d-model 48 --n-layers 2",
        "",
    ),
    planted(
        "rnn relu lr .1",
        Some(DeadUnits),
        "--model rnn --activation relu --lr 0.1",
        "--hidden 64 --n-layers 1",
        "",
    ),
    planted(
        "rnn std 2",
        Some(Saturation),
        "--model rnn --init gpt --init-std 2",
        "--hidden 64 --n-layers 1",
        "",
    ),
    planted("gru gain 8", Some(Saturation), "--model gru --init-gain 8", "--hidden 64 --n-layers 1", ""),
    planted(
        "gpt std .5",
        Some(AttentionCollapse),
        "--model gpt --init-std 0.5",
        "--d-model 64 --n-layers 2",
        "",
    ),
    planted(
        "llama no qk lr 0.3",
        Some(AttentionCollapse),
        "--model llama --qk-norm false --lr 0.3",
        "--d-model 64 --n-layers 2",
        "",
    ),
    planted("lstm lr 1e-6", Some(Plateau), "--model lstm --lr 1e-6", "--hidden 64 --n-layers 1", ""),
    planted("gpt warmup", Some(Plateau), "--model gpt --warmup 100000", "--d-model 48 --n-layers 2", ""),
    planted("gpt wd 100", Some(Plateau), "--model gpt --weight-decay 100", "--d-model 48 --n-layers 2", ""),
    planted("gru lr 1e-4", Some(RateTooLow), "--model gru --lr 1e-4", "--hidden 64 --n-layers 1", ""),
    planted("gpt lr 1e-4", Some(RateTooLow), "--model gpt --lr 1e-4", "--d-model 48 --n-layers 2", ""),
    planted(
        "gpt lr 1",
        Some(Divergence),
        "--model gpt --lr 1 --clip-norm 0",
        "--d-model 48 --n-layers 2",
        "",
    ),
    planted(
        "lstm sgd 100",
        Some(Divergence),
        "--model lstm --optimizer sgd --lr 100 --clip-norm 0",
        "--hidden 64 --n-layers 1",
        "",
    ),
    planted("lstm maximize", Some(Divergence), "--model lstm --maximize", "--hidden 64 --n-layers 1", ""),
    planted("gru lr .1", Some(RateTooHigh), "--model gru --lr 0.1", "--hidden 64 --n-layers 1", ""),
    planted("lstm lr .1", Some(RateTooHigh), "--model lstm --lr 0.1", "--hidden 64 --n-layers 2", ""),
    planted("gpt lr .05", Some(RateTooHigh), "--model gpt --lr 0.05", "--d-model 48 --n-layers 2", ""),
    Planted {
        text: 6000,
        ..planted(
            "lstm tiny text",
            Some(Overfitting),
            "--model lstm --steps 600",
            "--hidden 96 --n-layers 1",
            "",
        )
    },
    Planted {
        text: 6000,
        ..planted(
            "gpt tiny text",
            Some(Overfitting),
            "--model gpt --steps 600",
            "--d-model 64 --n-layers 2",
            "",
        )
    },
    planted("h rnn", None, "--model rnn", "--hidden 64 --n-layers 1", ""),
    planted("h rnn2", None, "--model rnn --context 64", "--hidden 64 --n-layers 2", ""),
    planted("h rnn relu", None, "--model rnn --activation relu", "--hidden 64 --n-layers 1", ""),
    planted(
        "h rnn residual",
        None,
        "--model rnn --norm layer --residual",
        "--d-model 64 --hidden 64 --n-layers 4",
        "",
    ),
    planted("h gru", None, "--model gru", "--hidden 64 --n-layers 1", ""),
    planted(
        "h gru2 rmsprop",
        None,
        "--model gru --optimizer rmsprop --lr 2e-3",
        "--hidden 48 --n-layers 2",
        "",
    ),
    planted("h lstm", None, "--model lstm", "--hidden 64 --n-layers 1", ""),
    planted(
        "h lstm2 momentum",
        None,
        "--model lstm --optimizer momentum --lr 1",
        "--hidden 64 --n-layers 2",
        "",
    ),
    planted("h lstm muon", None, "--model lstm --optimizer muon --lr 0.02", "--hidden 64 --n-layers 2", ""),
    planted("h gpt", None, "--model gpt", "--d-model 64 --n-layers 2", ""),
    planted("h gpt4", None, "--model gpt", "--d-model 48 --n-layers 4", ""),
    planted(
        "h gpt relu lion",
        None,
        "--model gpt --ffn relu --optimizer lion --lr 5e-4",
        "--d-model 64 --n-layers 2",
        "",
    ),
    planted("h gpt relu2", None, "--model gpt --ffn relu2", "--d-model 64 --n-layers 2", ""),
    planted("h llama", None, "--model llama", "--d-model 64 --n-layers 2", ""),
    planted("h llama4", None, "--model llama", "--d-model 48 --n-layers 4", ""),
    planted(
        "h llama adamw",
        None,
        "--model llama --optimizer adamw --lr 3e-3 --schedule cosine",
        "--d-model 64 --n-layers 3",
        "",
    ),
];
