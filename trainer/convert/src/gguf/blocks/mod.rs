//! The block types of GGUF, decoded to f32.
//!
//! A row of a tensor is a sequence of blocks, each of which holds [`BlockType::weights`] weights in [`BlockType::bytes`] bytes: scales
//! first or last, then codes of a few bits. The layouts are ggml's; what a block means is said above its decoder. Every decoder computes
//! in f32 and in the order of operations of the reference decoder, without fused multiply-add, so that its results are the
//! reference's to the bit.

mod bits4_5_8;
mod codebook;
mod floats;
mod k;
mod ternary;
#[cfg(test)]
mod tests;

/// How the weights of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockType {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq3S,
    Iq4Nl,
    Iq4Xs,
    Tq1_0,
    Tq2_0,
}

/// Code, name, weights a block, bytes a block.
type Row = (u32, &'static str, u64, u64);

impl BlockType {
    /// Every type, in the order of their codes.
    pub(crate) const ALL: [BlockType; 18] = [
        BlockType::F32,
        BlockType::F16,
        BlockType::Q4_0,
        BlockType::Q4_1,
        BlockType::Q5_0,
        BlockType::Q5_1,
        BlockType::Q8_0,
        BlockType::Q2K,
        BlockType::Q3K,
        BlockType::Q4K,
        BlockType::Q5K,
        BlockType::Q6K,
        BlockType::Iq4Nl,
        BlockType::Iq3S,
        BlockType::Iq4Xs,
        BlockType::Bf16,
        BlockType::Tq1_0,
        BlockType::Tq2_0,
    ];

    fn row(self) -> Row {
        match self {
            BlockType::F32 => (0, "F32", 1, 4),
            BlockType::F16 => (1, "F16", 1, 2),
            BlockType::Q4_0 => (2, "Q4_0", 32, 18),
            BlockType::Q4_1 => (3, "Q4_1", 32, 20),
            BlockType::Q5_0 => (6, "Q5_0", 32, 22),
            BlockType::Q5_1 => (7, "Q5_1", 32, 24),
            BlockType::Q8_0 => (8, "Q8_0", 32, 34),
            BlockType::Q2K => (10, "Q2_K", 256, 84),
            BlockType::Q3K => (11, "Q3_K", 256, 110),
            BlockType::Q4K => (12, "Q4_K", 256, 144),
            BlockType::Q5K => (13, "Q5_K", 256, 176),
            BlockType::Q6K => (14, "Q6_K", 256, 210),
            BlockType::Iq4Nl => (20, "IQ4_NL", 32, 18),
            BlockType::Iq3S => (21, "IQ3_S", 256, 110),
            BlockType::Iq4Xs => (23, "IQ4_XS", 256, 136),
            BlockType::Bf16 => (30, "BF16", 1, 2),
            BlockType::Tq1_0 => (34, "TQ1_0", 256, 54),
            BlockType::Tq2_0 => (35, "TQ2_0", 256, 66),
        }
    }

    /// The code that stands in a file.
    pub(crate) fn code(self) -> u32 {
        self.row().0
    }

    /// The name that ggml gives it.
    pub(crate) fn name(self) -> &'static str {
        self.row().1
    }

    /// Weights in a block.
    pub(crate) fn weights(self) -> u64 {
        self.row().2
    }

    /// Bytes of a block.
    pub(crate) fn bytes(self) -> u64 {
        self.row().3
    }

    /// The type of a code.
    pub(crate) fn from_code(code: u32) -> Option<BlockType> {
        BlockType::ALL.into_iter().find(|t| t.code() == code)
    }

    /// Bytes of `weights` weights, which must be whole blocks; `None` where that wraps.
    pub(crate) fn bytes_for(self, weights: u64) -> Option<u64> {
        (weights / self.weights()).checked_mul(self.bytes())
    }

    /// Decodes whole blocks.
    ///
    /// # Panics
    /// When `bytes` and `out` are not the same number of whole blocks.
    pub(crate) fn decode(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(
            bytes.len() as u64 / self.bytes(),
            out.len() as u64 / self.weights(),
            "blocks of {}",
            self.name()
        );
        assert_eq!(
            (bytes.len() as u64 % self.bytes(), out.len() as u64 % self.weights()),
            (0, 0),
            "whole blocks"
        );
        match self {
            BlockType::F32 => floats::f32(bytes, out),
            BlockType::F16 => floats::f16(bytes, out),
            BlockType::Bf16 => floats::bf16(bytes, out),
            BlockType::Q4_0 => each(bytes, out, bits4_5_8::q4_0),
            BlockType::Q4_1 => each(bytes, out, bits4_5_8::q4_1),
            BlockType::Q5_0 => each(bytes, out, bits4_5_8::q5_0),
            BlockType::Q5_1 => each(bytes, out, bits4_5_8::q5_1),
            BlockType::Q8_0 => each(bytes, out, bits4_5_8::q8_0),
            BlockType::Q2K => each(bytes, out, k::q2),
            BlockType::Q3K => each(bytes, out, k::q3),
            BlockType::Q4K => each(bytes, out, k::q4),
            BlockType::Q5K => each(bytes, out, k::q5),
            BlockType::Q6K => each(bytes, out, k::q6),
            BlockType::Iq3S => each(bytes, out, codebook::iq3_s),
            BlockType::Iq4Nl => each(bytes, out, codebook::iq4_nl),
            BlockType::Iq4Xs => each(bytes, out, codebook::iq4_xs),
            BlockType::Tq1_0 => each(bytes, out, ternary::tq1_0),
            BlockType::Tq2_0 => each(bytes, out, ternary::tq2_0),
        }
    }
}

/// The names of all types, for messages.
pub(crate) fn supported() -> String {
    BlockType::ALL.map(BlockType::name).join(", ")
}

/// What ggml calls a code that siskin does not decode.
pub(crate) fn foreign_name(code: u32) -> Option<&'static str> {
    Some(match code {
        4 => "Q4_2 (removed from ggml)",
        5 => "Q4_3 (removed from ggml)",
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        22 => "IQ2_S",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        31..=33 => "Q4_0 repacked for ARM (removed from ggml)",
        36..=38 => "IQ4_NL repacked (removed from ggml)",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => return None,
    })
}

/// Decodes block by block.
#[inline(always)]
fn each<const BYTES: usize, const WEIGHTS: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; WEIGHTS]),
) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    let (outs, _) = out.as_chunks_mut::<WEIGHTS>();
    blocks.iter().zip(outs).for_each(|(block, out)| decode(block, out));
}

/// The `N` bytes of a block from `AT`.
#[inline(always)]
fn part<const AT: usize, const N: usize>(block: &[u8]) -> &[u8; N] {
    block[AT..AT + N].try_into().expect("a part of a block")
}

/// The half at byte `at` of a block.
#[inline(always)]
fn half_at(block: &[u8], at: usize) -> f32 {
    floats::widen(u16::from_le_bytes([block[at], block[at + 1]]))
}
