//! Small runs with and without a fault, and cases made by hand. The whole table is that of `examples/doctor_table.rs`.

use super::case::Case;
use super::planted::{RUNS, settings_of};
use super::{Examination, Trouble, diagnose, flags};
use crate::report::history::{History, Update};
use crate::settings::Settings;

/// Those of the table that take the least time.
const FAST: [&str; 12] = [
    "ReLU RNN whose states overflow",
    "RNN, recurrent gain 3, no clipping",
    "ReLU RNN, rate 16 times the usual",
    "GRU, rate 16 times the usual",
    "RNN, weights of standard deviation 2",
    "RNN that begins with GPT's weights",
    "LSTM, rate 6,000 times below the usual",
    "GRU, tiny text",
    "RNN",
    "RNN with ReLU",
    "GRU",
    "LSTM",
];

#[test]
fn planted_faults_are_named_and_healthy_runs_are_not() {
    let text = include_str!("../../data/shakespeare.txt");
    for name in FAST {
        let planted = RUNS.iter().find(|r| r.name == name).expect("a run of the table");
        let dir = tempfile::tempdir().unwrap();
        let case = planted.train(text, false, dir.path()).unwrap();
        let found = diagnose(&case);
        assert_eq!(found.first().map(|f| f.trouble), planted.trouble, "{name}: {found:?}");
        for finding in &found {
            let remedy = settings_of(&flags(&finding.remedy)).unwrap();
            assert_eq!(remedy, finding.remedy, "the flags of a remedy say what it is");
        }
        let text = Examination::of(&case).to_string();
        assert_eq!(text.contains("no trouble found"), planted.trouble.is_none(), "{text}");
    }
}

fn case(losses: impl Iterator<Item = f64>) -> Case {
    let update = |(i, loss)| Update { step: i as f64 + 1.0, loss, lr: 1e-3, grad_norm: 1.0 };
    Case {
        settings: Settings { warmup: Some(0), ..Default::default() },
        vocab_size: 64,
        unigram: 3.0,
        matrices: Vec::new(),
        total: 200,
        history: History { updates: losses.enumerate().map(update).collect(), ..Default::default() },
        records: Vec::new(),
    }
}

fn names(case: &Case) -> Vec<Trouble> {
    diagnose(case).into_iter().map(|f| f.trouble).collect()
}

fn falling() -> impl Iterator<Item = f64> {
    (0..200).map(|i| 2.0 + 2.0 * (-f64::from(i) / 30.0).exp())
}

#[test]
fn nothing_is_found_where_nothing_was_recorded() {
    assert_eq!(names(&case(std::iter::empty())), []);
    assert_eq!(names(&case(falling())), []);
    assert!(Examination::of(&case(std::iter::empty())).to_string().contains("no look inside was recorded"));
}

#[test]
fn a_loss_that_rises_for_good_is_divergence_and_one_that_comes_back_is_not() {
    let bump = |at: std::ops::Range<usize>| {
        falling().enumerate().map(move |(i, loss)| if at.contains(&i) { loss + 1.5 } else { loss })
    };
    assert_eq!(names(&case(bump(150..200))), [Trouble::Divergence]);
    assert_eq!(names(&case(bump(120..150))), []);
}

#[test]
fn one_accident_of_the_machine_is_no_divergence() {
    let mut one = case(falling());
    let note = |step| {
        (
            step,
            "step 7: gradient of a is NaN; this update is skipped, the weights stay as they were".to_string(),
        )
    };
    one.history.notes = vec![note(7)];
    assert_eq!(names(&one), []);
    one.history.notes = vec![note(7), note(80)];
    assert_eq!(names(&one), [Trouble::Divergence]);
    let finding = &diagnose(&one)[0];
    assert!(finding.evidence.contains("gradient of a is NaN") && finding.first_step == 7, "{finding:?}");
}

#[test]
fn a_validation_loss_that_rises_is_overfitting_only_while_the_training_loss_falls() {
    let evals: Vec<(f64, f64)> = (1..=8)
        .map(|i| (f64::from(i) * 25.0, if i < 4 { 2.4 } else { 2.3 + 0.1 * f64::from(i - 3) }))
        .collect();
    let mut rising = case((0..200).map(|i| 3.0 - 0.01 * f64::from(i)));
    rising.history.evals = evals.clone();
    assert_eq!(names(&rising), [Trouble::Overfitting]);
    let mut flat = case((0..200).map(|_| 2.0));
    flat.history.evals = evals;
    assert_eq!(names(&flat), []);
}

#[test]
fn a_remedy_for_ascent_is_descent() {
    let mut ascending = case((0..200).map(|i| 3.0 + 0.1 * f64::from(i)));
    ascending.settings.maximize = Some(true);
    assert_eq!(flags(&diagnose(&ascending)[0].remedy), "--maximize false");
}
