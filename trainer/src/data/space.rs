//! How much room a disk has.

use std::path::Path;

/// Bytes that are free for this user where `dir` lies; `None` when the system does not say.
#[cfg(unix)]
pub(super) fn free(dir: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(dir).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

/// Bytes that are free for this user where `dir` lies; `None` when the system does not say.
#[cfg(not(unix))]
pub(super) fn free(_: &Path) -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    #[test]
    fn a_folder_has_room_and_nowhere_has_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(super::free(dir.path()).is_some_and(|bytes| bytes > 0));
        assert_eq!(super::free(&dir.path().join("no")), None);
    }
}
