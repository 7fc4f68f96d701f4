//! What `encoder.c` must print: the same from Rust, without the C interface.

use siskin::{Model, PairScorer, Session, SessionOptions};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// Sources: one token, some, and more than go through the encoder at a time.
pub const SOURCES: [&str; 3] =
    ["a", "March 5, 1987", "the 14th of May 2018, in the words of nobody, and some more"];
/// Tokens that are written of each.
const WRITTEN: usize = 24;

/// The lines for all [`SOURCES`].
pub fn transcript(path: &Path) -> String {
    let model = Arc::new(Model::open(path).unwrap());
    let options = SessionOptions { threads: Some(1), ..SessionOptions::default() };
    let session = || Session::new(model.clone(), &options).unwrap();
    let mut scorer = PairScorer::new(session()).unwrap();
    let mut text = String::new();
    for source in SOURCES {
        let source: Vec<u32> = source.bytes().map(u32::from).collect();
        let target = scorer.write(&source, WRITTEN).unwrap().to_vec();
        assert_eq!(target.len(), WRITTEN, "the vocabulary of bytes has no end token");
        let mut by_hand = session();
        by_hand.encode(&source).unwrap();
        let first: Vec<u32> =
            by_hand.forward(&[model.target_start()]).unwrap().iter().map(|x| x.to_bits()).collect();
        let mut scores = Vec::new();
        scorer.score(&source, &target, |_, log_prob| scores.push(log_prob.to_bits())).unwrap();
        let line = |name: &str, words: Vec<String>| format!("{name} {}\n", words.join(" "));
        let tokens = line("tokens", target.iter().map(u32::to_string).collect());
        let logits = line("logits", first.iter().map(|bits| format!("{bits:08x}")).collect());
        let scores = line("scores", scores.iter().map(|bits| format!("{bits:016x}")).collect());
        write!(text, "{tokens}{logits}{scores}").expect("a String takes everything");
    }
    text
}
