//! The first bytes of a file: header and section directory (SPEC.md, "Header" and "Section directory").

use crate::error::Error;
use crate::panel::{ALIGN, align_up};
use crate::xxh64::xxh64;
use std::fmt;
use std::ops::Range;

/// First bytes of every file. The first one is no text, the last one is what line-ending conversions break.
pub const MAGIC: [u8; 8] = *b"\x89SISKIN\n";
/// Newest version that this crate writes and reads.
pub const VERSION: Version = Version { major: 1, minor: 3 };
/// Bytes of the header; the section directory follows it.
pub const HEADER_LEN: usize = 64;
/// Bytes of one entry of the section directory.
pub const ENTRY_LEN: usize = 32;

/// Version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Changes when the bytes mean something else.
    pub major: u16,
    /// Changes when something is added.
    pub minor: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Parts of a file, in their order. Every file has each of them once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Section {
    /// What the model is: metadata.
    Config = 1,
    /// The vocabulary.
    Tokenizer = 2,
    /// How the model was made: metadata.
    Receipt = 3,
    /// Name, type, shape and place of every tensor.
    TensorDirectory = 4,
    /// The weights.
    TensorData = 5,
}

impl Section {
    /// All of them, in file order.
    pub const ALL: [Section; 5] = [
        Section::Config,
        Section::Tokenizer,
        Section::Receipt,
        Section::TensorDirectory,
        Section::TensorData,
    ];

    /// The code in the section directory.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// The section of a code.
    pub fn from_code(code: u32) -> Option<Section> {
        Section::ALL.into_iter().find(|s| s.code() == code)
    }

    /// Most bytes that the section may have.
    pub fn max_len(self) -> u64 {
        match self {
            Section::Config | Section::Receipt => 1 << 20,
            Section::Tokenizer => 1 << 26,
            Section::TensorDirectory => 1 << 23,
            Section::TensorData => u64::MAX,
        }
    }

    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Section::Config => "config",
            Section::Tokenizer => "tokenizer",
            Section::Receipt => "receipt",
            Section::TensorDirectory => "tensor directory",
            Section::TensorData => "tensor data",
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Place and checksum of one section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionInfo {
    /// Which one.
    pub section: Section,
    /// Its bytes in the file.
    pub range: Range<usize>,
    /// XXH64 of its bytes.
    pub checksum: u64,
}

/// What the header and the section directory say, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) version: Version,
    pub(crate) sections: [SectionInfo; Section::ALL.len()],
}

/// The header's declared length and directory, before the rest of the file is looked at.
struct Header {
    version: Version,
    file_len: u64,
    n_sections: u32,
    directory_checksum: u64,
}

/// Checks the header in `start`, the first bytes of a file of `file_len` bytes.
pub(crate) fn check_start(start: &[u8], file_len: u64) -> Result<(), Error> {
    Header::read(start)?.check_length(file_len)
}

/// Bytes of header and directory together.
pub(crate) const fn preamble_len() -> usize {
    HEADER_LEN + Section::ALL.len() * ENTRY_LEN
}

impl Layout {
    /// Reads and checks header, section directory, and the zeros between sections.
    pub(crate) fn read(file: &[u8]) -> Result<Layout, Error> {
        let header = Header::read(file)?;
        header.check_length(file.len() as u64)?;
        let end = header.directory_end(file.len())?;
        if xxh64(&file[HEADER_LEN..end]) != header.directory_checksum {
            return Err(Error::DirectoryChecksum);
        }
        let entries = read_entries(&file[HEADER_LEN..end])?;
        let sections = check_entries(&entries, end, file)?;
        Ok(Layout { version: header.version, sections })
    }

    /// Lays sections of the given lengths out one after the other; checksums are filled in later.
    pub(crate) fn plan(version: Version, lengths: [usize; Section::ALL.len()]) -> Option<Layout> {
        let mut at = align_up(preamble_len())?;
        let mut sections = Section::ALL.map(|section| SectionInfo { section, range: 0..0, checksum: 0 });
        for (info, len) in sections.iter_mut().zip(lengths) {
            info.range = at..at.checked_add(len)?;
            at = align_up(info.range.end)?;
        }
        Some(Layout { version, sections })
    }

    /// Where `section` lies.
    pub(crate) fn section(&self, section: Section) -> &SectionInfo {
        &self.sections[section.code() as usize - 1]
    }

    /// Bytes of the whole file.
    pub(crate) fn file_len(&self) -> usize {
        let last = &self.sections[self.sections.len() - 1];
        align_up(last.range.end).expect("checked when the layout was made")
    }

    /// Header and directory as bytes.
    pub(crate) fn to_bytes(&self) -> [u8; preamble_len()] {
        let mut out = [0; preamble_len()];
        for (info, out) in self.sections.iter().zip(out[HEADER_LEN..].chunks_exact_mut(ENTRY_LEN)) {
            out[..4].copy_from_slice(&info.section.code().to_le_bytes());
            out[8..16].copy_from_slice(&(info.range.start as u64).to_le_bytes());
            out[16..24].copy_from_slice(&(info.range.len() as u64).to_le_bytes());
            out[24..32].copy_from_slice(&info.checksum.to_le_bytes());
        }
        let directory_checksum = xxh64(&out[HEADER_LEN..]);
        out[..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&self.version.major.to_le_bytes());
        out[10..12].copy_from_slice(&self.version.minor.to_le_bytes());
        out[16..24].copy_from_slice(&(self.file_len() as u64).to_le_bytes());
        out[24..32].copy_from_slice(&(HEADER_LEN as u64).to_le_bytes());
        out[32..36].copy_from_slice(&(self.sections.len() as u32).to_le_bytes());
        out[40..48].copy_from_slice(&directory_checksum.to_le_bytes());
        let header_checksum = xxh64(&out[..56]);
        out[56..64].copy_from_slice(&header_checksum.to_le_bytes());
        out
    }
}

impl Header {
    fn read(file: &[u8]) -> Result<Header, Error> {
        if file.is_empty() {
            return Err(Error::Empty);
        }
        let (start, magic) = (&file[..file.len().min(8)], &MAGIC[..file.len().min(8)]);
        if start != magic {
            return Err(wrong_magic(start));
        }
        let Some(header) = file.first_chunk::<HEADER_LEN>() else {
            return Err(Error::Truncated { declared: HEADER_LEN as u64, found: file.len() as u64 });
        };
        let version = Version { major: u16_at(header, 8), minor: u16_at(header, 10) };
        if version.major.swap_bytes() == VERSION.major {
            return Err(Error::ByteSwapped);
        }
        if version > VERSION || version.major == 0 {
            return Err(Error::UnsupportedVersion { found: version });
        }
        if xxh64(&header[..56]) != u64_at(header, 56) {
            return Err(Error::HeaderChecksum);
        }
        let flags = u32_at(header, 12);
        if flags != 0 {
            return Err(Error::ReservedFlags { found: flags });
        }
        if u32_at(header, 36) != 0 || u64_at(header, 48) != 0 {
            return Err(Error::ReservedField { place: "header" });
        }
        let directory_at = u64_at(header, 24);
        if directory_at != HEADER_LEN as u64 {
            return Err(Error::DirectoryPosition { found: directory_at });
        }
        Ok(Header {
            version,
            file_len: u64_at(header, 16),
            n_sections: u32_at(header, 32),
            directory_checksum: u64_at(header, 40),
        })
    }

    fn check_length(&self, found: u64) -> Result<(), Error> {
        let declared = self.file_len;
        match found.cmp(&declared) {
            std::cmp::Ordering::Less => Err(Error::Truncated { declared, found }),
            std::cmp::Ordering::Greater => Err(Error::TrailingBytes { declared, found }),
            std::cmp::Ordering::Equal => Ok(()),
        }
    }

    /// End of the section directory.
    fn directory_end(&self, file_len: usize) -> Result<usize, Error> {
        let end = HEADER_LEN as u64 + u64::from(self.n_sections) * ENTRY_LEN as u64;
        if end > file_len as u64 {
            return Err(Error::SectionCount { found: self.n_sections });
        }
        Ok(end as usize)
    }
}

fn wrong_magic(start: &[u8]) -> Error {
    let mut found = [0; 8];
    found[..start.len()].copy_from_slice(start);
    let swapped_by = |n: usize| {
        let mut swapped = MAGIC;
        swapped.chunks_exact_mut(n).for_each(|word| word.reverse());
        swapped == found
    };
    if [2, 4, 8].into_iter().any(swapped_by) { Error::ByteSwapped } else { Error::BadMagic { found } }
}

/// An entry of the directory as it stands there.
struct Entry {
    section: Section,
    offset: u64,
    len: u64,
    checksum: u64,
}

fn read_entries(bytes: &[u8]) -> Result<[Entry; Section::ALL.len()], Error> {
    let mut entries: [Option<Entry>; Section::ALL.len()] = Default::default();
    let mut last = None;
    let mut sorted = true;
    for bytes in bytes.as_chunks::<ENTRY_LEN>().0 {
        let code = u32_at(bytes, 0);
        let section = Section::from_code(code).ok_or(Error::UnknownSection { code })?;
        if u32_at(bytes, 4) != 0 {
            return Err(Error::ReservedField { place: "section directory" });
        }
        let (offset, len, checksum) = (u64_at(bytes, 8), u64_at(bytes, 16), u64_at(bytes, 24));
        sorted &= last < Some(section);
        last = Some(section);
        if entries[section.code() as usize - 1].replace(Entry { section, offset, len, checksum }).is_some() {
            return Err(Error::DuplicateSection { section });
        }
    }
    if let Some(missing) = entries.iter().position(Option::is_none) {
        return Err(Error::MissingSection { section: Section::ALL[missing] });
    }
    if !sorted {
        return Err(Error::SectionOrder);
    }
    Ok(entries.map(|entry| entry.expect("none is missing")))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("2 bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// Sections must follow each other without holes from `start` to the end of the file, zeros between them.
fn check_entries(
    entries: &[Entry; Section::ALL.len()],
    start: usize,
    file: &[u8],
) -> Result<[SectionInfo; Section::ALL.len()], Error> {
    let mut previous_end = start;
    let mut sections = Section::ALL.map(|section| SectionInfo { section, range: 0..0, checksum: 0 });
    for (entry, info) in entries.iter().zip(&mut sections) {
        let &Entry { section, offset, len, checksum } = entry;
        if !offset.is_multiple_of(ALIGN as u64) {
            return Err(Error::SectionMisaligned { section, offset });
        }
        let end = offset.checked_add(len).ok_or(Error::SectionOverflow { section, offset, len })?;
        if end > file.len() as u64 {
            return Err(Error::SectionPastEnd { section, end, file_len: file.len() as u64 });
        }
        if len > section.max_len() {
            return Err(Error::SectionLength { section, len, max: section.max_len() });
        }
        // Both are at most `file.len()`, a usize.
        let range = offset as usize..end as usize;
        check_gap(section, previous_end, range.start, file)?;
        previous_end = range.end;
        *info = SectionInfo { section, range, checksum };
    }
    if align_up(previous_end) != Some(file.len()) {
        return Err(Error::SectionHole { section: Section::TensorData, end: previous_end as u64 });
    }
    check_zeros(&file[previous_end..], previous_end)?;
    Ok(sections)
}

fn check_gap(section: Section, previous_end: usize, start: usize, file: &[u8]) -> Result<(), Error> {
    if start < previous_end {
        return Err(Error::SectionOverlap {
            section,
            offset: start as u64,
            previous_end: previous_end as u64,
        });
    }
    if align_up(previous_end) != Some(start) {
        return Err(Error::SectionHole { section, end: previous_end as u64 });
    }
    check_zeros(&file[previous_end..start], previous_end)
}

fn check_zeros(padding: &[u8], at: usize) -> Result<(), Error> {
    match padding.iter().position(|&byte| byte != 0) {
        Some(index) => Err(Error::Padding { offset: (at + index) as u64 }),
        None => Ok(()),
    }
}
