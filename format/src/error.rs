//! Everything that can go wrong with a file: what was found, what was expected, what to do.

use crate::config::ConfigError;
use crate::dtype::DType;
use crate::header::{Section, VERSION, Version};
use crate::memory::NoMemory;
use crate::meta::MetaError;
use crate::quant::QuantError;
use crate::vocab::VocabError;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a file cannot be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    Io {
        /// What was being done, as in "read".
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// No space is left for a file being written; what stood there before is intact.
    DiskFull {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The path is a directory, a pipe, a device or a socket.
    NotAFile {
        /// Which path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// The file has no bytes.
    Empty,
    /// The file does not start like a siskin file.
    BadMagic {
        /// Its first bytes, zeros after its end.
        found: [u8; 8],
    },
    /// The file's bytes stand in the wrong order.
    ByteSwapped,
    /// The file is of a version that this crate cannot read.
    UnsupportedVersion {
        /// Its version.
        found: Version,
    },
    /// The header does not match its checksum.
    HeaderChecksum,
    /// Flags that mean nothing in this version.
    ReservedFlags {
        /// The flags.
        found: u32,
    },
    /// Bytes that must be zero in this version are not.
    ReservedField {
        /// Where.
        place: &'static str,
    },
    /// The file ends too early.
    Truncated {
        /// Bytes that it should have.
        declared: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// Bytes follow the end of the file's content.
    TrailingBytes {
        /// Bytes that it should have.
        declared: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// The file does not fit this machine's address space, or memory when it is read instead of mapped.
    TooLarge {
        /// Its bytes.
        len: u64,
    },
    /// The system has no memory for what the file holds.
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The section directory is not behind the header.
    DirectoryPosition {
        /// Where it is said to be.
        found: u64,
    },
    /// More sections than the file has room for.
    SectionCount {
        /// How many.
        found: u32,
    },
    /// The section directory does not match its checksum.
    DirectoryChecksum,
    /// A section that this version does not know.
    UnknownSection {
        /// Its code.
        code: u32,
    },
    /// A section that occurs twice.
    DuplicateSection {
        /// Which.
        section: Section,
    },
    /// A section that is not there.
    MissingSection {
        /// Which.
        section: Section,
    },
    /// The sections do not stand in the order of their codes.
    SectionOrder,
    /// A section that does not start at a multiple of 64.
    SectionMisaligned {
        /// Which.
        section: Section,
        /// Where it starts.
        offset: u64,
    },
    /// Offset plus length of a section passes 2^64.
    SectionOverflow {
        /// Which.
        section: Section,
        /// Where it starts.
        offset: u64,
        /// Its bytes.
        len: u64,
    },
    /// A section that ends behind the file.
    SectionPastEnd {
        /// Which.
        section: Section,
        /// Where it ends.
        end: u64,
        /// Bytes of the file.
        file_len: u64,
    },
    /// A section longer than such a section may be.
    SectionLength {
        /// Which.
        section: Section,
        /// Its bytes.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// A section that starts before the previous one, or the directory, ends.
    SectionOverlap {
        /// Which.
        section: Section,
        /// Where it starts.
        offset: u64,
        /// Where the previous one ends.
        previous_end: u64,
    },
    /// Space that belongs to nothing.
    SectionHole {
        /// The section before which, or the last section after which.
        section: Section,
        /// Where the hole starts.
        end: u64,
    },
    /// Padding that is not zero.
    Padding {
        /// Where in the file.
        offset: u64,
    },
    /// A section that does not match its checksum.
    SectionChecksum {
        /// Which.
        section: Section,
    },
    /// Bad metadata.
    Meta {
        /// In which section.
        section: Section,
        /// What is wrong with it.
        error: MetaError,
    },
    /// Settings that make no model.
    Config(ConfigError),
    /// A bad vocabulary.
    Vocab(VocabError),
    /// The vocabulary has another size than the embedding.
    VocabSize {
        /// Tokens of the vocabulary.
        vocab: usize,
        /// Rows of the embedding.
        config: usize,
    },
    /// A tensor directory that cannot be read.
    TensorDirectory(DirectoryError),
    /// A tensor that does not fit the model or the file.
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong with it.
        error: TensorError,
    },
    /// A weight that a file may not hold.
    Value {
        /// Name of the tensor.
        name: String,
        /// What is wrong.
        what: &'static str,
        /// Index in the plane that holds it.
        index: usize,
    },
    /// Weights that cannot be packed.
    Quant {
        /// Name of the tensor.
        name: String,
        /// Which weight, and why.
        error: QuantError,
    },
    /// The writer was given another tensor than the next one of the schema.
    WriteOrder {
        /// What was given; `None` at the end.
        given: Option<String>,
        /// What was expected; `None` after the last one.
        expected: Option<String>,
    },
}

/// What is wrong with the tensor directory as such.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectoryError {
    /// More tensors than its bytes can hold.
    Count {
        /// How many are announced.
        found: u64,
        /// How many fit at most.
        room: u64,
    },
    /// The bytes end inside an entry.
    Truncated {
        /// Number of the entry.
        entry: usize,
    },
    /// A name that is empty or too long.
    NameLength {
        /// Number of the entry.
        entry: usize,
        /// Bytes of the name.
        found: u16,
    },
    /// A name that is not printable UTF-8.
    NameText {
        /// Number of the entry.
        entry: usize,
    },
    /// Bytes that must be zero are not.
    Reserved {
        /// Number of the entry.
        entry: usize,
    },
    /// Bytes follow the last entry.
    TrailingBytes {
        /// How many.
        count: usize,
    },
}

/// What is wrong with one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorError {
    /// Neither a vector nor a matrix.
    Rank {
        /// Number of dimensions.
        found: u8,
    },
    /// A dimension is 0.
    ZeroDim,
    /// A storage type that this version does not know.
    UnknownDType {
        /// Its code.
        code: u8,
    },
    /// The bytes of such a shape cannot be counted in 64 bits.
    ShapeOverflow,
    /// More or fewer bytes than the shape needs.
    Length {
        /// Bytes declared.
        found: u64,
        /// Bytes that the shape needs.
        expected: u64,
    },
    /// It does not start at a multiple of 64.
    Misaligned {
        /// Where it starts in its section.
        offset: u64,
    },
    /// Offset plus length passes 2^64.
    OffsetOverflow,
    /// It ends behind its section.
    PastEnd {
        /// Where it ends in its section.
        end: u64,
        /// Bytes of the section.
        section_len: u64,
    },
    /// It starts before the previous one ends.
    Overlap {
        /// Where it starts in its section.
        offset: u64,
    },
    /// Space before it, or behind the last one, belongs to nothing.
    Hole {
        /// Where the tensor before the hole ends.
        end: u64,
    },
    /// The model has it, the file has not.
    Missing,
    /// The file has it, the model has not.
    Unexpected,
    /// The file has it twice.
    Duplicate,
    /// It is not where the model's order has it.
    Order {
        /// The tensor expected in its place.
        expected: String,
    },
    /// Another shape than the model's.
    Shape {
        /// Its dimensions.
        found: Vec<u64>,
        /// Those of the model.
        expected: Vec<u64>,
    },
    /// A storage type that this tensor may not have.
    DTypeNotAllowed {
        /// The type.
        found: DType,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Error::*;
        match self {
            Io { action, path, source } => write!(f, "cannot {action} {}: {source}", path.display()),
            DiskFull { path, source } => write!(
                f,
                "no space left to write {}: {source}; what was there before is intact, free some space and try again",
                path.display()
            ),
            NotAFile { path, kind } => write!(f, "{} is {kind}, expected a file", path.display()),
            Empty => write!(f, "the file is empty, expected a siskin model"),
            BadMagic { found } => {
                write!(f, "not a siskin model: the file starts with \"{}\"", found.escape_ascii())
            }
            ByteSwapped => {
                write!(f, "the file's bytes are swapped; siskin files are little-endian on every machine")
            }
            UnsupportedVersion { found } if found.major == 0 => write!(
                f,
                "the file has version {found}, expected 1.0 to {VERSION}; no siskin ever wrote that, copy the file again"
            ),
            UnsupportedVersion { found } => write!(
                f,
                "the file has version {found}, expected 1.0 to {VERSION}; it was written by a newer version, \
                 update siskin to read it"
            ),
            HeaderChecksum => write!(f, "the header is damaged; copy the file again"),
            ReservedFlags { found } => write!(f, "the header has the unknown flags {found:#x}, expected 0"),
            ReservedField { place } => write!(f, "reserved bytes of the {place} are not zero"),
            Truncated { declared, found } => {
                write!(f, "the file is cut off: {found} bytes, expected {declared}; copy it again")
            }
            TrailingBytes { declared, found } => {
                write!(f, "the file has {found} bytes, expected {declared}: something was appended to it")
            }
            TooLarge { len } => write!(f, "the file's {len} bytes do not fit into this machine's memory"),
            OutOfMemory { bytes } => NoMemory { bytes: *bytes }.fmt(f),
            DirectoryPosition { found } => {
                write!(f, "the section directory is at {found}, expected {}", crate::header::HEADER_LEN)
            }
            SectionCount { found } => write!(f, "the file is too short for its {found} sections"),
            DirectoryChecksum => write!(f, "the section directory is damaged; copy the file again"),
            UnknownSection { code } => write!(f, "a section has the unknown kind {code}"),
            DuplicateSection { section } => write!(f, "the {section} section occurs twice"),
            MissingSection { section } => write!(f, "the {section} section is missing"),
            SectionOrder => write!(f, "the sections are out of order"),
            SectionMisaligned { section, offset } => {
                write!(f, "the {section} section starts at {offset}, expected a multiple of 64")
            }
            SectionOverflow { section, offset, len } => {
                write!(f, "the {section} section of {len} bytes at {offset} wraps around")
            }
            SectionPastEnd { section, end, file_len } => {
                write!(f, "the {section} section ends at {end}, behind the file's {file_len} bytes")
            }
            SectionLength { section, len, max } => {
                write!(f, "the {section} section has {len} bytes, expected at most {max}")
            }
            SectionOverlap { section, offset, previous_end } => {
                write!(f, "the {section} section starts at {offset}, inside what ends at {previous_end}")
            }
            SectionHole { section, end } => {
                write!(f, "bytes from {end} at the {section} section belong to no section")
            }
            Padding { offset } => write!(f, "padding byte {offset} is not zero"),
            SectionChecksum { section } => {
                write!(
                    f,
                    "the {section} section is damaged: its checksum does not match; copy the file again"
                )
            }
            Meta { section, error } => write!(f, "{section} section: {error}"),
            Config(error) => write!(f, "config section: {error}"),
            Vocab(error) => write!(f, "tokenizer section: {error}"),
            VocabSize { vocab, config } => {
                write!(f, "the tokenizer has {vocab} tokens, but the model's vocab_size is {config}")
            }
            TensorDirectory(error) => write!(f, "tensor directory: {error}"),
            Tensor { name, error } => write!(f, "tensor {name:?}: {error}"),
            Value { name, what, index } => write!(f, "tensor {name:?}: {what} at {index}"),
            Quant { name, error } => write!(f, "tensor {name:?}: {error}"),
            WriteOrder { given: Some(given), expected: Some(expected) } => {
                write!(f, "tensor {given:?} was written where {expected:?} was expected")
            }
            WriteOrder { given: Some(given), expected: None } => {
                write!(f, "tensor {given:?} was written after the last one")
            }
            WriteOrder { given: None, expected } => {
                write!(f, "the file ended before tensor {:?} was written", expected.as_deref().unwrap_or(""))
            }
        }
    }
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use DirectoryError::*;
        match self {
            Count { found, room } => write!(f, "{found} tensors are announced, but at most {room} fit"),
            Truncated { entry } => write!(f, "the bytes end inside entry {entry}"),
            NameLength { entry, found } => {
                write!(f, "the name of entry {entry} has {found} bytes, expected 1 to 255")
            }
            NameText { entry } => write!(f, "the name of entry {entry} is not printable UTF-8"),
            Reserved { entry } => write!(f, "reserved bytes of entry {entry} are not zero"),
            TrailingBytes { count } => write!(f, "{count} bytes follow the last entry"),
        }
    }
}

impl fmt::Display for TensorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use TensorError::*;
        match self {
            Rank { found } => write!(f, "it has {found} dimensions, expected 1 or 2"),
            ZeroDim => write!(f, "a dimension is 0"),
            UnknownDType { code } => write!(f, "the storage type {code} is unknown"),
            ShapeOverflow => write!(f, "its shape is too large to be stored"),
            Length { found, expected } => write!(f, "it has {found} bytes, its shape needs {expected}"),
            Misaligned { offset } => write!(f, "it starts at {offset}, expected a multiple of 64"),
            OffsetOverflow => write!(f, "its range wraps around"),
            PastEnd { end, section_len } => {
                write!(f, "it ends at {end}, behind the section's {section_len} bytes")
            }
            Overlap { offset } => write!(f, "it starts at {offset}, inside the previous one"),
            Hole { end } => write!(f, "bytes from {end} next to it belong to no tensor"),
            Missing => write!(f, "the model needs it, but the file does not have it"),
            Unexpected => write!(f, "the model does not have it"),
            Duplicate => write!(f, "it occurs twice"),
            Order { expected } => write!(f, "it stands where {expected:?} was expected"),
            Shape { found, expected } => write!(f, "its shape is {found:?}, the model needs {expected:?}"),
            DTypeNotAllowed { found } => write!(f, "it may not be stored as {found}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } | Error::DiskFull { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Error {
        Error::Config(error)
    }
}

impl From<VocabError> for Error {
    fn from(error: VocabError) -> Error {
        match error {
            VocabError::OutOfMemory { bytes } => Error::OutOfMemory { bytes },
            error => Error::Vocab(error),
        }
    }
}

impl From<NoMemory> for Error {
    fn from(NoMemory { bytes }: NoMemory) -> Error {
        Error::OutOfMemory { bytes }
    }
}

impl From<DirectoryError> for Error {
    fn from(error: DirectoryError) -> Error {
        Error::TensorDirectory(error)
    }
}

impl Error {
    /// What is wrong with the metadata of a section.
    pub(crate) fn meta(section: Section, error: MetaError) -> Error {
        match error {
            MetaError::OutOfMemory { bytes } => Error::OutOfMemory { bytes },
            error => Error::Meta { section, error },
        }
    }

    /// An I/O error with its place; a full disk and an exceeded quota get their own variant.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Error {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull { path, source },
            _ => Error::Io { action, path, source },
        }
    }
}
