//! The arithmetic of one tile of a matrix product: `P` panels times `T` tokens.
//!
//! Every output has its own accumulators and its own fixed order of additions, so the shape of the tile, and with
//! it the split over threads and the cut of a prompt, never shows in the result (NUMERICS.md).

use super::panels::Input;
use super::simd::{Codes, GROUP, LANES, Q4_GROUP, Q8_GROUP, Simd};
use half::f16;
use std::ops::Range;

/// A matrix that can be multiplied tile by tile.
pub(super) trait Tiles<S: Simd>: Copy {
    /// Rows `8 panel .. 8 (panel + P)` of the product with tokens `token .. token + T`.
    fn tile<const P: usize, const T: usize>(
        self,
        s: S,
        panel: usize,
        x: &Input,
        token: usize,
        fetch: Fetch,
    ) -> [[S::F; P]; T];
}

/// What part of the weights to come a tile asks memory for, a little with each step of its loop: asking for more at once
/// would wait for the lines that are under way.
#[derive(Clone, Copy)]
pub(super) struct Fetch {
    part: usize,
    parts: usize,
}

impl Fetch {
    /// Everything.
    pub(super) const ALL: Fetch = Fetch { part: 0, parts: 1 };
    /// Nothing.
    pub(super) const NONE: Fetch = Fetch { part: 1, parts: 1 };

    /// Part `part` of `parts`.
    pub(super) fn part(part: usize, parts: usize) -> Fetch {
        Fetch { part, parts }
    }

    /// The steps of `n` that ask.
    #[inline(always)]
    fn steps(self, n: usize) -> Range<usize> {
        self.part * n / self.parts..((self.part + 1) * n / self.parts).min(n)
    }
}

/// q8 or q4 weights, by the type of a group's codes.
#[derive(Clone, Copy)]
pub(super) struct Quantized<'a, G> {
    pub(super) scales: &'a [[f16; LANES]],
    pub(super) codes: &'a [G],
    pub(super) n_groups: usize,
}

/// The codes of one group of one panel.
pub(super) trait Group: Copy {
    /// Exact dot products with the codes of `T` tokens.
    fn dot<S: Simd, const P: usize, const T: usize>(s: S, w: [&Self; P], x: [Codes; T]) -> [[S::I; P]; T];
}

impl Group for [i8; Q8_GROUP] {
    #[inline(always)]
    fn dot<S: Simd, const P: usize, const T: usize>(s: S, w: [&Self; P], x: [Codes; T]) -> [[S::I; P]; T] {
        s.dot_q8(w, x)
    }
}

impl Group for [u8; Q4_GROUP] {
    #[inline(always)]
    fn dot<S: Simd, const P: usize, const T: usize>(s: S, w: [&Self; P], x: [Codes; T]) -> [[S::I; P]; T] {
        s.dot_q4(w, x)
    }
}

/// f32 or f16 weights.
#[derive(Clone, Copy)]
pub(super) struct Floats<'a, C> {
    pub(super) w: &'a [[C; LANES]],
    pub(super) cols: usize,
}

/// Item `i` of `data` seen as rows of `n`.
#[inline(always)]
fn row<T>(data: &[T], i: usize, n: usize) -> &[T] {
    &data[i * n..(i + 1) * n]
}

/// How far ahead of the current group one token asks for weights, bytes. More tokens ask for the next panels.
const AHEAD: usize = 2048;

impl<S: Simd, G: Group> Tiles<S> for Quantized<'_, G> {
    #[inline(always)]
    fn tile<const P: usize, const T: usize>(
        self,
        s: S,
        panel: usize,
        x: &Input,
        token: usize,
        fetch: Fetch,
    ) -> [[S::F; P]; T] {
        let n = self.n_groups;
        let sw: [&[[f16; LANES]]; P] = std::array::from_fn(|p| row(self.scales, panel + p, n));
        let w: [&[G]; P] = std::array::from_fn(|p| row(self.codes, panel + p, n));
        let sx: [&[f32]; T] = std::array::from_fn(|t| row(x.scales, token + t, n));
        let sums: [&[i32]; T] = std::array::from_fn(|t| row(x.sums, token + t, n));
        let codes: [&[[i8; GROUP]]; T] = std::array::from_fn(|t| row(x.codes, token + t, n));
        let (asking, ahead) = (fetch.steps(n), if T == 1 { AHEAD } else { P * n * size_of::<G>() });
        let mut acc = [[s.splat(0.0); P]; T];
        for g in 0..n {
            if asking.contains(&g) {
                for p in 0..P {
                    for line in 0..size_of::<G>() / 64 {
                        s.prefetch(&w[p][g], ahead + 64 * line);
                    }
                }
            }
            let x = std::array::from_fn(|t| Codes { codes: &codes[t][g], sum: sums[t][g] });
            let dots = G::dot::<S, P, T>(s, std::array::from_fn(|p| &w[p][g]), x);
            for p in 0..P {
                let sw = s.load_f16(&sw[p][g]);
                for t in 0..T {
                    let scale = s.mul(sw, s.splat(sx[t][g]));
                    acc[t][p] = s.fma(scale, s.to_float(dots[t][p]), acc[t][p]);
                }
            }
        }
        acc
    }
}

/// A float as it is stored, in weights and in caches.
pub(super) trait Cell: Copy {
    const ZERO: Self;
    /// Eight of them, widened.
    fn load<S: Simd>(s: S, x: &[Self; LANES]) -> S::F;
    /// Rounds to eight of them.
    fn store<S: Simd>(s: S, x: S::F, out: &mut [Self; LANES]);
}

impl Cell for f32 {
    const ZERO: f32 = 0.0;

    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[f32; LANES]) -> S::F {
        s.load(x)
    }

    #[inline(always)]
    fn store<S: Simd>(s: S, x: S::F, out: &mut [f32; LANES]) {
        s.store(x, out);
    }
}

impl Cell for f16 {
    const ZERO: f16 = f16::ZERO;

    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[f16; LANES]) -> S::F {
        s.load_f16(x)
    }

    #[inline(always)]
    fn store<S: Simd>(s: S, x: S::F, out: &mut [f16; LANES]) {
        s.store_f16(x, out);
    }
}

impl<S: Simd, C: Cell> Tiles<S> for Floats<'_, C> {
    #[inline(always)]
    fn tile<const P: usize, const T: usize>(
        self,
        s: S,
        panel: usize,
        x: &Input,
        token: usize,
        fetch: Fetch,
    ) -> [[S::F; P]; T] {
        let n = self.cols;
        // The next panels follow these at once, so their columns lie P panels ahead.
        float_tile(
            s,
            P * n,
            fetch,
            std::array::from_fn(|p| row(self.w, panel + p, n)),
            std::array::from_fn(|t| row(x.x, token + t, n)),
        )
    }
}

/// Eight rows of each panel times each `x`: four accumulators an output, column modulo 4, then
/// `(a0 + a1) + (a2 + a3)`. Columns `ahead` of the current ones are asked for.
#[inline(always)]
pub(super) fn float_tile<S: Simd, C: Cell, const P: usize, const T: usize>(
    s: S,
    ahead: usize,
    fetch: Fetch,
    w: [&[[C; LANES]]; P],
    x: [&[f32]; T],
) -> [[S::F; P]; T] {
    let mut acc = [[[s.splat(0.0); 4]; P]; T];
    let n = x[0].len();
    let w_quads: [&[[[C; LANES]; 4]]; P] = std::array::from_fn(|p| &w[p].as_chunks::<4>().0[..n / 4]);
    let x_quads: [&[[f32; 4]]; T] = std::array::from_fn(|t| &x[t].as_chunks::<4>().0[..n / 4]);
    let (asking, ahead) = (fetch.steps(n / 4), ahead * size_of::<[C; LANES]>());
    for q in 0..n / 4 {
        if asking.contains(&q) {
            for p in 0..P {
                // Four columns of halfs are one cache line, of floats two.
                for line in 0..size_of::<[[C; LANES]; 4]>() / 64 {
                    s.prefetch(&w_quads[p][q], ahead + 64 * line);
                }
            }
        }
        for j in 0..4 {
            for p in 0..P {
                let w = C::load(s, &w_quads[p][q][j]);
                for t in 0..T {
                    acc[t][p][j] = s.fma(w, s.splat(x_quads[t][q][j]), acc[t][p][j]);
                }
            }
        }
    }
    let done = n / 4 * 4;
    // A constant index keeps the accumulators in registers.
    for j in 0..3 {
        if done + j < n {
            for p in 0..P {
                let w = C::load(s, &w[p][done + j]);
                for t in 0..T {
                    acc[t][p][j] = s.fma(w, s.splat(x[t][done + j]), acc[t][p][j]);
                }
            }
        }
    }
    let mut out = [[s.splat(0.0); P]; T];
    for t in 0..T {
        for p in 0..P {
            let [a0, a1, a2, a3] = acc[t][p];
            out[t][p] = s.add(s.add(a0, a1), s.add(a2, a3));
        }
    }
    out
}
