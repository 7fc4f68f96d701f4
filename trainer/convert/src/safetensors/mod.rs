//! safetensors: one file or many shards, read tensor by tensor.

mod header;
mod shards;
mod tensor;
#[cfg(test)]
mod tests;

pub(crate) use header::begins;
pub(crate) use shards::Shards;
