//! Ternary weights, −1, 0 or 1 times one scale a block of 256: TQ1_0 and TQ2_0 (llama.cpp pull request 8151).

use super::{half_at, part};

/// 3^n.
const POWERS: [u8; 5] = [1, 3, 9, 27, 81];

/// Digit n of a byte that holds five base-3 digits as a fraction of 256: multiplied by 3^n, its overflow past 256 drops the digits
/// before, and a further 3/256 of it is the digit.
#[inline(always)]
fn digit(byte: u8, power: u8) -> f32 {
    let shifted = byte.wrapping_mul(power);
    f32::from(((u16::from(shifted) * 3) >> 8) as i8 - 1)
}

/// 32 bytes of 160 weights, 16 bytes of 80, 4 bytes of 16 (four digits a byte), `d: f16`. Byte m of a part of w bytes holds its
/// weights m, m + w, m + 2w, ….
#[inline(always)]
pub(super) fn tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
    let d = half_at(block, 52);
    let (first, rest) = out.split_at_mut(160);
    let (second, third) = rest.split_at_mut(80);
    let bytes: &[u8; 32] = part::<0, 32>(block);
    for (n, run) in first.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for m in 0..32 {
            run[m] = d * digit(bytes[m], POWERS[n]);
        }
    }
    let bytes: &[u8; 16] = part::<32, 16>(block);
    for (n, run) in second.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        for m in 0..16 {
            run[m] = d * digit(bytes[m], POWERS[n]);
        }
    }
    let bytes: &[u8; 4] = part::<48, 4>(block);
    for (n, run) in third.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        for m in 0..4 {
            run[m] = d * digit(bytes[m], POWERS[n]);
        }
    }
}

/// 64 bytes of 2-bit codes (as in Q2_K), `d: f16`.
#[inline(always)]
pub(super) fn tq2_0(block: &[u8; 66], out: &mut [f32; 256]) {
    let codes: &[u8; 64] = part::<0, 64>(block);
    let d = half_at(block, 64);
    for (run, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (codes, shift) = (&codes[run / 4 * 32..][..32], run % 4 * 2);
        for m in 0..32 {
            out[m] = d * f32::from((codes[m] >> shift & 3) as i8 - 1);
        }
    }
}
