//! Training for few bits: gradients at the weights that the exported file will hold, applied to exact ones.
//!
//! Before each gradient and each evaluation, every tensor is rounded by the exporter's own quantizer to the dtype that the
//! file will have, and products read activations rounded as the runtime rounds them ([`crate::ops::fake_quantize`]). The
//! gradient passes both roundings as if they were not there (the straight-through estimator: Bengio, Léonard & Courville
//! 2013; Jacob et al. 2018), so that small updates add up in the exact weights until a code changes.

use rayon::prelude::*;
use siskin_format::DType;
use siskin_format::panel::PANEL_ROWS;

use super::step_sizes::{Grid, ScaleLearner};
use crate::error::Result;
use crate::params::ParamLayout;

/// What quantization-aware training is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QatConfig {
    /// What the exported file will hold.
    pub dtype: DType,
    /// Share of the updates after which it begins.
    pub start: f64,
}

/// The weights that the other of the two does not hold: the quantized ones while the store is exact, the exact ones while it is
/// quantized.
#[derive(Debug)]
pub struct Quantized {
    grids: Vec<Grid>, // of each tensor
    learner: Option<ScaleLearner>,
    other: Vec<f32>,
}

impl Quantized {
    /// For a model whose file will hold what an export as `dtype` writes.
    pub fn new(dtype: DType, layout: &ParamLayout) -> Self {
        let grids = layout.specs().iter().map(|spec| Grid::Fitted(spec.dtype_for(dtype))).collect();
        Quantized { grids, learner: None, other: vec![0.0; layout.len()] }
    }

    /// For a model whose file will hold each tensor on the grid beside it, whose scales are learnt at this rate.
    ///
    /// # Errors
    /// A rate that cannot learn.
    ///
    /// # Panics
    /// If there is not a grid for each tensor.
    pub fn learning(grids: Vec<Grid>, rate: f32, layout: &ParamLayout) -> Result<Self> {
        assert_eq!(grids.len(), layout.specs().len(), "a grid for each tensor");
        let learner = Some(ScaleLearner::new(&grids, rate)?);
        Ok(Quantized { grids, learner, other: vec![0.0; layout.len()] })
    }

    /// The grids as they are.
    pub fn grids(&self) -> &[Grid] {
        &self.grids
    }

    /// Puts quantized weights in place of the exact ones in `values`, which [`Quantized::restore`] brings back. A tensor with a weight
    /// that the dtype cannot hold stays exact.
    ///
    /// # Panics
    /// If the layout has another size.
    pub fn replace(&mut self, layout: &ParamLayout, values: &mut Vec<f32>) {
        assert_eq!(values.len(), self.other.len(), "weights of this model");
        let mut rest = &mut self.other[..];
        let mut tensors = Vec::new();
        for ((spec, range), grid) in layout.tensors().zip(&self.grids) {
            let (out, after) = rest.split_at_mut(range.len());
            tensors.push((spec.cols, grid, &values[range], out));
            rest = after;
        }
        tensors.into_par_iter().for_each(|(cols, grid, exact, out)| {
            let panels = exact.par_chunks(PANEL_ROWS * cols).zip(out.par_chunks_mut(PANEL_ROWS * cols));
            panels.enumerate().for_each(|(i, (exact, out))| grid.round(exact, i * PANEL_ROWS, cols, out));
        });
        std::mem::swap(values, &mut self.other);
    }

    /// What the scales learn from the gradient of the rounded weights, `weights` being the exact ones; `None` if they learn nothing.
    pub fn scale_gradients(&self, layout: &ParamLayout, weights: &[f32], grads: &[f32]) -> Option<Vec<f32>> {
        self.learner.as_ref().map(|_| ScaleLearner::gradients(layout, &self.grids, weights, grads))
    }

    /// Steps the scales against their gradients; `factor` is the schedule's.
    pub fn step_scales(&mut self, gradients: &[f32], factor: f32) {
        if let Some(learner) = &mut self.learner {
            learner.step(&mut self.grids, gradients, factor);
        }
    }

    /// Brings the exact weights back.
    pub fn restore(&mut self, values: &mut Vec<f32>) {
        std::mem::swap(values, &mut self.other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::Trained;
    use crate::model::tests::{filled, tiny_gpt};
    use crate::params::ParamStore;
    use crate::tokenizer::placeholder;
    use siskin_format::File;

    #[test]
    fn weights_are_those_of_the_exported_file() {
        let config = tiny_gpt();
        let mut store: ParamStore<f32> = filled(&config, 3).cast();
        let exact = store.values.clone();
        let vocab = placeholder(config.vocab_size).unwrap();
        for dtype in [DType::Q8, DType::Q4] {
            let trained = Trained { config: &config, vocab: &vocab, weights: &exact };
            let file = File::from_bytes(trained.to_bytes(dtype).unwrap()).unwrap();
            let stored: Vec<f32> = file.tensors().iter().flat_map(|info| file.view(info).to_f32()).collect();
            let mut quantized = Quantized::new(dtype, store.layout());
            let (layout, values) = store.layout_and_values();
            quantized.replace(layout, values);
            assert_eq!(store.values, stored);
            quantized.restore(&mut store.values);
            assert_eq!(store.values, exact);
        }
    }

    #[test]
    fn a_tensor_that_cannot_be_held_stays_exact() {
        let config = tiny_gpt();
        let mut store: ParamStore<f32> = filled(&config, 3).cast();
        store.values[0] = f32::NAN;
        let mut quantized = Quantized::new(DType::Q4, store.layout());
        let (layout, values) = store.layout_and_values();
        quantized.replace(layout, values);
        assert!(store.values[0].is_nan());
    }
}
