//! Screens of a dashboard, character by character, and what its keys mean.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use state::Pane;

use crate::observe::record::{Record, TensorRecord};
use crate::progress::Progress;
use crate::report::history::Update;

/// A run of three blocks in its middle: what 1,200 of 2,000 updates wrote down.
fn state() -> State {
    let mut state = State::new("runs/shakespeare", "llama, 811,456 parameters, muon by wsd", 1200, 2000);
    let update = |i: u32| Update {
        step: f64::from(i),
        loss: 1.5 + 2.7 * (-f64::from(i) / 150.0).exp() + 0.05 * (f64::from(i) * 1.7).sin(),
        lr: 3e-3 * f64::from(i.min(200)) / 200.0,
        grad_norm: 0.4 + 3.0 * (-f64::from(i) / 40.0).exp(),
    };
    let history = History {
        restarts: Vec::new(),
        updates: (1..=1200).map(update).collect(),
        evals: (1..=6).map(|i| (200.0 * f64::from(i), 1.62 + 1.1 / f64::from(i))).collect(),
        samples: vec![(
            1000,
            "ROMEO:\nWhat light is this, that through the window breaks?\n\nJULIET:\nAy me.".into(),
        )],
        notes: vec![(31, "loss spiked to 4.2000 at step 31, recent losses are 3.1 ± 0.1".into())],
    };
    let names = [
        "embed.weight",
        "blocks.0.attn.wq",
        "blocks.0.ffn.w1",
        "blocks.1.attn.wq",
        "blocks.2.attn.wq",
        "final_norm.weight",
        "head.weight",
    ];
    let record = |i: u32| {
        let gradient =
            |row: usize| 0.001 * 4f64.powi(row as i32) * (1.0 + 5.0 * (-f64::from(i) / 20.0).exp());
        let tensors = names.iter().enumerate().map(|(row, name)| TensorRecord {
            name: (*name).into(),
            gradient: gradient(row),
            ..Default::default()
        });
        Record { step: u64::from(16 * i), tensors: tensors.collect(), ..Default::default() }
    };
    state.replay(&history, &(0..75).map(record).collect::<Vec<_>>());
    state.speed = "19,300 tok/s".into();
    state.left = "0:52 left".into();
    state
}

/// What is seen of `state` on a terminal of this size.
fn screen(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(state, frame)).unwrap();
    let shown = terminal.backend().to_string();
    shown.lines().map(|line| format!("{}\n", line.trim_matches('"').trim_end())).collect()
}

#[track_caller]
fn assert_golden(shown: &str, name: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard/goldens").join(name);
    let golden = std::fs::read_to_string(path).unwrap();
    assert!(shown == golden, "the screen is now\n{shown}\ninstead of\n{golden}");
}

#[test]
fn a_usual_terminal_shows_curves_and_one_pane() {
    let mut state = state();
    assert_golden(&screen(&state, 80, 24), "80x24.txt");
    state.pane = Pane::Sample;
    assert!(screen(&state, 80, 24).contains("What light is this"));
    state.pane = Pane::Notes;
    assert!(screen(&state, 80, 24).contains("31: loss spiked to 4.2000"));
}

#[test]
fn a_large_terminal_shows_everything() {
    assert_golden(&screen(&state(), 120, 40), "120x40.txt");
}

#[test]
fn a_tiny_terminal_shows_figures_and_a_curve() {
    assert_golden(&screen(&state(), 40, 10), "40x10.txt");
}

#[test]
fn stopping_asking_and_warnings_are_said() {
    let mut state = state();
    state.warned("cannot write log.jsonl");
    assert!(screen(&state, 80, 24).contains("1 warning"));
    state.sample_wanted = true;
    assert!(screen(&state, 80, 24).contains("sampling after this step"));
    state.stopping = true;
    let shown = screen(&state, 80, 24);
    assert!(shown.contains("stopping after this step and saving; q again leaves at once"), "{shown}");
    assert!(screen(&state, 40, 10).contains("q again leaves at once"));
    state.zoomed = true;
    let shown = screen(&state, 120, 40);
    assert!(shown.contains("the newest quarter") && shown.contains("900"), "{shown}");
}

#[test]
fn any_state_has_a_screen_of_any_size() {
    let mut wild = state();
    for (step, value) in [(1201, 1e300), (1202, -1e300), (1203, 0.0)] {
        wild.training.push(step, value);
        wild.lr.push(step, value);
        wild.grad_norm.push(step, value);
        wild.validation.push((step as f64, value));
    }
    let flat = |value| {
        let mut state = State::new("x", "", 9, 10);
        (1..9).for_each(|i| state.training.push(i, value));
        state
    };
    let states = [wild, State::new("", "", 0, 0), flat(0.0), flat(2.5), flat(-1e-12), flat(f64::MAX)];
    for state in states {
        for (width, height) in [(1, 1), (2, 40), (39, 9), (59, 15), (60, 16), (99, 27), (100, 28), (300, 90)]
        {
            screen(&state, width, height);
        }
    }
}

#[test]
fn a_run_that_goes_back_draws_its_steps_anew() {
    let mut state = state();
    let pace = Progress::new(0, 2000, true);
    let update =
        crate::train::descent::Update { lr: 1e-3, grad_norm: 1.0, note: None, skipped: false, stop: None };
    state.stepped(&StepReport { step: 700, loss: 1.0, tokens: 10, update }, pace.pace());
    assert_eq!(state.step, 700);
    assert_eq!(state.training.points().last().unwrap().0, 700.0);
    assert_eq!(state.validation.last().unwrap().0, 600.0);
    assert!(state.heat.columns.last().unwrap().0 <= 700);
}

#[test]
fn keys_mean_what_the_last_line_says_and_a_held_one_stops_once() {
    let mut keys = Keys::default();
    let mut press = |code, modifiers| keys.pressed(KeyEvent::new(code, modifiers));
    let (none, control) = (KeyModifiers::NONE, KeyModifiers::CONTROL);
    assert_eq!(press(KeyCode::Char('s'), none), Some(Press::Sample));
    assert_eq!(press(KeyCode::Char('s'), control), None);
    assert_eq!(press(KeyCode::Tab, none), Some(Press::Pane { forward: true }));
    assert_eq!(press(KeyCode::Char('z'), none), Some(Press::Zoom));
    assert_eq!(press(KeyCode::Char('z'), control), Some(Press::Suspend));
    assert_eq!(press(KeyCode::Char('c'), control), Some(Press::Stop));
    assert_eq!(press(KeyCode::Char('q'), none), None, "held down");
    keys.stopped = Instant::now().checked_sub(HELD);
    assert_eq!(keys.pressed(KeyEvent::new(KeyCode::Char('q'), none)), Some(Press::Stop));
}
