//! How much memory may be taken.

use crate::args::ModelArgs;
use crate::out::Failure;
use crate::units::bytes;
use std::fs;
use std::path::{Path, PathBuf};

/// Refuses to read a file into more memory than `--max-memory` allows.
pub fn check_file(args: &ModelArgs) -> Result<(), Failure> {
    let Some(max) = args.max_memory.filter(|_| args.no_mmap) else { return Ok(()) };
    // Whatever is wrong with the path is said when it is opened.
    match fs::metadata(&args.model) {
        Ok(found) if found.len() > max as u64 => Err(Failure::Failed(format!(
            "{}: reading the file takes {}, more than the {} of --max-memory; leave --no-mmap out, or allow more",
            args.model.display(),
            bytes(found.len()),
            bytes(max as u64)
        ))),
        _ => Ok(()),
    }
}

/// Most bytes that a session may take: what `--max-memory` leaves beside what the process has taken already, and what the
/// machine has.
pub fn for_session(args: &ModelArgs) -> Option<usize> {
    let left = args.max_memory.map(|max| max.saturating_sub(taken().unwrap_or(0)));
    [left, available()].into_iter().flatten().min()
}

/// Refuses a session that is made elsewhere.
pub fn check_session(args: &ModelArgs, needed: usize) -> Result<(), Failure> {
    match for_session(args) {
        Some(max) if needed > max => Err(siskin::Error::Budget { needed, max }.into()),
        _ => Ok(()),
    }
}

/// Bytes of this process that no file backs.
fn taken() -> Option<usize> {
    field("/proc/self/status", "RssAnon:").map(|kilobytes| kilobytes.saturating_mul(1024))
}

/// Bytes that this process may still take before the system runs short: Linux's own estimate, or what the control groups
/// of the process leave if that is less. `None` where neither can be read.
pub fn available() -> Option<usize> {
    let machine = field("/proc/meminfo", "MemAvailable:").map(|kilobytes| kilobytes.saturating_mul(1024));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let left = groups.lines().filter_map(group).flat_map(|(root, path, names)| left(root, &path, names));
    machine.into_iter().chain(left).min()
}

/// The files that say a group's limit and what it has taken that no file backs, in the one version of control groups or the
/// other.
type Names = [&'static str; 2];

/// The hierarchy, path and files of a line of `/proc/self/cgroup`, if it is about memory.
fn group(line: &str) -> Option<(&'static Path, PathBuf, Names)> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let path = PathBuf::from(path.trim_start_matches('/'));
    match controllers {
        "" => Some((Path::new("/sys/fs/cgroup"), path, ["memory.max", "anon"])),
        _ if controllers.split(',').any(|name| name == "memory") => {
            Some((Path::new("/sys/fs/cgroup/memory"), path, ["memory.limit_in_bytes", "total_rss"]))
        }
        _ => None,
    }
}

/// What a group and those above it leave.
fn left(root: &'static Path, path: &Path, [limit, taken]: Names) -> Vec<usize> {
    // In a container the hierarchy may begin at the container's own group.
    let groups = path.ancestors().map(|group| root.join(group));
    let left = groups.filter_map(|group| {
        let limit: usize = fs::read_to_string(group.join(limit)).ok()?.trim().parse().ok()?;
        Some(limit.saturating_sub(field(group.join("memory.stat"), taken).unwrap_or(0)))
    });
    left.collect()
}

/// The number behind a name in a file of lines.
fn field(path: impl AsRef<Path>, name: &str) -> Option<usize> {
    let text = fs::read_to_string(path).ok()?;
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next() == Some(name)).then(|| words.next()?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_of_memory() {
        let found = group("0::/user.slice/x").unwrap();
        assert_eq!((found.0, found.1), (Path::new("/sys/fs/cgroup"), PathBuf::from("user.slice/x")));
        let found = group("7:cpu,memory:/a:b").unwrap();
        assert_eq!((found.0, found.1), (Path::new("/sys/fs/cgroup/memory"), PathBuf::from("a:b")));
        assert!(group("3:cpu:/").is_none() && group("nonsense").is_none() && group("").is_none());
    }

    #[test]
    fn a_linux_tells_what_is_left() {
        if cfg!(target_os = "linux") {
            assert!(taken().unwrap() > 0 && available().unwrap() > 0);
        }
    }
}
