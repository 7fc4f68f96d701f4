//! A folder with a text, a run on it, and what must hold in it at every moment.

use siskin_format::{File, OpenOptions};
use siskin_tests::models::Rng;
use siskin_trainer::checkpoint::Checkpoint;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;

/// Updates of a run.
pub const STEPS: u64 = 12;
/// Updates between checkpoints.
pub const EVERY: u64 = 3;

/// The files of an undisturbed run.
pub struct Reference {
    /// The exported model.
    pub model: Vec<u8>,
    /// The model exported again, in another type.
    pub other: Vec<u8>,
    cache: BTreeMap<PathBuf, Vec<u8>>,
}

/// A folder for runs; removed when dropped.
pub struct Place {
    dir: tempfile::TempDir,
    /// Checkpoints that a test has removed.
    pub removed: Cell<u64>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its status.
    pub status: ExitStatus,
    /// All that it wrote to standard error.
    pub stderr: String,
}

/// `siskin-train`, built now.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| siskin_tests::bin("siskin-train"))
}

/// What an undisturbed run writes.
pub fn reference() -> &'static Reference {
    static REFERENCE: OnceLock<Reference> = OnceLock::new();
    REFERENCE.get_or_init(|| {
        let place = Place::new();
        place.ok(&place.train());
        place.ok(&place.export());
        let read = |path: PathBuf| fs::read(path).unwrap();
        Reference { model: read(place.model()), other: read(place.other()), cache: place.shards() }
    })
}

impl Place {
    /// A folder with a text.
    pub fn new() -> Place {
        let dir = siskin_tests::temp_dir();
        let mut rng = Rng::new(1);
        let line = |i: usize| {
            format!("line {} of the song: {}\n", i % 7, ["la", "li", "lo"][rng.below(3)].repeat(1 + i % 4))
        };
        fs::write(dir.path().join("song.txt"), (0..400).map(line).collect::<String>()).unwrap();
        Place { dir, removed: Cell::new(0) }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The run's folder.
    pub fn run(&self) -> PathBuf {
        self.path().join("run")
    }

    /// Where training exports to.
    pub fn model(&self) -> PathBuf {
        self.path().join("model.siskin")
    }

    /// Where `export` writes to.
    pub fn other(&self) -> PathBuf {
        self.path().join("other.siskin")
    }

    /// The command of a whole run. Paths are absolute, so that a trace shows whose they are.
    pub fn train(&self) -> Command {
        let tiny = "--model gru --n-layers 1 --d-model 16 --hidden 16 --context 16 --batch-size 4 --eval-every 4 \
                    --sample-every 0 --threads 1 --tokenizer char --ema 0.9 --dropout 0.1 --quiet";
        let mut command = self.command("train");
        command.arg(self.path().join("song.txt")).args(tiny.split_whitespace());
        command.args(["--steps", &STEPS.to_string(), "--checkpoint-every", &EVERY.to_string()]);
        command.arg("--out").arg(self.run()).arg("-o").arg(self.model());
        command
    }

    /// The command that goes on with the run.
    pub fn resume(&self) -> Command {
        let mut command = self.command("resume");
        command.arg(self.run()).arg("--quiet");
        command
    }

    /// The command that exports the newest checkpoint.
    pub fn export(&self) -> Command {
        let mut command = self.command("export");
        command.arg(self.run()).args(["--dtype", "q4", "--threads", "1"]).arg("-o").arg(self.other());
        command
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program());
        command.arg(name).current_dir(self.path());
        command
    }

    /// Runs a command and expects success.
    pub fn ok(&self, command: &Command) {
        let out = output(command);
        assert!(out.status.success(), "{command:?}: {out:?}");
    }

    /// The checkpoints that load, as steps; every file under the name of one must.
    pub fn checkpoints(&self) -> Vec<u64> {
        let mut steps = Vec::new();
        for path in self.files(&self.run()) {
            if path.extension() == Some(OsStr::new("ckpt")) {
                Checkpoint::load(&path).unwrap_or_else(|e| panic!("torn: {e}"));
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                steps.extend(name.strip_prefix("step-").map(|step| step.parse::<u64>().unwrap()));
            }
        }
        steps.sort_unstable();
        steps
    }

    fn files(&self, dir: &Path) -> Vec<PathBuf> {
        fs::read_dir(dir).map_or(Vec::new(), |entries| entries.map(|e| e.unwrap().path()).collect())
    }

    /// Whatever stands under a final name is whole, and of checkpoints at least two are kept once two were written.
    pub fn check(&self) {
        let steps = self.checkpoints();
        let newest = steps.last().copied().unwrap_or(0);
        let wanted = (newest / EVERY).saturating_sub(self.removed.get()).min(2) as usize;
        assert!(steps.len() >= wanted, "after step {newest} only {steps:?} are kept");
        for (name, bytes) in self.shards() {
            let whole = reference().cache.get(&name);
            assert!(whole == Some(&bytes), "a torn shard {} of {} bytes", name.display(), bytes.len());
        }
        if let Ok(model) = fs::read(self.model()) {
            assert!(model == b"old" || model == reference().model, "another model of {} bytes", model.len());
        }
        for path in self.files(self.path()) {
            if path.extension() == Some(OsStr::new("siskin")) && fs::read(&path).unwrap() != b"old" {
                File::open(&path, &OpenOptions::default()).and_then(|f| f.verify()).unwrap();
            }
        }
    }

    /// The shards of the token cache, by name.
    fn shards(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let caches = self.files(&self.run().join("tokens"));
        let mut files: Vec<PathBuf> = caches.iter().flat_map(|cache| self.files(cache)).collect();
        files.retain(|path| path.extension() == Some(OsStr::new("tok")));
        let name = |path: &Path| path.strip_prefix(self.run()).unwrap().to_path_buf();
        files.into_iter().map(|path| (name(&path), fs::read(&path).unwrap())).collect()
    }

    /// Temporary files in the folder and the run's.
    pub fn temporaries(&self) -> Vec<PathBuf> {
        let mut files = self.files(self.path());
        files.extend(self.files(&self.run()));
        files.retain(|path| path.to_string_lossy().contains(".tmp-"));
        files
    }

    /// Trains, and takes the last state and what comes of it away: the run stands before its last checkpoint, and its log after it.
    pub fn train_almost(&self) {
        self.ok(&self.train());
        fs::remove_file(self.run().join(format!("step-{STEPS:010}.ckpt"))).unwrap();
        fs::remove_file(self.model()).unwrap();
        self.removed.set(2); // this one, and the one that it pushed out
    }

    /// The command that brings the run to its end: `resume` where there is a checkpoint, else `train`.
    pub fn next(&self) -> Command {
        if self.checkpoints().is_empty() { self.train() } else { self.resume() }
    }

    /// Brings the run to its end: the model is that of an undisturbed run, and nothing temporary is left.
    pub fn finish(&self) {
        self.ok(&self.next());
        self.check();
        assert!(fs::read(self.model()).unwrap() == reference().model, "another model");
        assert_eq!(self.temporaries(), [] as [PathBuf; 0]);
    }
}

/// Runs a command to its end.
pub fn output(command: &Command) -> Outcome {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args()).stdin(Stdio::null());
    command.get_current_dir().map(|dir| again.current_dir(dir));
    for (name, value) in command.get_envs() {
        again.env(name, value.unwrap_or_default());
    }
    let out = again.output().unwrap();
    Outcome { status: out.status, stderr: String::from_utf8_lossy(&out.stderr).into_owned() }
}

impl Outcome {
    /// The line of an error: exactly one, and the last.
    ///
    /// # Panics
    /// When the command did not fail with status 1 and such a line.
    pub fn error(&self) -> &str {
        assert_eq!(self.status.code(), Some(1), "{self:?}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(lines.iter().filter(|l| l.starts_with("error: ")).count(), 1, "{self:?}");
        assert!(lines.last().unwrap().starts_with("error: "), "{self:?}");
        lines.last().unwrap()
    }

    /// Lines of warning.
    pub fn warnings(&self) -> Vec<&str> {
        self.stderr.lines().filter(|l| l.starts_with("warning: ")).collect()
    }
}
