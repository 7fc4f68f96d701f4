//! A file taken apart without any checking, so that tests can break it in one place and mend the checksums:
//! without that, nothing behind the first checksum would ever be reached.

use siskin_format::header::{ENTRY_LEN, HEADER_LEN, Section};
use siskin_format::xxh64::xxh64;
use std::ops::Range;

/// Alignment of sections and tensors.
const ALIGN: usize = 64;

/// Any bytes, with ways to reach the fields of the header and of the section directory.
#[derive(Clone, Debug)]
pub struct RawFile {
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Fields of a section's entry in the directory.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    /// u32: kind.
    Kind = 0,
    /// u32: reserved.
    Reserved = 4,
    /// u64: offset.
    Offset = 8,
    /// u64: length.
    Len = 16,
    /// u64: checksum.
    Checksum = 24,
}

impl RawFile {
    /// Takes bytes, of a valid file or not.
    pub fn new(bytes: Vec<u8>) -> RawFile {
        RawFile { bytes }
    }

    /// Overwrites bytes at `at`; what would lie behind the end is dropped.
    #[must_use]
    pub fn put(mut self, at: usize, bytes: &[u8]) -> RawFile {
        let at = at.min(self.bytes.len());
        let n = bytes.len().min(self.bytes.len() - at);
        self.bytes[at..at + n].copy_from_slice(&bytes[..n]);
        self
    }

    /// Place of a section's field in the file.
    pub fn field(section: Section, field: Field) -> usize {
        HEADER_LEN + (section.code() as usize - 1) * ENTRY_LEN + field as usize
    }

    /// The u64 at `at`, 0 behind the end.
    pub fn u64_at(&self, at: usize) -> u64 {
        let bytes = self.bytes.get(at..at.saturating_add(8));
        bytes.map_or(0, |b| u64::from_le_bytes(b.try_into().expect("8 bytes")))
    }

    /// Bytes of a section as the directory has them, cut to the file.
    pub fn range(&self, section: Section) -> Range<usize> {
        let len = self.bytes.len() as u64;
        let start = self.u64_at(Self::field(section, Field::Offset)).min(len);
        let end = start.saturating_add(self.u64_at(Self::field(section, Field::Len))).min(len);
        start as usize..end as usize
    }

    /// The bytes of a section.
    pub fn section(&self, section: Section) -> &[u8] {
        &self.bytes[self.range(section)]
    }

    /// Replaces the bytes of a section, moving everything behind it; checksums are mended.
    #[must_use]
    pub fn with_section(&self, replaced: Section, bytes: &[u8]) -> RawFile {
        let preamble = HEADER_LEN + Section::ALL.len() * ENTRY_LEN;
        let mut file = RawFile::new(self.bytes[..preamble.min(self.bytes.len())].to_vec());
        file.bytes.resize(preamble.next_multiple_of(ALIGN), 0);
        for section in Section::ALL {
            let content = if section == replaced { bytes } else { self.section(section) };
            let start = file.bytes.len() as u64;
            file = file.put(Self::field(section, Field::Offset), &start.to_le_bytes());
            file = file.put(Self::field(section, Field::Len), &(content.len() as u64).to_le_bytes());
            file.bytes.extend(content);
            file.bytes.resize(file.bytes.len().next_multiple_of(ALIGN), 0);
        }
        let len = file.bytes.len() as u64;
        file.put(16, &len.to_le_bytes()).sealed()
    }

    /// With the right checksums of all sections, of the directory and of the header.
    #[must_use]
    pub fn sealed(mut self) -> RawFile {
        for section in Section::ALL {
            let checksum = xxh64(self.section(section));
            self = self.put(Self::field(section, Field::Checksum), &checksum.to_le_bytes());
        }
        self.sealed_header()
    }

    /// With the right checksums of the directory and of the header; those of the sections stay.
    #[must_use]
    pub fn sealed_header(mut self) -> RawFile {
        let n_sections =
            self.bytes.get(32..36).map_or(0, |b| u32::from_le_bytes(b.try_into().expect("4 bytes")));
        let directory_end = HEADER_LEN.saturating_add((n_sections as usize).saturating_mul(ENTRY_LEN));
        if let Some(directory) = self.bytes.get(HEADER_LEN..directory_end) {
            let checksum = xxh64(directory);
            self = self.put(40, &checksum.to_le_bytes());
        }
        if let Some(header) = self.bytes.get(..56) {
            let checksum = xxh64(header);
            self = self.put(56, &checksum.to_le_bytes());
        }
        self
    }
}

/// An entry of the tensor directory, unchecked.
#[derive(Clone, Debug)]
pub struct RawTensor {
    /// Its name.
    pub name: Vec<u8>,
    /// Code of its storage type.
    pub dtype: u8,
    /// Reserved bytes.
    pub reserved: u32,
    /// Offset in the data section.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Dimensions; their number is the rank.
    pub dims: Vec<u64>,
}

impl RawTensor {
    /// The entries of a valid directory.
    ///
    /// # Panics
    /// When the directory is not valid.
    pub fn list(mut bytes: &[u8]) -> Vec<RawTensor> {
        let mut take = |n: usize| {
            let (taken, rest) = bytes.split_at(n);
            bytes = rest;
            taken.to_vec()
        };
        let number = |bytes: Vec<u8>| bytes.iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b));
        let count = number(take(8));
        let mut list = Vec::new();
        for _ in 0..count {
            let (name_len, dtype, rank) = (number(take(2)) as usize, take(1)[0], take(1)[0]);
            let (reserved, offset, len) = (number(take(4)) as u32, number(take(8)), number(take(8)));
            let dims = (0..rank).map(|_| number(take(8))).collect();
            let name = take(name_len);
            take(name_len.next_multiple_of(8) - name_len);
            list.push(RawTensor { name, dtype, reserved, offset, len, dims });
        }
        list
    }

    /// A directory of any entries, announcing `count`.
    pub fn directory(entries: &[RawTensor], count: u64) -> Vec<u8> {
        let mut out = count.to_le_bytes().to_vec();
        for entry in entries {
            out.extend((entry.name.len() as u16).to_le_bytes());
            out.push(entry.dtype);
            out.push(entry.dims.len() as u8);
            out.extend(entry.reserved.to_le_bytes());
            out.extend(entry.offset.to_le_bytes());
            out.extend(entry.len.to_le_bytes());
            entry.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(&entry.name);
            out.resize(out.len().next_multiple_of(8), 0);
        }
        out
    }
}
