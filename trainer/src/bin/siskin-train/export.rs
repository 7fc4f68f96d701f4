//! `export` and `init`: files from a run's checkpoint, and files of untrained models.

use siskin_format::receipt::{Origin, Receipt, Training};
use siskin_format::{DType, Vocab};
use siskin_trainer::checkpoint::Checkpoint;
use siskin_trainer::export::{MAX_MEASURED, Trained};
use siskin_trainer::params::ParamStore;
use siskin_trainer::progress::thousands;
use siskin_trainer::report::outcome::Outcome;
use siskin_trainer::settings::model::{is_seq2seq, model_config};
use siskin_trainer::settings::presets::{TextFacts, fill};
use siskin_trainer::settings::read_toml;
use siskin_trainer::train::run::{Meta, exported_weights, texts_of, trainer_config, vocab_of};
use siskin_trainer::{Result, tokenizer};

use crate::args::{ExportArgs, InitArgs};

pub fn export(args: ExportArgs) -> Result<()> {
    let checkpoint = Checkpoint::load_latest(&args.run)?.checkpoint;
    let meta: Meta = checkpoint.meta()?;
    let vocab = vocab_of(&checkpoint)?;
    let config = trainer_config(&meta.settings, vocab.len())?;
    let weights = exported_weights(&meta, &config.model, &checkpoint)?;
    let trained = Trained { config: &config.model, vocab: &vocab, weights: &weights };
    let said = args.dtype.as_deref().or(meta.settings.dtype.as_deref());
    let dtype = said.and_then(DType::from_name).unwrap_or(DType::Q8);
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
    let threads = args.threads.unwrap_or(config.threads);
    let val = texts.held_out(&vocab, MAX_MEASURED)?;
    let exported = trained.export(&args.output, dtype, receipt, ("validation part", &val), threads)?;
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
