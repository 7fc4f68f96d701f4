//! Plain numbers: F32, F16, BF16.

pub(super) fn f32(bytes: &[u8], out: &mut [f32]) {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().zip(out).for_each(|(word, o)| *o = f32::from_le_bytes(*word));
}

pub(super) fn f16(bytes: &[u8], out: &mut [f32]) {
    let (words, _) = bytes.as_chunks::<2>();
    words.iter().zip(out).for_each(|(word, o)| *o = widen(u16::from_le_bytes(*word)));
}

/// BF16 is the upper half of an f32.
pub(super) fn bf16(bytes: &[u8], out: &mut [f32]) {
    let (words, _) = bytes.as_chunks::<2>();
    words
        .iter()
        .zip(out)
        .for_each(|(word, o)| *o = f32::from_bits(u32::from(u16::from_le_bytes(*word)) << 16));
}

/// A half as f32, by arithmetic alone: without asking the processor what it can do, which would cost more than the rest of a block.
///
/// Exponent and mantissa move to their places in an f32 and are scaled by 2^112, the distance of the two biases; this meets
/// subnormal halves too. Infinities and NaN, which no sound file has, keep their meaning.
#[inline(always)]
pub(super) fn widen(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7FFF);
    let sign = u32::from(bits & 0x8000) << 16;
    let rebiased = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
    let special = if magnitude >= 0x7C00 { 0x7F80_0000 } else { 0 };
    f32::from_bits(rebiased.to_bits() | special | sign)
}

#[cfg(test)]
mod tests {
    use super::widen;
    use half::f16;

    #[test]
    fn every_half_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (widen(bits), f16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{bits:#06x}");
        }
    }
}
