//! `siskin-train compare` and `lr-find` as their users run them.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A folder with a text to train on, removed when dropped.
struct Place {
    dir: tempfile::TempDir,
}

/// A model so small that a step takes a millisecond.
const TINY: &str =
    "--n-layers 1 --d-model 16 --hidden 16 --n-heads 2 --context 16 --batch-size 4 --threads 1";

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let line = |i: usize| {
            format!("line {} of the song: {}\n", i % 7, ["la", "li", "lo"][i * i % 3].repeat(1 + i % 4))
        };
        std::fs::write(dir.path().join("song.txt"), (0..400).map(line).collect::<String>()).unwrap();
        Place { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Words of `line`, then `TINY`; quotes hold words together.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_siskin-train"));
        for (i, part) in line.split('"').enumerate() {
            match i % 2 {
                0 => command.args(part.split_whitespace()),
                _ => command.arg(part),
            };
        }
        if !line.starts_with("eval") {
            command.args(TINY.split_whitespace());
        }
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs and expects success; gives stdout and stderr.
    fn ok(&self, line: &str) -> (String, String) {
        let out = self.run(line);
        let [stdout, stderr] = [out.stdout, out.stderr].map(|b| String::from_utf8(b).unwrap());
        assert!(out.status.success(), "{line}: {stderr}");
        (stdout, stderr)
    }

    /// Runs and expects one line of error, which it gives.
    fn fails(&self, line: &str) -> String {
        let out = self.run(line);
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(1), "{line}: {stderr}");
        let error = stderr.lines().last().unwrap_or_default().to_string();
        assert!(error.starts_with("error: "), "{line}: {stderr}");
        error
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} --json --quiet")).0).unwrap()
    }
}

/// `found` without what a clock decides.
fn without_seconds(mut found: Value) -> Value {
    fn clear(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|key, _| !["seconds", "tokens_per_second", "threads"].contains(&key.as_str()));
                map.values_mut().for_each(clear);
            }
            Value::Array(list) => list.iter_mut().for_each(clear),
            _ => {}
        }
    }
    clear(&mut found);
    found
}

#[test]
fn variants_are_a_table_a_picture_and_the_same_each_time() {
    let place = Place::new();
    let line = "compare song.txt --model gpt --vary norm=none,layer --variant \"optimizer=sgd lr=0.3\" --steps 24 -o a.svg";
    let (table, stderr) = place.ok(line);
    for part in
        ["norm=none", "norm=layer", "optimizer=sgd lr=0.3", "best", "by the trainer", "picture: a.svg"]
    {
        assert!(table.contains(part), "{table} lacks {part}");
    }
    assert!(stderr.contains("next: siskin-train train song.txt"), "{stderr}");
    let svg = std::fs::read_to_string(place.path("a.svg")).unwrap();
    assert!(
        svg.ends_with("</svg>") && svg.contains("seconds of training") && svg.contains("updates"),
        "{svg}"
    );
    assert_eq!(svg.matches(">norm=layer</text>").count(), 1, "one legend for both panels");

    let first = place.json(line);
    assert_eq!(first["variants"].as_array().unwrap().len(), 3);
    let again = place.json(&line.replace("--steps", "--seed 1 --steps"));
    assert_eq!(without_seconds(first.clone()), without_seconds(again));
    let curve = &first["variants"][0]["runs"][0]["curve"];
    assert_eq!(curve["points"].as_array().unwrap().len(), 24);
    let seconds: Vec<f64> =
        curve["points"].as_array().unwrap().iter().map(|p| p["seconds"].as_f64().unwrap()).collect();
    assert!(seconds.windows(2).all(|w| w[0] < w[1]), "{seconds:?}");
    assert!(first["variants"][0]["runs"][0]["validation_loss_by_trainer"].as_f64().unwrap() > 0.5);
}

#[test]
fn variants_begin_alike_and_see_the_same_batches() {
    let place = Place::new();
    // Both say what gpt does anyway, so that nothing differs but their names.
    let found = place
        .json("compare song.txt --model gpt --variant lr=0.02 --variant adam_lr=4e-3 --steps 12 --seeds 2");
    let losses = |i: usize, seed: usize| -> Vec<f64> {
        let points = found["variants"][i]["runs"][seed]["curve"]["points"].as_array().unwrap();
        points.iter().map(|p| p["loss"].as_f64().unwrap()).collect()
    };
    assert_eq!(losses(0, 0), losses(1, 0));
    assert_eq!(losses(0, 1), losses(1, 1));
    assert_ne!(losses(0, 0), losses(0, 1), "seeds differ");
}

#[test]
fn a_variant_that_diverges_is_a_result() {
    let place = Place::new();
    let (table, _) = place
        .ok("compare song.txt --model rnn --activation relu --clip-norm 0 --warmup 0 --steps 20 \
         --variant \"optimizer=sgd lr=1e30\" --variant optimizer=adam");
    let line = |name: &str| table.lines().find(|l| l.starts_with(name)).unwrap().to_string();
    assert!(line("optimizer=sgd lr=1e30").contains("diverged at step"), "{table}");
    assert!(line("optimizer=adam").ends_with("best"), "{table}");
}

#[test]
fn kept_trainings_are_run_folders() {
    let place = Place::new();
    let line = "compare song.txt --model lstm --vary optimizer=adam,lion --steps 12 --out kept";
    place.ok(line);
    assert!(place.ok("eval kept/optimizer-lion").0.starts_with("step 12: loss"));
    let log = std::fs::read_to_string(place.path("kept/optimizer-adam/log.jsonl")).unwrap();
    assert_eq!(log.lines().filter(|l| l.contains("\"event\":\"step\"")).count(), 12);
    assert!(place.fails(line).contains("holds a run already"));
    std::fs::write(place.path("list.txt"), "one two three\n".repeat(200)).unwrap();
    place.ok("compare song.txt list.txt --mix 3,1 --model gpt --vary norm=none,rms --steps 12 --out mixed");
    let log = std::fs::read_to_string(place.path("mixed/norm-rms/log.jsonl")).unwrap();
    let eval = log.lines().rfind(|l| l.contains("\"event\":\"eval\"")).unwrap();
    let eval: Value = serde_json::from_str(eval).unwrap();
    let by_text: Vec<f64> = eval["by_text"].as_array().unwrap().iter().map(|l| l.as_f64().unwrap()).collect();
    let mean = 0.75 * by_text[0] + 0.25 * by_text[1];
    assert!((mean - eval["val_loss"].as_f64().unwrap()).abs() < 1e-9, "{eval}");
}

#[test]
fn ready_made_sets_and_minutes() {
    let place = Place::new();
    let found = place.json("compare song.txt --model rnn --preset activations --minutes 0.05");
    let steps = found["steps"].as_u64().unwrap();
    assert!(steps > 1, "{steps}");
    for variant in found["variants"].as_array().unwrap() {
        assert_eq!(variant["runs"][0]["steps"].as_u64(), Some(steps));
    }
    assert!(place.fails("compare song.txt --model lstm --preset activations").contains("fixed activations"));
}

#[test]
fn bad_input_is_one_clear_line() {
    let place = Place::new();
    std::fs::write(place.path("short.txt"), "abc").unwrap();
    for (line, part) in [
        ("compare song.txt", "nothing to compare"),
        ("compare song.txt --vary lr=1,2 --restarts 3", "restarts: is not for compare"),
        ("compare song.txt --vary lr=1,2 --sample-every 3", "sample_every: is not for compare"),
        ("lr-find song.txt --restarts 3", "restarts: is not for lr-find"),
        ("lr-find song.txt --eval-every 3", "eval_every: is not for lr-find"),
        ("lr-find song.txt --model gru --lr 0.1", "lr: is what lr-find looks for with adam"),
        ("compare song.txt --vary lr=1e-3,fast", "lr=fast"),
        ("compare song.txt --vary optimizer=adam,adamm", "did you mean 'adam'"),
        ("compare song.txt --vary lr=1e-3,-1", "variant lr=-1"),
        ("compare song.txt --vary threads=1,2", "threads cannot be varied"),
        ("compare song.txt --vary lr=1e-3,1e-2 --steps 0", "steps"),
        ("compare song.txt --vary lr=1e-3,1e-2 --seeds 0", "seeds"),
        ("compare short.txt --vary lr=1e-3,1e-2", "tokens"),
        ("compare missing.txt --vary lr=1e-3,1e-2", "missing.txt"),
        ("lr-find short.txt", "tokens"),
        ("lr-find song.txt --from 1 --to 0.1", "to: is 0.1"),
        ("lr-find song.txt --from nan", "from: is NaN"),
        ("lr-find song.txt --steps 3", "steps: is 3"),
        ("lr-find song.txt --minutes 1", "minutes"),
        ("lr-find song.txt --optimizer adam --which lr", "adam has one"),
        ("lr-find song.txt --model gpt --init-std 1e38", "before the first update"),
    ] {
        let error = place.fails(line);
        assert!(error.contains(part), "{line}: {error} lacks {part}");
    }
    assert!(!place.path("compare.svg").exists() && !place.path("lr-find.svg").exists());
}

#[test]
fn a_range_test_suggests_a_rate_that_learns() {
    let place = Place::new();
    let (text, stderr) =
        place.ok("lr-find song.txt --model gpt --optimizer sgd --clip-norm 0 --to 1000 -o r.svg");
    for part in ["suggested: --lr ", "was lowest", "limits: ", "picture: r.svg"] {
        assert!(text.contains(part), "{text} lacks {part}");
    }
    let next = stderr.lines().find(|l| l.starts_with("next: siskin-train train song.txt")).unwrap();
    let rate = next.rsplit_once("--lr ").unwrap().1.trim();
    let svg = std::fs::read_to_string(place.path("r.svg")).unwrap();
    assert!(svg.contains(&format!("suggested {rate}")) && svg.contains("class=\"band\""), "{svg}");
    let tried = place.json(&format!(
        "compare song.txt --model gpt --optimizer sgd --clip-norm 0 --variant lr={rate} --variant lr=1e-5 --steps 60"
    ));
    let loss = |i: usize| tried["variants"][i]["train_loss"].as_f64().unwrap();
    assert!(loss(0) < loss(1) - 0.5, "{} {}", loss(0), loss(1));
}

#[test]
fn a_range_test_says_what_its_range_lacks() {
    let place = Place::new();
    std::fs::write(place.path("constant.txt"), "a".repeat(5000)).unwrap();
    for (line, part) in [
        ("lr-find constant.txt --tokenizer char", "nothing to learn"),
        ("lr-find song.txt --model gpt --to 1e-5", "try --to 0.001"),
        ("lr-find song.txt --model gpt --optimizer sgd --from 1e-6 --to 0.1", "try --to 10"),
        (
            "lr-find song.txt --model gpt --optimizer adam --from 1e6 --to 1e9 --clip-norm 0",
            "try --from 1000",
        ),
    ] {
        let (text, stderr) = place.ok(line);
        assert!(text.contains("no suggestion: ") && text.contains(part), "{line}: {text} lacks {part}");
        assert!(stderr.contains("next: siskin-train lr-find"), "{stderr}");
    }
}

#[test]
fn muon_has_two_rates() {
    let place = Place::new();
    let flags = |which: &str| {
        let found =
            place.json(&format!("lr-find song.txt --model llama --which {which} --to 1000 --steps 120"));
        found["flags"].as_str().unwrap_or("none").to_string()
    };
    let both = flags("both");
    assert!(both.contains("--lr ") && both.contains("--adam-lr "), "{both}");
    assert!(flags("adam-lr").starts_with("--adam-lr "));
}

#[cfg(unix)]
#[test]
fn ctrl_c_shows_what_was_done() {
    let place = Place::new();
    for (line, said, file) in [
        (
            "compare song.txt --model gpt --vary norm=none,rms --steps 1000000 -o c.svg --out long",
            "stopped",
            "c.svg",
        ),
        ("lr-find song.txt --model gpt --steps 90000 -o f.svg", "interrupted", "f.svg"),
    ] {
        let child = place.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let started = || match file {
            "c.svg" => std::fs::metadata(place.path("long/norm-none/log.jsonl")).is_ok_and(|m| m.len() > 0),
            _ => true,
        };
        while !started() {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Until then even a busy machine has begun to train.
        std::thread::sleep(Duration::from_secs(3));
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let out = child.wait_with_output().unwrap();
        let all = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success() && all.contains(said), "{line}: {all}");
        assert!(std::fs::read_to_string(place.path(file)).unwrap().ends_with("</svg>"));
    }
}
