//! Nonlinearities and the pointwise part of the recurrent cells, element by element.

use super::math;
use super::norm::{at, put};
use super::simd::{LANES, Simd};

/// An elementwise function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Hyperbolic tangent.
    Tanh,
    /// max(0, x); NaN stays NaN.
    Relu,
    /// x where x > 0, else 0.01 x.
    LeakyRelu,
    /// max(0, x)^2.
    Relu2,
    /// GELU in its tanh form.
    Gelu,
    /// x sigmoid(x).
    Silu,
}

/// Slope of a leaky ReLU below 0.
const LEAK: f32 = 0.01;

#[inline(always)]
fn apply<S: Simd>(s: S, f: Function, x: S::F) -> S::F {
    let zero = s.splat(0.0);
    match f {
        Function::Tanh => math::tanh(s, x),
        Function::Relu => s.max(zero, x),
        Function::LeakyRelu => s.select(s.lt(zero, x), x, s.mul(x, s.splat(LEAK))),
        Function::Relu2 => {
            let r = s.max(zero, x);
            s.mul(r, r)
        }
        Function::Gelu => math::gelu(s, x),
        Function::Silu => math::silu(s, x),
    }
}

/// `x = f(x)`.
#[inline(always)]
pub(super) fn activate<S: Simd>(s: S, f: Function, x: &mut [f32]) {
    for i in (0..x.len()).step_by(LANES) {
        let v = apply(s, f, at(s, x, i));
        put(s, v, x, i);
    }
}

/// `up = f(gate) * up` (Shazeer 2020).
#[inline(always)]
pub(super) fn activate_gated<S: Simd>(s: S, f: Function, gate: &[f32], up: &mut [f32]) {
    assert_eq!(gate.len(), up.len(), "gate and up");
    for i in (0..up.len()).step_by(LANES) {
        let v = s.mul(apply(s, f, at(s, gate, i)), at(s, up, i));
        put(s, v, up, i);
    }
}

/// `x = cap * tanh(x / cap)` (Gemma 2).
#[inline(always)]
pub(super) fn softcap<S: Simd>(s: S, cap: f32, x: &mut [f32]) {
    let cap = s.splat(cap);
    for i in (0..x.len()).step_by(LANES) {
        let v = s.mul(cap, math::tanh(s, s.div(at(s, x, i), cap)));
        put(s, v, x, i);
    }
}

/// `h = f(gx + gh)` (Elman 1990): `gx = W x + b`, `gh = U h`.
#[inline(always)]
pub(super) fn rnn_cell<S: Simd>(s: S, f: Function, gx: &[f32], gh: &[f32], h: &mut [f32]) {
    let n = h.len();
    assert!(gx.len() == n && gh.len() == n, "one gate of {n}");
    for i in (0..n).step_by(LANES) {
        let v = apply(s, f, s.add(at(s, gx, i), at(s, gh, i)));
        put(s, v, h, i);
    }
}

/// PyTorch's GRU, gates r z n (Cho et al. 2014): `gx = W x + b_x`, `gh = U h + b_h`,
/// `n = tanh(gx_n + r gh_n)`, `h = n + z (h - n)`.
#[inline(always)]
pub(super) fn gru_cell<S: Simd>(s: S, gx: [&[f32]; 3], gh: [&[f32]; 3], h: &mut [f32]) {
    let size = h.len();
    assert!(gx.iter().chain(&gh).all(|gate| gate.len() == size), "three gates of {size}");
    for j in (0..size).step_by(LANES) {
        let r = math::sigmoid(s, s.add(at(s, gx[0], j), at(s, gh[0], j)));
        let z = math::sigmoid(s, s.add(at(s, gx[1], j), at(s, gh[1], j)));
        let n = math::tanh(s, s.fma(r, at(s, gh[2], j), at(s, gx[2], j)));
        put(s, s.fma(z, s.sub(at(s, h, j), n), n), h, j);
    }
}

/// PyTorch's LSTM, gates i f g o (Hochreiter & Schmidhuber 1997): gates `gx + gh` with `gx = W x + b`, `gh = U h`;
/// `c = f c + i g`, `h = o tanh(c)`.
#[inline(always)]
pub(super) fn lstm_cell<S: Simd>(s: S, gx: [&[f32]; 4], gh: [&[f32]; 4], c: &mut [f32], h: &mut [f32]) {
    let size = h.len();
    let fits = gx.iter().chain(&gh).all(|gate| gate.len() == size) && c.len() == size;
    assert!(fits, "four gates of {size}");
    for j in (0..size).step_by(LANES) {
        let i = math::sigmoid(s, s.add(at(s, gx[0], j), at(s, gh[0], j)));
        let f = math::sigmoid(s, s.add(at(s, gx[1], j), at(s, gh[1], j)));
        let g = math::tanh(s, s.add(at(s, gx[2], j), at(s, gh[2], j)));
        let o = math::sigmoid(s, s.add(at(s, gx[3], j), at(s, gh[3], j)));
        let new_c = s.fma(f, at(s, c, j), s.mul(i, g));
        put(s, new_c, c, j);
        put(s, s.mul(o, math::tanh(s, new_c)), h, j);
    }
}
