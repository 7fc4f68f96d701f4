//! `export` and `init`: files from a run's checkpoint, and files of untrained models.

use siskin_format::receipt::{Origin, Receipt, Training};
use siskin_format::{DType, File, ModelConfig, OpenOptions, TensorSpec, Vocab, schema};
use siskin_trainer::checkpoint::Checkpoint;
use siskin_trainer::export::{MAX_MEASURED, Trained};
use siskin_trainer::params::ParamStore;
use siskin_trainer::progress::thousands;
use siskin_trainer::report::outcome::Outcome;
use siskin_trainer::round::{self, Model};
use siskin_trainer::settings::model::{is_seq2seq, model_config};
use siskin_trainer::settings::presets::{TextFacts, fill};
use siskin_trainer::settings::read_toml;
use siskin_trainer::train::run::{Meta, exported_weights, texts_of, trainer_config, vocab_of};
use siskin_trainer::{Error, Result, tokenizer};

use crate::args::{ExportArgs, InitArgs};
use crate::import::check_output;
use crate::steps::Steps;

pub fn export(args: ExportArgs) -> Result<()> {
    // A .siskin file may replace the one that it is made of; safetensors are a folder, which is made.
    match args.format.as_str() {
        "siskin" => check_output(&args.output, [])?,
        "gguf" => check_output(&args.output, args.run.is_file().then_some(&*args.run))?,
        _ => {}
    }
    if args.run.is_file() { export_file(&args) } else { export_run(args) }
}

/// What a model's tensors hold, for a writer of another form.
struct Known<F> {
    weights: F,
    steps: Steps,
    read: usize,
    n_tensors: usize,
}

impl<F: FnMut(&TensorSpec) -> Vec<f32>> siskin_convert::Weights for Known<F> {
    fn read(&mut self, spec: &TensorSpec) -> siskin_convert::Result<Vec<f32>> {
        self.steps.at("tensors written", self.read, self.n_tensors);
        self.read = (self.read + 1).min(self.n_tensors); // a writer may ask twice
        Ok((self.weights)(spec))
    }
}

/// Another form of a `.siskin` file, from the weights that it holds.
fn export_file(args: &ExportArgs) -> Result<()> {
    let file = File::open(&args.run, &OpenOptions { verify_weights: true, ..Default::default() });
    let file = file.map_err(|error| match error {
        error @ siskin_format::Error::Io { .. } => Error::from(error),
        error => Error::Export(format!("{}: {error}", args.run.display())),
    })?;
    let (config, vocab) = (file.config().clone(), file.vocab().clone());
    let held = file.tensors().iter().find(|info| !info.is_vector).map_or(DType::Q8, |info| info.dtype);
    let weights = |spec: &TensorSpec| file.tensor(&spec.name).map(|view| view.to_f32()).unwrap_or_default();
    if args.format != "siskin" {
        return convert(args, &config, &vocab, weights, held);
    }
    let rounding = args.rounding.rounding(&vocab, args.threads, held)?;
    let receipt = Receipt { held_out: None, golden: Vec::new(), ..file.receipt().clone() };
    let model = Model { config: &config, vocab: &vocab, receipt: &receipt };
    let mut steps = Steps::new();
    let written = round::write(
        &args.output,
        model,
        &mut |spec| Ok(weights(spec)),
        &rounding,
        None,
        &mut |what, at, of| {
            steps.at(what, at, of);
        },
    )?;
    steps.finish();
    println!(
        "exported {}: {}, {} bytes",
        args.output.display(),
        rounding.dtype,
        thousands(written.bytes as f64)
    );
    crate::import::say(&written, rounding.dtype);
    eprintln!("next: siskin verify {}", args.output.display());
    Ok(())
}

/// A model for other programs.
fn convert(
    args: &ExportArgs,
    config: &ModelConfig,
    vocab: &Vocab,
    weights: impl FnMut(&TensorSpec) -> Vec<f32>,
    dtype: DType,
) -> Result<()> {
    let refused = |key, flag: &str| Error::Setting {
        key,
        problem: format!("is for .siskin files; leave --{flag} out with --format {}", args.format),
    };
    if args.rounding.calibrate.is_some() {
        return Err(refused("calibrate", "calibrate"));
    }
    if args.rounding.bits_per_weight.is_some() {
        return Err(refused("bits-per-weight", "bits-per-weight"));
    }
    let said = args.rounding.dtype.as_deref().and_then(DType::from_name);
    let output = args.output.display();
    let mut weights = Known { weights, steps: Steps::new(), read: 0, n_tensors: schema(config).len() };
    if args.format == "gguf" {
        let dtype = said.unwrap_or(dtype);
        siskin_convert::gguf::write(&args.output, config, vocab, &mut weights, dtype)?;
        weights.steps.finish();
        println!("exported {output}: GGUF, {dtype}");
        eprintln!("next: llama-cli -m {output}");
        return Ok(());
    }
    if let Some(dtype) = said.filter(|dtype| *dtype != DType::F32) {
        let problem = format!("{dtype} is not what safetensors are written in; leave --dtype out");
        return Err(Error::Setting { key: "dtype", problem });
    }
    siskin_convert::safetensors::write(&args.output, config, vocab, &mut weights)?;
    weights.steps.finish();
    println!("exported {output}: safetensors, f32");
    // What came from a recurrent stack is a state dict, which transformers does not know.
    let recurrent = config.blocks.iter().all(|block| block.recurrent().is_some());
    match recurrent {
        true => eprintln!(
            "next: python3 -c 'import safetensors.torch as s; print(s.load_file(\"{output}/model.safetensors\").keys())'"
        ),
        false => eprintln!(
            "next: python3 -c 'import transformers as t; print(t.AutoModelForCausalLM.from_pretrained(\"{output}\"))'"
        ),
    }
    Ok(())
}

fn export_run(args: ExportArgs) -> Result<()> {
    let checkpoint = Checkpoint::load_latest(&args.run)?.checkpoint;
    let meta: Meta = checkpoint.meta()?;
    let vocab = vocab_of(&checkpoint)?;
    let config = trainer_config(&meta.settings, vocab.len())?;
    let weights = exported_weights(&meta, &config.model, &checkpoint)?;
    let trained = Trained { config: &config.model, vocab: &vocab, weights: &weights };
    let own = meta.settings.dtype.as_deref().and_then(DType::from_name).unwrap_or(DType::Q8);
    if args.format != "siskin" {
        return convert(&args, &config.model, &vocab, trained.weights(), own);
    }
    let threads = args.threads.unwrap_or(config.threads);
    let rounding = args.rounding.rounding(&vocab, Some(threads), own)?;
    let dtype = rounding.dtype;
    let texts = texts_of(&meta, true)?;
    let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
    let receipt = Receipt {
        producer: Some(format!("siskin-train {}", env!("CARGO_PKG_VERSION"))),
        sources: texts.sources(),
        training: Some(Training {
            steps: meta.trainer.step,
            tokens: meta.trainer.tokens_seen,
            optimizer: config.descent.describe(),
            seed: config.seed,
        }),
        origin: Some(Origin {
            name: format!("step {}", meta.trainer.step),
            hash: siskin_format::xxh64::xxh64(&bytes),
        }),
        ..Receipt::default()
    };
    let val = texts.held_out(&vocab, MAX_MEASURED)?;
    let held_out = ("validation part", &val);
    let exported = match args.rounding.calibrate.is_some() || args.rounding.bits_per_weight.is_some() {
        true => trained.export_rounded(&args.output, &rounding, &receipt, held_out)?,
        false => trained.export(&args.output, dtype, receipt, held_out, threads)?,
    };
    let file = args.output.display();
    crate::train::tell(&args.run, &Outcome::exported(&args.output, dtype, &exported));
    println!("exported {file}: {dtype}, {} bytes", thousands(exported.bytes as f64));
    crate::train::print_losses(&exported, dtype);
    crate::train::print_exact(&args.output, &val, threads)?;
    eprintln!("next: siskin verify {file}");
    Ok(())
}

pub fn init(args: InitArgs) -> Result<()> {
    let said = match &args.config {
        Some(path) => args.settings.or(&read_toml(path)?),
        None => args.settings,
    };
    let settings = fill(&said, &TextFacts { threads: 1 })?;
    let mut vocab: Vocab = tokenizer::placeholder(settings.vocab_size.unwrap_or(256))?;
    if is_seq2seq(&settings) {
        vocab = tokenizer::with_marks(&vocab)?;
    }
    let config = model_config(&settings, vocab.len())?;
    let descent = siskin_trainer::settings::descent::DescentConfig::new(&settings)?;
    let mut store = ParamStore::<f32>::new(&config);
    let specs = store.layout().specs().to_vec();
    descent.init.fill(&specs, config.n_layers(), settings.seed.unwrap_or(1), &mut store.values);
    let dtype = settings.dtype.as_deref().and_then(DType::from_name).unwrap_or(DType::Q8);
    Trained { config: &config, vocab: &vocab, weights: &store.values }.write(&args.output, dtype)?;
    let file = args.output.display();
    println!("wrote {file}: {dtype}, {} untrained parameters", thousands(store.values.len() as f64));
    eprintln!("next: siskin bench {file}");
    Ok(())
}
