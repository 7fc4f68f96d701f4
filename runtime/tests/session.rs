//! What a session refuses, and that it is unharmed by it.

mod common;

use siskin::{Error, Isa, Model, Session, SessionOptions, Stage, log_prob};
use siskin_format::config::Position;
use siskin_format::{DType, ModelConfig};
use std::sync::Arc;

fn model(name: &str) -> Arc<Model> {
    let (_, config) = common::models().into_iter().find(|(n, _)| *n == name).unwrap();
    common::model(&config, DType::Q8, 9)
}

fn options(ctx: usize) -> SessionOptions {
    SessionOptions { ctx: Some(ctx), threads: Some(1), ..SessionOptions::default() }
}

#[test]
fn models_are_shared_and_sessions_move_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    fn moved<T: Send>(_: &T) {}
    let model = model("llama");
    shared(&*model);
    let mut session = Session::new(model, &options(8)).unwrap();
    moved(&session);
    let here = session.forward(&[1, 2]).unwrap().to_vec();
    session.reset();
    let there = std::thread::spawn(move || session.forward(&[1, 2]).unwrap().to_vec()).join().unwrap();
    assert_eq!(here, there);
}

#[test]
fn a_full_context_is_an_error_and_changes_nothing() {
    let mut session = Session::new(model("llama"), &options(10)).unwrap();
    assert_eq!((session.context(), session.remaining()), (Some(10), Some(10)));
    session.forward(&[1; 7]).unwrap();
    let found = session.forward(&[2; 4]).unwrap_err();
    assert!(matches!(found, Error::ContextFull { position: 7, tokens: 4, ctx: 10 }), "{found}");
    assert_eq!(session.position(), 7);
    let after = session.forward(&[2; 3]).unwrap().to_vec();
    assert_eq!(session.remaining(), Some(0));
    let mut fresh = Session::new(session.model().clone(), &options(10)).unwrap();
    let expected = fresh.forward(&[1, 1, 1, 1, 1, 1, 1, 2, 2, 2]).unwrap();
    assert_eq!(after, expected);
}

#[test]
fn a_recurrent_model_has_no_limit() {
    let mut session = Session::new(model("gru"), &options(4)).unwrap();
    assert_eq!((session.context(), session.remaining()), (None, None));
    for _ in 0..30 {
        session.forward(&[5; 100]).unwrap();
    }
    assert_eq!(session.position(), 3000);
}

#[test]
fn learned_positions_bound_a_recurrent_model_too() {
    let (_, config) = common::models().into_iter().find(|(n, _)| *n == "gru").unwrap();
    let config = ModelConfig { position: Position::Learned, context: 6, ..config };
    let model = common::model(&config, DType::F16, 9);
    let too_long = Session::new(model.clone(), &options(7)).unwrap_err();
    assert!(matches!(too_long, Error::Context { asked: 7, max: 6 }), "{too_long}");
    let mut session = Session::new(model, &options(6)).unwrap();
    session.forward(&[5; 6]).unwrap();
    assert!(matches!(session.forward(&[5]), Err(Error::ContextFull { position: 6, tokens: 1, ctx: 6 })));
}

#[test]
fn a_context_that_the_model_does_not_have_is_refused() {
    for ctx in [0, 321, usize::MAX] {
        let found = Session::new(model("gpt"), &options(ctx)).unwrap_err();
        assert!(matches!(found, Error::Context { asked, max: 320 } if asked == ctx), "{found}");
    }
}

#[test]
fn unknown_tokens_and_no_tokens_are_refused() {
    let mut session = Session::new(model("lstm"), &options(4)).unwrap();
    let found = session.forward(&[0, 61]).unwrap_err();
    assert!(matches!(found, Error::Token { token: 61, vocab_size: 61 }), "{found}");
    assert!(matches!(session.forward(&[]).unwrap_err(), Error::NoTokens));
    assert!(matches!(session.forward_each(&[u32::MAX], |_, _| ()).unwrap_err(), Error::Token { .. }));
    assert_eq!(session.position(), 0);
}

#[test]
fn a_budget_is_kept() {
    let model = model("gpt");
    let needed = model.session_bytes(&options(320)).unwrap();
    let with = |max| SessionOptions { max_bytes: Some(max), ..options(320) };
    let found = Session::new(model.clone(), &with(needed - 1)).unwrap_err();
    assert!(matches!(found, Error::Budget { needed: n, max } if n == needed && max == needed - 1), "{found}");
    assert_eq!(Session::new(model.clone(), &with(needed)).unwrap().bytes(), needed);
    assert!(model.session_bytes(&options(16)).unwrap() < needed);
    let absurd = SessionOptions { batch: usize::MAX, ..options(320) };
    assert!(matches!(Session::new(model, &absurd).unwrap_err(), Error::OutOfMemory { .. }));
}

#[test]
fn a_session_lives_in_the_callers_memory() {
    for (name, config) in common::models() {
        let model = common::model(&config, DType::Q8, 9);
        let options = SessionOptions { threads: Some(2), ..options(64) };
        let needed = model.session_bytes(&options).unwrap();
        let memory = vec![0xA5; needed + 64].leak();
        let (short, memory) = memory.split_at_mut(0);
        assert!(matches!(Session::new_in(model.clone(), &options, short), Err(Error::Budget { max: 0, .. })));
        let (memory, rest) = memory.split_at_mut(needed + 3);
        let mut session = Session::new_in(model.clone(), &options, &mut memory[3..]).unwrap();
        let mut other = Session::new(model, &options).unwrap();
        for tokens in [&[3, 1, 4][..], &[1], &[5; 40]] {
            assert_eq!(session.forward(tokens).unwrap(), other.forward(tokens).unwrap(), "{name}");
        }
        assert!(rest.iter().all(|byte| *byte == 0xA5), "{name}");
    }
}

#[test]
fn reset_forgets_everything() {
    for (name, config) in common::models() {
        let mut session = Session::new(common::model(&config, DType::Q4, 2), &options(64)).unwrap();
        let first = session.forward(&[3, 1, 4]).unwrap().to_vec();
        session.forward(&[15, 9, 2, 6]).unwrap();
        session.reset();
        assert_eq!(session.forward(&[3, 1, 4]).unwrap(), first, "{name}");
    }
}

#[test]
fn log_probabilities_sum_to_one() {
    let mut session = Session::new(model("rnn"), &options(1)).unwrap();
    let logits = session.forward(&[7]).unwrap();
    let total: f64 = (0..logits.len()).map(|token| log_prob(logits, token).exp()).sum();
    assert!((total - 1.0).abs() < 1e-6, "{total}");
}

#[test]
fn an_instruction_set_is_refused_by_name() {
    let unknown = Error::Isa { name: "avx9".into() }.to_string();
    assert!(
        unknown.contains("SISKIN_ISA=avx9")
            && unknown.contains("does not know")
            && unknown.contains("scalar")
    );
    let lacking = Error::Isa { name: Isa::Avx2.name().into() }.to_string();
    assert!(lacking.contains("does not have"), "{lacking}");
}

#[test]
fn a_profile_counts_the_stages_of_every_pass() {
    let mut session = Session::new(model("mixed"), &options(64)).unwrap();
    session.forward(&[1, 2]).unwrap();
    assert_eq!(session.profile().stages().count(), 0);
    session.set_profiling(true);
    let start = std::time::Instant::now();
    session.forward(&[3, 4, 5]).unwrap();
    session.forward(&[6]).unwrap();
    let elapsed = start.elapsed().as_secs_f64();
    session.set_profiling(false);
    session.forward(&[7]).unwrap();
    let profile = session.profile();
    let calls = |stage| profile.stages().find(|time| time.stage == stage).map_or(0, |time| time.calls);
    assert_eq!((calls(Stage::Embedding), calls(Stage::Head)), (2, 2));
    assert_eq!((calls(Stage::Attention), calls(Stage::RecurrentState)), (4, 6));
    assert!(profile.seconds() > 0.0 && profile.seconds() <= elapsed);
}
