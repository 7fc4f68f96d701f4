//! The contract of NUMERICS.md: the same logits, bit for bit, on every instruction set, with any number of threads, and
//! however a prompt is cut.

mod common;

use siskin::{Isa, Model, Session, SessionOptions};
use siskin_format::{DType, ModelConfig};
use std::sync::Arc;

const GENERATED: usize = 256;
const PROMPT: usize = 45;

fn prompt() -> Vec<u32> {
    let mut rng = common::Rng(7);
    (0..PROMPT).map(|_| (rng.next() % common::VOCAB as u64) as u32).collect()
}

fn argmax(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
    best.unwrap() as u32
}

/// The bits of the logits after the prompt, fed in pieces of `piece`, and after each greedily generated token.
fn run(model: &Arc<Model>, isa: Isa, threads: usize, batch: usize, piece: usize) -> Vec<u32> {
    let options =
        SessionOptions { threads: Some(threads), isa: Some(isa), batch, ..SessionOptions::default() };
    let mut session = Session::new(model.clone(), &options).unwrap();
    let mut bits = Vec::new();
    let mut next = 0;
    for tokens in prompt().chunks(piece) {
        next = argmax(session.forward(tokens).unwrap());
    }
    for _ in 0..GENERATED {
        let logits = session.forward(&[next]).unwrap();
        assert!(logits.iter().all(|x| x.is_finite()));
        bits.extend(logits.iter().map(|x| x.to_bits()));
        // Not greedy alone: small models would settle on one token.
        next = (argmax(logits) + bits.len() as u32 / 61) % common::VOCAB as u32;
    }
    bits
}

fn check(name: &str, config: &ModelConfig, dtype: DType) {
    let model = common::model(config, dtype, 42);
    let expected = run(&model, Isa::Scalar, 1, 64, PROMPT);
    let mut sorted = expected.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert!(sorted.len() > expected.len() / 4, "{name} {dtype}: the logits hardly vary");
    for isa in Isa::available() {
        for (threads, batch, piece) in [(1, 64, 1), (2, 7, PROMPT), (3, 64, 13), (2, 16, 1)] {
            let found = run(&model, isa, threads, batch, piece);
            assert!(found == expected, "{name} {dtype} on {} with {threads} threads", isa.name());
        }
    }
}

#[test]
fn every_model_in_f32() {
    common::models().iter().for_each(|(name, config)| check(name, config, DType::F32));
}

#[test]
fn every_model_in_f16() {
    common::models().iter().for_each(|(name, config)| check(name, config, DType::F16));
}

#[test]
fn every_model_in_q8() {
    common::models().iter().for_each(|(name, config)| check(name, config, DType::Q8));
}

#[test]
fn every_model_in_q4() {
    common::models().iter().for_each(|(name, config)| check(name, config, DType::Q4));
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
    let config = ModelConfig {
        position: siskin_format::config::Position::Rope { theta: 500.0 },
        ..common::config(
            288,
            vec![
                siskin_format::BlockConfig::Transformer(block),
                siskin_format::BlockConfig::Lstm(common::cell(200)),
            ],
        )
    };
    let model = common::model(&config, DType::Q8, 3);
    let expected = run(&model, Isa::detect().unwrap(), 1, 64, PROMPT);
    for (threads, batch, piece) in [(2, 64, PROMPT), (3, 7, 13), (5, 64, 1)] {
        assert!(run(&model, Isa::detect().unwrap(), threads, batch, piece) == expected, "{threads} threads");
    }
}

#[test]
fn logits_of_every_position_are_those_of_single_steps() {
    for (name, config) in common::models() {
        let model = common::model(&config, DType::Q8, 5);
        let options = SessionOptions { threads: Some(2), batch: 10, ..SessionOptions::default() };
        let mut session = Session::new(model.clone(), &options).unwrap();
        let mut all = Vec::new();
        session
            .forward_each(&prompt(), |i, logits| {
                assert_eq!(i * common::VOCAB, all.len());
                all.extend_from_slice(logits);
            })
            .unwrap();
        session.reset();
        for (i, token) in prompt().iter().enumerate() {
            let logits = session.forward(&[*token]).unwrap();
            assert_eq!(logits, &all[i * common::VOCAB..(i + 1) * common::VOCAB], "{name}, token {i}");
        }
    }
}
