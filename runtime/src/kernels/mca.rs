//! The inner loops of the products, each under a name of its own, for `make mca`; compiled with `--cfg siskin_mca` alone.
//!
//! The tiles are those that `gemm.rs` and `attention.rs` cut. `runtime/benches/mca.py` gives their assembly to llvm-mca.

use super::isa::dotprod::Dotprod;
use super::isa::neon::{Neon, Plain};
use super::panels::Input;
use super::simd::{LANES, Q4_GROUP, Q8_GROUP, Simd};
use super::tile::{Fetch, Floats, Group, Quantized, Tiles, float_tile};
use half::f16;

/// Panels of f16, their columns.
pub type Half<'a> = (&'a [[f16; LANES]], usize);
/// Scales and codes of panels, groups in a panel.
pub type Codes<'a, G> = (&'a [[f16; LANES]], &'a [G], usize);

#[inline(always)]
fn quantized<S: Simd, G: Group, const P: usize, const T: usize>(
    s: S,
    w: Codes<G>,
    x: &Input,
    out: &mut [[f32; LANES]],
) {
    let (scales, codes, n_groups) = w;
    // Of a prompt's tiles, most ask for little.
    let fetch = if T == 1 { Fetch::ALL } else { Fetch::NONE };
    let tile = Quantized { scales, codes, n_groups }.tile::<P, T>(s, 0, x, 0, fetch);
    for (acc, out) in tile.as_flattened().iter().zip(out) {
        s.store(*acc, out);
    }
}

#[inline(always)]
fn halfs<S: Simd>(s: S, w: Half, x: &Input, out: &mut [[f32; LANES]]) {
    let [tile] = Floats { w: w.0, cols: w.1 }.tile::<2, 1>(s, 0, x, 0, Fetch::ALL);
    for (acc, out) in tile.into_iter().zip(out) {
        s.store(acc, out);
    }
}

#[inline(always)]
fn scores<S: Simd>(s: S, w: Half, x: &Input, out: &mut [[f32; LANES]]) {
    let (a, b) = w.0.split_at(w.1);
    let [tile] = float_tile(s, 2 * w.1, Fetch::ALL, [a, b], [x.x]);
    for (acc, out) in tile.into_iter().zip(out) {
        s.store(acc, out);
    }
}

macro_rules! loops {
    ($isa:ident, $proof:expr, $attribute:meta, $($name:ident($w:ty) = $kernel:expr;)*) => {
        /// The loops of this instruction set.
        pub mod $isa {
            use super::*;
            $(
                /// One tile.
                ///
                /// # Safety
                /// The CPU must have the instruction set.
                #[$attribute]
                pub unsafe fn $name(w: $w, x: &Input, out: &mut [[f32; LANES]]) {
                    $kernel($proof, w, x, out);
                }
            )*
        }
    };
    ($isa:ident, $proof:expr, $attribute:meta) => {
        loops!(
            $isa, $proof, $attribute,
            gemv_q8(Codes<[i8; Q8_GROUP]>) = quantized::<_, _, 1, 1>;
            gemv_q4(Codes<[u8; Q4_GROUP]>) = quantized::<_, _, 1, 1>;
            gemv_f16(Half) = halfs;
            gemm_q8(Codes<[i8; Q8_GROUP]>) = quantized::<_, _, 1, 4>;
            gemm_q4(Codes<[u8; Q4_GROUP]>) = quantized::<_, _, 1, 4>;
            attention(Half) = scores;
        );
    };
}

loops!(neon, Neon::new(Plain), target_feature(enable = "neon"));
loops!(
    dotprod,
    // SAFETY: the callers' promise.
    Neon::new(unsafe { Dotprod::assume() }),
    target_feature(enable = "neon,dotprod")
);
