//! The trainer's random numbers: xoshiro256++ seeded by SplitMix64.
//!
//! Everything random in training (initial weights, shuffling, dropout, sampling) draws from an [`Rng`] whose
//! whole state is four words, so a checkpoint can hold it and a resumed run draws what the uninterrupted run
//! would have drawn. The generator is Blackman and Vigna, "Scrambled linear pseudorandom number generators"
//! (ACM TOMS 47, 2021); the seeding is the one they recommend. It is not for cryptography.

/// A xoshiro256++ generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    s: [u64; 4],
}

/// One step of SplitMix64: advances `state` and returns 64 well-mixed bits.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The generator of `seed`; equal seeds give equal numbers.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Rng { s: std::array::from_fn(|_| split_mix(&mut state)) }
    }

    /// The generator of one stream of `seed`: use it to draw independently per purpose, step or shard
    /// (dropout of shard 3 must not depend on what shard 2 drew).
    pub fn stream(seed: u64, stream: u64) -> Self {
        let mut state = stream;
        Rng::new(seed ^ split_mix(&mut state))
    }

    /// The whole state, for a checkpoint.
    pub fn state(&self) -> [u64; 4] {
        self.s
    }

    /// The generator that continues from `state`. The all-zero state, which xoshiro cannot leave and no
    /// generator here ever reaches, is refused with `None`.
    pub fn from_state(state: [u64; 4]) -> Option<Self> {
        (state != [0; 4]).then_some(Rng { s: state })
    }

    /// 64 uniform bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.s;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// Uniform in [0, 1) with 53 random bits.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [0, 1) with 24 random bits: never rounds up to 1.
    #[inline]
    pub fn uniform_f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// Standard normal (Box and Muller 1958). Two uniforms a draw and nothing kept between draws, so that the
    /// four words stay the whole state.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Uniform in `0..n` without bias (Lemire, "Fast random integer generation in an interval", 2019).
    ///
    /// # Panics
    /// If `n` is 0.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "below(0) has no value to return");
        let mut product = u128::from(self.next_u64()) * u128::from(n);
        if (product as u64) < n {
            let threshold = n.wrapping_neg() % n;
            while (product as u64) < threshold {
                product = u128::from(self.next_u64()) * u128::from(n);
            }
        }
        (product >> 64) as u64
    }

    /// Shuffles in place (Fisher and Yates): every order equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reference: the C code published by Blackman and Vigna, run from the state 1, 2, 3, 4.
    #[test]
    fn the_published_sequence() {
        let mut rng = Rng::from_state([1, 2, 3, 4]).unwrap();
        let got: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
        assert_eq!(got, [41943041, 58720359, 3588806011781223, 3591011842654386]);
    }

    /// Reference: Vigna's splitmix64.c from the state 1234567.
    #[test]
    fn the_published_seeding() {
        let mut state = 1234567;
        assert_eq!(split_mix(&mut state), 6457827717110365317);
        assert_eq!(split_mix(&mut state), 3203168211198807973);
    }

    #[test]
    fn a_restored_state_continues() {
        let mut rng = Rng::new(7);
        rng.normal();
        let mut again = Rng::from_state(rng.state()).unwrap();
        assert_eq!(rng.next_u64(), again.next_u64());
        assert!(Rng::from_state([0; 4]).is_none());
    }

    #[test]
    fn streams_differ() {
        let first: Vec<u64> = (0..1000).map(|i| Rng::stream(7, i).next_u64()).collect();
        let mut unique = first.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), first.len());
    }

    #[test]
    fn moments_of_uniform_and_normal() {
        let mut rng = Rng::new(1);
        let n = 200_000;
        let (mut u, mut u2, mut z, mut z2, mut z4) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for _ in 0..n {
            let x = rng.uniform();
            assert!((0.0..1.0).contains(&x));
            assert!((0.0..1.0).contains(&rng.uniform_f32()));
            let y = rng.normal();
            u += x;
            u2 += x * x;
            z += y;
            z2 += y * y;
            z4 += y.powi(4);
        }
        let mean = |sum: f64| sum / n as f64;
        assert!((mean(u) - 0.5).abs() < 3e-3 && (mean(u2) - 1.0 / 3.0).abs() < 3e-3);
        assert!(mean(z).abs() < 1e-2 && (mean(z2) - 1.0).abs() < 1.5e-2 && (mean(z4) - 3.0).abs() < 0.15);
    }

    #[test]
    fn below_is_even_and_shuffle_permutes() {
        let mut rng = Rng::new(3);
        let mut counts = [0u32; 7];
        (0..70_000).for_each(|_| counts[rng.below(7) as usize] += 1);
        assert!(counts.iter().all(|&c| (9_600..10_400).contains(&c)), "{counts:?}");
        let mut items: Vec<u32> = (0..100).collect();
        rng.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
