//! The dashboard on a terminal of its own, as a person would sit at it: keys are typed, bytes of the screen are read. `script` of util-linux
//! makes the terminal.

#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

/// A model so small that a step takes a millisecond.
const TINY: &str = "train song.txt --model gpt --n-layers 1 --d-model 16 --n-heads 2 --context 16 --batch-size 4 --eval-every 20 \
                    --sample-every 0 --threads 1";

fn place() -> tempfile::TempDir {
    let dir = siskin_tests::temp_dir();
    let text: String = (0..400).map(|i| format!("line {} of the song: la li lo\n", i % 7)).collect();
    std::fs::write(dir.path().join("song.txt"), text).unwrap();
    dir
}

/// `siskin-train` with `args` on a terminal of 100 columns and 30 rows.
fn on_terminal(args: &str, dir: &Path) -> Option<Child> {
    let command =
        format!("stty cols 100 rows 30; exec {} {args}", siskin_tests::bin("siskin-train").display());
    let child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm-256color")
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    if child.is_err() {
        siskin_tests::skip("script of util-linux is not installed");
    }
    child.ok()
}

fn wait_for(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing happens");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Types `keys` when the log of the run in `dir` holds `word`.
fn type_when(child: &mut Child, dir: &Path, word: &str, keys: &str) {
    let log: PathBuf = dir.join("run/log.jsonl");
    wait_for(|| std::fs::read_to_string(&log).is_ok_and(|text| text.contains(word)));
    child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
}

/// What a child writes to its terminal, read while it writes.
struct Screen {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Screen {
    fn of(child: &mut Child) -> Screen {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (mut from, to) = (child.stdout.take().unwrap(), Arc::clone(&bytes));
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut piece) {
                to.lock().unwrap().extend_from_slice(&piece[..n]);
            }
        });
        Screen { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// Everything, when the child has ended.
    fn finish(self) -> String {
        self.reader.join().unwrap();
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }
}

/// Everything that was written to the terminal: while the dashboard was there, and afterwards.
fn parts(text: &str) -> (String, String) {
    let (_, rest) = text.split_once(ENTER).unwrap_or_else(|| panic!("no dashboard: {text}"));
    let (during, after) = rest.split_once(LEAVE).unwrap_or_else(|| panic!("the screen stays: {text}"));
    (during.to_string(), after.to_string())
}

#[test]
fn q_saves_and_s_samples_and_the_last_lines_are_on_the_normal_screen() {
    let dir = place();
    let Some(mut child) = on_terminal(&format!("{TINY} --steps 1000000 --out run"), dir.path()) else {
        return;
    };
    let screen = Screen::of(&mut child);
    type_when(&mut child, dir.path(), "\"eval\"", "s");
    type_when(&mut child, dir.path(), "\"sample\"", "");
    // Single words: the spaces between them are not written where the screen is blank already. A picture is drawn now and then.
    for expected in ["nats", "tok/s", "learning", "embed", "sample"] {
        wait_for(|| screen.text().contains(expected));
    }
    child.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    let status = child.wait().unwrap();
    let text = screen.finish();
    let (_, after) = parts(&text);
    assert!(after.contains("saved in run") && after.contains("next: siskin-train resume run"), "{after}");
    assert!(after.contains("\u{1b}[?25h"), "the cursor is back: {after}");
    assert!(status.success());
}

#[test]
fn a_drawn_run_has_the_weights_of_a_quiet_one() {
    let dir = place();
    let finite = format!("{TINY} --steps 120");
    let Some(child) = on_terminal(&format!("{finite} --out run -o drawn.siskin"), dir.path()) else { return };
    let output = child.wait_with_output().unwrap();
    let (_, after) = parts(&String::from_utf8_lossy(&output.stdout));
    assert!(after.contains("exported drawn.siskin"), "{after}");
    let quiet = format!("{finite} --quiet --out quiet -o quiet.siskin");
    let mut command = Command::new(siskin_tests::bin("siskin-train"));
    command.args(quiet.split_whitespace()).current_dir(dir.path());
    assert!(command.output().unwrap().status.success());
    let bytes = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert!(bytes("drawn.siskin") == bytes("quiet.siskin"));
}

#[test]
fn plain_draws_nothing_and_a_dashboard_without_a_terminal_is_refused() {
    let dir = place();
    if let Some(child) = on_terminal(&format!("{TINY} --steps 30 --plain"), dir.path()) {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains(ENTER) && text.contains("exported"), "{text}");
    }
    let args = format!("{TINY} --steps 30 --dashboard");
    let mut command = Command::new(siskin_tests::bin("siskin-train"));
    command.args(args.split_whitespace()).current_dir(dir.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(line.contains("error: ") && line.contains("not both a terminal; use --plain"), "{line}");
}
