//! Every byte of header, directories and metadata changed: refused, or harmless.

use super::{file_of, llama, open, refusal, tiny};
use siskin::{Model, Sampler, SamplerOptions, Session, SessionOptions};
use siskin_format::header::Section;
use siskin_format::{DType, File};
use siskin_tests::models;
use siskin_tests::raw_file::RawFile;
use std::sync::Arc;

/// Uses everything that an opened file offers.
pub(crate) fn exercise(file: &File) {
    let _ = file.verify();
    for info in file.tensors() {
        assert_eq!(file.view(info).to_f32().len(), info.rows * info.cols);
    }
    assert_eq!(file.vocab().len(), file.config().vocab_size);
}

/// Harmless is a file that a session can run, within a budget.
fn generate_one(file: File) {
    let model = Arc::new(Model::from_file(file).unwrap());
    let options = SessionOptions { max_bytes: Some(1 << 22), threads: Some(1), ..SessionOptions::default() };
    let mut session = Session::new(model, &options).unwrap();
    if session.model().config().has_encoder() {
        session.encode(&[0]).unwrap();
    }
    let logits = session.forward(&[0]).unwrap();
    Sampler::new(SamplerOptions::greedy(), logits.len()).unwrap().sample(logits).unwrap();
}

/// A Llama in q4, an LSTM in q8, a GPT in f16.
fn three() -> [RawFile; 3] {
    [llama(), file_of(&models::lstm(), DType::Q8), file_of(&models::gpt(), DType::F16)]
}

#[test]
fn every_prefix_of_three_files_is_refused() {
    for file in three() {
        for len in (0..4096).chain((4096..file.bytes.len()).step_by(61)) {
            refusal(&RawFile::new(file.bytes[..len].to_vec()));
        }
    }
}

/// Without mending anything, no change to what opening reads goes unnoticed.
#[test]
fn every_changed_byte_is_noticed() {
    let four = [
        tiny(),
        file_of(&models::gpt(), DType::F16),
        file_of(&models::gru(), DType::Q4),
        file_of(&models::seq2seq(), DType::Q8),
    ];
    for file in four {
        for at in 0..file.range(Section::TensorData).start {
            for change in [0x01, 0x10, 0x80, 0xff] {
                let changed = file.bytes[at] ^ change;
                refusal(&file.clone().put(at, &[changed]));
            }
        }
    }
}

/// All 255 other values of every byte of header and section directory, checksums mended or not.
#[test]
fn every_header_byte_may_have_any_value() {
    for file in three() {
        let mut n_accepted = 0;
        for at in 0..64 + 5 * 32 {
            for value in 0..=255 {
                if value == file.bytes[at] {
                    continue;
                }
                // A changed checksum must stand, all else is mended around the change.
                for changed in
                    [file.clone().put(at, &[value]).sealed_header(), file.clone().put(at, &[value])]
                {
                    if let Ok(opened) = open(&changed) {
                        n_accepted += 1;
                        if value.is_power_of_two() {
                            exercise(&opened);
                        }
                        generate_one(opened);
                    }
                }
            }
        }
        // Harmless are the 8 bytes of the header's and the 8 of the directory's checksum, which mending restores, and
        // the 8 of the checksum of the tensor data, which only `verify` looks at; and minor versions 1, 2 and 3, of which these files use
        // nothing.
        assert_eq!(n_accepted, 3 * 8 * 255 + 3);
    }
}

/// A few values of every byte of the metadata, checksums mended.
#[test]
fn every_metadata_byte_may_have_any_value() {
    let file = tiny();
    let mut n_accepted = 0;
    for at in 64 + 5 * 32..file.range(Section::TensorData).start {
        let here = file.bytes[at];
        for value in [0, 1, 0x7f, 0x80, 0xff, here ^ 1, here.wrapping_add(1), here.wrapping_sub(1)] {
            if let Ok(opened) = open(&file.clone().put(at, &[value]).sealed()) {
                n_accepted += 1;
                exercise(&opened);
            }
        }
    }
    assert!(n_accepted > 100, "numbers and texts of the receipt may change: {n_accepted}");
}
