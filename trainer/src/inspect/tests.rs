//! What is looked at is what the model computes, and any text gives pictures or one line of error.

use super::pictures::{Choice, Picture, pictures, pooled};
use super::*;
use crate::settings::parse_toml;
use crate::train::run::Run;

const ALL: Choice = Choice { layer: None, head: None, units: 5, gates: true };

/// An untrained run on a text with some odd characters; `blocks` is TOML.
fn run(blocks: &str) -> (tempfile::TempDir, TrainedRun) {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("song.txt");
    std::fs::write(&text, "la <lu>\t&\n\u{e9}\u{301}😀 la li\n".repeat(40)).unwrap();
    let common = "d_model = 8\nhidden = 8\nn_heads = 2\ncontext = 12\nbatch_size = '2'\nsteps = 3\nthreads = 1\ntokenizer = 'char'\n";
    let said = parse_toml(&format!("{common}{blocks}")).unwrap();
    let path = dir.path().join("run");
    let run = Run::start(&said, &[text], &path, std::path::Path::new("m.siskin"), &|_| ()).unwrap();
    run.save().unwrap();
    drop(run);
    let opened = TrainedRun::open(&path).unwrap();
    (dir, opened)
}

const MIXED: &str = "model = 'llama'\n[[blocks]]\nkind = 'transformer'\n[[blocks]]\nkind = 'lstm'\n[[blocks]]\nkind = 'gru'\n";

#[test]
fn probabilities_are_those_of_the_logits() {
    let (_dir, run) = run("model = 'gru'\nn_layers = 1");
    let seen = Inspection::of(&run, "la li la").unwrap();
    let vocab = run.vocab.len();
    assert_eq!((seen.tokens.len(), seen.left_out, seen.probability[0]), (8, 0, None));
    for t in 1..8 {
        let z = &seen.trace.logits[(t - 1) * vocab..][..vocab];
        let sum: f64 = z.iter().map(|z| z.exp()).sum();
        let expected = z[seen.tokens[t].id as usize].exp() / sum;
        assert!((seen.probability[t].unwrap() - expected).abs() < 1e-12);
        assert!(seen.guess[t - 1].1 >= expected - 1e-12);
    }
    let mean = seen.probability.iter().flatten().map(|p| -p.ln()).sum::<f64>() / 7.0;
    assert!((seen.loss().unwrap() - mean).abs() < 1e-12);
}

#[test]
fn a_mixed_stack_shows_attention_states_and_gates() {
    let (_dir, run) = run(MIXED);
    let seen = Inspection::of(&run, "la <lu>\t&\né").unwrap();
    let headings: Vec<String> = pictures(&seen, ALL).unwrap().into_iter().map(|p| p.heading).collect();
    // Surprise, all heads, one head; h c i f o of the LSTM; h z r of the GRU.
    assert_eq!(headings.len(), 3 + 5 + 3, "{headings:?}");
    let one = pictures(&seen, Choice { layer: Some(2), gates: false, ..ALL }).unwrap();
    assert_eq!(
        one.iter().map(|p| p.heading.as_str()).collect::<Vec<_>>(),
        ["Surprise", "State of block 2 (GRU)"]
    );
    let page = page(&seen, &pictures(&seen, ALL).unwrap());
    assert!(page.contains("&lt;") && !page.contains("<lu>") && page.contains('↵'));
    let json = seen.to_json();
    let row = |value: &Value| value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).sum::<f64>();
    assert!((row(&json["blocks"][0]["heads"][1][4]) - 1.0).abs() < 1e-9);
    assert_eq!(json["blocks"][1]["f"][3].as_array().unwrap().len(), 8);
    assert!(json["probability"][0].is_null());
}

#[test]
fn any_text_gives_pictures_or_a_clear_line() {
    let (_dir, run) = run(MIXED);
    let error = |text: &str| Inspection::of(&run, text).unwrap_err().to_string();
    assert!(error("").contains("the text is empty"), "{}", error(""));
    assert!(error("laß").contains("'ß'") && error("laß").contains("character 2"), "{}", error("laß"));
    for text in ["l", "\n", "\n\n\u{301}😀", "la la la la la la la la la li"] {
        let seen = Inspection::of(&run, text).unwrap();
        let all: Vec<Picture> = pictures(&seen, ALL).unwrap();
        assert!(all.iter().all(|p| p.svg.starts_with("<svg") && !p.svg.contains("NaN")), "{text:?}");
        assert_eq!(seen.tokens.len() + seen.left_out, text.chars().count());
        assert!(seen.tokens.len() <= 12, "the context is 12");
    }
    let seen = Inspection::of(&run, "la").unwrap();
    let wrong = |layer, head| pictures(&seen, Choice { layer, head, ..ALL }).unwrap_err().to_string();
    assert!(wrong(Some(3), None).contains("expected 0 to 2"), "{}", wrong(Some(3), None));
    assert!(wrong(None, Some(2)).contains("expected 0 to 1"), "{}", wrong(None, Some(2)));
}

#[test]
fn units_come_by_their_variance() {
    let state = vec![0.0, 1.0, 5.0, 0.0, -1.0, 5.5, 0.1, 1.0, 5.0];
    let cell = CellTrace { kind: "rnn", hidden: 3, state, gates: vec![] };
    assert_eq!(most_variable(&cell, 9), [1, 2, 0]);
    assert_eq!(most_variable(&cell, 1), [1]);
}

#[test]
fn pooled_maps_keep_the_highest() {
    let map = [1.0, 0.0, 0.0, 0.4, 0.6, 0.0, 0.2, 0.5, 0.3];
    let p = pooled(&map, 3, 2);
    assert_eq!((p[0][0], p[1][0], p[1][1]), (1.0, 0.5, 0.3));
    assert!(p[0][1].is_nan());
}
