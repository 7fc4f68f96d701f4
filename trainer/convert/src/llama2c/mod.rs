//! Checkpoints of [llama2.c](https://github.com/karpathy/llama2.c): versions 0, 1 and 2 (8 bits in groups), with `tokenizer.bin`.
//!
//! The architecture is always Llama's with RMS norms of eps 1e-5 and RoPE of base 10,000, which turns pairs of neighbours, `(2i, 2i+1)`,
//! where siskin turns `(i, i + head_dim/2)`: the rows of wq and wk change their order within each head, which leaves every product of a
//! query and a key as it was.

mod header;
mod layout;
#[cfg(test)]
mod tests;

pub(crate) use header::begins;

use siskin_format::config::{BlockConfig, Ffn, ModelConfig, Norm, Position, TransformerConfig};
use siskin_format::vocab::SpecialIds;
use siskin_format::{TensorSpec, schema};
use std::path::Path;

use crate::error::Result;
use crate::import::{Import, Weights};
use crate::open::Options;
use crate::source::Source;
use crate::vocabulary;
use header::{Header, Version};
use layout::{Layout, Place, Storage, turned};

/// Ids of the marks that llama2.c's run.c has built in.
const BOS: u32 = 1;
const EOS: u32 = 2;

/// Opens a checkpoint.
pub(crate) fn open(source: Source, options: &Options) -> Result<Import> {
    let header = Header::read(source.bytes()).map_err(|problem| source.malformed(problem))?;
    let config = config(&header);
    config.validate().map_err(|e| source.malformed(e.to_string()))?;
    let layout = layout(&header, &source)?;
    if let Some(spec) =
        schema(&config).iter().find(|spec| layout.place(spec).is_none_or(|p| p.len != spec.len() as u64))
    {
        return Err(source.tensor(&spec.name, "has no place in the file; dim is no multiple of n_heads"));
    }
    let mut notes = Vec::new();
    let folder = source.path().parent().unwrap_or(Path::new(""));
    let special = SpecialIds { bos: Some(BOS), eos: Some(EOS), ..SpecialIds::default() };
    let tokenizer = folder.join("tokenizer.bin");
    let vocab = vocabulary::of(&tokenizer, options, config.vocab_size, special, &mut notes)?;
    let (origin, config_of_weights) = (source.origin(), config.clone());
    let weights = Box::new(Checkpoint { source, layout, config: config_of_weights });
    Ok(Import { config, vocab, origin, notes, weights })
}

fn layout(header: &Header, source: &Source) -> Result<Layout> {
    let Some(layout) = Layout::of(header) else {
        return Err(match header.version {
            Version::V2 { group } => source
                .malformed(format!("groups of {group} do not fill the tensors that the header describes")),
            _ => source.malformed("the header describes more weights than any file holds"),
        });
    };
    match (layout.end(), source.bytes().len() as u64) {
        (expected, found) if expected == found => Ok(layout),
        (expected, found) => Err(source.malformed(format!(
            "{found} bytes, but a llama2.c file with its first numbers (dim {}, {} layers, {} tokens) has {expected}; it is cut short, \
             or not such a file",
            header.dim, header.n_layers, header.vocab_size
        ))),
    }
}

fn config(header: &Header) -> ModelConfig {
    let block = TransformerConfig {
        n_heads: header.n_heads as usize,
        n_kv_heads: header.n_kv_heads as usize,
        head_dim: (header.dim / header.n_heads) as usize,
        d_ff: header.hidden_dim as usize,
        ffn: Ffn::GatedSilu,
        norm: Norm::Rms,
        residual: true,
        qkv_bias: false,
        out_bias: false,
        ffn_bias: false,
        qk_norm: false,
        token_shift: false,
        cross_attention: false,
        window: 0,
    };
    ModelConfig {
        vocab_size: header.vocab_size as usize,
        d_model: header.dim as usize,
        context: header.seq_len as usize,
        position: Position::Rope { theta: 10_000.0 },
        blocks: vec![BlockConfig::Transformer(block); header.n_layers as usize],
        encoder: Vec::new(),
        final_norm: Norm::Rms,
        norm_eps: 1e-5,
        norm_weight: true,
        norm_bias: false,
        tied_head: header.is_tied,
        head_bias: false,
        logit_softcap: 0.0,
        rope_divisors: Vec::new(),
    }
}

struct Checkpoint {
    source: Source,
    layout: Layout,
    config: ModelConfig,
}

impl Weights for Checkpoint {
    fn read(&mut self, spec: &TensorSpec) -> Result<Vec<f32>> {
        let place = self.layout.place(spec).expect("every tensor of the schema has its place");
        let values = self.decode(place);
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(self
                .source
                .tensor(&spec.name, format!("element {at} is {}, expected a number", values[at])));
        }
        Ok(match turned(&self.config, spec) {
            Some(head_dim) => halves_together(&values, head_dim, spec.cols),
            None => values,
        })
    }
}

impl Checkpoint {
    fn decode(&self, Place { at, bytes, len, storage }: Place) -> Vec<f32> {
        let bytes = self.source.get(at, bytes).expect("the layout was compared with the file");
        let f32s = |bytes: &[u8]| {
            bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect::<Vec<f32>>()
        };
        match storage {
            Storage::F32 => f32s(bytes),
            Storage::Q80 { group } => {
                let (codes, scales) = bytes.split_at(len as usize);
                let groups = codes.chunks(group as usize).zip(f32s(scales));
                groups
                    .flat_map(|(codes, scale)| codes.iter().map(move |&code| f32::from(code as i8) * scale))
                    .collect()
            }
        }
    }
}

/// Rows of heads in which neighbours are a pair, as rows in which the halves are: row `2i + j` of a head becomes `i + j head_dim/2`.
fn halves_together(rows: &[f32], head_dim: usize, cols: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows.len());
    for head in rows.chunks(head_dim * cols) {
        for first in [0, 1] {
            head.chunks(cols).skip(first).step_by(2).for_each(|row| out.extend_from_slice(row));
        }
    }
    out
}
