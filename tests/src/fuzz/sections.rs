//! Any bytes as one of the sections: metadata, a config, a receipt, a vocabulary. What is accepted comes back the same.

use crate::alloc::peak_of;
use siskin_format::meta::Meta;
use siskin_format::{ModelConfig, Receipt, Vocab};

/// Reads `data` as each kind of section.
///
/// # Panics
/// When a reader breaks a promise.
pub fn sections(data: &[u8]) {
    let ((), peak) = peak_of(|| read(data));
    assert!(peak <= 4 * data.len() + (1 << 20), "{peak} bytes allocated for {} bytes", data.len());
}

fn read(data: &[u8]) {
    if let Ok(meta) = Meta::from_bytes(data) {
        assert!(meta.to_bytes() == data);
        let _ = Receipt::from_meta(&meta);
        if let Ok(config) = ModelConfig::from_meta(&meta) {
            assert!(config.to_meta().to_bytes() == data);
        }
    }
    if let Ok(vocab) = Vocab::from_bytes(data) {
        assert!(vocab.to_bytes() == data);
    }
}

/// Inputs made by hand that a fuzzer may start from.
pub fn seeds() -> Vec<Vec<u8>> {
    let samples = super::samples::samples();
    samples.iter().step_by(2).flat_map(|sample| sample.sections[..3].to_vec()).collect()
}
