//! Whether a list holds something twice, in time that no choice of elements can make long.

use crate::memory::{self, NoMemory};

/// Bits of an entry that hold an index; the others hold a part of its element's hash.
const INDEX_BITS: u32 = 22;
const EMPTY: u32 = u32::MAX;
/// Looks per element, on average, after which a table is given up: somebody chose elements whose hashes meet.
const PATIENCE: usize = 24;

/// The indices of two equal elements of `0..n`, if there are any: the first element that repeats an earlier one, and
/// that one. `n` is below 2^22, equal elements have equal hashes, and `order` sorts indices so that equal elements are
/// neighbours; that serves when hashes meet too often.
pub(super) fn find_twins(
    n: usize,
    hash: impl Fn(usize) -> u64,
    equal: impl Fn(usize, usize) -> bool,
    order: impl Fn(&mut [u32]),
) -> Result<Option<(usize, usize)>, NoMemory> {
    debug_assert!(n < 1 << INDEX_BITS);
    // Twice as many slots as elements where that is little memory, which the reader promises; else little more.
    let n_slots = if n <= 1 << 16 { 2 * n + 8 } else { n + n / 8 };
    let mut slots = memory::repeated(EMPTY, n_slots)?;
    let mut patience = PATIENCE * n.max(64);
    for index in 0..n {
        let hash = hash(index);
        // The upper half says where, the lower half is compared.
        let mut at = (((hash >> 32) * n_slots as u64) >> 32) as usize;
        let entry = (hash as u32) << INDEX_BITS | index as u32;
        loop {
            let found = slots[at];
            if found == EMPTY {
                break;
            }
            let other = (found & ((1 << INDEX_BITS) - 1)) as usize;
            if (found ^ entry) >> INDEX_BITS == 0 && equal(other, index) {
                return Ok(Some((other, index)));
            }
            patience -= 1;
            if patience == 0 {
                slots.truncate(n);
                return Ok(neighbours(slots, equal, order));
            }
            at = if at + 1 < n_slots { at + 1 } else { 0 };
        }
        slots[at] = entry;
    }
    Ok(None)
}

/// The same by sorting, in the memory of `indices`.
fn neighbours(
    mut indices: Vec<u32>,
    equal: impl Fn(usize, usize) -> bool,
    order: impl Fn(&mut [u32]),
) -> Option<(usize, usize)> {
    indices.iter_mut().enumerate().for_each(|(i, index)| *index = i as u32);
    order(&mut indices);
    let pairs = indices.windows(2).map(|pair| (pair[0].min(pair[1]) as usize, pair[0].max(pair[1]) as usize));
    pairs.filter(|&(a, b)| equal(a, b)).min_by_key(|&(_, second)| second)
}

/// A hash of bytes, for [`find_twins`].
pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    // Most tokens are short: words of 8 bytes, the last one overlapping the one before it.
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let half = |at: usize| u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")));
    let n = bytes.len();
    let tail = match n {
        0 => 0,
        1..4 => u64::from(bytes[0]) | u64::from(bytes[n / 2]) << 8 | u64::from(bytes[n - 1]) << 16,
        4..8 => half(0) | half(n - 4) << 32,
        _ => (0..n - 8).step_by(8).fold(0, |hash, at| mix(hash ^ word(at))) ^ word(n - 8),
    };
    mix(tail ^ (n as u64) << 56)
}

/// Spreads the bits of a word: both halves of a product of 128 bits.
pub(super) fn mix(word: u64) -> u64 {
    let product = u128::from(word ^ 0x9e37_79b9_7f4a_7c15) * 0xbf58_476d_1ce4_e5b9;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn twins(words: &[u64], hash: impl Fn(u64) -> u64) -> Option<(usize, usize)> {
        let order = |indices: &mut [u32]| indices.sort_unstable_by_key(|&i| words[i as usize]);
        find_twins(words.len(), |i| hash(words[i]), |a, b| words[a] == words[b], order).unwrap()
    }

    /// The first element that repeats an earlier one, by comparing all.
    fn expected(words: &[u64]) -> Option<(usize, usize)> {
        (0..words.len()).find_map(|b| Some((words[..b].iter().position(|w| *w == words[b])?, b)))
    }

    #[test]
    fn colliding_hashes_are_sorted_out() {
        let mut words: Vec<u64> = (0..3000).collect();
        for hash in [|_| 0u64, |_| u64::MAX, |word| word << 60, mix] {
            assert_eq!(twins(&words, hash), None);
        }
        words[2990] = 17;
        for hash in [|_| 0u64, |_| u64::MAX, |word| word << 60, mix] {
            assert_eq!(twins(&words, hash), Some((17, 2990)));
        }
    }

    proptest! {
        #[test]
        fn twins_are_found(words in prop::collection::vec(0u64..200, 0..60)) {
            prop_assert_eq!(twins(&words, mix), expected(&words));
            prop_assert_eq!(twins(&words, |word| word & 3), expected(&words));
        }

        #[test]
        fn bytes_hash_by_all_of_them(bytes in prop::collection::vec(any::<u8>(), 1..40), at in 0usize..40) {
            let mut other = bytes.clone();
            let at = at % bytes.len();
            other[at] ^= 1;
            prop_assert!(hash_bytes(&bytes) != hash_bytes(&other));
            prop_assert!(hash_bytes(&bytes) != hash_bytes(&bytes[1..]));
        }
    }
}
