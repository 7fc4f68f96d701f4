//! Structure-aware mutation: checksums are mended, so that what lies behind them is reached. The same files every
//! time; `tests/fuzz` holds the endless form.

use super::sweep::exercise;
use super::{file_of, llama, open, tiny};
use siskin_format::header::Section;
use siskin_format::meta::{Meta, Value};
use siskin_format::{DType, Error};
use siskin_tests::models::{self, Rng};
use siskin_tests::raw_file::{Field, RawFile, RawTensor};
use std::collections::BTreeSet;

const N_FILES: usize = 100_000;

/// Numbers at which arithmetic goes wrong.
fn number(rng: &mut Rng) -> u64 {
    let near = [0, 1, 8, 32, 64, 255, 1 << 16, 1 << 20, 1 << 31, 1 << 32, 1 << 61, 1 << 63, u64::MAX];
    match rng.below(4) {
        0 => rng.next_u64(),
        1 => rng.below(300) as u64,
        _ => near[rng.below(near.len())].wrapping_add(rng.below(5) as u64).wrapping_sub(2),
    }
}

fn any_section(rng: &mut Rng) -> Section {
    Section::ALL[rng.below(Section::ALL.len())]
}

/// Overwrites a byte or a number somewhere in a section.
fn overwrite(file: RawFile, rng: &mut Rng) -> RawFile {
    let range = file.range(any_section(rng));
    let at = range.start + rng.below(range.len().max(1));
    match rng.below(3) {
        0 => file.put(at, &[rng.next_u64() as u8]),
        1 => file.put(at, &(number(rng) as u32).to_le_bytes()),
        _ => file.put(at, &number(rng).to_le_bytes()),
    }
}

fn change_header(file: RawFile, rng: &mut Rng) -> RawFile {
    let at = [8, 12, 16, 24, 32, 36, 40, 48][rng.below(8)];
    file.put(at, &number(rng).to_le_bytes()[..1 + rng.below(8)])
}

fn change_entry(file: RawFile, rng: &mut Rng) -> RawFile {
    let field = [Field::Kind, Field::Reserved, Field::Offset, Field::Len][rng.below(4)];
    let at = RawFile::field(any_section(rng), field);
    let old = file.u64_at(at);
    let new = if rng.below(2) == 0 {
        number(rng)
    } else {
        old.wrapping_add(64).wrapping_sub(128 * rng.below(2) as u64)
    };
    file.put(at, &new.to_le_bytes())
}

/// Grows, shrinks or repeats a part of a section.
fn splice(file: &RawFile, rng: &mut Rng) -> RawFile {
    let section = any_section(rng);
    let mut bytes = file.section(section).to_vec();
    let start = rng.below(bytes.len() + 1);
    let end = (start + rng.below(24)).min(bytes.len());
    let part = bytes[start..end].to_vec();
    match rng.below(3) {
        0 => drop(bytes.drain(start..end)),
        1 => drop(bytes.splice(start..start, part)),
        _ => bytes.truncate(start),
    }
    file.with_section(section, &bytes)
}

fn change_tensor(file: &RawFile, rng: &mut Rng) -> RawFile {
    let mut list = RawTensor::list(file.section(Section::TensorDirectory));
    let index = rng.below(list.len());
    let other = list[rng.below(list.len())].clone();
    let n_dims = list[index].dims.len();
    match rng.below(9) {
        0 => list[index].dims[rng.below(n_dims)] = number(rng),
        1 => list[index].dims.push(number(rng)),
        2 => list[index].dtype = rng.below(6) as u8,
        3 => list[index].offset = number(rng),
        4 => list[index].offset = other.offset,
        5 => list[index].len = number(rng),
        6 => list[index].name = other.name,
        7 => drop(list.remove(index)),
        _ => list.insert(index, other),
    }
    let count = if rng.below(8) == 0 { number(rng) } else { list.len() as u64 };
    file.with_section(Section::TensorDirectory, &RawTensor::directory(&list, count))
}

fn change_meta(file: &RawFile, rng: &mut Rng) -> RawFile {
    let section = [Section::Config, Section::Receipt][rng.below(2)];
    let old = Meta::from_bytes(file.section(section)).expect("the samples are valid");
    let picked = rng.below(old.len());
    let mut meta = Meta::new();
    for (index, (key, value)) in old.iter().enumerate() {
        let mut value = value.clone();
        if index == picked {
            match (&mut value, rng.below(4)) {
                (_, 0) => continue,
                (_, 1) => value = Value::I64(number(rng).cast_signed()),
                (Value::Bool(v), _) => *v = !*v,
                (Value::U64(v), _) => *v = number(rng),
                (Value::F64(v), _) => *v = f64::from_bits(number(rng)),
                (Value::U64s(v), 2) => v[0] = number(rng),
                (Value::U64s(v), _) => v.push(number(rng)),
                (Value::Strs(v), 2) => {
                    v[0] = ["rnn", "gru", "lstm", "transformer", "rms", ""][rng.below(6)].into()
                }
                (Value::Strs(v), _) => v.push(String::new()),
                (Value::Str(v), _) => *v = ["none", "rope", "learned", "batch", ""][rng.below(5)].into(),
                _ => value = Value::Str(String::new()),
            }
        }
        meta.set(key, value);
    }
    file.with_section(section, &meta.to_bytes())
}

fn mutate(file: &RawFile, rng: &mut Rng) -> RawFile {
    match rng.below(7) {
        0 => change_header(file.clone(), rng),
        1 => change_entry(file.clone(), rng),
        2 => splice(file, rng),
        3 => change_tensor(file, rng),
        4 => change_meta(file, rng),
        _ => overwrite(file.clone(), rng),
    }
}

/// The variants down to the innermost one, as in "Tensor/Length".
pub(crate) fn kind_of(error: &Error) -> String {
    let name = |debug: String| debug.split(|c: char| !c.is_alphanumeric()).next().unwrap_or("").to_string();
    let inner = match error {
        Error::Meta { error, .. } => name(format!("{error:?}")),
        Error::Tensor { error, .. } => name(format!("{error:?}")),
        Error::TensorDirectory(error) => name(format!("{error:?}")),
        Error::Vocab(error) => name(format!("{error:?}")),
        Error::Config(error) => name(format!("{error:?}")),
        _ => String::new(),
    };
    format!("{}/{inner}", name(format!("{error:?}")))
}

#[test]
fn mutated_files_never_panic_and_stay_within_their_memory() {
    let samples =
        [tiny(), llama(), file_of(&models::lstm(), DType::F16), file_of(&models::gpt(), DType::F32)];
    let mut rng = Rng::new(2024);
    let mut kinds = BTreeSet::new();
    let mut n_accepted = 0;
    for index in 0..N_FILES {
        // Mostly the small sample: it is the fastest, and the reader does not care.
        let sample = if index % 8 == 0 { &samples[rng.below(samples.len())] } else { &samples[0] };
        let mut file = mutate(sample, &mut rng);
        for _ in 0..rng.below(3) {
            file = overwrite(file, &mut rng);
        }
        match open(&file.sealed()) {
            Ok(opened) => {
                n_accepted += 1;
                exercise(&opened);
            }
            Err(error) => drop(kinds.insert(kind_of(&error))),
        }
    }
    // A fuzzer that only ever meets the first check proves nothing.
    assert!(kinds.len() > 50, "{} kinds of refusal: {kinds:?}", kinds.len());
    assert!(n_accepted > N_FILES / 20 && n_accepted < N_FILES / 2, "{n_accepted} of {N_FILES} were accepted");
}
