//! Models from elsewhere, mutated: whatever lies in a GGUF file, a llama2.c file, a Hugging Face folder or a recurrent checkpoint, opening it
//! gives a model whose weights can be read, or one line, in memory that the bytes which are there account for.

use super::choices::Choices;
use crate::alloc::peak_of;
use siskin_convert::Options;
use siskin_format::schema;
use std::cell::OnceCell;
use std::fs;
use std::path::Path;

/// Most mutations of one source.
const MAX_STEPS: usize = 6;
/// What opening may allocate, whatever the bytes say.
const SPARE: usize = 2 << 20;
/// What it may allocate for each byte that is there: texts and arrays become values.
const PER_BYTE: usize = 16;
/// Most weights of a tensor that are decoded.
const MOST_WEIGHTS: usize = 1 << 16;

macro_rules! golden {
    ($path:literal) => {
        include_bytes!(concat!("../../goldens/", $path))
    };
}

/// A source: the names of its files, their bytes, and which of them is opened; none for the folder.
struct Sample {
    files: &'static [(&'static str, &'static [u8])],
    opened: Option<&'static str>,
}

const SAMPLES: [Sample; 7] = [
    Sample { files: &[("m.gguf", golden!("gguf/stories260K-Q4_0mix.gguf"))], opened: Some("m.gguf") },
    Sample { files: &[("m.bin", golden!("import/llama2c/v0.bin"))], opened: Some("m.bin") },
    Sample { files: &[("m.bin", golden!("import/llama2c/v1.bin"))], opened: Some("m.bin") },
    Sample { files: &[("m.bin", golden!("import/llama2c/v2.bin"))], opened: Some("m.bin") },
    Sample {
        files: &[
            ("config.json", golden!("import/hf/llama3/config.json")),
            ("model.safetensors", golden!("import/hf/llama3/model.safetensors")),
        ],
        opened: None,
    },
    Sample {
        files: &[
            ("config.json", golden!("import/hf/gpt2/config.json")),
            ("model.safetensors", golden!("import/hf/gpt2/model.safetensors")),
        ],
        opened: None,
    },
    Sample {
        files: &[
            ("m.toml", golden!("import/recurrent/gru.toml")),
            ("m.safetensors", golden!("import/recurrent/gru.safetensors")),
        ],
        opened: Some("m.safetensors"),
    },
];

thread_local! {
    /// Where sources are laid.
    static PLACE: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
}

/// Opens the source that `data` stands for: a sample, and what is done to its files.
///
/// # Panics
/// When an importer breaks a promise.
pub fn imports(data: &[u8]) {
    let mut choices = Choices::new(data);
    let sample = &SAMPLES[choices.below(SAMPLES.len())];
    let mut files: Vec<Vec<u8>> = sample.files.iter().map(|(_, bytes)| bytes.to_vec()).collect();
    for _ in 0..MAX_STEPS {
        if !choices.any() {
            break;
        }
        let at = choices.below(files.len());
        mutate(&mut files[at], &mut choices);
    }
    PLACE.with(|place| {
        let folder = place.get_or_init(|| tempfile::tempdir().expect("a place for sources")).path();
        for ((name, _), bytes) in sample.files.iter().zip(&files) {
            fs::write(folder.join(name), bytes).expect("a source can be laid");
        }
        open(
            &sample.opened.map_or_else(|| folder.to_path_buf(), |name| folder.join(name)),
            files.iter().map(Vec::len).sum(),
        );
        for (name, _) in sample.files {
            fs::remove_file(folder.join(name)).expect("a source can be taken away");
        }
    });
}

/// Changes some bytes; most of what says something stands at the beginning.
fn mutate(bytes: &mut Vec<u8>, choices: &mut Choices<'_>) {
    let near = choices.flag();
    let at = choices.below(if near { bytes.len().min(256) } else { bytes.len() });
    match choices.byte() % 6 {
        0 => {
            let number = choices.number().to_le_bytes();
            let len = choices.one_of(&[1, 2, 4, 8]).min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&number[..len]);
        }
        1 => bytes.truncate(at),
        2 => {
            let n = choices.below(24);
            let more = choices.bytes(n).to_vec();
            bytes.splice(at..at, more);
        }
        3 => {
            let end = (at + choices.below(64)).min(bytes.len());
            bytes.drain(at..end);
        }
        4 => {
            // A digit of a text becomes a large number.
            if let Some(digit) = bytes[at..].iter().position(u8::is_ascii_digit) {
                let number = choices.number().to_string();
                bytes.splice(at + digit..=at + digit, number.into_bytes());
            }
        }
        _ => {
            let end = (at + choices.below(64)).min(bytes.len());
            let twice = bytes[at..end].to_vec();
            bytes.splice(at..at, twice);
        }
    }
}

fn open(path: &Path, len: usize) {
    let options = Options { placeholder_vocab: true, ..Options::default() };
    let (result, peak) = peak_of(|| siskin_convert::open(path, &options));
    assert!(peak <= SPARE + PER_BYTE * len, "{peak} bytes for {len}");
    let mut import = match result {
        Ok(import) => import,
        Err(error) => {
            let line = error.to_string();
            assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
            return;
        }
    };
    import.config.validate().expect("an importer gives valid configs only");
    assert_eq!(import.vocab.len(), import.config.vocab_size);
    for spec in schema(&import.config).iter().filter(|spec| spec.len() <= MOST_WEIGHTS) {
        match import.weights.read(spec) {
            Ok(weights) => assert_eq!(weights.len(), spec.len(), "{}", spec.name),
            Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        }
    }
}

/// Each sample as it is, and with one change.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let samples = 0..SAMPLES.len() as u8;
    samples
        .flat_map(|sample| {
            [vec![sample], vec![sample, 0, 1, 9, 0, 3, 40], vec![sample, 1, 1, 200, 4, 150, 9]]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_models() {
        for sample in &SAMPLES {
            let folder = tempfile::tempdir().unwrap();
            for (name, bytes) in sample.files {
                fs::write(folder.path().join(name), bytes).unwrap();
            }
            let path =
                sample.opened.map_or_else(|| folder.path().to_path_buf(), |name| folder.path().join(name));
            let options = Options { placeholder_vocab: true, ..Options::default() };
            siskin_convert::open(&path, &options).unwrap();
        }
    }

    #[test]
    fn seeds_hold() {
        seeds().iter().for_each(|seed| imports(seed));
    }
}
