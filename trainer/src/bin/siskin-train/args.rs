//! The command line, as clap reads it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use siskin_trainer::settings::{DTYPES, Settings, TOKENIZERS};

/// Trains small text generators by gradient descent and exports quantized .siskin files.
#[derive(Parser)]
#[command(
    name = "siskin-train",
    version,
    max_term_width = 110,
    after_help = "\
Start with:\n  siskin-train train my.txt --minutes 2\n\
Every setting of `train` can stand in a TOML file too (--config), with underscores for dashes.\n\
Exit codes: 0 done, 1 failed (one line on stderr), 2 wrong usage."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Train a model on texts, export it, measure it and let it speak
    Train(Box<TrainArgs>),
    /// Go on with a run from its newest valid checkpoint
    Resume(ResumeArgs),
    /// Measure the loss of a run on a text
    Eval(EvalArgs),
    /// Let a run's model speak
    Sample(SampleArgs),
    /// Write a run's model as a .siskin file and measure it there
    Export(ExportArgs),
    /// Write an untrained model of any shape, to measure speed and memory before training
    Init(Box<InitArgs>),
    /// Compare every gradient of a model with finite differences, in f64
    Gradcheck(Box<GradcheckArgs>),
    /// Measure the speed and memory of training steps
    Bench(Box<BenchArgs>),
    /// Write a page that shows a run: losses, gradients, samples, what was exported
    Report(ReportArgs),
    /// Draw what a model does with a text: surprise at each token, attention maps, states of recurrent cells
    Inspect(InspectArgs),
    /// Draw the loss on a plane through weight space: around a trained model, or between several
    Landscape(LandscapeArgs),
    /// Average the weights of several runs, export the mean and measure it beside them
    Average(AverageArgs),
    /// Train a tokenizer on texts and show what it does to them
    Tokenizer(TokenizerArgs),
}

/// `train`.
#[derive(Args)]
pub struct TrainArgs {
    /// Texts, UTF-8, of any size; several are one text, or with --mix a mixture by weight
    #[arg(required = true)]
    pub texts: Vec<PathBuf>,
    /// Settings file (TOML); flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Run folder (default runs/NAME of the text)
    #[arg(long, value_name = "RUN")]
    pub out: Option<PathBuf>,
    /// Exported model (default NAME.siskin, in the current folder)
    #[arg(long, short = 'o', value_name = "FILE")]
    pub export: Option<PathBuf>,
    /// Print only the last lines
    #[arg(long)]
    pub quiet: bool,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
}

/// `resume`.
#[derive(Args)]
pub struct ResumeArgs {
    /// Run folder
    pub run: PathBuf,
    /// Cores to use; does not change the result
    #[arg(long)]
    pub threads: Option<usize>,
    /// Exported model (default: what the run was started with)
    #[arg(long, short = 'o', value_name = "FILE")]
    pub export: Option<PathBuf>,
    /// Print only the last lines
    #[arg(long)]
    pub quiet: bool,
}

/// `eval`.
#[derive(Args)]
pub struct EvalArgs {
    /// Run folder
    pub run: PathBuf,
    /// Text to measure on (default: the run's own validation part)
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Tokens to measure at most, from the beginning; 0 is all
    #[arg(long, value_name = "N", default_value_t = siskin_trainer::train::trainer::FINAL_TOKENS)]
    pub tokens: u64,
    /// Cores to use
    #[arg(long)]
    pub threads: Option<usize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `sample`.
#[derive(Args)]
pub struct SampleArgs {
    /// Run folder
    pub run: PathBuf,
    /// What the sample begins with
    #[arg(long, short)]
    pub prompt: Option<String>,
    /// Tokens to generate
    #[arg(short, default_value_t = 200)]
    pub n: usize,
    /// Temperature; 0 is greedy
    #[arg(long, default_value_t = 0.8)]
    pub temp: f32,
    /// Seed
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// `export`.
#[derive(Args)]
pub struct ExportArgs {
    /// Run folder
    pub run: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "MODEL.siskin")]
    pub output: PathBuf,
    /// Weights of the file
    #[arg(long, default_value = "q8", value_parser = clap::builder::PossibleValuesParser::new(DTYPES))]
    pub dtype: String,
    /// Cores to use
    #[arg(long)]
    pub threads: Option<usize>,
}

/// `init`.
#[derive(Args)]
pub struct InitArgs {
    /// The file to write
    #[arg(short, long, value_name = "MODEL.siskin")]
    pub output: PathBuf,
    /// Settings file (TOML); flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The settings; vocab-size is the model's (default 256, bytes).
    #[command(flatten)]
    pub settings: Settings,
}

/// `gradcheck`.
#[derive(Args)]
pub struct GradcheckArgs {
    /// Settings file (TOML); flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Elements to check in each tensor, drawn by the seed; 0 is all
    #[arg(long, default_value_t = 20)]
    pub samples: usize,
    /// Largest relative error that passes
    #[arg(long, default_value_t = 1e-6)]
    pub tolerance: f64,
    /// Plant a fault: scale this tensor's gradient by 1.01, to see the check fail
    #[arg(long, value_name = "TENSOR")]
    pub fault: Option<String>,
    /// The settings; sizes default to small ones.
    #[command(flatten)]
    pub settings: Settings,
}

/// `bench`.
#[derive(Args)]
pub struct BenchArgs {
    /// Settings file (TOML); flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Least seconds to measure
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Least steps to measure
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub least_steps: usize,
    /// Measure one thread, too, in turn with all
    #[arg(long)]
    pub compare_threads: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The settings; the default is nanoGPT's CPU setting.
    #[command(flatten)]
    pub settings: Settings,
}

/// `report`.
#[derive(Args)]
pub struct ReportArgs {
    /// Run folder
    pub run: PathBuf,
    /// The page to write (default: report.html in the run folder)
    #[arg(short, long, value_name = "FILE.html")]
    pub output: Option<PathBuf>,
}

/// `inspect`.
#[derive(Args)]
#[command(after_help = "\
Reads the newest checkpoint and runs the text through the weights that an export takes.\n\
A Transformer block gives one map for each head: a row for each token that reads, a column for each token that is read.\n\
A recurrent block gives its state over the text, the units that vary most first; --gates adds gates and cell states.\n\
Blocks, heads and units are counted from 0, as in the names of tensors.\n\n\
  siskin-train inspect runs/my --text \"To be, or not to be\"\n  \
  siskin-train inspect runs/my --text-file poem.txt --layer 1 --head 3 -o head.svg\n  \
  siskin-train inspect runs/my --text \"Once\" --json | jq .probability")]
pub struct InspectArgs {
    /// Run folder
    pub run: PathBuf,
    /// The text to run through the model; what does not fit into its context is left out
    #[arg(long, required_unless_present = "text_file", allow_hyphen_values = true)]
    pub text: Option<String>,
    /// Read the text from a file instead, UTF-8
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    pub text_file: Option<PathBuf>,
    /// What to write: a page (.html) or one picture of all (.svg) (default: inspect.html in the run folder)
    #[arg(short, long, value_name = "FILE.html|.svg")]
    pub output: Option<PathBuf>,
    /// Only this block
    #[arg(long)]
    pub layer: Option<usize>,
    /// Head to show large (default: the one that looks most sharply)
    #[arg(long)]
    pub head: Option<usize>,
    /// Most units of a recurrent block
    #[arg(long, default_value_t = 24, value_name = "N")]
    pub units: usize,
    /// Draw gates too: cell state and i, f, o of an LSTM, z and r of a GRU
    #[arg(long)]
    pub gates: bool,
    /// Print all numbers as JSON, and write a picture only where --output says
    #[arg(long)]
    pub json: bool,
}

/// `landscape`.
#[derive(Args)]
#[command(after_help = "\
Around one run, the plane is spanned by two random directions on the scale of its weights (Li et al. 2018): 1.0 is as far\n\
as the weights themselves are long. With --between it goes through the weights of two or three runs of the same model, and\n\
the loss along the straight lines between them is drawn too: the barrier says how far it rises above its ends.\n\
Losses are those of the float weights, by the trainer, on the first --tokens of the held-out part.\n\n\
  siskin-train landscape runs/my\n  \
  siskin-train landscape runs/seed-1 --between runs/seed-2 runs/seed-3 -o seeds.svg")]
pub struct LandscapeArgs {
    /// Run folder
    pub run: PathBuf,
    /// Other runs of the same model, one or two: the plane goes through all
    #[arg(long, value_name = "RUN", num_args = 1..=2)]
    pub between: Vec<PathBuf>,
    /// Points of a side, odd
    #[arg(long, default_value_t = 25, value_name = "N")]
    pub grid: usize,
    /// How far to go to each side, in lengths of the weights
    #[arg(long, default_value_t = 1.0)]
    pub span: f64,
    /// Held-out tokens that every point is measured on
    #[arg(long, default_value_t = 4096, value_name = "N")]
    pub tokens: u64,
    /// Seed of the random directions
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Cores to use (default all); does not change the result
    #[arg(long)]
    pub threads: Option<usize>,
    /// The picture to write (default: landscape.svg in the run folder)
    #[arg(short, long, value_name = "FILE.svg")]
    pub output: Option<PathBuf>,
    /// Print all numbers as JSON, and write a picture only where --output says
    #[arg(long)]
    pub json: bool,
}

/// `average`.
#[derive(Args)]
#[command(after_help = "\
Runs that went separate ways from one trained beginning often average well (Wortsman et al. 2022); runs from different seeds\n\
do not, since a barrier lies between them: see `siskin-train landscape --between`.\n\n\
  siskin-train average runs/a runs/b -o mean.siskin")]
pub struct AverageArgs {
    /// Run folders, of one model on one text
    #[arg(required = true, num_args = 2..)]
    pub runs: Vec<PathBuf>,
    /// The file to write
    #[arg(short, long, value_name = "MODEL.siskin")]
    pub output: PathBuf,
    /// Weights of the file
    #[arg(long, default_value = "q8", value_parser = clap::builder::PossibleValuesParser::new(DTYPES))]
    pub dtype: String,
    /// Cores to use
    #[arg(long)]
    pub threads: Option<usize>,
}

/// `tokenizer`.
#[derive(Args)]
pub struct TokenizerArgs {
    /// Texts, UTF-8
    #[arg(required = true)]
    pub texts: Vec<PathBuf>,
    /// Kind of tokenizer
    #[arg(long, default_value = "auto", value_parser = clap::builder::PossibleValuesParser::new(TOKENIZERS))]
    pub tokenizer: String,
    /// Vocabulary of a bpe tokenizer
    #[arg(long)]
    pub vocab_size: Option<usize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
