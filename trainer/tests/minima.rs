//! Restarts, averages, slices of the loss and looks inside, as the users of siskin-train have them.

#[cfg(unix)]
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A folder with a text to train on.
struct Place(tempfile::TempDir);

/// A model so small that a step takes a millisecond.
const TINY: &str = "--n-layers 1 --d-model 16 --hidden 16 --n-heads 2 --context 16 --batch-size 4 --eval-every 20 --sample-every 0 \
                    --threads 2 --checkpoint-every 7";

impl Place {
    fn new() -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        let line = |i: usize| {
            format!("line {} of the song: {}\n", i % 7, ["la", "li", "lo"][i * i % 3].repeat(1 + i % 4))
        };
        std::fs::write(place.path("song.txt"), (0..400).map(line).collect::<String>()).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_siskin-train"));
        command.args(line.split_whitespace()).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs and expects success; gives stdout and stderr.
    fn ok(&self, line: &str) -> (String, String) {
        let out = self.run(line);
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.success(), "{line}: {stderr}");
        (String::from_utf8(out.stdout).unwrap(), stderr)
    }

    /// Runs and expects one line of error, which it gives.
    fn fails(&self, line: &str) -> String {
        let out = self.run(line);
        assert_eq!(out.status.code(), Some(1), "{line}");
        let stderr = String::from_utf8(out.stderr).unwrap();
        let error = stderr.lines().last().unwrap_or_default();
        assert!(error.starts_with("error: "), "{line}: {stderr}");
        error.to_string()
    }

    /// Runs, and kills what runs after `time`; whether it was killed, and not done before. It must not have failed by itself.
    fn killed_after(&self, line: &str, time: Duration) -> bool {
        let mut command = self.command(line);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(time);
        child.kill().unwrap();
        let out = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr);
        match out.status.code() {
            None => {
                #[cfg(unix)]
                assert_eq!(ExitStatusExt::signal(&out.status), Some(9), "{line}: {stderr}");
                true
            }
            Some(code) => {
                assert_eq!(code, 0, "{line}: {stderr}");
                false
            }
        }
    }

    /// Whether the run `name` has a checkpoint.
    fn has_checkpoint(&self, name: &str) -> bool {
        let entries = std::fs::read_dir(self.path(name));
        entries.is_ok_and(|d| d.flatten().any(|e| e.path().extension().is_some_and(|x| x == "ckpt")))
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
}

fn train(model: &str, more: &str) -> String {
    format!("train song.txt --model {model} {TINY} {more}")
}

fn restart_lines(run: &Path) -> Vec<serde_json::Value> {
    let log = std::fs::read_to_string(run.join("log.jsonl")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["event"] == "restart").collect()
}

/// Killed again and again, a run with restarts ends as an undisturbed one; and that ends as its best seed alone.
#[test]
fn restarts_choose_the_best_and_survive_kills() {
    let place = Place::new();
    let args = "--steps 130 --restarts 4 --seed 5";
    let began = std::time::Instant::now();
    let (_, stderr) = place.ok(&train("gpt", &format!("{args} --out whole -o whole.siskin")));
    let took = began.elapsed();
    let lines = restart_lines(&place.path("whole"));
    let losses: Vec<f64> = lines.iter().map(|line| line["val_loss"].as_f64().unwrap()).collect();
    let chosen: Vec<usize> = (0..4).filter(|i| lines[*i]["chosen"] == true).collect();
    assert_eq!((losses.len(), chosen.len()), (4, 1));
    assert!(losses.iter().all(|loss| *loss >= losses[chosen[0]]), "{losses:?}");
    let seed = 5 + chosen[0] as u64;
    assert!(stderr.contains("4 seeds begin with 10 of 100 updates each"), "{stderr}");
    assert!(stderr.contains(&format!("seed {seed} goes on: 90 more updates")), "{stderr}");
    place.ok(&train("gpt", &format!("--steps 100 --seed {seed} --out alone -o alone.siskin")));
    assert_eq!(place.ok("eval whole --json").0, place.ok("eval alone --json").0);

    let mut line = train("gpt", &format!("{args} --out killed -o killed.siskin --quiet"));
    let mut kills = 0;
    for i in 0..6 {
        kills += usize::from(place.killed_after(&line, took.mul_f64(0.1 + 0.09 * f64::from(i))));
        if place.path("killed/restarts.json").exists() {
            line = "resume killed --quiet".into();
        }
    }
    assert!(kills > 0, "no run was killed");
    place.ok(&line);
    assert_eq!(place.bytes("killed.siskin"), place.bytes("whole.siskin"), "after {kills} kills");
    assert_eq!(restart_lines(&place.path("killed")), lines);
    assert!(place.fails(&train("gpt", "--steps 9 --restarts 2 --out whole")).contains("holds a run already"));
    assert!(place.fails(&train("gpt", "--steps 3 --restarts 4 --out few")).contains("only 3 updates"));
}

/// The mean of the last updates is evaluated and exported, and survives a kill; with batch norms as well.
#[test]
fn averaged_weights_are_exported_and_survive_kills() {
    let place = Place::new();
    for (model, more) in [("llama", ""), ("rnn", "--norm batch --residual")] {
        let args = format!("--steps 200 --swa 0.5 {more}");
        let began = std::time::Instant::now();
        let (out, _) = place.ok(&train(model, &format!("{args} --out {model}-a -o a.siskin --quiet")));
        let took = began.elapsed();
        assert!(out.contains("exported a.siskin"), "{out}");
        let line = train(model, &format!("{args} --out {model}-b -o b.siskin --quiet"));
        place.killed_after(&line, took.mul_f64(0.6));
        let again = if place.has_checkpoint(&format!("{model}-b")) {
            format!("resume {model}-b --quiet")
        } else {
            line
        };
        place.ok(&again);
        assert_eq!(place.bytes("a.siskin"), place.bytes("b.siskin"), "{model}");
        // `export` reads the mean from the checkpoint.
        place.ok(&format!("export {model}-a -o c.siskin --dtype f32"));
        let (plain, _) =
            place.ok(&train(model, &format!("--steps 200 {more} --out {model}-p -o p.siskin --quiet")));
        assert!(plain.contains("exported") && place.bytes("p.siskin") != place.bytes("a.siskin"));
    }
    assert!(place.fails(&train("gpt", "--steps 9 --swa 0.5 --ema 0.9")).contains("a run has one average"));
}

/// Whatever ended the run and whichever weights were chosen, `export` writes the file that `train` wrote.
#[test]
fn export_repeats_the_file_of_train() {
    let place = Place::new();
    let mut seen = String::new();
    for (i, (model, more)) in [
        ("rnn", "--norm batch --residual --swa 1 --grad-tol 1e9"),
        ("rnn", "--norm batch --residual --swa 1 --target-loss 9"),
        ("rnn", "--norm batch --residual --swa 0.5 --val-fraction 0 --grad-tol 1e9"),
        ("gru", "--lr 0.3 --schedule constant --clip-norm 0 --patience 1 --ema 0.5"),
        ("llama", "--dtype q4 --swa 0.5"),
    ]
    .into_iter()
    .enumerate()
    {
        let (_, stderr) = place.ok(&train(model, &format!("--steps 60 {more} --out r{i} -o a.siskin")));
        place.ok(&format!("export r{i} -o b.siskin"));
        assert!(place.bytes("a.siskin") == place.bytes("b.siskin"), "{model} {more}: {stderr}");
        seen += &stderr;
    }
    for part in ["converged at step 1:", "target reached at step 20:", "do better"] {
        assert!(seen.contains(part), "no run shows '{part}': {seen}");
    }
}

/// Standard output of a command whose arguments hold spaces, or its last line of error.
fn call(place: &Place, args: &[&str]) -> Result<String, String> {
    let out = place.command("").args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    match out.status.code() {
        Some(0) => Ok(text(out.stdout)),
        _ => Err(text(out.stderr).lines().last().unwrap_or_default().to_string()),
    }
}

#[test]
fn a_model_can_be_looked_at_while_it_works() {
    let place = Place::new();
    for model in ["gpt", "lstm"] {
        place.ok(&train(model, &format!("--steps 30 --out {model} --quiet")));
        let json = call(&place, &["inspect", model, "--text", "line 1 of\n", "--json"]).unwrap();
        let found: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(found["labels"].as_array().unwrap().len(), 10);
        let p = found["probability"][3].as_f64().unwrap();
        assert!(found["probability"][0].is_null() && p > 0.0 && p < 1.0);
        assert_eq!(found["blocks"][0]["kind"], if model == "gpt" { "attention" } else { "lstm" });
        let page = call(&place, &["inspect", model, "--text", "line 2", "--gates"]).unwrap();
        assert_eq!(page.trim(), Path::new(model).join("inspect.html").display().to_string());
        let html = String::from_utf8(place.bytes(&format!("{model}/inspect.html"))).unwrap();
        let heading = if model == "gpt" { "Attention of block 0" } else { "forget gate f" };
        assert!(html.starts_with("<!doctype html>") && html.contains(heading), "{model}");
        call(&place, &["inspect", model, "--text", "l", "-o", "one.svg"]).unwrap();
        assert!(place.bytes("one.svg").starts_with(b"<svg"));
    }
    let line = |args: &[&str]| call(&place, &[&["inspect", "gpt"], args].concat()).unwrap_err();
    assert!(line(&["--text", ""]).contains("the text is empty"));
    assert!(line(&["--text", "line \u{1f600}"]).contains("U+1F600"));
    assert!(line(&["--text", "line", "--layer", "1"]).contains("expected 0 to 0"));
    assert!(line(&["--text", "line", "-o", "x.png"]).contains(".html or .svg"));
    let long = call(&place, &["inspect", "gpt", "--json", "--text", &"line ".repeat(9)]).unwrap();
    let found: serde_json::Value = serde_json::from_str(&long).unwrap();
    assert_eq!((found["tokens"].as_array().unwrap().len(), found["left_out"].as_u64()), (16, Some(29)));
}

#[test]
fn the_loss_can_be_drawn_around_and_between_models() {
    let place = Place::new();
    for seed in 1..=2 {
        place.ok(&train("gpt", &format!("--steps 30 --seed {seed} --out s{seed} --quiet")));
    }
    let (out, stderr) = place.ok("landscape s1 --grid 3 --tokens 200");
    assert!(out.starts_with("s1: loss ") && out.contains("lowest of the grid"), "{out}");
    assert!(stderr.contains("next: siskin-train landscape s1 --between"), "{stderr}");
    assert!(place.bytes("s1/landscape.svg").starts_with(b"<svg"));
    let between = |threads| {
        place.ok(&format!("landscape s1 --between s2 --grid 5 --tokens 200 --threads {threads} --json")).0
    };
    assert_eq!(between(1), between(3));
    let found: serde_json::Value = serde_json::from_str(&between(2)).unwrap();
    assert_eq!(found["paths"][0]["loss"][4], found["models"][1]["loss"]);
    assert!(place.fails("landscape s1 --grid 4").contains("odd number"));
    assert!(place.fails("landscape nowhere").contains("nowhere"));
}

#[test]
fn runs_are_averaged_evenly() {
    let place = Place::new();
    place.ok(&train("gpt", "--steps 20 --out a --quiet"));
    place.ok(&train("gpt", "--steps 20 --seed 2 --out b --quiet"));
    // The mean of a run with itself is that run.
    let loss = |out: &str| out.lines().find(|l| l.contains("by the runtime: float")).unwrap().to_string();
    let (a, _) = place.ok("average a a -o same.siskin --dtype q8");
    assert_eq!(loss(&a), loss(&place.ok("export a -o a.siskin --dtype q8").0));
    let (out, stderr) = place.ok("average a b -o mean.siskin");
    assert!(out.starts_with("a: loss ") && out.contains("the mean of 2 runs"), "{out}");
    assert!(stderr.contains("next: siskin run mean.siskin"));
    place.ok(&train("gru", "--steps 5 --out c --quiet"));
    assert!(place.fails("average a c -o x.siskin").contains("different shapes"));
    place.ok(&train("rnn", "--steps 5 --norm batch --out d --quiet"));
    assert!(place.fails("average d d -o x.siskin").contains("batch norms"));
}
