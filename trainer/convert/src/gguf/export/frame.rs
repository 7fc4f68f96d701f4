//! Writing the frame of a GGUF file: header, metadata, tensor directory.

use crate::gguf::blocks::BlockType;
use crate::gguf::file::{DEFAULT_ALIGNMENT, MAGIC};
use crate::gguf::value::ValueType;

/// The version that is written.
const VERSION: u32 = 3;

/// Metadata and directory, as they grow.
#[derive(Debug, Default)]
pub(crate) struct FrameWriter {
    keys: Vec<u8>,
    n_keys: u64,
    tensors: Vec<u8>,
    n_tensors: u64,
    weights: u64,
}

impl FrameWriter {
    fn key(&mut self, key: &str, kind: ValueType) -> &mut Vec<u8> {
        self.n_keys += 1;
        string(&mut self.keys, key.as_bytes());
        self.keys.extend(kind.code().to_le_bytes());
        &mut self.keys
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        string(self.key(key, ValueType::String), value.as_bytes());
    }

    pub(crate) fn u32(&mut self, key: &str, value: u32) {
        self.key(key, ValueType::U32).extend(value.to_le_bytes());
    }

    pub(crate) fn f32(&mut self, key: &str, value: f32) {
        self.key(key, ValueType::F32).extend(value.to_le_bytes());
    }

    pub(crate) fn bool(&mut self, key: &str, value: bool) {
        self.key(key, ValueType::Bool).push(value.into());
    }

    fn array(&mut self, key: &str, element: ValueType, len: usize) -> &mut Vec<u8> {
        let bytes = self.key(key, ValueType::Array);
        bytes.extend(element.code().to_le_bytes());
        bytes.extend((len as u64).to_le_bytes());
        bytes
    }

    pub(crate) fn strings(&mut self, key: &str, values: &[String]) {
        let bytes = self.array(key, ValueType::String, values.len());
        values.iter().for_each(|value| string(bytes, value.as_bytes()));
    }

    pub(crate) fn f32s(&mut self, key: &str, values: &[f32]) {
        self.array(key, ValueType::F32, values.len()).extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }

    pub(crate) fn i32s(&mut self, key: &str, values: &[i32]) {
        self.array(key, ValueType::I32, values.len()).extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }

    /// Enters a tensor; its weights follow those of the one before. `dims`: columns first, rows of whole blocks.
    pub(crate) fn tensor(&mut self, name: &str, dims: &[u64], kind: BlockType) {
        self.n_tensors += 1;
        string(&mut self.tensors, name.as_bytes());
        self.tensors.extend((dims.len() as u32).to_le_bytes());
        self.tensors.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        self.tensors.extend(kind.code().to_le_bytes());
        self.tensors.extend(self.weights.to_le_bytes());
        let bytes = kind.bytes_for(dims.iter().product()).expect("a tensor that fits a file");
        self.weights += bytes.next_multiple_of(DEFAULT_ALIGNMENT);
    }

    /// All bytes before the first tensor's weights.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.n_tensors.to_le_bytes());
        bytes.extend(self.n_keys.to_le_bytes());
        bytes.extend(self.keys);
        bytes.extend(self.tensors);
        bytes.resize(bytes.len().next_multiple_of(DEFAULT_ALIGNMENT as usize), 0);
        bytes
    }
}

fn string(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text);
}
