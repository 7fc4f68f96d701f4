//! Byte-pair encoding (Sennrich, Haddow, Birch 2016): of all neighbouring pairs in a word, the one whose merge has
//! the best rank is merged, the leftmost first, until no pair has a merge. Distinct merges may share a rank: those of
//! SentencePiece do that make the same piece or pieces of equal scores.

use super::sentencepiece::Pieces;
use super::whole::WholeWords;
use super::{TokenizerError, byte_id, byte_ids};
use siskin_format::memory::{self, NoMemory};
use siskin_format::vocab::{Merge, PreTokenizer, TokenKind, Vocab, VocabKind};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Words up to this length are merged by scanning for the best pair; longer ones with a heap.
const SCAN_UP_TO: usize = 96;
/// The rank of a pair that has no merge.
const NO_RANK: u32 = u32::MAX;
/// Rank of a pair's merge, and the token that it makes.
type Found = (u32, u32);
/// What a pair without a merge has.
const NO_MERGE: Found = (NO_RANK, 0);

/// The merges of a vocabulary, in the form that look-ups want.
///
/// Merges are sorted by (left, right), with an index by left id: a look-up is a binary search whose time no
/// vocabulary can make long, unlike that of a hash table whose keys a hostile file chose.
#[derive(Debug)]
pub(super) struct Bpe {
    alphabet: Alphabet,
    starts: Vec<u32>, // [vocab_size + 1] where the merges of each left id begin in `rights`
    rights: Vec<(u32, u32)>, // [n_merges] (right id, rank)
    results: Vec<u32>, // [n_merges] beside `rights`
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
        for (at, merge) in merges.iter().enumerate() {
            let end = &mut ends[merge.left as usize];
            rights[*end as usize] = (merge.right, at as u32);
            *end += 1;
        }
        for id in 0..vocab.len() {
            rights[starts[id] as usize..starts[id + 1] as usize].sort_unstable();
        }
        let shared = vocab.kind() == VocabKind::SentencePiece;
        let ranks = if shared { shared_ranks(vocab)? } else { Vec::new() };
        let mut results = memory::with_capacity(merges.len())?;
        for (_, rank) in &mut rights {
            let at = *rank as usize;
            results.push(merges[at].result);
            *rank = ranks.get(at).copied().unwrap_or(*rank);
        }
        Ok(Bpe {
            alphabet: match shared {
                true => Alphabet::Pieces(Box::new(Pieces::new(vocab)?)),
                false => Alphabet::Bytes(byte_ids(vocab, TokenKind::Normal)),
            },
            starts,
            rights,
            results,
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

    /// Rank and result of the merge of a pair; `NO_MERGE` if it has none. Both ids are tokens of the vocabulary.
    fn find(&self, left: u32, right: u32) -> Found {
        let start = self.starts[left as usize] as usize;
        let merges = &self.rights[start..self.starts[left as usize + 1] as usize];
        match merges.binary_search_by_key(&right, |&(right, _)| right) {
            Ok(found) => (merges[found].1, self.results[start + found]),
            Err(_) => NO_MERGE,
        }
    }
}

/// The rank of every merge of SentencePiece, which takes the pair whose result has the best score, the leftmost of equals: that
/// of the first with the same result, which has the rank of the merge before it if their results' scores are equal.
fn shared_ranks(vocab: &Vocab) -> Result<Vec<u32>, NoMemory> {
    let mut firsts = memory::repeated(NO_RANK, vocab.len())?; // by result
    let score = |id: u32| vocab.scores().map(|scores| scores[id as usize]);
    let mut before = None;
    memory::collect(vocab.merges().iter().enumerate().map(|(at, &Merge { result, .. })| {
        let first = &mut firsts[result as usize];
        if *first == NO_RANK {
            *first = match before {
                Some((rank, last)) if score(last).is_some() && score(last) == score(result) => rank,
                _ => at as u32,
            };
        }
        before = Some((*first, result));
        *first
    }))
}

/// The working memory of merging; kept between words.
#[derive(Debug, Default)]
pub(super) struct Merger {
    unk: Option<u32>,
    ids: Vec<u32>,
    found: Vec<Found>, // for the pair that begins at each id
    links: Vec<Link>,  // long words only
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
    result: u32,
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
        let Merger { ids, found, .. } = self;
        found.clear();
        memory::reserve(found, ids.len())?;
        found.extend(ids.windows(2).map(|pair| bpe.find(pair[0], pair[1])));
        while let Some((at, result)) = best(found) {
            ids[at] = result;
            ids.remove(at + 1);
            found.remove(at);
            if at > 0 {
                found[at - 1] = bpe.find(ids[at - 1], ids[at]);
            }
            if at < found.len() {
                found[at] = bpe.find(ids[at], ids[at + 1]);
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
            let (rank, result) = bpe.find(left, right);
            (rank != NO_RANK).then_some(Reverse(Candidate { rank, at, left, right, result }))
        };
        let mut buffer = std::mem::take(heap);
        buffer.clear();
        memory::reserve(&mut buffer, ids.len())?;
        buffer.extend((1..n).filter_map(|next| candidate(ids, next - 1, next)));
        let mut queue = BinaryHeap::from(buffer);
        while let Some(Reverse(Candidate { at, left, right, result, .. })) = queue.pop() {
            let Link { prev, next } = links[at as usize];
            // Ids of places that were merged away stay in `ids`, so DEAD has to be asked for first.
            if next == DEAD || next == END || ids[at as usize] != left || ids[next as usize] != right {
                continue;
            }
            queue
                .try_reserve(2)
                .map_err(|_| NoMemory { bytes: size_of::<Candidate>() * (queue.len() + 2) })?;
            ids[at as usize] = result;
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

/// Where the best rank is, the leftmost of equals, and the result; `None` if no pair has a merge.
fn best(found: &[Found]) -> Option<(usize, u32)> {
    let (mut at, mut best) = (0, NO_MERGE);
    for (i, &found) in found.iter().enumerate() {
        if found.0 < best.0 {
            (at, best) = (i, found);
        }
    }
    (best.0 != NO_RANK).then_some((at, best.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use siskin_format::vocab::{SpecialIds, VocabParts};

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
        match &bpe.alphabet {
            Alphabet::Bytes(alphabet) => merger.ids.extend(word.bytes().map(|b| alphabet[b as usize])),
            Alphabet::Pieces(pieces) => pieces.push(word.as_bytes(), &[], 0, &mut merger.ids).unwrap(),
        }
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

    /// SentencePiece's vocabulary of pieces with scores, with every merge of it in the order of the scores.
    fn scored(pieces: &[(&str, f32)], keep_scores: bool) -> Vocab {
        let id = |text: &str| pieces.iter().position(|(piece, _)| *piece == text).map(|id| id as u32);
        let mut merges = Vec::new();
        for (result, (piece, _)) in pieces.iter().enumerate() {
            for at in 1..piece.len() {
                if let (Some(left), Some(right)) = (id(&piece[..at]), id(&piece[at..])) {
                    merges.push(Merge { left, right, result: result as u32 });
                }
            }
        }
        let score = |merge: &Merge| pieces[merge.result as usize].1;
        merges.sort_by(|a, b| score(b).total_cmp(&score(a))); // stable: of equal scores in the order of the ids
        Vocab::new(VocabParts {
            kind: VocabKind::SentencePiece,
            tokens: pieces.iter().map(|(piece, _)| (piece.as_bytes().to_vec(), TokenKind::Normal)).collect(),
            scores: keep_scores.then(|| pieces.iter().map(|&(_, score)| score).collect()),
            merges,
            ..VocabParts::default()
        })
        .unwrap()
    }

    /// The definition: of all neighbours that make a piece the pair whose piece has the best score, the leftmost of equals.
    fn by_definition(pieces: &[(&str, f32)], word: &str) -> Vec<String> {
        let mut parts: Vec<String> = word.chars().map(String::from).collect();
        loop {
            let mut best: Option<(usize, f32)> = None;
            for at in 1..parts.len() {
                let joined = format!("{}{}", parts[at - 1], parts[at]);
                let score = pieces.iter().find(|(piece, _)| *piece == joined).map(|&(_, score)| score);
                if let Some(score) = score
                    && best.is_none_or(|(_, s)| score > s)
                {
                    best = Some((at, score));
                }
            }
            let Some((at, _)) = best else { return parts };
            let right = parts.remove(at);
            parts[at - 1] += &right;
        }
    }

    #[test]
    fn of_pieces_with_equal_scores_the_leftmost_goes_first() {
        let pieces = [("a", 0.0), ("b", 0.0), ("c", 0.0), ("bc", -1.0), ("ab", -1.0), ("ca", -2.0)];
        assert_eq!(both(&scored(&pieces, true), "abc"), ["ab", "c"]);
        assert_eq!(both(&scored(&pieces, true), "bcabc"), ["bc", "ab", "c"]);
        let long = "abc".repeat(SCAN_UP_TO);
        assert_eq!(both(&scored(&pieces, true), &long), by_definition(&pieces, &long));
        // Without scores the merges' order is all that says which is better.
        assert_eq!(both(&scored(&pieces, false), "abc"), ["a", "bc"]);
        // Zeros are equal whatever their signs.
        let pieces = [("a", 0.0), ("b", 0.0), ("c", 0.0), ("bc", 0.0), ("ab", -0.0)];
        assert_eq!(both(&scored(&pieces, true), "abc"), ["ab", "c"]);
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

        #[test]
        fn scores_are_taken_as_sentencepiece_takes_them(
            texts in Just(vec![
                "aa", "ab", "bc", "ca", "cc", "aaa", "aab", "abc", "bca", "cab", "aaaa", "abab", "abca", "bcbc", "abcab",
            ]).prop_shuffle(),
            scores in prop::collection::vec(-3i32..=0, 15),
            n in 0usize..=15,
            word in "[abc]{0,120}",
        ) {
            let mut pieces = vec![("a", 0.0), ("b", 0.0), ("c", 0.0)];
            pieces.extend(texts.iter().copied().zip(scores.iter().map(|&score| score as f32)).take(n));
            prop_assert_eq!(both(&scored(&pieces, true), &word), by_definition(&pieces, &word));
        }
    }
}
