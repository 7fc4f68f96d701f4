//! The token cache: a text, tokenized once, in files of bounded size.
//!
//! A cache folder has a folder for each text, split and vocabulary, named by their hash (the key), and in it the shards of the
//! training part, `train-00000.tok` and so on, and of the validation part, `val-00000.tok`. Each stands for the text from where
//! the one before ended ([`shard`](super::shard) has the bytes), so no list of them is needed: tokenizing goes on after the last whole
//! shard, whoever was interrupted when, and one that is damaged is made anew by itself. Another text or vocabulary has another
//! key; nothing is ever overwritten in place. Several trainers can share a folder: the first tokenizes, the others wait for it.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::ThreadPool;
use rayon::prelude::*;
use siskin_format::Vocab;
use siskin_format::xxh64::Xxh64;

use super::encode;
use super::shard::{Kind, Shard};
use super::space;
use super::text::{Split, Text};
use super::tokens::Tokens;
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;

/// Text that a shard stands for, in bytes.
const SHARD: u64 = 256 << 20;
/// Shards of a part at most, each of which is an open file: those of very long texts are larger.
const MAX_SHARDS: u64 = 128;
/// Text that is tokenized to find out how much room all of it needs.
const PROBE: u64 = 1 << 16;
/// Names of the parts, in the order of their numbers.
const PARTS: [&str; 2] = ["train", "val"];
const LOCK: &str = "lock";

/// Where caches lie.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
    shard: u64,
}

/// What is told while a cache is prepared.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// So many bytes of the text are in the cache, the last of which were tokenized now.
    Done(u64),
    /// So many bytes of the text are in the cache, the last of which were there before.
    Found(u64),
    /// Something that a person should know, as one line.
    Note(&'a str),
}

/// A tokenized text.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The part to train on.
    pub train: Tokens,
    /// The part held out for validation; may be empty.
    pub val: Tokens,
}

impl Cache {
    /// Caches in the folder `dir`, which is made when it is needed.
    pub fn new(dir: impl Into<PathBuf>) -> Cache {
        Cache { dir: dir.into(), shard: SHARD }
    }

    /// The cache of a text whose hash is `text_hash`, split and tokenized.
    pub fn entry(&self, text_hash: u64, split: &Split, vocab: &Vocab) -> PathBuf {
        self.dir.join(format!("{:016x}", key(text_hash, split, vocab)))
    }

    /// Removes the caches of other texts, splits and vocabularies than those of `entries`: for a folder that one run has for itself.
    ///
    /// # Errors
    /// A folder that cannot be removed.
    pub fn keep_only(&self, entries: &[PathBuf]) -> Result<()> {
        let Ok(found) = fs::read_dir(&self.dir) else { return Ok(()) };
        for path in found.flatten().map(|entry| entry.path()) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let is_entry = name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit());
            if is_entry && !entries.contains(&path) {
                fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }
}

impl Dataset {
    /// Tokenizes a text whose hash is `text_hash` into the cache, or takes what is there of this very text, split and vocabulary. All
    /// that is taken has been verified.
    ///
    /// Each part is tokenized by itself, so that no token spans the cut. The threads of `pool` encode, or all cores; the caller's
    /// thread writes.
    ///
    /// # Errors
    /// Text that the vocabulary cannot express, with file and line; a disk without room; a cache that cannot be written.
    pub fn prepare(
        text: &Text,
        text_hash: u64,
        split: &Split,
        vocab: &Vocab,
        cache: &Cache,
        pool: Option<&ThreadPool>,
        mut tell: impl FnMut(Event<'_>),
    ) -> Result<Dataset> {
        let dir = cache.entry(text_hash, split, vocab);
        let key = key(text_hash, split, vocab);
        let vocab_size = vocab.len() as u32; // at most 2^20
        let kind = |part| Kind { key, vocab_size, part };
        let parts = [split.train.clone(), split.val.clone()];
        let tokenizer = Tokenizer::from_vocab(vocab).map_err(|e| Error::Data(e.to_string()))?;
        let mut job = Job {
            text,
            tokenizer: &tokenizer,
            pool,
            dir: &dir,
            shard: cache.shard,
            found: HashMap::new(),
            tell: &mut tell,
        };
        job.find(kind);
        let mut shards = [0, 1].map(|part| job.chain(part, &parts[part]));
        let _lock;
        if shards.iter().any(Option::is_none) {
            fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
            _lock = job.lock();
            job.find(kind); // another trainer may have worked on it since
            job.check_room(kind(0), &parts)?;
            for part in [0, 1] {
                shards[part] = Some(job.make(kind(part as u32), &parts[part])?);
            }
        }
        let [train, val] = shards.map(|shards| Tokens::from_shards(shards.unwrap_or_default()));
        Ok(Dataset { train, val })
    }
}

/// The making of one cache.
struct Job<'a> {
    text: &'a Text,
    tokenizer: &'a Tokenizer,
    pool: Option<&'a ThreadPool>,
    dir: &'a Path,
    shard: u64, // bytes of text
    /// Whole shards that were found and have no place yet, by part and number.
    found: HashMap<(usize, usize), Shard>,
    tell: &'a mut dyn FnMut(Event<'_>),
}

impl Job<'_> {
    /// Opens and verifies all shards that are there, on all cores.
    fn find(&mut self, kind: impl Fn(u32) -> Kind + Sync) {
        let names = fs::read_dir(self.dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let places: Vec<_> = names.filter_map(|name| place_of(&name.to_string_lossy())).collect();
        let dir = self.dir;
        let open = || -> Vec<_> {
            let shard =
                |&place: &(usize, usize)| (place, Shard::open(&shard_path(dir, place), kind(place.0 as u32)));
            places.par_iter().map(shard).collect()
        };
        let opened = match self.pool {
            Some(pool) => pool.install(open),
            None => open(),
        };
        self.found.clear();
        for (place, shard) in opened {
            match shard {
                Ok(Some(shard)) => {
                    self.found.insert(place, shard);
                }
                Ok(None) => {}
                Err(what) => {
                    let path = shard_path(dir, place);
                    let line = format!("warning: {} is not used: {what}; it is made anew", path.display());
                    (self.tell)(Event::Note(&line));
                }
            }
        }
    }

    /// All shards of a part, if all were found.
    fn chain(&mut self, part: usize, range: &Range<u64>) -> Option<Vec<Shard>> {
        let (mut at, mut shards) = (range.start, Vec::new());
        while at < range.end {
            let shard = self.take((part, shards.len()), at, range)?;
            at = shard.text().end;
            shards.push(shard);
        }
        Some(shards)
    }

    /// The shard at a place, if it was found and goes on at byte `at`.
    fn take(&mut self, place: (usize, usize), at: u64, range: &Range<u64>) -> Option<Shard> {
        let shard = self.found.remove(&place)?;
        (shard.text().start == at && shard.text().end <= range.end).then_some(shard)
    }

    /// The shards of a part: those that were found, and new ones in the gaps.
    fn make(&mut self, kind: Kind, range: &Range<u64>) -> Result<Vec<Shard>> {
        let part = kind.part as usize;
        let size = self.shard.max((range.end - range.start).div_ceil(MAX_SHARDS)).max(1);
        let (mut at, mut shards) = (range.start, Vec::new());
        while at < range.end {
            let place = (part, shards.len());
            let shard = match self.take(place, at, range) {
                Some(shard) => {
                    (self.tell)(Event::Found(shard.text().end));
                    shard
                }
                None => {
                    let end = range.end.min(at.saturating_add(size));
                    self.write(&shard_path(self.dir, place), kind, at..end, end == range.end)?
                }
            };
            at = shard.text().end;
            shards.push(shard);
        }
        Ok(shards)
    }

    fn write(&mut self, path: &Path, kind: Kind, range: Range<u64>, last: bool) -> Result<Shard> {
        let Job { text, tokenizer, pool, tell, .. } = self;
        Shard::write(path, kind, range.start, |write| {
            encode::each_piece(
                text,
                range,
                last,
                tokenizer,
                *pool,
                |ids| kind.pack(ids),
                |bytes, done| {
                    write(&bytes)?;
                    tell(Event::Done(done));
                    Ok(true)
                },
            )
        })
    }

    /// Refuses to begin what the disk has no room for, by what the first text needs.
    fn check_room(&mut self, kind: Kind, parts: &[Range<u64>; 2]) -> Result<()> {
        let Some(free) = space::free(self.dir) else { return Ok(()) };
        let whole: u64 = parts.iter().map(|range| range.end - range.start).sum();
        let there: u64 = self.found.values().map(|shard| shard.text().end - shard.text().start).sum();
        let probe = parts[0].start..parts[0].end.min(parts[0].start + PROBE);
        let bytes = self.text.read(probe)?;
        let mut ids = Vec::new();
        // Text that cannot be encoded is reported, with its place, when its turn comes.
        let _ = self.tokenizer.encoder().encode_into(&bytes, &mut ids);
        let per_byte = (kind.width() * ids.len()) as f64 / bytes.len().max(1) as f64;
        let needed = per_byte * whole.saturating_sub(there) as f64;
        if needed <= free as f64 {
            return Ok(());
        }
        Err(Error::Data(format!(
            "the tokens of {} need about {:.1} MB more in {}, {:.1} MB are free: make room or name another folder by --cache",
            self.text.name(),
            needed / 1e6,
            self.dir.display(),
            free as f64 / 1e6
        )))
    }

    /// Keeps other trainers from making the same shards; they would do no harm, only the work twice.
    fn lock(&mut self) -> Option<File> {
        let path = self.dir.join(LOCK);
        let file = File::options().write(true).create(true).truncate(false).open(path).ok()?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let line =
                    format!("waiting for another siskin-train, which tokenizes into {}", self.dir.display());
                (self.tell)(Event::Note(&line));
                file.lock().ok()?;
            }
            // A file system without locks.
            Err(TryLockError::Error(_)) => return None,
        }
        Some(file)
    }
}

fn key(text_hash: u64, split: &Split, vocab: &Vocab) -> u64 {
    let mut hash = Xxh64::new();
    for number in [text_hash, split.train.start, split.train.end, split.val.start, split.val.end] {
        hash.update(&number.to_le_bytes());
    }
    hash.update(&vocab.to_bytes());
    hash.finish()
}

/// The file of shard `number` of a part.
fn shard_path(dir: &Path, (part, number): (usize, usize)) -> PathBuf {
    dir.join(format!("{}-{number:05}.tok", PARTS[part]))
}

/// Part and number that a file is named by.
fn place_of(name: &str) -> Option<(usize, usize)> {
    let (part, number) = name.strip_suffix(".tok")?.split_once('-')?;
    let place = (PARTS.iter().position(|name| *name == part)?, number.parse().ok()?);
    (shard_path(Path::new(""), place) == Path::new(name)).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin_format::vocab::VocabKind;

    struct Folder {
        dir: tempfile::TempDir,
        shard: u64,
    }

    /// A cache, and what its making told.
    struct Prepared {
        data: Dataset,
        tokenized: u64,
        notes: Vec<String>,
    }

    impl Folder {
        fn new(shard: u64) -> Folder {
            Folder { dir: tempfile::tempdir().unwrap(), shard }
        }

        fn prepare(&self, text: &[u8], vocab: &Vocab, val_fraction: f64) -> Result<Prepared> {
            let path = self.dir.path().join("text");
            fs::write(&path, text).unwrap();
            let text = Text::open(&[&path])?;
            let (scan, split) = (text.scan()?, text.split(val_fraction)?);
            let (mut last, mut tokenized, mut notes) = (0, 0, Vec::new());
            let cache = Cache { dir: self.cache(), shard: self.shard };
            let data =
                Dataset::prepare(&text, scan.hash, &split, vocab, &cache, None, |event| match event {
                    Event::Found(at) => last = at,
                    Event::Done(at) => {
                        tokenized += at - last;
                        last = at;
                    }
                    Event::Note(line) => notes.push(line.to_string()),
                })?;
            Ok(Prepared { data, tokenized, notes })
        }

        fn cache(&self) -> PathBuf {
            self.dir.path().join("cache")
        }

        /// The shards of all caches, by name.
        fn shards(&self) -> Vec<(PathBuf, Vec<u8>)> {
            let Ok(entries) = fs::read_dir(self.cache()) else { return Vec::new() };
            let files = entries.flat_map(|entry| fs::read_dir(entry.unwrap().path()).unwrap());
            let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
            paths.retain(|path| path.file_name().is_some_and(|name| name != LOCK));
            paths.sort();
            paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
        }
    }

    fn all(tokens: &Tokens) -> Vec<u32> {
        let mut ids = vec![0; tokens.len() as usize];
        tokens.read(0, &mut ids).unwrap();
        ids
    }

    fn bpe(text: &str) -> Vocab {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        fs::write(&path, text).unwrap();
        let text = Text::open(&[path]).unwrap();
        let scan = text.scan().unwrap();
        crate::tokenizer::train(&text, &scan, 0..text.len(), crate::tokenizer::Kind::Bpe, Some(300)).unwrap()
    }

    #[test]
    fn a_text_is_tokenized_once() {
        let folder = Folder::new(SHARD);
        let vocab = Vocab::chars(&['a', 'b', '你'], false).unwrap();
        let first = folder.prepare("abab你你ba".as_bytes(), &vocab, 0.3).unwrap();
        assert_eq!(first.tokenized, 12);
        assert_eq!((all(&first.data.train), all(&first.data.val)), (vec![0, 1, 0, 1, 2, 2], vec![1, 0]));
        let again = folder.prepare("abab你你ba".as_bytes(), &vocab, 0.3).unwrap();
        assert_eq!((again.tokenized, all(&again.data.train)), (0, all(&first.data.train)));
        let nothing_held_out = folder.prepare(b"ab", &vocab, 0.0).unwrap();
        assert!(nothing_held_out.data.val.is_empty());
    }

    #[test]
    fn another_text_split_or_vocabulary_is_tokenized_anew() {
        let folder = Folder::new(SHARD);
        let vocab = Vocab::chars(&['a', 'b', 'c'], false).unwrap();
        let fresh = |text: &str, vocab: &Vocab, val_fraction| {
            folder.prepare(text.as_bytes(), vocab, val_fraction).unwrap().tokenized > 0
        };
        assert!(fresh("abcabcabca", &vocab, 0.2) && !fresh("abcabcabca", &vocab, 0.2));
        assert!(fresh("abcabcabcb", &vocab, 0.2));
        assert!(fresh("abcabcabcb", &vocab, 0.5));
        assert!(fresh("abcabcabcb", &Vocab::chars(&['c', 'a', 'b'], false).unwrap(), 0.5));
        assert!(!fresh("abcabcabca", &vocab, 0.2), "the first is still there");
        assert_eq!(folder.shards().len(), 8);
        let kept = folder.shards()[0].0.parent().unwrap().to_path_buf();
        Cache::new(folder.cache()).keep_only(std::slice::from_ref(&kept)).unwrap();
        assert!(folder.shards().iter().all(|(path, _)| path.starts_with(&kept)));
        assert_eq!(folder.shards().len(), 2);
    }

    /// Shards of any size that holds a word have the tokens of the whole, whatever the threads.
    #[test]
    fn shards_are_a_text_in_pieces() {
        let text = "It's a line, isn't it? 你好，世界 12345\n\n  the end \n".repeat(60);
        let chars = {
            let mut chars: Vec<char> = text.chars().collect();
            chars.sort_unstable();
            chars.dedup();
            Vocab::chars(&chars, false).unwrap()
        };
        for vocab in [bpe(&text), chars, Vocab::bytes()] {
            let whole = Folder::new(SHARD).prepare(text.as_bytes(), &vocab, 0.1).unwrap().data;
            for shard in [200, 701] {
                let (one, three) = (Folder::new(shard), Folder::new(shard));
                let data = one.prepare(text.as_bytes(), &vocab, 0.1).unwrap().data;
                let same = all(&data.train) == all(&whole.train) && all(&data.val) == all(&whole.val);
                assert!(same, "{} in shards of {shard}", vocab.kind().name());
                let most = 2 * MAX_SHARDS as usize;
                assert!((4..=most).contains(&one.shards().len()), "{} of {shard}", one.shards().len());
                let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
                pool.install(|| three.prepare(text.as_bytes(), &vocab, 0.1).unwrap());
                let bytes = |folder: &Folder| folder.shards().into_iter().map(|s| s.1).collect::<Vec<_>>();
                assert_eq!(bytes(&one), bytes(&three));
            }
        }
    }

    #[test]
    fn reads_go_across_shards() {
        let folder = Folder::new(40);
        let text: Vec<u8> = (0..3000u32).map(|i| (i % 251) as u8).collect();
        let data = folder.prepare(&text, &Vocab::bytes(), 0.5).unwrap().data;
        assert!(folder.shards().len() > 60);
        for (at, n) in [(0, 1500), (39, 3), (40, 1), (799, 41), (1499, 1), (700, 0)] {
            let mut ids = vec![0; n];
            data.train.read(at, &mut ids).unwrap();
            assert!(
                ids.iter().zip(&text[at as usize..]).all(|(id, b)| *id == u32::from(*b)),
                "{n} from {at}"
            );
        }
        let mut ids = [0; 5];
        data.val.first(70).read(65, &mut ids).unwrap();
        assert_eq!(ids.map(|id| id as u8), text[1565..1570]);
    }

    #[test]
    fn a_damaged_shard_is_made_anew_and_the_others_stay() {
        let folder = Folder::new(100);
        let text = b"some text that is long enough for several of them\n".repeat(20);
        let vocab = Vocab::bytes();
        let expected = all(&folder.prepare(&text, &vocab, 0.2).unwrap().data.train);
        let good = folder.shards();
        assert_eq!(good.len(), 10);
        let cut = |bytes: &[u8]| bytes[..bytes.len() - 1].to_vec();
        let flipped = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            bytes
        };
        let of_another_place = |_: &[u8]| good[1].1.clone();
        let nothing = |_: &[u8]| Vec::new();
        type Damage<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
        let damages: [Damage<'_>; 4] = [&cut, &flipped, &of_another_place, &nothing];
        for damage in damages {
            fs::write(&good[3].0, damage(&good[3].1)).unwrap();
            let again = folder.prepare(&text, &vocab, 0.2).unwrap();
            assert_eq!((again.tokenized, all(&again.data.train)), (100, expected.clone()));
            assert!(
                again.notes.iter().all(|note| note.contains("train-00003.tok is not used")),
                "{:?}",
                again.notes
            );
            assert_eq!(folder.shards(), good);
        }
    }

    /// Whatever a killed trainer left: whole shards up to some place, and a temporary.
    #[test]
    fn tokenizing_goes_on_after_the_last_whole_shard() {
        let folder = Folder::new(100);
        let text = "the words of a song, over and over again\n".repeat(25);
        let vocab = bpe(&text);
        let expected = folder.prepare(text.as_bytes(), &vocab, 0.1).unwrap().data;
        let good = folder.shards();
        for left in (0..good.len()).rev() {
            good[left..].iter().for_each(|(path, _)| drop(fs::remove_file(path)));
            let torn = good[left]
                .0
                .with_file_name(format!(".{}.tmp-1-0", good[left].0.file_name().unwrap().to_string_lossy()));
            fs::write(&torn, &good[left].1[..60]).unwrap();
            let again = folder.prepare(text.as_bytes(), &vocab, 0.1).unwrap();
            assert!(again.tokenized > 0 && again.tokenized <= 110 * (good.len() - left) as u64);
            assert_eq!(
                (all(&again.data.train), all(&again.data.val)),
                (all(&expected.train), all(&expected.val))
            );
            assert_eq!(folder.shards(), good, "with {left} shards left");
        }
    }

    #[test]
    fn several_can_prepare_the_same_cache_at_once() {
        let folder = Folder::new(64);
        let text = "shared by all of them, and made by one\n".repeat(40);
        let vocab = bpe(&text);
        let path = folder.dir.path().join("text");
        fs::write(&path, &text).unwrap();
        let text = Text::open(&[&path]).unwrap();
        let (hash, split) = (text.scan().unwrap().hash, text.split(0.1).unwrap());
        let cache = Cache { dir: folder.cache(), shard: folder.shard };
        let tokenized = std::sync::Mutex::new(0);
        let ids = std::thread::scope(|scope| {
            let one = || {
                let mut last = 0;
                let data = Dataset::prepare(&text, hash, &split, &vocab, &cache, None, |event| match event {
                    Event::Found(at) => last = at,
                    Event::Done(at) => {
                        *tokenized.lock().unwrap() += at - last;
                        last = at;
                    }
                    Event::Note(line) => assert!(line.starts_with("waiting for another"), "{line}"),
                });
                all(&data.unwrap().train)
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(ids.iter().all(|other| *other == ids[0]));
        assert_eq!(*tokenized.lock().unwrap(), text.len(), "one of them did all the work");
    }

    #[test]
    fn large_vocabularies_take_four_bytes() {
        let folder = Folder::new(SHARD);
        let chars: Vec<char> = ('\u{1}'..).take((1 << 16) + 1).collect();
        let vocab = Vocab::chars(&chars, false).unwrap();
        assert_eq!(vocab.kind(), VocabKind::Char);
        let text: String = [chars[0], chars[1 << 16], chars[65_535]].iter().collect();
        let data = folder.prepare(text.as_bytes(), &vocab, 0.0).unwrap().data;
        assert_eq!(all(&data.train), [0, 1 << 16, 65_535]);
        assert!(data.val.is_empty());
    }

    #[test]
    fn what_the_vocabulary_cannot_express_is_placed() {
        let folder = Folder::new(SHARD);
        let vocab = Vocab::chars(&['a', '\n'], false).unwrap();
        let message = |text: &[u8], val| folder.prepare(text, &vocab, val).map(drop).unwrap_err().to_string();
        let unknown = message("aa\naé".as_bytes(), 0.3);
        assert!(unknown.contains("line 2 (byte 4)") && unknown.contains("'é' (U+00E9)"), "{unknown}");
        assert!(folder.shards().iter().all(|(path, _)| path.ends_with("train-00000.tok")));
        let invalid = message(b"aa\naa\xFFa", 0.1);
        assert!(invalid.contains("line 2 (byte 5)") && invalid.contains("not UTF-8"), "{invalid}");
    }

    #[test]
    fn names_of_shards_are_those_that_are_written() {
        assert_eq!(place_of("train-00012.tok"), Some((0, 12)));
        assert_eq!(place_of("val-00000.tok"), Some((1, 0)));
        for name in [
            "lock",
            "train-12.tok",
            "train-+0012.tok",
            ".train-00012.tok.tmp-1-0",
            "test-00000.tok",
            "train-.tok",
        ] {
            assert_eq!(place_of(name), None, "{name}");
        }
    }
}
