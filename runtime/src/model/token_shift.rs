//! Token shift (Peng et al. 2023, RWKV): the input of a part is mixed with that of the token before,
//! `x_t + mu (x_{t-1} - x_t)`, channel by channel; zeros stand before the first token.

use super::norm::Norm;
use crate::activations::Activations;
use crate::error::Error;
use crate::kernels::Blocks;
use crate::linear::Vector;
use crate::pass::Cx;
use siskin_format::config::TransformerConfig;
use siskin_format::{File, ModelConfig};

/// The norm before a part of a Transformer block, and the shift of what it gives where the block has one.
#[derive(Clone, Debug)]
pub(crate) struct PartInput {
    norm: Norm,
    mu: Option<Vector>, // [width]
}

impl PartInput {
    /// Loads those called `norm` and `shift`.
    pub(crate) fn load(
        file: &File,
        config: &ModelConfig,
        t: &TransformerConfig,
        norm: &str,
        shift: &str,
    ) -> Result<Self, Error> {
        Ok(PartInput {
            norm: Norm::load(file, config, norm, t.norm)?,
            mu: Vector::load_if(file, shift, t.token_shift)?,
        })
    }

    /// Whether a token looks at the one before.
    pub(crate) fn shifts(&self) -> bool {
        self.mu.is_some()
    }

    /// The tokens of `x` `[tokens, width]` into `out`. A shift looks back at `last` `[slots, width]` and leaves there what the
    /// next token looks back at; `normed`, of the size of `x`, is its scratch.
    pub(crate) fn rows(
        &self,
        cx: &mut Cx,
        x: &[f32],
        width: usize,
        normed: &mut [f32],
        last: &mut [f32],
        out: &mut Activations,
    ) {
        let Some(mu) = &self.mu else { return self.norm.rows(cx, x, width, out) };
        let (weights, kernels, tokens) = (cx.weights, cx.kernels, x.len() / width);
        cx.team.run(tokens, width * 8, Blocks::new(&mut *normed, width), |work, rows| {
            for (token, row) in work.items.zip(rows.chunks_exact_mut(width)) {
                self.norm.row(weights, kernels, &x[token * width..(token + 1) * width], row);
            }
        });
        // Filling borrows the whole of `cx`.
        let (mu, segments) = (mu.get(weights), std::mem::take(&mut cx.segments));
        out.fill(cx, tokens, width, |token, row| {
            let before = match segments.iter().find(|segment| segment.start == token) {
                Some(segment) => &last[segment.slot * width..][..width],
                None => &normed[(token - 1) * width..][..width],
            };
            let now = &normed[token * width..][..width];
            for (((y, now), before), mu) in row.iter_mut().zip(now).zip(before).zip(mu) {
                *y = now + mu * (before - now);
            }
        });
        for segment in segments.iter() {
            let end = segment.start + segment.len;
            last[segment.slot * width..][..width].copy_from_slice(&normed[(end - 1) * width..end * width]);
        }
        cx.segments = segments;
    }
}
