//! `gradcheck`: a whole configured model, parameter by parameter, against finite differences in f64.

use siskin_trainer::gradcheck::{Fault, Options, check_model};
use siskin_trainer::model::{Batch, Model, Noise, Source};
use siskin_trainer::params::ParamStore;
use siskin_trainer::rng::Rng;
use siskin_trainer::settings::descent::DescentConfig;
use siskin_trainer::settings::model::model_config;
use siskin_trainer::settings::presets::{TextFacts, fill};
use siskin_trainer::settings::{Settings, read_toml};
use siskin_trainer::{Error, Result};

use crate::args::GradcheckArgs;

/// Windows of the batch that is checked.
const ROWS: usize = 2;

pub fn gradcheck(args: GradcheckArgs) -> Result<()> {
    let said = match &args.config {
        Some(path) => args.settings.or(&read_toml(path)?),
        None => args.settings.clone(),
    };
    // Small, so that every family is checked in seconds; any of it can be said otherwise.
    let small = Settings {
        n_layers: Some(2),
        d_model: Some(16),
        hidden: Some(16),
        n_heads: Some(4),
        context: Some(8),
        vocab_size: Some(11),
        ..Default::default()
    };
    let settings = fill(&said.or(&small), &TextFacts { threads: 1 })?;
    let config = model_config(&settings, settings.vocab_size.unwrap_or(11))?;
    let model = Model::<f64>::new(&config)?;
    let seed = settings.seed.unwrap_or(1);
    let store = lively(&model, &settings, seed)?;
    if let Some(name) = &args.fault
        && store.tensor(name).is_none()
    {
        let names: Vec<&str> = store.layout().specs().iter().map(|s| s.name.as_str()).collect();
        let problem = format!("no tensor '{name}', expected one of {}", names.join(", "));
        return Err(Error::Setting { key: "fault", problem });
    }
    let mut rng = Rng::stream(seed, 1);
    let mut draw =
        || (0..ROWS * config.context).map(|_| rng.below(config.vocab_size as u64) as u32).collect();
    let (tokens, targets, sources): (Vec<u32>, Vec<u32>, Vec<u32>) = (draw(), draw(), draw());
    // One source fills its row, the other has padding behind it.
    let lens: Vec<u32> = (0..ROWS).map(|row| (config.context >> row.min(1)).max(1) as u32).collect();
    let source = match config.has_encoder() {
        true => Source { tokens: &sources, lens: &lens, len: config.context },
        false => Source::NONE,
    };
    let batch = Batch { tokens: &tokens, targets: &targets, batch: ROWS, len: config.context, source };
    let noise = Noise { dropout: f64::from(settings.dropout.unwrap_or(0.0)), seed, ..Noise::NONE };
    let options = Options {
        samples: (args.samples > 0).then_some(args.samples),
        seed,
        tolerance: args.tolerance,
        fault: args.fault.map(|tensor| Fault { tensor, factor: 1.01 }),
        noise,
    };
    let state = model.new_state(ROWS);
    let rows = check_model(&model, &store, batch, &state, &options);
    println!("{:<28} {:>15} {:>9}  worst element: by backward, by differences", "tensor", "checked", "error");
    rows.iter().for_each(|row| println!("{row}"));
    let wrong: Vec<&str> = rows.iter().filter(|r| !r.ok).map(|r| r.name.as_str()).collect();
    if wrong.is_empty() {
        println!("all {} tensors agree within {:.0e}", rows.len(), args.tolerance);
        return Ok(());
    }
    Err(Error::Diverged(format!(
        "the gradient of {} is wrong by more than {:.0e}",
        wrong.join(", "),
        args.tolerance
    )))
}

/// Initial weights with everything that begins at zero or one moved off it, so that no gradient is hidden.
fn lively(model: &Model<f64>, settings: &Settings, seed: u64) -> Result<ParamStore<f64>> {
    let config = model.config();
    let mut store = ParamStore::<f32>::new(config);
    let specs = store.layout().specs().to_vec();
    DescentConfig::new(settings)?.init.fill(&specs, config.n_layers(), seed, &mut store.values);
    let mut store = store.cast::<f64>();
    let mut rng = Rng::stream(seed, 2);
    store.values.iter_mut().for_each(|w| *w += 0.2 * rng.normal());
    Ok(store)
}
