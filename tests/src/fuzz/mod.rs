//! What fuzzing runs: functions from bytes to nothing, which panic when a promise is broken.
//!
//! `tests/examples/hammer.rs` feeds them random bytes as fast as it can, on any compiler; `tests/fuzz` feeds them to
//! libFuzzer, which looks for bytes that reach new code.

pub mod calls;
pub mod choices;
pub mod file;
pub mod sampler;
pub mod samples;
pub mod sections;
pub mod tokenizer;

/// One thing to fuzz.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on command lines.
    pub name: &'static str,
    /// Tries some bytes.
    pub run: fn(&[u8]),
    /// Inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Most bytes of a random input; few, or most would never be looked at.
    pub max_len: usize,
}

/// Everything that can be fuzzed.
pub const TARGETS: [Target; 5] = [
    Target { name: "file", run: file::file, seeds: file::seeds, max_len: 48 },
    Target { name: "tokenizer", run: tokenizer::tokenizer, seeds: tokenizer::seeds, max_len: 128 },
    Target { name: "sampler", run: sampler::sampler, seeds: sampler::seeds, max_len: 96 },
    Target { name: "calls", run: calls::calls, seeds: calls::seeds, max_len: 160 },
    Target { name: "sections", run: sections::sections, seeds: sections::seeds, max_len: 512 },
];

/// The target of a name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
