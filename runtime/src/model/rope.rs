//! Where a token stands, by sines and cosines: rotary (Su et al. 2021) and sinusoidal (Vaswani et al. 2017, section 3.5).
//!
//! Angles are taken in double precision by the runtime's own functions, so that they are the same bits everywhere.

use crate::kernels::math::{pow_f64, sin_cos_f64};
use siskin_format::memory::{self, NoMemory};

/// Rotations of one head width.
#[derive(Clone, Debug)]
pub(crate) struct Rope {
    pub(crate) head_dim: usize,
    frequencies: Vec<f64>, // [head_dim / 2]
}

impl Rope {
    /// `theta^(-2i / head_dim) / divisors[i]` for each pair i; no divisors are ones.
    pub(crate) fn new(head_dim: usize, theta: f32, divisors: &[f32]) -> Result<Self, NoMemory> {
        let divisor = |i: usize| divisors.get(i).map_or(1.0, |&d| f64::from(d));
        let frequency = |i: usize| pow_f64(theta as f64, -2.0 * i as f64 / head_dim as f64) / divisor(i);
        Ok(Rope { head_dim, frequencies: memory::collect((0..head_dim / 2).map(frequency))? })
    }

    /// Cosines, then sines, of one position: `out` `[head_dim]`.
    pub(crate) fn angles(&self, position: usize, out: &mut [f32]) {
        let (cos, sin) = out.split_at_mut(self.head_dim / 2);
        for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(&self.frequencies) {
            let (s, c) = sin_cos_f64(position as f64 * frequency);
            (*cos, *sin) = (c as f32, s as f32);
        }
    }
}

/// Rotates the pairs `(i, i + head_dim / 2)` of one head by what [`Rope::angles`] gave.
pub(crate) fn rotate(x: &mut [f32], angles: &[f32]) {
    let half = x.len() / 2;
    let (cos, sin) = angles.split_at(half);
    let (first, second) = x.split_at_mut(half);
    for i in 0..half {
        let (a, b) = (first[i], second[i]);
        first[i] = a * cos[i] - b * sin[i];
        second[i] = b * cos[i] + a * sin[i];
    }
}

/// Sinusoidal positions of one embedding width.
#[derive(Clone, Debug)]
pub(crate) struct Sinusoidal {
    frequencies: Vec<f64>, // [ceil(d_model / 2)]
}

impl Sinusoidal {
    /// `10000^(-2i / d_model)` for each pair i.
    pub(crate) fn new(d_model: usize) -> Result<Self, NoMemory> {
        let frequency = |i: usize| pow_f64(10_000.0, -2.0 * i as f64 / d_model as f64);
        Ok(Sinusoidal { frequencies: memory::collect((0..d_model.div_ceil(2)).map(frequency))? })
    }

    /// `x[2i] += sin(position * f_i)`, `x[2i + 1] += cos(position * f_i)`.
    pub(crate) fn add(&self, position: usize, x: &mut [f32]) {
        for (pair, frequency) in x.chunks_mut(2).zip(&self.frequencies) {
            let (sin, cos) = sin_cos_f64(position as f64 * frequency);
            for (x, p) in pair.iter_mut().zip([sin, cos]) {
                *x += p as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_are_those_of_the_paper() {
        let rope = Rope::new(8, 10_000.0, &[]).unwrap();
        let mut angles = [0.0; 8];
        rope.angles(1234, &mut angles);
        for i in 0..4 {
            let angle = 1234.0 * 10_000f64.powf(-2.0 * i as f64 / 8.0);
            assert!(
                (angles[i] as f64 - angle.cos()).abs() < 1e-7
                    && (angles[4 + i] as f64 - angle.sin()).abs() < 1e-7
            );
        }
    }

    #[test]
    fn equal_divisors_stretch_positions() {
        let (plain, scaled) =
            (Rope::new(8, 10_000.0, &[]).unwrap(), Rope::new(8, 10_000.0, &[4.0; 4]).unwrap());
        let (mut near, mut far) = ([0.0; 8], [0.0; 8]);
        plain.angles(10, &mut near);
        scaled.angles(40, &mut far);
        assert_eq!(near, far);
    }

    #[test]
    fn a_rotation_keeps_lengths_and_depends_on_the_distance_only() {
        let rope = Rope::new(6, 1000.0, &[]).unwrap();
        let dot = |p: usize, q: usize| {
            let (mut a, mut b) = ([0.3, -1.0, 0.5, 0.7, 0.1, -0.4], [1.0, 0.2, -0.6, 0.4, 0.9, 0.8]);
            let mut angles = [0.0; 6];
            rope.angles(p, &mut angles);
            rotate(&mut a, &angles);
            rope.angles(q, &mut angles);
            rotate(&mut b, &angles);
            a.iter().zip(&b).map(|(a, b)| a * b).sum::<f32>()
        };
        assert!((dot(7, 3) - dot(104, 100)).abs() < 1e-5);
        assert!((dot(7, 3) - dot(7, 5)).abs() > 1e-3);
    }

    #[test]
    fn sinusoids_alternate() {
        let mut x = [0.0; 5];
        Sinusoidal::new(5).unwrap().add(3, &mut x);
        let f = 10_000f64.powf(-2.0 / 5.0) * 3.0;
        for (x, expected) in x.iter().zip([3f64.sin(), 3f64.cos(), f.sin(), f.cos()]) {
            assert!((*x as f64 - expected).abs() < 1e-7);
        }
    }
}
