//! `siskin eval`, `score` and `tokenize`.

use crate::models::{self, Dir};
use crate::{answer, json, siskin, stdout};
use siskin::{EvalOptions, Model, Session, SessionOptions};
use siskin_format::DType;
use std::sync::Arc;

/// More than three windows, and a last one that is shorter.
const TEXT: &str = "the bird sees the seed\nand then the wind takes it, over the river.\n世界 the end of the song: \
                    the theme, then the other things that nobody thought of. Here the bird flies on, and the wind is \
                    in the tree, and the seed lies near the house, under the snow, until the spring of the year.\n";

#[test]
fn eval_is_the_sum_of_the_scores() {
    let vocab = models::bpe();
    for (name, config) in models::families(vocab.len()) {
        let dir = Dir::new();
        let model = dir.model(&config, &vocab, DType::Q8);
        let text = dir.file("text.txt", TEXT);
        let text = text.to_str().unwrap();
        let eval = json("eval", &model, &["--text", text, "--json"]);
        let score = json("score", &model, &["--text", text, "--json"]);
        let tokens = score["tokens"].as_array().unwrap();
        assert!(tokens[0]["log_prob"].is_null(), "{name}");
        let log_probs: Vec<f64> =
            tokens[1..].iter().map(|token| token["log_prob"].as_f64().unwrap()).collect();
        let sum = log_probs.iter().fold(0.0, |sum, log_prob| sum - log_prob);
        assert_eq!(eval["nats"].as_f64(), Some(sum), "{name}");
        assert_eq!(eval["tokens"], log_probs.len(), "{name}");
        let loss = eval["loss"].as_f64().unwrap();
        assert_eq!(loss, sum / log_probs.len() as f64, "{name}");
        assert_eq!(eval["perplexity"].as_f64(), Some(loss.exp()), "{name}");
        let bits = eval["bits_per_byte"].as_f64().unwrap();
        assert!(
            (bits - sum / std::f64::consts::LN_2 / (TEXT.len() - token_bytes(&tokens[0]).len()) as f64).abs()
                < 1e-12,
            "{name}: {bits}"
        );
        let bytes: Vec<u8> = tokens.iter().flat_map(token_bytes).collect();
        assert_eq!(bytes, TEXT.as_bytes(), "{name}");
    }
}

/// Bytes of a token in the output of `siskin score --json`.
fn token_bytes(token: &serde_json::Value) -> Vec<u8> {
    match token["bytes"].as_array() {
        Some(bytes) => bytes.iter().map(|byte| byte.as_u64().unwrap() as u8).collect(),
        None => token["text"].as_str().unwrap().as_bytes().to_vec(),
    }
}

/// The protocol spelled out with one step per token, and softmax in f64 from the definition.
#[test]
fn the_library_agrees_with_the_definition() {
    let vocab = models::bpe();
    for (name, config) in models::families(vocab.len()) {
        let dir = Dir::new();
        let path = dir.model(&config, &vocab, DType::F16);
        let model = Arc::new(Model::open(&path).unwrap());
        let tokens = siskin::Tokenizer::from_vocab(&vocab).unwrap().encode(TEXT).unwrap();
        let window = if config.has_attention() { 24 } else { usize::MAX };
        let mut session = Session::new(model.clone(), &SessionOptions::default()).unwrap();
        let expected: Vec<f64> = (0..tokens.len() - 1)
            .map(|i| {
                if i % window == 0 {
                    session.reset();
                }
                let logits = session.forward(&tokens[i..=i]).unwrap();
                let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
                let sum: f64 = logits.iter().map(|x| (*x as f64 - max).exp()).sum();
                logits[tokens[i + 1] as usize] as f64 - max - sum.ln()
            })
            .collect();
        let options = || EvalOptions { context: Some(24), threads: Some(1), ..EvalOptions::default() };
        let found = siskin::score(&model, &tokens, &options()).unwrap();
        assert_eq!(found.len(), expected.len(), "{name}");
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!((found - expected).abs() < 1e-6, "{name}: token {i} has {found}, expected {expected}");
        }
        let mut calls = Vec::new();
        let mut note = |done, all| calls.push((done, all));
        let whole =
            siskin::evaluate(&model, &tokens, EvalOptions { on_progress: Some(&mut note), ..options() })
                .unwrap();
        assert_eq!(whole.nats, found.iter().fold(0.0, |sum, log_prob| sum - log_prob), "{name}");
        assert_eq!(calls.last(), Some(&(expected.len(), expected.len())), "{name}");
    }
}

#[test]
fn threads_instruction_sets_and_pieces_change_nothing() {
    let dir = Dir::new();
    let vocab = models::bpe();
    for (name, config) in
        [("llama", models::llama(vocab.len())), ("gru", models::families(vocab.len()).remove(1).1)]
    {
        let model = dir.model(&config, &vocab, DType::Q4);
        let text = dir.file("text.txt", TEXT.repeat(20));
        let text = text.to_str().unwrap();
        let nats = |value: serde_json::Value| value["nats"].as_f64().unwrap();
        let usual = nats(json("eval", &model, &["--text", text, "--threads", "1", "--json"]));
        assert_eq!(
            usual,
            nats(json("eval", &model, &["--text", text, "--threads", "3", "--json"])),
            "{name}"
        );
        let mut scalar = siskin();
        scalar.env("SISKIN_ISA", "scalar").arg("eval").arg(&model).args(["--text", text, "--json"]);
        let scalar = serde_json::from_slice(&scalar.output().unwrap().stdout).unwrap();
        assert_eq!(usual, nats(scalar), "{name}");
        let piped = answer(
            siskin().arg("eval").arg(&model).args(["--text", "-", "--json"]),
            TEXT.repeat(20).as_bytes(),
        );
        assert_eq!(usual, nats(serde_json::from_slice(&piped.stdout).unwrap()), "{name}");
    }
}

#[test]
fn a_smaller_window_is_another_measure() {
    let dir = Dir::new();
    let model = dir.gpt();
    let text = dir.file("text.txt", TEXT);
    let loss = |ctx: &str| {
        json("eval", &model, &["--text", text.to_str().unwrap(), "--ctx", ctx, "--json"])["loss"].clone()
    };
    assert_eq!(loss("64"), json("eval", &model, &["--text", text.to_str().unwrap(), "--json"])["loss"]);
    assert_ne!(loss("8"), loss("64"));
}

#[test]
fn eval_and_score_have_text_forms() {
    let dir = Dir::new();
    let model = dir.chars();
    let text = dir.file("text.txt", "abc 世\nab");
    let text = text.to_str().unwrap();
    let eval = stdout("eval", &model, &["--text", text]);
    assert!(eval.contains("perplexity") && eval.contains("7 tokens of 10 bytes"), "{eval}");
    let score = stdout("score", &model, &["--text", text]);
    let lines: Vec<Vec<&str>> = score.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!((lines.len(), lines[0][1], lines[4][2], lines[5][2]), (8, "-", "世", "\\n"));
}

#[test]
fn tokenize_and_back() {
    let dir = Dir::new();
    for vocab in [models::bpe(), siskin_format::Vocab::bytes()] {
        let model = dir.model(&models::llama(vocab.len()), &vocab, DType::Q8);
        let text = dir.file("text.txt", TEXT);
        let ids = stdout("tokenize", &model, &["--text", text.to_str().unwrap()]);
        assert_eq!(ids.lines().count(), TEXT.lines().count());
        assert!(ids.split_whitespace().all(|id| (id.parse::<usize>().unwrap()) < vocab.len()));
        let back =
            answer(siskin().arg("tokenize").arg(&model).args(["--decode", "--text", "-"]), ids.as_bytes());
        assert_eq!(String::from_utf8(back.stdout).unwrap(), TEXT);
    }
    let model = dir.chars();
    let text = dir.file("text.txt", "ab\n\nc 世");
    assert_eq!(stdout("tokenize", &model, &["--text", text.to_str().unwrap()]), "2 3\n\n4 1 5\n");
}
