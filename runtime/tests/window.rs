//! Sliding windows: what a token does not see changes nothing, and a text goes on without end in memory that stays.

mod common;

use siskin::{Batch, Error, Isa, Model, Session, SessionOptions};
use siskin_format::config::{Position, TransformerConfig};
use siskin_format::{BlockConfig, DType, ModelConfig};
use std::sync::Arc;

/// Far beyond the context, and many times the window.
const LEN: usize = 700;

fn windows() -> ModelConfig {
    common::models().into_iter().find(|(name, _)| *name == "windows").unwrap().1
}

fn tokens(seed: u64, n: usize) -> Vec<u32> {
    let mut rng = common::Rng(seed);
    (0..n).map(|_| (rng.next() % common::VOCAB as u64) as u32).collect()
}

fn options(batch: usize) -> SessionOptions {
    SessionOptions { batch, threads: Some(1), ..SessionOptions::default() }
}

fn bits(logits: &[f32]) -> Vec<u32> {
    assert!(logits.iter().all(|x| x.is_finite()));
    logits.iter().map(|x| x.to_bits()).collect()
}

/// The logits after each token, of a session whose cache is so large that it never moves.
fn unmoved(model: &Arc<Model>, tokens: &[u32]) -> Vec<Vec<u32>> {
    let mut session = Session::new(model.clone(), &options(tokens.len())).unwrap();
    let mut all = Vec::new();
    session.forward_each(tokens, |_, logits| all.push(bits(logits))).unwrap();
    all
}

#[test]
fn a_cache_that_moves_gives_the_bits_of_one_that_does_not() {
    let text = tokens(3, LEN);
    for dtype in DType::ALL {
        let model = common::model(&windows(), dtype, 5);
        let expected = unmoved(&model, &text);
        for isa in Isa::available() {
            for (threads, batch, pieces) in
                [(1, 1, [1, 1]), (2, 7, [90, 3]), (3, 64, [1, 170]), (1, 16, [13, 29])]
            {
                let options = SessionOptions { isa: Some(isa), threads: Some(threads), ..options(batch) };
                let mut session = Session::new(model.clone(), &options).unwrap();
                let (mut at, mut turn) = (0, 0);
                while at < LEN {
                    let piece = pieces[turn % 2].min(LEN - at);
                    let logits = session.forward(&text[at..at + piece]).unwrap();
                    (at, turn) = (at + piece, turn + 1);
                    assert!(
                        bits(logits) == expected[at - 1],
                        "{dtype} on {}, batch {batch}, token {at}",
                        isa.name()
                    );
                }
            }
        }
    }
}

#[test]
fn a_text_goes_on_without_end_in_the_same_memory() {
    let config = windows();
    assert!(!config.is_bounded());
    let model = common::model(&config, DType::Q8, 5);
    let mut session = Session::new(model.clone(), &options(8)).unwrap();
    assert_eq!((session.context(), session.remaining()), (None, None));
    for token in tokens(4, 20 * config.context) {
        bits(session.forward(&[token]).unwrap());
    }
    assert_eq!(session.position(), 20 * config.context);
    let saved = session.saved_bytes();
    session.forward(&[1; 52]).unwrap();
    assert_eq!(session.saved_bytes(), saved, "what is saved is what a later token sees");
    // Memory depends on the window, and not on the context.
    let longer = common::model(&ModelConfig { context: 100_000, ..config.clone() }, DType::Q8, 5);
    assert_eq!(longer.session_bytes(&options(8)).unwrap(), session.bytes());
    let mut wider = config;
    if let BlockConfig::Transformer(t) = &mut wider.blocks[0] {
        t.window = 1000;
    }
    assert!(common::model(&wider, DType::Q8, 5).session_bytes(&options(8)).unwrap() > session.bytes());
}

#[test]
fn who_asks_for_fewer_positions_gets_fewer() {
    let model = common::model(&windows(), DType::Q8, 5);
    let small = SessionOptions { ctx: Some(40), ..options(8) };
    assert!(model.session_bytes(&small).unwrap() < model.session_bytes(&options(8)).unwrap());
    let (text, mut session) = (tokens(6, 40), Session::new(model.clone(), &small).unwrap());
    assert_eq!(bits(session.forward(&text).unwrap()), unmoved(&model, &text)[39]);
    assert!(matches!(session.forward(&[1]), Err(Error::ContextFull { position: 40, tokens: 1, ctx: 40 })));
    let none = Session::new(model.clone(), &SessionOptions { ctx: Some(0), ..small.clone() });
    assert!(matches!(none, Err(Error::Context { asked: 0, .. })));
    // Positions beyond the model's context can be asked for too.
    let large = SessionOptions { ctx: Some(LEN), ..small };
    let mut session = Session::new(model, &large).unwrap();
    session.forward(&tokens(6, LEN)).unwrap();
    assert_eq!(session.remaining(), Some(0));
}

#[test]
fn a_stack_with_a_block_that_sees_all_stays_bounded() {
    let (_, config) =
        common::models().into_iter().find(|(name, _)| *name == "windows here and there").unwrap();
    assert!(config.is_bounded());
    for position in [Position::Learned, Position::None] {
        let config = ModelConfig { position, ..config.clone() };
        let session = Session::new(common::model(&config, DType::Q8, 5), &options(8)).unwrap();
        assert_eq!(session.context(), Some(config.context));
    }
}

/// A block of its own, so that what it sees does not depend on what others saw.
fn one_block(window: usize) -> Arc<Model> {
    let block = TransformerConfig { window, ..common::llama_block() };
    let position = Position::Rope { theta: 10_000.0 };
    common::model(
        &ModelConfig { position, ..common::config(40, vec![BlockConfig::Transformer(block)]) },
        DType::F32,
        8,
    )
}

#[test]
fn a_token_sees_its_window_and_nothing_else() {
    let (text, window) = (tokens(7, 60), 19);
    let (model, whole) = (one_block(window), one_block(0));
    let logits = |model: &Arc<Model>, text: &[u32]| unmoved(model, text).pop().unwrap();
    for changed in 0..text.len() {
        let mut other = text.clone();
        other[changed] = (other[changed] + 1) % common::VOCAB as u32;
        let seen = changed + window >= text.len();
        assert_eq!(logits(&model, &other) != logits(&model, &text), seen, "token {changed}");
        assert_ne!(logits(&whole, &other), logits(&whole, &text));
    }
    // A window that reaches back to the beginning is none.
    assert_eq!(unmoved(&one_block(60), &text), unmoved(&whole, &text));
    assert_eq!(unmoved(&one_block(usize::MAX >> 40), &text), unmoved(&whole, &text));
    assert_ne!(logits(&one_block(59), &text), logits(&whole, &text));
}

/// A call is cancelled after each of its passes in turn; then the session goes on from where it stood before.
#[test]
fn a_cancelled_call_is_undone_wherever_the_cache_has_moved() {
    let model = common::model(&windows(), DType::Q8, 5);
    let text = tokens(9, LEN);
    let expected = unmoved(&model, &text);
    for (fed, batch) in [(0, 16), (30, 16), (150, 16), (300, 9), (401, 64)] {
        for passes in 1..(LEN - fed - 1) / batch {
            let mut session = Session::new(model.clone(), &options(batch)).unwrap();
            // In pieces, so that the cache stands anywhere.
            for piece in text[..fed].chunks(37) {
                session.forward(piece).unwrap();
            }
            let flag = session.cancel_flag().clone();
            let mut seen = 0;
            let call = session.forward_each(&text[fed..], |i, logits| {
                assert_eq!(bits(logits), expected[fed + i]);
                seen += 1;
                if seen == passes * batch {
                    flag.cancel();
                }
            });
            assert!(matches!(call, Err(Error::Cancelled)), "{call:?}");
            assert_eq!(session.position(), fed);
            flag.clear();
            let mut at = fed;
            for piece in [1, 2 * batch, 5] {
                let logits = bits(session.forward(&text[at..at + piece]).unwrap());
                at += piece;
                assert_eq!(logits, expected[at - 1], "{fed} fed, cancelled after {passes} passes");
            }
        }
    }
}

#[test]
fn sequences_of_a_batch_move_one_by_one() {
    let model = common::model(&windows(), DType::Q4, 5);
    let texts: Vec<Vec<u32>> = (0..3).map(|slot| tokens(20 + slot, LEN)).collect();
    let mut batch = Batch::new(model.clone(), 3, &options(24)).unwrap();
    let expected: Vec<_> = texts.iter().map(|text| unmoved(&model, text)).collect();
    let (mut rng, mut at) = (common::Rng(2), [0; 3]);
    while at.iter().all(|at| at + 50 < LEN) {
        let pieces: Vec<usize> = (0..3).map(|_| [0, 1, 1, 2, 49][(rng.next() % 5) as usize]).collect();
        let feeds: Vec<(usize, &[u32])> = (0..3)
            .filter(|&slot| pieces[slot] > 0)
            .map(|slot| (slot, &texts[slot][at[slot]..at[slot] + pieces[slot]]))
            .collect();
        if feeds.is_empty() {
            continue;
        }
        batch.forward(&feeds).unwrap();
        for slot in 0..3 {
            at[slot] += pieces[slot];
            if pieces[slot] > 0 {
                assert_eq!(bits(batch.logits(slot).unwrap()), expected[slot][at[slot] - 1]);
            }
        }
        if at[1] > 500 {
            batch.reset(1).unwrap();
            at[1] = 0;
        }
    }
}

#[test]
fn a_saved_text_goes_on_where_its_window_stands() {
    let text = tokens(11, LEN);
    for name in ["windows", "windows here and there"] {
        let (_, config) = common::models().into_iter().find(|(n, _)| *n == name).unwrap();
        let model = common::model(&config, DType::Q8, 5);
        let text = &text[..if config.is_bounded() { config.context } else { LEN }];
        let expected = unmoved(&model, text);
        for fed in [1, 4, 20, 21, 33, 100, 250, 500].into_iter().filter(|fed| *fed < text.len()) {
            let mut session = Session::new(model.clone(), &options(11)).unwrap();
            session.forward(&text[..fed]).unwrap();
            let mut saved = vec![0; session.saved_bytes()];
            session.save(&mut saved);
            let mut other = Session::new(model.clone(), &options(50)).unwrap();
            other.forward(&text[..77]).unwrap();
            other.restore(&saved).unwrap();
            let mut again = vec![0; other.saved_bytes()];
            other.save(&mut again);
            assert!(saved == again, "{name}: {fed} tokens");
            for (i, token) in text[fed..].iter().enumerate() {
                assert_eq!(
                    bits(other.forward(&[*token]).unwrap()),
                    expected[fed + i],
                    "{name}: {fed} tokens"
                );
            }
        }
    }
}

#[test]
fn a_decoder_with_windows_still_sees_all_of_its_source() {
    let mut config = common::seq2seq(Position::Rope { theta: 10_000.0 });
    for block in &mut config.blocks {
        if let BlockConfig::Transformer(t) = block {
            t.window = 9;
        }
    }
    let model = common::model(&config, DType::Q8, 5);
    let (source, text) = (tokens(12, 120), tokens(13, 100));
    let run = |source: &[u32], batch: usize, piece: usize| {
        let mut session = Session::new(model.clone(), &options(batch)).unwrap();
        assert_eq!(session.context(), Some(config.context));
        session.encode(source).unwrap();
        text.chunks(piece).for_each(|piece| assert!(session.forward(piece).is_ok()));
        bits(session.logits().unwrap())
    };
    let expected = run(&source, 64, 100);
    assert_eq!(run(&source, 7, 1), expected);
    assert_eq!(run(&source, 16, 33), expected);
    for changed in [0, 60, 119] {
        let mut other = source.clone();
        other[changed] = (other[changed] + 1) % common::VOCAB as u32;
        assert_ne!(run(&other, 64, 100), expected, "the token {changed} of the source");
    }
}
