//! Text files of any size, read as one stream.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use siskin_format::xxh64::Xxh64;

use crate::error::{Error, Result};

/// How much of a text is in memory at a time while it is scanned.
const CHUNK: usize = 1 << 20;

/// One or several files, one after the other, as one text.
#[derive(Clone, Debug)]
pub struct Text {
    files: Vec<TextFile>,
    len: u64,
}

#[derive(Clone, Debug)]
struct TextFile {
    path: PathBuf,
    start: u64, // where it begins in the text
    len: u64,
}

/// What one pass over a text finds out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextScan {
    /// Hash of all bytes (XXH64).
    pub hash: u64,
    /// Hash of each file by itself (XXH64).
    pub file_hashes: Vec<u64>,
    /// The characters that occur, sorted by code point.
    pub chars: Vec<char>,
    /// Position of the first byte that is not UTF-8.
    pub invalid_utf8: Option<u64>,
}

/// A text cut in two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Bytes to train on.
    pub train: Range<u64>,
    /// Bytes held out for validation; may be empty.
    pub val: Range<u64>,
}

impl Text {
    /// Looks at the files; they are read later, piece by piece.
    ///
    /// # Errors
    /// A file that is missing or not a regular file; nothing in all of them.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Text> {
        let mut files = Vec::new();
        let mut len = 0;
        for path in paths {
            let path = path.as_ref();
            let found = fs::metadata(path).map_err(Error::io("read", path))?;
            if !found.is_file() {
                let what = if found.is_dir() { "a directory" } else { "no regular file" };
                return Err(Error::Data(format!("{} is {what}: name a text file", path.display())));
            }
            files.push(TextFile { path: path.to_path_buf(), start: len, len: found.len() });
            len += found.len();
        }
        let text = Text { files, len };
        match len {
            0 => Err(Error::Data(format!("{} is empty: nothing to train on", text.name()))),
            _ => Ok(text),
        }
    }

    /// Length in bytes; never 0.
    #[allow(clippy::len_without_is_empty)] // a text is never empty
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The file's path, or how many files they are.
    pub fn name(&self) -> String {
        match &self.files[..] {
            [] => "the text".into(),
            [file] => file.path.display().to_string(),
            files => format!("the text of {} files", files.len()),
        }
    }

    /// Reads part of the text in order.
    ///
    /// # Panics
    /// If the range is not within the text.
    pub fn reader(&self, range: Range<u64>) -> TextReader<'_> {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} bytes", self.len);
        TextReader { text: self, file: None, range }
    }

    /// Part of the text, in memory.
    ///
    /// # Errors
    /// A file that cannot be read, or that has become shorter.
    ///
    /// # Panics
    /// If the range is not within the text.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let len = (range.end - range.start) as usize;
        let mut bytes = Vec::new();
        let mut reader = self.reader(range);
        while bytes.len() < len && reader.fill(&mut bytes, len)? > 0 {}
        Ok(bytes)
    }

    /// The files that make the text: path, length in bytes.
    pub fn files(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.files.iter().map(|file| (file.path.as_path(), file.len))
    }

    /// One pass over all bytes: hashes, characters, validity.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn scan(&self) -> Result<TextScan> {
        self.scan_watched(&mut |_| ())
    }

    /// As [`Text::scan`]; `progress` is told the bytes done so far.
    ///
    /// # Errors
    /// As [`Text::scan`].
    pub fn scan_watched(&self, progress: &mut dyn FnMut(u64)) -> Result<TextScan> {
        let mut reader = self.reader(0..self.len);
        let (mut hashes, mut chars, mut invalid_utf8) = (Hashes::of(self), CharSet::new(), None);
        let mut buffer = Vec::with_capacity(CHUNK);
        let mut done = 0; // bytes before the buffer
        loop {
            let kept = buffer.len();
            let n = reader.fill(&mut buffer, CHUNK)?;
            // Each of the two takes about as long as reading does.
            let (seen, ()) = rayon::join(
                || chars.take(&buffer, n == 0, |at| invalid_utf8 = invalid_utf8.or(Some(done + at as u64))),
                || hashes.update(done + kept as u64, &buffer[kept..]),
            );
            done += seen as u64;
            buffer.drain(..seen);
            progress(done);
            if n == 0 {
                let (hash, file_hashes) = hashes.finish();
                return Ok(TextScan { hash, file_hashes, chars: chars.sorted(), invalid_utf8 });
            }
        }
    }

    /// The last `val_fraction` of the bytes, cut between characters, is for validation.
    ///
    /// # Errors
    /// A fraction outside [0, 1), or a part that is left without text.
    pub fn split(&self, val_fraction: f64) -> Result<Split> {
        if !(0.0..1.0).contains(&val_fraction) {
            let problem = format!("{val_fraction} is not a fraction from 0 up to, but not including, 1");
            return Err(Error::Setting { key: "val_fraction", problem });
        }
        if val_fraction == 0.0 {
            return Ok(Split { train: 0..self.len, val: self.len..self.len });
        }
        // 1 - fraction, so that 0.1 of 10 bytes cuts at 9, as the first 90 % would.
        let cut = (self.len as f64 * (1.0 - val_fraction)) as u64;
        let mut around = Vec::new();
        self.reader(cut..self.len.min(cut + 4)).fill(&mut around, 4)?;
        let inside = around.iter().take_while(|&&byte| byte & 0xC0 == 0x80).count() as u64;
        let cut = if inside < 4 { cut + inside } else { cut }; // four in a row are no UTF-8
        if cut == 0 || cut >= self.len {
            return Err(Error::Data(format!(
                "{} has {} bytes, too few to hold out {val_fraction} of them: give more text or a larger fraction",
                self.name(),
                self.len
            )));
        }
        Ok(Split { train: 0..cut, val: cut..self.len })
    }

    /// The file, line and byte of a position, for messages.
    pub fn place(&self, at: u64) -> String {
        let file = self.files.iter().rev().find(|file| file.start <= at);
        let Some(file) = file else { return format!("byte {at}") };
        let mut newlines = 0;
        let mut reader = self.reader(file.start..at.min(self.len));
        let mut buffer = Vec::new();
        while matches!(reader.fill(&mut buffer, CHUNK), Ok(1..)) {
            newlines += buffer.iter().filter(|&&byte| byte == b'\n').count();
            buffer.clear();
        }
        format!("{} line {} (byte {})", file.path.display(), newlines + 1, at - file.start)
    }
}

/// Reads part of a [`Text`] from its beginning to its end.
#[derive(Debug)]
pub struct TextReader<'a> {
    text: &'a Text,
    file: Option<(usize, File)>, // index, positioned at range.start
    range: Range<u64>,           // still to be read
}

impl TextReader<'_> {
    /// Appends bytes until `buffer` has `len` of them or the part ends; returns how many came.
    ///
    /// # Errors
    /// A file that cannot be read, or is shorter than it was.
    pub fn fill(&mut self, buffer: &mut Vec<u8>, len: usize) -> Result<usize> {
        let before = buffer.len();
        while buffer.len() < len && !self.range.is_empty() {
            let file = self.text.files.iter().rposition(|f| f.start <= self.range.start).unwrap_or(0);
            let TextFile { path, start, len: file_len } = &self.text.files[file];
            let left = self.range.end.min(start + file_len) - self.range.start;
            let want = left.min((len - buffer.len()) as u64);
            let opened = match self.file.take() {
                Some((index, opened)) if index == file => opened,
                _ => {
                    let mut opened = File::open(path).map_err(Error::io("read", path))?;
                    let at = SeekFrom::Start(self.range.start - start);
                    opened.seek(at).map_err(Error::io("read", path))?;
                    opened
                }
            };
            let n = (&opened).take(want).read_to_end(buffer).map_err(Error::io("read", path))? as u64;
            if n < want {
                return Err(Error::Data(format!(
                    "{} became shorter while it was read: start again when it is complete",
                    path.display()
                )));
            }
            self.file = Some((file, opened));
            self.range.start += n;
        }
        Ok(buffer.len() - before)
    }

    /// Whether everything was read.
    pub fn at_end(&self) -> bool {
        self.range.is_empty()
    }
}

/// One bit per code point: 136 KiB, whatever the text.
struct CharSet {
    bits: Vec<u64>,
}

impl CharSet {
    fn new() -> CharSet {
        CharSet { bits: vec![0; 0x11_0000 / 64] }
    }

    fn insert(&mut self, c: char) {
        self.bits[c as usize / 64] |= 1 << (c as usize % 64);
    }

    /// Takes the characters of `bytes` in and says how many bytes that were: a character that goes on in what follows
    /// is left, unless nothing `is_last`. `invalid` is told where bytes are no UTF-8.
    fn take(&mut self, bytes: &[u8], is_last: bool, mut invalid: impl FnMut(usize)) -> usize {
        let mut seen = 0;
        while seen < bytes.len() {
            let error = std::str::from_utf8(&bytes[seen..]).err();
            let valid = error.map_or(bytes.len() - seen, |e| e.valid_up_to());
            self.insert_all(std::str::from_utf8(&bytes[seen..seen + valid]).unwrap_or_default());
            seen += valid;
            match error.map(|e| e.error_len()) {
                None => {}
                Some(None) if !is_last => break,
                Some(len) => {
                    invalid(seen);
                    seen += len.unwrap_or(bytes.len() - seen);
                }
            }
        }
        seen
    }

    fn insert_all(&mut self, text: &str) {
        // Most text is ASCII, whose bytes need no decoding.
        let mut seen = [false; 256];
        text.bytes().for_each(|byte| seen[usize::from(byte)] = true);
        (0..128u8).filter(|&byte| seen[usize::from(byte)]).for_each(|byte| self.insert(byte.into()));
        if !text.is_ascii() {
            text.chars().filter(|c| !c.is_ascii()).for_each(|c| self.insert(c));
        }
    }

    fn sorted(&self) -> Vec<char> {
        let has = |c: &char| self.bits[*c as usize / 64] >> (*c as usize % 64) & 1 == 1;
        ('\0'..=char::MAX).filter(has).collect()
    }
}

/// Hashes of a text and of each of its files, made in one pass.
struct Hashes {
    whole: Xxh64,
    /// Where each file ends, and its hash; none of a single file, whose hash is that of the whole.
    files: Vec<(u64, Xxh64)>,
}

impl Hashes {
    fn of(text: &Text) -> Self {
        let several = if text.files.len() > 1 { &text.files[..] } else { &[] };
        let files = several.iter().map(|file| (file.start + file.len, Xxh64::new())).collect();
        Hashes { whole: Xxh64::new(), files }
    }

    fn update(&mut self, mut at: u64, mut bytes: &[u8]) {
        self.whole.update(bytes);
        for (end, hash) in &mut self.files {
            let n = end.saturating_sub(at).min(bytes.len() as u64);
            hash.update(&bytes[..n as usize]);
            bytes = &bytes[n as usize..];
            at += n;
        }
    }

    fn finish(self) -> (u64, Vec<u64>) {
        let whole = self.whole.finish();
        match self.files.is_empty() {
            true => (whole, vec![whole]),
            false => (whole, self.files.iter().map(|(_, hash)| hash.finish()).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn text(parts: &[&[u8]]) -> (tempfile::TempDir, Text) {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..parts.len()).map(|i| dir.path().join(format!("{i}.txt"))).collect();
        for (path, part) in paths.iter().zip(parts) {
            File::create(path).unwrap().write_all(part).unwrap();
        }
        let text = Text::open(&paths).unwrap();
        (dir, text)
    }

    #[test]
    fn files_are_one_text() {
        let (_dir, text) = text(&[b"abc", b"", b"defg", b"h"]);
        assert_eq!(text.len(), 8);
        for start in 0..=8u64 {
            for end in start..=8 {
                for step in 1..4 {
                    let mut reader = text.reader(start..end);
                    let mut all = Vec::new();
                    let mut piece = Vec::new();
                    while reader.fill(&mut piece, step).unwrap() > 0 {
                        all.append(&mut piece);
                    }
                    assert!(reader.at_end());
                    assert_eq!(all, b"abcdefgh"[start as usize..end as usize]);
                }
            }
        }
        let scan = text.scan().unwrap();
        let hashes = [&b"abc"[..], b"", b"defg", b"h"].map(siskin_format::xxh64::xxh64);
        assert_eq!(scan.hash, siskin_format::xxh64::xxh64(b"abcdefgh"));
        assert_eq!(scan.file_hashes, hashes);
    }

    #[test]
    fn characters_across_files_and_chunks() {
        let mut long = vec![b'a'; CHUNK - 1];
        long.extend_from_slice("é你".as_bytes());
        let (_dir, text) = text(&[&long, &"🙂".as_bytes()[..2], &"🙂".as_bytes()[2..]]);
        let scan = text.scan().unwrap();
        assert_eq!(scan.chars, ['a', 'é', '你', '🙂']);
        assert_eq!(scan.invalid_utf8, None);
    }

    #[test]
    fn the_first_invalid_byte_is_found() {
        let mut long = vec![b'a'; CHUNK - 1];
        long.push(0xE4);
        long.extend_from_slice(b"b\xFF");
        for (bytes, expected) in
            [(&b"ab\xFFc\xFE"[..], 2), (b"\xE4\xBD", 0), (b"ok\xF0\x9F\x99", 2), (&long, CHUNK as u64 - 1)]
        {
            let (_dir, text) = text(&[bytes]);
            assert_eq!(text.scan().unwrap().invalid_utf8, Some(expected));
        }
    }

    #[test]
    fn places_name_file_and_line() {
        let (dir, text) = text(&[b"a\nb\n", b"c\nd"]);
        let path = |i: usize| dir.path().join(format!("{i}.txt")).display().to_string();
        assert_eq!(text.place(2), format!("{} line 2 (byte 2)", path(0)));
        assert_eq!(text.place(4), format!("{} line 1 (byte 0)", path(1)));
        assert_eq!(text.place(6), format!("{} line 2 (byte 2)", path(1)));
    }

    #[test]
    fn the_split_falls_between_characters() {
        let (_dir, ascii) = text(&[&[b'x'; 1000]]);
        assert_eq!(ascii.split(0.1).unwrap(), Split { train: 0..900, val: 900..1000 });
        assert_eq!(ascii.split(0.0).unwrap(), Split { train: 0..1000, val: 1000..1000 });
        let (_dir, chinese) = text(&["你好世界".as_bytes()]);
        for (fraction, cut) in [(0.9, 3), (0.7, 3), (0.6, 6), (0.5, 6), (0.3, 9)] {
            assert_eq!(chinese.split(fraction).unwrap().train, 0..cut, "{fraction}");
        }
        assert!(matches!(chinese.split(0.1), Err(Error::Data(_)))); // inside the last character
        for fraction in [1.0, -0.1, f64::NAN] {
            assert!(matches!(ascii.split(fraction), Err(Error::Setting { key: "val_fraction", .. })));
        }
        let (_dir, tiny) = text(&[b"x"]);
        assert!(tiny.split(0.1).unwrap_err().to_string().contains("has 1 bytes, too few"));
    }

    #[test]
    fn missing_and_empty_texts_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("no.txt");
        let message = Text::open(&[&missing]).unwrap_err().to_string();
        assert!(message.contains("no.txt"), "{message}");
        let empty = dir.path().join("empty.txt");
        File::create(&empty).unwrap();
        let message = Text::open(&[&empty, &empty]).unwrap_err().to_string();
        assert!(message.ends_with("is empty: nothing to train on"), "{message}");
        let message = Text::open(&[dir.path()]).unwrap_err().to_string();
        assert!(message.ends_with("is a directory: name a text file"), "{message}");
    }
}
