//! A session's state as bytes, to go on later, elsewhere: the same on every instruction set, for every context and batch.
//!
//! All numbers are little-endian.
//!
//! ```text
//! magic         8    "SISKSTAT"
//! version       u32  1
//! cell          u32  bytes of a number of the caches: 2 or 4; 0 in a model without attention
//! model         u64  XXH64 over the checksums of its sections: config, tokenizer, tensor directory, tensor data
//! position      u64  tokens fed
//! n_logits      u64  the vocabulary's size, or 0 where there are no logits
//! source        u64  tokens of the source, or 0 before one is read; only in a model with an encoder
//! blocks             in order. Recurrent: h, and for an LSTM c, f32 [hidden] each. Transformer: with token shift the last
//!                    inputs of attention and feed-forward part, f32 [d_model] each; then for each head of keys and values,
//!                    for each position, in a block with a window only from the multiple of 4 before the first that a later token
//!                    sees: key [head_dim], then value [head_dim]; with cross-attention then those of the source
//! logits        f32  [n_logits]
//! checksum      u64  XXH64 of all bytes before it
//! ```

use crate::error::Error;
use crate::kernels::CacheCell;
use crate::kernels::memory::Buffer;
use crate::kernels::simd::LANES;
use crate::state::{BlockState, Cache, KeyValues};
use half::f16;
use siskin_format::header::Section;
use siskin_format::xxh64::xxh64;
use siskin_format::{BlockConfig, File, ModelConfig};
use std::ops::Range;

const MAGIC: &[u8; 8] = b"SISKSTAT";
const VERSION: u32 = 1;
/// Bytes before the blocks.
const HEAD: usize = 40;
const CHECKSUM: usize = 8;

/// What a saved state begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) cell: u32,
    pub(crate) model: u64,
    pub(crate) position: u64,
    pub(crate) n_logits: u64,
    /// In a model with an encoder.
    pub(crate) source: Option<u64>,
}

/// What tells models apart: two files of the same weights, tokenizer and configuration are the same model.
pub(crate) fn fingerprint(file: &File) -> u64 {
    let counts = |s: Section| !matches!(s, Section::Receipt);
    let checksums = file.sections().iter().filter(|info| counts(info.section)).map(|info| info.checksum);
    xxh64(&checksums.flat_map(u64::to_le_bytes).collect::<Vec<u8>>())
}

/// Bytes of the state after `position` tokens, of a model with an encoder after a source of `source` tokens.
pub(crate) fn len(
    blocks: &[BlockState],
    config: &ModelConfig,
    position: usize,
    n_logits: usize,
    source: Option<usize>,
) -> Option<usize> {
    let head = HEAD + CHECKSUM + source.map_or(0, |_| size_of::<u64>());
    let mut bytes = n_logits.checked_mul(4)?.checked_add(head)?;
    for (block, config) in blocks.iter().zip(&config.blocks) {
        let (n_heads, head_dim) = heads(config);
        let crossed = if crosses(config) { source.unwrap_or(0) } else { 0 };
        let tokens = seen(config, position).len().checked_add(crossed)?;
        let cache = |cell: usize| cell.checked_mul(2 * n_heads * head_dim)?.checked_mul(tokens);
        bytes = bytes.checked_add(match block {
            BlockState::Hidden(h) => 4 * h.len(),
            BlockState::Lstm { h, c } => 4 * (h.len() + c.len()),
            BlockState::CacheF32(Cache { last, .. }) => cache(4)?.checked_add(floats(last))?,
            BlockState::CacheF16(Cache { last, .. }) => cache(2)?.checked_add(floats(last))?,
        })?;
    }
    Some(bytes)
}

/// Bytes of what a token shift looks back at.
fn floats(last: &[Buffer<f32>; 2]) -> usize {
    last.iter().map(|floats| 4 * floats.len()).sum()
}

/// Heads of keys and values of a block, and their width.
fn heads(block: &BlockConfig) -> (usize, usize) {
    match block {
        BlockConfig::Transformer(t) => (t.n_kv_heads, t.head_dim),
        _ => (0, 0),
    }
}

/// The positions of the `position` so far that a later token sees, from a multiple of 4 on, where sums of values begin.
fn seen(block: &BlockConfig, position: usize) -> Range<usize> {
    match block {
        BlockConfig::Transformer(t) if t.window > 0 => {
            (position + 1).saturating_sub(t.window) / 4 * 4..position
        }
        _ => 0..position,
    }
}

/// Where they stand in caches whose first place is that of position `origin`.
fn places_of(block: &BlockConfig, position: usize, origin: usize) -> Range<usize> {
    let Range { start, end } = seen(block, position);
    start.saturating_sub(origin)..end - origin
}

/// Whether a block remembers a source.
fn crosses(block: &BlockConfig) -> bool {
    matches!(block, BlockConfig::Transformer(t) if t.cross_attention)
}

/// Bytes of a number of the caches.
pub(crate) fn cell(blocks: &[BlockState]) -> u32 {
    let cells = blocks.iter().map(|block| match block {
        BlockState::CacheF32(_) => 4,
        BlockState::CacheF16(_) => 2,
        BlockState::Hidden(_) | BlockState::Lstm { .. } => 0,
    });
    cells.max().unwrap_or(0)
}

/// Writes a state to `out`, which is as long as [`len`] says; `origin` is the position at the first place of the caches.
pub(crate) fn write(
    head: Head,
    blocks: &[BlockState],
    config: &ModelConfig,
    origin: usize,
    logits: &[f32],
    out: &mut [u8],
) {
    let (body, checksum) = out.split_at_mut(out.len() - CHECKSUM);
    let mut out = Writer { left: body };
    out.bytes(MAGIC);
    out.bytes(&VERSION.to_le_bytes());
    out.bytes(&head.cell.to_le_bytes());
    for number in [head.model, head.position, head.n_logits].into_iter().chain(head.source) {
        out.bytes(&number.to_le_bytes());
    }
    let (position, source) = (head.position as usize, head.source.unwrap_or(0) as usize);
    for (block, config) in blocks.iter().zip(&config.blocks) {
        let lens = (places_of(config, position, origin), source);
        match block {
            BlockState::Hidden(h) => out.floats(h),
            BlockState::Lstm { h, c } => {
                out.floats(h);
                out.floats(c);
            }
            BlockState::CacheF32(cache) => out.cache(cache, heads(config), lens),
            BlockState::CacheF16(cache) => out.cache(cache, heads(config), lens),
        }
    }
    out.floats(logits);
    assert!(out.left.is_empty(), "{} bytes are left of a saved state", out.left.len());
    checksum.copy_from_slice(&xxh64(body).to_le_bytes());
}

/// Checks that `bytes` are whole and of this version, and gives what they begin with, in a model with an `encoder` or without.
pub(crate) fn check(bytes: &[u8], encoder: bool) -> Result<Head, Error> {
    let head = HEAD + if encoder { size_of::<u64>() } else { 0 };
    let Some((body, checksum)) = bytes.split_last_chunk::<CHECKSUM>().filter(|(body, _)| body.len() >= head)
    else {
        return Err(Error::SavedState("it is too short"));
    };
    if !body.starts_with(MAGIC) {
        return Err(Error::SavedState("it does not begin like one"));
    }
    let mut reader = Reader { left: &body[MAGIC.len()..] };
    if reader.u32() != VERSION {
        return Err(Error::SavedState("another version of siskin wrote it"));
    }
    if xxh64(body) != u64::from_le_bytes(*checksum) {
        return Err(Error::SavedState("its checksum does not match: it is cut or damaged"));
    }
    let cell = reader.u32();
    let (model, position, n_logits) = (reader.u64(), reader.u64(), reader.u64());
    Ok(Head { cell, model, position, n_logits, source: encoder.then(|| reader.u64()) })
}

/// Reads blocks and logits of checked `bytes`, which are as long as [`len`] says.
pub(crate) fn read(
    bytes: &[u8],
    blocks: &mut [BlockState],
    config: &ModelConfig,
    (position, origin): (usize, usize),
    source: Option<usize>,
    logits: &mut [f32],
) {
    let head = HEAD + source.map_or(0, |_| size_of::<u64>());
    let mut reader = Reader { left: &bytes[head..bytes.len() - CHECKSUM] };
    for (block, config) in blocks.iter_mut().zip(&config.blocks) {
        let lens = (places_of(config, position, origin), source.unwrap_or(0));
        match block {
            BlockState::Hidden(h) => reader.floats(h),
            BlockState::Lstm { h, c } => {
                reader.floats(h);
                reader.floats(c);
            }
            BlockState::CacheF32(cache) => reader.cache(cache, heads(config), lens),
            BlockState::CacheF16(cache) => reader.cache(cache, heads(config), lens),
        }
    }
    reader.floats(logits);
    assert!(reader.left.is_empty(), "{} bytes are left of a saved state", reader.left.len());
}

/// A number that can be kept.
pub(crate) trait Number: Copy {
    fn write(self, out: &mut Writer);
    fn read(reader: &mut Reader) -> Self;
}

impl Number for f32 {
    fn write(self, out: &mut Writer) {
        out.bytes(&self.to_le_bytes());
    }

    fn read(reader: &mut Reader) -> f32 {
        f32::from_le_bytes(reader.array())
    }
}

impl Number for f16 {
    fn write(self, out: &mut Writer) {
        out.bytes(&self.to_le_bytes());
    }

    fn read(reader: &mut Reader) -> f16 {
        f16::from_le_bytes(reader.array())
    }
}

/// Bytes that are still to be written.
pub(crate) struct Writer<'a> {
    left: &'a mut [u8],
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        let (to, left) = std::mem::take(&mut self.left).split_at_mut(bytes.len());
        to.copy_from_slice(bytes);
        self.left = left;
    }

    fn floats(&mut self, floats: &[f32]) {
        for float in floats {
            float.write(self);
        }
    }

    fn cache<C: CacheCell + Number>(
        &mut self,
        cache: &Cache<C>,
        heads: (usize, usize),
        lens: (Range<usize>, usize),
    ) {
        cache.last.iter().for_each(|last| self.floats(last));
        self.key_values(&cache.own, heads, lens.0);
        if let Some(cross) = &cache.cross {
            self.key_values(cross, heads, 0..lens.1);
        }
    }

    fn key_values<C: CacheCell + Number>(
        &mut self,
        cache: &KeyValues<C>,
        heads: (usize, usize),
        positions: Range<usize>,
    ) {
        let (k, v) = (cache.k.as_flattened(), cache.v.as_flattened());
        for place in places(cache.capacity, heads, positions) {
            match place {
                Place::Key(at) => k[at].write(self),
                Place::Value(at) => v[at].write(self),
            }
        }
    }
}

/// Bytes that are still to be read; as many as are needed, which was checked.
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (array, left) = self.left.split_first_chunk().expect("the length was checked");
        self.left = left;
        *array
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    fn floats(&mut self, floats: &mut [f32]) {
        for float in floats {
            *float = f32::read(self);
        }
    }

    fn cache<C: CacheCell + Number>(
        &mut self,
        cache: &mut Cache<C>,
        heads: (usize, usize),
        lens: (Range<usize>, usize),
    ) {
        cache.last.iter_mut().for_each(|last| self.floats(last));
        self.key_values(&mut cache.own, heads, lens.0);
        if let Some(cross) = &mut cache.cross {
            self.key_values(cross, heads, 0..lens.1);
        }
    }

    fn key_values<C: CacheCell + Number>(
        &mut self,
        cache: &mut KeyValues<C>,
        heads: (usize, usize),
        positions: Range<usize>,
    ) {
        let places = places(cache.capacity, heads, positions);
        let (k, v) = (cache.k.as_flattened_mut(), cache.v.as_flattened_mut());
        for place in places {
            match place {
                Place::Key(at) => k[at] = C::read(self),
                Place::Value(at) => v[at] = C::read(self),
            }
        }
    }
}

/// A number of a cache of one sequence.
enum Place {
    Key(usize),
    Value(usize),
}

/// The numbers of a cache in the order in which they are saved; [`crate::kernels::HeadCache`] has the order in memory.
fn places(
    capacity: usize,
    (n_heads, head_dim): (usize, usize),
    positions: Range<usize>,
) -> impl Iterator<Item = Place> {
    let k_unit = capacity * head_dim;
    let v_unit = head_dim.next_multiple_of(LANES) * capacity;
    let key = move |head, p, d| head * k_unit + (p / LANES * head_dim + d) * LANES + p % LANES;
    let value = move |head, p, d| head * v_unit + (d / LANES * capacity + p) * LANES + d % LANES;
    (0..n_heads).flat_map(move |head| positions.clone().map(move |p| (head, p))).flat_map(move |(head, p)| {
        let keys = (0..head_dim).map(move |d| Place::Key(key(head, p, d)));
        keys.chain((0..head_dim).map(move |d| Place::Value(value(head, p, d))))
    })
}
