//! `import`: a model from elsewhere as a `.siskin` file.

use std::io::Read;
use std::path::Path;
use std::time::Instant;

use siskin_format::receipt::Receipt;
use siskin_format::{DType, TensorSpec, Vocab, schema};
use siskin_trainer::progress::{clock, thousands};
use siskin_trainer::round::{self, Model, Rounding, Written, read_tokens};
use siskin_trainer::tune::Tuning;
use siskin_trainer::{Error, Result};

use crate::args::{ImportArgs, RoundingArgs};
use crate::steps::Steps;

/// Tokens of a text that are measured.
const MOST_MEASURED: usize = 1 << 18;
/// Tokens of a text that weights are tuned on, at most.
const MOST_TUNED: usize = 1 << 24;

pub fn import(args: ImportArgs) -> Result<()> {
    let started = Instant::now();
    let (tokenizer, text) = (args.tokenizer.as_deref(), args.text.as_deref());
    let inputs = [Some(&*args.source), tokenizer, text, args.rounding.calibrate.as_deref()];
    check_output(&args.output, inputs.into_iter().flatten())?;
    let options = siskin_convert::Options { tokenizer: args.tokenizer.clone(), ..Default::default() };
    let mut import = siskin_convert::open(&args.source, &options)?;
    for note in &import.notes {
        eprintln!("note: {note}");
    }
    let rounding = args.rounding.rounding(&import.vocab, args.threads, DType::Q8)?;
    let text = measured(args.text.as_deref(), &import.vocab)?;
    let receipt = Receipt {
        producer: Some(format!("siskin-train {}", env!("CARGO_PKG_VERSION"))),
        origin: Some(import.origin.clone()),
        ..Receipt::default()
    };
    let parameters: usize = schema(&import.config).iter().map(TensorSpec::len).sum();
    let mut weights = |spec: &TensorSpec| Ok(import.weights.read(spec)?);
    let model = Model { config: &import.config, vocab: &import.vocab, receipt: &receipt };
    let mut steps = Steps::new();
    let text = text.as_ref().map(|(name, ids)| (name.as_str(), &ids[..]));
    let written = round::write(&args.output, model, &mut weights, &rounding, text, &mut |what, at, of| {
        steps.at(what, at, of)
    })?;
    steps.finish();
    let file = args.output.display();
    println!(
        "imported {file}: {}, {} parameters, {} bytes, {}",
        rounding.dtype,
        thousands(parameters as f64),
        thousands(written.bytes as f64),
        clock(started.elapsed().as_secs_f64()),
    );
    say(&written, rounding.dtype);
    if args.verify {
        verify(&args.output, &mut weights)?;
    }
    eprintln!("next: siskin run {file}");
    Ok(())
}

/// Whether a file can be written at `output` that replaces none of what is read: what would otherwise show after minutes, or not at all.
///
/// # Errors
/// A folder that does not exist, a directory, or one of `inputs`, or what a folder of weights among them holds.
pub fn check_output<'a>(output: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let refuse = |line: String| Err(Error::Export(line));
    let (name, folder) = (output.display(), output.parent().unwrap_or(Path::new("")));
    if !folder.as_os_str().is_empty() && !folder.is_dir() {
        return refuse(format!("cannot write {name}: there is no folder {}; create it", folder.display()));
    }
    let Ok(there) = output.canonicalize() else { return Ok(()) };
    if there.is_dir() {
        return refuse(format!("{name} is a directory, expected the name of a file"));
    }
    for input in inputs {
        let Ok(read) = input.canonicalize() else { continue };
        let holds = read.is_dir() && there.parent() == Some(&read) && !begins_as_siskin(&there);
        if read == there || holds {
            return refuse(format!("{name} would replace what is read; name another file with -o"));
        }
    }
    Ok(())
}

/// Whether there is a `.siskin` file, by its first bytes.
fn begins_as_siskin(path: &Path) -> bool {
    let mut first = [0; siskin_format::header::MAGIC.len()];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut first));
    read.is_ok() && first == siskin_format::header::MAGIC
}

/// The text to measure and its name.
pub fn measured(path: Option<&Path>, vocab: &Vocab) -> Result<Option<(String, Vec<u32>)>> {
    let Some(path) = path else { return Ok(None) };
    let mut ids = read_tokens(path, vocab, MOST_MEASURED + 1)?;
    if ids.len() < 2 {
        return Err(Error::Data(format!(
            "{}: {} tokens, expected at least 2 to measure",
            path.display(),
            ids.len()
        )));
    }
    if ids.len() > MOST_MEASURED {
        ids.truncate(MOST_MEASURED);
        let n = thousands(MOST_MEASURED as f64);
        eprintln!("note: {} is longer than the {n} tokens that are measured of it", path.display());
    }
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(Some((name, ids)))
}

/// Losses and what kept 8 bits.
pub fn say(written: &Written, dtype: DType) {
    if dtype == DType::Q4 {
        let kept = match written.kept.len() {
            0 => String::new(),
            n => format!(", {n} matrices with 8: {}", shortened(&written.kept)),
        };
        println!("{:.2} bits a weight{kept}", written.bits_per_weight);
    }
    if let Some((before, after)) = written.tuned {
        let kept = if after < before { "" } else { ": no better, so the file is as it was rounded" };
        println!(
            "tuned: loss {before:.4} as rounded, {after:.4} as tuned, on what was held out of the text, by the runtime{kept}"
        );
    }
    if let Some(h) = &written.held_out {
        println!(
            "loss on {} tokens of {}, by the runtime: float {:.4}, {dtype} {:.4} ({:+.2} %); perplexity {:.4}, {:.4} ({:+.2} %)",
            thousands(h.tokens as f64),
            h.name,
            h.float_loss,
            h.file_loss,
            100.0 * (h.file_loss / h.float_loss - 1.0),
            h.float_loss.exp(),
            h.file_loss.exp(),
            100.0 * ((h.file_loss - h.float_loss).exp() - 1.0),
        );
    }
}

/// The first names of a list.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// Compares the file with its source.
fn verify(path: &Path, weights: &mut round::Weights<'_>) -> Result<()> {
    let mut steps = Steps::new();
    let found = round::compare(path, weights, &mut |what, at, of| steps.at(what, at, of))?;
    drop(steps);
    for (dtype, share) in found {
        let expected = match dtype {
            DType::F32 => "expected 0",
            DType::F16 => "rounding alone gives up to 0.05 %",
            DType::Q8 => "rounding alone gives up to 0.4 %",
            DType::Q4 => "rounding alone gives up to 8 %; feedback, clipping and tuning more",
        };
        println!(
            "verified {dtype}: at most {:.3} % of a tensor's largest weight off ({expected})",
            100.0 * share
        );
    }
    let file = siskin_format::File::open(
        path,
        &siskin_format::OpenOptions { verify_weights: true, ..Default::default() },
    )?;
    println!("verified checksums and padding of {} tensors", file.tensors().len());
    Ok(())
}

impl RoundingArgs {
    /// How the weights are trained for their dtype, if they are.
    fn tuning(&self, vocab: &Vocab) -> Result<Option<Tuning>> {
        let (Some(text), Some(updates)) = (&self.calibrate, self.tune) else { return Ok(None) };
        if updates == 0 {
            let problem = "is 0, expected some hundred updates; leave --tune out for none".into();
            return Err(Error::Setting { key: "tune", problem });
        }
        let name = text.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok(Some(Tuning { text: name, tokens: read_tokens(text, vocab, MOST_TUNED)?, updates }))
    }

    /// What the flags say, or of the dtype the default, with the text to calibrate by tokenized.
    pub fn rounding(&self, vocab: &Vocab, threads: Option<usize>, default: DType) -> Result<Rounding> {
        let dtype = self.dtype.as_deref().and_then(DType::from_name).unwrap_or(default);
        let most = self.calibration_tokens.unwrap_or(1 << 14);
        let tuning = self.tuning(vocab)?;
        // What a tuning holds out shows what the calibration came to, too.
        let most = tuning.as_ref().map_or(most, |tuning| most.min(tuning.trained_on().len()));
        let calibration = self.calibrate.as_deref().map(|path| read_tokens(path, vocab, most)).transpose()?;
        if let Some(found) = calibration.as_ref().map(Vec::len).filter(|&found| found < 2) {
            return Err(Error::Setting {
                key: "calibrate",
                problem: format!("{found} tokens, expected at least 2"),
            });
        }
        if calibration.is_some() && !matches!(dtype, DType::Q8 | DType::Q4) {
            let problem = format!("{dtype} weights are not rounded by a text; use --dtype q8 or q4");
            return Err(Error::Setting { key: "calibrate", problem });
        }
        if let Some(bits) = self.bits_per_weight {
            let problem = match dtype {
                DType::Q4 if bits.is_finite() && bits >= 4.5 => None,
                DType::Q4 => Some(format!("{bits} is less than the 4.5 of q4")),
                _ => Some(format!("needs --dtype q4, found {dtype}")),
            };
            if let Some(problem) = problem {
                return Err(Error::Setting { key: "bits-per-weight", problem });
            }
        }
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Rounding {
            dtype,
            calibration,
            bits_per_weight: self.bits_per_weight,
            tuning,
            threads: threads.unwrap_or_else(cores),
        })
    }
}
