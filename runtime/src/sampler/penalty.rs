//! The history that penalties look at.

use super::SamplerOptions;

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
    pub(super) fn new(options: &SamplerOptions, vocab_size: usize) -> Penalties {
        if !options.penalizes() {
            return Penalties::default();
        }
        Penalties {
            counts: vec![0; vocab_size],
            places: vec![0; vocab_size],
            seen: Vec::with_capacity(vocab_size),
            recent: Vec::with_capacity(options.penalty_last_n.unwrap_or(0)),
            oldest: 0,
            last_n: options.penalty_last_n,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(last_n: Option<usize>, tokens: &[u32]) -> Penalties {
        let options =
            SamplerOptions { presence_penalty: 1.0, penalty_last_n: last_n, ..SamplerOptions::neutral() };
        let mut penalties = Penalties::new(&options, 8);
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
    fn clearing_forgets_everything() {
        let mut penalties = counted(Some(3), &[1, 2, 3, 4]);
        penalties.clear();
        assert_eq!(penalties.counts, [0; 8]);
        penalties.accept(1);
        assert_eq!(penalties.seen, [1]);
    }

    #[test]
    fn neutral_penalties_take_no_memory() {
        let mut penalties = Penalties::new(&SamplerOptions::neutral(), 1_000_000);
        penalties.accept(999_999);
        assert_eq!(penalties.counts.capacity() + penalties.seen.capacity(), 0);
    }
}
