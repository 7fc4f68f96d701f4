//! The dot product instructions of ARMv8.2 (Cortex-A76: Pi 5; Apple M1, Graviton 2 and later).

use super::super::simd::{Codes, Q4_GROUP, Q8_GROUP};
use super::neon::{Dots, I};
use std::arch::aarch64::*;
use std::arch::asm;

/// Proof that this CPU has SDOT.
#[derive(Clone, Copy)]
pub(in super::super) struct Dotprod(());

impl Dotprod {
    /// Whether this CPU, and the operating system, support it.
    pub(in super::super) fn detected() -> bool {
        std::arch::is_aarch64_feature_detected!("dotprod")
    }

    /// The proof.
    ///
    /// # Safety
    /// [`Dotprod::detected`] must have returned true.
    pub(in super::super) unsafe fn assume() -> Self {
        Dotprod(())
    }
}

/// Four codes of each of eight rows.
#[derive(Clone, Copy)]
struct I8(int8x16_t, int8x16_t);

/// `sum[row] += w[row] . x[4 LANE .. 4 LANE + 4]` for eight rows.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn eight<const LANE: usize>(mut sum: I, w: I8, x: int8x16_t) -> I {
    // SAFETY: the caller has SDOT; the instructions touch nothing but their registers. The intrinsic is unstable.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[{lane}]", inout(vreg) sum.0, in(vreg) w.0, in(vreg) x,
            lane = const LANE, options(pure, nomem, nostack, preserves_flags));
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[{lane}]", inout(vreg) sum.1, in(vreg) w.1, in(vreg) x,
            lane = const LANE, options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// `$body` for each of the four lanes, as a constant: the instruction has it in its encoding.
macro_rules! for_each_lane {
    ($lane:ident, $body:block) => {
        for_each_lane!($lane, $body, 0 1 2 3)
    };
    ($lane:ident, $body:block, $($value:literal)*) => {
        $({
            const $lane: usize = $value;
            $body
        })*
    };
}

impl Dots for Dotprod {
    #[inline(always)]
    fn dot_q8<const P: usize, const T: usize>(self, w: [&[i8; Q8_GROUP]; P], x: [Codes; T]) -> [[I; P]; T] {
        // SAFETY: `Dotprod` exists, so the CPU has SDOT. Chunk c < 8 reads bytes 32c .. 32c + 32 of 256, half h < 2 reads
        // bytes 16h .. 16h + 16 of 32; no read needs alignment.
        unsafe {
            let zero = vdupq_n_s32(0);
            let mut sum = [[I(zero, zero); P]; T];
            for h in 0..2 {
                let x = x.map(|x| vld1q_s8(x.codes.as_ptr().add(16 * h)));
                for p in 0..P {
                    for_each_lane!(LANE, {
                        let w = w[p].as_ptr().add(32 * (4 * h + LANE));
                        let w = I8(vld1q_s8(w), vld1q_s8(w.add(16)));
                        for t in 0..T {
                            sum[t][p] = eight::<LANE>(sum[t][p], w, x[t]);
                        }
                    });
                }
            }
            sum
        }
    }

    #[inline(always)]
    fn dot_q4<const P: usize, const T: usize>(self, w: [&[u8; Q4_GROUP]; P], x: [Codes; T]) -> [[I; P]; T] {
        // SAFETY: `Dotprod` exists, so the CPU has SDOT. Chunk c < 4 reads bytes 32c .. 32c + 32 of 128; the reads of
        // codes are at 0 and 16 of 32; no read needs alignment.
        unsafe {
            let low_bits = vdupq_n_u8(15);
            // The codes are the nibbles less 8.
            let mut sum = x.map(|x| {
                let offset = vdupq_n_s32(-8 * x.sum);
                [I(offset, offset); P]
            });
            let x = x.map(|x| [vld1q_s8(x.codes.as_ptr()), vld1q_s8(x.codes.as_ptr().add(16))]);
            for p in 0..P {
                for_each_lane!(LANE, {
                    let w = w[p].as_ptr().add(32 * LANE);
                    let w = [vld1q_u8(w), vld1q_u8(w.add(16))];
                    let [a, b] = w.map(|w| vreinterpretq_s8_u8(vandq_u8(w, low_bits)));
                    let [c, d] = w.map(|w| vreinterpretq_s8_u8(vshrq_n_u8::<4>(w)));
                    for t in 0..T {
                        sum[t][p] = eight::<LANE>(sum[t][p], I8(a, b), x[t][0]);
                        sum[t][p] = eight::<LANE>(sum[t][p], I8(c, d), x[t][1]);
                    }
                });
            }
            sum
        }
    }
}
