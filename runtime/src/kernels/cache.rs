//! Which kernels serve a cache of which type.

use super::memory::Zeroable;
use super::simd::LANES;
use super::{HeadCache, Kernels, Strip};
use half::f16;

/// [`Kernels::attend_f16`] or its twin for another type of cache.
pub type Attend<C> = fn(&[f32], usize, HeadCache<'_, C>, usize, usize, f32, &mut [f32], &mut Strip<'_>);
/// [`Kernels::remember_f16`] or its twin for another type of cache.
pub type Remember<C> = fn(&[f32], &[f32], usize, usize, &mut [[C; LANES]], &mut [[C; LANES]]);

/// A type that keys and values can be kept in.
pub trait CacheCell: Zeroable + Send + Sync {
    /// The kernel that attends over a cache of this type.
    fn attend(kernels: &Kernels) -> Attend<Self>;

    /// The kernel that writes to a cache of this type.
    fn remember(kernels: &Kernels) -> Remember<Self>;
}

impl CacheCell for f16 {
    fn attend(kernels: &Kernels) -> Attend<f16> {
        kernels.attend_f16
    }

    fn remember(kernels: &Kernels) -> Remember<f16> {
        kernels.remember_f16
    }
}

impl CacheCell for f32 {
    fn attend(kernels: &Kernels) -> Attend<f32> {
        kernels.attend_f32
    }

    fn remember(kernels: &Kernels) -> Remember<f32> {
        kernels.remember_f32
    }
}
