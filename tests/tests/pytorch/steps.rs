//! Ten training steps of every family, as PyTorch took them: `tests/goldens/steps/`.
//!
//! The trainer begins at the same weights, reads the same windows (recurrent state is carried from one to the
//! next, without gradient) and must find the same losses and gradient norms: in f64 with plain descent almost
//! exactly, and in f32 with its own optimisers and clipping up to f32's rounding.

use crate::config::{model_config, size, text};
use crate::{names, read, weights};
use serde_json::Value;
use siskin_format::ModelConfig;
use siskin_trainer::float::Float;
use siskin_trainer::model::{Batch, Model, Noise, Source};
use siskin_trainer::optim::clip::ClipConfig;
use siskin_trainer::optim::{OptimConfig, OptimName, Optimizer, ParamInfo};
use siskin_trainer::parallel::{DataParallel, Division};

/// Two f64 programs that sum in different orders; 5e-16 was seen.
const TOLERANCE_F64: f64 = 1e-13;
/// f32 against f64, within ten steps; 2e-7 was seen.
const TOLERANCE_F32: f64 = 1e-6;

macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })+

        #[test]
        fn every_golden_file_is_tested() {
            let mut tested = vec![$(stringify!($name)),+];
            tested.sort();
            assert_eq!(names("steps"), tested);
        }
    };
}

cases!(
    rnn,
    rnn_relu,
    rnn_leaky_relu,
    rnn_batch,
    gru,
    gru_rms_tied,
    lstm,
    lstm_res_norm,
    gpt,
    transformer_plain,
    llama,
    llama_tied,
    mixed,
);

fn check(name: &str) {
    let golden = Golden::read(name);
    let config = golden.config();
    let sgd = golden.run("sgd");
    golden.compare::<f64>(name, &config, sgd, TOLERANCE_F64, |lr, values, gradient| {
        values.iter_mut().zip(gradient).for_each(|(w, g)| *w -= lr * *g);
    });
    for run in ["sgd", "adamw"].map(|name| golden.run(name)) {
        let mut optimizer = golden.optimizer(&config, run);
        let clip = ClipConfig { norm: run["clip_norm"].as_f64().map(|c| c as f32), value: None };
        golden.compare::<f32>(name, &config, run, TOLERANCE_F32, |_, values, gradient| {
            let scale = clip.clip(gradient, 1.0).scale;
            optimizer.step(values, gradient, 1.0, scale);
        });
    }
}

struct Golden {
    json: Value,
    tokens: Vec<u32>,
    batch: usize,
    len: usize,
    steps: usize,
}

impl Golden {
    fn read(name: &str) -> Golden {
        let json = read("steps", name);
        let tokens = json["tokens"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect();
        let [batch, len, steps] = ["batch", "len", "steps"].map(|key| size(&json, key));
        Golden { json, tokens, batch, len, steps }
    }

    fn run(&self, optimizer: &str) -> &Value {
        let runs = self.json["runs"].as_array().unwrap();
        runs.iter().find(|run| text(run, "name") == optimizer).expect("a run of the optimiser")
    }

    fn config(&self) -> ModelConfig {
        model_config(&self.json["config"])
    }

    fn optimizer(&self, config: &ModelConfig, run: &Value) -> Optimizer {
        let number = |key: &str| run[key].as_f64().map(|v| v as f32);
        let settings = OptimConfig {
            lr: number("lr"),
            beta1: number("beta1"),
            beta2: number("beta2"),
            eps: number("eps"),
            weight_decay: number("weight_decay"),
            ..OptimConfig::new(OptimName::parse(text(run, "name")).unwrap())
        };
        let layout = siskin_trainer::params::ParamLayout::new(config);
        let infos: Vec<_> = layout.specs().iter().map(ParamInfo::from_spec).collect();
        let decayed: Vec<_> =
            self.json["decayed"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
        for info in &infos {
            assert_eq!(info.decays, decayed.contains(&info.name.as_str()), "decay of {}", info.name);
        }
        Optimizer::new(&settings, infos).unwrap()
    }

    /// Windows of step `step`: track b of the text begins at b * len * steps.
    fn window(&self, step: usize, shift: usize) -> Vec<u32> {
        let start = |b: usize| (b * self.steps + step) * self.len + shift;
        (0..self.batch).flat_map(|b| self.tokens[start(b)..][..self.len].iter().copied()).collect()
    }

    fn compare<T: Float>(
        &self,
        name: &str,
        config: &ModelConfig,
        run: &Value,
        tolerance: f64,
        mut descend: impl FnMut(T, &mut [T], &mut [T]),
    ) {
        let model = Model::<T>::new(config).unwrap();
        let mut store = weights::<T>(&self.json, config);
        // Batch norm's statistics are those of what goes through a tape together.
        let together = Division { shards: 1, windows: self.batch };
        let division = if store.buffers.is_empty() { Division { shards: 2, windows: 1 } } else { together };
        let mut runner = DataParallel::new(&model, self.batch, division, 2).unwrap();
        let lr = T::from_f64(run["lr"].as_f64().unwrap());
        for step in 0..self.steps {
            let (tokens, targets) = (self.window(step, 0), self.window(step, 1));
            let batch = Batch {
                tokens: &tokens,
                targets: &targets,
                batch: self.batch,
                len: self.len,
                source: Source::NONE,
            };
            let loss = runner.step(&model, &mut store, batch, Noise::NONE).mean();
            let gradient = runner.gradient();
            let norm = gradient.iter().map(|g| g.to_f64().powi(2)).sum::<f64>().sqrt();
            for (what, found, list) in [("loss", loss, "losses"), ("gradient norm", norm, "gradient_norms")] {
                let expected = run[list][step].as_f64().unwrap();
                let error = ((found - expected) / expected).abs();
                // A norm is a sum of squares of many small numbers, which f32 knows less well than the loss.
                let tolerance = if what == "loss" { tolerance } else { 20.0 * tolerance };
                assert!(
                    error <= tolerance,
                    "{name}, {}, {}: {what} of step {step} is {found}, PyTorch's is {expected}, {error:.1e} off",
                    text(run, "name"),
                    std::any::type_name::<T>(),
                );
            }
            descend(lr, &mut store.values, gradient);
        }
    }
}
