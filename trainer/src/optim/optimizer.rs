//! [`Optimizer`]: one update rule over all tensors of a model.

use rayon::prelude::*;

use super::config::{OptimConfig, Rule};
use super::{ParamInfo, ParamKind, Step};
use crate::error::{Error, Result};

/// Elements of a tensor that one job steps: enough to outweigh handing out the job, few enough to share.
const CHUNK: usize = 1 << 14;

/// Below this many parameters the threads are not worth waking.
const PARALLEL_FROM: usize = 1 << 16;

/// The state of an optimiser and the rule that uses it.
#[derive(Clone, Debug)]
pub struct Optimizer {
    rule: Rule,
    lr: f32,
    weight_decay: f32,
    decoupled: bool,
    maximize: bool,
    infos: Vec<ParamInfo>,
    /// Per tensor, in order: each of its buffers, as long as the tensor.
    state: Vec<f32>,
    steps: u64,
}

/// A piece of a tensor with its buffers, which one thread steps.
struct Job<'a> {
    rule: JobRule<'a>,
    step: Step,
    p: &'a mut [f32],
    grad: &'a [f32],
    state: [&'a mut [f32]; 3],
}

#[derive(Clone, Copy)]
enum JobRule<'a> {
    Elementwise(&'a Rule),
    Matrix { muon: &'a super::muon::Muon, rows: usize, cols: usize },
}

impl Optimizer {
    /// An optimiser for the tensors `infos`, which lie one after the other in the parameter slice.
    ///
    /// # Errors
    /// [`Error::Setting`] for settings that cannot work.
    pub fn new(config: &OptimConfig, mut infos: Vec<ParamInfo>) -> Result<Self> {
        let rule = config.rule()?;
        for info in &mut infos {
            let mult = match info.kind {
                ParamKind::Matrix => None,
                ParamKind::Embedding => config.embedding_lr_mult,
                ParamKind::Head => config.head_lr_mult,
                ParamKind::Vector => config.vector_lr_mult,
            };
            info.lr_mult *= mult.unwrap_or(1.0);
        }
        let n_state = infos.iter().map(|info| rule.n_buffers(info) * info.len()).sum();
        let start = if let Rule::Adagrad(adagrad) = &rule { adagrad.initial } else { 0.0 };
        Ok(Optimizer {
            rule,
            lr: config.lr(),
            weight_decay: config.weight_decay(),
            decoupled: config.is_decoupled(),
            maximize: config.maximize,
            infos,
            state: vec![start; n_state],
            steps: 0,
        })
    }

    /// Steps all of `params` against `grads`.
    ///
    /// `lr_factor` is the schedule's, 1 for the configured learning rate. `grad_scale` multiplies every
    /// gradient on the way in: 1 / count for accumulated sums, times [`super::clip::Clipped::scale`].
    ///
    /// # Panics
    /// If the lengths differ from the sum of the tensors' lengths.
    pub fn step(&mut self, params: &mut [f32], grads: &[f32], lr_factor: f32, grad_scale: f32) {
        let n: usize = self.infos.iter().map(ParamInfo::len).sum();
        assert_eq!((params.len(), grads.len()), (n, n), "parameters and gradients of the model");
        self.steps += 1;
        let jobs = self.jobs(params, grads, lr_factor, grad_scale);
        if n < PARALLEL_FROM {
            jobs.into_iter().for_each(Job::run);
        } else {
            // Matrices first: the longest jobs must not be the last to begin.
            let (matrices, rest): (Vec<_>, Vec<_>) =
                jobs.into_iter().partition(|job| matches!(job.rule, JobRule::Matrix { .. }));
            matrices.into_par_iter().with_max_len(1).chain(rest.into_par_iter()).for_each(Job::run);
        }
    }

    /// Steps done so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The tensors, in order, with the learning-rate multipliers in force.
    pub fn infos(&self) -> &[ParamInfo] {
        &self.infos
    }

    /// The learning rate before schedule and multipliers.
    pub fn lr(&self) -> f32 {
        self.lr
    }

    /// Replaces the learning rate before schedule and multipliers, and in Muon, if `adam_lr` is given, that of embedding, head and
    /// vectors, from the next step on. What the rule remembers stays.
    pub fn set_rates(&mut self, lr: f32, adam_lr: Option<f32>) {
        self.lr = lr;
        if let (Rule::Muon(muon), Some(adam_lr)) = (&mut self.rule, adam_lr) {
            muon.adam_lr = adam_lr;
        }
    }

    /// Everything the rule remembers, for a checkpoint; together with [`Optimizer::steps`] it is the whole state.
    pub fn state(&self) -> &[f32] {
        &self.state
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// [`Error::Run`] when the state is of another length: of another model or rule.
    pub fn restore(&mut self, steps: u64, state: &[f32]) -> Result<()> {
        if state.len() != self.state.len() {
            return Err(Error::Run(format!(
                "optimiser state has {} numbers, this model and rule need {}: resume with the settings of the run",
                state.len(),
                self.state.len()
            )));
        }
        self.steps = steps;
        self.state.copy_from_slice(state);
        Ok(())
    }

    /// Cuts the work into jobs at places that depend on the tensors alone.
    fn jobs<'a>(
        &'a mut self,
        mut params: &'a mut [f32],
        mut grads: &'a [f32],
        lr_factor: f32,
        grad_scale: f32,
    ) -> Vec<Job<'a>> {
        let mut jobs = Vec::with_capacity(self.infos.len() + params.len() / CHUNK);
        let mut state = &mut self.state[..];
        let grad_scale = if self.maximize { -grad_scale } else { grad_scale };
        for info in &self.infos {
            let n = info.len();
            let lr = lr_factor * info.lr_mult * self.rule.base_lr(info, self.lr);
            let decay = if info.decays { self.weight_decay } else { 0.0 };
            let (l2, keep) = if self.decoupled { (0.0, 1.0 - lr * decay) } else { (decay, 1.0) };
            let step = Step { lr, grad_scale, l2, keep, t: self.steps };
            let (rule, chunk) = self.rule.job_rule(info);
            let mut p = params.split_off_mut(..n).expect("length checked");
            let mut grad = grads.split_off(..n).expect("length checked");
            let n_buffers = self.rule.n_buffers(info);
            let mut buffers: [&mut [f32]; 3] = std::array::from_fn(|i| {
                let len = if i < n_buffers { n } else { 0 };
                state.split_off_mut(..len).expect("sized by the same rule")
            });
            while !p.is_empty() {
                let len = chunk.min(p.len());
                jobs.push(Job {
                    rule,
                    step,
                    p: p.split_off_mut(..len).expect("len is at most the rest"),
                    grad: grad.split_off(..len).expect("as long as p"),
                    state: buffers
                        .each_mut()
                        .map(|b| b.split_off_mut(..len.min(b.len())).unwrap_or_default()),
                });
            }
        }
        jobs
    }
}

impl Rule {
    /// Whether Muon steps this tensor as a matrix.
    fn is_matrix_step(&self, info: &ParamInfo) -> bool {
        matches!(self, Rule::Muon(_)) && info.kind == ParamKind::Matrix
    }

    /// State buffers of a tensor, each as long as the tensor.
    fn n_buffers(&self, info: &ParamInfo) -> usize {
        match self {
            Rule::Sgd(sgd) => usize::from(sgd.momentum != 0.0),
            Rule::Adagrad(_) | Rule::Lion(_) => 1,
            Rule::RmsProp(rms) => 1 + usize::from(rms.centered) + usize::from(rms.momentum != 0.0),
            Rule::Adam(_) => 2,
            Rule::Muon(_) => 2 - usize::from(self.is_matrix_step(info)),
        }
    }

    fn base_lr(&self, info: &ParamInfo, lr: f32) -> f32 {
        match self {
            Rule::Muon(muon) if !self.is_matrix_step(info) => muon.adam_lr,
            _ => lr,
        }
    }

    /// Who steps the tensor, and how many elements at a time.
    fn job_rule(&self, info: &ParamInfo) -> (JobRule<'_>, usize) {
        match self {
            Rule::Muon(muon) if self.is_matrix_step(info) => {
                let rows = info.rows / info.stacked;
                (JobRule::Matrix { muon, rows, cols: info.cols }, rows * info.cols)
            }
            _ => (JobRule::Elementwise(self), CHUNK),
        }
    }
}

impl Job<'_> {
    fn run(self) {
        let Job { rule, step, p, grad, state: [a, b, c] } = self;
        match rule {
            JobRule::Matrix { muon, rows, cols } => muon.update(&step, rows, cols, p, grad, a),
            JobRule::Elementwise(Rule::Sgd(sgd)) => sgd.update(&step, p, grad, a),
            JobRule::Elementwise(Rule::Adagrad(adagrad)) => adagrad.update(&step, p, grad, a),
            JobRule::Elementwise(Rule::RmsProp(rms)) => rms.update(&step, p, grad, [a, b, c]),
            JobRule::Elementwise(Rule::Adam(adam)) => adam.update(&step, p, grad, a, b),
            JobRule::Elementwise(Rule::Muon(muon)) => muon.adam.update(&step, p, grad, a, b),
            JobRule::Elementwise(Rule::Lion(lion)) => lion.update(&step, p, grad, a),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::OptimName;
    use super::*;
    use crate::rng::Rng;

    fn infos() -> Vec<ParamInfo> {
        vec![
            ParamInfo::new("embed.weight", 97, 64, ParamKind::Embedding),
            ParamInfo::new("w_x", 4 * 128, 64, ParamKind::Matrix).stacked(4),
            ParamInfo::new("wide", 64, 300, ParamKind::Matrix),
            ParamInfo::new("head.weight", 512, 64, ParamKind::Head),
            ParamInfo::new("norm.weight", 33, 1, ParamKind::Vector),
        ]
    }

    fn random(seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed);
        let n: usize = infos().iter().map(ParamInfo::len).sum();
        (0..n).map(|_| rng.normal() as f32).collect()
    }

    fn trained(config: &OptimConfig, threads: usize) -> Vec<f32> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut optimizer = Optimizer::new(config, infos()).unwrap();
        let mut params = random(0);
        pool.install(|| (1..4).for_each(|t| optimizer.step(&mut params, &random(t), 0.5, 1.0)));
        params
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        for name in OptimName::ALL {
            let config = OptimConfig::new(name);
            let (one, three) = (trained(&config, 1), trained(&config, 3));
            assert!(one.iter().zip(&three).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", name.as_str());
        }
    }

    #[test]
    fn a_restored_state_continues_bit_for_bit() {
        for name in OptimName::ALL {
            let config = OptimConfig::new(name);
            let mut whole = Optimizer::new(&config, infos()).unwrap();
            let mut params = random(0);
            (1..3).for_each(|t| whole.step(&mut params, &random(t), 1.0, 1.0));
            let mut again = Optimizer::new(&config, infos()).unwrap();
            again.restore(whole.steps(), whole.state()).unwrap();
            let mut resumed = params.clone();
            whole.step(&mut params, &random(3), 1.0, 1.0);
            again.step(&mut resumed, &random(3), 1.0, 1.0);
            assert_eq!(params, resumed, "{}", name.as_str());
        }
    }

    #[test]
    fn a_state_of_another_rule_is_refused() {
        let adam = Optimizer::new(&OptimConfig::new(OptimName::Adam), infos()).unwrap();
        let mut lion = Optimizer::new(&OptimConfig::new(OptimName::Lion), infos()).unwrap();
        let line = lion.restore(1, adam.state()).unwrap_err().to_string();
        assert!(line.starts_with("optimiser state has"), "{line}");
    }

    #[test]
    fn scale_and_ascent() {
        let config = OptimConfig { lr: Some(0.1), ..OptimConfig::new(OptimName::Sgd) };
        let one = |config: &OptimConfig, grads: &[f32], scale| {
            let mut params = random(0);
            Optimizer::new(config, infos()).unwrap().step(&mut params, grads, 1.0, scale);
            params
        };
        let grads = random(1);
        let (negative, half): (Vec<f32>, Vec<f32>) = grads.iter().map(|g| (-g, 0.5 * g)).unzip();
        assert_eq!(one(&config, &grads, 0.5), one(&config, &half, 1.0));
        let ascent = OptimConfig { maximize: true, ..config.clone() };
        assert_eq!(one(&ascent, &grads, 1.0), one(&config, &negative, 1.0));
    }

    #[test]
    fn stacked_matrices_are_stepped_one_by_one() {
        let config = OptimConfig::new(OptimName::Muon);
        let (params, grads) = (&random(0)[..4 * 24], &random(1)[..4 * 24]);
        let step = |info: ParamInfo, params: &[f32], grads: &[f32]| {
            let mut params = params.to_vec();
            Optimizer::new(&config, vec![info]).unwrap().step(&mut params, grads, 1.0, 1.0);
            params
        };
        let together = step(ParamInfo::new("w", 16, 6, ParamKind::Matrix).stacked(4), params, grads);
        for (i, gate) in together.chunks(24).enumerate() {
            let range = i * 24..(i + 1) * 24;
            let alone =
                step(ParamInfo::new("w", 4, 6, ParamKind::Matrix), &params[range.clone()], &grads[range]);
            assert_eq!(gate, alone);
        }
    }
}
