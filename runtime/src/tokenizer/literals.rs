//! Tokens that are looked for literally: user-defined ones always, control and unknown ones where the caller says so.

use super::whole::sort_by_bytes;
use siskin_format::memory::{self, NoMemory};
use siskin_format::vocab::{TokenKind, Vocab};
use std::ops::Range;

/// What a text is not: an index of `sorted`.
const NONE: u32 = u32::MAX;

/// The literal tokens of a vocabulary.
#[derive(Debug)]
pub(super) struct Literals {
    sorted: Vec<Literal>,      // by bytes
    first: Box<[Starts; 256]>, // what begins with each byte
    longest: usize,            // in bytes
}

#[derive(Clone, Copy, Debug)]
struct Literal {
    id: u32,
    parent: u32, // index of the longest other literal that this one begins with, or NONE
    user_defined: bool,
    lstrip: bool,
    rstrip: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Starts {
    range: (u32, u32), // in `sorted`
    user_defined: bool,
}

/// A literal in a text.
pub(super) struct Found {
    pub(super) id: u32,
    /// What it takes of the text, white space around it among it.
    pub(super) range: Range<usize>,
}

impl Literals {
    /// None if the vocabulary has no token that could be looked for.
    pub(super) fn new(vocab: &Vocab) -> Result<Option<Literals>, NoMemory> {
        let bytes = |id: u32| vocab.token(id).unwrap_or_default();
        let mut ids = Vec::new();
        for (id, _) in vocab.tokens().enumerate().filter(|(_, (_, kind))| kind.is_literal()) {
            memory::push(&mut ids, id as u32)?;
        }
        if ids.is_empty() {
            return Ok(None);
        }
        sort_by_bytes(vocab, &mut ids);
        let mut sorted = memory::collect(ids.iter().map(|&id| Literal {
            id,
            parent: NONE,
            user_defined: vocab.token_kind(id) == Some(TokenKind::UserDefined),
            lstrip: vocab.lstrip().binary_search(&id).is_ok(),
            rstrip: vocab.rstrip().binary_search(&id).is_ok(),
        }))?;
        let longest = ids.iter().map(|&id| bytes(id).len()).max().unwrap_or(0);
        let mut first = Box::new([Starts::default(); 256]);
        for i in 0..sorted.len() {
            let text = bytes(sorted[i].id);
            let mut parent = (i as u32).checked_sub(1).unwrap_or(NONE);
            while parent != NONE && !text.starts_with(bytes(sorted[parent as usize].id)) {
                parent = sorted[parent as usize].parent;
            }
            sorted[i].parent = parent;
            let starts = &mut first[text[0] as usize]; // a token is never empty
            starts.range = (if starts.range.1 == 0 { i as u32 } else { starts.range.0 }, i as u32 + 1);
            starts.user_defined |= sorted[i].user_defined;
        }
        Ok(Some(Literals { sorted, first, longest }))
    }

    /// The first literal at or after `from`, the longest of those that begin at one place.
    pub(super) fn find(&self, vocab: &Vocab, text: &[u8], from: usize, specials: bool) -> Option<Found> {
        (from..text.len()).find_map(|at| {
            let literal = self.at(vocab, &text[at..], specials)?;
            let mut range = at..at + vocab.token(literal.id)?.len();
            if literal.lstrip {
                range.start = from + text[from..at].trim_ascii_end().len();
            }
            if literal.rstrip {
                range.end = text.len() - text[range.end..].trim_ascii_start().len();
            }
            Some(Found { id: literal.id, range })
        })
    }

    /// The longest literal that `text` begins with.
    #[inline]
    fn at(&self, vocab: &Vocab, text: &[u8], specials: bool) -> Option<Literal> {
        let starts = &self.first[text[0] as usize];
        if starts.range.1 == 0 || !(specials || starts.user_defined) {
            return None;
        }
        let bytes = |index: u32| vocab.token(self.sorted[index as usize].id).unwrap_or_default();
        let range = &self.sorted[starts.range.0 as usize..starts.range.1 as usize];
        // Whatever `text` begins with is the last literal that is not above it, or one that this begins with.
        let not_above =
            range.partition_point(|literal| vocab.token(literal.id).unwrap_or_default() <= text) as u32;
        let mut index = (starts.range.0 + not_above).checked_sub(1).unwrap_or(NONE);
        if not_above == 0 {
            return None;
        }
        while index != NONE {
            let literal = self.sorted[index as usize];
            if (specials || literal.user_defined) && text.starts_with(bytes(index)) {
                return Some(literal);
            }
            index = literal.parent;
        }
        None
    }

    /// Whether a literal may lie across the end of `text`, or end there.
    pub(super) fn may_touch_end(&self, vocab: &Vocab, text: &[u8], more: &[u8]) -> bool {
        let whole = |at: usize| text[at..].iter().chain(more);
        let starts = text.len().saturating_sub(self.longest)..text.len();
        starts.into_iter().any(|at| {
            let (first, end) = self.first[text[at] as usize].range;
            self.sorted[first as usize..end as usize].iter().any(|literal| {
                let bytes = vocab.token(literal.id).unwrap_or_default();
                bytes.len() >= text.len() - at && bytes.iter().zip(whole(at)).all(|(a, b)| a == b)
            })
        })
    }
}
