//! `siskin info` and `siskin bench`.

use crate::models::{self, Dir};
use crate::{json, siskin, stdout};
use siskin_format::receipt::{HeldOut, Origin, Source, Training};
use siskin_format::{DType, Receipt, schema, writer};
use std::process::Stdio;

#[test]
fn info_tells_everything() {
    let dir = Dir::new();
    let vocab = models::bpe();
    for (name, config) in models::families(vocab.len()) {
        let model = dir.model(&config, &vocab, DType::Q4);
        let value = json("info", &model, &["--json"]);
        let specs = schema(&config);
        assert_eq!(value["tensors"].as_array().unwrap().len(), specs.len(), "{name}");
        assert_eq!(value["parameters"], specs.iter().map(|spec| spec.len()).sum::<usize>(), "{name}");
        assert_eq!(value["config"]["vocab_size"], vocab.len());
        assert_eq!(value["tokenizer"]["eos"].as_u64(), vocab.special().eos.map(u64::from));
        assert_eq!(value["bytes"], std::fs::metadata(&model).unwrap().len());
        assert_eq!(value["sections"].as_array().unwrap().len(), 5);
        assert!(value["sessions"][0]["bytes"].as_u64().unwrap() > 0, "{name}");
        let text = stdout("info", &model, &["--cpu"]);
        for spec in &specs {
            assert!(text.contains(&spec.name), "{name}: {}", spec.name);
        }
        assert!(text.contains("XXH64") && text.contains("available"), "{text}");
    }
}

#[test]
fn info_tells_the_receipt() {
    let dir = Dir::new();
    let model = dir.gpt();
    let receipt = Receipt {
        producer: Some("siskin-train 9.9".into()),
        sources: vec![Source { name: "poems\u{1b}[2J.txt".into(), bytes: 1234, hash: 7 }],
        training: Some(Training { steps: 500, tokens: 4096, optimizer: "adamw".into(), seed: 3 }),
        origin: Some(Origin { name: "step-500".into(), hash: 8 }),
        held_out: Some(HeldOut { name: "the end".into(), tokens: 99, float_loss: 1.25, file_loss: 1.5 }),
        golden: Vec::new(),
    };
    writer::replace_receipt(&model, &receipt).unwrap();
    let value = json("info", &model, &["--json"]);
    assert_eq!(value["receipt"]["held_out"]["file_loss"], 1.5);
    assert_eq!(value["receipt"]["training"]["steps"], 500);
    let text = stdout("info", &model, &[]);
    for expected in
        ["siskin-train 9.9", "1.2500 before storing, 1.5000 as stored", "500 steps", "step-500", "poems"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "a file does not speak to the terminal");
}

#[test]
fn the_cpu_needs_no_model() {
    let output = siskin().args(["info", "--cpu", "--json"]).env("SISKIN_ISA", "scalar").output().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["cpu"]["kernels"], "scalar");
    assert!(value["cpu"]["available"].as_array().unwrap().contains(&"scalar".into()));
    // The kernels that a CPU runs are named after the feature that they need.
    for (isa, feature) in [("avx2", "avx2"), ("vnni", "avx512vnni"), ("neon", "neon"), ("dotprod", "dotprod")]
    {
        let has = |list: &str, name: &str| value["cpu"][list].as_array().unwrap().contains(&name.into());
        assert_eq!(has("available", isa), has("features", feature), "{value}");
    }
}

#[test]
fn bench_measures() {
    let dir = Dir::new();
    let value = json("bench", &dir.gpt(), &["--reps", "1", "--threads", "1", "--json"]);
    for figure in
        ["prompt_tokens_per_second", "generated_tokens_per_second", "first_token_seconds", "session_bytes"]
    {
        assert!(value[figure].as_f64().unwrap() > 0.0, "{figure}: {value}");
    }
    let info = json("info", &dir.gpt(), &["--json"]);
    let (read, all) =
        (value["weight_bytes_per_token"].as_u64().unwrap(), info["weight_bytes"].as_u64().unwrap());
    assert!(
        read < all && read > all / 2,
        "{read} of {all} bytes: the tied head is read, 63 of 64 positions are not"
    );
    assert!(
        stdout("bench", &dir.chars(), &["--reps", "1", "--prompt", "8", "--gen", "8"]).contains("tokens/s")
    );
}

#[test]
fn bench_compares_with_the_machine() {
    let dir = Dir::new();
    let flags = ["--reps", "1", "--prompt", "8", "--gen", "8", "--threads", "1", "--profile", "--json"];
    let value = json("bench", &dir.gpt(), &flags);
    for figure in ["read_bytes_per_second", "peak_operations_per_second", "prompt_operations_per_second"] {
        assert!(value[figure].as_f64().unwrap() > 0.0, "{figure}: {value}");
    }
    for half in ["prompt", "generation"] {
        let stages = value["profile"][half].as_array().unwrap();
        let percent: f64 = stages.iter().map(|stage| stage["percent"].as_f64().unwrap()).sum();
        assert!((percent - 100.0).abs() < 1e-6, "{half}: {percent} %");
        assert!(stages.iter().any(|stage| stage["stage"] == "attention"), "{half}: {value}");
    }
}

#[test]
fn bench_measures_beside_a_load_that_ends_with_it() {
    let dir = Dir::new();
    let value =
        json("bench", &dir.gpt(), &["--reps", "1", "--prompt", "8", "--gen", "8", "--contended", "--json"]);
    assert!(value["contended"]["generated_tokens_per_second"].as_f64().unwrap() > 0.0, "{value}");
    // What the command starts as its load stops when nobody holds its input.
    let mut load =
        siskin().args(["bench", "--burn"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    assert!(load.wait().unwrap().success());
}

#[test]
fn bench_measures_the_machine_without_a_model() {
    let output =
        siskin().args(["bench", "--machine", "--reps", "1", "--threads", "1", "--json"]).output().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let limits = &value["limits"][0];
    for figure in ["memory_bytes_per_second", "int8_operations_per_second", "f32_operations_per_second"] {
        assert!(limits[figure].as_f64().unwrap() > 1e6, "{figure}: {value}");
    }
    assert_eq!(
        siskin().args(["bench"]).output().unwrap().status.code(),
        Some(2),
        "neither model nor machine"
    );
}
