//! `siskin chat`.

use crate::models::Dir;
use crate::{answer, json, siskin};

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
