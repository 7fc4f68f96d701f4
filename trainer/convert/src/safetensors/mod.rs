//! safetensors: one file or many shards, read tensor by tensor; and models written as folders of it.

mod header;
mod shards;
mod tensor;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use header::begins;
pub(crate) use shards::Shards;
pub(crate) use writer::{Output, Parts, write_file};

use siskin_format::{ModelConfig, Vocab};
use std::fs;
use std::path::Path;

use crate::error::{Error, Result};
use crate::import::Weights;
use crate::{hf, recurrent};

/// Writes a model as a folder that others read.
///
/// Transformers in the form of Llama (with Mistral's window, Qwen2's and Qwen3's variants) or GPT-2 become what
/// `transformers.AutoModelForCausalLM.from_pretrained` loads: `config.json`, `model.safetensors` in f32, `tokenizer.json` and
/// `tokenizer_config.json`. Recurrent stacks become a state dict with `torch.nn`'s names and the TOML file that [`crate::open`] reads
/// beside it. The folder is made if it is not there; files of these names in it are replaced.
///
/// # Errors
/// Something of the model that the other side cannot express, named; weights that cannot be read; a file that cannot be written.
pub fn write(folder: &Path, config: &ModelConfig, vocab: &Vocab, weights: &mut dyn Weights) -> Result<()> {
    let unsupported = |problem| Error::Unsupported { path: folder.to_path_buf(), problem };
    if vocab.len() != config.vocab_size {
        let problem =
            format!("{} tokens in the vocabulary and {} in the model", vocab.len(), config.vocab_size);
        return Err(unsupported(problem));
    }
    let is_recurrent = config.blocks.iter().all(|block| block.recurrent().is_some());
    let plan = if is_recurrent { recurrent::plan(config, vocab) } else { hf::plan(config, vocab) };
    let Plan { outputs, texts } = plan.map_err(unsupported)?;
    fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    write_file(&folder.join("model.safetensors"), &outputs, weights)?;
    for (name, text) in texts {
        let path = folder.join(name);
        fs::write(&path, text).map_err(Error::io("write", &path))?;
    }
    Ok(())
}

/// What is to be written: tensors, and texts by the names of their files. What cannot be expressed is known before anything is written.
pub(crate) struct Plan {
    pub(crate) outputs: Vec<Output>,
    pub(crate) texts: Vec<(&'static str, String)>,
}
