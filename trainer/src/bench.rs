//! How fast this machine trains a model: tokens per second of forward, backward and gradient summation.

use std::time::{Duration, Instant};

use siskin_format::ModelConfig;

use crate::error::{Error, Result};
use crate::model::{Batch, Model, Noise};
use crate::optim::init::InitConfig;
use crate::parallel::{DataParallel, Division};
use crate::params::ParamStore;
use crate::rng::Rng;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct BenchOptions {
    /// Windows of a batch.
    pub batch: usize,
    /// Tokens of a window.
    pub len: usize,
    /// How the batch is cut.
    pub division: Division,
    /// Cores.
    pub threads: usize,
    /// For how long.
    pub time: Duration,
    /// Dropout rate.
    pub dropout: f64,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct BenchResult {
    /// Steps that were timed, after a warm-up.
    pub steps: usize,
    /// Median milliseconds of a step.
    pub step_ms: f64,
    /// Tokens per second at the median.
    pub tokens_per_second: f64,
    /// Parameters of the model.
    pub parameters: usize,
    /// Bytes of tapes and gradients; the parameters come on top.
    pub bytes: usize,
}

/// Times training steps (without the optimiser) on random tokens.
///
/// # Errors
/// `config` is not valid or the threads cannot be started.
///
/// # Panics
/// If a size of `options` is 0, or the windows are longer than the model's context.
pub fn bench_step(config: &ModelConfig, options: BenchOptions) -> Result<BenchResult> {
    let BenchOptions { batch, len, division, threads, time, dropout } = options;
    let model = Model::<f32>::new(config).map_err(Error::Config)?;
    let mut store = ParamStore::<f32>::new(config);
    let specs = store.layout().specs().to_vec();
    InitConfig::default().fill(&specs, config.n_layers(), 1, &mut store.values);
    let mut rng = Rng::new(1);
    let ids: Vec<u32> = (0..batch * len).map(|_| rng.below(config.vocab_size as u64) as u32).collect();
    let batch = Batch { tokens: &ids, targets: &ids, batch, len };
    let mut runner = DataParallel::new(&model, batch.batch, division, threads)?;
    let mut step = |number| {
        let noise = Noise { dropout, seed: 1, step: number, part: 0 };
        let start = Instant::now();
        runner.step(&model, &mut store, batch, noise);
        start.elapsed().as_secs_f64() * 1e3
    };
    let warm_up = 3;
    for number in 0..warm_up {
        step(number);
    }
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.is_empty() || start.elapsed() < time {
        times.push(step(warm_up + times.len() as u64));
    }
    times.sort_by(f64::total_cmp);
    let step_ms = times[times.len() / 2];
    Ok(BenchResult {
        steps: times.len(),
        step_ms,
        tokens_per_second: ids.len() as f64 / step_ms * 1e3,
        parameters: store.values.len(),
        bytes: runner.bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::tiny_gpt;

    #[test]
    fn measures_what_it_ran() {
        let options = BenchOptions {
            batch: 2,
            len: 6,
            division: Division { shards: 2, windows: 1 },
            threads: 1,
            time: Duration::ZERO,
            dropout: 0.0,
        };
        let result = bench_step(&tiny_gpt(), options).unwrap();
        assert!(result.steps == 1 && result.step_ms > 0.0 && result.tokens_per_second > 0.0);
        assert_eq!(result.parameters, ParamStore::<f32>::new(&tiny_gpt()).values.len());
    }
}
