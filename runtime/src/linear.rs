//! Tensors of an open file as the model uses them: vectors, and matrices with their products.

use crate::error::Error;
use crate::kernels::simd::LANES;
use crate::kernels::{Chain, Columns, Input, Kernels, Matrix, Panels, Strip};
use crate::pass::Cx;
use siskin_format::{File, PanelLayout, Planes, TensorInfo, pod};
use std::ops::Range;

/// A vector of the file; nothing is copied.
#[derive(Clone, Debug)]
pub(crate) struct Vector {
    range: Range<usize>,
}

impl Vector {
    pub(crate) fn load(file: &File, name: &str) -> Result<Self, Error> {
        let info = find(file, name)?;
        if !info.is_vector {
            return Err(Error::Tensor { name: name.to_string(), expected: "a vector" });
        }
        Ok(Vector { range: info.range.clone() })
    }

    /// Loads it if `present`.
    pub(crate) fn load_if(file: &File, name: &str, present: bool) -> Result<Option<Self>, Error> {
        present.then(|| Vector::load(file, name)).transpose()
    }

    pub(crate) fn get<'a>(&self, weights: &'a [u8]) -> &'a [f32] {
        pod::f32s(&weights[self.range.clone()])
    }
}

/// The elements, or the empty slice that kernels take for "none".
pub(crate) fn elements<'a>(vector: &Option<Vector>, weights: &'a [u8]) -> &'a [f32] {
    vector.as_ref().map_or(&[], |v| v.get(weights))
}

/// A matrix of the file, `y = W x + b`; nothing is copied.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    layout: PanelLayout,
    range: Range<usize>,
    bias: Option<Vector>, // [rows]
}

fn find<'a>(file: &'a File, name: &str) -> Result<&'a TensorInfo, Error> {
    file.tensor(name)
        .map(|view| view.info())
        .ok_or_else(|| Error::Tensor { name: name.to_string(), expected: "present" })
}

impl Linear {
    /// The matrix `name`, with the bias of that name if there is one.
    pub(crate) fn load(file: &File, name: &str, bias: Option<&str>) -> Result<Self, Error> {
        let info = find(file, name)?;
        let not_a_matrix = || Error::Tensor { name: name.to_string(), expected: "a matrix" };
        let layout = info.layout().ok_or_else(not_a_matrix)?;
        let bias = bias.map(|name| Vector::load(file, name)).transpose()?;
        Ok(Linear { layout, range: info.range.clone(), bias })
    }

    /// The same matrix with another bias: a tied head.
    pub(crate) fn with_bias(&self, bias: Option<Vector>) -> Self {
        Linear { bias, ..self.clone() }
    }

    pub(crate) fn rows(&self) -> usize {
        self.layout.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.layout.cols
    }

    /// Where it begins in the file: its name for [`Cx::watch`].
    pub(crate) fn start(&self) -> usize {
        self.range.start
    }

    pub(crate) fn matrix<'a>(&self, weights: &'a [u8]) -> Matrix<'a> {
        let data = match self.layout.planes(&weights[self.range.clone()]) {
            Planes::F32(w) => Panels::F32(w.as_chunks().0),
            Planes::F16(w) => Panels::F16(w.as_chunks().0),
            Planes::Q8 { scales, codes } => {
                Panels::Q8 { scales: scales.as_chunks().0, codes: codes.as_chunks().0 }
            }
            Planes::Q4 { scales, codes } => {
                Panels::Q4 { scales: scales.as_chunks().0, codes: codes.as_chunks().0 }
            }
        };
        Matrix::new(self.layout.rows, self.layout.cols, data).expect("the layout gives planes their lengths")
    }

    /// A view for this pass.
    pub(crate) fn view<'a>(&self, weights: &'a [u8]) -> View<'a> {
        View { matrix: self.matrix(weights), bias: elements(&self.bias, weights) }
    }

    /// `out = W x + b`, `out` `[tokens, rows]`.
    pub(crate) fn forward(&self, cx: &mut Cx, x: &Input, out: &mut [f32]) {
        forward_all(cx, [self], x, [out]);
    }

    /// `out = f(W x + b)`, where `f` works on a piece of a row at a time.
    pub(crate) fn forward_then(
        &self,
        cx: &mut Cx,
        x: &Input,
        out: &mut [f32],
        f: impl Fn(&mut [f32]) + Sync,
    ) {
        cx.watch([self.start()], x);
        let (view, kernels) = (self.view(cx.weights), cx.kernels);
        let out = Columns::new(Strip::new(out, x.tokens, self.rows()), LANES);
        cx.team.run(view.matrix.n_panels(), view.cost(x), out, |work, mut strip| {
            view.multiply(kernels, work.items, x, &mut strip);
            for t in 0..x.tokens {
                f(strip.row(t));
            }
        });
    }

    /// `x = W a + b`, or `x += W a + b` for a residual block; `product` is scratch of the size of `x`.
    pub(crate) fn forward_add(
        &self,
        cx: &mut Cx,
        a: &Input,
        residual: bool,
        product: &mut [f32],
        x: &mut [f32],
    ) {
        if !residual {
            return self.forward(cx, a, x);
        }
        cx.watch([self.start()], a);
        let (view, kernels) = (self.view(cx.weights), cx.kernels);
        let columns = |data| Columns::new(Strip::new(data, a.tokens, self.rows()), LANES);
        let out = (columns(product), columns(x));
        cx.team.run(view.matrix.n_panels(), view.cost(a), out, |work, (mut product, mut x)| {
            view.multiply(kernels, work.items, a, &mut product);
            for t in 0..a.tokens {
                for (x, p) in x.row(t).iter_mut().zip(product.row(t)) {
                    *x += *p;
                }
            }
        });
    }
}

/// A matrix and its bias, borrowed for one pass.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) matrix: Matrix<'a>,
    bias: &'a [f32],
}

impl View<'_> {
    /// What a panel costs the team: the bytes that it streams, once for each tile of tokens.
    pub(crate) fn cost(&self, x: &Input) -> usize {
        self.matrix.panel_bytes().saturating_mul(x.tokens.div_ceil(2))
    }

    /// `W x + b` for some panels.
    pub(crate) fn multiply(&self, kernels: &Kernels, panels: Range<usize>, x: &Input, out: &mut Strip) {
        let first = panels.start * LANES;
        (kernels.gemm)(&self.matrix, panels, x, out);
        if !self.bias.is_empty() {
            for t in 0..x.tokens {
                for (y, b) in out.row(t).iter_mut().zip(&self.bias[first..]) {
                    *y += *b;
                }
            }
        }
    }
}

/// Products of several matrices with the same `x`, as one job of the team.
pub(crate) fn forward_all<const N: usize>(
    cx: &mut Cx,
    linears: [&Linear; N],
    x: &Input,
    out: [&mut [f32]; N],
) {
    cx.watch(linears.map(Linear::start), x);
    let views = linears.map(|linear| linear.view(cx.weights));
    let items = views.map(|view| view.matrix.n_panels());
    let total: usize = items.iter().sum();
    let bytes: usize = views.iter().map(|view| view.matrix.n_panels() * view.cost(x)).sum();
    let mut rows = linears.iter().map(|linear| linear.rows());
    let parts = out.map(|out| Columns::new(Strip::new(out, x.tokens, rows.next().unwrap_or(0)), LANES));
    let kernels = cx.kernels;
    cx.team.run(total, bytes / total.max(1), Chain { parts, items }, |_, parts| {
        for (view, (panels, mut strip)) in views.iter().zip(parts) {
            if !panels.is_empty() {
                view.multiply(kernels, panels, x, &mut strip);
            }
        }
    });
}
