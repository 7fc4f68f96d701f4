//! Compiles a loop three times, for the baseline, for AVX2 and for AVX-512, and picks at run time.
//!
//! Release builds must run on any x86-64, whose baseline is SSE2. Only the elementwise loops gain from wider
//! vectors (the products have their own dispatch), so they are written with [`kernel!`], in plain Rust.

/// A loop with its operands: what [`kernel!`] makes of a function.
pub(crate) trait Kernel {
    /// What the loop returns.
    type Output;
    /// Runs the loop; always inlined, so that it is compiled for the features of its caller.
    fn run(self) -> Self::Output;
}

/// Runs `kernel` with the widest vectors that this machine has.
#[inline]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx512f") && has!("avx512vl") && has!("avx512bw") && has!("avx512dq") {
            #[expect(unsafe_code, reason = "the one call into a function compiled for AVX-512")]
            // SAFETY: the condition above has just found the features that `avx512` is compiled for.
            return unsafe { avx512(kernel) };
        }
        if has!("avx2") {
            #[expect(unsafe_code, reason = "the one call into a function compiled for AVX2")]
            // SAFETY: the condition above has just found the features that `avx2` is compiled for.
            return unsafe { avx2(kernel) };
        }
    }
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
fn avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

/// Defines functions over slices of a [`crate::float::Float`] that [`dispatch`] runs.
///
/// Lifetimes are spelled out, because the arguments travel in a struct.
macro_rules! kernel {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident<$($lt:lifetime,)* $T:ident $(, $G:ident: $bound:path)?>(
        $($arg:ident: $ty:ty),* $(,)?
    ) $(-> $ret:ty)? $body:block)+) => {
        $($(#[$meta])*
        $vis fn $name<$($lt,)* $T: $crate::float::Float $(, $G: $bound)?>($($arg: $ty),*) $(-> $ret)? {
            struct Operands<$($lt,)* $T: $crate::float::Float $(, $G: $bound)?> {
                $($arg: $ty,)*
                marker: std::marker::PhantomData<($T, $($G)?)>,
            }
            impl<$($lt,)* $T: $crate::float::Float $(, $G: $bound)?> $crate::ops::simd::Kernel
                for Operands<$($lt,)* $T $(, $G)?>
            {
                type Output = $crate::ops::simd::kernel!(@ret $($ret)?);
                #[inline(always)]
                fn run(self) -> Self::Output {
                    let Operands { $($arg,)* .. } = self;
                    $body
                }
            }
            $crate::ops::simd::dispatch(Operands::<$($lt,)* $T $(, $G)?> {
                $($arg,)*
                marker: std::marker::PhantomData,
            })
        })+
    };
    (@ret) => { () };
    (@ret $ret:ty) => { $ret };
}
pub(crate) use kernel;

kernel! {
    /// `y += x`.
    pub(crate) fn add_into<'a, T>(y: &'a mut [T], x: &'a [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }

    /// `sums += ` the sum of the rows of `x` `[rows, sums.len()]`: a bias' gradient.
    pub(crate) fn add_column_sums<'a, T>(sums: &'a mut [T], x: &'a [T]) {
        let cols = sums.len();
        let mut rows = x.chunks_exact(4 * cols);
        for four in &mut rows {
            let (a, rest) = four.split_at(cols);
            let (b, rest) = rest.split_at(cols);
            let (c, d) = rest.split_at(cols);
            for j in 0..cols {
                sums[j] += (a[j] + b[j]) + (c[j] + d[j]);
            }
        }
        for row in rows.remainder().chunks_exact(cols) {
            for (s, &x) in sums.iter_mut().zip(row) {
                *s += x;
            }
        }
    }
}

/// Accumulators of a reduction: two 256-bit registers, or one of 512 bits.
const LANES: usize = 16;

/// Sum of `f(i)` for `i` in `0..n`, in strided lanes so that it vectorises.
#[inline(always)]
pub(crate) fn lane_sum<T: crate::float::Float>(n: usize, f: impl Fn(usize) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let whole = n - n % LANES;
    let mut i = 0;
    while i < whole {
        for l in 0..LANES {
            lanes[l] += f(i + l);
        }
        i += LANES;
    }
    for i in whole..n {
        lanes[i - whole] += f(i);
    }
    lanes.into_iter().sum()
}

/// Largest of `row`, in strided lanes.
#[inline(always)]
pub(crate) fn lane_max<T: crate::float::Float>(row: &[T]) -> T {
    let mut lanes = [T::NEG_INFINITY; LANES];
    let mut chunks = row.chunks_exact(LANES);
    for chunk in &mut chunks {
        for l in 0..LANES {
            lanes[l] = lanes[l].max(chunk[l]);
        }
    }
    let rest = chunks.remainder().iter().fold(T::NEG_INFINITY, |m, &x| m.max(x));
    lanes.into_iter().fold(rest, T::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reductions_match_plain_loops() {
        for n in [0, 1, 15, 16, 17, 100] {
            let x: Vec<f64> = (0..n).map(|i| ((i * 37) % 101) as f64 - 50.0).collect();
            assert_eq!(lane_sum(n, |i| x[i]), x.iter().sum::<f64>());
            assert_eq!(lane_max(&x), x.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        }
    }

    #[test]
    fn column_sums() {
        for rows in [0, 1, 3, 4, 9] {
            let x: Vec<f64> = (0..rows * 3).map(|i| i as f64).collect();
            let mut sums = [1.0; 3];
            add_column_sums(&mut sums, &x);
            for j in 0..3 {
                assert_eq!(sums[j], 1.0 + (0..rows).map(|r| x[r * 3 + j]).sum::<f64>());
            }
        }
    }
}
