//! The token cache: a text, tokenized once, in a file that is mapped.
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | 8 bytes | `siskinTK` |
//! | 8 | u32 | version = 1 |
//! | 12 | u32 | vocabulary size |
//! | 16 | u64 | key: hash of the text, of where it is split, and of the vocabulary |
//! | 24 | u64 | training tokens |
//! | 32 | u64 | validation tokens |
//! | 40 | u32 | bytes per token: 2 up to 65,536 tokens in the vocabulary, else 4 |
//! | 44 | u32 | 0 |
//! | 48 | u64 | 0 |
//! | 56 | u64 | XXH64 of the bytes before |
//! | 64 | | the ids: training part, then validation part |
//!
//! All numbers are little-endian. The file is written under another name and renamed when it is complete, so what
//! stands at its name is whole; another text or vocabulary has another key and is tokenized anew.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use siskin_format::atomic::AtomicFile;
use siskin_format::xxh64::{Xxh64, xxh64};
use siskin_format::{MappedFile, Vocab};

use super::encode;
use super::text::{Split, Text, TextScan};
use super::tokens::{MappedTokens, Store, Tokens};
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;

const MAGIC: &[u8; 8] = b"siskinTK";
const VERSION: u32 = 1;
const HEADER_LEN: usize = 64;

/// A tokenized text.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The part to train on.
    pub train: Tokens,
    /// The part held out for validation; may be empty.
    pub val: Tokens,
    /// Bytes of text that `train` stands for.
    pub train_bytes: u64,
    /// Bytes of text that `val` stands for: nats per token × tokens / bytes / ln 2 are bits per byte.
    pub val_bytes: u64,
}

impl Dataset {
    /// Tokenizes a text into the cache file `cache`, or takes what is there if it is of this very text, split and
    /// vocabulary. `progress` is told the bytes done so far.
    ///
    /// Each part is tokenized by itself, so that no token spans the cut.
    ///
    /// # Errors
    /// Text that the vocabulary cannot express, with file and line; a cache that cannot be written.
    pub fn prepare(
        text: &Text,
        scan: &TextScan,
        split: &Split,
        vocab: &Vocab,
        cache: &Path,
        mut progress: impl FnMut(u64),
    ) -> Result<Dataset> {
        let key = key(scan, split, vocab);
        let (header, file) = match open(cache, key) {
            Some(found) => found,
            None => {
                write(text, split, vocab, key, cache, &mut progress)?;
                open(cache, key)
                    .ok_or_else(|| Error::Data(format!("{} changed while it was written", cache.display())))?
            }
        };
        let store = Arc::new(Store::Mapped(MappedTokens {
            path: cache.to_path_buf(),
            file,
            offset: HEADER_LEN,
            wide: header.wide,
            vocab_size: header.vocab_size,
        }));
        let n_all = header.n_train + header.n_val;
        Ok(Dataset {
            train: Tokens::new(Arc::clone(&store), 0..header.n_train),
            val: Tokens::new(store, header.n_train..n_all),
            train_bytes: split.train.end - split.train.start,
            val_bytes: split.val.end - split.val.start,
        })
    }
}

#[derive(Debug, PartialEq)]
struct Header {
    vocab_size: u32,
    key: u64,
    n_train: u64,
    n_val: u64,
    wide: bool,
}

impl Header {
    fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.vocab_size.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.key.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.n_train.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.n_val.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.width().to_le_bytes());
        let sum = xxh64(&bytes[..56]);
        bytes[56..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None` unless these are exactly the bytes that this version writes.
    fn from_bytes(bytes: &[u8]) -> Option<Header> {
        let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let header = Header {
            vocab_size: u32_at(12)?,
            key: u64_at(16)?,
            n_train: u64_at(24)?,
            n_val: u64_at(32)?,
            wide: u32_at(40)? == 4,
        };
        (bytes.get(..HEADER_LEN)? == header.to_bytes()).then_some(header)
    }

    fn width(&self) -> u32 {
        if self.wide { 4 } else { 2 }
    }

    fn file_len(&self) -> Option<u64> {
        let tokens = self.n_train.checked_add(self.n_val)?;
        tokens.checked_mul(self.width().into())?.checked_add(HEADER_LEN as u64)
    }
}

fn key(scan: &TextScan, split: &Split, vocab: &Vocab) -> u64 {
    let mut hash = Xxh64::new();
    for number in [scan.hash, split.train.start, split.train.end, split.val.start, split.val.end] {
        hash.update(&number.to_le_bytes());
    }
    hash.update(&vocab.to_bytes());
    hash.finish()
}

/// The cache, if it is there, whole, and of this key.
fn open(path: &Path, key: u64) -> Option<(Header, MappedFile)> {
    let file = MappedFile::open(path).ok()?;
    let header = Header::from_bytes(&file)?;
    (header.key == key && header.file_len() == Some(file.len() as u64)).then_some((header, file))
}

fn write(
    text: &Text,
    split: &Split,
    vocab: &Vocab,
    key: u64,
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let tokenizer = Tokenizer::from_vocab(vocab).map_err(|e| Error::Data(e.to_string()))?;
    let vocab_size = vocab.len() as u32; // at most 2^20
    let mut header = Header { vocab_size, key, n_train: 0, n_val: 0, wide: vocab_size > 1 << 16 };
    let mut file = AtomicFile::create(path).map_err(|e| Error::Data(e.to_string()))?;
    file.write_all(&header.to_bytes()).map_err(Error::io("write", path))?;
    let mut bytes = Vec::new();
    for (range, count) in [(split.train.clone(), &mut header.n_train), (split.val.clone(), &mut header.n_val)]
    {
        let wide = header.wide;
        encode::each_piece(text, range, &tokenizer, progress, |ids| {
            bytes.clear();
            for &id in ids {
                match wide {
                    true => bytes.extend_from_slice(&id.to_le_bytes()),
                    false => bytes.extend_from_slice(&(id as u16).to_le_bytes()),
                }
            }
            *count += ids.len() as u64;
            file.write_all(&bytes).map_err(Error::io("write", path))
        })?;
    }
    file.seek(SeekFrom::Start(0)).map_err(Error::io("write", path))?;
    file.write_all(&header.to_bytes()).map_err(Error::io("write", path))?;
    file.commit().map_err(|e| Error::Data(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Folder {
        dir: tempfile::TempDir,
    }

    impl Folder {
        fn new() -> Folder {
            Folder { dir: tempfile::tempdir().unwrap() }
        }

        fn prepare(&self, text: &[u8], vocab: &Vocab, val_fraction: f64) -> Result<(Dataset, bool)> {
            let path = self.dir.path().join("text");
            fs::write(&path, text).unwrap();
            let text = Text::open(&[&path])?;
            let (scan, split) = (text.scan()?, text.split(val_fraction)?);
            let mut tokenized = false;
            let cache = self.cache();
            let data = Dataset::prepare(&text, &scan, &split, vocab, &cache, |_| tokenized = true)?;
            Ok((data, tokenized))
        }

        fn cache(&self) -> std::path::PathBuf {
            self.dir.path().join("tokens")
        }
    }

    fn all(tokens: &Tokens) -> Vec<u32> {
        let mut ids = vec![0; tokens.len() as usize];
        tokens.read(0, &mut ids).unwrap();
        ids
    }

    #[test]
    fn a_text_is_tokenized_once() {
        let folder = Folder::new();
        let vocab = Vocab::chars(&['a', 'b', '你'], false).unwrap();
        let (data, tokenized) = folder.prepare("abab你你ba".as_bytes(), &vocab, 0.3).unwrap();
        assert!(tokenized);
        assert_eq!((all(&data.train), all(&data.val)), (vec![0, 1, 0, 1, 2, 2], vec![1, 0]));
        assert_eq!((data.train_bytes, data.val_bytes), (10, 2));
        let (again, tokenized) = folder.prepare("abab你你ba".as_bytes(), &vocab, 0.3).unwrap();
        assert!(!tokenized);
        assert_eq!(all(&again.train), all(&data.train));
    }

    #[test]
    fn another_text_split_or_vocabulary_is_tokenized_anew() {
        let folder = Folder::new();
        let vocab = Vocab::chars(&['a', 'b', 'c'], false).unwrap();
        let fresh = |text: &str, vocab: &Vocab, val_fraction| {
            folder.prepare(text.as_bytes(), vocab, val_fraction).unwrap().1
        };
        assert!(fresh("abcabcabca", &vocab, 0.2) && !fresh("abcabcabca", &vocab, 0.2));
        assert!(fresh("abcabcabcb", &vocab, 0.2));
        assert!(fresh("abcabcabcb", &vocab, 0.5));
        assert!(fresh("abcabcabcb", &Vocab::chars(&['c', 'a', 'b'], false).unwrap(), 0.5));
    }

    #[test]
    fn a_damaged_cache_is_not_used() {
        let folder = Folder::new();
        let vocab = Vocab::bytes();
        let text = b"some text that is long enough";
        folder.prepare(text, &vocab, 0.2).unwrap();
        let good = fs::read(folder.cache()).unwrap();
        assert_eq!(good.len(), HEADER_LEN + 2 * text.len());
        for at in 0..HEADER_LEN {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            fs::write(folder.cache(), bad).unwrap();
            assert!(folder.prepare(text, &vocab, 0.2).unwrap().1, "byte {at}");
        }
        for len in [0, 10, HEADER_LEN, good.len() - 1] {
            fs::write(folder.cache(), &good[..len]).unwrap();
            assert!(folder.prepare(text, &vocab, 0.2).unwrap().1, "{len} bytes");
        }
        let mut bad = good.clone();
        bad[HEADER_LEN + 1] = 7; // token 7 * 256 + 's'
        fs::write(folder.cache(), bad).unwrap();
        let (data, _) = folder.prepare(text, &vocab, 0.2).unwrap();
        let message = data.train.read(0, &mut [0; 4]).unwrap_err().to_string();
        assert!(message.contains("holds token 1907 of a vocabulary of 256: it is damaged"), "{message}");
    }

    #[test]
    fn large_vocabularies_take_four_bytes() {
        let folder = Folder::new();
        let chars: Vec<char> = ('\u{1}'..).take((1 << 16) + 1).collect();
        let vocab = Vocab::chars(&chars, false).unwrap();
        let text: String = [chars[0], chars[1 << 16], chars[65_535]].iter().collect();
        let (data, _) = folder.prepare(text.as_bytes(), &vocab, 0.0).unwrap();
        assert_eq!(all(&data.train), [0, 1 << 16, 65_535]);
        assert!(data.val.is_empty());
    }

    #[test]
    fn what_the_vocabulary_cannot_express_is_placed() {
        let folder = Folder::new();
        let vocab = Vocab::chars(&['a', '\n'], false).unwrap();
        let message = folder.prepare("aa\naé".as_bytes(), &vocab, 0.3).unwrap_err().to_string();
        assert!(message.contains("line 2 (byte 4)") && message.contains("'é' (U+00E9)"), "{message}");
        assert!(!folder.cache().exists());
        let message = folder.prepare(b"aa\naa\xFFa", &vocab, 0.1).unwrap_err().to_string();
        assert!(message.contains("line 2 (byte 5)") && message.contains("not UTF-8"), "{message}");
    }
}
