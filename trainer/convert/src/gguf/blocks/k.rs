//! K-quants: blocks of 256 weights with scales of scales (Kawrakow, llama.cpp pull request 1684).
//!
//! A block has groups of 16 or 32 weights, each with a small integer scale; Q2, Q4 and Q5 also have a minimum a group. The scales are
//! multiplied by the block's `d`, the minima by its `dmin`.

use super::{half_at, part};

/// 16 bytes of (scale, minimum) nibbles for groups of 16, 64 bytes of 2-bit codes, `d: f16`, `dmin: f16`.
///
/// Byte l of each half of the codes holds weights l, l + 32, l + 64, l + 96 of that half, lowest bits first.
#[inline(always)]
pub(super) fn q2(block: &[u8; 84], out: &mut [f32; 256]) {
    let scales: &[u8; 16] = part::<0, 16>(block);
    let codes: &[u8; 64] = part::<16, 64>(block);
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(scales[group] & 15);
        let minimum = dmin * f32::from(scales[group] >> 4);
        let (first, shift) = place2(group);
        for l in 0..16 {
            out[l] = scale * f32::from(codes[first + l] >> shift & 3) - minimum;
        }
    }
}

/// Where the 2-bit codes of a group of 16 lie: first byte, shift.
#[inline(always)]
fn place2(group: usize) -> (usize, usize) {
    (group / 8 * 32 + group % 2 * 16, group % 8 / 2 * 2)
}

/// 32 bytes of third bits, 64 bytes of 2-bit codes (as in Q2), 12 bytes of sixteen 6-bit scales, `d: f16`.
///
/// A third bit that is not set takes 4 from the code. Bit j of byte l belongs to weight l + 32 j.
#[inline(always)]
pub(super) fn q3(block: &[u8; 110], out: &mut [f32; 256]) {
    let third: &[u8; 32] = part::<0, 32>(block);
    let codes: &[u8; 64] = part::<32, 64>(block);
    let scales: &[u8; 12] = part::<96, 12>(block);
    let d = half_at(block, 108);
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let low = scales[group % 8] >> (group / 8 * 4) & 15;
        let high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
        let scale = d * f32::from((low | high << 4) as i8 - 32);
        let (first, shift) = place2(group);
        let (third, bit) = (&third[group % 2 * 16..][..16], group / 2);
        for l in 0..16 {
            let code = (codes[first + l] >> shift & 3) | (third[l] >> bit & 1) << 2;
            out[l] = scale * f32::from(code as i8 - 4);
        }
    }
}

/// Eight 6-bit scales and eight 6-bit minima in 12 bytes: groups 0 to 3 in the low six bits of bytes 0 to 3 (scales) and 4 to 7
/// (minima); groups 4 to 7 with four bits in bytes 8 to 11 and two at the top of the first eight.
#[inline(always)]
fn scales6(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut minima) = ([0; 8], [0; 8]);
    for j in 0..4 {
        scales[j] = packed[j] & 63;
        minima[j] = packed[j + 4] & 63;
        scales[j + 4] = packed[j + 8] & 15 | packed[j] >> 6 << 4;
        minima[j + 4] = packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4;
    }
    (scales, minima)
}

/// `d: f16`, `dmin: f16`, 12 bytes of scales and minima, 128 bytes of codes.
///
/// Two groups of 32 share 32 bytes: the first has the low halves, the second the high ones.
#[inline(always)]
pub(super) fn q4(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let (scales, minima) = scales6(part::<4, 12>(block));
    let codes: &[u8; 128] = part::<16, 128>(block);
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, minimum) = (d * f32::from(scales[group]), dmin * f32::from(minima[group]));
        let (codes, shift) = (&codes[group / 2 * 32..][..32], group % 2 * 4);
        for l in 0..32 {
            out[l] = scale * f32::from(codes[l] >> shift & 15) - minimum;
        }
    }
}

/// `d: f16`, `dmin: f16`, 12 bytes of scales and minima, 32 bytes of fifth bits (bit j of byte l: weight l + 32 j), 128 bytes of
/// codes as in Q4.
#[inline(always)]
pub(super) fn q5(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let (scales, minima) = scales6(part::<4, 12>(block));
    let fifth: &[u8; 32] = part::<16, 32>(block);
    let codes: &[u8; 128] = part::<48, 128>(block);
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, minimum) = (d * f32::from(scales[group]), dmin * f32::from(minima[group]));
        let (codes, shift) = (&codes[group / 2 * 32..][..32], group % 2 * 4);
        for l in 0..32 {
            let code = codes[l] >> shift & 15 | (fifth[l] >> group & 1) << 4;
            out[l] = scale * f32::from(code) - minimum;
        }
    }
}

/// 128 bytes of the codes' low halves, 64 bytes of their upper two bits, 16 signed scales of groups of 16, `d: f16`.
///
/// Each half of 128 weights is four runs of 32: run r has the low (r < 2) or high halves of 32 bytes, and bits 2r and 2r + 1.
#[inline(always)]
pub(super) fn q6(block: &[u8; 210], out: &mut [f32; 256]) {
    let low: &[u8; 128] = part::<0, 128>(block);
    let high: &[u8; 64] = part::<128, 64>(block);
    let scales: &[u8; 16] = part::<192, 16>(block);
    let d = half_at(block, 208);
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(scales[group] as i8);
        let (half, run, side) = (group / 8, group % 8 / 2, group % 2 * 16);
        let low = &low[half * 64 + run % 2 * 32 + side..][..16];
        let high = &high[half * 32 + side..][..16];
        for l in 0..16 {
            let code = low[l] >> (run / 2 * 4) & 15 | (high[l] >> (run * 2) & 3) << 4;
            out[l] = scale * f32::from(code as i8 - 32);
        }
    }
}
