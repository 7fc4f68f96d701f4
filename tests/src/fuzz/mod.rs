//! What fuzzing runs: functions from bytes to nothing, which panic when a promise is broken.
//!
//! `tests/examples/hammer.rs` feeds them random bytes as fast as it can, on any compiler; `tests/fuzz` feeds them to
//! libFuzzer, which looks for bytes that reach new code. Both begin with [`Target::inputs`].

pub mod calls;
pub mod choices;
pub mod file;
#[cfg(feature = "imports")]
pub mod imports;
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
    /// Inputs made by hand.
    seeds: fn() -> Vec<Vec<u8>>,
    /// Inputs that libFuzzer found and minimised, [`pack`]ed.
    found: &'static [u8],
    /// Most bytes of a random input; few, or most would never be looked at.
    pub max_len: usize,
}

macro_rules! target {
    ($name:ident, $max_len:literal) => {
        Target {
            name: stringify!($name),
            run: $name::$name,
            seeds: $name::seeds,
            found: include_bytes!(concat!("../../fuzz/seeds/", stringify!($name))),
            max_len: $max_len,
        }
    };
}

/// Everything that can be fuzzed.
pub const TARGETS: &[Target] = &[
    target!(file, 48),
    target!(tokenizer, 128),
    target!(sampler, 96),
    target!(calls, 160),
    target!(sections, 512),
    #[cfg(feature = "imports")]
    target!(imports, 96),
];

/// The target of a name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}

impl Target {
    /// Inputs to start from.
    pub fn inputs(&self) -> Vec<Vec<u8>> {
        let mut inputs = (self.seeds)();
        inputs.extend(unpack(self.found));
        inputs
    }
}

/// Many inputs as one file: the length of each in 4 bytes, little-endian, and the input.
///
/// # Panics
/// When one has 4 GiB.
pub fn pack(inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut packed = Vec::new();
    for input in inputs {
        packed.extend(u32::try_from(input.len()).expect("inputs are short").to_le_bytes());
        packed.extend(input);
    }
    packed
}

/// The inputs of [`pack`].
///
/// # Panics
/// When `packed` was not made by it.
pub fn unpack(mut packed: &[u8]) -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    while let Some((len, rest)) = packed.split_first_chunk::<4>() {
        let (input, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
        inputs.push(input.to_vec());
        packed = rest;
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_passes() {
        for target in TARGETS {
            let inputs = target.inputs();
            assert!(inputs.len() > 4, "{}", target.name);
            for input in inputs.iter().chain([&Vec::new()]) {
                (target.run)(input);
            }
        }
    }

    #[test]
    fn packed_inputs_come_back() {
        let inputs = [vec![1, 2, 3], vec![], vec![9; 300]];
        assert_eq!(unpack(&pack(&inputs)), inputs);
    }
}
