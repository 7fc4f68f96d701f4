//! Loss, logits and gradients of encoder-decoders, as PyTorch computed them: `tests/goldens/seq2seq/`.
//!
//! The trainer must find the loss and every element of the gradient in f64, and the runtime the logits in f32 from an exported file. A batch
//! has sources and targets of several lengths; the runtime, which knows no padding, reads each without it.

use crate::config::model_config;
use crate::{names, read, weights};
use serde_json::Value;
use siskin_format::{DType, ModelConfig};
use siskin_trainer::export::Trained;
use siskin_trainer::model::{Batch, Model, Noise, Source};
use siskin_trainer::parallel::{DataParallel, Division};
use siskin_trainer::tape::Tape;
use siskin_trainer::tokenizer::placeholder;
use siskin_trainer::verify::Measured;

/// Two f64 programs that sum in different orders: of the loss, and of an element of the gradient relative to the largest of all. That of
/// a bias of keys is 0 but for rounding, as softmax does not see it, so that no tensor is its own measure.
const TOLERANCE_F64: f64 = 1e-13;
/// The runtime's f32 against f64, of logits up to 8.
const TOLERANCE_F32: f64 = 1e-5;

struct Golden {
    json: Value,
    config: ModelConfig,
    source: Vec<u32>,
    source_lens: Vec<u32>,
    tokens: Vec<u32>,
    targets: Vec<u32>,
}

fn integers(json: &Value) -> Vec<u32> {
    let number = |n: &Value| u32::try_from(n.as_u64().unwrap()).unwrap();
    match json.as_array().unwrap() {
        rows if rows[0].is_array() => rows.iter().flat_map(integers).collect(),
        row => row.iter().map(number).collect(),
    }
}

fn floats(json: &Value) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn largest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, |most, value| most.max(value.abs()))
}

impl Golden {
    fn read(name: &str) -> Golden {
        let json = read("seq2seq", name);
        let [source, source_lens, tokens, targets] =
            ["source", "source_lens", "tokens", "targets"].map(|key| integers(&json[key]));
        Golden { config: model_config(&json["config"]), json, source, source_lens, tokens, targets }
    }

    fn batch(&self) -> Batch<'_> {
        let n = self.source_lens.len();
        Batch {
            tokens: &self.tokens,
            targets: &self.targets,
            batch: n,
            len: self.tokens.len() / n,
            source: Source { tokens: &self.source, lens: &self.source_lens, len: self.source.len() / n },
        }
    }

    /// Holds loss and gradient of a training step against PyTorch's; gives how far off the gradient is.
    fn compare_gradient(&self, recompute: bool, windows: usize) -> f64 {
        let mut store = weights::<f64>(&self.json, &self.config);
        let model = Model::new(&self.config).unwrap().recomputing(recompute);
        let batch = self.batch();
        let mut runner = DataParallel::new(&model, batch.batch, Division { shards: 2, windows }, 2).unwrap();
        let loss = runner.step(&model, &mut store, batch, Noise::NONE).mean();
        let expected = self.json["loss"].as_f64().unwrap();
        assert!(
            (loss - expected).abs() <= TOLERANCE_F64 * expected,
            "loss is {loss}, PyTorch's is {expected}"
        );
        let layout = store.layout().clone();
        let measure = largest(runner.gradient().iter().copied());
        let mut worst = 0f64;
        for (spec, range) in layout.tensors() {
            let (found, expected) = (&runner.gradient()[range], floats(&self.json["gradient"][&spec.name]));
            assert_eq!(found.len(), expected.len(), "{}", spec.name);
            let error = largest(found.iter().zip(&expected).map(|(found, expected)| found - expected));
            let relative = error / measure;
            assert!(relative <= TOLERANCE_F64, "the gradient of {} is {relative:.1e} off", spec.name);
            worst = worst.max(relative);
        }
        worst
    }

    /// Largest difference of a logit of the trainer, in f64 and in evaluation.
    fn trainer_difference(&self) -> f64 {
        let (store, model) = (weights::<f64>(&self.json, &self.config), Model::new(&self.config).unwrap());
        let mut state = model.new_state(self.batch().batch);
        let found = model.logits(&mut Tape::new(), &store, self.batch(), &mut state);
        let expected = floats(&self.json["logits"]);
        assert_eq!(found.len(), expected.len());
        largest(found.iter().zip(expected).map(|(found, expected)| found - expected))
    }

    /// Largest difference of a logit of the runtime, which reads a file of this dtype.
    fn runtime_difference(&self, dtype: DType) -> f64 {
        let store = weights::<f32>(&self.json, &self.config);
        let folded = store.folded(f64::from(self.config.norm_eps));
        let vocab = placeholder(self.config.vocab_size).unwrap();
        let trained = Trained { config: &self.config, vocab: &vocab, weights: &folded };
        let runtime = Measured::from_bytes(trained.to_bytes(dtype).unwrap()).unwrap();
        let Batch { batch, len, source, .. } = self.batch();
        let expected = floats(&self.json["logits"]);
        let mut most = 0f64;
        for i in 0..batch {
            let source = &source.tokens[i * source.len..][..source.lens[i] as usize];
            let found = runtime.logits(source, &self.tokens[i * len..][..len]).unwrap();
            let expected = &expected[i * found.len()..][..found.len()];
            most = most.max(largest(found.iter().zip(expected).map(|(x, exact)| f64::from(*x) - exact)));
        }
        most
    }
}

#[test]
fn the_trainer_finds_loss_and_gradient() {
    for name in names("seq2seq") {
        let golden = Golden::read(&name);
        for (recompute, windows) in [(false, 1), (false, 2), (true, 1)] {
            let worst = golden.compare_gradient(recompute, windows);
            println!("{name}, {windows} at a time: the gradient is {worst:.1e} off");
        }
        let difference = golden.trainer_difference();
        println!("{name}: logits of the trainer differ by up to {difference:.1e}");
        assert!(difference <= 10.0 * TOLERANCE_F64, "{name}: logits differ by {difference}");
    }
}

#[test]
fn the_runtime_finds_the_logits() {
    assert_eq!(names("seq2seq"), ["gpt", "llama", "mixed"]);
    for name in names("seq2seq") {
        let difference = Golden::read(&name).runtime_difference(DType::F32);
        println!("{name}: logits of the runtime differ by up to {difference:.1e}");
        assert!(difference <= TOLERANCE_F32, "{name}: logits differ by {difference}");
    }
}
