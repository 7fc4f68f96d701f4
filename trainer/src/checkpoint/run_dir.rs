//! The folder of a run.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use siskin_format::atomic::AtomicFile;

use super::Checkpoint;
use super::container::{self, Damage, ReadError};
use crate::error::{Error, Result};

/// Checkpoints that stay: one more than needed, should the newest turn out damaged.
const KEEP: usize = 2;
const LOCK: &str = "lock";
const PREFIX: &str = "step-";
const SUFFIX: &str = ".ckpt";

/// The folder of a run, locked: no other trainer has it as long as this value lives.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: File,
}

/// A checkpoint and how it was found.
#[derive(Debug)]
pub struct Loaded {
    /// The state.
    pub checkpoint: Checkpoint<'static>,
    /// Its file.
    pub path: PathBuf,
    /// Newer files that were passed over, one line each, to be shown.
    pub passed_over: Vec<String>,
}

impl RunDir {
    /// Locks the folder `path`, making it if need be, and removes what a killed trainer left half-written.
    ///
    /// # Errors
    /// [`Error::Run`] if another trainer works in it; [`Error::Io`].
    pub fn lock(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        let lock = lock(path)?;
        let run = RunDir { path: path.to_path_buf(), _lock: lock };
        run.remove_stale()?;
        Ok(run)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Saves the state after `step` steps as a new file that appears complete or not at all. [`RunDir::prune`] then
    /// removes older ones.
    ///
    /// # Errors
    /// [`Error::Io`], as for a full disk. The older checkpoints are then untouched, and training can go on.
    pub fn save(&self, step: u64, checkpoint: &Checkpoint<'_>) -> Result<PathBuf> {
        self.save_as(&file_name(step), checkpoint)
    }

    /// Removes all checkpoints but the newest two.
    ///
    /// # Errors
    /// [`Error::Io`]; the next call tries again.
    pub fn prune(&self) -> Result<()> {
        // A folder under the name of a checkpoint must not push out a good one.
        let files = steps(&self.path)?.into_iter().filter(|(_, path)| path.is_file());
        for (_, path) in files.skip(KEEP) {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(())
    }

    /// Saves under a name of its own, such as `best.ckpt`: never loaded by itself, never removed.
    ///
    /// # Errors
    /// [`Error::Io`]; what stood under the name is then intact.
    pub fn save_as(&self, name: &str, checkpoint: &Checkpoint<'_>) -> Result<PathBuf> {
        let path = self.path.join(name);
        let mut file = BufWriter::with_capacity(1 << 16, AtomicFile::create(&path).map_err(not_written)?);
        container::write(checkpoint, &mut file).map_err(Error::io("write", &path))?;
        let file = file.into_inner().map_err(|e| Error::io("write", &path)(e.into_error()))?;
        file.commit().map_err(not_written)?;
        Ok(path)
    }

    /// Keeps the newest checkpoint under a name of its own too, out of reach of the pruning; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Io`], as for a full disk.
    pub fn keep_newest(&self, name: &str) -> Result<Option<PathBuf>> {
        let Some((_, newest)) = steps(&self.path)?.into_iter().next() else { return Ok(None) };
        let kept = self.path.join(name);
        if !kept.exists() {
            // A second name costs nothing; not every file system has them.
            if fs::hard_link(&newest, &kept).is_err() {
                let mut from = File::open(&newest).map_err(Error::io("read", &newest))?;
                let mut to = AtomicFile::create(&kept).map_err(not_written)?;
                io::copy(&mut from, &mut to).map_err(Error::io("write", &kept))?;
                to.commit().map_err(not_written)?;
            }
        }
        Ok(Some(kept))
    }

    /// The newest checkpoint that verifies, or `None` if the folder has none at all. Newer, damaged ones are renamed to
    /// `….damaged`, so that they neither hide nor push out a good one.
    ///
    /// # Errors
    /// [`Error::Run`] if there are checkpoints but none verifies; [`Error::Io`].
    pub fn load_latest(&self) -> Result<Option<Loaded>> {
        load_latest(&self.path, true)
    }

    /// Removes temporary files. The run is ours, so whoever wrote them is gone.
    fn remove_stale(&self) -> Result<()> {
        for name in file_names(&self.path)?.iter().filter(|name| is_temporary(name)) {
            let path = self.path.join(name);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(())
    }
}

impl Checkpoint<'static> {
    /// Reads and verifies one file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is not a complete checkpoint; [`Error::Io`].
    pub fn load(path: &Path) -> Result<Self> {
        read_file(path).map_err(|e| match e {
            ReadError::Io(source) => Error::Io { action: "read", path: path.to_path_buf(), source },
            ReadError::Damage(damage) => Error::Checkpoint { path: path.to_path_buf(), damage },
        })
    }

    /// The newest checkpoint of a run folder that verifies, for reading only: nothing is locked or renamed, a
    /// trainer may be at work in it.
    ///
    /// # Errors
    /// [`Error::Run`] if there is none; [`Error::Io`].
    pub fn load_latest(run: &Path) -> Result<Loaded> {
        let none = || Error::Run(format!("{} has no checkpoint: give the folder of a run", run.display()));
        let loaded = load_latest(run, false)?.ok_or_else(none)?;
        loaded.passed_over.iter().for_each(|line| eprintln!("warning: {line}; an older checkpoint is taken"));
        Ok(loaded)
    }
}

/// Writes a whole file: it appears complete or not at all, and survives a power cut.
///
/// # Errors
/// [`Error::Io`]; what stood at `path` is then intact.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path).map_err(not_written)?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    file.commit().map_err(not_written)
}

fn not_written(error: siskin_format::Error) -> Error {
    use siskin_format::Error as Format;
    match error {
        Format::Io { action, path, source } => Error::Io { action, path, source },
        Format::DiskFull { path, source } => Error::Io { action: "write", path, source },
        other => Error::Run(other.to_string()),
    }
}

fn lock(run: &Path) -> Result<File> {
    let path = run.join(LOCK);
    let options = File::options().read(true).write(true).create(true).truncate(false).clone();
    let mut file = options.open(&path).map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let _ = file.take(20).read_to_string(&mut owner);
            let owner = owner.trim().parse::<u32>().map_or(String::new(), |pid| format!(" (process {pid})"));
            return Err(Error::Run(format!(
                "another siskin-train{owner} works in {}: wait for it, or choose another folder with --out",
                run.display()
            )));
        }
        // better to train unguarded than not at all
        Err(TryLockError::Error(e)) if has_no_locks(&e) => {
            eprintln!(
                "warning: the file system has no locks: let no second trainer work in {}",
                run.display()
            );
        }
        Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
    }
    // only for the message above, so its failing does not matter
    let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
    Ok(file)
}

/// Whether a lock failed because the file system knows none, or has nobody who grants them (`ENOLCK` of a network drive).
fn has_no_locks(error: &io::Error) -> bool {
    const ENOLCK: i32 = 37; // Linux's number
    let granted_by_nobody = cfg!(target_os = "linux") && error.raw_os_error() == Some(ENOLCK);
    granted_by_nobody || error.kind() == io::ErrorKind::Unsupported
}

/// Whether a name is one that [`AtomicFile`] gives to a file that it is writing: `.NAME.tmp-PROCESS-NUMBER`.
fn is_temporary(name: &str) -> bool {
    let number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let tail = name.strip_prefix('.').and_then(|rest| rest.rsplit_once(".tmp-")?.1.split_once('-'));
    tail.is_some_and(|(process, attempt)| number(process) && number(attempt))
}

fn read_file(path: &Path) -> std::result::Result<Checkpoint<'static>, ReadError> {
    // opening a pipe would wait for a writer, so ask first
    let metadata = fs::metadata(path).map_err(ReadError::Io)?;
    if !metadata.is_file() {
        return Err(Damage::NotAFile.into());
    }
    let file = File::open(path).map_err(ReadError::Io)?;
    let len = file.metadata().map_err(ReadError::Io)?.len();
    const EIO: i32 = 5; // everywhere
    container::read(BufReader::with_capacity(1 << 16, file), len).map_err(|e| match e {
        ReadError::Io(e) if e.raw_os_error() == Some(EIO) => Damage::Unreadable.into(),
        other => other,
    })
}

fn load_latest(run: &Path, set_aside: bool) -> Result<Option<Loaded>> {
    let mut passed_over = Vec::new();
    let mut damaged: Vec<PathBuf> = Vec::new();
    for (_, path) in steps(run)? {
        match Checkpoint::load(&path) {
            Ok(checkpoint) => {
                // Only now that there is another one: what cannot be read today may be all that there is.
                for path in damaged.iter().filter(|_| set_aside) {
                    let aside = path.with_extension("ckpt.damaged");
                    fs::rename(path, &aside).map_err(Error::io("rename", path))?;
                }
                return Ok(Some(Loaded { checkpoint, path, passed_over }));
            }
            // Too little memory, or too many open files: that says nothing against the file.
            Err(e @ (Error::Io { .. } | Error::Checkpoint { damage: Damage::OutOfMemory { .. }, .. })) => {
                return Err(e);
            }
            Err(e) => {
                passed_over.push(e.to_string());
                damaged.push(path);
            }
        }
    }
    match passed_over.first() {
        None => Ok(None),
        Some(first) => Err(Error::Run(format!(
            "none of the {} checkpoints in {} can be used; the newest: {first}",
            passed_over.len(),
            run.display()
        ))),
    }
}

fn file_name(step: u64) -> String {
    format!("{PREFIX}{step:010}{SUFFIX}")
}

/// The checkpoints of a run, newest first.
fn steps(run: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let step = |name: &str| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok();
    let names = file_names(run)?;
    let mut steps: Vec<(u64, PathBuf)> =
        names.iter().filter_map(|name| Some((step(name)?, run.join(name)))).collect();
    steps.sort_unstable_by(|a, b| b.cmp(a));
    Ok(steps)
}

fn file_names(run: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(run).map_err(Error::io("read", run))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read", run))?;
        names.extend(entry.file_name().into_string().ok());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(step: u64) -> Checkpoint<'static> {
        let mut checkpoint = Checkpoint::new(&step).unwrap();
        checkpoint.put("weights", vec![step as f32; 100]);
        checkpoint
    }

    fn names(run: &Path) -> Vec<String> {
        let mut names = file_names(run).unwrap();
        names.retain(|name| name != LOCK);
        names.sort();
        names
    }

    fn latest(run: &RunDir) -> Loaded {
        run.load_latest().unwrap().unwrap()
    }

    #[test]
    fn the_newest_is_loaded_and_two_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::lock(&dir.path().join("new/run")).unwrap();
        assert!(run.load_latest().unwrap().is_none());
        for step in [5, 90, 100] {
            run.save(step, &state(step)).unwrap();
            run.prune().unwrap();
        }
        run.save_as("best.ckpt", &state(90)).unwrap();
        assert_eq!(names(run.path()), ["best.ckpt", "step-0000000090.ckpt", "step-0000000100.ckpt"]);
        let loaded = latest(&run);
        assert_eq!(loaded.checkpoint, state(100));
        assert!(loaded.passed_over.is_empty());
        let best = Checkpoint::load(&run.path().join("best.ckpt")).unwrap();
        assert_eq!(best.meta::<u64>().unwrap(), 90);
    }

    #[test]
    fn a_damaged_newest_one_is_set_aside_and_does_not_push_out_a_good_one() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::lock(dir.path()).unwrap();
        run.save(1, &state(1)).unwrap();
        let newest = run.save(2, &state(2)).unwrap();
        let mut bytes = fs::read(&newest).unwrap();
        bytes[200] ^= 1;
        fs::write(&newest, &bytes).unwrap();
        let read_only = Checkpoint::load_latest(dir.path()).unwrap();
        assert_eq!(read_only.checkpoint, state(1));
        assert!(newest.exists());
        let loaded = latest(&run);
        assert_eq!(loaded.checkpoint, state(1));
        assert!(
            loaded.passed_over[0].contains("its bytes changed after writing"),
            "{:?}",
            loaded.passed_over
        );
        run.save(2, &state(2)).unwrap();
        run.save(3, &state(3)).unwrap();
        run.prune().unwrap();
        assert_eq!(
            names(dir.path()),
            ["step-0000000002.ckpt", "step-0000000002.ckpt.damaged", "step-0000000003.ckpt"]
        );
    }

    /// Whatever part of a new checkpoint reached the disk under its final name, the one before is found.
    #[test]
    fn every_cut_of_the_newest_falls_back() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::lock(dir.path()).unwrap();
        run.save(1, &state(1)).unwrap();
        let newest = run.save(2, &state(2)).unwrap();
        let bytes = fs::read(&newest).unwrap();
        for len in 0..bytes.len() {
            fs::write(&newest, &bytes[..len]).unwrap();
            assert_eq!(Checkpoint::load_latest(dir.path()).unwrap().checkpoint, state(1), "{len} bytes");
        }
    }

    #[test]
    fn what_a_killed_trainer_left_is_removed_and_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::lock(dir.path()).unwrap();
        let whole = fs::read(run.save(1, &state(1)).unwrap()).unwrap();
        drop(run);
        fs::write(dir.path().join(".step-0000000002.ckpt.tmp-99-0"), &whole[..50]).unwrap();
        fs::write(dir.path().join(".notes.tmp-mine"), "not ours").unwrap();
        let run = RunDir::lock(dir.path()).unwrap();
        assert_eq!(names(dir.path()), [".notes.tmp-mine", "step-0000000001.ckpt"]);
        assert_eq!(latest(&run).checkpoint, state(1));
    }

    #[test]
    fn a_second_trainer_is_refused_with_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let first = RunDir::lock(dir.path()).unwrap();
        let line = RunDir::lock(dir.path()).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(line.starts_with(&format!("another siskin-train (process {pid}) works in ")), "{line}");
        assert!(line.ends_with("wait for it, or choose another folder with --out"), "{line}");
        drop(first);
        RunDir::lock(dir.path()).unwrap();
    }

    #[test]
    fn a_folder_without_a_usable_checkpoint_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let line = Checkpoint::load_latest(dir.path()).unwrap_err().to_string();
        assert!(line.ends_with("has no checkpoint: give the folder of a run"), "{line}");
        fs::write(dir.path().join("step-0000000001.ckpt"), "SISKCKPT").unwrap();
        fs::create_dir(dir.path().join("step-0000000002.ckpt")).unwrap();
        let line = Checkpoint::load_latest(dir.path()).unwrap_err().to_string();
        assert!(line.starts_with("none of the 2 checkpoints in "), "{line}");
        assert!(line.ends_with("it is not a regular file"), "{line}");
        assert!(matches!(Checkpoint::load_latest(&dir.path().join("no")), Err(Error::Io { .. })));
    }

    #[test]
    fn a_failed_save_leaves_the_older_ones_and_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::lock(dir.path()).unwrap();
        run.save(1, &state(1)).unwrap();
        // a folder stands where the file should: the write cannot be completed
        fs::create_dir(dir.path().join(file_name(2))).unwrap();
        assert!(run.save(2, &state(2)).is_err());
        assert_eq!(names(dir.path()), ["step-0000000001.ckpt", "step-0000000002.ckpt"]);
        assert_eq!(Checkpoint::load_latest(dir.path()).unwrap().checkpoint, state(1));
    }

    #[test]
    fn a_folder_under_a_checkpoints_name_pushes_nothing_out() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::lock(dir.path()).unwrap();
        (1..=3).for_each(|step| drop(run.save(step, &state(step)).unwrap()));
        fs::create_dir(dir.path().join(file_name(9))).unwrap();
        run.prune().unwrap();
        assert_eq!(
            names(dir.path()),
            ["step-0000000002.ckpt", "step-0000000003.ckpt", "step-0000000009.ckpt"]
        );
        assert_eq!(latest(&run).checkpoint, state(3));
    }

    #[test]
    fn the_newest_is_kept_apart_whole() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::lock(dir.path()).unwrap();
        assert_eq!(run.keep_newest("before-1.ckpt").unwrap(), None);
        run.save(1, &state(1)).unwrap();
        let kept = run.keep_newest("before-2.ckpt").unwrap().unwrap();
        fs::remove_file(dir.path().join(file_name(1))).unwrap();
        assert_eq!(Checkpoint::load(&kept).unwrap(), state(1));
    }

    #[test]
    fn names_of_temporaries_are_ours_alone() {
        assert!(is_temporary(".step-0000000002.ckpt.tmp-99-0") && is_temporary(".log.jsonl.tmp-1-12"));
        for other in ["log.jsonl", ".notes.tmp-mine", ".a.tmp-1", "a.tmp-1-0", ".a.tmp-1-", ".a.tmp-x-0"] {
            assert!(!is_temporary(other), "{other}");
        }
    }

    #[test]
    fn write_atomic_replaces_a_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.toml");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["settings.toml"]);
    }
}
