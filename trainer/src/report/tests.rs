//! Pages hold what the run folder holds, and nothing of it is obeyed.

use super::outcome::Outcome;
use super::*;
use crate::doctor::{Severity, Trouble};
use crate::observe::record::{TensorRecord, TimeRecord};
use crate::settings::Settings;
use history::Update;

fn story() -> Story {
    let evil = "<script>alert(1)</script>";
    let updates = (1..=40).map(|i| Update {
        step: f64::from(i),
        loss: 4.0 / f64::from(i),
        lr: 0.1,
        grad_norm: f64::NAN,
    });
    let record = |step| Record {
        step,
        tensors: vec![TensorRecord { name: evil.into(), gradient: 0.5, ..Default::default() }],
        times: vec![TimeRecord { name: "blocks.0.cell".into(), gradient: vec![1e-9, 0.1, 1.0] }],
        ..Default::default()
    };
    let exported = Outcome::Exported {
        file: evil.into(),
        dtype: "q8".into(),
        bytes: 12_345,
        tokens: Some(10),
        float_loss: Some(1.5),
        file_loss: Some(1.503),
    };
    Story {
        name: evil.into(),
        facts: vec![("Parameters".into(), "7".into())],
        settings: vec![("seed".into(), evil.into())],
        steps: 40,
        total: 40,
        history: History {
            updates: updates.collect(),
            evals: vec![(20.0, 2.5), (40.0, 2.25)],
            samples: (1..=20).map(|i| (i, format!("{evil} {i}"))).collect(),
            restarts: vec![(5, 3.5, 10, false), (6, 3.25, 10, true), (7, f64::NAN, 10, false)],
            notes: vec![(3, evil.into())],
        },
        records: vec![record(1), record(40)],
        outcomes: vec![Outcome::Trained { step: 40, seconds: 61.0, tokens_per_second: 9.0 }, exported],
        findings: vec![Finding {
            trouble: Trouble::VanishingTime,
            severity: Severity::Hampers,
            place: evil.into(),
            first_step: 16,
            evidence: evil.into(),
            advice: "begin otherwise".into(),
            remedy: Settings { forget_bias: Some(1.0), ..Default::default() },
        }],
    }
}

#[test]
fn text_of_a_run_is_shown_and_not_obeyed() {
    let page = page::page(&story());
    assert!(!page.contains("<script"), "markup of a sample came through");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; 20"), "the last sample is shown");
    assert!(!page.contains("NaN"));
}

#[test]
fn a_page_tells_losses_time_and_pictures() {
    let page = page::page(&story());
    assert!(page.contains("vanishing gradient over time") && page.contains("--forget-bias 1"));
    for expected in [
        "2.2500",
        "3.2500",
        "went on",
        "diverged",
        "1.5030",
        "+0.20 %",
        "1:01",
        "Gradient norm by tensor",
        "Gradient over time steps",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    assert!(
        !page.contains("http://")
            || page.matches("http://").count() == page.matches("http://www.w3.org/2000/svg").count()
    );
}

#[test]
fn every_figure_is_a_picture_of_its_own_with_a_name_of_its_own() {
    let story = story();
    let figures = figures::all(&story);
    let mut names: Vec<&str> = figures.iter().map(|f| f.name).collect();
    assert_eq!(names, ["loss", "rate", "norm", "gradients", "updates", "times"]);
    names.dedup();
    assert_eq!(names.len(), figures.len());
    assert!(figures.iter().all(|f| f.svg().starts_with("<svg xmlns=") && f.svg().contains("width=\"720\"")));
}

#[test]
fn a_run_without_observations_has_a_page_too() {
    let bare =
        Story { history: History::default(), records: vec![], outcomes: vec![], findings: vec![], ..story() };
    let page = page::page(&bare);
    assert!(page.contains("No trouble found"));
    assert!(page.ends_with("</html>\n") && !page.contains("Gradient norm by tensor"));
}

#[test]
fn outcomes_come_back_and_torn_lines_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(outcome::read(dir.path()).unwrap(), []);
    for outcome in story().outcomes {
        outcome::append(dir.path(), &outcome).unwrap();
    }
    let path = dir.path().join("outcome.jsonl");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{whole}{{\"event\":")).unwrap();
    assert_eq!(outcome::read(dir.path()).unwrap(), story().outcomes);
}
