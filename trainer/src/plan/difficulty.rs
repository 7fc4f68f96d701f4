//! How hard a text is to predict, by a statistic that takes a fraction of a second.
//!
//! The held-out cross-entropy of an n-gram model: each order is interpolated with the one below it as Witten and Bell do ("The
//! zero-frequency problem", 1991), down to uniform:
//!
//! ```text
//! p(t | c) = (count(c t) + kinds(c) p(t | shorter c)) / (count(c) + kinds(c))
//! ```
//!
//! where kinds(c) is the number of different tokens that followed c. What a small neural model reaches on a text is
//! close to proportional to it (`points.tsv` holds how close).

use crate::data::Tokens;
use crate::error::Result;

/// Tokens of context of the longest n-grams.
const ORDER: usize = 4;
/// Most tokens that are counted, and that are predicted.
const COUNTED: u64 = 1 << 17;
const PREDICTED: u64 = 1 << 14;
/// Pieces, spread over the text, that they are taken from: a text's beginning is not the text.
const PIECES: u64 = 16;

/// How hard a text is, nats per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difficulty {
    /// By what follows what: n-grams of up to four tokens of context.
    pub by_context: f64,
    /// By how frequent each token is, whatever stands before it.
    pub by_frequency: f64,
}

impl Difficulty {
    /// Whether what stands before a token says next to nothing of it, so that no model will do better than frequencies. Natural texts are
    /// far from it: 1.90 by context and 3.32 by frequency of Shakespeare's characters.
    pub fn is_noise(self) -> bool {
        self.by_context >= 0.98 * self.by_frequency && self.by_frequency > 0.0
    }
}

/// Nats per token of pieces of `val`, by n-grams counted in pieces of `train`; of the last of these where nothing is held out.
/// `vocab_size` is that of the tokenizer.
///
/// # Errors
/// A damaged token cache.
pub fn difficulty(train: &Tokens, val: &Tokens, vocab_size: usize) -> Result<Difficulty> {
    let mut seen = read(train, COUNTED)?;
    let mut unseen = read(val, PREDICTED)?;
    if unseen.len() < 2 {
        unseen = seen.split_off(seen.len() - seen.len() / 8);
    }
    let [by_context, by_frequency] =
        [ORDER, 0].map(|order| NGrams::count(&seen, vocab_size, order).cross_entropy(&unseen));
    Ok(Difficulty { by_context, by_frequency })
}

fn read(tokens: &Tokens, most: u64) -> Result<Vec<u32>> {
    if tokens.len() <= most {
        let mut ids = vec![0; tokens.len() as usize];
        tokens.read(0, &mut ids)?;
        return Ok(ids);
    }
    let mut ids = vec![0; most as usize];
    let piece = most / PIECES;
    for (i, ids) in ids.chunks_exact_mut(piece as usize).enumerate() {
        tokens.read(i as u64 * (tokens.len() - piece) / (PIECES - 1), ids)?;
    }
    Ok(ids)
}

struct NGrams {
    vocab_size: usize,
    /// Tokens of context of the longest.
    order: usize,
    /// By context and token: how often.
    pairs: Counts,
    /// By context: how often, and followed by how many kinds of tokens.
    contexts: Counts,
}

impl NGrams {
    fn count(ids: &[u32], vocab_size: usize, order: usize) -> Self {
        let room = ids.len() * (order + 1);
        let [pairs, contexts] = [room, room].map(Counts::with_room);
        let mut grams = NGrams { vocab_size, order, pairs, contexts };
        for at in 0..ids.len() {
            each_context(ids, at, order, |context| {
                let pair = grams.pairs.at(hash(context, ids[at]));
                pair.total += 1;
                let new = pair.total == 1;
                let context = grams.contexts.at(context);
                context.total += 1;
                context.kinds += u32::from(new);
            });
        }
        grams
    }

    /// Nats per token.
    fn cross_entropy(&self, ids: &[u32]) -> f64 {
        let surprise = |at: usize| {
            let mut p = 1.0 / self.vocab_size.max(1) as f64;
            each_context(ids, at, self.order, |context| {
                let Count { total, kinds, .. } = self.contexts.get(context);
                if total > 0 {
                    let count = f64::from(self.pairs.get(hash(context, ids[at])).total);
                    p = (count + f64::from(kinds) * p) / f64::from(total + kinds);
                }
            });
            // Not -ln p, which is -0 of what is certain.
            (0.0 - p.ln()).max(0.0)
        };
        (0..ids.len()).map(surprise).sum::<f64>() / ids.len().max(1) as f64
    }
}

/// The hash of no context: large, so that no token alone leads back to it.
const NO_CONTEXT: u64 = 0x2545_F491_4F6C_DD1D;

/// Calls `f` with a hash of the 0, 1, .. `order` tokens before `at`.
fn each_context(ids: &[u32], at: usize, order: usize, mut f: impl FnMut(u64)) {
    let mut context = NO_CONTEXT;
    f(context);
    for back in 1..=order.min(at) {
        context = hash(context, ids[at - back]);
        f(context);
    }
}

/// A hash of both; never 0.
fn hash(context: u64, token: u32) -> u64 {
    let x = (context ^ (u64::from(token) + 1)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) | 1
}

/// How often something occurred.
#[derive(Clone, Copy, Default)]
struct Count {
    key: u64, // 0 where the slot is free
    total: u32,
    kinds: u32,
}

/// Counts by a key that is not 0, open addressing.
struct Counts {
    slots: Vec<Count>,
}

impl Counts {
    /// Room for `n` keys.
    fn with_room(n: usize) -> Self {
        Counts { slots: vec![Count::default(); (2 * n).next_power_of_two().max(16)] }
    }

    fn place(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut i = (key >> 7) as usize & mask;
        while self.slots[i].key != 0 && self.slots[i].key != key {
            i = (i + 1) & mask;
        }
        i
    }

    fn at(&mut self, key: u64) -> &mut Count {
        let i = self.place(key);
        self.slots[i].key = key;
        &mut self.slots[i]
    }

    fn get(&self, key: u64) -> Count {
        self.slots[self.place(key)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn of(train: Vec<u32>, val: Vec<u32>, vocab_size: usize) -> f64 {
        both(train, val, vocab_size).by_context
    }

    fn both(train: Vec<u32>, val: Vec<u32>, vocab_size: usize) -> Difficulty {
        difficulty(&Tokens::from_vec(train), &Tokens::from_vec(val), vocab_size).unwrap()
    }

    #[test]
    fn noise_has_the_entropy_of_noise_and_repetition_none() {
        let mut rng = Rng::new(3);
        let mut noise = |n: usize| -> Vec<u32> { (0..n).map(|_| rng.below(8) as u32).collect() };
        let found = of(noise(60_000), noise(4_000), 8);
        assert!((2.07..2.3).contains(&found), "ln 8 is 2.079, and 4,096 contexts are rare ones: {found}");
        let found = both(noise(60_000), noise(4_000), 8);
        assert!(found.is_noise() && (2.07..2.09).contains(&found.by_frequency), "{found:?}");
        let same = both(vec![0; 500], vec![0; 50], 1);
        assert!(!same.is_noise() && same.by_context.is_sign_positive() && same.by_context == 0.0, "{same:?}");
        let again: Vec<u32> = (0..9_000).map(|i| i % 9).collect();
        assert!(of(again.clone(), again, 9) < 0.01);
    }

    #[test]
    fn what_depends_on_two_tokens_before_is_seen() {
        // Every third bit is the exclusive or of the two coins before it.
        let mut rng = Rng::new(1);
        let mut ids: Vec<u32> = Vec::new();
        for i in 0..40_000 {
            let place = 2 * (i % 3);
            let bit = if i % 3 < 2 { rng.below(2) as u32 } else { (ids[i - 1] ^ ids[i - 2]) & 1 };
            ids.push(bit + place as u32);
        }
        let val = ids.split_off(36_000);
        let (found, coins) = (of(ids, val, 6), 2.0 / 3.0 * 2f64.ln());
        assert!(
            (0.99 * coins..1.1 * coins).contains(&found),
            "{found}, two coins of three tokens are {coins}"
        );
    }

    #[test]
    fn no_token_is_taken_for_the_lack_of_a_context() {
        let mut contexts: Vec<u64> = (0..70_000).map(|token| hash(NO_CONTEXT, token)).collect();
        contexts.push(NO_CONTEXT);
        contexts.sort_unstable();
        contexts.dedup();
        assert_eq!(contexts.len(), 70_001);
    }

    #[test]
    fn a_text_without_a_held_out_part_is_its_own_measure() {
        let ids: Vec<u32> = (0..4_000).map(|i| i % 5).collect();
        assert!(of(ids, Vec::new(), 5) < 0.05);
        assert!(of(vec![1, 2], Vec::new(), 5).is_finite());
    }
}
