//! Weights as blocks of F32, F16, Q8_0 and Q4_0.
//!
//! siskin's q8 and q4 are Q8_0 and Q4_0 in other places: groups of 32 along a row, an f16 scale each, the same codes. Weights that came from
//! such codes are recognised and carried over exactly; all others are quantized as siskin does it.

use half::f16;
use siskin_format::DType;
use siskin_format::panel::{GROUP, PANEL_ROWS, Planes};
use siskin_format::quant::PackedMatrix;

use crate::gguf::blocks::BlockType;

/// The block type of a matrix that is exported as `dtype`: rows that are no whole groups are F16 instead.
pub(super) fn matrix_type(dtype: DType, cols: usize) -> BlockType {
    match dtype {
        DType::F32 => BlockType::F32,
        DType::Q8 if cols.is_multiple_of(GROUP) => BlockType::Q8_0,
        DType::Q4 if cols.is_multiple_of(GROUP) => BlockType::Q4_0,
        DType::F16 | DType::Q8 | DType::Q4 => BlockType::F16,
    }
}

/// Appends row-major weights, `cols` a row, as blocks of one of the four types.
///
/// # Errors
/// A weight that is not finite or beyond what the type holds.
pub(super) fn encode(
    kind: BlockType,
    weights: &[f32],
    cols: usize,
    bytes: &mut Vec<u8>,
) -> Result<(), String> {
    if let Some(weight) = weights.iter().find(|w| !w.is_finite()) {
        return Err(format!("a weight is {weight}, expected a finite number"));
    }
    match kind {
        BlockType::F32 => bytes.extend(weights.iter().flat_map(|w| w.to_le_bytes())),
        BlockType::F16 => {
            for weight in weights {
                let half = f16::from_f32(*weight);
                if half.is_infinite() {
                    return Err(format!("a weight is {weight}, beyond what F16 can hold; export f32"));
                }
                bytes.extend(half.to_le_bytes());
            }
        }
        BlockType::Q8_0 => return quantized(DType::Q8, weights, cols, bytes),
        BlockType::Q4_0 => return quantized(DType::Q4, weights, cols, bytes),
        other => unreachable!("{} is not written", other.name()),
    }
    Ok(())
}

/// A scale and 32 codes, which weigh scale · code.
type Group = (f16, [i8; GROUP]);

fn quantized(dtype: DType, weights: &[f32], cols: usize, bytes: &mut Vec<u8>) -> Result<(), String> {
    for panel in weights.chunks(cols * PANEL_ROWS) {
        let groups = panel.as_chunks::<GROUP>().0;
        let recovered: Vec<Option<Group>> = groups.iter().map(|group| recover(dtype, group)).collect();
        let packed = if recovered.contains(&None) { Some(pack(dtype, panel, cols)?) } else { None };
        for (index, group) in recovered.into_iter().enumerate() {
            let at = index * GROUP;
            let group = group.unwrap_or_else(|| {
                group_of(
                    packed.as_ref().expect("packed if any group was not recovered"),
                    at / cols,
                    at % cols,
                )
            });
            write(dtype, &group, bytes);
        }
    }
    Ok(())
}

fn write(dtype: DType, (scale, codes): &Group, bytes: &mut Vec<u8>) {
    bytes.extend(scale.to_le_bytes());
    match dtype {
        DType::Q8 => bytes.extend(codes.map(|code| code as u8)),
        _ => bytes
            .extend((0..GROUP / 2).map(|k| (codes[k] + 8) as u8 | ((codes[k + GROUP / 2] + 8) as u8) << 4)),
    }
}

/// Up to 8 rows as siskin quantizes them.
fn pack(dtype: DType, panel: &[f32], cols: usize) -> Result<PackedMatrix, String> {
    let mut packed = PackedMatrix::zeroed(dtype, panel.len() / cols, cols).map_err(|e| e.to_string())?;
    packed.panels_mut().remove(0).pack(panel).map_err(|e| e.to_string())?;
    Ok(packed)
}

fn group_of(packed: &PackedMatrix, row: usize, col: usize) -> Group {
    let layout = packed.layout();
    let scale = layout.scale_index(row, col);
    match packed.planes() {
        Planes::Q8 { scales, codes } => {
            (scales[scale], std::array::from_fn(|k| codes[layout.q8_index(row, col + k)]))
        }
        Planes::Q4 { scales, codes } => {
            let code = |k| {
                let (at, high) = layout.q4_index(row, col + k);
                (if high { codes[at] >> 4 } else { codes[at] & 15 }) as i8 - 8
            };
            (scales[scale], std::array::from_fn(code))
        }
        _ => unreachable!("packed as q8 or q4"),
    }
}

/// Scale and codes that weigh exactly `weights`, if there are any.
///
/// The largest weight is tried as every code that it could be; the outermost come first, since that is how scales are chosen.
fn recover(dtype: DType, weights: &[f32; GROUP]) -> Option<Group> {
    let largest = weights.iter().fold(0.0f32, |max, &w| if w.abs() > max.abs() { w } else { max });
    if largest == 0.0 {
        return Some((f16::ZERO, [0; GROUP]));
    }
    // 11 bits of a half times 7 bits of a code leave the last 6 of an f32's 24 zero.
    if largest.is_normal() && largest.to_bits() & 63 != 0 {
        return None;
    }
    let (lowest, highest) = if dtype == DType::Q8 { (-127, 127) } else { (-8, 7) };
    let outermost = (1..=-lowest).rev().flat_map(|code| [-code, code]).filter(|code| *code <= highest);
    outermost.into_iter().find_map(|code| {
        let scale = f16::from_f32(largest / code as f32);
        let step = scale.to_f32();
        if !scale.is_finite() || step * code as f32 != largest {
            return None;
        }
        let mut codes = [0; GROUP];
        for (code, &weight) in codes.iter_mut().zip(weights) {
            let nearest = (weight / step).round_ties_even();
            if step * nearest != weight || nearest < lowest as f32 || nearest > highest as f32 {
                return None;
            }
            *code = nearest as i8;
        }
        Some((scale, codes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(kind: BlockType, bytes: &[u8], len: usize) -> Vec<f32> {
        let mut out = vec![0.0; len];
        kind.decode(bytes, &mut out);
        out
    }

    #[test]
    fn the_type_of_a_matrix_follows_its_rows() {
        assert_eq!(matrix_type(DType::Q8, 64), BlockType::Q8_0);
        assert_eq!(matrix_type(DType::Q4, 64), BlockType::Q4_0);
        assert_eq!(matrix_type(DType::Q4, 172), BlockType::F16);
        assert_eq!(matrix_type(DType::F32, 172), BlockType::F32);
    }

    #[test]
    fn what_a_type_cannot_hold_is_refused() {
        let mut bytes = Vec::new();
        let mut row = [1.0; 32];
        row[7] = 1e38;
        for (kind, word) in [(BlockType::F16, "F16"), (BlockType::Q8_0, "q8"), (BlockType::Q4_0, "q4")] {
            assert!(encode(kind, &row, 32, &mut bytes).unwrap_err().contains(word), "{kind:?}");
        }
        row[7] = f32::NAN;
        assert!(encode(BlockType::F32, &row, 32, &mut bytes).unwrap_err().contains("NaN"));
    }

    proptest! {
        /// Any codes with any scale come back, whether the outermost code occurs or not.
        #[test]
        fn codes_are_carried_over_exactly(
            scale in 1u16..0x7C00, negative: bool, codes in prop::collection::vec(-127i8..=127, 64), q4: bool,
        ) {
            let step = f16::from_bits(scale | u16::from(negative) << 15).to_f32();
            let weights: Vec<f32> =
                codes.iter().map(|&code| step * f32::from(if q4 { code.rem_euclid(16) - 8 } else { code })).collect();
            let (dtype, kind) = if q4 { (DType::Q4, BlockType::Q4_0) } else { (DType::Q8, BlockType::Q8_0) };
            for group in weights.as_chunks::<GROUP>().0 {
                prop_assert!(recover(dtype, group).is_some());
            }
            let mut bytes = Vec::new();
            encode(kind, &weights, 32, &mut bytes).unwrap();
            prop_assert_eq!(decoded(kind, &bytes, 64), weights);
        }

        /// Other weights are met as siskin's own quantizer meets them.
        #[test]
        fn other_weights_are_quantized(weights in prop::collection::vec(-3.0f32..3.0, 96 * 3), q4: bool) {
            let (dtype, kind) = if q4 { (DType::Q4, BlockType::Q4_0) } else { (DType::Q8, BlockType::Q8_0) };
            let mut bytes = Vec::new();
            encode(kind, &weights, 96, &mut bytes).unwrap();
            let packed = pack(dtype, &weights, 96).unwrap();
            let expected = siskin_format::quant::unpack(packed.layout(), packed.bytes());
            prop_assert_eq!(decoded(kind, &bytes, weights.len()), expected);
        }
    }
}
