//! The encoder of an encoder-decoder (Vaswani et al. 2017): every token of a source attends to all of them.
//!
//! A source goes through the encoder once, block by block: first all its tokens leave keys and values, then each attends to them,
//! some tokens at a time as in any pass. What comes out, normed, is turned into the keys and values of the decoder's
//! cross-attention there and then; decoding only reads them.

use super::norm::Norm;
use super::rope::Rope;
use super::transformer::Transformer;
use super::{Block, Model, block_rope};
use crate::error::Error;
use crate::kernels::CacheCell;
use crate::pass::{Cx, Segment};
use crate::profile::Stage;
use crate::state::{BlockState, Cache, EncoderState, State, Workspace};
use siskin_format::memory;
use siskin_format::{File, ModelConfig};
use std::ops::Range;

/// Blocks and norm of an encoder, `d_model` channels wide.
#[derive(Debug)]
pub(crate) struct Encoder {
    blocks: Vec<Transformer>,
    final_norm: Norm,
}

impl Encoder {
    /// Loads that of a file whose config has one; angles that the decoder does not have join `ropes`.
    pub(crate) fn load(file: &File, config: &ModelConfig, ropes: &mut Vec<Rope>) -> Result<Self, Error> {
        let mut blocks = memory::with_capacity(config.encoder.len()).map_err(super::out_of_memory)?;
        for (index, t) in config.encoder.iter().enumerate() {
            let rope = block_rope(config, t, ropes)?;
            let scope = format!("encoder.blocks.{index}.");
            blocks.push(Transformer::load(file, config, &scope, t, config.d_model, rope)?);
        }
        let final_norm = Norm::load(file, config, "encoder.final_norm", config.final_norm)?;
        Ok(Encoder { blocks, final_norm })
    }
}

impl Model {
    /// Runs the tokens of a source through the encoder, `batch` of them at a time, and leaves what sequence `slot` of the decoder
    /// reads of them in its caches. `cx` has one segment, which is made anew here.
    ///
    /// A pass that is cancelled on its way ([`Cx::is_cancelled`]) has changed nothing of the sequence.
    pub(crate) fn encode(
        &self,
        cx: &mut Cx,
        ws: &mut Workspace,
        state: &mut State,
        slot: usize,
        source: &[u32],
        batch: usize,
    ) {
        let (Some(encoder), Some(memory)) = (&self.encoder, &mut state.encoder) else { return };
        let width = self.config().d_model;
        let pieces = || (0..source.len()).step_by(batch).map(|at| at..(at + batch).min(source.len()));
        for piece in pieces() {
            enter(cx, 0, &piece);
            cx.stage(Stage::Embedding);
            self.embed(cx, ws, &source[piece.clone()]);
            memory.x[piece.start * width..piece.end * width].copy_from_slice(&ws.x[..piece.len() * width]);
        }
        let EncoderState { x, cache, .. } = memory;
        for block in &encoder.blocks {
            match cache {
                BlockState::CacheF32(cache) => {
                    self.encode_block(cx, ws, block, cache, x, source.len(), batch)
                }
                BlockState::CacheF16(cache) => {
                    self.encode_block(cx, ws, block, cache, x, source.len(), batch)
                }
                _ => unreachable!("an encoder is made of Transformer blocks"),
            }
            if cx.is_cancelled() {
                return cx.end();
            }
        }
        for piece in pieces() {
            enter(cx, slot, &piece);
            cx.stage(Stage::Norm);
            encoder.final_norm.rows(cx, &x[piece.start * width..piece.end * width], width, &mut ws.a);
            for (block, state) in self.blocks.iter().zip(&mut state.blocks) {
                let Some(cross) = block.cross() else { continue };
                match state {
                    BlockState::CacheF32(Cache { cross: Some(cache), .. }) => {
                        cross.attention.take_in(cx, ws, cache);
                    }
                    BlockState::CacheF16(Cache { cross: Some(cache), .. }) => {
                        cross.attention.take_in(cx, ws, cache);
                    }
                    _ => unreachable!("states are made from the config that the blocks were made from"),
                }
            }
        }
        cx.end();
    }

    /// One block: `x` `[len, d_model]` becomes what it makes of it.
    fn encode_block<C: CacheCell>(
        &self,
        cx: &mut Cx,
        ws: &mut Workspace,
        block: &Transformer,
        cache: &mut Cache<C>,
        x: &mut [f32],
        len: usize,
        batch: usize,
    ) {
        let width = self.config().d_model;
        for attends in [false, true] {
            for start in (0..len).step_by(batch) {
                let piece = start..(start + batch).min(len);
                let rows = piece.start * width..piece.end * width;
                enter(cx, 0, &piece);
                self.turn(cx, ws);
                ws.x[..rows.len()].copy_from_slice(&x[rows.clone()]);
                match attends {
                    false => block.take_in(cx, ws, &mut cache.own),
                    true => block.encode(cx, ws, &cache.own, len),
                }
                if cx.is_cancelled() {
                    return;
                }
                if attends {
                    x[rows.clone()].copy_from_slice(&ws.x[..rows.len()]);
                }
            }
        }
    }
}

/// What follows is about the tokens `piece` of a source, in caches as those of `slot`.
fn enter(cx: &mut Cx, slot: usize, piece: &Range<usize>) {
    let len = piece.len();
    cx.segments[0] = Segment { slot, position: piece.start, origin: 0, start: 0, len, wanted: len };
    cx.tokens = len;
}

impl Block {
    /// The part that attends to a source, if the block has one.
    fn cross(&self) -> Option<&super::transformer::Cross> {
        match self {
            Block::Transformer(block) => block.cross(),
            _ => None,
        }
    }
}
