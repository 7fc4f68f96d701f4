//! The bytes of a file: mapped, or owned and 64-byte aligned. Nothing is looked at before `fstat` has said that it
//! is a regular file.

#![allow(unsafe_code)]

use crate::error::Error;
use crate::panel::ALIGN;
use crate::pod::AlignedBytes;
use std::fs::{self, FileType};
use std::io::Read;
use std::ops::Deref;
use std::path::Path;

/// A file of another kind, mapped read-only: what importers read. Nobody may cut or rewrite it in place meanwhile.
#[derive(Debug)]
pub struct Mapped(Data);

impl Mapped {
    /// Maps a regular file that is not empty.
    ///
    /// # Errors
    /// What is there is no regular file, or empty, or too large for this machine's addresses; what the system says.
    pub fn open(path: &Path) -> Result<Mapped, Error> {
        Data::open(path, true, |_, _| Ok(())).map(Mapped)
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes that start at a multiple of 64 and never change.
#[derive(Debug)]
pub(crate) enum Data {
    Mapped(memmap2::Mmap),
    Aligned(AlignedBytes),
    /// A vector that happens to be aligned already.
    Vec(Vec<u8>),
    /// Memory that outlives everything.
    Static(&'static [u8]),
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Data::Mapped(map) => map,
            Data::Aligned(bytes) => bytes,
            Data::Vec(bytes) => bytes,
            Data::Static(bytes) => bytes,
        }
    }
}

impl Data {
    /// Takes bytes over, copying them when they are not aligned.
    pub(crate) fn from_vec(bytes: Vec<u8>) -> Result<Data, Error> {
        if bytes.as_ptr().addr().is_multiple_of(ALIGN) {
            return Ok(Data::Vec(bytes));
        }
        Data::copy_of(&bytes)
    }

    /// Uses bytes where they are, copying them when they are not aligned.
    pub(crate) fn from_static(bytes: &'static [u8]) -> Result<Data, Error> {
        if bytes.as_ptr().addr().is_multiple_of(ALIGN) {
            return Ok(Data::Static(bytes));
        }
        Data::copy_of(bytes)
    }

    /// A copy of bytes.
    pub(crate) fn copy_of(bytes: &[u8]) -> Result<Data, Error> {
        AlignedBytes::copy_of(bytes).map(Data::Aligned).ok_or(Error::OutOfMemory { bytes: bytes.len() })
    }

    /// Maps the file, or reads it when `map` is off. `check` sees its first bytes before anything of the file's
    /// size is allocated.
    pub(crate) fn open(
        path: &Path,
        map: bool,
        check: fn(&[u8], u64) -> Result<(), Error>,
    ) -> Result<Data, Error> {
        // Opening a pipe would wait for a writer, so ask before opening, and again of what was opened.
        let found = fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
        refuse_others(path, found.file_type())?;
        let mut file = fs::File::open(path).map_err(|e| Error::io("open", path, e))?;
        let found = file.metadata().map_err(|e| Error::io("open", path, e))?;
        refuse_others(path, found.file_type())?;
        let len = found.len();
        let size = addressable(len, isize::MAX as u64)?;
        if size == 0 {
            return Err(Error::Empty);
        }
        let mut start = Vec::new();
        let preamble = crate::header::preamble_len() as u64;
        (&file).take(preamble).read_to_end(&mut start).map_err(|e| Error::io("read", path, e))?;
        check(&start, len)?;
        if map {
            // SAFETY: the map is read-only, and its length was just asked from the file itself. What a map cannot
            // rule out is that somebody cuts or rewrites the file in place while it is mapped; siskin's own writer
            // never does (it renames a new file over the old one), and `OpenOptions::mmap` documents it.
            let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io("map", path, e))?;
            return Ok(Data::Mapped(map));
        }
        let mut bytes = AlignedBytes::zeroed(size).ok_or(Error::OutOfMemory { bytes: size })?;
        let (head, tail) = bytes.split_at_mut(start.len().min(size));
        head.copy_from_slice(&start[..head.len()]);
        file.read_exact(tail).map_err(|e| Error::io("read", path, e))?;
        Ok(Data::Aligned(bytes))
    }
}

/// `len` as a size in memory, refused beyond `limit`, the largest allocation or map of the machine.
fn addressable(len: u64, limit: u64) -> Result<usize, Error> {
    match usize::try_from(len) {
        Ok(size) if len <= limit => Ok(size),
        _ => Err(Error::TooLarge { len }),
    }
}

/// Only regular files have a length and bytes that stay.
pub(crate) fn refuse_others(path: &Path, found: FileType) -> Result<(), Error> {
    if found.is_file() {
        return Ok(());
    }
    Err(Error::NotAFile { path: path.to_path_buf(), kind: kind_of(found) })
}

#[cfg(unix)]
fn kind_of(found: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match found {
        f if f.is_dir() => "a directory",
        f if f.is_fifo() => "a pipe",
        f if f.is_char_device() || f.is_block_device() => "a device",
        f if f.is_socket() => "a socket",
        _ => "no regular file",
    }
}

#[cfg(not(unix))]
fn kind_of(found: FileType) -> &'static str {
    if found.is_dir() { "a directory" } else { "no regular file" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_gigabytes_do_not_fit_a_32_bit_machine() {
        assert!(matches!(addressable(5 << 30, i32::MAX as u64), Err(Error::TooLarge { len: 5_368_709_120 })));
        assert_eq!(addressable(1 << 30, i32::MAX as u64).unwrap(), 1 << 30);
        assert!(addressable(u64::MAX, isize::MAX as u64).is_err());
    }

    #[test]
    fn static_bytes_stay_where_they_are() {
        #[repr(align(64))]
        struct Bytes([u8; 256]);
        static BYTES: Bytes = Bytes([7; 256]);
        assert_eq!(Data::from_static(&BYTES.0).unwrap().as_ptr(), BYTES.0.as_ptr());
        let copied = Data::from_static(&BYTES.0[1..]).unwrap();
        assert!(copied.as_ptr().addr().is_multiple_of(ALIGN));
        assert_eq!(*copied, BYTES.0[1..]);
    }

    #[test]
    fn vectors_become_aligned() {
        for len in [1, 64, 1000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let data = Data::from_vec(bytes.clone()).unwrap();
            assert!(data.as_ptr().addr().is_multiple_of(ALIGN));
            assert_eq!(*data, *bytes);
        }
    }
}
