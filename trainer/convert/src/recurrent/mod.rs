//! Recurrent checkpoints: a safetensors file of a PyTorch state dict, and beside it a TOML file of the same name that says what the
//! tensors do not.
//!
//! ```toml
//! family = "lstm"                # rnn, gru or lstm: torch.nn.RNN, GRU or LSTM
//! prefix = "rnn."                # what the names of its tensors begin with; found if left out; a list for modules on top of each other
//! embedding = "embedding.weight" # the embedding's tensor, or "one-hot"
//! head = "fc.weight"             # the head's weight; the embedding's name ties them
//! head_bias = "fc.bias"          # left out: none
//! activation = "tanh"            # rnn only: tanh, relu or leaky-relu
//! context = 256                  # window of truncated backpropagation, for training on
//! tokens = ["<bos>", "a", "b"]   # by id: code points and names of marks, or numbers of bytes; left out: tokenizer.json
//! bos = "<bos>"                  # roles, by token; also eos, unk and pad
//! ```
//!
//! The names are those of `torch.nn`: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, and so on with `l1`, …. PyTorch adds two biases;
//! those of an LSTM and an RNN are summed here, a GRU keeps both, because its reset gate multiplies one of them.

mod description;
mod export;
#[cfg(test)]
mod tests;

pub(crate) use export::plan;

use siskin_format::config::{
    BlockConfig, MAX_BLOCKS, ModelConfig, Norm, Position, RecurrentConfig, RnnConfig,
};
use siskin_format::vocab::SpecialIds;
use siskin_format::{TensorSpec, schema};
use std::path::Path;

use crate::error::{Error, Result};
use crate::import::Import;
use crate::open::Options;
use crate::recipe::{Cooked, Recipe};
use crate::safetensors::Shards;
use crate::source::{Source, shown};
use crate::vocabulary;
use description::{Description, Family, OneOrMany};

/// Most tokens of a one-hot input, whose embedding is the identity and grows with their square.
const MAX_ONE_HOT: usize = 8192;
/// The embedding of a model that has none.
pub(crate) const ONE_HOT: &str = "one-hot";

/// Opens a checkpoint by its safetensors file.
pub(crate) fn open(path: &Path, options: &Options) -> Result<Import> {
    let about = Source::open(&path.with_extension("toml"))?;
    let description = description::read(&about)?;
    let shards = Shards::of(vec![Source::open(path)?])?;
    let layers = layers(&shards, &description)?;
    let config = config(&shards, &description, &layers)?;
    config.validate().map_err(|e| about.malformed(e.to_string()))?;
    let recipes =
        schema(&config).into_iter().map(|spec| (spec.clone(), recipe(&spec, &description, &layers)));
    let weights = Cooked::new(shards, recipes.collect())?;
    if let Some(first) = weights.unread().first() {
        return Err(Error::Tensor {
            path: path.to_path_buf(),
            name: shown(first),
            problem: format!("is not part of the model that {} describes", about.path().display()),
        });
    }
    let mut notes = Vec::new();
    let listed = if options.tokenizer.is_none() { description.vocab(&about)? } else { None };
    let vocab = match listed {
        Some(vocab) if vocab.len() != config.vocab_size => {
            let (found, rows) = (vocab.len(), config.vocab_size);
            return Err(about.tokenizer(format!("{found} tokens, but the embedding has {rows} rows")));
        }
        Some(vocab) => vocab,
        None => {
            let tokenizer = path.with_file_name("tokenizer.json");
            vocabulary::of(&tokenizer, options, config.vocab_size, SpecialIds::default(), &mut notes)?
        }
    };
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let origin = weights.shards().origin(name);
    Ok(Import { config, vocab, origin, notes, weights: Box::new(weights) })
}

/// A layer: what the names of its tensors begin and end with, and its widths.
struct Layer {
    prefix: String,
    index: usize, // in its module
    hidden: usize,
    bias: bool,
}

impl Layer {
    fn name(&self, tensor: &str) -> String {
        format!("{}{tensor}_l{}", self.prefix, self.index)
    }
}

/// The layers of all modules, first layer first.
fn layers(shards: &Shards, description: &Description) -> Result<Vec<Layer>> {
    let prefixes = match &description.prefix {
        Some(OneOrMany::One(prefix)) => vec![prefix.clone()],
        Some(OneOrMany::Many(prefixes)) => prefixes.clone(),
        None => vec![only_prefix(shards)?],
    };
    refuse(shards)?;
    let mut layers = Vec::new();
    for prefix in &prefixes {
        for index in 0.. {
            let weight = format!("{prefix}weight_hh_l{index}");
            if index > 0 && shards.get(&weight).is_none() {
                break;
            }
            let tensor = shards.require(&weight)?;
            let &[_, hidden] = tensor.shape() else {
                return Err(tensor.error(format!("{} dimensions, expected 2", tensor.shape().len())));
            };
            if layers.len() == MAX_BLOCKS {
                return Err(tensor.error(format!("is beyond the {MAX_BLOCKS} layers that a model may have")));
            }
            let bias = shards.get(&format!("{prefix}bias_ih_l{index}")).is_some();
            layers.push(Layer { prefix: prefix.clone(), index, hidden: size(hidden), bias });
        }
    }
    Ok(layers)
}

/// Refuses what `torch.nn` can do and siskin's blocks cannot.
fn refuse(shards: &Shards) -> Result<()> {
    for name in shards.names() {
        let kind = if name.contains("weight_") && name.ends_with("_reverse") {
            "reads backwards (bidirectional)"
        } else if name.contains("weight_hr_l") {
            "projects the state (proj_size)"
        } else {
            continue;
        };
        return Err(shards.require(name)?.error(format!("{kind}, which siskin has no block for")));
    }
    Ok(())
}

/// The prefix of the only module there is.
fn only_prefix(shards: &Shards) -> Result<String> {
    let names = shards.names();
    let found: Vec<&str> = names.into_iter().filter_map(|name| name.strip_suffix("weight_hh_l0")).collect();
    let problem = match found[..] {
        [prefix] => return Ok(prefix.to_string()),
        [] => "no tensor is named weight_hh_l0 behind any prefix, as those of torch.nn.RNN, GRU and LSTM are"
            .to_string(),
        [first, ..] => format!(
            "{} modules have a weight_hh_l0; list their prefixes in the order of the layers: prefix = [\"{}\", …]",
            found.len(),
            shown(first)
        ),
    };
    Err(Error::Malformed { path: shards.path().to_path_buf(), problem })
}

/// A dimension that is checked later, against the limits of a config.
fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn config(shards: &Shards, description: &Description, layers: &[Layer]) -> Result<ModelConfig> {
    let matrix = |name: &str| {
        let tensor = shards.require(name)?;
        match tensor.shape() {
            &[rows, cols] => Ok((size(rows), size(cols))),
            shape => Err(tensor.error(format!("{} dimensions, expected 2", shape.len()))),
        }
    };
    let (vocab_size, _) = matrix(&description.head)?;
    let d_model = match description.embedding.as_str() {
        ONE_HOT if vocab_size > MAX_ONE_HOT => {
            let problem = format!("{vocab_size} tokens, expected at most {MAX_ONE_HOT} with one-hot input");
            return Err(shards.require(&description.head)?.error(problem));
        }
        ONE_HOT => vocab_size,
        name => matrix(name)?.1,
    };
    let block = |layer: &Layer| {
        let cell =
            RecurrentConfig { hidden: layer.hidden, norm: Norm::None, residual: false, bias: layer.bias };
        match description.family {
            Family::Rnn => BlockConfig::Rnn(RnnConfig { cell, activation: description.activation.into() }),
            Family::Gru => BlockConfig::Gru(cell),
            Family::Lstm => BlockConfig::Lstm(cell),
        }
    };
    Ok(ModelConfig {
        vocab_size,
        d_model,
        context: description.context,
        position: Position::None,
        blocks: layers.iter().map(block).collect(),
        encoder: Vec::new(),
        final_norm: Norm::None,
        norm_eps: 1e-5,
        norm_weight: true,
        norm_bias: true,
        tied_head: description.head == description.embedding,
        head_bias: description.head_bias.is_some(),
        logit_softcap: 0.0,
        rope_divisors: Vec::new(),
    })
}

fn recipe(spec: &TensorSpec, description: &Description, layers: &[Layer]) -> Recipe {
    let Some(block) = spec.block else {
        return match (spec.name.as_str(), description.embedding.as_str()) {
            ("embed.weight", ONE_HOT) => Recipe::Identity,
            ("embed.weight", name) => Recipe::Same(name.to_string()),
            ("head.weight", _) => Recipe::Same(description.head.clone()),
            ("head.bias", _) => Recipe::Same(description.head_bias.clone().unwrap_or_default()),
            (other, _) => unreachable!("a recurrent checkpoint has no tensor {other}"),
        };
    };
    let layer = &layers[block];
    match spec.name.rsplit('.').next() {
        Some("w_x") => Recipe::Same(layer.name("weight_ih")),
        Some("w_h") => Recipe::Same(layer.name("weight_hh")),
        Some("b_x") if description.family == Family::Gru => Recipe::Same(layer.name("bias_ih")),
        Some("b_x") => Recipe::Sum(layer.name("bias_ih"), layer.name("bias_hh")),
        Some("b_h") => Recipe::Same(layer.name("bias_hh")),
        _ => unreachable!("a recurrent block has no tensor {}", spec.name),
    }
}
