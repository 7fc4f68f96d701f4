//! Weights that a checksum vouches for and a kernel must not meet.

use super::{file_of, open, tiny_config};
use half::f16;
use siskin_format::header::Section;
use siskin_format::panel::PanelLayout;
use siskin_format::{DType, Error, File, OpenOptions};
use siskin_tests::raw_file::RawFile;
use siskin_tests::temp_dir;

/// What `verify` says of the tiny model in `dtype` after one change to `embed.weight` (5 x 3), checksums mended.
fn verdict(dtype: DType, change: impl FnOnce(&PanelLayout, &mut [u8])) -> Option<Error> {
    let file = file_of(&tiny_config(), dtype);
    let layout = PanelLayout::new(dtype, 5, 3).unwrap();
    let mut data = file.section(Section::TensorData).to_vec();
    change(&layout, &mut data[..layout.bytes()]);
    let file = file.with_section(Section::TensorData, &data);
    let opened = open(&file).expect("opening does not look at weights");
    let found = opened.verify().err();
    assert_eq!(found.as_ref().map(Error::to_string), open_verified(&file).map(|e| e.to_string()));
    found
}

fn open_verified(file: &RawFile) -> Option<Error> {
    let dir = temp_dir();
    let path = dir.path().join("model.siskin");
    std::fs::write(&path, &file.bytes).unwrap();
    File::open(&path, &OpenOptions { verify_weights: true, ..OpenOptions::default() }).err()
}

#[track_caller]
fn assert_value(found: Option<Error>, expected: &str, at: usize) {
    match found {
        Some(Error::Value { name, what, index }) if name == "embed.weight" => {
            assert_eq!((what, index), (expected, at));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn untouched_weights_pass() {
    for dtype in DType::ALL {
        assert!(verdict(dtype, |_, _| {}).is_none());
    }
}

#[test]
fn scales_are_finite() {
    for dtype in [DType::Q8, DType::Q4] {
        for bad in [f16::NAN, f16::INFINITY, f16::NEG_INFINITY] {
            let found = verdict(dtype, |_, bytes| bytes[2 * 4..][..2].copy_from_slice(&bad.to_le_bytes()));
            assert_value(found, "a scale that is not finite", 4);
        }
    }
}

#[test]
fn floats_are_finite() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let found = verdict(DType::F32, |layout, bytes| {
            bytes[4 * layout.float_index(1, 2)..][..4].copy_from_slice(&bad.to_le_bytes());
        });
        assert_value(found, "a weight that is not finite", 17);
        let found = verdict(DType::F16, |layout, bytes| {
            let bad = f16::from_f32(bad);
            bytes[2 * layout.float_index(1, 2)..][..2].copy_from_slice(&bad.to_le_bytes());
        });
        assert_value(found, "a weight that is not finite", 17);
    }
}

#[test]
fn vectors_are_finite() {
    let file = file_of(&tiny_config(), DType::Q8);
    let norm = open(&file).unwrap().tensor("blocks.0.norm.weight").unwrap().info().range.clone();
    let file = file.put(norm.start + 4, &f32::NAN.to_le_bytes()).sealed();
    let found = open(&file).unwrap().verify().unwrap_err();
    assert!(
        matches!(found, Error::Value { ref name, index: 1, .. } if name == "blocks.0.norm.weight"),
        "{found}"
    );
}

#[test]
fn codes_are_in_range() {
    let found = verdict(DType::Q8, |layout, bytes| {
        bytes[layout.codes.start + layout.q8_index(2, 1)] = 0x80;
    });
    assert_value(found, "the unused code -128", 9);
}

#[test]
fn padding_is_zero() {
    let what = "padding that is not zero";
    // Row 5 is behind the last row, column 3 behind the last column.
    for (row, col) in [(5, 0), (7, 2)] {
        let found = verdict(DType::F32, |layout, bytes| bytes[4 * layout.float_index(row, col)] = 1);
        assert_value(found, what, col * 8 + row);
        let found = verdict(DType::F16, |layout, bytes| bytes[2 * layout.float_index(row, col)] = 1);
        assert_value(found, what, col * 8 + row);
    }
    for (row, col) in [(5, 0), (0, 3), (4, 31)] {
        let mut at = 0;
        let found = verdict(DType::Q8, |layout, bytes| {
            at = layout.q8_index(row, col);
            bytes[layout.codes.start + at] = 1;
        });
        assert_value(found, what, at);
        let found = verdict(DType::Q4, |layout, bytes| {
            at = layout.q4_index(row, col).0;
            bytes[layout.codes.start + at] ^= if layout.q4_index(row, col).1 { 0x10 } else { 0x01 };
        });
        assert_value(found, what, at);
    }
    for dtype in [DType::Q8, DType::Q4] {
        let found = verdict(dtype, |_, bytes| bytes[2 * 5] = 1);
        assert_value(found, what, 5);
        let found = verdict(dtype, |layout, bytes| bytes[layout.scales.end] = 1);
        assert_value(found, what, 16);
    }
}

#[test]
fn the_space_between_tensors_is_zero() {
    let file = file_of(&tiny_config(), DType::Q8);
    let norm = open(&file).unwrap().tensor("blocks.0.norm.weight").unwrap().info().range.clone();
    let found = open(&file.put(norm.end, &[1]).sealed()).unwrap().verify().unwrap_err();
    assert!(matches!(found, Error::Padding { offset } if offset == norm.end as u64), "{found}");
}
