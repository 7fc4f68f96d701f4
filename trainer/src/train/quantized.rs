//! Training for few bits: gradients at the weights that the exported file will hold, applied to exact ones.
//!
//! Before each gradient and each evaluation, every tensor is rounded by the exporter's own quantizer to the dtype that the
//! file will have, and products read activations rounded as the runtime rounds them ([`crate::ops::fake_quantize`]). The
//! gradient passes both roundings as if they were not there (the straight-through estimator: Bengio, Léonard & Courville
//! 2013; Jacob et al. 2018), so that small updates add up in the exact weights until a code changes.

use rayon::prelude::*;
use siskin_format::quant::{pack, unpack};
use siskin_format::{DType, panel::PANEL_ROWS};

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
    dtype: DType,
    other: Vec<f32>,
}

impl Quantized {
    /// For a model of `n` parameters.
    pub fn new(dtype: DType, n: usize) -> Self {
        Quantized { dtype, other: vec![0.0; n] }
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
        for (spec, range) in layout.tensors() {
            let (out, after) = rest.split_at_mut(range.len());
            tensors.push((spec, &values[range], out));
            rest = after;
        }
        tensors.into_par_iter().for_each(|(spec, exact, out)| {
            let dtype = spec.dtype_for(self.dtype);
            if dtype == DType::F32 {
                return out.copy_from_slice(exact);
            }
            let panels = PANEL_ROWS * spec.cols;
            exact.par_chunks(panels).zip(out.par_chunks_mut(panels)).for_each(|(exact, out)| {
                match pack(dtype, exact, exact.len() / spec.cols, spec.cols) {
                    Ok(packed) => out.copy_from_slice(&unpack(packed.layout(), packed.bytes())),
                    Err(_) => out.copy_from_slice(exact),
                }
            });
        });
        std::mem::swap(values, &mut self.other);
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
            let mut quantized = Quantized::new(dtype, exact.len());
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
        let mut quantized = Quantized::new(DType::Q4, store.values.len());
        let (layout, values) = store.layout_and_values();
        quantized.replace(layout, values);
        assert!(store.values[0].is_nan());
    }
}
