//! `siskin verify`, and golden runs.

use crate::models::{self, Dir};
use crate::{json, output, stdout};
use siskin::{Model, replay};
use siskin_format::{DType, File, OpenOptions, writer};
use std::path::Path;
use std::sync::Arc;

/// Adds two golden runs to a file.
pub fn add_goldens(path: &Path) {
    let model = Arc::new(Model::open(path).unwrap());
    let mut receipt = model.file().receipt().clone();
    receipt.golden = [&[1, 2, 3][..], &[5]].map(|prompt| replay::record(&model, prompt, 20).unwrap()).into();
    drop(model);
    writer::replace_receipt(path, &receipt).unwrap();
}

#[test]
fn whole_files_of_every_family_replay() {
    let vocab = models::bpe();
    for (name, config) in models::families(vocab.len()) {
        let dir = Dir::new();
        let model = dir.model(&config, &vocab, DType::Q4);
        add_goldens(&model);
        let lines = stdout("verify", &model, &[]);
        assert!(lines.lines().all(|line| line.starts_with("ok ")), "{name}: {lines}");
        assert_eq!(lines.matches("golden run").count(), 2, "{name}: {lines}");
        let value = json("verify", &model, &["--json", "--threads", "2"]);
        assert_eq!((value["ok"].as_bool(), value["golden_runs"].as_u64()), (Some(true), Some(2)), "{name}");
    }
}

#[test]
fn a_file_without_golden_runs_says_so() {
    let dir = Dir::new();
    assert!(stdout("verify", &dir.gpt(), &[]).contains("none  golden runs"));
}

#[test]
fn a_flipped_bit_of_a_weight_is_found() {
    let dir = Dir::new();
    let model = dir.gpt();
    add_goldens(&model);
    let file = File::open(&model, &OpenOptions::default()).unwrap();
    let range = file.tensor("blocks.0.ffn.w_up").unwrap().info().range.clone();
    drop(file);
    let mut bytes = std::fs::read(&model).unwrap();
    bytes[range.end - 100] ^= 0x10;
    let flipped = dir.file("flipped.siskin", bytes);
    let output = output("verify", &flipped, &[]);
    let (lines, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(lines.lines().any(|line| line.starts_with("FAIL") && line.contains("checksum")), "{lines}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn a_wrong_golden_run_is_found() {
    let dir = Dir::new();
    let model = dir.gpt();
    add_goldens(&model);
    let file = File::open(&model, &OpenOptions::default()).unwrap();
    let right = file.receipt().clone();
    drop(file);
    let failing = |change: &dyn Fn(&mut siskin_format::receipt::Golden), expected: &str| {
        let mut receipt = right.clone();
        change(&mut receipt.golden[1]);
        writer::replace_receipt(&model, &receipt).unwrap();
        let output = output("verify", &model, &[]);
        let lines = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{lines}");
        let failed: Vec<&str> = lines.lines().filter(|line| line.starts_with("FAIL")).collect();
        assert!(failed.len() == 1 && failed[0].contains("golden run 1"), "{lines}");
        assert!(failed[0].contains(expected), "{lines}");
    };
    failing(&|golden| golden.tokens_hash ^= 1, "other tokens");
    failing(&|golden| golden.logits_hash ^= 1, "the logits differ");
    failing(&|golden| golden.n_tokens = u64::MAX, "expected at most 4096");
    failing(&|golden| golden.prompt = vec![99_999], "token 99999 does not exist");
    failing(&|golden| golden.prompt = vec![1; 65], "the context of 64 positions");
    failing(&|golden| golden.prompt.clear(), "no tokens were given");
}
