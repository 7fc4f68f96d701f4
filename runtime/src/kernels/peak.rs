//! What a core can do at most: loops of bare instructions, for rooflines. They compute nothing that anybody wants.
//!
//! Each instruction set has the multiply-add of floats and of bytes that its kernels use, in as many independent chains as
//! hide its latency, and loads as wide as its vectors.

use super::Isa;
use std::hint::black_box;

/// A cache line, the unit of reading.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Line(pub [u64; 8]);

/// A loop of multiply-adds.
#[derive(Clone, Copy)]
pub struct Loop {
    /// Runs so many rounds; more than none.
    rounds: fn(usize),
    /// Multiply-adds of a round.
    multiply_adds: usize,
}

impl Loop {
    /// Runs about `n` multiply-adds and says how many they were.
    pub fn run(&self, n: usize) -> usize {
        let rounds = (n / self.multiply_adds).max(1);
        (self.rounds)(rounds);
        rounds * self.multiply_adds
    }
}

/// The loops of one instruction set.
#[derive(Clone, Copy)]
pub struct Loops {
    /// Multiply-adds of `f32`.
    pub f32: Loop,
    /// Multiply-adds of bytes into 32-bit sums.
    pub int8: Loop,
    /// Loads every byte.
    pub read: fn(&[Line]),
}

impl Loops {
    /// Those of `isa`; `None` where this CPU cannot run them.
    pub fn of(isa: Isa) -> Option<Loops> {
        isa.kernels()?;
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Some(Loops { f32: x86::F32, int8: x86::AVX2, read: x86::read }),
            #[cfg(target_arch = "x86_64")]
            Isa::Vnni => Some(Loops { f32: x86::F32, int8: x86::VNNI, read: x86::read }),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Some(Loops { f32: arm::F32, int8: arm::NEON, read: arm::read }),
            #[cfg(target_arch = "aarch64")]
            Isa::Dotprod => Some(Loops { f32: arm::F32, int8: arm::DOTPROD, read: arm::read }),
            _ => Some(Loops { f32: SCALAR_F32, int8: SCALAR_INT8, read: read_words }),
        }
    }
}

const SCALAR_F32: Loop = Loop {
    rounds: |n| {
        let (mut sums, [w, x]) = ([0f32; 16], black_box([[0f32; 16]; 2]));
        for _ in 0..n {
            for i in 0..16 {
                sums[i] = w[i].mul_add(x[i], sums[i]);
            }
        }
        black_box(sums);
    },
    multiply_adds: 16,
};

const SCALAR_INT8: Loop = Loop {
    rounds: |n| {
        let (mut sums, [mut w, x]) = ([0i32; 16], [[0i8; 16]; 2]);
        for _ in 0..n {
            w = black_box(w); // or the product would be made once
            for i in 0..16 {
                sums[i] += w[i] as i32 * x[i] as i32;
            }
        }
        black_box(sums);
    },
    multiply_adds: 16,
};

/// The loads that the compiler chooses.
fn read_words(lines: &[Line]) {
    let mut sums = [0u64; 8];
    for line in lines {
        for (sum, word) in sums.iter_mut().zip(line.0) {
            *sum ^= word;
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Line, Loop};
    use std::arch::asm;

    /// A function that repeats lines of assembly on cleared vectors.
    macro_rules! repeat {
        ($feature:literal, $($line:expr),*) => {{
            #[target_feature(enable = $feature)]
            unsafe fn rounds(n: usize) {
                // SAFETY: the caller has the features; only registers change that the ABI lets a function change.
                unsafe {
                    asm!("vzeroall", "2:", $($line,)* "dec rcx", "jnz 2b",
                        inout("rcx") n => _, clobber_abi("sysv64"), options(nomem, nostack))
                }
            }
            // SAFETY: `Loops::of` has seen that the CPU has the instruction set.
            |n| unsafe { rounds(n.max(1)) }
        }};
    }

    pub(super) const F32: Loop = Loop {
        rounds: repeat!(
            "avx2,fma",
            "vfmadd231ps ymm0, ymm14, ymm15",
            "vfmadd231ps ymm1, ymm14, ymm15",
            "vfmadd231ps ymm2, ymm14, ymm15",
            "vfmadd231ps ymm3, ymm14, ymm15",
            "vfmadd231ps ymm4, ymm14, ymm15",
            "vfmadd231ps ymm5, ymm14, ymm15",
            "vfmadd231ps ymm6, ymm14, ymm15",
            "vfmadd231ps ymm7, ymm14, ymm15",
            "vfmadd231ps ymm8, ymm14, ymm15",
            "vfmadd231ps ymm9, ymm14, ymm15",
            "vfmadd231ps ymm10, ymm14, ymm15",
            "vfmadd231ps ymm11, ymm14, ymm15"
        ),
        multiply_adds: 12 * 8,
    };

    pub(super) const AVX2: Loop = Loop {
        rounds: repeat!(
            "avx2",
            "vpmaddubsw ymm8, ymm14, ymm15",
            "vpmaddwd ymm8, ymm8, ymm13",
            "vpaddd ymm0, ymm0, ymm8",
            "vpmaddubsw ymm9, ymm14, ymm15",
            "vpmaddwd ymm9, ymm9, ymm13",
            "vpaddd ymm1, ymm1, ymm9",
            "vpmaddubsw ymm10, ymm14, ymm15",
            "vpmaddwd ymm10, ymm10, ymm13",
            "vpaddd ymm2, ymm2, ymm10",
            "vpmaddubsw ymm11, ymm14, ymm15",
            "vpmaddwd ymm11, ymm11, ymm13",
            "vpaddd ymm3, ymm3, ymm11"
        ),
        multiply_adds: 4 * 32,
    };

    pub(super) const VNNI: Loop = Loop {
        rounds: repeat!(
            "avx512f,avx512vl,avx512vnni",
            "vpdpbusd ymm0, ymm14, ymm15",
            "vpdpbusd ymm1, ymm14, ymm15",
            "vpdpbusd ymm2, ymm14, ymm15",
            "vpdpbusd ymm3, ymm14, ymm15",
            "vpdpbusd ymm4, ymm14, ymm15",
            "vpdpbusd ymm5, ymm14, ymm15",
            "vpdpbusd ymm6, ymm14, ymm15",
            "vpdpbusd ymm7, ymm14, ymm15",
            "vpdpbusd ymm8, ymm14, ymm15",
            "vpdpbusd ymm9, ymm14, ymm15",
            "vpdpbusd ymm10, ymm14, ymm15",
            "vpdpbusd ymm11, ymm14, ymm15"
        ),
        multiply_adds: 12 * 32,
    };

    pub(super) fn read(lines: &[Line]) {
        #[target_feature(enable = "avx2")]
        unsafe fn loads(lines: &[Line; 4]) {
            // SAFETY: the caller has AVX; the loads stay inside the four lines of 64 bytes.
            unsafe {
                asm!("vmovaps {0}, [{p}]", "vmovaps {1}, [{p} + 32]", "vmovaps {0}, [{p} + 64]", "vmovaps {1}, [{p} + 96]",
                    "vmovaps {0}, [{p} + 128]", "vmovaps {1}, [{p} + 160]", "vmovaps {0}, [{p} + 192]",
                    "vmovaps {1}, [{p} + 224]", out(ymm_reg) _, out(ymm_reg) _, p = in(reg) lines,
                    options(nostack, readonly, preserves_flags));
            }
        }
        let (fours, rest) = lines.as_chunks::<4>();
        for lines in fours {
            // SAFETY: `Loops::of` has seen that the CPU has AVX2.
            unsafe { loads(lines) }
        }
        super::read_words(rest);
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{Line, Loop};
    use std::arch::asm;

    /// A function that repeats lines of assembly for the accumulators that a function may use.
    macro_rules! repeat {
        ($feature:literal, $($line:expr),*) => {{
            #[target_feature(enable = $feature)]
            unsafe fn rounds(n: usize) {
                // SAFETY: the caller has the features; only registers change that the ABI lets a function change.
                unsafe {
                    asm!("movi v30.16b, #0", "movi v31.16b, #0",
                        "2:", $($line,)* "subs x0, x0, #1", "b.ne 2b",
                        inout("x0") n => _, clobber_abi("C"), options(nomem, nostack))
                }
            }
            // SAFETY: `Loops::of` has seen that the CPU has the instruction set.
            |n| unsafe { rounds(n.max(1)) }
        }};
    }

    pub(super) const F32: Loop = Loop {
        rounds: repeat!(
            "neon",
            "fmla v0.4s, v30.4s, v31.4s",
            "fmla v1.4s, v30.4s, v31.4s",
            "fmla v2.4s, v30.4s, v31.4s",
            "fmla v3.4s, v30.4s, v31.4s",
            "fmla v4.4s, v30.4s, v31.4s",
            "fmla v5.4s, v30.4s, v31.4s",
            "fmla v6.4s, v30.4s, v31.4s",
            "fmla v7.4s, v30.4s, v31.4s",
            "fmla v16.4s, v30.4s, v31.4s",
            "fmla v17.4s, v30.4s, v31.4s",
            "fmla v18.4s, v30.4s, v31.4s",
            "fmla v19.4s, v30.4s, v31.4s"
        ),
        multiply_adds: 12 * 4,
    };

    pub(super) const NEON: Loop = Loop {
        rounds: repeat!(
            "neon",
            "smull v16.8h, v30.8b, v31.8b",
            "smlal2 v16.8h, v30.16b, v31.16b",
            "sadalp v0.4s, v16.8h",
            "smull v17.8h, v30.8b, v31.8b",
            "smlal2 v17.8h, v30.16b, v31.16b",
            "sadalp v1.4s, v17.8h",
            "smull v18.8h, v30.8b, v31.8b",
            "smlal2 v18.8h, v30.16b, v31.16b",
            "sadalp v2.4s, v18.8h",
            "smull v19.8h, v30.8b, v31.8b",
            "smlal2 v19.8h, v30.16b, v31.16b",
            "sadalp v3.4s, v19.8h"
        ),
        multiply_adds: 4 * 16,
    };

    pub(super) const DOTPROD: Loop = Loop {
        rounds: repeat!(
            "neon,dotprod",
            "sdot v0.4s, v30.16b, v31.16b",
            "sdot v1.4s, v30.16b, v31.16b",
            "sdot v2.4s, v30.16b, v31.16b",
            "sdot v3.4s, v30.16b, v31.16b",
            "sdot v4.4s, v30.16b, v31.16b",
            "sdot v5.4s, v30.16b, v31.16b",
            "sdot v6.4s, v30.16b, v31.16b",
            "sdot v7.4s, v30.16b, v31.16b",
            "sdot v16.4s, v30.16b, v31.16b",
            "sdot v17.4s, v30.16b, v31.16b",
            "sdot v18.4s, v30.16b, v31.16b",
            "sdot v19.4s, v30.16b, v31.16b"
        ),
        multiply_adds: 12 * 16,
    };

    pub(super) fn read(lines: &[Line]) {
        for line in lines {
            // SAFETY: every aarch64 target has NEON; the loads stay inside the line of 64 bytes.
            unsafe {
                asm!("ldp {0:q}, {1:q}, [{p}]", "ldp {0:q}, {1:q}, [{p}, #32]", out(vreg) _, out(vreg) _,
                    p = in(reg) line, options(nostack, readonly, preserves_flags));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_of_this_cpu_runs_its_loops() {
        for isa in Isa::available() {
            let loops = Loops::of(isa).expect("it is available");
            for each in [loops.f32, loops.int8] {
                assert_eq!(each.run(1), each.multiply_adds);
                assert_eq!(each.run(1000 * each.multiply_adds + 1), 1000 * each.multiply_adds);
            }
            (loops.read)(&[Line([1; 8]); 11]);
            (loops.read)(&[]);
        }
    }
}
