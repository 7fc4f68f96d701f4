//! One update under observation: what it did to each tensor.

use siskin_format::TensorSpec;

use super::record::{Record, TensorRecord};
use crate::model::Observed;
use crate::params::ParamLayout;

/// Gathers a [`Record`] while an update is made.
#[derive(Debug, Default)]
pub(crate) struct Observation {
    record: Record,
    weights: Vec<f32>, // before the update
}

impl Observation {
    /// Takes in the inside of a pass before the update.
    pub(crate) fn passed(&mut self, observed: Observed) {
        self.record.activations = observed.activations;
        self.record.times = observed.times;
    }

    /// Takes in weights and gradient, `scale · grads`, as they are before clipping and the update.
    pub(crate) fn before(&mut self, layout: &ParamLayout, params: &[f32], grads: &[f32], scale: f32) {
        let tensor = |(spec, range): (&TensorSpec, std::ops::Range<usize>)| TensorRecord {
            name: spec.name.clone(),
            gradient: norm(&grads[range.clone()]) * f64::from(scale).abs(),
            weight: norm(&params[range]),
            update_ratio: 0.0,
        };
        self.record.tensors = layout.tensors().map(tensor).collect();
        self.weights = params.to_vec();
    }

    /// Takes in the weights after update number `step`, and gives the record.
    pub(crate) fn after(mut self, layout: &ParamLayout, params: &[f32], step: u64) -> Record {
        for (tensor, (_, range)) in self.record.tensors.iter_mut().zip(layout.tensors()) {
            let update = distance(&params[range.clone()], &self.weights[range]);
            tensor.update_ratio = if tensor.weight > 0.0 { update / tensor.weight } else { 0.0 };
        }
        self.record.step = step;
        self.record
    }
}

/// Euclidean norm.
fn norm(x: &[f32]) -> f64 {
    sum(x.len(), |i| f64::from(x[i]).powi(2)).sqrt()
}

/// Euclidean norm of the difference.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "weights before and after an update");
    sum(a.len(), |i| (f64::from(a[i]) - f64::from(b[i])).powi(2)).sqrt()
}

/// Sum over eight lanes, which the compiler keeps in vectors.
fn sum(n: usize, of: impl Fn(usize) -> f64) -> f64 {
    let mut lanes = [0.0; 8];
    for first in (0..n - n % 8).step_by(8) {
        lanes.iter_mut().enumerate().for_each(|(lane, sum)| *sum += of(first + lane));
    }
    lanes.iter().sum::<f64>() + (n - n % 8..n).map(of).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use crate::observe::record::{self, Record};
    use crate::progress::Progress;
    use crate::settings::parse_toml;
    use crate::train::fit::fit;
    use crate::train::run::Run;

    const STEPS: u64 = 60;

    fn start(dir: &Path, settings: &str) -> Run {
        let text = dir.join("song.txt");
        let line = |i: usize| format!("line {} of the song: {}\n", i % 7, "la".repeat(1 + i * i % 5));
        std::fs::write(&text, (0..200).map(line).collect::<String>()).unwrap();
        let common = "n_layers = 2\nd_model = 16\nhidden = 16\nn_heads = 2\ncontext = 16\nbatch_size = '8'\nsample_every = 0\n\
                      threads = 1\ncheckpoint_every = 20\ntokenizer = 'char'\ndropout = 0.1\n";
        let said = parse_toml(&format!("{common}{settings}\nsteps = {STEPS}")).unwrap();
        let paths: [PathBuf; 1] = [text];
        Run::start(&said, &paths, &dir.join("run"), Path::new("m.siskin"), &|_| ()).unwrap()
    }

    fn finish(run: &mut Run) {
        fit(run, &mut Progress::new(0, STEPS, true), &mut |_| Ok(String::new())).unwrap();
    }

    /// Weights and records of a run.
    fn train(settings: &str) -> (Vec<f32>, Vec<Record>) {
        let dir = tempfile::tempdir().unwrap();
        let mut run = start(dir.path(), settings);
        finish(&mut run);
        (run.trainer.weights(), record::read(run.dir.path()).unwrap())
    }

    #[test]
    fn observing_changes_no_bit_of_the_weights() {
        let families = [
            "model = 'rnn'\nnorm = 'batch'",
            "model = 'gru'",
            "model = 'lstm'\naccumulate = 2",
            "model = 'gpt'\nffn = 'relu'",
            "model = 'llama'",
        ];
        for family in families {
            let (observed, records) = train(&format!("{family}\nobserve_every = 3"));
            let (unobserved, none) = train(&format!("{family}\nobserve_every = 0"));
            assert!(observed == unobserved, "{family}");
            assert_eq!((records.len(), none.len()), (1 + STEPS as usize / 3, 0), "{family}");
            for record in &records {
                let recurrent = !(family.contains("gpt") || family.contains("llama"));
                assert_eq!(record.times.len(), if recurrent { 2 } else { 0 });
                assert!(record.times.iter().all(|t| t.gradient.len() == 16 && t.gradient[15] > 0.0));
                assert_eq!(record.activations.len(), if recurrent { 4 } else { 6 });
                assert!(
                    record.activations.iter().all(|a| a.rms.is_finite() && a.gradient > 0.0),
                    "{record:?}"
                );
                let inside = |a: &record::ActivationRecord| {
                    (a.dead.is_some(), a.saturated.is_some(), a.entropy.is_some())
                };
                let expected = |name: &str| match name.rsplit('.').next() {
                    Some("cell") => (false, true, false),
                    Some("attn") => (false, false, true),
                    Some("ffn") => (family.contains("relu"), false, false),
                    _ => (false, false, false),
                };
                assert!(record.activations.iter().all(|a| inside(a) == expected(&a.name)), "{record:?}");
                assert!(record.tensors.iter().any(|t| t.update_ratio > 0.0));
            }
        }
    }

    #[test]
    fn a_resumed_run_goes_on_with_the_same_records() {
        let dir = tempfile::tempdir().unwrap();
        let mut run = start(dir.path(), "model = 'lstm'\nobserve_every = 7");
        finish(&mut run);
        let (weights, folder) = (run.trainer.weights(), run.dir.path().to_path_buf());
        let records = record::read(&folder).unwrap();
        drop(run);
        remove_newest(&folder).unwrap();
        let mut run = Run::resume(&folder, None).unwrap();
        assert_eq!(run.trainer.steps(), 40);
        finish(&mut run);
        assert!(run.trainer.weights() == weights);
        assert_eq!(record::read(&folder).unwrap(), records);
    }

    fn remove_newest(folder: &Path) -> std::io::Result<()> {
        let names = std::fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path()));
        let mut checkpoints = names.collect::<std::io::Result<Vec<PathBuf>>>()?;
        checkpoints.retain(|path| path.extension().is_some_and(|e| e == "ckpt"));
        checkpoints.sort();
        std::fs::remove_file(checkpoints.last().expect("a checkpoint"))
    }

    #[test]
    fn norms_of_odd_lengths() {
        let x: Vec<f32> = (1..=11).map(|i| i as f32).collect();
        assert_eq!(super::norm(&x), 506f64.sqrt());
        assert_eq!(super::distance(&x, &x.iter().map(|x| x + 2.0).collect::<Vec<_>>()), 44f64.sqrt());
    }
}
