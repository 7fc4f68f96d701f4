//! Optimisers, clipping, averaging and schedules against PyTorch's numbers.
//!
//! `tests/goldens/make_optim.py` made them in float64. We compute in f32, so a value may be off by a few units in its
//! last place times the steps taken: the tolerances are stated with each test.

use serde::Deserialize;

use super::clip::{ClipConfig, norm};
use super::ema::Ema;
use super::{OptimConfig, Optimizer, ParamInfo, ParamKind, Schedule, ScheduleConfig};

macro_rules! golden {
    ($path:literal) => {
        serde_json::from_str(include_str!(concat!("../../../tests/goldens/", $path, ".json"))).unwrap()
    };
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    rows: usize,
    cols: usize,
    kind: String,
}

#[derive(Deserialize)]
struct Problem {
    tensors: Vec<Tensor>,
    params: Vec<f32>,
    grads: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Cases<T> {
    cases: Vec<T>,
}

#[derive(Deserialize)]
struct OptimCase {
    name: String,
    settings: OptimConfig,
    after: std::collections::BTreeMap<usize, Vec<f64>>,
    state: Vec<f64>,
}

impl Problem {
    fn load() -> Self {
        golden!("optim/problem")
    }

    fn infos(&self) -> Vec<ParamInfo> {
        let kind = |name: &str| match name {
            "matrix" => ParamKind::Matrix,
            "embedding" => ParamKind::Embedding,
            "head" => ParamKind::Head,
            _ => ParamKind::Vector,
        };
        self.tensors.iter().map(|t| ParamInfo::new(&*t.name, t.rows, t.cols, kind(&t.kind))).collect()
    }
}

/// The largest |got − expected| / (|expected| + floor).
fn error(got: &[f32], expected: &[f64], floor: f64) -> f64 {
    assert_eq!(got.len(), expected.len());
    let errors = got.iter().zip(expected).map(|(g, e)| (f64::from(*g) - e).abs() / (e.abs() + floor));
    errors.fold(0.0, |worst, e| if e <= worst { worst } else { e })
}

fn check_optimizer(cases: Cases<OptimCase>, tolerance: f64) {
    let problem = Problem::load();
    for case in cases.cases {
        let mut optimizer = Optimizer::new(&case.settings, problem.infos()).unwrap();
        let mut params = problem.params.clone();
        let mut compared = 0;
        for (t, grads) in problem.grads.iter().enumerate() {
            optimizer.step(&mut params, grads, 1.0, 1.0);
            if let Some(expected) = case.after.get(&(t + 1)) {
                let error = error(&params, expected, 0.1);
                assert!(error < tolerance, "{} after {} steps: {error:e}", case.name, t + 1);
                compared += 1;
            }
        }
        assert_eq!(compared, case.after.len());
        let error = error(optimizer.state(), &case.state, 1e-2);
        assert!(error < tolerance, "{}: state {error:e}", case.name);
    }
}

#[test]
fn sgd() {
    check_optimizer(golden!("optim/sgd"), 5e-6);
}

#[test]
fn adagrad() {
    check_optimizer(golden!("optim/adagrad"), 2e-6);
}

#[test]
fn rmsprop() {
    // s − a² cancels where all gradients so far are alike
    check_optimizer(golden!("optim/rmsprop"), 5e-5);
}

#[test]
fn adam() {
    check_optimizer(golden!("optim/adam"), 2e-5);
}

#[test]
fn adamw() {
    check_optimizer(golden!("optim/adamw"), 2e-5);
}

#[test]
fn lion() {
    check_optimizer(golden!("optim/lion"), 2e-6);
}

#[test]
fn muon() {
    check_optimizer(golden!("optim/muon"), 2e-5);
}

#[test]
fn clip() {
    #[derive(Deserialize)]
    struct ClipCase {
        settings: ClipConfig,
        norm: Option<f64>,
        grads: Vec<f64>,
    }
    let problem = Problem::load();
    let cases: Cases<ClipCase> = golden!("optim/clip");
    for case in cases.cases {
        let mut grads = problem.grads[0].clone();
        let clipped = case.settings.clip(&mut grads, 1.0);
        if let Some(expected) = case.norm {
            assert!((f64::from(clipped.norm) / expected - 1.0).abs() < 1e-6);
        }
        grads.iter_mut().for_each(|g| *g *= clipped.scale);
        assert!(error(&grads, &case.grads, 1e-3) < 1e-6, "{:?}", case.settings);
        if let Some(limit) = case.settings.norm {
            assert!(norm(&grads) <= f64::from(limit) * (1.0 + 1e-6));
        }
    }
}

#[test]
fn ema() {
    #[derive(Deserialize)]
    struct EmaCase {
        decay: f32,
        updates: usize,
        average: Vec<f64>,
    }
    let problem = Problem::load();
    let case: EmaCase = golden!("optim/ema");
    let mut ema = Ema::new(&problem.params, case.decay, false);
    problem.grads[..case.updates].iter().for_each(|params| ema.update(params));
    let error = error(ema.average(), &case.average, 0.1);
    assert!(error < 2e-6, "{error:e}");
}

#[derive(Deserialize)]
struct ScheduleCase {
    settings: ScheduleConfig,
    total: u64,
    #[serde(default)]
    losses: Vec<f64>,
    factors: Vec<f64>,
}

fn check_schedule(cases: Cases<ScheduleCase>) {
    for case in cases.cases {
        let mut schedule = Schedule::new(&case.settings).unwrap();
        assert_eq!(case.factors.len() as u64, case.total);
        for (step, expected) in case.factors.iter().enumerate() {
            if let Some(loss) = case.losses.get(step) {
                schedule.observe_loss(*loss);
            }
            let factor = schedule.factor(step as u64, case.total);
            let error = (f64::from(factor) - expected).abs();
            assert!(error < 1e-7 + 1e-7 * expected, "{:?} step {step}: {factor}, {expected}", case.settings);
        }
    }
}

#[test]
fn schedules() {
    check_schedule(golden!("schedules/constant"));
    check_schedule(golden!("schedules/step"));
    check_schedule(golden!("schedules/exponential"));
    check_schedule(golden!("schedules/inverse-time"));
    check_schedule(golden!("schedules/polynomial"));
    check_schedule(golden!("schedules/linear"));
    check_schedule(golden!("schedules/cosine"));
    check_schedule(golden!("schedules/one-cycle"));
    check_schedule(golden!("schedules/wsd"));
    check_schedule(golden!("schedules/plateau"));
}
