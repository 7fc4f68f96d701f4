//! The arithmetic, once per algorithm and instantiated per instruction set.
//!
//! [`simd`] says what an instruction set offers; the algorithm files are generic over it and contain no unsafe code;
//! `isa/*.rs` implement it. [`Isa::detect`] chooses once at start, and [`Kernels`] is the table of the chosen
//! instantiations. All of them give the same bits: NUMERICS.md says what is promised, and `tests.rs` compares every
//! ISA with the scalar one.

mod activation;
mod affinity;
mod attention;
mod cache;
mod gemm;
mod gemv;
mod isa;
pub mod math;
#[cfg(siskin_mca)]
pub mod mca;
pub mod memory;
mod norm;
pub mod panels;
pub mod peak;
mod quantize;
pub mod simd;
mod softmax;
pub mod strip;
mod sync;
pub mod team;
#[cfg(test)]
mod tests;
mod thread;
mod tile;

pub use activation::Function;
pub use attention::{HeadCache, TILE, attend_scratch};
pub use cache::CacheCell;
pub use panels::{Input, Matrix, Panels};
pub use strip::{Blocks, Chain, Columns, Grid, Rectangles, Split, Strip};
pub use team::{MAX_THREADS, Team, Work};

use crate::error::Error;
use half::f16;
use simd::{GROUP, LANES};
use std::ops::Range;
use std::sync::OnceLock;

/// The environment variable that forces an instruction set.
pub const ISA_VARIABLE: &str = "SISKIN_ISA";

/// The kernels and their signatures; every ISA instantiates the same list.
macro_rules! for_each_kernel {
    ($callback:ident $extra:tt) => {
        $callback! {
            $extra
            /// `y = W x` for the rows of `panels` and every token of `x`; see [`Matrix`], [`Input`], [`Strip`].
            fn gemm(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Strip<'_>) = gemm::gemm;
            /// One row of activations to codes, scales and sums of codes, per group of 32.
            fn quantize(x: &[f32], codes: &mut [[i8; GROUP]], scales: &mut [f32], sums: &mut [i32])
                = quantize::quantize;
            /// `out = softmax(q K^T * scale) V` of the queries that share one head of keys and values: those of several
            /// heads, of consecutive tokens, of which the first sees `n` positions; each sees the last `window` of its own.
            fn attend_f16(
                q: &[f32], head_dim: usize, cache: HeadCache<'_, f16>, n: usize, window: usize, scale: f32,
                scratch: &mut [f32], out: &mut Strip<'_>
            ) = attention::attend;
            /// The same over a cache of f32.
            fn attend_f32(
                q: &[f32], head_dim: usize, cache: HeadCache<'_, f32>, n: usize, window: usize, scale: f32,
                scratch: &mut [f32], out: &mut Strip<'_>
            ) = attention::attend;
            /// Writes key and value of one position of one head into its cache.
            fn remember_f16(
                key: &[f32], value: &[f32], position: usize, capacity: usize,
                k: &mut [[f16; LANES]], v: &mut [[f16; LANES]]
            ) = attention::remember;
            /// The same into a cache of f32.
            fn remember_f32(
                key: &[f32], value: &[f32], position: usize, capacity: usize,
                k: &mut [[f32; LANES]], v: &mut [[f32; LANES]]
            ) = attention::remember;
            /// `y = x / rms(x) * weight`; an empty weight counts as ones.
            fn rms_norm(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) = norm::rms_norm;
            /// `y = (x - mean) / sqrt(var + eps) * weight + bias`; empty means ones and zeros.
            fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) = norm::layer_norm;
            /// `y = x * weight + bias`.
            fn affine(x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) = norm::affine;
            /// `x = f(x)`.
            fn activate(f: Function, x: &mut [f32]) = activation::activate;
            /// `up = f(gate) * up`.
            fn activate_gated(f: Function, gate: &[f32], up: &mut [f32]) = activation::activate_gated;
            /// `x = cap * tanh(x / cap)`.
            fn softcap(cap: f32, x: &mut [f32]) = activation::softcap;
            /// Elman cell: `h = f(gx + gh)`.
            fn rnn_cell(f: Function, gx: &[f32], gh: &[f32], h: &mut [f32]) = activation::rnn_cell;
            /// GRU cell, gates r z n.
            fn gru_cell(gx: [&[f32]; 3], gh: [&[f32]; 3], h: &mut [f32]) = activation::gru_cell;
            /// LSTM cell, gates i f g o.
            fn lstm_cell(gx: [&[f32]; 4], gh: [&[f32]; 4], c: &mut [f32], h: &mut [f32])
                = activation::lstm_cell;
            /// Softmax of a row, in place.
            fn softmax(x: &mut [f32]) = softmax::softmax;
            /// Largest element; NaNs are passed over.
            fn max(x: &[f32]) -> f32 = softmax::max;
            /// Sum of `e^(x - shift)`.
            fn sum_exp(x: &[f32], shift: f32) -> f32 = softmax::sum_exp;
        }
    };
}

macro_rules! define_table {
    (() $($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = $algorithm:path;)*) => {
        /// The kernels of one instruction set.
        #[derive(Debug)]
        pub struct Kernels {
            /// Which.
            pub isa: Isa,
            $($(#[$doc])* pub $name: fn($($ty),*) $(-> $ret)?,)*
        }
    };
}
for_each_kernel!(define_table());

macro_rules! instantiate {
    (($isa:expr, $token:ty, $proof:expr, $attribute:meta)
     $($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = $algorithm:path;)*) => {{
        $(fn $name($($arg: $ty),*) $(-> $ret)? {
            #[$attribute]
            fn instance(s: $token, $($arg: $ty),*) $(-> $ret)? {
                $algorithm(s, $($arg),*)
            }
            // SAFETY: `Isa::kernels` gives this table out only where the CPU has been seen to have the features.
            #[allow(unused_unsafe)]
            unsafe { instance($proof, $($arg),*) }
        })*
        Kernels { isa: $isa, $($name),* }
    }};
}

static SCALAR: Kernels =
    for_each_kernel!(instantiate(Isa::Scalar, isa::scalar::Scalar, isa::scalar::Scalar, inline));

#[cfg(target_arch = "x86_64")]
static AVX2: Kernels = for_each_kernel!(instantiate(
    Isa::Avx2,
    isa::x86::Avx2,
    isa::x86::Avx2::assume(),
    target_feature(enable = "avx2,fma,f16c")
));

#[cfg(target_arch = "x86_64")]
static VNNI: Kernels = for_each_kernel!(instantiate(
    Isa::Vnni,
    isa::x86::Vnni,
    isa::x86::Vnni::assume(),
    target_feature(enable = "avx2,fma,f16c,avx512f,avx512vl,avx512bw,avx512dq,avx512vnni")
));

#[cfg(target_arch = "aarch64")]
static NEON: Kernels = for_each_kernel!(instantiate(
    Isa::Neon,
    isa::neon::Neon<isa::neon::Plain>,
    isa::neon::Neon::new(isa::neon::Plain),
    target_feature(enable = "neon")
));

#[cfg(target_arch = "aarch64")]
static DOTPROD: Kernels = for_each_kernel!(instantiate(
    Isa::Dotprod,
    isa::neon::Neon<isa::dotprod::Dotprod>,
    isa::neon::Neon::new(isa::dotprod::Dotprod::assume()),
    target_feature(enable = "neon,dotprod")
));

/// An instruction set that kernels exist for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust; any CPU.
    Scalar,
    /// AVX2, FMA and F16C; x86-64.
    Avx2,
    /// AVX2 and AVX-512 VNNI, on 256-bit vectors; x86-64.
    Vnni,
    /// NEON; any 64-bit ARM (Raspberry Pi 3, 4, Zero 2 W).
    Neon,
    /// NEON with the dot products of ARMv8.2; Raspberry Pi 5.
    Dotprod,
}

impl Isa {
    /// Every instruction set, the slowest first.
    pub const ALL: &'static [Isa] = &[Isa::Scalar, Isa::Avx2, Isa::Vnni, Isa::Neon, Isa::Dotprod];

    /// The spelling in `SISKIN_ISA` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Vnni => "vnni",
            Isa::Neon => "neon",
            Isa::Dotprod => "dotprod",
        }
    }

    /// Those that this CPU has, the slowest first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.iter().copied().filter(|isa| isa.kernels().is_some())
    }

    /// The kernels; `None` where this CPU cannot run them.
    pub fn kernels(self) -> Option<&'static Kernels> {
        match self {
            Isa::Scalar => Some(&SCALAR),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => isa::x86::Avx2::detected().then_some(&AVX2),
            #[cfg(target_arch = "x86_64")]
            Isa::Vnni => isa::x86::Vnni::detected().then_some(&VNNI),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Vnni => None,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Some(&NEON),
            #[cfg(target_arch = "aarch64")]
            Isa::Dotprod => isa::dotprod::Dotprod::detected().then_some(&DOTPROD),
            #[cfg(not(target_arch = "aarch64"))]
            Isa::Neon | Isa::Dotprod => None,
        }
    }

    /// The instruction set to use: what `SISKIN_ISA` says, else the best that this CPU has. Asked once, then remembered.
    ///
    /// # Errors
    /// [`Error::Isa`] when `SISKIN_ISA` holds an unknown name or one that this CPU does not have.
    pub fn detect() -> Result<Isa, Error> {
        static CHOICE: OnceLock<Result<Isa, String>> = OnceLock::new();
        let choice = CHOICE.get_or_init(|| match std::env::var_os(ISA_VARIABLE) {
            None => Ok(Isa::best()),
            Some(name) if name.is_empty() => Ok(Isa::best()),
            Some(name) => {
                let name = name.to_string_lossy();
                Isa::available().find(|isa| isa.name() == name).ok_or_else(|| name.into_owned())
            }
        });
        choice.clone().map_err(|name| Error::Isa { name })
    }

    fn best() -> Isa {
        Isa::available().last().unwrap_or(Isa::Scalar)
    }
}

/// Name of the instruction set whose kernels run.
///
/// # Errors
/// As [`Isa::detect`].
pub fn isa_name() -> Result<&'static str, Error> {
    Isa::detect().map(Isa::name)
}
