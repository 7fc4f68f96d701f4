//! The three headers of llama2.c.
//!
//! ```text
//! version 0   7 × i32: dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size (negative: the head is not tied), seq_len
//! version 1   u32 "ak42" (0x616B3432), i32 1, the 7 × i32 (vocab_size positive), u8 whether the head is tied, zeros to 256 bytes
//! version 2   the same with i32 2, and an i32 group size behind the u8
//! ```

use siskin_format::config::{MAX_BLOCKS, MAX_DIM, MAX_VOCAB};

/// The first four bytes of versions 1 and 2.
const MAGIC: u32 = 0x616B_3432;
/// Where the data of versions 1 and 2 begins.
const DATA_AT: u64 = 256;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V0,
    V1,
    V2 { group: u64 },
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: Version,
    pub(super) dim: u64,
    pub(super) hidden_dim: u64,
    pub(super) n_layers: u64,
    pub(super) n_heads: u64,
    pub(super) n_kv_heads: u64,
    pub(super) vocab_size: u64,
    pub(super) seq_len: u64,
    pub(super) is_tied: bool,
}

impl Header {
    /// Where the data begins.
    pub(super) fn data_at(&self) -> u64 {
        match self.version {
            Version::V0 => 28,
            _ => DATA_AT,
        }
    }

    /// Reads it; an error says in one line what is wrong.
    pub(super) fn read(bytes: &[u8]) -> Result<Header, String> {
        let words = Words(bytes);
        if words.u32(0)? != MAGIC {
            let header = Header::sizes(&words, 0, Version::V0, true)?;
            return Ok(Header { is_tied: words.i32(20)? > 0, ..header });
        }
        let tied = |flag: u8| match flag {
            0 | 1 => Ok(flag == 1),
            other => Err(format!("the byte that says whether the head is tied is {other}, expected 0 or 1")),
        };
        let flag = *bytes.get(36).ok_or("the header is cut short")?;
        let version = match words.i32(4)? {
            1 => Version::V1,
            2 => match words.i32(37)? {
                group if group > 0 => Version::V2 { group: group as u64 },
                group => return Err(format!("the group size is {group}, expected at least 1")),
            },
            other => return Err(format!("version {other} of llama2.c's format, expected 0, 1 or 2")),
        };
        let header = Header::sizes(&words, 8, version, false)?;
        Ok(Header { is_tied: tied(flag)?, ..header })
    }

    fn sizes(words: &Words<'_>, at: usize, version: Version, signed_vocab: bool) -> Result<Header, String> {
        let size = |index: usize, name: &str, max: usize| {
            let found = words.i32(at + 4 * index)?;
            let size =
                if signed_vocab && name == "vocab_size" { i64::from(found).abs() } else { i64::from(found) };
            match u64::try_from(size) {
                Ok(size) if size > 0 && size <= max as u64 => Ok(size),
                _ => Err(format!("{name} is {found}, expected 1 to {max}")),
            }
        };
        Ok(Header {
            version,
            dim: size(0, "dim", MAX_DIM)?,
            hidden_dim: size(1, "hidden_dim", MAX_DIM)?,
            n_layers: size(2, "n_layers", MAX_BLOCKS)?,
            n_heads: size(3, "n_heads", MAX_DIM)?,
            n_kv_heads: size(4, "n_kv_heads", MAX_DIM)?,
            vocab_size: size(5, "vocab_size", MAX_VOCAB)?,
            seq_len: size(6, "seq_len", MAX_VOCAB)?,
            is_tied: true,
        })
    }
}

/// Whether a file is one of these: by its magic, or, for version 0, by seven sizes that a model may have.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    let has_magic = bytes.first_chunk::<4>().is_some_and(|magic| u32::from_le_bytes(*magic) == MAGIC);
    has_magic || Header::read(bytes).is_ok()
}

struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn u32(&self, at: usize) -> Result<u32, String> {
        let word = self.0.get(at..).and_then(|rest| rest.first_chunk::<4>());
        word.map(|word| u32::from_le_bytes(*word)).ok_or_else(|| "the header is cut short".to_string())
    }

    fn i32(&self, at: usize) -> Result<i32, String> {
        self.u32(at).map(|word| word as i32)
    }
}
