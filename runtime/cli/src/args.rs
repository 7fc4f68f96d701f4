//! The command line: what may be said, and how `--help` explains it.

use clap::{ArgAction, Args, Parser, Subcommand};
use siskin::SamplerOptions;
use std::ffi::OsString;
use std::path::PathBuf;

/// Runs small text generators from one file, on any CPU.
#[derive(Parser, Debug)]
#[command(
    name = "siskin",
    version,
    max_term_width = 100,
    after_help = "Results go to standard output, progress and hints to standard error (-q: none).\n\
                  Exit code 0: done, 1: failed, 2: wrong usage.\n\
                  SISKIN_ISA=scalar (or another name that `siskin info --cpu` lists) forces an instruction set."
)]
pub struct Cli {
    /// No progress, timings or hints on standard error
    #[arg(short, long, global = true)]
    pub quiet: bool,

    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Generate text
    Run(RunArgs),
    /// Write with the model, line by line
    Chat(ChatArgs),
    /// Show everything that a file holds, and which kernels run here
    Info(InfoArgs),
    /// Check every byte of a file and replay its golden runs on this machine
    Verify(VerifyArgs),
    /// Measure how well the model predicts a text: loss, perplexity, bits per byte
    Eval(EvalArgs),
    /// Print each token of a text with its log-probability
    Score(ScoreArgs),
    /// Print the token ids of a text, one line per input line
    Tokenize(TokenizeArgs),
    /// Measure speed: prompt, generation, time to the first token, memory
    Bench(BenchArgs),
}

/// Which model, and how to read it.
#[derive(Args, Debug)]
pub struct ModelArgs {
    /// The .siskin file
    pub model: PathBuf,

    /// Read the file into memory instead of mapping it
    #[arg(long)]
    pub no_mmap: bool,

    /// Most memory to take, such as 512M, beside the mapped file; more is refused before it is taken
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_memory: Option<usize>,
}

/// How a session is made.
#[derive(Args, Debug, Default)]
pub struct SessionArgs {
    /// Threads [default: one for each big core]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub threads: Option<usize>,

    /// Bind each thread to a core of its own (Linux)
    #[arg(long)]
    pub pin: bool,

    /// Positions that the session holds, for models with attention [default: the model's context]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub ctx: Option<usize>,
}

/// How tokens are chosen, and where the text ends.
#[derive(Args, Debug)]
pub struct SamplerArgs {
    /// Most tokens to generate
    #[arg(short, long = "tokens", value_name = "N", default_value_t = 256)]
    pub n: usize,

    /// Temperature: 0 takes the most probable token, below 1 is bolder than the model, above 1 wilder
    #[arg(long, value_name = "T", default_value_t = SamplerOptions::default().temperature, allow_negative_numbers = true)]
    pub temp: f32,

    /// Keep the K most probable tokens; 0 keeps all
    #[arg(long, value_name = "K", default_value_t = SamplerOptions::default().top_k)]
    pub top_k: usize,

    /// Keep the most probable tokens that together have probability P; 1 keeps all
    #[arg(long, value_name = "P", default_value_t = SamplerOptions::default().top_p, allow_negative_numbers = true)]
    pub top_p: f32,

    /// Keep tokens at least P times as probable as the most probable; 0 keeps all
    #[arg(long, value_name = "P", default_value_t = SamplerOptions::default().min_p, allow_negative_numbers = true)]
    pub min_p: f32,

    /// Divide the logits of recent tokens by this; 1 is off
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    pub repeat_penalty: f32,

    /// Subtract this from a token's logit for each recent use; 0 is off
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub frequency_penalty: f32,

    /// Subtract this from the logit of every token used recently; 0 is off
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub presence_penalty: f32,

    /// How many of the last tokens the penalties look at; 0 looks at all
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub penalty_last_n: usize,

    /// Begins the random numbers; the same seed gives the same text [default: another one each time, shown at the end]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// End the text before this string; may be given several times
    #[arg(long, value_name = "STRING", allow_hyphen_values = true, action = ArgAction::Append)]
    pub stop: Vec<String>,
}

impl SamplerArgs {
    /// The sampler's options, with the seed that is to be used.
    pub fn sampler(&self, seed: u64) -> SamplerOptions {
        SamplerOptions {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repeat_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            penalty_last_n: (self.penalty_last_n > 0).then_some(self.penalty_last_n),
            seed,
            ..SamplerOptions::neutral()
        }
    }
}

/// `siskin run`.
#[derive(Args, Debug)]
#[command(
    after_help = "Without a prompt the model begins a text: from its begin token if it has one, else its end \
                        token, else a line end.\nExamples:\n  siskin run shakespeare.siskin -p 'ROMEO:' -n 200 --seed 1\n  \
                        siskin run shakespeare.siskin --temp 0 --stop 'JULIET:'\n  \
                        cat letter.txt | siskin run model.siskin - --json"
)]
pub struct RunArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// `-` reads the prompt from standard input
    #[arg(value_name = "-", value_parser = ["-"], conflicts_with_all = ["prompt", "file"])]
    pub stdin: Option<String>,

    /// The text to go on from
    #[arg(short, long, value_name = "PROMPT", allow_hyphen_values = true, conflicts_with = "file")]
    pub prompt: Option<OsString>,

    /// Read the prompt from a file
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Print the prompt before the text
    #[arg(long)]
    pub echo: bool,

    #[command(flatten)]
    pub sampler: SamplerArgs,

    #[command(flatten)]
    pub session: SessionArgs,

    /// Print one JSON object at the end instead of text as it comes
    #[arg(long)]
    pub json: bool,
}

/// `siskin chat`.
#[derive(Args, Debug)]
#[command(
    after_help = "Each line is added to the text with its line end, and the model goes on from there; an empty \
                        line lets it go on by itself.\n/reset forgets the text, /quit or the end of the input leaves."
)]
pub struct ChatArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// What a model with a chat template is told before the first line
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,

    #[command(flatten)]
    pub sampler: SamplerArgs,

    #[command(flatten)]
    pub session: SessionArgs,
}

/// `siskin info`.
#[derive(Args, Debug)]
pub struct InfoArgs {
    /// The .siskin file
    #[arg(required_unless_present = "cpu")]
    pub model: Option<PathBuf>,

    /// Show which kernels run on this CPU, and which could
    #[arg(long)]
    pub cpu: bool,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `siskin verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// Threads of the golden runs [default: one for each big core]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub threads: Option<usize>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A text to measure.
#[derive(Args, Debug)]
pub struct TextArgs {
    /// The text; `-` is standard input. For a model with an encoder, lines of source, tab and target
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
}

/// `siskin eval`.
#[derive(Args, Debug)]
#[command(
    after_help = "Every token but the first is predicted once: models with attention see windows of --ctx tokens \
                        that do not overlap,\nrecurrent models read the text as one stream."
)]
pub struct EvalArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    #[command(flatten)]
    pub text: TextArgs,

    #[command(flatten)]
    pub session: SessionArgs,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `siskin score`.
#[derive(Args, Debug)]
#[command(
    after_help = "The first token has no log-probability (null). The windows are those of `siskin eval`."
)]
pub struct ScoreArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    #[command(flatten)]
    pub text: TextArgs,

    #[command(flatten)]
    pub session: SessionArgs,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// `siskin tokenize`.
#[derive(Args, Debug)]
#[command(after_help = "Lines are encoded without their line ends.")]
pub struct TokenizeArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    #[command(flatten)]
    pub text: TextArgs,

    /// The other way: lines of ids to lines of text
    #[arg(long)]
    pub decode: bool,
}

/// `siskin bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// The .siskin file
    #[arg(required_unless_present_any = ["machine", "burn"])]
    pub model: Option<PathBuf>,

    /// Read the file into memory instead of mapping it
    #[arg(long)]
    pub no_mmap: bool,

    /// Tokens of the prompt [default: 128, less if the context is smaller]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub prompt: Option<usize>,

    /// Tokens to generate [default: 64, less if the context is smaller]
    #[arg(long = "gen", value_name = "N", value_parser = at_least_one)]
    pub gen_tokens: Option<usize>,

    /// Repetitions; medians are reported
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one)]
    pub reps: usize,

    /// Threads [default: one for each big core]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub threads: Option<usize>,

    /// Bind each thread to a core of its own (Linux)
    #[arg(long)]
    pub pin: bool,

    /// Show where the time goes, stage by stage
    #[arg(long)]
    pub profile: bool,

    /// Measure beside a load on every core, too
    #[arg(long)]
    pub contended: bool,

    /// Measure the machine instead: how fast it reads memory and caches, and multiplies
    #[arg(long, conflicts_with_all = ["model", "profile", "contended"])]
    pub machine: bool,

    /// Keep every core busy until standard input ends: the load of --contended
    #[arg(long, hide = true)]
    pub burn: bool,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("expected at least 1".into()),
        Ok(n) => Ok(n),
        Err(_) => Err("expected a whole number of at least 1".into()),
    }
}

/// A size such as 512M: bytes, or K, M, G of 1024.
fn size(text: &str) -> Result<usize, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    let number: Option<usize> = number.parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(unit)).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| "expected a size such as 512M: a whole number of bytes, K, M or G".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_prompt_may_begin_with_a_hyphen_and_an_option_be_negative() {
        let cli =
            Cli::try_parse_from(["siskin", "run", "m", "-p", "- hello", "--temp", "-1", "--stop", "--"]);
        let Command::Run(run) = cli.unwrap().command else { panic!("not run") };
        assert_eq!(run.prompt.unwrap(), "- hello");
        assert_eq!((run.sampler.temp, run.sampler.stop[0].as_str()), (-1.0, "--"));
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("1000"), Ok(1000));
        assert_eq!((size("2k"), size("512M"), size("3G")), (Ok(2048), Ok(512 << 20), Ok(3 << 30)));
        for wrong in
            ["", "M", "0", "0G", "-1", "1.5G", "99999999999999999999", "18446744073709551615K", "5 M", "ÄM"]
        {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
