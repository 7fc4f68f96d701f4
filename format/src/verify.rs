//! Checks of the weights themselves: what no checksum says, for a file whose maker was careless or hostile.

use crate::error::Error;
use crate::panel::{GROUP, PANEL_ROWS, PanelLayout, Planes};
use crate::pod;
use crate::tensors::TensorInfo;
use half::f16;

/// Checks that every number of a tensor is finite and in range, and that padding is zero.
pub(crate) fn check(info: &TensorInfo, bytes: &[u8]) -> Result<(), Error> {
    let fail = |(what, index)| Err(Error::Value { name: info.name.clone(), what, index });
    let found = match info.layout() {
        None => first(pod::f32s(bytes), |v| !v.is_finite()).map(|i| (NOT_FINITE, i)),
        Some(layout) => {
            let planes = layout.planes(bytes);
            bad_value(&planes).or_else(|| bad_padding(&layout, &planes, bytes))
        }
    };
    found.map_or(Ok(()), fail)
}

const NOT_FINITE: &str = "a weight that is not finite";
const BAD_SCALE: &str = "a scale that is not finite";
const BAD_CODE: &str = "the unused code -128";
const BAD_PADDING: &str = "padding that is not zero";

fn first<T>(values: &[T], is_bad: impl Fn(&T) -> bool) -> Option<usize> {
    values.iter().position(is_bad)
}

fn bad_value(planes: &Planes<'_>) -> Option<(&'static str, usize)> {
    let bad_scale = |scales: &[f16]| first(scales, |s| !s.is_finite()).map(|i| (BAD_SCALE, i));
    match planes {
        Planes::F32(weights) => first(weights, |w| !w.is_finite()).map(|i| (NOT_FINITE, i)),
        Planes::F16(weights) => first(weights, |w| !w.is_finite()).map(|i| (NOT_FINITE, i)),
        Planes::Q8 { scales, codes } => {
            bad_scale(scales).or_else(|| first(codes, |&c| c == i8::MIN).map(|i| (BAD_CODE, i)))
        }
        Planes::Q4 { scales, .. } => bad_scale(scales),
    }
}

/// The gap between the planes, the rows behind the last one and the columns behind the last one.
fn bad_padding(layout: &PanelLayout, planes: &Planes<'_>, bytes: &[u8]) -> Option<(&'static str, usize)> {
    let gap = layout.scales.end..layout.codes.start;
    if let Some(index) = first(&bytes[gap.clone()], |&b| b != 0) {
        return Some((BAD_PADDING, gap.start + index));
    }
    let all_rows = layout.n_panels * PANEL_ROWS;
    let all_cols = if layout.dtype.is_quantized() { layout.n_groups * GROUP } else { layout.cols };
    for row in 0..all_rows {
        let first_padded = if row < layout.rows { layout.cols } else { 0 };
        for col in first_padded..all_cols {
            if let Some(index) = padded_weight(layout, planes, row, col, row >= layout.rows) {
                return Some((BAD_PADDING, index));
            }
        }
    }
    None
}

/// Where a weight of the padding, or in a padded row its scale, is not zero.
fn padded_weight(
    layout: &PanelLayout,
    planes: &Planes<'_>,
    row: usize,
    col: usize,
    row_is_padding: bool,
) -> Option<usize> {
    let float_at = layout.float_index(row, col);
    let scale_at = layout.scale_index(row, col);
    let bad_scale = |scales: &[f16]| (row_is_padding && scales[scale_at].to_bits() != 0).then_some(scale_at);
    match planes {
        Planes::F32(weights) => (weights[float_at].to_bits() != 0).then_some(float_at),
        Planes::F16(weights) => (weights[float_at].to_bits() != 0).then_some(float_at),
        Planes::Q8 { scales, codes } => {
            let at = layout.q8_index(row, col);
            bad_scale(scales).or((codes[at] != 0).then_some(at))
        }
        Planes::Q4 { scales, codes } => {
            let (at, high) = layout.q4_index(row, col);
            let nibble = if high { codes[at] >> 4 } else { codes[at] & 15 };
            bad_scale(scales).or((nibble != 8).then_some(at))
        }
    }
}
