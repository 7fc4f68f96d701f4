//! Any change of a folder's small files gives a model or one line.

use proptest::prelude::*;
use std::fs;

use crate::testing::{copied, decoded, golden, line};

/// A folder with one of its files changed in a few bytes.
fn changed(model: &str, file: &str, changes: &[(prop::sample::Index, u8)], cut: usize) {
    let folder = copied(&golden(model));
    let path = folder.path().join(file);
    let mut bytes = fs::read(&path).unwrap();
    for (at, byte) in changes {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    bytes.truncate(bytes.len().saturating_sub(cut).max(1));
    fs::write(&path, bytes).unwrap();
    let source = if file.ends_with(".toml") { path } else { folder.path().to_path_buf() };
    if let Err(error) = decoded(&source) {
        line(&error);
    }
}

/// A byte that means something in JSON or TOML, or any.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![prop::sample::select(&b"0123456789-.eE\",:[]{}=ntf\\ \n"[..]), any::<u8>()]
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), byte()), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn configs(model in prop::sample::select(&["llama3", "qwen2", "gpt2", "mistral"][..]), changes in changes(), cut in prop_oneof![9 => Just(0usize), 1 => 1usize..400]) {
        changed(&format!("hf/{model}"), "config.json", &changes, cut);
    }

    #[test]
    fn indices(changes in changes()) {
        changed("hf/qwen3", "model.safetensors.index.json", &changes, 0);
    }

    #[test]
    fn descriptions(model in prop::sample::select(&["rnn", "gru", "lstm"][..]), changes in changes()) {
        changed("recurrent", &format!("{model}.toml"), &changes, 0);
    }
}
