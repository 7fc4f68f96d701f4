//! Byte-pair encoding (Sennrich, Haddow, Birch 2016): of all neighbouring pairs in a word, the one whose merge has
//! the best rank is merged, the leftmost first, until no pair has a merge.

use super::sentencepiece::Pieces;
use super::whole::WholeWords;
use super::{TokenizerError, byte_id, byte_ids};
use siskin_format::memory::{self, NoMemory};
use siskin_format::vocab::{PreTokenizer, TokenKind, Vocab, VocabKind};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Words up to this length are merged by scanning for the best pair; longer ones with a heap.
const SCAN_UP_TO: usize = 96;
/// The rank of a pair that has no merge.
const NO_RANK: u32 = u32::MAX;

/// The merges of a vocabulary, in the form that look-ups want.
///
/// Merges are sorted by (left, right), with an index by left id: a look-up is a binary search whose time no
/// vocabulary can make long, unlike that of a hash table whose keys a hostile file chose.
#[derive(Debug)]
pub(super) struct Bpe {
    alphabet: Alphabet,
    starts: Vec<u32>, // [vocab_size + 1] where the merges of each left id begin in `rights`
    rights: Vec<(u32, u32)>, // [n_merges] (right id, rank)
    results: Vec<u32>, // [n_merges] by rank
    pre_tokenizer: PreTokenizer,
    whole_words: Option<WholeWords>,
}

/// What merges start from.
#[derive(Debug)]
enum Alphabet {
    Bytes(Box<[u32; 256]>), // id of each byte, or NO_ID
    Pieces(Box<Pieces>),
}

impl Bpe {
    pub(super) fn new(vocab: &Vocab) -> Result<Bpe, NoMemory> {
        let merges = vocab.merges();
        let mut starts = memory::repeated(0, vocab.len() + 1)?;
        for merge in merges {
            starts[merge.left as usize + 1] += 1;
        }
        for id in 0..vocab.len() {
            starts[id + 1] += starts[id];
        }
        // Counted by left id, so that only the few merges of each have to be sorted.
        let mut ends = memory::collect(starts.iter().copied())?;
        let mut rights = memory::repeated((0, 0), merges.len())?;
        // SentencePiece's merges share the rank of the first with the same result.
        let shared = vocab.kind() == VocabKind::SentencePiece;
        let mut first_ranks = memory::repeated(NO_RANK, if shared { vocab.len() } else { 0 })?;
        for (rank, merge) in merges.iter().enumerate() {
            let rank = match first_ranks.get_mut(merge.result as usize) {
                Some(first) => {
                    *first = (rank as u32).min(*first);
                    *first
                }
                None => rank as u32,
            };
            let end = &mut ends[merge.left as usize];
            rights[*end as usize] = (merge.right, rank);
            *end += 1;
        }
        for id in 0..vocab.len() {
            rights[starts[id] as usize..starts[id + 1] as usize].sort_unstable();
        }
        Ok(Bpe {
            alphabet: match shared {
                true => Alphabet::Pieces(Box::new(Pieces::new(vocab)?)),
                false => Alphabet::Bytes(byte_ids(vocab, TokenKind::Normal)),
            },
            starts,
            rights,
            results: memory::collect(merges.iter().map(|merge| merge.result))?,
            pre_tokenizer: vocab.pre_tokenizer(),
            whole_words: vocab.ignore_merges().then(|| WholeWords::new(vocab)).transpose()?,
        })
    }

    /// SentencePiece's alphabet, if the vocabulary has it.
    pub(super) fn pieces(&self) -> Option<&Pieces> {
        match &self.alphabet {
            Alphabet::Bytes(_) => None,
            Alphabet::Pieces(pieces) => Some(pieces),
        }
    }

    pub(super) fn pre_tokenizer(&self) -> PreTokenizer {
        self.pre_tokenizer
    }

    /// Rank of the merge of a pair, or `NO_RANK`. Both ids are tokens of the vocabulary.
    fn rank(&self, left: u32, right: u32) -> u32 {
        let merges =
            &self.rights[self.starts[left as usize] as usize..self.starts[left as usize + 1] as usize];
        match merges.binary_search_by_key(&right, |&(right, _)| right) {
            Ok(found) => merges[found].1,
            Err(_) => NO_RANK,
        }
    }
}

/// The working memory of merging; kept between words.
#[derive(Debug, Default)]
pub(super) struct Merger {
    unk: Option<u32>,
    ids: Vec<u32>,
    ranks: Vec<u32>,  // of the pair that begins at each id
    links: Vec<Link>, // long words only
    heap: Vec<Reverse<Candidate>>,
}

/// Neighbours of a place in a long word.
#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32, // END after the last; DEAD if the place was merged into the one before
}

const END: u32 = u32::MAX;
const DEAD: u32 = u32::MAX - 1;

/// A pair that may be merged, ordered by rank, then by place. Stale once a neighbour was merged, which its ids show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    at: u32,
    left: u32,
    right: u32,
}

impl Merger {
    /// Sets what stands for bytes that the vocabulary does not have.
    pub(super) fn set_unk(&mut self, unk: Option<u32>) {
        self.unk = unk;
    }

    /// Appends the ids of one word, which begins at byte `at` of `text`; with SentencePiece's dummy prefix before it if
    /// `prefixed`.
    #[inline(never)] // or it stands in the program once for every caller
    pub(super) fn encode_word(
        &mut self,
        (vocab, bpe): (&Vocab, &Bpe),
        (text, at, len): (&[u8], usize, usize),
        prefixed: bool,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let word = &text[at..at + len];
        if len >= DEAD as usize {
            return Err(TokenizerError::WordTooLong { len });
        }
        if let Some(id) = bpe.whole_words.as_ref().and_then(|words| words.find(vocab, word)) {
            return Ok(memory::push(out, id)?);
        }
        self.ids.clear();
        memory::reserve(&mut self.ids, len)?;
        match &bpe.alphabet {
            Alphabet::Bytes(alphabet) => {
                for (i, &byte) in word.iter().enumerate() {
                    self.ids.push(byte_id(alphabet, self.unk, byte, at + i)?);
                }
            }
            Alphabet::Pieces(pieces) => {
                if prefixed {
                    pieces.push(b" ", text, at, &mut self.ids)?;
                }
                pieces.push(word, text, at, &mut self.ids)?;
            }
        }
        if self.ids.len() <= SCAN_UP_TO {
            self.merge_short(bpe)?;
        } else {
            self.merge_long(bpe)?;
        }
        memory::reserve(out, self.ids.len())?;
        out.extend_from_slice(&self.ids);
        Ok(())
    }

    /// Quadratic, but with the smallest of constants.
    fn merge_short(&mut self, bpe: &Bpe) -> Result<(), NoMemory> {
        let Merger { ids, ranks, .. } = self;
        ranks.clear();
        memory::reserve(ranks, ids.len())?;
        ranks.extend(ids.windows(2).map(|pair| bpe.rank(pair[0], pair[1])));
        while let Some((at, rank)) = best(ranks) {
            ids[at] = bpe.results[rank as usize];
            ids.remove(at + 1);
            ranks.remove(at);
            if at > 0 {
                ranks[at - 1] = bpe.rank(ids[at - 1], ids[at]);
            }
            if at < ranks.len() {
                ranks[at] = bpe.rank(ids[at], ids[at + 1]);
            }
        }
        Ok(())
    }

    /// O(n log n): a heap of candidates over a linked list.
    fn merge_long(&mut self, bpe: &Bpe) -> Result<(), NoMemory> {
        let Merger { ids, links, heap, .. } = self;
        let n = ids.len() as u32; // below DEAD
        links.clear();
        memory::reserve(links, ids.len())?;
        links.extend(
            (0..n).map(|i| Link { prev: i.wrapping_sub(1), next: if i + 1 < n { i + 1 } else { END } }),
        );
        let candidate = |ids: &[u32], at: u32, next: u32| {
            let (left, right) = (ids[at as usize], ids[next as usize]);
            let rank = bpe.rank(left, right);
            (rank != NO_RANK).then_some(Reverse(Candidate { rank, at, left, right }))
        };
        let mut buffer = std::mem::take(heap);
        buffer.clear();
        memory::reserve(&mut buffer, ids.len())?;
        buffer.extend((1..n).filter_map(|next| candidate(ids, next - 1, next)));
        let mut queue = BinaryHeap::from(buffer);
        while let Some(Reverse(Candidate { rank, at, left, right })) = queue.pop() {
            let Link { prev, next } = links[at as usize];
            // Ids of places that were merged away stay in `ids`, so DEAD has to be asked for first.
            if next == DEAD || next == END || ids[at as usize] != left || ids[next as usize] != right {
                continue;
            }
            queue
                .try_reserve(2)
                .map_err(|_| NoMemory { bytes: size_of::<Candidate>() * (queue.len() + 2) })?;
            ids[at as usize] = bpe.results[rank as usize];
            let after = links[next as usize].next;
            links[next as usize].next = DEAD;
            links[at as usize].next = after;
            if after != END {
                links[after as usize].prev = at;
                queue.extend(candidate(ids, at, after));
            }
            if prev != END {
                queue.extend(candidate(ids, prev, at));
            }
        }
        let mut kept = 0;
        for i in 0..links.len() {
            if links[i].next != DEAD {
                ids[kept] = ids[i];
                kept += 1;
            }
        }
        ids.truncate(kept);
        *heap = queue.into_vec();
        Ok(())
    }
}

/// The best rank and where it is, the leftmost of equals; `None` if no pair has a merge.
fn best(ranks: &[u32]) -> Option<(usize, u32)> {
    let (mut at, mut rank) = (0, NO_RANK);
    for (i, &r) in ranks.iter().enumerate() {
        if r < rank {
            (at, rank) = (i, r);
        }
    }
    (rank != NO_RANK).then_some((at, rank))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use siskin_format::vocab::{Merge, SpecialIds, VocabKind, VocabParts};

    /// A vocabulary over the bytes a, b, c with the merges of the given pairs of tokens, in order.
    fn vocab(pairs: &[(&str, &str)]) -> Vocab {
        let mut tokens: Vec<(Vec<u8>, TokenKind)> =
            "abc".bytes().map(|b| (vec![b], TokenKind::Normal)).collect();
        let mut merges: Vec<Merge> = Vec::new();
        for (left, right) in pairs {
            let joined = format!("{left}{right}").into_bytes();
            if !tokens.iter().any(|(bytes, _)| *bytes == joined) {
                tokens.push((joined.clone(), TokenKind::Normal));
            }
            let id = |bytes: &[u8]| tokens.iter().position(|(b, _)| b == bytes).unwrap() as u32;
            merges.push(Merge {
                left: id(left.as_bytes()),
                right: id(right.as_bytes()),
                result: id(&joined),
            });
        }
        Vocab::new(VocabParts {
            kind: VocabKind::Bpe,
            pre_tokenizer: PreTokenizer::None,
            tokens,
            scores: None,
            merges,
            special: SpecialIds::default(),
            ..VocabParts::default()
        })
        .unwrap()
    }

    fn both(vocab: &Vocab, word: &str) -> Vec<String> {
        let bpe = Bpe::new(vocab).unwrap();
        let mut merger = Merger::default();
        let Alphabet::Bytes(alphabet) = &bpe.alphabet else { panic!("bytes") };
        merger.ids.extend(word.bytes().map(|b| alphabet[b as usize]));
        let ids = merger.ids.clone();
        merger.merge_short(&bpe).unwrap();
        let short = merger.ids.clone();
        merger.ids = ids;
        merger.merge_long(&bpe).unwrap();
        assert_eq!(merger.ids, short, "{word}");
        short.iter().map(|&id| String::from_utf8(vocab.token(id).unwrap().to_vec()).unwrap()).collect()
    }

    #[test]
    fn the_best_rank_goes_first_and_the_leftmost_of_equals() {
        let vocab = vocab(&[("a", "b"), ("b", "c"), ("ab", "c"), ("a", "a")]);
        assert_eq!(both(&vocab, "abc"), ["abc"]);
        assert_eq!(both(&vocab, "bcab"), ["bc", "ab"]);
        assert_eq!(both(&vocab, "aaa"), ["aa", "a"]);
        assert_eq!(both(&vocab, "aaab"), ["aa", "ab"]);
        assert_eq!(both(&vocab, "c"), ["c"]);
    }

    /// Merges of a token may have better ranks than the merge that made it: then the freshly made pair goes first.
    #[test]
    fn ranks_need_not_follow_the_order_of_making() {
        let vocab = vocab(&[("a", "b"), ("ab", "c"), ("b", "c"), ("a", "bc")]);
        assert_eq!(both(&vocab, "abcbc"), ["abc", "bc"]);
    }

    #[test]
    fn an_unknown_byte_is_an_error_or_unk() {
        let vocab = vocab(&[("a", "b")]);
        let bpe = Bpe::new(&vocab).unwrap();
        let (mut merger, mut ids) = (Merger::default(), Vec::new());
        let error = merger.encode_word((&vocab, &bpe), (b"--abx", 2, 3), false, &mut ids).unwrap_err();
        assert_eq!(error, TokenizerError::UnknownByte { byte: b'x', at: 4 });
        merger.set_unk(Some(2));
        merger.encode_word((&vocab, &bpe), (b"abx", 0, 3), false, &mut ids).unwrap();
        assert_eq!(ids, [3, 2]);
    }

    proptest! {
        #[test]
        fn scanning_and_the_heap_agree(
            order in Just(vec![
                ("a", "b"), ("b", "c"), ("a", "a"), ("c", "c"), ("ab", "c"), ("a", "bc"), ("aa", "aa"), ("bc", "bc"),
                ("aa", "b"), ("abc", "abc"), ("cc", "ab"), ("ab", "ab"),
            ]).prop_shuffle(),
            word in "[abc]{0,120}",
        ) {
            // Keep the merges whose parts exist by then: any subset in any order is a vocabulary.
            let mut known: Vec<String> = vec!["a".into(), "b".into(), "c".into()];
            let mut pairs = Vec::new();
            for (left, right) in order {
                if known.iter().any(|k| k == left) && known.iter().any(|k| k == right) {
                    known.push(format!("{left}{right}"));
                    pairs.push((left, right));
                }
            }
            both(&vocab(&pairs), &word);
        }
    }
}
