//! Any bytes as one of the sections: metadata, a config, a receipt, a vocabulary. What is accepted comes back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use siskin_format::meta::Meta;
use siskin_format::{ModelConfig, Receipt, Vocab};

fuzz_target!(|data: &[u8]| {
    if let Ok(meta) = Meta::from_bytes(data) {
        assert_eq!(meta.to_bytes(), data);
        let _ = Receipt::from_meta(&meta);
        if let Ok(config) = ModelConfig::from_meta(&meta) {
            assert_eq!(config.to_meta().to_bytes(), data);
        }
    }
    if let Ok(vocab) = Vocab::from_bytes(data) {
        assert_eq!(vocab.to_bytes(), data);
    }
});
