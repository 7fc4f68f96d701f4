//! A saved session goes on elsewhere as if nothing had happened; damaged bytes are refused.

mod common;

use siskin::{Error, Session, SessionOptions};
use siskin_format::DType;

fn options(ctx: usize, threads: usize) -> SessionOptions {
    SessionOptions { ctx: Some(ctx), threads: Some(threads), ..SessionOptions::default() }
}

fn save(session: &Session) -> Vec<u8> {
    let mut bytes = vec![0; session.saved_bytes()];
    session.save(&mut bytes);
    bytes
}

#[test]
fn every_family_goes_on_with_the_same_bits() {
    let prompt: Vec<u32> = (0..77).map(|i| i * 7 % 61).collect();
    for (name, config) in common::models() {
        for dtype in DType::ALL {
            let model = common::model(&config, dtype, 5);
            let mut session = Session::new(model.clone(), &options(120, 2)).unwrap();
            session.forward(&prompt).unwrap();
            let bytes = save(&session);
            // Another context, another number of threads, and something else in memory.
            let mut other = Session::new(model.clone(), &options(320, 1)).unwrap();
            other.forward(&[9; 200]).unwrap();
            other.restore(&bytes).unwrap();
            assert_eq!((other.position(), other.logits()), (77, session.logits()), "{name} {dtype}");
            assert_eq!(save(&other), bytes, "{name} {dtype}");
            for token in [1, 60, 33] {
                let expected = session.forward(&[token]).unwrap();
                assert_eq!(other.forward(&[token]).unwrap(), expected, "{name} {dtype}");
            }
        }
    }
}

#[test]
fn an_empty_session_is_saved_too() {
    for (name, config) in common::models() {
        let model = common::model(&config, DType::Q8, 5);
        let mut session = Session::new(model, &options(16, 1)).unwrap();
        let bytes = save(&session);
        let first = session.forward(&[1, 2, 3]).unwrap().to_vec();
        session.restore(&bytes).unwrap();
        assert_eq!((session.position(), session.logits()), (0, None), "{name}");
        assert_eq!(session.forward(&[1, 2, 3]).unwrap(), first, "{name}");
    }
}

#[test]
fn every_cut_and_every_changed_byte_is_refused() {
    for (name, config) in common::models() {
        let model = common::model(&config, DType::Q8, 5);
        let mut session = Session::new(model, &options(16, 1)).unwrap();
        let logits = session.forward(&[1, 2, 3]).unwrap().to_vec();
        let bytes = save(&session);
        for len in 0..bytes.len() {
            assert!(
                matches!(session.restore(&bytes[..len]), Err(Error::SavedState(_))),
                "{name}: {len} bytes"
            );
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(matches!(session.restore(&changed), Err(Error::SavedState(_))), "{name}: byte {at}");
        }
        assert_eq!((session.position(), session.logits()), (3, Some(&logits[..])), "{name}");
    }
}

/// The same with the checksum mended, so that the other checks must hold alone.
#[test]
fn contradictions_are_refused_behind_a_right_checksum() {
    let (_, config) = common::models().into_iter().find(|(name, _)| *name == "mixed").unwrap();
    let model = common::model(&config, DType::Q8, 5);
    let mut session = Session::new(model.clone(), &options(16, 1)).unwrap();
    session.forward(&[1, 2, 3]).unwrap();
    let bytes = save(&session);
    let mended = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = bytes[..bytes.len() - 8].to_vec();
        change(&mut changed);
        let checksum = siskin_format::xxh64::xxh64(&changed);
        changed.extend_from_slice(&checksum.to_le_bytes());
        changed
    };
    session.restore(&mended(&|_| ())).unwrap();
    let mut refused = |what: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let error = session.restore(&mended(change)).unwrap_err();
        assert!(error.to_string().contains(what), "{what}: {error}");
    };
    let put =
        |at: usize, number: u64| move |b: &mut Vec<u8>| b[at..at + 8].copy_from_slice(&number.to_le_bytes());
    refused("another version", &|b| b[8] = 2);
    refused("contradict", &|b| b[12] = 4); // an f32 cache
    refused("another model", &|b| b[16] ^= 1);
    refused("contradict", &put(24, 4)); // a token more than there are keys of
    refused("contradict", &put(24, 2));
    refused("is full", &put(24, 17));
    refused("is full", &put(24, u64::MAX));
    refused("contradict", &put(32, 60)); // fewer logits than tokens
    refused("contradict", &put(32, 0));
    refused("contradict", &put(32, u64::MAX));
    refused("contradict", &|b| b.extend_from_slice(&[0; 4]));
    let other = common::model(&config, DType::Q8, 6);
    let mut other = Session::new(other, &options(16, 1)).unwrap();
    assert!(other.restore(&bytes).unwrap_err().to_string().contains("another model"));
    assert_eq!((session.position(), other.position()), (3, 0));
}
