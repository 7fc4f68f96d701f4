//! The file as a whole: what it is, its first bytes, its length.

use super::{assert_refused, open, peak_of, refusal, tiny};
use siskin_format::{Error, File, OpenOptions};
use siskin_tests::raw_file::RawFile;
use siskin_tests::{bin, skip, temp_dir};
use std::fs;
use std::path::Path;

fn with_map(mmap: bool) -> OpenOptions {
    OpenOptions { mmap, ..OpenOptions::default() }
}

/// Asserts that both ways of opening `path` refuse it alike, without allocating for its size.
fn open_path(path: &Path) -> Error {
    let errors = [true, false].map(|mmap| {
        let (result, peak) = peak_of(|| File::open(path, &with_map(mmap)));
        assert!(peak < 1 << 16, "{peak} bytes allocated");
        result.unwrap_err()
    });
    let [mapped, read] = errors;
    assert_eq!(mapped.to_string(), read.to_string());
    mapped
}

#[test]
fn every_prefix_is_cut_off() {
    let file = tiny();
    assert_refused!(RawFile::new(Vec::new()), Error::Empty);
    for len in 1..file.bytes.len() {
        let cut = RawFile::new(file.bytes[..len].to_vec());
        assert_refused!(cut, Error::Truncated { found, .. } if found == len as u64);
    }
}

/// With a header that declares the shorter length, the sections are what does not fit.
#[test]
fn every_prefix_with_a_mended_header_is_refused() {
    let file = tiny();
    for len in 64..file.bytes.len() {
        let cut = RawFile::new(file.bytes[..len].to_vec()).put(16, &(len as u64).to_le_bytes()).sealed();
        refusal(&cut);
    }
}

#[test]
fn other_files_are_recognised_as_such() {
    for start in [&b"GGUF\x03\0\0\0"[..], b"PK\x03\x04", b"<html>", b"\x89PNG\r\n\x1a\n", b"#", &[0; 200]] {
        assert_refused!(RawFile::new(start.to_vec()), Error::BadMagic { .. });
    }
    for at in 0..8 {
        let changed = tiny().bytes[at] ^ 0x20;
        assert_refused!(tiny().put(at, &[changed]), Error::BadMagic { .. });
    }
}

/// Line-ending conversion, the oldest way of damaging a binary file.
#[test]
fn converted_line_endings_are_caught_by_the_magic() {
    let crlf = String::from_utf8_lossy(&tiny().bytes).replace('\n', "\r\n");
    assert_refused!(RawFile::new(crlf.into_bytes()), Error::BadMagic { .. });
}

#[test]
fn versions_that_never_were_are_refused() {
    for (major, minor) in
        [(0u16, 0u16), (0, 1), (1, 4), (1, u16::MAX), (2, 0), (u16::MAX, 0), (u16::MAX, u16::MAX)]
    {
        let file = tiny().put(8, &major.to_le_bytes()).put(10, &minor.to_le_bytes());
        for file in [file.clone(), file.sealed()] {
            assert_refused!(file, Error::UnsupportedVersion { found } if (found.major, found.minor) == (major, minor));
        }
    }
}

#[test]
fn reserved_bits_are_refused() {
    for bit in 0..32 {
        let flags = 1u32 << bit;
        assert_refused!(tiny().put(12, &flags.to_le_bytes()).sealed(), Error::ReservedFlags { found } if found == flags);
        let reserved = tiny().put(36, &flags.to_le_bytes()).sealed();
        assert_refused!(reserved, Error::ReservedField { place: "header" });
    }
    for bit in 0..64 {
        let reserved = tiny().put(48, &(1u64 << bit).to_le_bytes()).sealed();
        assert_refused!(reserved, Error::ReservedField { place: "header" });
    }
}

#[test]
fn swapped_bytes_are_recognised() {
    for width in [2, 4, 8] {
        let mut file = tiny();
        file.bytes.chunks_exact_mut(width).for_each(|word| word.reverse());
        assert_refused!(file, Error::ByteSwapped);
    }
    // The magic as bytes, the numbers big-endian, as a careless writer on such a machine would do it.
    assert_refused!(tiny().put(8, &1u16.to_be_bytes()), Error::ByteSwapped);
}

#[test]
fn the_declared_length_is_the_length() {
    let len = tiny().bytes.len() as u64;
    for declared in [len + 1, len + 64, u64::MAX] {
        let file = tiny().put(16, &declared.to_le_bytes()).sealed();
        assert_refused!(file, Error::Truncated { declared: d, found } if (d, found) == (declared, len));
    }
    for declared in [0, 63, len - 64, len - 1] {
        let file = tiny().put(16, &declared.to_le_bytes()).sealed();
        assert_refused!(file, Error::TrailingBytes { declared: d, found } if (d, found) == (declared, len));
    }
}

#[test]
fn trailing_bytes_are_refused() {
    for extra in [1, 63, 64, 5000] {
        let mut file = tiny();
        file.bytes.resize(file.bytes.len() + extra, 0);
        assert_refused!(file, Error::TrailingBytes { .. });
        let len = file.bytes.len() as u64;
        let declared = file.put(16, &len.to_le_bytes()).sealed();
        assert_refused!(declared, Error::SectionHole { .. });
    }
}

#[test]
fn the_header_vouches_for_itself() {
    let file = tiny();
    let length = file.bytes[16] ^ 1;
    assert_refused!(file.clone().put(16, &[length]), Error::HeaderChecksum);
    let checksum = file.bytes[60] ^ 1;
    assert_refused!(file.put(60, &[checksum]), Error::HeaderChecksum);
}

#[test]
fn case_08_what_is_no_file_is_refused_by_its_kind() {
    let dir = temp_dir();
    assert!(matches!(open_path(dir.path()), Error::NotAFile { kind: "a directory", .. }));
    let missing = dir.path().join("missing.siskin");
    assert!(matches!(open_path(&missing), Error::Io { action: "open", .. }));
    let empty = dir.path().join("empty.siskin");
    fs::write(&empty, b"").unwrap();
    assert!(matches!(open_path(&empty), Error::Empty));
}

#[cfg(unix)]
#[test]
fn case_08_pipes_devices_and_sockets_are_refused_without_waiting() {
    let dir = temp_dir();
    for device in ["/dev/zero", "/dev/null"] {
        assert!(matches!(open_path(Path::new(device)), Error::NotAFile { kind: "a device", .. }));
    }
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(matches!(open_path(&socket), Error::NotAFile { kind: "a socket", .. }));
    let pipe = dir.path().join("pipe");
    match std::process::Command::new("mkfifo").arg(&pipe).status() {
        Ok(status) if status.success() => {}
        _ => return skip("no mkfifo"),
    }
    assert!(matches!(open_path(&pipe), Error::NotAFile { kind: "a pipe", .. }));
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&pipe, &link).unwrap();
    assert!(matches!(open_path(&link), Error::NotAFile { kind: "a pipe", .. }));
}

/// Five gigabytes that take no space on the disk must take none in memory. (That they do not fit a 32-bit machine
/// is tested where sizes are converted, in `siskin_format::mmap`.)
#[test]
fn case_09_a_sparse_file_of_five_gigabytes_costs_nothing() {
    let dir = temp_dir();
    let path = dir.path().join("sparse.siskin");
    let file = fs::File::create(&path).unwrap();
    if file.set_len(5 << 30).is_err() {
        return skip("the temporary folder has no sparse files");
    }
    assert!(matches!(open_path(&path), Error::BadMagic { found: [0, 0, 0, 0, 0, 0, 0, 0] }));
    let start = tiny().bytes;
    std::os::unix::fs::FileExt::write_all_at(&file, &start, 0).unwrap();
    assert!(matches!(open_path(&path), Error::TrailingBytes { found: 5_368_709_120, .. }));
    let declared = tiny().put(16, &(5u64 << 30).to_le_bytes()).sealed();
    std::os::unix::fs::FileExt::write_all_at(&file, &declared.bytes, 0).unwrap();
    let mapped = File::open(&path, &with_map(true)).unwrap_err();
    assert!(matches!(mapped, Error::SectionHole { .. }), "{mapped}");
}

/// Where the address space ends before the file does, as on a 32-bit machine, the map is refused, in one line.
#[cfg(target_os = "linux")]
#[test]
fn case_09_a_file_larger_than_the_address_space_is_refused() {
    let dir = temp_dir();
    let path = dir.path().join("sparse.siskin");
    let declared = tiny().put(16, &(5u64 << 30).to_le_bytes()).sealed();
    fs::write(&path, &declared.bytes).unwrap();
    if fs::File::options().write(true).open(&path).unwrap().set_len(5 << 30).is_err() {
        return skip("the temporary folder has no sparse files");
    }
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -v 4000000 && exec \"$0\" -q info \"$1\""]).arg(bin("siskin")).arg(&path);
    let output = limited.output().expect("every Linux has a shell");
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
    assert!(line.contains("cannot map") && line.contains("memory"), "{line}");
}

#[test]
fn opening_maps_or_reads_the_same() {
    let dir = temp_dir();
    let path = dir.path().join("model.siskin");
    fs::write(&path, &tiny().bytes).unwrap();
    for mmap in [true, false] {
        let file = File::open(&path, &with_map(mmap)).unwrap();
        assert_eq!(file.bytes(), tiny().bytes);
    }
    open(&tiny()).unwrap();
}
