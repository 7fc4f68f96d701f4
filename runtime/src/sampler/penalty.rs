//! The history that penalties look at.

use super::{SamplerError, SamplerOptions};

/// How often each token occurs in the recent history. Empty, without memory, if no penalty does anything.
#[derive(Clone, Debug, Default)]
pub(super) struct Penalties {
    counts: Vec<u32>, // [vocab_size]
    places: Vec<u32>, // [vocab_size] where a token with a count stands in `seen`
    seen: Vec<u32>,   // tokens with a count; capacity vocab_size
    recent: Vec<u32>, // the last tokens, as a ring of capacity `last_n`; unused if all count
    oldest: usize,    // in `recent`, once it is full
    last_n: Option<usize>,
}

impl Penalties {
    pub(super) fn new(options: &SamplerOptions, vocab_size: usize) -> Result<Penalties, SamplerError> {
        if !options.penalizes() {
            return Ok(Penalties::default());
        }
        let mut penalties = Penalties {
            counts: reserved(vocab_size)?,
            places: reserved(vocab_size)?,
            seen: reserved(vocab_size)?,
            recent: reserved(options.penalty_last_n.unwrap_or(0))?,
            oldest: 0,
            last_n: options.penalty_last_n,
        };
        penalties.counts.resize(vocab_size, 0);
        penalties.places.resize(vocab_size, 0);
        Ok(penalties)
    }

    /// What [`Penalties::restore`] makes the same history of.
    pub(super) fn history(&self) -> History<'_> {
        History { penalties: self, next: 0 }
    }

    /// Adds a token of a saved history; false when such a history cannot be.
    pub(super) fn restore(&mut self, token: u32, count: u32) -> bool {
        match self.last_n {
            _ if self.counts.is_empty() || count == 0 => false,
            Some(last_n) => {
                let fits = count == 1 && self.recent.len() < last_n;
                if fits {
                    self.accept(token);
                }
                fits
            }
            None => {
                let is_new = self.counts[token as usize] == 0;
                if is_new {
                    self.accept(token);
                    self.counts[token as usize] = count;
                }
                is_new
            }
        }
    }

    pub(super) fn accept(&mut self, token: u32) {
        if self.counts.is_empty() {
            return;
        }
        if let Some(last_n) = self.last_n {
            if self.recent.len() < last_n {
                self.recent.push(token);
            } else {
                let forgotten = std::mem::replace(&mut self.recent[self.oldest], token);
                self.oldest = (self.oldest + 1) % last_n;
                self.forget(forgotten);
            }
        }
        let count = &mut self.counts[token as usize];
        if *count == 0 {
            self.places[token as usize] = self.seen.len() as u32;
            self.seen.push(token);
        }
        *count = count.saturating_add(1);
    }

    fn forget(&mut self, token: u32) {
        let count = &mut self.counts[token as usize];
        *count -= 1;
        if *count == 0 {
            let place = self.places[token as usize] as usize;
            self.seen.swap_remove(place);
            if let Some(&moved) = self.seen.get(place) {
                self.places[moved as usize] = place as u32;
            }
        }
    }

    pub(super) fn clear(&mut self) {
        for &token in &self.seen {
            self.counts[token as usize] = 0;
        }
        self.seen.clear();
        self.recent.clear();
        self.oldest = 0;
    }

    pub(super) fn apply(&self, options: &SamplerOptions, logits: &mut [f32]) {
        for &token in &self.seen {
            let logit = &mut logits[token as usize];
            if *logit > 0.0 {
                *logit /= options.repetition_penalty;
            } else {
                *logit *= options.repetition_penalty;
            }
            *logit -= self.counts[token as usize] as f32 * options.frequency_penalty;
            *logit -= options.presence_penalty;
        }
    }
}

/// A history as tokens and how often each counts: those of the window, the oldest first, or each token once with its count.
#[derive(Clone, Debug)]
pub(crate) struct History<'a> {
    penalties: &'a Penalties,
    next: usize,
}

impl Iterator for History<'_> {
    type Item = (u32, u32);

    fn next(&mut self) -> Option<(u32, u32)> {
        let Penalties { counts, seen, recent, oldest, last_n, .. } = self.penalties;
        let at = self.next;
        self.next += 1;
        match last_n {
            Some(_) if at >= recent.len() => None,
            Some(_) => Some((recent[(oldest + at) % recent.len()], 1)),
            None => seen.get(at).map(|&token| (token, counts[token as usize])),
        }
    }
}

fn reserved(n: usize) -> Result<Vec<u32>, SamplerError> {
    let mut v = Vec::new();
    let bytes = n.saturating_mul(size_of::<u32>());
    v.try_reserve_exact(n).map_err(|_| SamplerError::OutOfMemory { bytes })?;
    Ok(v)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(last_n: Option<usize>, tokens: &[u32]) -> Penalties {
        let options =
            SamplerOptions { presence_penalty: 1.0, penalty_last_n: last_n, ..SamplerOptions::neutral() };
        let mut penalties = Penalties::new(&options, 8).unwrap();
        for &token in tokens {
            penalties.accept(token);
        }
        penalties
    }

    /// Against counting anew at each step.
    #[test]
    fn counts_are_those_of_the_window() {
        let tokens = [3, 1, 3, 3, 0, 7, 7, 1, 3, 2, 2, 2, 2, 5, 3, 3, 0];
        for last_n in [Some(1), Some(2), Some(3), Some(5), Some(16), Some(100), None] {
            for end in 0..=tokens.len() {
                let penalties = counted(last_n, &tokens[..end]);
                let window = &tokens[end.saturating_sub(last_n.unwrap_or(end))..end];
                let mut seen = penalties.seen.clone();
                seen.sort_unstable();
                for token in 0..8 {
                    let count = window.iter().filter(|&&t| t == token).count();
                    assert_eq!(penalties.counts[token as usize] as usize, count);
                    assert_eq!(seen.binary_search(&token).is_ok(), count > 0);
                }
            }
        }
    }

    #[test]
    fn a_saved_history_is_the_same_history() {
        let tokens = [3, 1, 3, 3, 0, 7, 7, 1, 3, 2];
        for last_n in [Some(1), Some(3), Some(4), Some(100), None] {
            for end in 0..=tokens.len() {
                let (mut from, mut to) = (counted(last_n, &tokens[..end]), counted(last_n, &[]));
                assert!(from.history().all(|(token, count)| to.restore(token, count)));
                for token in [5, 3, 3, 1, 6] {
                    from.accept(token);
                    to.accept(token);
                    assert_eq!(from.counts, to.counts);
                }
            }
        }
        assert!(!counted(Some(1), &[4]).restore(4, 1), "more than the window holds");
        assert!(!counted(None, &[4]).restore(4, 1), "a token that comes twice");
        assert!(!Penalties::default().restore(4, 1), "penalties that count nothing");
    }

    #[test]
    fn clearing_forgets_everything() {
        let mut penalties = counted(Some(3), &[1, 2, 3, 4]);
        penalties.clear();
        assert_eq!(penalties.counts, [0; 8]);
        penalties.accept(1);
        assert_eq!(penalties.seen, [1]);
    }

    #[test]
    fn neutral_penalties_take_no_memory() {
        let mut penalties = Penalties::new(&SamplerOptions::neutral(), 1_000_000).unwrap();
        penalties.accept(999_999);
        assert_eq!(penalties.counts.capacity() + penalties.seen.capacity(), 0);
    }
}
