//! The tensor directory: shapes, types, places, and what the config says about them.

use super::{assert_refused, llama, open, tiny};
use siskin_format::error::{DirectoryError, TensorError};
use siskin_format::header::Section;
use siskin_format::meta::Meta;
use siskin_format::{DType, Error, ModelConfig};
use siskin_tests::raw_file::{RawFile, RawTensor};

fn entries(file: &RawFile) -> Vec<RawTensor> {
    RawTensor::list(file.section(Section::TensorDirectory))
}

fn with_entries(file: &RawFile, entries: &[RawTensor]) -> RawFile {
    file.with_section(Section::TensorDirectory, &RawTensor::directory(entries, entries.len() as u64))
}

/// The tiny file with tensor `index` changed.
fn changed(index: usize, change: impl FnOnce(&mut RawTensor)) -> RawFile {
    let mut list = entries(&tiny());
    change(&mut list[index]);
    with_entries(&tiny(), &list)
}

/// Asserts the very error of one tensor.
macro_rules! assert_tensor {
    ($file:expr, $name:expr, $pattern:pat $(if $guard:expr)?) => {
        assert_refused!($file, Error::Tensor { ref name, error: $pattern } if *name == *$name $(&& $guard)?)
    };
}

// Order in the tiny file: embed.weight, blocks.0.norm.weight, blocks.0.norm.bias, blocks.0.w_x, …
const EMBED: usize = 0;
const NORM: usize = 1;
const W_X: usize = 3;

#[test]
fn the_directory_lists_what_the_test_expects() {
    let names: Vec<String> =
        entries(&tiny()).into_iter().map(|t| String::from_utf8(t.name).unwrap()).collect();
    assert_eq!(names[EMBED], "embed.weight");
    assert_eq!(names[NORM], "blocks.0.norm.weight");
    assert_eq!(names[W_X], "blocks.0.w_x");
}

#[test]
fn counts_are_compared_with_the_bytes() {
    let list = entries(&tiny());
    let n = list.len() as u64;
    for count in [n + 10, 1 << 40, u64::MAX] {
        let directory = RawTensor::directory(&list, count);
        let file = tiny().with_section(Section::TensorDirectory, &directory);
        assert_refused!(file, Error::TensorDirectory(DirectoryError::Count { found, .. }) if found == count);
    }
    // As many as fit, and not one of them any good.
    let mut zeros = vec![0; Section::TensorDirectory.max_len() as usize];
    let room = (zeros.len() as u64 - 8) / 40;
    zeros[..8].copy_from_slice(&room.to_le_bytes());
    let file = tiny().with_section(Section::TensorDirectory, &zeros);
    assert_refused!(file, Error::TensorDirectory(DirectoryError::NameLength { entry: 0, found: 0 }));
    let directory = RawTensor::directory(&list, n + 1);
    let file = tiny().with_section(Section::TensorDirectory, &directory);
    assert_refused!(file, Error::TensorDirectory(DirectoryError::Truncated { .. }));
    let directory = RawTensor::directory(&list, n - 1);
    let file = tiny().with_section(Section::TensorDirectory, &directory);
    assert_refused!(file, Error::TensorDirectory(DirectoryError::TrailingBytes { .. }));
    for count in [0, 1] {
        let file = with_entries(&tiny(), &list[..count]);
        let first_missing = ["embed.weight", "blocks.0.norm.weight"][count];
        assert_tensor!(file, first_missing, TensorError::Missing);
    }
    let file = tiny().with_section(Section::TensorDirectory, &[0; 3]);
    assert_refused!(file, Error::TensorDirectory(DirectoryError::Truncated { entry: 0 }));
}

#[test]
fn ranks_are_1_or_2() {
    for rank in [0, 3, 5, 255] {
        let file = changed(EMBED, |t| t.dims = vec![1; rank]);
        assert_tensor!(file, "embed.weight", TensorError::Rank { found } if usize::from(found) == rank);
    }
}

#[test]
fn dimensions_are_not_zero() {
    assert_tensor!(changed(EMBED, |t| t.dims[0] = 0), "embed.weight", TensorError::ZeroDim);
    assert_tensor!(changed(EMBED, |t| t.dims[1] = 0), "embed.weight", TensorError::ZeroDim);
    assert_tensor!(changed(NORM, |t| t.dims[0] = 0), "blocks.0.norm.weight", TensorError::ZeroDim);
}

/// Products that wrap, rows times columns, times bits, and rounded up to panels and groups, for every type.
#[test]
fn sizes_do_not_wrap() {
    let dims = [
        [u64::MAX, u64::MAX],
        [1 << 32, 1 << 32],
        [1 << 63, 2],
        [u64::MAX, 1],
        [1, u64::MAX],
        [u64::MAX - 6, 1],
        [1, u64::MAX - 30],
        [1 << 62, 1],
        [8, 1 << 61],
    ];
    for dtype in DType::ALL {
        for dims in dims {
            for len in [0, 64, u64::MAX] {
                let file = changed(EMBED, |t| {
                    t.dtype = dtype.code();
                    t.dims = dims.to_vec();
                    t.len = len;
                });
                assert_tensor!(file, "embed.weight", TensorError::ShapeOverflow);
            }
        }
    }
    assert_tensor!(
        changed(NORM, |t| t.dims[0] = 1 << 62),
        "blocks.0.norm.weight",
        TensorError::ShapeOverflow
    );
}

#[test]
fn declared_bytes_are_those_of_the_shape() {
    let expected = entries(&tiny())[EMBED].len;
    for len in [0, 1, expected - 1, expected + 1, expected + 64, u64::MAX] {
        let file = changed(EMBED, |t| t.len = len);
        assert_tensor!(file, "embed.weight", TensorError::Length { found, expected: e } if (found, e) == (len, expected));
    }
    // A row is padded to its group of 32, never cut: 33 columns take two groups.
    let file = changed(EMBED, |t| t.dims[1] = 33);
    assert_tensor!(file, "embed.weight", TensorError::Length { expected: e, .. } if e == 64 + 2 * 256);
}

#[test]
fn types_are_known_and_allowed() {
    for code in [4, 5, 128, 255] {
        let file = changed(EMBED, |t| t.dtype = code);
        assert_tensor!(file, "embed.weight", TensorError::UnknownDType { code: c } if c == code);
    }
    for dtype in [DType::F16, DType::Q8, DType::Q4] {
        let file = changed(NORM, |t| t.dtype = dtype.code());
        assert_tensor!(file, "blocks.0.norm.weight", TensorError::DTypeNotAllowed { found } if found == dtype);
    }
}

#[test]
fn places_are_inside_the_section_and_apart() {
    let list = entries(&tiny());
    let end = list.last().map(|t| (t.offset + t.len).next_multiple_of(64)).unwrap();
    for offset in [1, 32, 63] {
        let file = changed(EMBED, |t| t.offset = offset);
        assert_tensor!(file, "embed.weight", TensorError::Misaligned { offset: o } if o == offset);
    }
    let file = changed(EMBED, |t| t.offset = u64::MAX - 63);
    assert_tensor!(file, "embed.weight", TensorError::OffsetOverflow);
    for offset in [end, 1 << 40, u64::MAX - 1023] {
        let file = changed(EMBED, |t| t.offset = offset);
        assert_tensor!(file, "embed.weight", TensorError::PastEnd { .. });
    }
    for offset in [0, list[EMBED].len / 64 * 64 - 64] {
        let file = changed(NORM, |t| t.offset = offset);
        assert_tensor!(file, "blocks.0.norm.weight", TensorError::Overlap { offset: o } if o == offset);
    }
    let file = changed(NORM, |t| t.offset += 64);
    assert_tensor!(file, "blocks.0.norm.weight", TensorError::Hole { .. });
    // Space behind the last tensor is a hole too.
    let data = [tiny().section(Section::TensorData), &[0; 64]].concat();
    let file = tiny().with_section(Section::TensorData, &data);
    assert_tensor!(file, "head.bias", TensorError::Hole { .. });
    let short = &data[..data.len() - 128];
    let file = tiny().with_section(Section::TensorData, short);
    assert_tensor!(file, "head.bias", TensorError::PastEnd { .. });
}

#[test]
fn names_are_text_of_some_length() {
    let file = changed(EMBED, |t| t.name.clear());
    assert_refused!(file, Error::TensorDirectory(DirectoryError::NameLength { entry: 0, found: 0 }));
    for len in [256, 65_535] {
        let file = changed(EMBED, |t| t.name = vec![b'n'; len]);
        assert_refused!(file, Error::TensorDirectory(DirectoryError::NameLength { found, .. }) if usize::from(found) == len);
    }
    for name in [&b"\xff"[..], b"a\0", b"a\nb", b"\x1b[31m"] {
        let file = changed(EMBED, |t| t.name = name.to_vec());
        assert_refused!(file, Error::TensorDirectory(DirectoryError::NameText { entry: 0 }));
    }
    let file = changed(EMBED, |t| t.reserved = 1);
    assert_refused!(file, Error::TensorDirectory(DirectoryError::Reserved { entry: 0 }));
    // The padding behind the name of the first entry, 12 bytes long.
    let mut directory = tiny().section(Section::TensorDirectory).to_vec();
    directory[8 + 24 + 16 + 12] = 1;
    let file = tiny().with_section(Section::TensorDirectory, &directory);
    assert_refused!(file, Error::TensorDirectory(DirectoryError::Reserved { entry: 0 }));
}

/// Names are looked up, never followed.
#[test]
fn a_path_is_a_name_like_any_other() {
    for name in
        ["../../etc/passwd", "/etc/passwd", "http://localhost/", "{{ 7 * 7 }}", "$(true)", "embed.weight "]
    {
        let file = changed(EMBED, |t| t.name = name.into());
        assert_tensor!(file, name, TensorError::Unexpected);
    }
}

#[test]
fn every_tensor_of_the_model_is_there_once_in_order() {
    let list = entries(&llama());
    for index in 0..list.len() {
        let name = String::from_utf8(list[index].name.clone()).unwrap();
        let mut fewer = list.clone();
        fewer.remove(index);
        assert_tensor!(with_entries(&llama(), &fewer), name, TensorError::Missing);

        let mut more = list.clone();
        more.insert(index, RawTensor { name: b"extra".to_vec(), ..list[index].clone() });
        assert_tensor!(with_entries(&llama(), &more), "extra", TensorError::Unexpected);

        let mut twice = list.clone();
        twice.insert(index + 1, list[index].clone());
        assert_tensor!(with_entries(&llama(), &twice), name, TensorError::Duplicate);
    }
    let mut swapped = list.clone();
    swapped.swap(2, 3);
    let expected = String::from_utf8(list[2].name.clone()).unwrap();
    let given = String::from_utf8(list[3].name.clone()).unwrap();
    assert_tensor!(with_entries(&llama(), &swapped), given, TensorError::Order { expected: ref e } if *e == expected);
}

#[test]
fn shapes_are_those_of_the_config() {
    // The same number of weights and of bytes, transposed.
    let file = changed(EMBED, |t| t.dims.reverse());
    assert_tensor!(file, "embed.weight", TensorError::Shape { ref found, ref expected } if *found == [3, 5] && *expected == [5, 3]);
    // A vector as a matrix of one panel with as many bytes.
    let file = changed(NORM, |t| {
        t.dims = vec![8, 1];
        t.len = 32;
    });
    assert_tensor!(file, "blocks.0.norm.weight", TensorError::Shape { .. });
}

/// A config of another width than the tensors: the tensors are what does not fit.
#[test]
fn another_config_does_not_fit_the_tensors() {
    let config = Meta::from_bytes(tiny().section(Section::Config)).unwrap();
    let mut wider = ModelConfig::from_meta(&config).unwrap();
    wider.d_model = 4;
    let file = tiny().with_section(Section::Config, &wider.to_meta().to_bytes());
    assert_tensor!(file, "embed.weight", TensorError::Shape { .. });
    let mut deeper = ModelConfig::from_meta(&config).unwrap();
    deeper.blocks = vec![deeper.blocks[0].clone(); 1024];
    let file = tiny().with_section(Section::Config, &deeper.to_meta().to_bytes());
    assert_tensor!(file, "blocks.1.norm.weight", TensorError::Missing);
    open(&tiny()).unwrap();
}
