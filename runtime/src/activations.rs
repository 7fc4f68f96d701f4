//! Activations of a few tokens, as floats and as the codes that quantized products read.

use crate::error::Error;
use crate::kernels::memory::{Buffer, Memory};
use crate::kernels::simd::GROUP;
use crate::kernels::{Blocks, Columns, Input, Kernels, Strip};
use crate::pass::{Cx, Segment, keep};

/// An empty list with room for `n`, or an error where there is no memory for them.
pub(crate) fn reserved<T>(n: usize) -> Result<Vec<T>, Error> {
    let mut v = Vec::new();
    let bytes = n.saturating_mul(size_of::<T>());
    v.try_reserve_exact(n).map_err(|_| Error::OutOfMemory { bytes })?;
    Ok(v)
}

/// Rows of activations; room for a fixed number, of which the current shape uses a part.
pub(crate) struct Activations {
    x: Buffer<f32>,             // [tokens, cols]
    codes: Buffer<[i8; GROUP]>, // [tokens, n_groups]
    scales: Buffer<f32>,        // [tokens, n_groups]
    sums: Buffer<i32>,          // [tokens, n_groups]
    quantized: bool,
    tokens: usize,
    cols: usize,
}

impl Activations {
    /// Room for `tokens` rows of `cols`; codes are kept up only when `quantized`.
    pub(crate) fn new(tokens: usize, cols: usize, quantized: bool, memory: &mut Memory) -> Option<Self> {
        let groups = [tokens, if quantized { cols.div_ceil(GROUP) } else { 0 }];
        Some(Activations {
            x: memory.zeros(&[tokens, cols])?,
            codes: memory.zeros(&groups)?,
            scales: memory.zeros(&groups)?,
            sums: memory.zeros(&groups)?,
            quantized,
            tokens: 0,
            cols: 0,
        })
    }

    /// The current rows, as a product's right-hand side.
    pub(crate) fn input(&self) -> Input<'_> {
        let groups = if self.quantized { self.tokens * self.cols.div_ceil(GROUP) } else { 0 };
        Input {
            tokens: self.tokens,
            x: &self.x[..self.tokens * self.cols],
            codes: &self.codes[..groups],
            scales: &self.scales[..groups],
            sums: &self.sums[..groups],
        }
    }

    /// Makes every row by `f(token, row)`, and its codes.
    pub(crate) fn fill(
        &mut self,
        cx: &mut Cx,
        tokens: usize,
        cols: usize,
        f: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        (self.tokens, self.cols) = (tokens, cols);
        let (quantized, quantize) = (self.quantized, cx.kernels.quantize);
        let n = if quantized { cols.div_ceil(GROUP) } else { 0 };
        let out = (
            Blocks::new(&mut self.x[..tokens * cols], cols),
            Blocks::new(&mut self.codes[..tokens * n], n),
            Blocks::new(&mut self.scales[..tokens * n], n),
            Blocks::new(&mut self.sums[..tokens * n], n),
        );
        cx.team.run(tokens, cols * 16, out, |work, (x, codes, scales, sums)| {
            for (i, token) in work.items.enumerate() {
                let row = &mut x[i * cols..(i + 1) * cols];
                f(token, row);
                if quantized {
                    let groups = i * n..(i + 1) * n;
                    quantize(row, &mut codes[groups.clone()], &mut scales[groups.clone()], &mut sums[groups]);
                }
            }
        });
    }

    /// Keeps the wanted rows alone.
    pub(crate) fn keep(&mut self, segments: &[Segment]) {
        keep(&mut self.x, self.cols, segments);
        if self.quantized {
            let n = self.cols.div_ceil(GROUP);
            keep(&mut self.codes, n, segments);
            keep(&mut self.scales, n, segments);
            keep(&mut self.sums, n, segments);
        }
        self.tokens = segments.iter().map(|segment| segment.wanted).sum();
    }

    /// The floats of `tokens` rows of `cols`, to be written; [`Activations::quantize`] must follow.
    pub(crate) fn floats(&mut self, tokens: usize, cols: usize) -> &mut [f32] {
        (self.tokens, self.cols) = (tokens, cols);
        &mut self.x[..tokens * cols]
    }

    /// Brings the codes up to the floats.
    pub(crate) fn quantize(&mut self, cx: &mut Cx) {
        if !self.quantized {
            return;
        }
        let (tokens, cols, n) = (self.tokens, self.cols, self.cols.div_ceil(GROUP));
        let (x, quantize) = (&self.x, cx.kernels.quantize);
        let out = (
            Blocks::new(&mut self.codes[..tokens * n], n),
            Blocks::new(&mut self.scales[..tokens * n], n),
            Blocks::new(&mut self.sums[..tokens * n], n),
        );
        cx.team.run(tokens, cols * 8, out, |work, (codes, scales, sums)| {
            for (i, token) in work.items.enumerate() {
                let groups = i * n..(i + 1) * n;
                let row = &x[token * cols..(token + 1) * cols];
                quantize(row, &mut codes[groups.clone()], &mut scales[groups.clone()], &mut sums[groups]);
            }
        });
    }

    /// The current rows for a team to write, cut by 32 columns: floats and, where they are kept, codes. Each part makes its
    /// own codes by [`quantize_columns`].
    pub(crate) fn groups(&mut self, tokens: usize, cols: usize) -> GroupColumns<'_> {
        (self.tokens, self.cols) = (tokens, cols);
        let n = if self.quantized { cols.div_ceil(GROUP) } else { 0 };
        let strip = Strip::new(&mut self.x[..tokens * cols], tokens, cols);
        (
            Columns::new(strip, GROUP),
            Columns::new(Strip::new(&mut self.codes[..tokens * n], tokens, n), 1),
            Columns::new(Strip::new(&mut self.scales[..tokens * n], tokens, n), 1),
            Columns::new(Strip::new(&mut self.sums[..tokens * n], tokens, n), 1),
        )
    }
}

/// What [`Activations::groups`] gives: floats, codes, scales, sums.
pub(crate) type GroupColumns<'a> = (Columns<'a>, Columns<'a, [i8; GROUP]>, Columns<'a>, Columns<'a, i32>);

/// A thread's part of [`GroupColumns`].
pub(crate) type GroupStrips<'a> = (Strip<'a>, Strip<'a, [i8; GROUP]>, Strip<'a>, Strip<'a, i32>);

/// Codes of one row of a part, after its floats are written.
pub(crate) fn quantize_columns(kernels: &Kernels, part: &mut GroupStrips, row: usize) {
    let (x, codes, scales, sums) = part;
    if codes.width() > 0 {
        (kernels.quantize)(x.row(row), codes.row(row), scales.row(row), sums.row(row));
    }
}
