//! One file of a token cache: a stretch of text, tokenized.
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | 8 bytes | `siskinTK` |
//! | 8 | u32 | version = 2 |
//! | 12 | u32 | vocabulary size |
//! | 16 | u64 | key: hash of the text, of where it is split, and of the vocabulary |
//! | 24 | u32 | part: 0 training, 1 validation |
//! | 28 | u32 | bytes per token: 1 up to 256 tokens in the vocabulary, 2 up to 65,536, else 4 |
//! | 32 | u64 | first byte of the text that it stands for |
//! | 40 | u64 | the byte after the last |
//! | 48 | u64 | number of tokens |
//! | 56 | u64 | XXH64 of the ids |
//! | 64 | u64 | XXH64 of the bytes before |
//! | 72 | | the ids |
//!
//! All numbers are little-endian. The file is written under another name and renamed when it is complete, so what
//! stands at its name is whole. It is read where it lies, a window at a time, and not mapped: pages of a map count as
//! memory of the process, and a fault at a random place reads some 100 KB around it from the disk, a read only what is asked for.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use siskin_format::atomic::AtomicFile;
use siskin_format::xxh64::{Xxh64, xxh64};

use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"siskinTK";
const VERSION: u32 = 2;
const HEADER_LEN: usize = 72;
/// Bytes in memory while a shard is verified.
const CHUNK: usize = 1 << 18;

/// What all shards of a part have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) key: u64,
    pub(super) vocab_size: u32,
    /// 0 training, 1 validation.
    pub(super) part: u32,
}

/// What one shard says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    kind: Kind,
    text: Range<u64>,
    n_tokens: u64,
    hash: u64,
}

/// A whole shard, open.
#[derive(Debug)]
pub(super) struct Shard {
    path: PathBuf,
    file: File,
    header: Header,
}

impl Kind {
    /// Bytes of an id.
    pub(super) fn width(&self) -> usize {
        match self.vocab_size {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 4,
        }
    }

    /// The bytes of ids, as a shard holds them.
    pub(super) fn pack(&self, ids: &[u32]) -> Vec<u8> {
        match self.width() {
            1 => ids.iter().map(|&id| id as u8).collect(),
            2 => ids.iter().flat_map(|&id| (id as u16).to_le_bytes()).collect(),
            _ => ids.iter().flat_map(|&id| id.to_le_bytes()).collect(),
        }
    }

    fn unpack(&self, bytes: &[u8], ids: &mut [u32]) {
        match self.width() {
            1 => ids.iter_mut().zip(bytes).for_each(|(id, b)| *id = u32::from(*b)),
            2 => {
                let bytes = bytes.as_chunks::<2>().0;
                ids.iter_mut().zip(bytes).for_each(|(id, b)| *id = u16::from_le_bytes(*b).into());
            }
            _ => {
                let bytes = bytes.as_chunks::<4>().0;
                ids.iter_mut().zip(bytes).for_each(|(id, b)| *id = u32::from_le_bytes(*b));
            }
        }
    }
}

impl Header {
    fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let Header { kind, text, n_tokens, hash } = self;
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        for (i, word) in [VERSION, kind.vocab_size].into_iter().enumerate() {
            bytes[8 + 4 * i..][..4].copy_from_slice(&word.to_le_bytes());
        }
        bytes[16..24].copy_from_slice(&kind.key.to_le_bytes());
        bytes[24..28].copy_from_slice(&kind.part.to_le_bytes());
        bytes[28..32].copy_from_slice(&(kind.width() as u32).to_le_bytes());
        for (i, number) in [text.start, text.end, *n_tokens, *hash].into_iter().enumerate() {
            bytes[32 + 8 * i..][..8].copy_from_slice(&number.to_le_bytes());
        }
        let sum = xxh64(&bytes[..64]);
        bytes[64..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None` unless these are exactly the bytes that this version writes.
    fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Option<Header> {
        let u32_at = |at: usize| bytes[at..].first_chunk().map(|b| u32::from_le_bytes(*b));
        let u64_at = |at: usize| bytes[at..].first_chunk().map(|b| u64::from_le_bytes(*b));
        let kind = Kind { key: u64_at(16)?, vocab_size: u32_at(12)?, part: u32_at(24)? };
        let text = u64_at(32)?..u64_at(40)?;
        let header = Header { kind, text, n_tokens: u64_at(48)?, hash: u64_at(56)? };
        (*bytes == header.to_bytes() && header.text.start < header.text.end).then_some(header)
    }

    fn file_len(&self) -> Option<u64> {
        self.n_tokens.checked_mul(self.kind.width() as u64)?.checked_add(HEADER_LEN as u64)
    }
}

impl Shard {
    /// Writes a shard of the text from byte `start` on: `fill` hands all its ids, packed, to the function that it is given, and
    /// returns where the text ends.
    ///
    /// # Errors
    /// Those of `fill`; a file that cannot be written. Nothing is left then.
    pub(super) fn write(
        path: &Path,
        kind: Kind,
        start: u64,
        fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u64>,
    ) -> Result<Shard> {
        let failed = |e| not_written(path, e);
        let mut file = AtomicFile::create(path).map_err(|e| Error::Data(e.to_string()))?;
        file.write_all(&[0; HEADER_LEN]).map_err(failed)?;
        let (mut hash, mut len) = (Xxh64::new(), 0);
        let end = fill(&mut |bytes| {
            hash.update(bytes);
            len += bytes.len() as u64;
            file.write_all(bytes).map_err(failed)
        })?;
        let n_tokens = len / kind.width() as u64;
        let header = Header { kind, text: start..end, n_tokens, hash: hash.finish() };
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        file.write_all(&header.to_bytes()).map_err(failed)?;
        file.commit().map_err(|e| match e {
            siskin_format::Error::Io { source, .. } | siskin_format::Error::DiskFull { source, .. } => {
                not_written(path, source)
            }
            other => Error::Data(other.to_string()),
        })?;
        let file = File::open(path).map_err(Error::io("read", path))?;
        Ok(Shard { path: path.to_path_buf(), file, header })
    }

    /// Opens a shard of this kind and verifies all of it. `None` when there is no such file; what is wrong with it when it
    /// is not whole, or of another kind.
    pub(super) fn open(path: &Path, kind: Kind) -> std::result::Result<Option<Shard>, String> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        let said = |e: io::Error| e.to_string();
        let found = file.metadata().map_err(said)?;
        if !found.is_file() {
            return Err("it is no regular file".into());
        }
        let mut header = [0; HEADER_LEN];
        file.read_exact(&mut header).map_err(|_| "it is cut short".to_string())?;
        let header = Header::from_bytes(&header).ok_or("its header is damaged")?;
        if header.kind != kind {
            return Err("it is of another text or vocabulary".into());
        }
        if header.file_len() != Some(found.len()) {
            return Err(format!("it has {} bytes, its header needs another number", found.len()));
        }
        let (mut hash, mut buffer) = (Xxh64::new(), vec![0; CHUNK]);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => hash.update(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.to_string()),
            }
        }
        if hash.finish() != header.hash {
            return Err("its tokens are not those of its checksum".into());
        }
        Ok(Some(Shard { path: path.to_path_buf(), file, header }))
    }

    /// The text that it stands for, in bytes.
    pub(super) fn text(&self) -> Range<u64> {
        self.header.text.clone()
    }

    /// Number of tokens.
    pub(super) fn len(&self) -> u64 {
        self.header.n_tokens
    }

    /// Fills `ids` with those from `at` on.
    ///
    /// # Errors
    /// A file that cannot be read or has changed since it was opened.
    pub(super) fn read(&self, at: u64, ids: &mut [u32]) -> Result<()> {
        let Kind { vocab_size, .. } = self.header.kind;
        let width = self.header.kind.width();
        let mut bytes = vec![0; width * ids.len()];
        let offset = HEADER_LEN as u64 + width as u64 * at;
        read_at(&self.file, &mut bytes, offset).map_err(Error::io("read", &self.path))?;
        self.header.kind.unpack(&bytes, ids);
        match ids.iter().find(|&&id| id >= vocab_size) {
            None => Ok(()),
            Some(id) => Err(Error::Data(format!(
                "{} holds token {id} of a vocabulary of {vocab_size}: it is damaged, start again and it is made anew",
                self.path.display(),
            ))),
        }
    }
}

/// Says what to do about a full disk.
fn not_written(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Data(format!(
            "no space left to write {} ({error}): make room or name another folder by --cache, then start again; what is \
             tokenized so far is kept",
            path.display()
        )),
        _ => Error::io("write", path)(error),
    }
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => (bytes, offset) = (&mut bytes[n..], offset + n as u64),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn kind(vocab_size: u32) -> Kind {
        Kind { key: 7, vocab_size, part: 0 }
    }

    fn written(path: &Path, kind: Kind, ids: &[u32]) -> Shard {
        let halves = ids.split_at(ids.len() / 2);
        Shard::write(path, kind, 100, |take| {
            take(&kind.pack(halves.0))?;
            take(&kind.pack(halves.1))?;
            Ok(200)
        })
        .unwrap()
    }

    #[test]
    fn ids_come_back_in_one_two_and_four_bytes() {
        let dir = tempfile::tempdir().unwrap();
        for (vocab_size, width) in [(2, 1), (256, 1), (257, 2), (1 << 16, 2), ((1 << 16) + 1, 4)] {
            let path = dir.path().join(vocab_size.to_string());
            let kind = kind(vocab_size);
            let ids: Vec<u32> = (0..50).map(|i| (i * 7919) % vocab_size).chain([vocab_size - 1]).collect();
            for shard in
                [written(&path, kind, &ids), Shard::open(&path, kind).unwrap().expect("just written")]
            {
                assert_eq!((shard.len(), shard.text()), (51, 100..200));
                let mut back = [0; 48];
                shard.read(3, &mut back).unwrap();
                assert_eq!(back, ids[3..]);
            }
            assert_eq!(fs::metadata(&path).unwrap().len(), (HEADER_LEN + width * 51) as u64);
        }
    }

    #[test]
    fn every_byte_and_every_length_is_verified() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        written(&path, kind(300), &[1, 2, 299, 0, 5]);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            fs::write(&path, bad).unwrap();
            assert!(Shard::open(&path, kind(300)).is_err(), "byte {at}");
        }
        for len in 0..good.len() {
            fs::write(&path, &good[..len]).unwrap();
            assert!(Shard::open(&path, kind(300)).is_err(), "{len} bytes");
        }
        fs::write(&path, [&good[..], &[0]].concat()).unwrap();
        assert!(Shard::open(&path, kind(300)).is_err());
        fs::write(&path, &good).unwrap();
        assert!(Shard::open(&path, kind(301)).is_err());
        assert!(Shard::open(&path, Kind { part: 1, ..kind(300) }).is_err());
        assert!(Shard::open(&path, Kind { key: 8, ..kind(300) }).is_err());
        assert!(Shard::open(&path, kind(300)).unwrap().is_some());
        assert!(Shard::open(dir.path(), kind(300)).is_err());
        assert!(Shard::open(&dir.path().join("none"), kind(300)).unwrap().is_none());
    }

    #[test]
    fn what_changes_behind_our_back_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let shard = written(&path, kind(300), &[1, 2, 299, 0]);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(HEADER_LEN as u64 + 3).unwrap();
        assert!(shard.read(0, &mut [0]).is_ok());
        assert!(matches!(shard.read(1, &mut [0]), Err(Error::Io { .. })));
        fs::write(&path, vec![255; 200]).unwrap();
        let message = shard.read(0, &mut [0; 4]).unwrap_err().to_string();
        assert!(message.contains("holds token 65535 of a vocabulary of 300"), "{message}");
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let failed = Shard::write(&path, kind(5), 0, |take| {
            take(&[1, 2])?;
            Err(Error::Data("no".into()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let full = not_written(&path, io::ErrorKind::StorageFull.into()).to_string();
        assert!(full.starts_with("no space left to write") && full.contains("--cache"), "{full}");
    }
}
