//! Where each tensor lies in a llama2.c file.

use siskin_format::TensorSpec;
use siskin_format::config::ModelConfig;

use super::header::{Header, Version};

/// How a tensor's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// 4 bytes each.
    F32,
    /// One signed byte each, then one f32 scale for each `group` of them, counted over the whole tensor without regard to its rows.
    Q80 { group: u64 },
}

impl Storage {
    /// Bytes of `n` numbers; `None` if that is no number, or no whole number of groups.
    fn bytes(self, n: u64) -> Option<u64> {
        match self {
            Storage::F32 => n.checked_mul(4),
            Storage::Q80 { group } => (n.checked_rem(group)? == 0).then(|| n.checked_add(n / group * 4))?,
        }
    }
}

/// Tensors of one kind, those of all layers one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    /// Name in the schema, that within the block for tensors of blocks.
    name: &'static str,
    layers: u64,
    /// Numbers of one layer's tensor.
    len: u64,
    storage: Storage,
    at: u64,
}

/// The places of all tensors.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    runs: Vec<Run>,
    end: u64,
}

/// Where one tensor lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) bytes: u64,
    pub(super) len: u64,
    pub(super) storage: Storage,
}

impl Layout {
    /// The layout of a header's file; `None` if its sizes are no numbers of this machine, or groups do not fill a tensor.
    pub(super) fn of(header: &Header) -> Option<Layout> {
        let mut layout = Layout { runs: Vec::new(), end: header.data_at() };
        let h = header;
        let (d, d_ff, n, vocab) = (h.dim, h.hidden_dim, h.n_layers, h.vocab_size);
        let kv = d.checked_div(h.n_heads)?.checked_mul(h.n_kv_heads)?;
        let storage = match h.version {
            Version::V2 { group } => Storage::Q80 { group },
            _ => Storage::F32,
        };
        let square = d.checked_mul(d)?;
        let mut add = |name, layers, len, storage| layout.add(name, layers, len, storage);
        let embed = ("embed.weight", 1, vocab.checked_mul(d)?, storage);
        let norm1 = ("norm1.weight", n, d, Storage::F32);
        let norm2 = ("norm2.weight", n, d, Storage::F32);
        let last_norm = ("final_norm.weight", 1, d, Storage::F32);
        let wq = ("attn.wq", n, square, storage);
        let wk = ("attn.wk", n, kv.checked_mul(d)?, storage);
        let wv = ("attn.wv", n, kv.checked_mul(d)?, storage);
        let wo = ("attn.wo", n, square, storage);
        let ffn = |name| Some((name, n, d_ff.checked_mul(d)?, storage));
        let (gate, down, up) = (ffn("ffn.w_gate")?, ffn("ffn.w_down")?, ffn("ffn.w_up")?);
        // Tables of RoPE's cosines and sines, which are computed instead.
        let freq = h.seq_len.checked_mul(d.checked_div(h.n_heads)? / 2)?;
        let tables = [("", 1, freq, Storage::F32), ("", 1, freq, Storage::F32)];
        let order = match h.version {
            Version::V0 => {
                [embed, norm1, wq, wk, wv, wo, norm2, gate, down, up, last_norm, tables[0], tables[1]]
                    .to_vec()
            }
            _ => vec![norm1, norm2, last_norm, embed, wq, wk, wv, wo, gate, down, up],
        };
        for (name, layers, len, storage) in order {
            add(name, layers, len, storage)?;
        }
        if !h.is_tied {
            add("head.weight", 1, vocab.checked_mul(d)?, storage)?;
        }
        Some(layout)
    }

    fn add(&mut self, name: &'static str, layers: u64, len: u64, storage: Storage) -> Option<()> {
        let bytes = storage.bytes(len)?.checked_mul(layers)?;
        let at = self.end;
        self.end = at.checked_add(bytes)?;
        self.runs.push(Run { name, layers, len, storage, at });
        Some(())
    }

    /// Bytes of the whole file.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Where a tensor of the schema lies.
    pub(super) fn place(&self, spec: &TensorSpec) -> Option<Place> {
        let (name, layer) = match spec.block {
            Some(block) => (spec.name.splitn(3, '.').nth(2)?, block as u64),
            None => (spec.name.as_str(), 0),
        };
        let run = self.runs.iter().find(|run| run.name == name && layer < run.layers)?;
        let bytes = run.storage.bytes(run.len)?;
        Some(Place { at: run.at + layer * bytes, bytes, len: run.len, storage: run.storage })
    }
}

/// How many channels of a head are turned in pairs, for the rows of queries and keys, which have to change their order.
pub(super) fn turned(config: &ModelConfig, spec: &TensorSpec) -> Option<usize> {
    let is_turned = spec.name.ends_with(".attn.wq") || spec.name.ends_with(".attn.wk");
    let siskin_format::BlockConfig::Transformer(t) = &config.blocks[spec.block.filter(|_| is_turned)?] else {
        return None;
    };
    Some(t.head_dim)
}
