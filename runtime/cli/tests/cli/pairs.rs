//! Models with an encoder: what runs, evaluates and refuses.

use crate::models::{self, Dir};
use crate::{answer, json, output, siskin, stdout};
use siskin_format::config::{BlockConfig, TransformerConfig};
use siskin_format::vocab::{PreTokenizer, SpecialIds, TokenKind, VocabKind, VocabParts};
use siskin_format::{DType, Vocab};
use std::path::PathBuf;

/// An encoder-decoder of a few letters, with marks around its targets.
fn model(dir: &Dir) -> PathBuf {
    let mut tokens: Vec<(Vec<u8>, TokenKind)> =
        "abcdef ".chars().map(|c| (c.to_string().into_bytes(), TokenKind::Normal)).collect();
    tokens.extend(["<begin>", "<end>"].map(|mark| (mark.into(), TokenKind::Control)));
    let special = SpecialIds { bos: Some(7), eos: Some(8), ..SpecialIds::default() };
    let (kind, pre_tokenizer) = (VocabKind::Char, PreTokenizer::None);
    let parts = VocabParts {
        kind,
        pre_tokenizer,
        tokens,
        scores: None,
        merges: Vec::new(),
        special,
        ..VocabParts::default()
    };
    let mut config = models::gpt(9);
    let BlockConfig::Transformer(t) = config.blocks[0].clone() else { panic!("a Transformer") };
    config.encoder = vec![t.clone(); 2];
    config.blocks = vec![BlockConfig::Transformer(TransformerConfig { cross_attention: true, ..t }); 2];
    dir.model(&config, &Vocab::new(parts).unwrap(), DType::Q8)
}

/// Standard error of a run that must fail, in one line.
fn refusal(command: &str, model: &std::path::Path, args: &[&str]) -> String {
    let output = output(command, model, args);
    assert_eq!(output.status.code(), Some(1), "siskin {command} {args:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{stderr}");
    stderr
}

#[test]
fn run_prints_the_target_of_the_source_alone() {
    let dir = Dir::new();
    let model = model(&dir);
    let args = ["-p", "fade", "-n", "20", "--temp", "0", "--json"];
    let value = json("run", &model, &args);
    assert_eq!(value["prompt_tokens"], serde_json::json!([5, 0, 3, 4]));
    let text = stdout("run", &model, &args[..6]);
    assert_eq!(value["text"], text.as_str());
    let other = json("run", &model, &["-p", "dead", "-n", "20", "--temp", "0", "--json"]);
    assert_eq!(other["prompt_tokens"].as_array().unwrap().len(), 4);
    let scalar =
        siskin().env("SISKIN_ISA", "scalar").arg("run").arg(&model).args(&args[..6]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&scalar.stdout), text);
    assert!(refusal("run", &model, &[]).contains("the prompt is empty: give the source by -p"));
    assert!(refusal("run", &model, &["-p", "x"]).contains("the prompt: "));
    let long = "abc".repeat(30);
    assert!(
        refusal("run", &model, &["-p", &long]).contains("the prompt has 90 tokens, the context 64 positions")
    );
}

#[test]
fn eval_measures_pairs_and_finds_what_the_model_writes() {
    let dir = Dir::new();
    let model = model(&dir);
    let run = |source| json("run", &model, &["-p", source, "-n", "63", "--temp", "0", "--json"]);
    let (one, two) = (run("fade"), run("a bee"));
    // What it writes without an end it would not write as a whole target.
    let ended = |value: &serde_json::Value| u64::from(value["stop"] == "end_of_text");
    let lines = format!(
        "fade\t{}\r\na bee\t{}\nbead\tcafe bead",
        one["text"].as_str().unwrap(),
        two["text"].as_str().unwrap()
    );
    let pairs = dir.file("pairs.tsv", &lines);
    let pairs = pairs.to_str().unwrap();
    let value = json("eval", &model, &["--text", pairs, "--json"]);
    assert_eq!(
        (value["pairs"].as_u64(), value["exact"].as_u64()),
        (Some(3), Some(ended(&one) + ended(&two)))
    );
    let characters =
        lines.split(['\t', '\n']).skip(1).step_by(2).map(|side| side.trim_end().chars().count() + 1);
    assert_eq!(value["tokens"].as_u64(), Some(characters.sum::<usize>() as u64));
    let text = stdout("eval", &model, &["--text", pairs]);
    assert!(text.contains("exact match") && text.contains("nats/token of the target"), "{text}");
    let stdin = answer(siskin().arg("eval").arg(&model).args(["--text", "-", "--json"]), lines.as_bytes());
    let piped: serde_json::Value = serde_json::from_slice(&stdin.stdout).unwrap();
    assert_eq!(piped["nats"], value["nats"]);
    for (bytes, expected) in [
        ("ab\tc\nabc\n", "line 2: 0 tabs, expected one"),
        ("a\tb\tc\n", "line 1: 2 tabs, expected one"),
        ("\tb\n", "line 1: the source is empty"),
        ("a\t\n", "line 1: the target is empty"),
        ("a\txyz\n", "line 1: "),
        ("", "is empty, expected lines of source, tab and target"),
    ] {
        let file = dir.file("wrong.tsv", bytes);
        let found = refusal("eval", &model, &["--text", file.to_str().unwrap()]);
        assert!(found.contains(expected) && found.contains("wrong.tsv"), "{found}");
    }
}

#[test]
fn info_shows_both_stacks_and_what_makes_no_sense_is_refused() {
    let dir = Dir::new();
    let model = model(&dir);
    let text = stdout("info", &model, &[]);
    assert!(text.contains("encoder 2 × transformer") && text.contains("decoder 2 × transformer"), "{text}");
    assert!(text.contains("cross-attention"), "{text}");
    let value = json("info", &model, &["--json"]);
    assert_eq!(value["config"]["encoder"].as_array().unwrap().len(), 2);
    assert_eq!(value["config"]["blocks"][0]["cross_attention"], true);
    stdout("verify", &model, &[]);
    let pairs = dir.file("pairs.tsv", "a\tb\n");
    for (command, args) in
        [("chat", vec![]), ("bench", vec![]), ("score", vec!["--text", pairs.to_str().unwrap()])]
    {
        let found = refusal(command, &model, &args);
        assert!(found.contains("has an encoder") && found.contains("use siskin "), "{found}");
    }
}
