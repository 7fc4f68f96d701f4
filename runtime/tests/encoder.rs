//! Encoder-decoders: the same bits however they are run, beside others or alone, saved or not; and every misuse one clear error.

mod common;

use siskin::{Batch, Error, Isa, Model, PairEvaluation, PairScorer, Session, SessionOptions, log_prob};
use siskin_format::DType;
use siskin_format::config::Position;
use std::sync::Arc;

fn tokens(n: usize, seed: u64) -> Vec<u32> {
    let mut rng = common::Rng(seed);
    (0..n).map(|_| (rng.next() % common::VOCAB as u64) as u32).collect()
}

fn model(dtype: DType) -> Arc<Model> {
    common::model(&common::seq2seq(Position::Rope { theta: 10_000.0 }), dtype, 42)
}

fn bits(logits: &[f32]) -> Vec<u32> {
    assert!(logits.iter().all(|x| x.is_finite()));
    logits.iter().map(|x| x.to_bits()).collect()
}

/// The bits of the logits after a source and each piece of a target.
fn run(model: &Arc<Model>, isa: Isa, threads: usize, batch: usize, piece: usize) -> Vec<u32> {
    let options =
        SessionOptions { threads: Some(threads), isa: Some(isa), batch, ..SessionOptions::default() };
    let mut session = Session::new(model.clone(), &options).unwrap();
    session.encode(&tokens(37, 3)).unwrap();
    let mut all = Vec::new();
    for piece in tokens(24, 4).chunks(piece) {
        session.forward_each(piece, |_, logits| all.extend(bits(logits))).unwrap();
    }
    all
}

#[test]
fn the_same_bits_on_every_instruction_set_and_number_of_threads_and_however_it_is_cut() {
    for position in [Position::Learned, Position::Sinusoidal, Position::Rope { theta: 500.0 }] {
        for dtype in DType::ALL {
            let model = common::model(&common::seq2seq(position), dtype, 42);
            let expected = run(&model, Isa::Scalar, 1, 64, 24);
            for isa in Isa::available() {
                for (threads, batch, piece) in [(1, 64, 1), (2, 7, 24), (3, 64, 5), (2, 1, 3)] {
                    let found = run(&model, isa, threads, batch, piece);
                    assert!(found == expected, "{dtype} on {} with {threads} threads", isa.name());
                }
            }
        }
    }
}

#[test]
fn the_whole_source_decides_and_nothing_of_an_earlier_one() {
    let model = model(DType::Q8);
    let mut session = Session::new(model.clone(), &SessionOptions::default()).unwrap();
    let (source, target) = (tokens(20, 3), tokens(5, 4));
    session.encode(&source).unwrap();
    let expected = bits(session.forward(&target).unwrap());
    for changed in [0, 19] {
        let mut other = source.clone();
        other[changed] = (other[changed] + 1) % common::VOCAB as u32;
        session.encode(&other).unwrap();
        assert_eq!((session.position(), session.source_len()), (0, Some(20)));
        assert_ne!(bits(session.forward(&target).unwrap()), expected, "token {changed}");
    }
    session.encode(&tokens(300, 9)).unwrap();
    session.encode(&source).unwrap();
    assert_eq!(bits(session.forward(&target).unwrap()), expected);
}

#[test]
fn slots_of_a_batch_are_sessions_of_their_own() {
    let model = model(DType::Q4);
    let options = SessionOptions { threads: Some(2), batch: 9, ..SessionOptions::default() };
    let mut batch = Batch::new(model.clone(), 3, &options).unwrap();
    let feeds: Vec<(Vec<u32>, Vec<u32>)> =
        (0..3).map(|i| (tokens(5 + 11 * i, 7), tokens(4 + i, 8))).collect();
    for (slot, (source, _)) in feeds.iter().enumerate() {
        batch.encode(slot, source).unwrap();
    }
    let targets: Vec<(usize, &[u32])> = feeds.iter().enumerate().map(|(i, (_, t))| (i, &t[..])).collect();
    batch.forward(&targets).unwrap();
    // One slot begins anew while the others go on.
    batch.encode(1, &feeds[0].0).unwrap();
    assert_eq!((batch.position(1), batch.logits(1)), (Some(0), None));
    batch.forward(&[(0, &[5]), (1, &feeds[0].1), (2, &[6])]).unwrap();
    for (slot, source, target) in [
        (0, &feeds[0].0, [&feeds[0].1[..], &[5]].concat()),
        (1, &feeds[0].0, feeds[0].1.clone()),
        (2, &feeds[2].0, [&feeds[2].1[..], &[6]].concat()),
    ] {
        let mut session = Session::new(model.clone(), &options).unwrap();
        session.encode(source).unwrap();
        assert_eq!(bits(batch.logits(slot).unwrap()), bits(session.forward(&target).unwrap()), "slot {slot}");
    }
    batch.reset(0).unwrap();
    assert!(matches!(batch.forward(&[(0, &[1])]), Err(Error::NoSource)));
    assert!(matches!(batch.encode(3, &[1]), Err(Error::Slot { slot: 3, slots: 3 })));
}

#[test]
fn a_saved_state_goes_on_with_the_same_bits() {
    for dtype in [DType::F32, DType::Q8] {
        let model = model(dtype);
        let session = |ctx| {
            let options = SessionOptions { ctx: Some(ctx), threads: Some(1), ..SessionOptions::default() };
            Session::new(model.clone(), &options).unwrap()
        };
        let mut one = session(40);
        one.encode(&tokens(33, 5)).unwrap();
        one.forward(&tokens(7, 6)).unwrap();
        let mut saved = vec![0; one.saved_bytes()];
        one.save(&mut saved);
        let expected = bits(one.forward(&[3]).unwrap());
        let mut two = session(320);
        two.encode(&[1, 2]).unwrap();
        two.restore(&saved).unwrap();
        assert_eq!((two.position(), two.source_len()), (7, Some(33)));
        assert_eq!(bits(two.forward(&[3]).unwrap()), expected);
        let error = session(32).restore(&saved).unwrap_err();
        assert!(matches!(error, Error::ContextFull { position: 0, tokens: 33, ctx: 32 }), "{error}");
        for at in 0..saved.len() {
            let mut damaged = saved.clone();
            damaged[at] ^= 1;
            assert!(two.restore(&damaged).is_err(), "byte {at}");
        }
        let mut fresh = vec![0; session(40).saved_bytes()];
        session(40).save(&mut fresh);
        two.restore(&fresh).unwrap();
        assert!(matches!(two.forward(&[1]), Err(Error::NoSource)));
    }
}

#[test]
fn misuse_is_an_error_and_changes_nothing() {
    let model = model(DType::Q8);
    let options = SessionOptions { ctx: Some(16), threads: Some(1), ..SessionOptions::default() };
    let mut session = Session::new(model.clone(), &options).unwrap();
    assert_eq!(session.bytes(), model.session_bytes(&options).unwrap());
    assert!(matches!(session.forward(&[1]), Err(Error::NoSource)));
    session.encode(&tokens(16, 1)).unwrap();
    let expected = bits(session.forward(&[1, 2]).unwrap());
    assert!(matches!(session.encode(&[]), Err(Error::NoTokens)));
    assert!(matches!(session.encode(&[61]), Err(Error::Token { token: 61, .. })));
    let error = session.encode(&tokens(17, 1)).unwrap_err();
    assert!(matches!(error, Error::ContextFull { position: 0, tokens: 17, ctx: 16 }), "{error}");
    session.cancel_flag().clone().cancel();
    assert!(matches!(session.encode(&[1]), Err(Error::Cancelled)));
    session.cancel_flag().clear();
    assert_eq!((session.position(), bits(session.logits().unwrap())), (2, expected));
    session.reset();
    assert!(matches!(session.forward(&[1]), Err(Error::NoSource)));

    let plain = common::model(&common::models()[5].1, DType::Q8, 1);
    let mut session = Session::new(plain.clone(), &options).unwrap();
    let error = session.encode(&[1]).unwrap_err();
    assert!(error.to_string().contains("has no encoder"), "{error}");
    assert!(matches!(PairScorer::new(session), Err(Error::NoEncoder)));
}

/// A flag that is set at any moment of a pass leaves the session as it was, or the pass is done.
#[test]
fn a_cancelled_source_leaves_the_earlier_one() {
    let model = model(DType::Q8);
    let options = SessionOptions { threads: Some(1), ..SessionOptions::default() };
    let mut session = Session::new(model, &options).unwrap();
    session.encode(&tokens(9, 1)).unwrap();
    session.forward(&[1, 2, 3]).unwrap();
    let mut saved = vec![0; session.saved_bytes()];
    session.save(&mut saved);
    let expected = bits(session.forward(&[4]).unwrap());
    let flag = session.cancel_flag().clone();
    let mut n_cancelled = 0;
    for micros in (0..400).step_by(20) {
        session.restore(&saved).unwrap();
        let setter = std::thread::spawn({
            let flag = flag.clone();
            move || {
                std::thread::sleep(std::time::Duration::from_micros(micros));
                flag.cancel();
            }
        });
        let outcome = session.encode(&tokens(300, 2));
        setter.join().unwrap();
        flag.clear();
        if matches!(outcome, Err(Error::Cancelled)) {
            n_cancelled += 1;
            assert_eq!(bits(session.forward(&[4]).unwrap()), expected);
        } else {
            outcome.unwrap();
        }
    }
    println!("{n_cancelled} calls were cancelled on their way");
    session.restore(&saved).unwrap();
    flag.cancel();
    assert!(matches!(session.encode(&tokens(300, 2)), Err(Error::Cancelled)), "a flag that is set before");
    flag.clear();
    assert_eq!(bits(session.forward(&[4]).unwrap()), expected);
}

#[test]
fn pairs_cost_what_single_steps_cost() {
    let model = model(DType::F32);
    let session = || Session::new(model.clone(), &SessionOptions::default()).unwrap();
    let (source, target) = (tokens(6, 1), tokens(4, 2));
    let mut by_hand = session();
    by_hand.encode(&source).unwrap();
    let mut expected = Vec::new();
    let mut last = model.target_start();
    for &token in &target {
        expected.push(log_prob(by_hand.forward(&[last]).unwrap(), token as usize));
        last = token;
    }
    let mut scorer = PairScorer::new(session()).unwrap();
    let mut found = Vec::new();
    scorer.score(&source, &target, |_, log_prob| found.push(log_prob)).unwrap();
    assert_eq!(found, expected);
    // What the model writes it finds again, as this vocabulary has no end token.
    let written = scorer.write(&source, 4).unwrap().to_vec();
    let mut sum = PairEvaluation::default();
    scorer.add(&source, &written, &mut sum).unwrap();
    let other: Vec<u32> = written.iter().map(|id| (id + 1) % common::VOCAB as u32).collect();
    scorer.add(&source, &other, &mut sum).unwrap();
    assert_eq!((sum.pairs, sum.exact, sum.evaluation.tokens, sum.accuracy()), (2, 1, 8, 0.5));
}
