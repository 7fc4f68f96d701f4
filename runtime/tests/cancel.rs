//! A step that is cancelled ends at once and leaves no trace.

mod common;

use siskin::{Batch, CancelFlag, Error, Session, SessionOptions};
use siskin_format::DType;
use std::time::{Duration, Instant};

fn options(threads: usize) -> SessionOptions {
    SessionOptions { threads: Some(threads), ..SessionOptions::default() }
}

/// What a session says that was never cancelled.
fn expected(session: &Session, fed: &[&[u32]]) -> Vec<f32> {
    let mut fresh = Session::new(session.model().clone(), &options(1)).unwrap();
    fed.iter().map(|tokens| fresh.forward(tokens).unwrap().to_vec()).last().unwrap()
}

#[test]
fn a_flag_that_is_set_stops_every_call_until_it_is_cleared() {
    for (name, config) in common::models() {
        let mut session = Session::new(common::model(&config, DType::Q8, 3), &options(2)).unwrap();
        let first = session.forward(&[3, 1, 4]).unwrap().to_vec();
        session.cancel_flag().cancel();
        for _ in 0..2 {
            assert!(matches!(session.forward(&[1, 5]), Err(Error::Cancelled)), "{name}");
            assert!(matches!(session.forward_each(&[1, 5], |_, _| ()), Err(Error::Cancelled)), "{name}");
        }
        assert_eq!((session.position(), session.logits()), (3, Some(&first[..])), "{name}");
        session.cancel_flag().clear();
        let found = session.forward(&[1, 5]).unwrap().to_vec();
        assert_eq!(found, expected(&session, &[&[3, 1, 4], &[1, 5]]), "{name}");
    }
}

/// Cancels from within the call, when a part of the prompt has been computed.
#[test]
fn a_prompt_that_is_cancelled_half_way_is_undone() {
    let prompt: Vec<u32> = (0..300).map(|i| i % 61).collect();
    for (name, config) in common::models() {
        let mut session = Session::new(common::model(&config, DType::Q4, 3), &options(2)).unwrap();
        let first = session.forward(&[7, 7]).unwrap().to_vec();
        let (flag, mut seen) = (session.cancel_flag().clone(), 0);
        let done = session.forward_each(&prompt, |i, _| {
            seen = i;
            if i == 100 {
                flag.cancel();
            }
        });
        assert!(matches!(done, Err(Error::Cancelled)) && (100..128).contains(&seen), "{name}: {seen}");
        flag.clear();
        assert_eq!((session.position(), session.logits()), (2, Some(&first[..])), "{name}");
        let found = session.forward(&prompt[..20]).unwrap().to_vec();
        assert_eq!(found, expected(&session, &[&[7, 7], &prompt[..20]]), "{name}");
    }
}

/// Cancels at moments spread over the call: whatever the step was doing, it is as if it had not begun. On a busy machine some
/// moments come too late.
#[test]
fn cancelling_at_any_moment_undoes_the_call() {
    let prompt: Vec<u32> = (0..300).map(|i| i % 61).collect();
    for (name, config) in common::models() {
        let mut session = Session::new(common::model(&config, DType::Q4, 3), &options(2)).unwrap();
        session.forward(&[7, 7]).unwrap();
        let start = Instant::now();
        session.forward(&prompt).unwrap();
        let whole = start.elapsed();
        for part in 0..40 {
            session.reset();
            let first = session.forward(&[7, 7]).unwrap().to_vec();
            let flag = session.cancel_flag().clone();
            let wait = whole * part / 40;
            let (sender, receiver) = std::sync::mpsc::channel();
            let canceller = std::thread::spawn(move || {
                receiver.recv().unwrap();
                let start = Instant::now();
                while start.elapsed() < wait {}
                flag.cancel();
            });
            sender.send(()).unwrap();
            let done = session.forward(&prompt).map(<[f32]>::to_vec);
            canceller.join().unwrap();
            session.cancel_flag().clear();
            match done {
                Err(Error::Cancelled) => {
                    assert_eq!((session.position(), session.logits()), (2, Some(&first[..])), "{name}");
                }
                Err(error) => panic!("{name}: {error}"),
                Ok(_) => continue,
            }
            let found = session.forward(&prompt[..20]).unwrap().to_vec();
            assert_eq!(found, expected(&session, &[&[7, 7], &prompt[..20]]), "{name}");
        }
    }
}

#[test]
fn a_cancelled_batch_stands_where_it_stood() {
    let (_, config) = common::models().into_iter().find(|(name, _)| *name == "mixed").unwrap();
    let model = common::model(&config, DType::Q8, 3);
    let mut batch = Batch::new(model.clone(), 3, &options(2)).unwrap();
    batch.forward(&[(0, &[1, 2]), (2, &[3])]).unwrap();
    batch.cancel_flag().cancel();
    assert!(matches!(batch.forward(&[(0, &[4]), (1, &[5; 100])]), Err(Error::Cancelled)));
    batch.cancel_flag().clear();
    assert_eq!([0, 1, 2].map(|slot| batch.position(slot)), [Some(2), Some(0), Some(1)]);
    batch.forward(&[(0, &[4])]).unwrap();
    let mut session = Session::new(model, &options(1)).unwrap();
    session.forward(&[1, 2]).unwrap();
    assert_eq!(batch.logits(0).unwrap(), session.forward(&[4]).unwrap());
}

#[test]
fn clones_are_the_same_flag() {
    let flag = CancelFlag::new();
    let clone = flag.clone();
    std::thread::spawn(move || clone.cancel()).join().unwrap();
    assert!(flag.is_cancelled());
    flag.clear();
    std::thread::sleep(Duration::from_millis(1));
    assert!(!flag.is_cancelled());
}
