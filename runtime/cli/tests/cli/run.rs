//! `siskin run`, and the generation loop behind it.

use crate::models::{self, Dir};
use crate::{answer, json, output, siskin, stdout};
use siskin_format::{DType, Vocab};
use std::io::Read;
use std::process::Stdio;

#[test]
fn the_seed_decides_in_every_family_and_dtype() {
    let vocab = models::bpe();
    for (name, config) in models::families(vocab.len()) {
        for dtype in DType::ALL {
            let dir = Dir::new();
            let model = dir.model(&config, &vocab, dtype);
            let run = |seed: &str, threads: &str| {
                stdout(
                    "run",
                    &model,
                    &["-p", "the", "-n", "40", "--temp", "2", "--seed", seed, "--threads", threads],
                )
            };
            let first = run("1", "1");
            assert!(!first.is_empty(), "{name} {dtype}");
            assert_eq!(first, run("1", "2"), "{name} {dtype}");
            assert_ne!(first, run("2", "1"), "{name} {dtype}");
        }
    }
}

#[test]
fn every_instruction_set_and_way_of_reading_gives_the_same_text() {
    let dir = Dir::new();
    let model = dir.gpt();
    let args = ["-p", "seed", "-n", "30", "--seed", "3"];
    let usual = stdout("run", &model, &args);
    let scalar = siskin().env("SISKIN_ISA", "scalar").arg("run").arg(&model).args(args).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&scalar.stdout), usual);
    assert_eq!(stdout("run", &model, &[&args[..], &["--no-mmap"]].concat()), usual);
}

#[test]
fn json_says_what_was_generated_and_why_it_ended() {
    let dir = Dir::new();
    let model = dir.gpt();
    let value = json("run", &model, &["-p", "abc", "-n", "10", "--seed", "5", "--json"]);
    assert_eq!(value["prompt"], "abc");
    assert_eq!(value["prompt_tokens"], serde_json::json!([97, 98, 99]));
    assert_eq!(value["tokens"].as_array().unwrap().len(), 10);
    assert_eq!((value["stop"].as_str(), value["seed"].as_u64()), (Some("max_tokens"), Some(5)));
    let text = stdout("run", &model, &["-p", "abc", "-n", "10", "--seed", "5"]);
    assert_eq!(value["text"], text.as_str());
    assert_eq!(
        stdout("run", &model, &["-p", "abc", "-n", "10", "--seed", "5", "--echo"]),
        format!("abc{text}")
    );
}

#[test]
fn a_stop_string_ends_the_text_before_it() {
    let dir = Dir::new();
    let model = dir.chars();
    let args = ["-n", "300", "--temp", "1", "--top-k", "0", "--seed", "1"];
    let whole = stdout("run", &model, &args);
    let chars: Vec<char> = whole.chars().collect();
    let stop: String = chars[40..43].iter().collect();
    let value = json("run", &model, &[&args[..], &["--stop", &stop, "--stop", "zzz", "--json"]].concat());
    let expected = &whole[..whole.find(&stop).unwrap()];
    assert_eq!(value["text"], expected);
    assert_eq!(value["stop"], "stop_string");
    assert_eq!(stdout("run", &model, &[&args[..], &["--stop", &stop]].concat()), expected);
}

#[test]
fn windows_let_a_text_go_on_past_the_context() {
    let dir = Dir::new();
    let model = dir.windowed();
    let all = json("run", &model, &["-p", "abcd", "-n", "300", "--seed", "1", "--json"]);
    assert_eq!((all["tokens"].as_array().unwrap().len(), all["stop"].as_str()), (300, Some("max_tokens")));
    // Who asks for a bound gets it, and the same text up to there.
    let bounded = json("run", &model, &["-p", "abcd", "-n", "300", "--seed", "1", "--ctx", "100", "--json"]);
    let n = bounded["tokens"].as_array().unwrap().len();
    assert_eq!((n, bounded["stop"].as_str()), (97, Some("context_full")));
    assert_eq!(bounded["tokens"].as_array().unwrap()[..], all["tokens"].as_array().unwrap()[..97]);
    let info = stdout("info", &model, &[]);
    for line in [
        "window of 9",
        "frequencies divided by 1 to 4",
        "no limit (trained on windows of 64 tokens)",
        "whatever the length",
    ] {
        assert!(info.contains(line), "{line}: {info}");
    }
    let info = json("info", &model, &["--json"]);
    assert_eq!(info["config"]["blocks"][0]["window"], 9);
    assert_eq!(info["config"]["rope_divisors"], serde_json::json!([1.0, 2.0, 4.0]));
}

#[test]
fn a_full_context_ends_the_text_and_says_so() {
    let dir = Dir::new();
    let model = dir.gpt();
    // The last of the 64 positions predicts one more token.
    let value = json("run", &model, &["-p", "abcd", "-n", "1000", "--json"]);
    assert_eq!(
        (value["tokens"].as_array().unwrap().len(), value["stop"].as_str()),
        (61, Some("context_full"))
    );
    let value = json("run", &model, &["-p", "abcd", "-n", "1000", "--ctx", "20", "--json"]);
    assert_eq!(value["tokens"].as_array().unwrap().len(), 17);
    let stderr = output("run", &model, &["-p", "abcd", "-n", "1000"]).stderr;
    assert!(String::from_utf8_lossy(&stderr).contains("the context is full"));
}

#[test]
fn the_end_token_ends_the_text_and_is_not_shown() {
    let dir = Dir::new();
    let vocab = models::bpe();
    let mut config = models::llama(vocab.len());
    config.context = 4096;
    let model = dir.model(&config, &vocab, DType::F32);
    // Nearly uniform: the end token comes within some hundred tokens.
    let value = json(
        "run",
        &model,
        &[
            "-n", "4000", "--temp", "50", "--top-k", "0", "--top-p", "1", "--min-p", "0", "--seed", "1",
            "--json",
        ],
    );
    assert_eq!(value["stop"], "end_of_text");
    assert!(!value["text"].as_str().unwrap().contains("endoftext"));
    let eos = vocab.special().eos.unwrap();
    assert!(!value["tokens"].as_array().unwrap().iter().any(|id| *id == eos));
}

#[test]
fn bytes_become_whole_characters_only() {
    let dir = Dir::new();
    let model = dir.gpt();
    let mut child = siskin();
    child.arg("run").arg(&model).args([
        "-p", "世界", "-n", "60", "--temp", "3", "--top-k", "0", "--top-p", "1", "--min-p", "0", "--seed",
        "2",
    ]);
    let bytes = child.output().unwrap().stdout;
    let text = String::from_utf8(bytes).expect("only whole characters are shown");
    assert!(text.contains('\u{FFFD}'), "random bytes are not all text: {text:?}");
}

#[test]
fn prompts_come_from_options_files_and_standard_input() {
    let dir = Dir::new();
    let model = dir.gpt();
    let file = dir.file("prompt.txt", "a prompt\n");
    let given = stdout("run", &model, &["-p", "a prompt\n", "-n", "8", "--seed", "1"]);
    assert_eq!(stdout("run", &model, &["-f", file.to_str().unwrap(), "-n", "8", "--seed", "1"]), given);
    let piped = answer(siskin().arg("run").arg(&model).args(["-", "-n", "8", "--seed", "1"]), b"a prompt\n");
    assert_eq!(String::from_utf8(piped.stdout).unwrap(), given);
}

#[test]
fn without_a_prompt_the_model_begins_a_text() {
    let dir = Dir::new();
    let bytes = dir.gpt();
    assert_eq!(json("run", &bytes, &["-n", "1", "--json"])["prompt_tokens"], serde_json::json!([10]));
    let vocab = models::bpe();
    let with_end = dir.model(&models::llama(vocab.len()), &vocab, DType::F16);
    let start = vocab.special().eos.unwrap();
    assert_eq!(json("run", &with_end, &["-n", "1", "--json"])["prompt_tokens"], serde_json::json!([start]));
}

#[test]
fn zero_tokens_are_no_tokens() {
    let dir = Dir::new();
    assert_eq!(stdout("run", &dir.gpt(), &["-p", "abc", "-n", "0"]), "");
}

#[test]
fn penalties_change_the_text() {
    let dir = Dir::new();
    let model = dir.gpt();
    let greedy = stdout("run", &model, &["-n", "60", "--temp", "0"]);
    for option in ["--repeat-penalty=9", "--frequency-penalty=2", "--presence-penalty=9"] {
        assert_ne!(stdout("run", &model, &["-n", "60", "--temp", "0", option]), greedy, "{option}");
    }
}

#[test]
fn a_broken_pipe_ends_quietly() {
    let dir = Dir::new();
    let model = dir.chars();
    let mut child = siskin();
    child.arg("run").arg(&model).args(["-n", "1000000000", "--seed", "1"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 16];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap(); // and then the pipe is closed
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn timings_and_hints_are_on_standard_error_unless_quiet() {
    let dir = Dir::new();
    let model = dir.gpt();
    let loud = output("run", &model, &["-n", "3", "--seed", "77"]);
    let stderr = String::from_utf8_lossy(&loud.stderr);
    assert!(
        stderr.contains("tokens/s") && stderr.contains("seed 77") && stderr.contains("next: siskin chat"),
        "{stderr}"
    );
    let quiet = output("run", &model, &["-n", "3", "--seed", "77", "-q"]);
    assert_eq!((quiet.stdout, quiet.stderr.len()), (loud.stdout, 0));
}

#[test]
fn a_tokenizer_of_bytes_takes_any_prompt() {
    let dir = Dir::new();
    let vocab = Vocab::bytes();
    let model = dir.model(&models::llama(vocab.len()), &vocab, DType::Q4);
    let file = dir.file("prompt.bin", [0xff, 0xfe, 0x00, 0x80]);
    let value = json("run", &model, &["-f", file.to_str().unwrap(), "-n", "4", "--json"]);
    assert_eq!(value["prompt_tokens"], serde_json::json!([255, 254, 0, 128]));
}
