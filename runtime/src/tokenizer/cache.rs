//! A cache of words that were encoded before: texts repeat themselves.
//!
//! Direct-mapped and of fixed size: a word that falls on another's place takes it. So memory is bounded and no
//! choice of text makes a look-up slow.

use siskin_format::memory;

const N_ENTRIES: usize = 8192;
const MAX_WORD: usize = 31;
const MAX_IDS: usize = 7;

/// The word's bytes and, in the last byte, its length.
type Key = [u64; 4];

#[derive(Clone, Copy, Default)]
struct Entry {
    key: Key, // all zero if empty: no word has length 0
    ids: [u32; MAX_IDS],
    n_ids: u32,
}

pub(super) struct WordCache {
    entries: Vec<Entry>, // [N_ENTRIES]
}

impl WordCache {
    /// An empty cache; none when the system has no memory for it, as it only saves time.
    pub(super) fn new() -> Option<WordCache> {
        Some(WordCache { entries: memory::repeated(Entry::default(), N_ENTRIES).ok()? })
    }

    /// The ids of the word, if it is here.
    pub(super) fn find(&self, word: &[u8]) -> Option<&[u32]> {
        let key = key(word)?;
        let entry = &self.entries[slot(&key)];
        (entry.key == key).then(|| &entry.ids[..entry.n_ids as usize])
    }

    /// Keeps the ids of a word, unless the word is long.
    pub(super) fn keep(&mut self, word: &[u8], ids: &[u32]) {
        if let (Some(key), true) = (key(word), ids.len() <= MAX_IDS) {
            let entry = &mut self.entries[slot(&key)];
            *entry = Entry { key, n_ids: ids.len() as u32, ..Entry::default() };
            entry.ids[..ids.len()].copy_from_slice(ids);
        }
    }
}

impl std::fmt::Debug for WordCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WordCache").field("entries", &self.entries.len()).finish()
    }
}

fn key(word: &[u8]) -> Option<Key> {
    let mut bytes = [0; 32];
    bytes.get_mut(..word.len()).filter(|_| word.len() <= MAX_WORD)?.copy_from_slice(word);
    bytes[31] = word.len() as u8;
    let mut key = Key::default();
    for (lane, chunk) in key.iter_mut().zip(bytes.chunks_exact(8)) {
        *lane = chunk.iter().rev().fold(0, |lane, &byte| lane << 8 | u64::from(byte));
    }
    Some(key)
}

fn slot(key: &Key) -> usize {
    let hash = key
        .iter()
        .fold(0u64, |hash, &lane| (hash.rotate_left(29) ^ lane).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    (hash >> 32) as usize % N_ENTRIES
}

/// A hash of bytes.
pub(super) fn hash(bytes: &[u8]) -> u32 {
    let words =
        bytes.chunks(8).map(|chunk| chunk.iter().fold(0u64, |word, &byte| word << 8 | u64::from(byte)));
    let mix = |hash: u64, word: u64| (hash.rotate_left(29) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (words.fold(bytes.len() as u64, mix) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_until_another_takes_its_place() {
        let mut cache = WordCache::new().unwrap();
        assert_eq!(cache.find(b"word"), None);
        cache.keep(b"word", &[1, 2, 3]);
        assert_eq!(cache.find(b"word"), Some(&[1, 2, 3][..]));
        for other in [&b"wor"[..], b"word\0", b"Word"] {
            assert_eq!(cache.find(other), None);
        }
        let mut rivals = (0u32..).map(|i| i.to_string().into_bytes());
        let rival = rivals.find(|w| slot(&key(w).unwrap()) == slot(&key(b"word").unwrap())).unwrap();
        cache.keep(&rival, &[4]);
        assert_eq!((cache.find(b"word"), cache.find(&rival)), (None, Some(&[4][..])));
    }

    #[test]
    fn long_words_are_not_kept() {
        let mut cache = WordCache::new().unwrap();
        cache.keep(&[b'x'; 32], &[1]);
        cache.keep(b"eight ids", &[1; 8]);
        assert_eq!((cache.find(&[b'x'; 32]), cache.find(b"eight ids")), (None, None));
        cache.keep(&[b'x'; 31], &[1; 7]);
        assert_eq!(cache.find(&[b'x'; 31]), Some(&[1; 7][..]));
    }
}
