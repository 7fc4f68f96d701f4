//! Files mutated in meaning: fields, entries and whole sections of valid files are changed, the checksums mended, and
//! the result is opened, verified and run.

use super::choices::Choices;
use super::samples::{Sample, samples};
use crate::alloc::peak_of;
use crate::raw_file::RawFile;
use siskin::{Model, Sampler, SamplerOptions, Session, SessionOptions, Tokenizer};
use siskin_format::header::{ENTRY_LEN, HEADER_LEN, MAGIC, Section};
use siskin_format::{Error, File};
use std::ops::Range;
use std::sync::Arc;

/// Most mutations of one file.
const MAX_STEPS: usize = 6;
/// What a session of an accepted file may take.
const BUDGET: usize = 1 << 20;
/// Where the sections begin: behind header and directory, aligned.
const FIRST_SECTION: usize = (HEADER_LEN + Section::ALL.len() * ENTRY_LEN).next_multiple_of(64);

/// Fields of the header and of a directory entry.
const HEADER_FIELDS: [Range<usize>; 10] =
    [0..8, 8..10, 10..12, 12..16, 16..24, 24..32, 32..36, 36..40, 40..48, 48..56];
const ENTRY_FIELDS: [Range<usize>; 5] = [0..4, 4..8, 8..16, 16..24, 24..32];

/// Opens the file that `data` stands for. Bytes that begin like a file are one, its checksums mended; all others are
/// choices: a sample, and what is done to it.
///
/// # Panics
/// When the reader or the runtime breaks a promise.
pub fn file(data: &[u8]) {
    let (bytes, deep) = match data.starts_with(&MAGIC) {
        true => (RawFile::new(data.to_vec()).sealed().bytes, true),
        false => mutated(&mut Choices::new(data)),
    };
    let len = bytes.len();
    let raw = RawFile { bytes };
    let metadata = match raw.range(Section::TensorData).start {
        0 => len,
        start => start,
    };
    let (result, peak) = peak_of(|| File::from_bytes(raw.bytes));
    // The bound of SPEC.md, and the aligned copy of bytes that were given on the heap.
    assert!(peak <= 2 * metadata + (1 << 20) + len, "{peak} bytes allocated for {metadata} of metadata");
    match result {
        Ok(file) => accepted(file, deep),
        Err(error) => refused(&error),
    }
}

/// A refusal is one line that somebody can read.
fn refused(error: &Error) {
    let line = error.to_string();
    assert!(!line.is_empty() && line.len() < 800 && !line.contains(char::is_control), "one line: {line:?}");
}

/// An accepted file keeps what an opened file promises.
fn accepted(file: File, deep: bool) {
    let bytes = file.bytes();
    let section = |index: usize| &bytes[file.sections()[index].range.clone()];
    assert!(file.config().to_meta().to_bytes() == section(0), "one config has one encoding");
    assert!(file.vocab().to_bytes() == section(1), "one vocabulary has one encoding");
    assert!(file.receipt_meta().to_bytes() == section(2), "one receipt has one encoding");
    assert_eq!(file.vocab().len(), file.config().vocab_size);
    let data = &file.sections()[4].range;
    let mut end = data.start;
    for info in file.tensors() {
        assert!(end <= info.range.start && info.range.end <= data.end, "tensors lie apart, in their section");
        end = info.range.end;
        assert_eq!(file.tensor(&info.name).map(|view| view.bytes().len()), Some(info.range.len()));
    }
    let verified = file.verify().is_ok();
    if verified && deep {
        for info in file.tensors() {
            assert!(file.view(info).to_f32().iter().all(|w| w.is_finite()), "verified weights are finite");
        }
    }
    if deep {
        run(file);
    }
}

/// A few tokens of the model, within the budget or not at all. Weights that nobody verified may be NaN.
fn run(file: File) {
    let tokenizer = Tokenizer::from_vocab(file.vocab()).expect("every kind of this version is encoded");
    let prompt = tokenizer.encode("ab aé").unwrap_or_default();
    let model = Arc::new(Model::from_file(file).expect("an opened file has the tensors of its config"));
    let vocab_size = model.config().vocab_size;
    let options =
        SessionOptions { threads: Some(1), batch: 2, max_bytes: Some(BUDGET), ..SessionOptions::default() };
    let needed = model.session_bytes(&SessionOptions { max_bytes: None, ..options.clone() });
    let mut session = match Session::new(model, &options) {
        Ok(session) => session,
        Err(error) => {
            assert!(needed.is_err() || needed.is_ok_and(|needed| needed > BUDGET), "{error}");
            return;
        }
    };
    assert!(needed.is_ok_and(|needed| needed <= BUDGET) && session.bytes() <= BUDGET);
    let mut sampler = Sampler::new(SamplerOptions::greedy(), vocab_size).expect("greedy is always possible");
    let last = vocab_size as u32 - 1;
    let prompt = if prompt.is_empty() { &[0, last][..] } else { &prompt };
    if session.model().config().has_encoder() {
        assert!(matches!(session.forward(prompt), Err(siskin::Error::NoSource)));
        if let Err(error) = session.encode(prompt) {
            assert!(matches!(error, siskin::Error::ContextFull { .. }), "{error}");
            session.encode(&[last]).expect("a context of at least one position");
        }
    }
    for tokens in [prompt, &[last]] {
        match session.forward(tokens) {
            Ok(logits) => {
                assert_eq!(logits.len(), vocab_size);
                if let Ok(token) = sampler.sample(logits) {
                    assert!(!logits[token as usize].is_nan());
                }
            }
            Err(error) => assert!(matches!(error, siskin::Error::ContextFull { .. }), "{error}"),
        }
    }
    assert!(session.forward(&[last + 1]).is_err(), "an id outside the vocabulary");
}

/// A sample after some mutations, and whether it is worth running.
fn mutated(choices: &mut Choices<'_>) -> (Vec<u8>, bool) {
    let all = samples();
    let sample = &all[choices.below(all.len())];
    let mut sections = sample.sections.clone();
    let mut late = Vec::new(); // changes of header and directory wait for the sections
    let first = choices.byte();
    for _ in 0..MAX_STEPS {
        let index = choices.below(5);
        match choices.byte() {
            0..=95 => set_field(sample, index, &mut sections[index], choices),
            96..=127 => copy_field(sample, index, &mut sections[index], choices),
            128..=159 => change_entries(sample, index, &mut sections[index], choices),
            160..=175 => insert_key(&mut sections[[0, 2][index % 2]], choices),
            176..=191 => sections[index].clone_from(&all[choices.below(all.len())].sections[index]),
            192..=207 => change_length(&mut sections[index], choices),
            208..=223 => set_bytes(&mut sections[index], choices),
            _ => late.push((index, choices.byte(), choices.number())),
        }
        if !choices.any() {
            break;
        }
    }
    let file = change_header(join(sample.version(), &sections), &late);
    // A few keep a damaged checksum or padding.
    let file = match first {
        0..=239 => file,
        _ => {
            let at = choices.u64() as usize % file.bytes.len();
            let changed = file.bytes[at] ^ (1 << (first & 7));
            file.put(at, &[changed])
        }
    };
    (file.bytes, first.is_multiple_of(2))
}

/// Sections behind header and directory, checksums right.
fn join(version: [u8; 4], sections: &[Vec<u8>; 5]) -> RawFile {
    let total: usize = sections.iter().map(|s| s.len().next_multiple_of(64)).sum();
    let mut bytes = Vec::with_capacity(FIRST_SECTION + total);
    bytes.extend(MAGIC);
    bytes.extend(version);
    bytes.extend([0; 4]);
    bytes.extend(((FIRST_SECTION + total) as u64).to_le_bytes());
    bytes.extend((HEADER_LEN as u64).to_le_bytes());
    bytes.extend(5u64.to_le_bytes());
    bytes.resize(HEADER_LEN, 0);
    let mut at = FIRST_SECTION;
    for (section, content) in Section::ALL.into_iter().zip(sections) {
        bytes.extend(u64::from(section.code()).to_le_bytes());
        bytes.extend((at as u64).to_le_bytes());
        bytes.extend((content.len() as u64).to_le_bytes());
        bytes.extend([0; 8]); // sealed below
        at += content.len().next_multiple_of(64);
    }
    for content in sections {
        bytes.resize(bytes.len().next_multiple_of(64), 0);
        bytes.extend(content);
    }
    bytes.resize(bytes.len().next_multiple_of(64), 0);
    RawFile { bytes }.sealed()
}

fn change_header(mut file: RawFile, changes: &[(usize, u8, u64)]) -> RawFile {
    for &(index, which, number) in changes {
        let field = match usize::from(which) % 8 {
            0 | 1 => HEADER_FIELDS[usize::from(which) / 8 % HEADER_FIELDS.len()].clone(),
            _ => {
                let field = ENTRY_FIELDS[usize::from(which) / 8 % ENTRY_FIELDS.len()].clone();
                let entry = HEADER_LEN + index * ENTRY_LEN;
                entry + field.start..entry + field.end
            }
        };
        let old = file.u64_at(field.start);
        // Half of them a step away from the truth: by 64, to move a section to where it is aligned.
        let new = if which & 64 == 0 { number } else { old.wrapping_add(number.wrapping_mul(64)) };
        file = file.put(field.start, &new.to_le_bytes()[..field.len()]);
    }
    if changes.is_empty() { file } else { file.sealed_header() }
}

fn set_field(sample: &Sample, index: usize, section: &mut [u8], choices: &mut Choices<'_>) {
    let fields = &sample.fields[index];
    let field = fields[choices.below(fields.len())].clone();
    let how = choices.byte();
    let number = choices.number();
    let Some(bytes) = section.get_mut(field) else { return };
    let n = bytes.len().min(8);
    let mut old = [0; 8];
    old[..n].copy_from_slice(&bytes[..n]);
    let old = u64::from_le_bytes(old);
    let new = match how & 3 {
        0 => number,
        1 => old.wrapping_add(number),
        2 => old.wrapping_sub(number),
        _ => old ^ 1 << (number & 63),
    };
    bytes[..n].copy_from_slice(&new.to_le_bytes()[..n]);
}

fn copy_field(sample: &Sample, index: usize, section: &mut [u8], choices: &mut Choices<'_>) {
    let fields = &sample.fields[index];
    let (from, to) =
        (fields[choices.below(fields.len())].clone(), fields[choices.below(fields.len())].clone());
    let n = from.len().min(to.len());
    if from.start + n <= section.len() && to.start + n <= section.len() {
        section.copy_within(from.start..from.start + n, to.start);
    }
}

/// Removes, repeats or exchanges entries; the count follows, mostly.
fn change_entries(sample: &Sample, index: usize, section: &mut Vec<u8>, choices: &mut Choices<'_>) {
    let entries = &sample.entries[index];
    if entries.is_empty() || section.len() != sample.sections[index].len() {
        return;
    }
    let (a, b) =
        (entries[choices.below(entries.len())].clone(), entries[choices.below(entries.len())].clone());
    let how = choices.byte();
    let mut count = entries.len() as u64;
    match how % 3 {
        0 => {
            section.drain(a);
            count -= 1;
        }
        1 => {
            let copy = section[a].to_vec();
            section.splice(b.start..b.start, copy);
            count += 1;
        }
        _ => {
            let (first, second) = if a.start <= b.start { (a, b) } else { (b, a) };
            if first != second {
                let swapped =
                    [&section[second.clone()], &section[first.end..second.start], &section[first.clone()]]
                        .concat();
                section[first.start..second.end].copy_from_slice(&swapped);
            }
        }
    }
    if how < 224 {
        section[..8].copy_from_slice(&count.to_le_bytes());
    }
}

/// A new metadata entry: a key of any bytes, a type, a value.
fn insert_key(section: &mut Vec<u8>, choices: &mut Choices<'_>) {
    let key_len = choices.below(12);
    let key = choices.bytes(key_len);
    let type_code = choices.byte() % 12;
    let value_len = choices.below(24);
    let mut entry = Vec::new();
    entry.extend((key.len() as u32).to_le_bytes());
    entry.extend(u32::from(type_code).to_le_bytes());
    entry.extend(key);
    if type_code >= 5 {
        entry.extend(choices.number().to_le_bytes());
    }
    entry.extend(choices.bytes(value_len));
    section.extend(entry);
    if let Some(count) = section.first_chunk_mut::<8>() {
        *count = u64::from_le_bytes(*count).wrapping_add(1).to_le_bytes();
    }
}

fn change_length(section: &mut Vec<u8>, choices: &mut Choices<'_>) {
    let by = choices.below(130);
    match choices.byte() % 4 {
        0 => section.truncate(by),
        1 => section.truncate(section.len().saturating_sub(by)),
        2 => section.resize(section.len() + by, 0),
        _ => {
            let tail = section.len().saturating_sub(by)..section.len();
            section.extend_from_within(tail);
        }
    }
}

fn set_bytes(section: &mut [u8], choices: &mut Choices<'_>) {
    let at = choices.below(section.len());
    let n = choices.below(9);
    for (old, &new) in section[at..].iter_mut().zip(choices.bytes(n)) {
        *old = new;
    }
}

/// Inputs made by hand that a fuzzer may start from.
pub fn seeds() -> Vec<Vec<u8>> {
    let choices = (0..samples().len() as u8).map(|sample| vec![sample, 0]);
    let whole = samples().iter().step_by(5).map(|sample| sample.bytes.clone());
    choices.chain(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mutation_gives_the_sample() {
        for (index, sample) in samples().iter().enumerate() {
            assert!(join(sample.version(), &sample.sections).bytes == sample.bytes, "sample {index}");
        }
    }
}
