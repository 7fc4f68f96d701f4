//! The bytes of a checkpoint.
//!
//! All numbers are little-endian.
//!
//! ```text
//! magic         8    "SISKCKPT"
//! version       u32  1
//! n_sections    u32  at most 64, the meta text not counted
//! meta_len      u64  bytes of the meta text
//! per section:  kind u8 (0 bytes, 1 f32), name_len u8 (1 to 64), name (UTF-8), len u64 (bytes)
//! meta          JSON, UTF-8
//! payloads      one after the other, in order
//! checksum      u64  XXH64 of all bytes before it
//! ```
//!
//! The table says how long the file must be, and that is compared with how long it is before anything of the table's
//! sizes is allocated.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read, Write};

use siskin_format::xxh64::Xxh64;

use super::Checkpoint;

const MAGIC: &[u8; 8] = b"SISKCKPT";
const VERSION: u32 = 1;
const CHECKSUM_LEN: u64 = 8;
/// Most sections of a checkpoint.
pub(super) const MAX_SECTIONS: usize = 64;
/// Longest name of a section, in bytes.
pub(super) const MAX_NAME: usize = 64;
/// Floats converted at a time.
const BLOCK: usize = 1 << 14;

/// The content of a section.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload<'a> {
    /// Anything.
    Bytes(Cow<'a, [u8]>),
    /// Weights and the like; every bit pattern is kept, NaN too.
    F32s(Cow<'a, [f32]>),
}

impl Payload<'_> {
    fn kind(&self) -> u8 {
        match self {
            Payload::Bytes(_) => 0,
            Payload::F32s(_) => 1,
        }
    }

    fn len(&self) -> u64 {
        match self {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::F32s(values) => size_of_val(&values[..]) as u64,
        }
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Payload::Bytes(bytes.into())
    }
}

impl From<Vec<u8>> for Payload<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Payload::Bytes(bytes.into())
    }
}

impl<'a> From<&'a [f32]> for Payload<'a> {
    fn from(values: &'a [f32]) -> Self {
        Payload::F32s(values.into())
    }
}

impl From<Vec<f32>> for Payload<'_> {
    fn from(values: Vec<f32>) -> Self {
        Payload::F32s(values.into())
    }
}

/// Why a file is not a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// It is a folder, a pipe or a device.
    NotAFile,
    /// It does not begin with the magic.
    BadMagic,
    /// It is of a version that this program does not know.
    UnknownVersion {
        /// The version.
        found: u32,
    },
    /// The table of sections makes no sense.
    BadTable {
        /// What is wrong in it.
        problem: &'static str,
    },
    /// Its length is not what its table says.
    BadLength {
        /// Bytes of the file.
        found: u64,
        /// Bytes that the table adds up to.
        expected: u64,
    },
    /// The bytes are not those that were written.
    BadChecksum {
        /// The sum of the bytes.
        found: u64,
        /// The sum at the end of the file.
        expected: u64,
    },
    /// The meta text is not UTF-8.
    BadMeta,
    /// The disk gives its bytes no more.
    Unreadable,
    /// There is not enough memory for a section.
    OutOfMemory {
        /// Bytes of the section.
        needed: u64,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::NotAFile => write!(f, "it is not a regular file"),
            Damage::BadMagic => write!(f, "it does not begin as a checkpoint does"),
            Damage::UnknownVersion { found } => {
                write!(f, "it is of version {found}, this program reads version {VERSION}")
            }
            Damage::BadTable { problem } => write!(f, "its table of sections is damaged: {problem}"),
            Damage::BadLength { found, expected } => {
                write!(f, "it has {found} bytes, its table says {expected}: writing it was cut short")
            }
            Damage::BadChecksum { found, expected } => {
                write!(
                    f,
                    "its checksum is {found:016x}, expected {expected:016x}: its bytes changed after writing"
                )
            }
            Damage::BadMeta => write!(f, "its state is not UTF-8 text"),
            Damage::Unreadable => write!(f, "the disk cannot read it any more (input/output error)"),
            Damage::OutOfMemory { needed } => {
                write!(f, "{needed} bytes of memory for a section cannot be had")
            }
        }
    }
}

/// Why reading failed: the system, or the bytes.
#[derive(Debug)]
pub(super) enum ReadError {
    Io(io::Error),
    Damage(Damage),
}

impl From<Damage> for ReadError {
    fn from(damage: Damage) -> Self {
        ReadError::Damage(damage)
    }
}

/// Passes bytes on and sums them up.
struct Summed<T> {
    inner: T,
    sum: Xxh64,
}

impl<W: Write> Summed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.inner.write_all(bytes)
    }
}

/// Writes `checkpoint`; the checksum comes last.
pub(super) fn write(checkpoint: &Checkpoint<'_>, to: impl Write) -> io::Result<()> {
    let mut out = Summed { inner: to, sum: Xxh64::new() };
    let mut table = Vec::new();
    table.extend_from_slice(MAGIC);
    table.extend_from_slice(&VERSION.to_le_bytes());
    table.extend_from_slice(&(checkpoint.sections.len() as u32).to_le_bytes());
    table.extend_from_slice(&(checkpoint.meta.len() as u64).to_le_bytes());
    for (name, payload) in &checkpoint.sections {
        table.extend_from_slice(&[payload.kind(), name.len() as u8]);
        table.extend_from_slice(name.as_bytes());
        table.extend_from_slice(&payload.len().to_le_bytes());
    }
    out.put(&table)?;
    out.put(checkpoint.meta.as_bytes())?;
    let mut block = Vec::with_capacity(BLOCK * 4);
    for (_, payload) in &checkpoint.sections {
        match payload {
            Payload::Bytes(bytes) => out.put(bytes)?,
            Payload::F32s(values) => {
                for values in values.chunks(BLOCK) {
                    block.clear();
                    block.extend(values.iter().flat_map(|x| x.to_le_bytes()));
                    out.put(&block)?;
                }
            }
        }
    }
    let sum = out.sum.finish();
    out.inner.write_all(&sum.to_le_bytes())?;
    out.inner.flush()
}

impl<R: Read> Summed<R> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ReadError> {
        self.inner.read_exact(bytes).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => {
                ReadError::Damage(Damage::BadTable { problem: "the file ends in it" })
            }
            _ => ReadError::Io(e),
        })?;
        self.sum.update(bytes);
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, ReadError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ReadError> {
        self.array().map(u64::from_le_bytes)
    }

    /// `len` bytes, where `len` is known to be no more than the file has.
    fn bytes(&mut self, len: u64) -> Result<Vec<u8>, ReadError> {
        let mut bytes = reserve(len, len)?;
        bytes.resize(len as usize, 0);
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn f32s(&mut self, len: u64) -> Result<Vec<f32>, ReadError> {
        let mut values = reserve(len / 4, len)?;
        let mut block = [0; BLOCK];
        let mut left = len;
        while left > 0 {
            let block = &mut block[..left.min(BLOCK as u64) as usize];
            self.fill(block)?;
            values.extend(block.chunks_exact(4).map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]])));
            left -= block.len() as u64;
        }
        Ok(values)
    }
}

fn reserve<T>(n: u64, bytes: u64) -> Result<Vec<T>, Damage> {
    let mut values = Vec::new();
    let reserved = usize::try_from(n).ok().and_then(|n| values.try_reserve_exact(n).ok());
    reserved.map(|()| values).ok_or(Damage::OutOfMemory { needed: bytes })
}

struct Entry {
    kind: u8,
    name: String,
    len: u64,
}

/// Reads a checkpoint of `file_len` bytes. Any bytes give a checkpoint or an error.
pub(super) fn read(from: impl Read, file_len: u64) -> Result<Checkpoint<'static>, ReadError> {
    let mut from = Summed { inner: from, sum: Xxh64::new() };
    if file_len < MAGIC.len() as u64 || from.array::<8>()? != *MAGIC {
        return Err(Damage::BadMagic.into());
    }
    let version = from.u32()?;
    if version != VERSION {
        return Err(Damage::UnknownVersion { found: version }.into());
    }
    let n_sections = from.u32()?;
    if n_sections as usize > MAX_SECTIONS {
        return Err(Damage::BadTable { problem: "too many sections" }.into());
    }
    let meta_len = from.u64()?;
    let mut table_len = 24;
    let mut table: Vec<Entry> = Vec::with_capacity(n_sections as usize);
    for _ in 0..n_sections {
        let entry = read_entry(&mut from)?;
        if table.iter().any(|e| e.name == entry.name) {
            return Err(Damage::BadTable { problem: "a name occurs twice" }.into());
        }
        table_len += 10 + entry.name.len() as u64;
        table.push(entry);
    }
    let lens = table.iter().map(|e| e.len).chain([meta_len]);
    let expected = lens.fold(table_len + CHECKSUM_LEN, u64::saturating_add);
    if expected != file_len {
        return Err(Damage::BadLength { found: file_len, expected }.into());
    }
    let meta = from.bytes(meta_len)?;
    let mut sections = Vec::with_capacity(table.len());
    for Entry { kind, name, len } in table {
        let payload = if kind == 0 { from.bytes(len)?.into() } else { from.f32s(len)?.into() };
        sections.push((name, payload));
    }
    let found = from.sum.finish();
    let expected = from.u64()?;
    if found != expected {
        return Err(Damage::BadChecksum { found, expected }.into());
    }
    let meta = String::from_utf8(meta).map_err(|_| Damage::BadMeta)?;
    Ok(Checkpoint { meta, sections })
}

fn read_entry(from: &mut Summed<impl Read>) -> Result<Entry, ReadError> {
    let [kind, name_len] = from.array()?;
    let bad = |problem| Err(Damage::BadTable { problem }.into());
    if kind > 1 {
        return bad("a section is of no known kind");
    }
    if !(1..=MAX_NAME).contains(&usize::from(name_len)) {
        return bad("a name is empty or too long");
    }
    let name = from.bytes(u64::from(name_len))?;
    let Ok(name) = String::from_utf8(name) else { return bad("a name is not UTF-8") };
    let len = from.u64()?;
    if kind == 1 && !len.is_multiple_of(4) {
        return bad("floats end in the middle of one");
    }
    Ok(Entry { kind, name, len })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint<'static> {
        let mut checkpoint = Checkpoint::new(&serde_json::json!({"step": 12, "loss": 1.25})).unwrap();
        checkpoint.put("weights", vec![1.5f32, -0.0, f32::NEG_INFINITY]);
        checkpoint.put("state", vec![7u8, 8, 9]);
        checkpoint.put("empty", Vec::<f32>::new());
        checkpoint
    }

    fn bytes_of(checkpoint: &Checkpoint<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(checkpoint, &mut bytes).unwrap();
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Checkpoint<'static>, Damage> {
        read(bytes, bytes.len() as u64).map_err(|e| match e {
            ReadError::Damage(damage) => damage,
            ReadError::Io(e) => panic!("a slice does not fail: {e}"),
        })
    }

    /// Changes bytes and makes the checksum right again, to get behind it.
    fn altered(at: usize, with: &[u8]) -> Vec<u8> {
        let mut bytes = bytes_of(&sample());
        bytes[at..at + with.len()].copy_from_slice(with);
        let end = bytes.len() - 8;
        let sum = siskin_format::xxh64::xxh64(&bytes[..end]);
        bytes[end..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(parse(&bytes_of(&sample())).unwrap(), sample());
    }

    #[test]
    fn every_bit_pattern_of_a_float_is_kept() {
        let patterns = [0x7fc0_0001, 0xffff_ffff, 0x7f80_0001, 0x0000_0001, 0x8000_0000, 0x7f80_0000];
        let values: Vec<f32> =
            patterns.iter().cycle().take(3 * BLOCK + 5).map(|x| f32::from_bits(*x)).collect();
        let mut checkpoint = Checkpoint::new(&()).unwrap();
        checkpoint.put("weights", &values[..]);
        let again = parse(&bytes_of(&checkpoint)).unwrap();
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(again.f32s("weights").unwrap()), bits(&values));
    }

    #[test]
    fn every_prefix_and_every_extension_is_refused() {
        let bytes = bytes_of(&sample());
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(matches!(parse(&[&bytes[..], &[0]].concat()), Err(Damage::BadLength { .. })));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let bytes = bytes_of(&sample());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn hostile_numbers_are_refused_before_memory_is_taken() {
        let kind_of = |bytes: Vec<u8>| parse(&bytes).unwrap_err();
        assert_eq!(kind_of(altered(0, b"X")), Damage::BadMagic);
        assert_eq!(kind_of(altered(8, &[2])), Damage::UnknownVersion { found: 2 });
        assert_eq!(kind_of(altered(12, &[65])), Damage::BadTable { problem: "too many sections" });
        assert_eq!(kind_of(altered(12, &[255; 4])), Damage::BadTable { problem: "too many sections" });
        assert!(matches!(kind_of(altered(16, &[255; 8])), Damage::BadLength { expected: u64::MAX, .. }));
        assert_eq!(kind_of(altered(24, &[2])), Damage::BadTable { problem: "a section is of no known kind" });
        assert_eq!(kind_of(altered(25, &[0])), Damage::BadTable { problem: "a name is empty or too long" });
        assert_eq!(kind_of(altered(25, &[255])), Damage::BadTable { problem: "a name is empty or too long" });
        assert_eq!(kind_of(altered(26, &[255])), Damage::BadTable { problem: "a name is not UTF-8" });
        let len_at = 26 + "weights".len();
        assert_eq!(
            kind_of(altered(len_at, &[13])),
            Damage::BadTable { problem: "floats end in the middle of one" }
        );
        assert!(matches!(kind_of(altered(len_at, &[0xfc; 8])), Damage::BadLength { .. }));
        let meta_at = bytes_of(&sample()).windows(1).position(|w| w == b"{").unwrap();
        assert_eq!(kind_of(altered(meta_at, &[255])), Damage::BadMeta);
    }

    #[test]
    fn a_name_that_occurs_twice_is_refused() {
        let mut checkpoint = sample();
        checkpoint.sections[2].0 = "state".into();
        assert_eq!(
            parse(&bytes_of(&checkpoint)).unwrap_err(),
            Damage::BadTable { problem: "a name occurs twice" }
        );
    }

    #[test]
    fn a_file_that_shrinks_while_it_is_read_is_refused() {
        let bytes = bytes_of(&sample());
        let shorter = &bytes[..bytes.len() - 3];
        assert!(matches!(read(shorter, bytes.len() as u64), Err(ReadError::Damage(_))));
    }

    /// A disk that is full after some bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_full_at_any_byte_is_an_error() {
        let len = bytes_of(&sample()).len();
        for room in 0..len {
            assert_eq!(write(&sample(), Full(room)).unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
        write(&sample(), Full(len)).unwrap();
    }
}
