//! Accidents of the machine: NaN or infinity in one number at a random step. Every run must recover by the rule of
//! [`fit`](crate::train::fit::fit).

use std::cell::RefCell;
use std::path::Path;

use super::Trainer;
use crate::error::Result;
use crate::parallel::Loss;
use crate::progress::Progress;
use crate::settings::parse_toml;
use crate::train::fit::{Ending, fit};
use crate::train::run::Run;

/// Where a number goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Weight,
    Moment,
    Average,
    Statistic,
    Carried,
    /// In the middle of a forward pass.
    Activation,
    Gradient,
    Loss,
}

const PLACES: [Place; 8] = [
    Place::Weight,
    Place::Moment,
    Place::Average,
    Place::Statistic,
    Place::Carried,
    Place::Activation,
    Place::Gradient,
    Place::Loss,
];

/// Once, at the update after `step` updates, number `at` of a place (as many as there are, in turn) becomes `value`.
#[derive(Clone, Copy, Debug)]
struct Fault {
    step: u64,
    place: Place,
    at: usize,
    value: f32,
}

thread_local! {
    /// Of the run on this thread; a fault is taken out when it strikes.
    static FAULTS: RefCell<Vec<Fault>> = const { RefCell::new(Vec::new()) };
    /// A weight that was changed for one forward pass.
    static CHANGED: RefCell<Option<(usize, f32)>> = const { RefCell::new(None) };
}

fn take(step: u64, of: impl Fn(Place) -> bool) -> Option<Fault> {
    FAULTS.with_borrow_mut(|faults| {
        let at = faults.iter().position(|f| f.step == step && of(f.place))?;
        Some(faults.swap_remove(at))
    })
}

fn put(numbers: &mut [f32], fault: Fault) {
    if !numbers.is_empty() {
        let at = fault.at % numbers.len();
        numbers[at] = fault.value;
    }
}

/// The faults before a gradient is computed.
pub(super) fn strike_before(trainer: &mut Trainer) {
    let Some(fault) = take(trainer.step, |p| !matches!(p, Place::Gradient | Place::Loss)) else { return };
    match fault.place {
        Place::Weight => put(&mut trainer.store.values, fault),
        Place::Statistic => put(&mut trainer.store.buffers, fault),
        Place::Activation => {
            let at = fault.at % trainer.store.values.len();
            CHANGED.set(Some((at, trainer.store.values[at])));
            trainer.store.values[at] = fault.value;
        }
        Place::Carried => {
            let n = trainer.runner.state().count();
            if let Some(x) = trainer.runner.state_mut().nth(fault.at % n.max(1)) {
                *x = fault.value;
            }
        }
        _ => {
            let (state, optimizer, average) = trainer.descent.state();
            let (mut optimizer, mut average) = (optimizer.to_vec(), average.to_vec());
            put(if fault.place == Place::Moment { &mut optimizer } else { &mut average }, fault);
            trainer.descent.restore(state, &optimizer, &average).unwrap();
        }
    }
}

/// The faults after it.
pub(super) fn strike_after(trainer: &mut Trainer, mut loss: Loss) -> Loss {
    if let Some((at, weight)) = CHANGED.take() {
        trainer.store.values[at] = weight;
    }
    match take(trainer.step, |p| matches!(p, Place::Gradient | Place::Loss)) {
        Some(fault) if fault.place == Place::Loss => loss.sum = f64::from(fault.value),
        Some(fault) => put(trainer.runner.gradient(), fault),
        None => {}
    }
    loss
}

/// A run of `steps` updates on a small text with `faults`; its validation loss, its weights, and its log.
fn train(settings: &str, steps: u64, faults: Vec<Fault>) -> Result<(f64, Vec<f32>, String)> {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("song.txt");
    let line = |i: usize| {
        format!("line {} of the song: {}\n", i % 7, ["la", "li", "lo"][i * i % 3].repeat(1 + i % 4))
    };
    std::fs::write(&text, (0..200).map(line).collect::<String>()).unwrap();
    let common = "n_layers = 1\nd_model = 16\nhidden = 16\nn_heads = 2\ncontext = 16\nbatch_size = '4'\neval_every = 10\n\
                  sample_every = 0\nthreads = 1\ncheckpoint_every = 4\ntokenizer = 'char'\nema = 0.9\n";
    let said = parse_toml(&format!("{common}{settings}\nsteps = {steps}")).unwrap();
    let mut run = Run::start(&said, &[text], &dir.path().join("run"), Path::new("m.siskin"), &|_| ())?;
    FAULTS.set(faults);
    let ending = fit(&mut run, &mut Progress::new(0, steps, true), &mut |_| Ok(String::new()))?;
    assert_eq!(ending, Ending::Finished);
    assert_eq!(FAULTS.with_borrow(Vec::len), 0, "a fault did not strike");
    let log = std::fs::read_to_string(dir.path().join("run/log.jsonl")).unwrap();
    let loss = run.trainer.evaluate(u64::MAX)?.expect("a part is held out").mean();
    Ok((loss, run.trainer.weights(), log))
}

fn below(state: &mut u64, n: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    ((*state >> 33) % n as u64) as usize
}

const FAMILIES: [&str; 4] =
    ["model = 'gru'", "model = 'lstm'", "model = 'gpt'", "model = 'rnn'\nnorm = 'batch'"];

/// A random fault of a kind that the model of family number `family` can have.
fn random(rng: &mut u64, family: usize, step: u64) -> Fault {
    let exists = |place| match place {
        Place::Statistic => family == 3,
        Place::Carried => family != 2,
        _ => true,
    };
    loop {
        let place = PLACES[below(rng, PLACES.len())];
        if exists(place) {
            let value = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][below(rng, 3)];
            return Fault { step, place, at: below(rng, 1 << 20), value };
        }
    }
}

/// One fault in each of 100 runs. What stays wrong makes the run go back, and its result is that of an undisturbed one, bit for bit;
/// what passes costs one update.
#[test]
fn a_hundred_runs_recover_from_one_fault_each() {
    const STEPS: u64 = 60;
    let whole: Vec<_> = FAMILIES.iter().map(|f| train(f, STEPS, Vec::new()).unwrap()).collect();
    let (mut rng, mut same, mut worst) = (1, 0, 0.0f64);
    for i in 0..100 {
        let family = i % FAMILIES.len();
        let step = below(&mut rng, STEPS as usize) as u64;
        let fault = random(&mut rng, family, step);
        let (loss, weights, log) =
            train(FAMILIES[family], STEPS, vec![fault]).unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        let (expected, undisturbed, quiet) = &whole[family];
        assert!(!quiet.contains("\"note\""));
        let notes: Vec<&str> = log.lines().filter(|l| l.contains("\"note\"")).collect();
        assert!(
            (loss / expected - 1.0).abs() < 0.05,
            "{fault:?}: loss {loss}, undisturbed {expected}: {notes:?}"
        );
        worst = worst.max((loss / expected - 1.0).abs());
        let stays = matches!(fault.place, Place::Weight | Place::Moment | Place::Average | Place::Statistic);
        if stays {
            assert!(weights == *undisturbed, "{fault:?}: {notes:?}");
        }
        // An infinite activation may well be none behind a gate, and then nothing went wrong.
        let harmless = notes.is_empty() && weights.iter().all(|w| w.is_finite()) && !stays;
        let one = notes.len() == 1 && (notes[0].contains("skipped") || notes[0].contains("goes back"));
        assert!(one || harmless, "{fault:?}: {notes:?}");
        same += usize::from(weights == *undisturbed);
    }
    println!(
        "100 of 100 recovered, {same} with the weights of an undisturbed run, loss within {:.2} %",
        100.0 * worst
    );
}

/// A hundred faults in one run.
#[test]
fn one_run_recovers_from_a_hundred_faults() {
    const STEPS: u64 = 600;
    for (family, settings) in FAMILIES.iter().enumerate() {
        let mut rng = 5 + family as u64;
        let mut steps: Vec<u64> = (0..STEPS).collect();
        let faults = (0..100).map(|_| {
            let step = steps.swap_remove(below(&mut rng, steps.len()));
            random(&mut rng, family, step)
        });
        let faults: Vec<Fault> = faults.collect();
        let (expected, ..) = train(settings, STEPS, Vec::new()).unwrap();
        let (loss, weights, _) = train(settings, STEPS, faults).unwrap();
        println!("{settings:?}: loss {loss:.4} after 100 faults, {expected:.4} without");
        assert!(weights.iter().all(|w| w.is_finite()));
        assert!(loss < expected * 1.1, "{settings}: loss {loss}, undisturbed {expected}");
    }
}

/// A fault that comes again and again is divergence, which ends the run.
#[test]
fn what_comes_again_ends_the_run() {
    let fault = Fault { step: 21, place: Place::Weight, at: 0, value: f32::NAN };
    let error = train(FAMILIES[0], 60, vec![fault; 4]).unwrap_err().to_string();
    FAULTS.take();
    assert!(
        error.contains("is NaN at step 22: weight of embed.weight is NaN") && error.contains("Lower lr"),
        "{error}"
    );
    assert!(error.contains("The last good state is in "), "{error}");
}
