//! The command line, as clap reads it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use siskin_trainer::experiment::presets::PRESETS;
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
    /// Show what `train --minutes` would choose for a text on this machine, and what would come of it
    Plan(Box<PlanArgs>),
    /// Measure the loss of a run on a text
    Eval(EvalArgs),
    /// Let a run's model speak
    Sample(SampleArgs),
    /// Write a run's model as a .siskin file and measure it there
    Export(ExportArgs),
    /// Bring a model from elsewhere: llama2.c, GGUF, a Hugging Face folder, a recurrent checkpoint
    #[command(after_help = IMPORT_HELP)]
    Import(ImportArgs),
    /// Write an untrained model of any shape, to measure speed and memory before training
    Init(Box<InitArgs>),
    /// Compare every gradient of a model with finite differences, in f64
    Gradcheck(Box<GradcheckArgs>),
    /// Measure the speed and memory of training steps
    Bench(Box<BenchArgs>),
    /// Train variants side by side: optimisers, schedules, norms, any setting; one picture
    Compare(Box<CompareArgs>),
    /// Find a learning rate: a short training whose rate grows until the loss breaks
    LrFind(Box<LrFindArgs>),
    /// Write a page that shows a run: losses, gradients, samples, what was exported
    Report(ReportArgs),
    /// Draw what a model does with a text: surprise at each token, attention maps, states of recurrent cells
    Inspect(InspectArgs),
    /// Draw the loss on a plane through weight space: around a trained model, or between several
    Landscape(LandscapeArgs),
    /// Average the weights of several runs, export the mean and measure it beside them
    Average(AverageArgs),
    /// Say what goes wrong in a run, with the evidence and the remedy, and try that side by side
    #[command(after_help = DOCTOR_HELP)]
    Doctor(DoctorArgs),
    /// Train a tokenizer on texts and show what it does to them
    Tokenizer(TokenizerArgs),
}

const IMPORT_HELP: &str = "\
What SRC is, its bytes say. Weights stream from it to the file, tensor by tensor. With --calibrate the float model reads the text \
first (a draft of it lies beside the file meanwhile), and weights are rounded so that the answers of each matrix to what it met there \
change least (GPTQ, Frantar et al. 2022); --tune trains them for their few bits after that. Pickled weights are refused, since reading them may run code (docs/import.md).\n\
  siskin-train import model.gguf -o model.siskin --dtype q4 --calibrate some.txt\n  siskin-train import folder-with-config-json/ -o model.siskin --verify";

/// `import`.
#[derive(Args)]
pub struct ImportArgs {
    /// A GGUF file, a llama2.c .bin, a folder with config.json and safetensors, or a recurrent checkpoint's .safetensors or .toml
    pub source: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "MODEL.siskin")]
    pub output: PathBuf,
    /// How weights are stored.
    #[command(flatten)]
    pub rounding: RoundingArgs,
    /// Tokenizer, tokenizer.json or llama2.c's tokenizer.bin (default: the one in or beside the source)
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Measure the loss of this text, in the float model and in the file, and write it into the receipt
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Compare every stored weight with the source when the file is written
    #[arg(long)]
    pub verify: bool,
    /// Cores to use
    #[arg(long)]
    pub threads: Option<usize>,
}

/// How weights are stored.
#[derive(Args)]
pub struct RoundingArgs {
    /// Weights of the file (default: q8; of a run, its own)
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(DTYPES))]
    pub dtype: Option<String>,
    /// Round weights so that a model which reads this text changes least (q8 and q4)
    #[arg(long, value_name = "FILE")]
    pub calibrate: Option<PathBuf>,
    /// Tokens of that text to calibrate by [default: 16384]
    #[arg(long, value_name = "N", requires = "calibrate")]
    pub calibration_tokens: Option<usize>,
    /// Bits a weight of a q4 file, scales included, at most: the matrices that 4 bits hurt most keep 8 [default: 4.5]
    #[arg(long, value_name = "B")]
    pub bits_per_weight: Option<f64>,
    /// Train the weights for their few bits on that text, by so many updates, with the float model as the teacher: minutes for a small
    /// model, and a fraction of what rounding costs
    #[arg(long, value_name = "UPDATES", requires = "calibrate")]
    pub tune: Option<u64>,
}

/// `train`.
#[derive(Args)]
pub struct TrainArgs {
    /// Texts, UTF-8, of any size; several are one text, or with --mix a mixture by weight; for --model seq2seq lines of source, tab and
    /// target
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
    /// What is shown meanwhile.
    #[command(flatten)]
    pub display: DisplayArgs,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
}

/// What is shown while a run trains.
#[derive(Args, Clone, Copy)]
pub struct DisplayArgs {
    /// Draw a dashboard, as happens by itself where stderr and stdin are a terminal, or fail (its keys: q saves and stops, s takes a
    /// sample, z shows the newest quarter, tab another pane, Ctrl-Z and bg leave it training in the background)
    #[arg(long, conflicts_with_all = ["plain", "quiet"])]
    pub dashboard: bool,
    /// Print a bar and lines instead of drawing a dashboard
    #[arg(long, conflicts_with = "quiet")]
    pub plain: bool,
    /// Print only the last lines
    #[arg(long)]
    pub quiet: bool,
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
    /// What is shown meanwhile.
    #[command(flatten)]
    pub display: DisplayArgs,
}

/// `plan`.
#[derive(Args)]
#[command(after_help = "\
Times a few sizes for a second, looks at how hard the text is to predict, and takes the size whose predicted loss is least: \
the range behind it is two standard deviations of the runs that the rule was fitted on (docs/recipes.md). Bytes are exact. \
Tokens/s of a Raspberry Pi are estimates from published bandwidths and counted cycles (docs/arm.md), not measurements.\n\
  siskin-train plan my.txt --minutes 10\n  siskin-train plan my.txt --minutes 10 --model lstm --dtype q4 --json")]
pub struct PlanArgs {
    /// Texts, UTF-8
    #[arg(required = true)]
    pub texts: Vec<PathBuf>,
    /// Settings file (TOML); flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The settings; what they say is kept, minutes are the budget (default 5).
    #[command(flatten)]
    pub settings: Settings,
}

/// `eval`.
#[derive(Args)]
pub struct EvalArgs {
    /// Run folder
    pub run: PathBuf,
    /// Text to measure on, or pairs for a seq2seq model (default: the run's own validation part)
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
    /// Run folder, or a .siskin file to write in another form
    #[arg(value_name = "RUN|MODEL.siskin")]
    pub run: PathBuf,
    /// The file to write; for --format safetensors a folder
    #[arg(short, long, value_name = "PATH")]
    pub output: PathBuf,
    /// What is written: a .siskin file, one for llama.cpp and its kin (gguf), or a folder for transformers or PyTorch (safetensors, in f32)
    #[arg(long, default_value = "siskin", value_parser = ["siskin", "gguf", "safetensors"])]
    pub format: String,
    /// How weights are stored.
    #[command(flatten)]
    pub rounding: RoundingArgs,
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

/// `compare`.
#[derive(Args)]
#[command(after_help = "\
Every combination of the --vary values is a variant, and so is each --variant; 12 at most.\n\
A variant with another optimiser takes that optimiser's default rate, unless it names one; the same rate for all is --vary lr=RATE.\n\
Runs follow one another, each with all threads; seconds count training alone. Losses do not depend on the machine, seconds do.\n\n\
  siskin-train compare my.txt --preset optimizers\n  \
  siskin-train compare my.txt --vary schedule=constant,cosine,wsd --vary lr=2e-3,4e-3 --model gpt --steps 500\n  \
  siskin-train compare my.txt --variant \"optimizer=sgd lr=0.5 momentum=0.9\" --variant \"optimizer=adam\" --minutes 3\n  \
  siskin-train compare my.txt --vary norm=none,rms --vary residual=true,false --seeds 3 -o norms.svg")]
pub struct CompareArgs {
    /// Texts, UTF-8, of any size
    #[arg(required = true)]
    pub texts: Vec<PathBuf>,
    /// Values of a setting to compare; several --vary give every combination
    #[arg(long, value_name = "KEY=V1,V2", help_heading = "Variants")]
    pub vary: Vec<String>,
    /// One variant: settings that go together
    #[arg(long, value_name = "\"KEY=V KEY=V\"", help_heading = "Variants")]
    pub variant: Vec<String>,
    /// A ready-made set of variants
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(PRESETS), help_heading = "Variants")]
    pub preset: Option<String>,
    /// Trainings of each variant, with seeds that follow --seed; figures and curves are their means
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Variants")]
    pub seeds: u64,
    /// Settings file (TOML); flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Keep every training as a run folder in DIR
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The picture to write
    #[arg(short, long, value_name = "FILE.svg", default_value = "compare.svg")]
    pub output: PathBuf,
    /// Print JSON, with every loss
    #[arg(long)]
    pub json: bool,
    /// Print only the last lines
    #[arg(long)]
    pub quiet: bool,
    /// The settings of all; steps are those of each training (default 300), minutes of all together.
    #[command(flatten)]
    pub settings: Settings,
}

/// `lr-find`.
#[derive(Args)]
#[command(after_help = "\
The rate grows from step to step by the same factor; the loss falls, then rises or breaks (Smith 2017). The suggestion is\n\
read off the smoothed curve; the output says by which rule and how far it can be trusted.\n\
Schedule, warm-ups, averages of weights and early stops are left out of the test, and handed on to `train` by the last line.\n\n\
  siskin-train lr-find my.txt --model lstm --optimizer sgd\n  \
  siskin-train lr-find my.txt --model gpt --batch-size 32 --seeds 3 -o rates.svg\n  \
  siskin-train lr-find my.txt --optimizer muon --which adam-lr")]
pub struct LrFindArgs {
    /// Texts, UTF-8, of any size
    #[arg(required = true)]
    pub texts: Vec<PathBuf>,
    /// The first rate
    #[arg(long, value_name = "RATE", default_value_t = 1e-6, help_heading = "Range")]
    pub from: f64,
    /// The last rate
    #[arg(long, value_name = "RATE", default_value_t = 10.0, help_heading = "Range")]
    pub to: f64,
    /// With muon, which of its two rates: both at their ratio, lr (hidden matrices), adam-lr (embedding, head, vectors)
    #[arg(long, default_value = "both", value_parser = clap::builder::PossibleValuesParser::new(["both", "lr", "adam-lr"]),
          help_heading = "Range")]
    pub which: String,
    /// Tests, with seeds that follow --seed; the suggestion is their median
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Range")]
    pub seeds: u64,
    /// Settings file (TOML); flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The picture to write
    #[arg(short, long, value_name = "FILE.svg", default_value = "lr-find.svg")]
    pub output: PathBuf,
    /// Print JSON, with every loss
    #[arg(long)]
    pub json: bool,
    /// Print only the last lines
    #[arg(long)]
    pub quiet: bool,
    /// The settings; steps are those of the test (default 200).
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
    /// Write each figure as a picture of its own, too, into this folder: loss.svg, gradients.svg, times.svg …
    #[arg(long, value_name = "DIR")]
    pub figures: Option<PathBuf>,
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

/// What `doctor --help` teaches.
const DOCTOR_HELP: &str = "\
Troubles: divergence, exploding gradient, attention collapse, saturated cells, dead units, vanishing gradient over depth\n\
or over time, learning rate too high or too low, plateau, overfitting. docs/doctor.md explains each.\n\n\
The table has a row for each part of the model, medians over the last quarter of the run:\n  \
gradient  norm of the gradient of its weights, before clipping\n  \
update    norm of the update over norm of the weights; about 1e-3 is usual, 0.05 is wild, 1e-4 is idle\n  \
output    root mean square of what it gives out; back: of the loss' gradient that flows back to that\n  \
dead      share of ReLU units that are 0 in 99 % of the rows; satur: of tanh values beyond 0.97\n  \
entropy   of the attention rows: 1 looks everywhere alike, 0 at one position\n\n\
--try trains a few hundred updates with the run's own settings and with each remedy, from the same start, and says which\n\
loss is lower. The run itself stays as it is. A training run warns of troubles by itself, once each.";

/// `doctor`.
#[derive(Args)]
pub struct DoctorArgs {
    /// Run folder; the run may be at work
    pub run: PathBuf,
    /// Train short runs side by side, as it was and with each remedy, and compare
    #[arg(long = "try")]
    pub try_remedies: bool,
    /// Updates of each of these (default: enough to show the trouble, 300 to 2000)
    #[arg(long, value_name = "N", requires = "try_remedies", value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: Option<u64>,
    /// Print JSON
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
