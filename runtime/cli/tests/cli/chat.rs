//! `siskin chat`.

use crate::models::{Dir, cell, chars, recurrent};
use crate::{answer, json, siskin};
use siskin_format::DType;
use siskin_format::config::BlockConfig;
use siskin_format::vocab::ChatTemplate;

fn chat(model: &std::path::Path, args: &[&str], input: &str) -> String {
    let output = answer(siskin().arg("-q").arg("chat").arg(model).args(args), input.as_bytes());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), stderr.as_ref()), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn lines_and_answers_are_one_text() {
    let dir = Dir::new();
    let model = dir.chars();
    // Greedy: what follows depends on the whole text and on nothing else.
    let greedy = ["-n", "5", "--temp", "0"];
    let answers = chat(&model, &greedy, "abc\ncab\n");
    let go_on = |prompt: &str| {
        let args = [&["-p", prompt, "--json"][..], &greedy].concat();
        json("run", &model, &args)["text"].as_str().unwrap().to_string()
    };
    let first = go_on("abc\n");
    let second = go_on(&format!("abc\n{first}cab\n"));
    assert_eq!(answers, format!("{first}\n{second}\n"));
}

#[test]
fn an_empty_line_goes_on_and_reset_begins_anew() {
    let dir = Dir::new();
    let model = dir.chars();
    let ten = chat(&model, &["-n", "10", "--temp", "0"], "ab\n");
    let five = chat(&model, &["-n", "5", "--temp", "0"], "ab\n");
    let twice_five = chat(&model, &["-n", "5", "--temp", "0"], "ab\n\n");
    let second = twice_five.strip_prefix(&five).expect("the first answer is the same");
    assert_eq!(five.strip_suffix('\n').unwrap().to_string() + second, ten);
    let again = chat(&model, &["-n", "5", "--temp", "1", "--seed", "4"], "ab\n/reset\nab\n/quit\nab\n");
    let (first, second) = again.split_at(again.len() / 2);
    assert_eq!(first, second);
}

#[test]
fn a_chat_template_frames_what_is_said() {
    let dir = Dir::new();
    let pieces = |before: &str, after: &str| (before.to_string(), after.to_string());
    let template = ChatTemplate {
        begin: "a".into(),
        system: pieces("b", "cc"),
        user: pieces("b", "c"),
        assistant: pieces("", "a"),
        reply: "世".into(),
        stops: Vec::new(),
    };
    let vocab = chars().with_chat(Some(template)).unwrap();
    let model = dir.model(&recurrent(vocab.len(), BlockConfig::Gru(cell())), &vocab, DType::Q8);
    let greedy = ["-n", "5", "--temp", "0"];
    let go_on = |prompt: &str| {
        let args = [&["-p", prompt, "--json"][..], &greedy].concat();
        json("run", &model, &args)["text"].as_str().unwrap().to_string()
    };
    let first = go_on("aabc世");
    let second = go_on(&format!("aabc世{first}abcc世"));
    assert_eq!(chat(&model, &greedy, "ab\nc\n"), format!("{first}\n{second}\n"));
    let told = [&greedy[..], &["--system", "ca"]].concat();
    assert_eq!(chat(&model, &told, "ab\n"), format!("{}\n", go_on("bcaccabc世")));
    assert_eq!(json("info", &model, &["--json"])["tokenizer"]["chat"], true);
    let plain = answer(siskin().arg("chat").arg(dir.chars()).args(["--system", "ca"]), b"ab\n");
    assert_eq!(plain.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&plain.stderr).contains("no chat template"));
}
