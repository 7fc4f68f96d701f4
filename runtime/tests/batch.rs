//! Sequences that step together give what each gives alone, bit for bit.

mod common;

use siskin::{Batch, Error, Model, Session, SessionOptions};
use siskin_format::DType;
use std::sync::Arc;

fn options(threads: usize) -> SessionOptions {
    SessionOptions { threads: Some(threads), ctx: Some(200), ..SessionOptions::default() }
}

fn draw(rng: &mut common::Rng, n: usize) -> Vec<u32> {
    (0..n).map(|_| (rng.next() % common::VOCAB as u64) as u32).collect()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}

/// Steps of `slots` sequences: ragged prompts and single tokens, some slots idle, some begun anew.
fn check(name: &str, model: &Arc<Model>, threads: usize, rows: usize, slots: usize) {
    let mut rng = common::Rng(0x5EED + rows as u64);
    let mut batch =
        Batch::new(model.clone(), slots, &SessionOptions { batch: rows, ..options(threads) }).unwrap();
    let mut alone: Vec<Session> =
        (0..slots).map(|_| Session::new(model.clone(), &options(1)).unwrap()).collect();
    for step in 0..24 {
        let mut feeds: Vec<(usize, Vec<u32>)> = Vec::new();
        for slot in (0..slots).rev() {
            let n = match rng.next() % 8 {
                0 => continue,
                1 => 1 + rng.next() as usize % 40,
                2 => 2,
                _ => 1,
            };
            if n > 30 && step > 0 || alone[slot].remaining().is_some_and(|left| left < n) {
                batch.reset(slot).unwrap();
                alone[slot].reset();
            }
            feeds.push((slot, draw(&mut rng, n)));
        }
        if feeds.is_empty() {
            continue;
        }
        let borrowed: Vec<(usize, &[u32])> =
            feeds.iter().map(|(slot, tokens)| (*slot, &tokens[..])).collect();
        batch.forward(&borrowed).unwrap();
        for slot in 0..slots {
            let fed = feeds.iter().find(|(s, _)| *s == slot);
            assert_eq!(batch.logits(slot).is_some(), fed.is_some());
            if let Some((_, tokens)) = fed {
                let expected = alone[slot].forward(tokens).unwrap();
                let found = batch.logits(slot).unwrap();
                assert!(bits(found) == bits(expected), "{name}, {threads} threads, step {step}, slot {slot}");
            }
            assert_eq!(batch.position(slot), Some(alone[slot].position()));
        }
    }
}

#[test]
fn every_family_and_dtype() {
    for (name, config) in common::models() {
        for dtype in DType::ALL {
            let model = common::model(&config, dtype, 77);
            for (threads, rows, slots) in [(1, 64, 4), (2, 7, 5), (3, 16, 3), (2, 1, 1)] {
                check(&format!("{name} {dtype}"), &model, threads, rows, slots);
            }
        }
    }
}

/// Layers large enough that the team shares every job.
#[test]
fn a_model_that_is_worth_sharing() {
    let block = siskin_format::config::TransformerConfig {
        n_heads: 6,
        n_kv_heads: 3,
        head_dim: 48,
        d_ff: 700,
        ..common::llama_block()
    };
    let blocks = vec![
        siskin_format::BlockConfig::Lstm(common::cell(200)),
        siskin_format::BlockConfig::Transformer(block),
    ];
    let config = siskin_format::ModelConfig {
        position: siskin_format::config::Position::Rope { theta: 500.0 },
        ..common::config(288, blocks)
    };
    for dtype in DType::ALL {
        let model = common::model(&config, dtype, 3);
        for (threads, rows) in [(2, 64), (3, 20), (5, 64)] {
            check(&format!("large {dtype}"), &model, threads, rows, 8);
        }
    }
}

#[test]
fn a_refused_step_changes_nothing() {
    let (_, config) = common::models().into_iter().find(|(name, _)| *name == "mixed").unwrap();
    let model = common::model(&config, DType::Q8, 9);
    let mut batch = Batch::new(model.clone(), 3, &SessionOptions { ctx: Some(10), ..options(1) }).unwrap();
    batch.forward(&[(0, &[1, 2, 3]), (2, &[4])]).unwrap();
    let before: Vec<_> = (0..3).map(|slot| batch.logits(slot).map(bits)).collect();
    type Feeds<'a> = &'a [(usize, &'a [u32])];
    type Expected = fn(&Error) -> bool;
    let refused: [(Feeds, Expected); 6] = [
        (&[], |e| matches!(e, Error::NoTokens)),
        (&[(1, &[1]), (0, &[])], |e| matches!(e, Error::NoTokens)),
        (&[(1, &[1]), (3, &[1])], |e| matches!(e, Error::Slot { slot: 3, slots: 3 })),
        (&[(1, &[1]), (1, &[1])], |e| matches!(e, Error::SlotTwice { slot: 1 })),
        (&[(1, &[1]), (2, &[61])], |e| matches!(e, Error::Token { token: 61, vocab_size: 61 })),
        (&[(1, &[1]), (0, &[1; 8])], |e| matches!(e, Error::ContextFull { position: 3, tokens: 8, ctx: 10 })),
    ];
    for (feeds, expected) in refused {
        let found = batch.forward(feeds).unwrap_err();
        assert!(expected(&found), "{found}");
    }
    assert!(matches!(batch.reset(3).unwrap_err(), Error::Slot { slot: 3, slots: 3 }));
    assert_eq!(
        (0..4).map(|slot| batch.position(slot)).collect::<Vec<_>>(),
        [Some(3), Some(0), Some(1), None]
    );
    let after: Vec<_> = (0..3).map(|slot| batch.logits(slot).map(bits)).collect();
    assert!(before == after && before[0].is_some() && before[1].is_none());
    batch.forward(&[(0, &[5; 7])]).unwrap();
    let mut session = Session::new(model, &options(1)).unwrap();
    let expected = session.forward(&[1, 2, 3, 5, 5, 5, 5, 5, 5, 5]).unwrap();
    assert_eq!(bits(batch.logits(0).unwrap()), bits(expected));
}

#[test]
fn memory_is_told_and_kept_to() {
    let (_, config) = common::models().into_iter().find(|(name, _)| *name == "llama").unwrap();
    let model = common::model(&config, DType::Q4, 1);
    let needed = model.batch_bytes(4, &options(1)).unwrap();
    assert!(needed > model.session_bytes(&options(1)).unwrap());
    let with = |max| SessionOptions { max_bytes: Some(max), ..options(1) };
    assert_eq!(Batch::new(model.clone(), 4, &with(needed)).unwrap().bytes(), needed);
    let found = Batch::new(model.clone(), 4, &with(needed - 1)).unwrap_err();
    assert!(matches!(found, Error::Budget { .. }), "{found}");
    assert!(matches!(Batch::new(model.clone(), 0, &options(1)).unwrap_err(), Error::Slot { .. }));
    assert!(matches!(model.batch_bytes(usize::MAX, &options(1)).unwrap_err(), Error::OutOfMemory { .. }));
}
