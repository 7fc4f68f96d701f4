//! A mixture of texts by weight, and a shared token cache, as a user of the command sees them.

use std::path::Path;
use std::process::{Command, Output};

use siskin_tests::{bin, temp_dir};

/// Runs `siskin-train` in `dir`.
fn siskin_train(dir: &Path, args: &str) -> Output {
    Command::new(bin("siskin-train")).args(args.split(' ')).current_dir(dir).output().unwrap()
}

fn ok(dir: &Path, args: &str) -> (String, String) {
    let out = siskin_train(dir, args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&out.stdout), text(&out.stderr));
    assert!(out.status.success(), "{args}: {stderr}");
    (stdout, stderr)
}

const SMALL: &str = "--n-layers 1 --d-model 16 --hidden 16 --n-heads 2 --context 16 --batch-size 8 --steps 20 --eval-every 10 --threads 2";

#[test]
fn a_mixture_is_trained_validated_and_measured_by_text() {
    let dir = temp_dir();
    let dir = dir.path();
    let line = |i: usize| format!("line {} of the song: {}\n", i % 7, "la".repeat(1 + i * i % 5));
    std::fs::write(dir.join("song=3,x.txt"), (0..200).map(line).collect::<String>()).unwrap();
    std::fs::write(
        dir.join("list.txt"),
        (0..300).map(|i| format!("{i} and {}\n", i * i)).collect::<String>(),
    )
    .unwrap();
    std::fs::write(dir.join("mix.toml"), "mix = [3, 1]\ncache = 'cache'\n").unwrap();

    let texts = "song=3,x.txt list.txt";
    for (model, run, how) in
        [("gpt", "a", "--mix 3,1"), ("gpt", "b", "--config mix.toml"), ("gru", "c", "--config mix.toml")]
    {
        let (_, log) =
            ok(dir, &format!("train {texts} {how} --model {model} {SMALL} --out {run} -o {run}.siskin"));
        let expected = match model {
            "gru" => "mixture: song=3,x.txt 75.0 % by 6 lanes of 8, list.txt 25.0 % by 2 lanes of 8",
            _ => "mixture: song=3,x.txt 75.0 %, list.txt 25.0 %",
        };
        assert!(log.contains(expected), "{log}");
        let eval = log.lines().find(|line| line.starts_with("step     10  validation loss")).unwrap();
        assert!(eval.contains("(song=3,x.txt ") && eval.contains(", list.txt "), "{eval}");
        let json = std::fs::read_to_string(dir.join(run).join("log.jsonl")).unwrap();
        let eval = json.lines().find(|line| line.contains("\"eval\"")).unwrap();
        let eval: serde_json::Value = serde_json::from_str(eval).unwrap();
        assert_eq!(eval["by_text"].as_array().map(Vec::len), Some(2), "{eval}");
    }
    let model = |run: &str| std::fs::read(dir.join(format!("{run}.siskin"))).unwrap();
    assert!(model("a") == model("b"), "a cache elsewhere and a settings file change nothing");
    assert!(dir.join("a/tokens").is_dir() && !dir.join("b/tokens").exists());
    assert_eq!(
        std::fs::read_dir(dir.join("cache")).unwrap().count(),
        2,
        "one cache for each text, for both runs"
    );

    let (json, _) = ok(dir, "eval a --json");
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    let loss = |i: usize| found["by_text"][i]["loss"].as_f64().unwrap();
    assert!((found["loss"].as_f64().unwrap() - (0.75 * loss(0) + 0.25 * loss(1))).abs() < 1e-9, "{json}");
    let (line, log) = ok(dir, "eval a --text list.txt --tokens 100");
    assert!(line.contains("over 99 tokens") && log.contains("--tokens 0 takes all of it"), "{line}{log}");
    let (line, _) = ok(dir, "export a -o again.siskin");
    assert!(line.contains("held-out tokens, by the runtime"), "{line}");

    let out = siskin_train(dir, &format!("train {texts} --mix 1 {SMALL} --out d"));
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!((out.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("mix: has 1 weights, expected one for each of the 2 texts"), "{error}");
}
