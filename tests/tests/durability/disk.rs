//! Disks that are full, folders that cannot be written, and memory that the system takes away.

use crate::place::{Place, STEPS, output, reference};
use crate::report;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts `options` at `at`; `None` when that is not permitted, which has been said.
    fn new(at: &Path, options: &str) -> Option<Mounted> {
        fs::create_dir_all(at).unwrap();
        match mount(at, options) {
            Ok(()) => Some(Mounted(at.to_path_buf())),
            Err(reason) => {
                report(&format!("not tried, for a file system in memory cannot be mounted here: {reason}"));
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        mount(&self.0, &format!("remount,{options}")).unwrap();
    }
}

fn mount(at: &Path, options: &str) -> Result<(), String> {
    let mut command = Command::new("mount");
    let out =
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output().map_err(|e| e.to_string())?;
    if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).trim().to_string()) }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The run's folder is on a disk with room for the tokens and one checkpoint.
#[test]
fn a_full_disk_costs_saves_and_nothing_else() {
    let place = Place::new();
    let Some(disk) = Mounted::new(&place.run(), "size=112k") else { return };
    let out = output(&place.train());
    assert!(out.error().contains("is not saved") && out.error().contains("make room and resume"), "{out:?}");
    assert!(
        out.warnings()
            .iter()
            .any(|w| w.contains("No space left on device") && w.contains("training goes on")),
        "{out:?}"
    );
    place.check();
    assert!(!place.checkpoints().is_empty() && place.temporaries().is_empty(), "{out:?}");
    assert!(fs::read(place.model()).unwrap() == reference().model, "the model lies on another disk");
    disk.remount("size=1m");
    place.finish();
    assert_eq!(place.checkpoints().len(), 2);
}

/// No room for the exported model: what stood there stays, and with room the very model comes.
#[test]
fn an_export_to_a_full_disk_leaves_the_old_file() {
    let place = Place::new();
    place.ok(&place.train());
    let models = place.path().join("models");
    let Some(disk) = Mounted::new(&models, "size=8k") else { return };
    let target = models.join("m.siskin");
    fs::write(&target, "old").unwrap();
    let mut command = place.resume();
    command.arg("-o").arg(&target);
    let out = output(&command);
    assert!(out.error().contains("m.siskin") && out.error().contains("no space left"), "{out:?}");
    assert_eq!(fs::read(&target).unwrap(), b"old");
    assert_eq!(fs::read_dir(&models).unwrap().count(), 1, "a temporary is left");
    disk.remount("size=1m");
    place.ok(&command);
    assert!(fs::read(&target).unwrap() == reference().model);
}

#[test]
fn a_folder_that_cannot_be_written_is_one_line_and_looking_at_it_works() {
    let place = Place::new();
    let Some(disk) = Mounted::new(&place.run(), "size=1m") else { return };
    place.ok(&place.train());
    disk.remount("ro");
    let out = output(&place.resume());
    assert!(out.error().contains("Read-only file system"), "{out:?}");
    place.ok(&place.export());
    assert!(fs::read(place.other()).unwrap() == reference().other);
    disk.remount("rw");
    place.finish();
}

/// A memory cgroup (version 1 or 2), removed when dropped.
struct Cgroup(PathBuf, &'static str);

impl Cgroup {
    fn new(name: &str) -> Option<Cgroup> {
        let name = format!("siskin-{name}-{}", std::process::id());
        for (root, limit) in
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
        {
            let path = Path::new(root).join(&name);
            if fs::create_dir(&path).is_ok() {
                let group = Cgroup(path, limit);
                if group.0.join(limit).exists() {
                    return Some(group);
                }
            }
        }
        report("not tried, for no memory cgroup can be made here");
        None
    }

    fn limit(&self, bytes: u64) {
        fs::write(self.0.join(self.1), bytes.to_string()).unwrap();
    }

    /// `command` inside the group.
    fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("sh");
        inside.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.0.join("cgroup.procs"));
        inside.arg(command.get_program()).args(command.get_args());
        command.get_current_dir().map(|dir| inside.current_dir(dir));
        inside
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The kernel takes memory from the trainer until it kills it: the folder is whole, and the run goes on with memory.
#[test]
fn a_shrinking_cgroup_tears_nothing() {
    let Some(group) = Cgroup::new("train") else { return };
    let mut ends = Vec::new();
    for limit in [64, 16, 8, 6, 4, 3, 2, 1] {
        let place = Place::new();
        group.limit(limit << 20);
        let out = output(&group.inside(&place.train()));
        ends.push(format!("{limit} MiB: {}", out.status));
        place.check();
        place.finish();
    }
    assert!(ends[0].ends_with("exit status: 0"), "{ends:?}");
    assert!(ends.iter().any(|e| !e.ends_with("exit status: 0")), "{ends:?}: no limit was too low");
    report(&format!("training in a cgroup of {}; each run resumed to the same bytes", ends.join(", ")));
}

/// A model larger than the memory that its reader may have: its pages come and go, and it speaks to its end.
#[test]
fn a_mapped_model_runs_in_less_memory_than_its_size() {
    let Some(group) = Cgroup::new("run") else { return };
    let place = Place::new();
    let model = place.path().join("large.siskin");
    let init = "init --model gpt --vocab-size 2000 --d-model 768 --n-layers 10 --n-heads 12 --context 64 --dtype q4 -o";
    let mut command = Command::new(crate::place::program());
    command.args(init.split_whitespace()).arg(&model);
    place.ok(&command);
    let bytes = fs::metadata(&model).unwrap().len();
    let mut speak = Command::new(siskin_tests::bin("siskin"));
    speak.arg("run").arg(&model).args(["-n", "8", "--threads", "2"]);
    group.limit(bytes * 6 / 10);
    let start = std::time::Instant::now();
    let out = output(&group.inside(&speak));
    assert!(out.status.success(), "{out:?}");
    report(&format!(
        "a mapped model of {:.1} MB spoke 8 tokens in a cgroup of {:.1} MB in {:.2} s",
        bytes as f64 / 1e6,
        bytes as f64 * 0.6e-6,
        start.elapsed().as_secs_f64()
    ));
}

/// Every checkpoint kept is that of a step that was taken.
#[test]
fn two_checkpoints_are_kept() {
    let place = Place::new();
    place.ok(&place.train());
    assert_eq!(place.checkpoints(), [STEPS - 3, STEPS]);
}
