//! Ten training steps of every family, as PyTorch took them: `tests/goldens/steps/`, made by `make_steps.py` there.
//!
//! The trainer begins at the same weights, reads the same windows (recurrent state is carried from one to the
//! next, without gradient) and must find the same losses and gradient norms: in f64 with plain descent almost
//! exactly, and in f32 with its own optimisers and clipping up to f32's rounding.

use serde_json::Value;
use siskin_format::ModelConfig;
use siskin_format::config::{
    Activation, BlockConfig, Ffn, Norm, Position, RecurrentConfig, RnnConfig, TransformerConfig,
};
use siskin_tests::models;
use siskin_trainer::float::Float;
use siskin_trainer::model::{Batch, Model, Noise, Source};
use siskin_trainer::optim::clip::ClipConfig;
use siskin_trainer::optim::{OptimConfig, OptimName, Optimizer, ParamInfo};
use siskin_trainer::parallel::{DataParallel, Division};
use siskin_trainer::params::ParamStore;

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
            let folder = siskin_tests::golden("steps");
            let files = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path());
            let mut files: Vec<_> = files
                .filter(|path| path.extension().is_some_and(|e| e == "json"))
                .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
                .collect();
            files.sort();
            let mut tested = vec![$(stringify!($name)),+];
            tested.sort();
            assert_eq!(files, tested);
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
        let text = std::fs::read_to_string(siskin_tests::golden(&format!("steps/{name}.json"))).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
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

    /// The golden's initial weights, after a look that PyTorch had the very tensors of the schema.
    fn weights<T: Float>(&self, config: &ModelConfig) -> ParamStore<T> {
        let mut store = ParamStore::<T>::new(config);
        let theirs = self.json["tensors"].as_object().unwrap();
        let layout = store.layout().clone();
        assert_eq!(layout.specs().len(), theirs.len(), "tensors of the schema and of PyTorch's model");
        for (spec, range) in layout.tensors() {
            let shape = if spec.is_vector() { vec![spec.rows] } else { vec![spec.rows, spec.cols] };
            assert_eq!(theirs[&spec.name], serde_json::json!(shape), "{}", spec.name);
            let values = models::values(spec, self.json["seed"].as_u64().unwrap());
            for (to, from) in store.values[range].iter_mut().zip(values) {
                *to = T::from_f64(f64::from(from));
            }
        }
        store
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
        let mut store = self.weights::<T>(config);
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

fn text<'a>(json: &'a Value, key: &str) -> &'a str {
    json[key].as_str().unwrap_or_else(|| panic!("{key} is no string"))
}

fn size(json: &Value, key: &str) -> usize {
    json[key].as_u64().unwrap_or_else(|| panic!("{key} is no size")) as usize
}

fn flag(json: &Value, key: &str) -> bool {
    json[key].as_bool().unwrap_or_else(|| panic!("{key} is no boolean"))
}

fn number(json: &Value, key: &str) -> f32 {
    json[key].as_f64().unwrap_or_else(|| panic!("{key} is no number")) as f32
}

fn norm(json: &Value, key: &str) -> Norm {
    Norm::from_name(text(json, key)).unwrap()
}

fn model_config(json: &Value) -> ModelConfig {
    ModelConfig {
        vocab_size: size(json, "vocab_size"),
        d_model: size(json, "d_model"),
        context: size(json, "context"),
        position: match text(json, "position") {
            "none" => Position::None,
            "learned" => Position::Learned,
            "sinusoidal" => Position::Sinusoidal,
            "rope" => Position::Rope { theta: number(json, "rope_theta") },
            other => panic!("position {other}"),
        },
        blocks: json["blocks"].as_array().unwrap().iter().map(block_config).collect(),
        encoder: Vec::new(),
        final_norm: norm(json, "final_norm"),
        norm_eps: number(json, "norm_eps"),
        norm_weight: flag(json, "norm_weight"),
        norm_bias: flag(json, "norm_bias"),
        tied_head: flag(json, "tied_head"),
        head_bias: flag(json, "head_bias"),
        logit_softcap: number(json, "logit_softcap"),
        rope_divisors: Vec::new(),
    }
}

fn block_config(json: &Value) -> BlockConfig {
    let cell = || RecurrentConfig {
        hidden: size(json, "hidden"),
        norm: norm(json, "norm"),
        residual: flag(json, "residual"),
        bias: flag(json, "bias"),
    };
    match text(json, "kind") {
        "rnn" => {
            let activation = Activation::from_name(text(json, "activation")).unwrap();
            BlockConfig::Rnn(RnnConfig { cell: cell(), activation })
        }
        "gru" => BlockConfig::Gru(cell()),
        "lstm" => BlockConfig::Lstm(cell()),
        "transformer" => BlockConfig::Transformer(TransformerConfig {
            n_heads: size(json, "n_heads"),
            n_kv_heads: size(json, "n_kv_heads"),
            head_dim: size(json, "head_dim"),
            d_ff: size(json, "d_ff"),
            ffn: Ffn::from_name(text(json, "ffn")).unwrap(),
            norm: norm(json, "norm"),
            residual: flag(json, "residual"),
            qkv_bias: flag(json, "qkv_bias"),
            out_bias: flag(json, "out_bias"),
            ffn_bias: flag(json, "ffn_bias"),
            qk_norm: flag(json, "qk_norm"),
            token_shift: json["token_shift"] == true,
            cross_attention: false,
            window: 0,
        }),
        other => panic!("block {other}"),
    }
}
