//! Blocks of 32 weights with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
//!
//! A byte of 4-bit codes holds weight k in its low half and weight k + 16 in its high half; the fifth bits of Q5 stand apart, bit k
//! for weight k. The types that end in `_0` are scale · (code − middle), those in `_1` scale · code + minimum.

use super::{half_at, part};

/// `d: f16`, 16 bytes of codes.
#[inline(always)]
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    let codes: &[u8; 16] = part::<2, 16>(block);
    for k in 0..16 {
        out[k] = d * f32::from((codes[k] & 15) as i8 - 8);
        out[k + 16] = d * f32::from((codes[k] >> 4) as i8 - 8);
    }
}

/// `d: f16`, `m: f16`, 16 bytes of codes.
#[inline(always)]
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    let codes: &[u8; 16] = part::<4, 16>(block);
    for k in 0..16 {
        out[k] = d * f32::from(codes[k] & 15) + m;
        out[k + 16] = d * f32::from(codes[k] >> 4) + m;
    }
}

/// `d: f16`, 32 fifth bits, 16 bytes of codes.
#[inline(always)]
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    let fifth = u32::from_le_bytes(*part::<2, 4>(block));
    let codes: &[u8; 16] = part::<6, 16>(block);
    for k in 0..16 {
        let low = i32::from(codes[k] & 15) | ((fifth >> k & 1) << 4) as i32;
        let high = i32::from(codes[k] >> 4) | ((fifth >> (k + 16) & 1) << 4) as i32;
        out[k] = d * (low - 16) as f32;
        out[k + 16] = d * (high - 16) as f32;
    }
}

/// `d: f16`, `m: f16`, 32 fifth bits, 16 bytes of codes.
#[inline(always)]
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    let fifth = u32::from_le_bytes(*part::<4, 4>(block));
    let codes: &[u8; 16] = part::<8, 16>(block);
    for k in 0..16 {
        let low = i32::from(codes[k] & 15) | ((fifth >> k & 1) << 4) as i32;
        let high = i32::from(codes[k] >> 4) | ((fifth >> (k + 16) & 1) << 4) as i32;
        out[k] = d * low as f32 + m;
        out[k + 16] = d * high as f32 + m;
    }
}

/// `d: f16`, 32 signed bytes.
#[inline(always)]
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    let codes: &[u8; 32] = part::<2, 32>(block);
    for k in 0..32 {
        out[k] = d * f32::from(codes[k] as i8);
    }
}
