//! Dropout (Srivastava et al. 2014), inverted: kept elements grow by `1 / (1 - p)`, so that evaluation does nothing.
//!
//! Whether an element is dropped is a hash of a key and its index (counter-based: Salmon et al. 2011), so that the
//! backward pass and a resumed run see the same mask without storing it.

use crate::float::Float;
use crate::ops::Op;
use crate::ops::simd::kernel;
use crate::tape::Tape;
use crate::tensor::Var;

/// A dropout rate and the key of one mask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    threshold: u32, // an element is dropped when its hash is below
    scale: f64,     // 1 / (1 - p)
    key: u64,
}

/// Scrambles 64 bits (the finaliser of SplitMix64).
fn scramble(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dropout {
    /// Drops with probability `p`, by the mask that `seed` and `stream` (step, place in the model, shard, ...) name.
    ///
    /// # Panics
    /// If `p` is not in [0, 1).
    pub fn new(p: f64, seed: u64, stream: &[u64]) -> Self {
        assert!((0.0..1.0).contains(&p), "a dropout rate of {p}");
        let key = stream.iter().fold(scramble(seed), |key, &part| scramble(key ^ part));
        Dropout {
            threshold: (p * 2f64.powi(32)).min(f64::from(u32::MAX)) as u32,
            scale: 1.0 / (1.0 - p),
            key,
        }
    }

    /// Whether it drops nothing.
    pub fn is_off(self) -> bool {
        self.threshold == 0
    }

    /// What element `index` is multiplied by: 0, or `1 / (1 - p)`.
    #[inline(always)]
    pub(crate) fn factor<T: Float>(self, index: u32) -> T {
        // Two rounds of a 32-bit integer hash (Wellons 2018, "lowbias32"), a half of the key before each.
        let mut h = index ^ self.key as u32;
        h = (h ^ (h >> 16)).wrapping_mul(0x7feb_352d);
        h = (h ^ (h >> 15)).wrapping_mul(0x846c_a68b);
        h = (h ^ (h >> 16)).wrapping_add((self.key >> 32) as u32);
        h = (h ^ (h >> 16)).wrapping_mul(0x7feb_352d);
        h = (h ^ (h >> 15)).wrapping_mul(0x846c_a68b);
        h ^= h >> 16;
        if h < self.threshold { T::ZERO } else { T::from_f64(self.scale) }
    }
}

kernel! {
    fn apply<'a, T>(y: &'a mut [T], dropout: Dropout) {
        for (i, y) in y.iter_mut().enumerate() {
            *y *= dropout.factor::<T>(i as u32);
        }
    }
}

/// What the backward pass of [`Tape::dropout`] needs.
#[derive(Debug)]
pub(crate) struct DropoutOp {
    x: Var,
    y: Var,
    dropout: Dropout,
}

impl<T: Float> Tape<T> {
    /// `y = x mask / (1 - p)`; x itself when nothing is dropped.
    pub fn dropout(&mut self, x: Var, dropout: Dropout) -> Var {
        if dropout.is_off() {
            return x;
        }
        let (rows, cols) = self.shape(x);
        let mut out = self.pool.take(rows * cols);
        out.copy_from_slice(self.value(x));
        apply(&mut out, dropout);
        let y = self.push(rows, cols, out);
        self.record(Op::Dropout(DropoutOp { x, y, dropout }), y)
    }
}

impl DropoutOp {
    pub(crate) fn backward<T: Float>(self, tape: &mut Tape<T>, _: &[T], _: &mut [T]) {
        let mut dy = tape.take_grad(self.y);
        apply(&mut dy, self.dropout);
        tape.accumulate(self.x, dy);
    }

    pub(crate) fn discard<T: Float>(self, _: &mut Tape<T>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::check_op;

    #[test]
    fn gradient() {
        check_op(0, &[(5, 8)], |tape, _, x| tape.dropout(x[0], Dropout::new(0.3, 1, &[2, 3])));
    }

    #[test]
    fn drops_the_stated_share_independently_of_neighbours_and_keys() {
        let n = 1 << 18;
        let masks: Vec<Vec<bool>> = (0..2)
            .map(|step| {
                let dropout = Dropout::new(0.2, 7, &[step]);
                (0..n).map(|i| dropout.factor::<f32>(i) == 0.0).collect()
            })
            .collect();
        let share = |dropped: &dyn Fn(usize) -> bool| {
            (0..n as usize - 1).filter(|&i| dropped(i)).count() as f64 / f64::from(n)
        };
        assert!((share(&|i| masks[0][i]) - 0.2).abs() < 3e-3);
        assert!((share(&|i| masks[0][i] && masks[0][i + 1]) - 0.04).abs() < 2e-3);
        assert!((share(&|i| masks[0][i] && masks[1][i]) - 0.04).abs() < 2e-3);
    }

    #[test]
    fn a_mask_can_be_had_again_and_a_rate_of_zero_is_off() {
        let mut tape = Tape::<f32>::new();
        let x = tape.input(1, 64, &[1.0; 64]);
        let once = tape.dropout(x, Dropout::new(0.5, 9, &[1]));
        let again = tape.dropout(x, Dropout::new(0.5, 9, &[1]));
        let other = tape.dropout(x, Dropout::new(0.5, 9, &[2]));
        assert_eq!(tape.value(once), tape.value(again));
        assert_ne!(tape.value(once), tape.value(other));
        assert!(tape.value(once).iter().all(|&y| y == 0.0 || y == 2.0));
        assert_eq!(tape.dropout(x, Dropout::new(0.0, 9, &[1])), x);
    }
}
