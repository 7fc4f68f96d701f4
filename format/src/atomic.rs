//! Files that appear whole or not at all.
//!
//! Bytes go to a temporary file in the same directory; [`AtomicFile::commit`] syncs it, renames it over the target
//! and syncs the directory. Until then whatever stood there is intact, and readers that have it mapped keep it.

use crate::error::Error;
use crate::mmap::refuse_others;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file being written. Dropped without [`AtomicFile::commit`], it leaves no trace.
#[derive(Debug)]
pub struct AtomicFile {
    file: Option<File>,
    temp: PathBuf,
    target: PathBuf,
}

impl AtomicFile {
    /// Starts a file that will stand at `target`. A link there is followed; temporaries that killed writers of the
    /// same target left behind are removed.
    ///
    /// # Errors
    /// [`Error::NotAFile`] when `target` is a directory, pipe or device; else what the operating system says.
    pub fn create(target: impl AsRef<Path>) -> Result<AtomicFile, Error> {
        let mut target = target.as_ref().to_path_buf();
        if let Ok(found) = fs::metadata(&target) {
            refuse_others(&target, found.file_type())?;
            target = fs::canonicalize(&target).map_err(|e| Error::io("find", &target, e))?;
        }
        let Some(name) = target.file_name().map(OsString::from) else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name");
            return Err(Error::io("write", target, source));
        };
        remove_stale(&target, &name);
        for attempt in 0u32.. {
            let temp = target.with_file_name(temp_name(&name, attempt));
            match File::create_new(&temp) {
                Ok(file) if hold(&file, &temp) => return Ok(AtomicFile { file: Some(file), temp, target }),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => {}
                Err(e) => return Err(Error::io("write", target, e)),
            }
        }
        unreachable!("the loop ends with an error at the latest")
    }

    /// Where the file will stand.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Where the bytes are until then; what was flushed can be read there.
    pub fn temporary(&self) -> &Path {
        &self.temp
    }

    /// Makes the file durable and visible under its name.
    ///
    /// # Errors
    /// What the operating system says; the temporary is removed and the old file is intact, unless the very last
    /// step failed, syncing the directory: then the new file stands but a power cut may bring the old one back.
    pub fn commit(mut self) -> Result<(), Error> {
        let file = self.file.take().expect("present until commit or drop");
        let fail = |e| Error::io("write", &self.target, e);
        let renamed = file.sync_all().and_then(|()| {
            drop(file);
            fs::rename(&self.temp, &self.target)
        });
        if let Err(e) = renamed {
            let _ = fs::remove_file(&self.temp);
            return Err(fail(e));
        }
        sync_directory(&self.target).map_err(fail)
    }

    fn open(&mut self) -> &mut File {
        self.file.as_mut().expect("present until commit or drop")
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.temp);
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.open().flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.open().seek(to)
    }
}

fn temp_name(name: &OsString, attempt: u32) -> OsString {
    let mut temp = temp_prefix(name);
    temp.push(format!("{}-{attempt}", std::process::id()));
    temp
}

fn temp_prefix(name: &OsString) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".tmp-");
    prefix
}

/// Locks a temporary as long as its writer lives, which tells it from a stale one. False when another process that
/// took it for stale was faster.
fn hold(file: &File, temp: &Path) -> bool {
    match file.try_lock() {
        // When the system cannot tell, the lock says enough.
        Ok(()) => temp.try_exists().unwrap_or(true),
        Err(TryLockError::WouldBlock) => false,
        // A file system without locks: stale temporaries stay, nothing else is lost.
        Err(TryLockError::Error(_)) => true,
    }
}

/// Removes temporaries of `target` that no living process holds.
fn remove_stale(target: &Path, name: &OsString) {
    let prefix = temp_prefix(name);
    let Ok(entries) = fs::read_dir(directory_of(target)) else { return };
    for entry in entries.flatten() {
        let stale = entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes())
            && entry.file_type().is_ok_and(|t| t.is_file())
            && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if stale {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
fn sync_directory(target: &Path) -> io::Result<()> {
    File::open(directory_of(target))?.sync_all()
}

/// Directories cannot be opened for syncing elsewhere.
#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn commit_replaces_and_drop_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("m");
        fs::write(&target, "old").unwrap();
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"half of the n").unwrap();
        drop(file);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
        file.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["m"]);
    }

    #[test]
    fn stale_temporaries_go_and_live_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("m");
        fs::write(dir.path().join(".m.tmp-1-0"), "from a killed process").unwrap();
        fs::write(dir.path().join(".mm.tmp-1-0"), "of another target").unwrap();
        let mut first = AtomicFile::create(&target).unwrap();
        let mut second = AtomicFile::create(&target).unwrap();
        assert_eq!(names(dir.path()).len(), 3);
        first.write_all(b"1").unwrap();
        second.write_all(b"2").unwrap();
        first.commit().unwrap();
        second.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"2");
        assert_eq!(names(dir.path()), [".mm.tmp-1-0", "m"]);
    }

    #[test]
    fn directories_and_missing_places_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(AtomicFile::create(dir.path()), Err(Error::NotAFile { kind: "a directory", .. })));
        assert!(matches!(AtomicFile::create(dir.path().join("no/m")), Err(Error::Io { .. })));
        assert!(matches!(AtomicFile::create("/"), Err(Error::NotAFile { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        fs::write(dir.path().join("real/m"), "old").unwrap();
        std::os::unix::fs::symlink("real/m", dir.path().join("m")).unwrap();
        let mut file = AtomicFile::create(dir.path().join("m")).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read(dir.path().join("real/m")).unwrap(), b"new");
        assert!(fs::symlink_metadata(dir.path().join("m")).unwrap().is_symlink());
    }
}
