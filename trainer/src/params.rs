//! The parameters of a model: one flat slice, cut into tensors by the schema of the file.
//!
//! Running statistics of batch norms lie beside it: they are not trained by gradients.

use siskin_format::config::{BlockConfig, Norm};
use siskin_format::{ModelConfig, TensorSpec, schema};

use crate::float::Float;
use crate::tensor::{Matrix, Vector};

/// Where each tensor lies in the flat slice, and each batch norm's statistics in the flat buffers.
#[derive(Clone, Debug)]
pub struct ParamLayout {
    specs: Vec<TensorSpec>,
    offsets: Vec<usize>,
    len: usize,
    buffers: Vec<BufferSpec>,
    buffers_len: usize,
}

/// Running mean and variance of one batch norm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferSpec {
    /// The norm's name, such as `blocks.0.norm1`.
    pub name: String,
    /// First element in the flat buffers: `[2, width]`, means then variances.
    pub offset: usize,
    /// Channels.
    pub width: usize,
}

impl ParamLayout {
    /// The layout of a valid configuration: the schema's tensors in the schema's order, without gaps.
    pub fn new(config: &ModelConfig) -> Self {
        let specs = schema(config);
        let mut len = 0;
        let offsets = specs
            .iter()
            .map(|spec| {
                len += spec.len();
                len - spec.len()
            })
            .collect();
        let mut layout = ParamLayout { specs, offsets, len, buffers: Vec::new(), buffers_len: 0 };
        layout.place_buffers(config);
        layout
    }

    fn place_buffers(&mut self, config: &ModelConfig) {
        let widths = config.widths();
        for (index, block) in config.blocks.iter().enumerate() {
            match block {
                BlockConfig::Transformer(t) => {
                    self.buffer(t.norm, format!("blocks.{index}.norm1"), widths[index]);
                    self.buffer(t.norm, format!("blocks.{index}.norm2"), widths[index]);
                }
                recurrent => {
                    let norm = recurrent.recurrent().map_or(Norm::None, |cell| cell.norm);
                    self.buffer(norm, format!("blocks.{index}.norm"), widths[index]);
                }
            }
        }
        self.buffer(config.final_norm, "final_norm".into(), config.head_width());
    }

    fn buffer(&mut self, norm: Norm, name: String, width: usize) {
        if norm == Norm::Batch {
            self.buffers.push(BufferSpec { name, offset: self.buffers_len, width });
            self.buffers_len += 2 * width;
        }
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true for a valid configuration.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The tensors, in the order of the flat slice.
    pub fn specs(&self) -> &[TensorSpec] {
        &self.specs
    }

    /// Each tensor with its range of the flat slice.
    pub fn tensors(&self) -> impl Iterator<Item = (&TensorSpec, std::ops::Range<usize>)> {
        self.specs.iter().zip(&self.offsets).map(|(spec, &at)| (spec, at..at + spec.len()))
    }

    /// Range of the tensor called `name`.
    pub fn range(&self, name: &str) -> Option<std::ops::Range<usize>> {
        self.tensors().find(|(spec, _)| spec.name == name).map(|(_, range)| range)
    }

    /// The matrix called `name`.
    ///
    /// # Panics
    /// If the schema has none.
    pub fn matrix(&self, name: &str) -> Matrix {
        let (spec, range) =
            self.tensors().find(|(spec, _)| spec.name == name).expect("a matrix of the schema");
        Matrix { offset: range.start, rows: spec.rows, cols: spec.cols }
    }

    /// The vector called `name`, if the configuration has it.
    pub fn vector(&self, name: &str) -> Option<Vector> {
        self.range(name).map(|range| Vector { offset: range.start, len: range.len() })
    }

    /// The batch norms' statistics.
    pub fn buffers(&self) -> &[BufferSpec] {
        &self.buffers
    }

    /// Elements of all statistics.
    pub fn buffers_len(&self) -> usize {
        self.buffers_len
    }
}

/// The values of a model: parameters and running statistics.
#[derive(Clone, Debug)]
pub struct ParamStore<T> {
    layout: ParamLayout,
    /// Every parameter, in the layout's order.
    pub values: Vec<T>,
    /// Running statistics, in the layout's order.
    pub buffers: Vec<T>,
}

impl<T: Float> ParamStore<T> {
    /// Zeros, but norm weights and running variances of 1: what an initialiser then fills.
    pub fn new(config: &ModelConfig) -> Self {
        let layout = ParamLayout::new(config);
        let mut values = vec![T::ZERO; layout.len()];
        for (spec, range) in layout.tensors() {
            if spec.role == siskin_format::schema::Role::NormWeight {
                values[range].fill(T::ONE);
            }
        }
        let mut buffers = vec![T::ZERO; layout.buffers_len()];
        for b in layout.buffers() {
            buffers[b.offset + b.width..b.offset + 2 * b.width].fill(T::ONE);
        }
        ParamStore { layout, values, buffers }
    }

    /// Where each tensor lies.
    pub fn layout(&self) -> &ParamLayout {
        &self.layout
    }

    /// Where each tensor lies, and the values to change.
    pub fn layout_and_values(&mut self) -> (&ParamLayout, &mut Vec<T>) {
        (&self.layout, &mut self.values)
    }

    /// Values of the tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&[T]> {
        self.layout.range(name).map(|range| &self.values[range])
    }

    /// The same values in another precision.
    pub fn cast<U: Float>(&self) -> ParamStore<U> {
        let cast = |values: &[T]| values.iter().map(|v| U::from_f64(v.to_f64())).collect();
        ParamStore { layout: self.layout.clone(), values: cast(&self.values), buffers: cast(&self.buffers) }
    }

    /// Moves the running statistics `rate` of the way to those of a batch: `moments` holds, where the buffers hold mean and
    /// variance, sums over `parts` of means and of mean squares.
    pub fn update_statistics(&mut self, moments: &[T], parts: usize, rate: f64) {
        let (part, rate) = (T::ONE / T::from_f64(parts as f64), T::from_f64(rate));
        for b in self.layout.buffers() {
            for j in b.offset..b.offset + b.width {
                let mean = moments[j] * part;
                let var = (moments[j + b.width] * part - mean * mean).max(T::ZERO);
                self.buffers[j] = self.buffers[j] + rate * (mean - self.buffers[j]);
                let running = self.buffers[j + b.width];
                self.buffers[j + b.width] = running + rate * (var - running);
            }
        }
    }

    /// The values that a file holds: each batch norm folded into its weight and bias (SPEC: `y = x weight + bias`).
    pub fn folded(&self, norm_eps: f64) -> Vec<T> {
        let mut values = self.values.clone();
        for b in self.layout.buffers() {
            let weight =
                self.layout.vector(&format!("{}.weight", b.name)).expect("a batch norm has a weight");
            let bias = self.layout.vector(&format!("{}.bias", b.name)).expect("a batch norm has a bias");
            for j in 0..b.width {
                let (mean, var) = (self.buffers[b.offset + j], self.buffers[b.offset + b.width + j]);
                let scale = values[weight.offset + j] / (var + T::from_f64(norm_eps)).sqrt();
                values[weight.offset + j] = scale;
                values[bias.offset + j] -= mean * scale;
            }
        }
        values
    }
}
