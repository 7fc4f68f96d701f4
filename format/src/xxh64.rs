//! XXH64 by Yann Collet, the checksum of sections and the fingerprint in receipts.
//!
//! It finds damage, not malice: anybody can make a file with matching checksums, so the reader checks every value
//! as if there were none. Written after the specification, "XXH64 Algorithm Description" in
//! `doc/xxhash_spec.md` of the xxHash repository.

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

/// Bytes that the four accumulators take at once.
const STRIPE: usize = 32;

/// The hash of `bytes`, seed 0.
pub fn xxh64(bytes: &[u8]) -> u64 {
    let mut hasher = Xxh64::new();
    hasher.update(bytes);
    hasher.finish()
}

/// A hash over bytes that arrive in pieces, seed 0.
#[derive(Clone, Debug)]
pub struct Xxh64 {
    lanes: [u64; 4],
    pending: [u8; STRIPE],
    n_pending: usize,
    total: u64,
}

impl Default for Xxh64 {
    fn default() -> Self {
        Xxh64::new()
    }
}

impl Xxh64 {
    /// The hash of nothing yet.
    pub fn new() -> Xxh64 {
        let lanes = [P1.wrapping_add(P2), P2, 0, 0u64.wrapping_sub(P1)];
        Xxh64 { lanes, pending: [0; STRIPE], n_pending: 0, total: 0 }
    }

    /// Takes in more bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.total = self.total.wrapping_add(bytes.len() as u64);
        if self.n_pending > 0 {
            let taken = bytes.len().min(STRIPE - self.n_pending);
            self.pending[self.n_pending..self.n_pending + taken].copy_from_slice(&bytes[..taken]);
            self.n_pending += taken;
            bytes = &bytes[taken..];
            if self.n_pending < STRIPE {
                return;
            }
            let stripe = self.pending;
            self.stripe(&stripe);
            self.n_pending = 0;
        }
        let mut stripes = bytes.chunks_exact(STRIPE);
        for stripe in &mut stripes {
            self.stripe(stripe.try_into().expect("chunks of 32"));
        }
        let rest = stripes.remainder();
        self.pending[..rest.len()].copy_from_slice(rest);
        self.n_pending = rest.len();
    }

    fn stripe(&mut self, stripe: &[u8; STRIPE]) {
        for (lane, word) in self.lanes.iter_mut().zip(stripe.chunks_exact(8)) {
            *lane = round(*lane, u64::from_le_bytes(word.try_into().expect("chunks of 8")));
        }
    }

    /// The hash of everything so far.
    pub fn finish(&self) -> u64 {
        let mut hash = if self.total >= STRIPE as u64 { self.merged() } else { P5 };
        hash = hash.wrapping_add(self.total);
        let mut words = self.pending[..self.n_pending].chunks_exact(8);
        for word in &mut words {
            let word = u64::from_le_bytes(word.try_into().expect("chunks of 8"));
            hash = (hash ^ round(0, word)).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
        }
        let mut rest = words.remainder();
        if let Some((half, tail)) = rest.split_first_chunk::<4>() {
            let half = u64::from(u32::from_le_bytes(*half));
            hash = (hash ^ half.wrapping_mul(P1)).rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
            rest = tail;
        }
        for &byte in rest {
            hash = (hash ^ u64::from(byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
        }
        hash = (hash ^ hash >> 33).wrapping_mul(P2);
        hash = (hash ^ hash >> 29).wrapping_mul(P3);
        hash ^ hash >> 32
    }

    fn merged(&self) -> u64 {
        let [a, b, c, d] = self.lanes;
        let mut hash = a
            .rotate_left(1)
            .wrapping_add(b.rotate_left(7))
            .wrapping_add(c.rotate_left(12))
            .wrapping_add(d.rotate_left(18));
        for lane in self.lanes {
            hash = (hash ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4);
        }
        hash
    }
}

fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the reference implementation's self-test (`xsum_sanity_check.c`: bytes from the generator there)
    /// and the well-known ones of the empty string, "a" and "abc".
    #[test]
    fn known_hashes() {
        assert_eq!(xxh64(b""), 0xEF46_DB37_51D8_E999);
        assert_eq!(xxh64(b"a"), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(xxh64(b"abc"), 0x44BC_2CF5_AD77_0999);
        let mut state = 2_654_435_761u64;
        let mut bytes = [0u8; 222];
        for byte in &mut bytes {
            *byte = (state >> 56) as u8;
            state = state.wrapping_mul(11_400_714_785_074_694_797);
        }
        assert_eq!(xxh64(&bytes[..1]), 0xE934_A84A_DB05_2768);
        assert_eq!(xxh64(&bytes[..4]), 0x9136_A0DC_A574_57EE);
        assert_eq!(xxh64(&bytes[..14]), 0x8282_DCC4_994E_35C8);
        assert_eq!(xxh64(&bytes[..222]), 0xB641_AE8C_B691_C174);
    }

    #[test]
    fn pieces_hash_like_the_whole() {
        let bytes: Vec<u8> = (0..300u32).map(|i| (i * 7 % 251) as u8).collect();
        for len in 0..bytes.len() {
            let whole = xxh64(&bytes[..len]);
            for cut in [0, 1, 7, 31, 32, 33, 64, len] {
                let mut pieces = Xxh64::new();
                let (head, tail) = bytes[..len].split_at(cut.min(len));
                pieces.update(head);
                for piece in tail.chunks(5) {
                    pieces.update(piece);
                }
                assert_eq!(pieces.finish(), whole, "{len} bytes cut at {cut}");
            }
        }
    }
}
