//! Step sizes that are learnt with the weights they round.
//!
//! A weight w of a group with the scale s becomes `q = s c`, `c` the nearest code to `w / s`. With the straight-through estimator for the rounding,
//! `dq/ds = c - w/s` where the nearest integer is a code, and `c`, the outermost code, beyond (LSQ: Esser et al. 2020, equation 3). The sign of a scale stays, and its logarithm
//! is what Adam steps, so that one rate fits the scales of every group.

use half::f16;
use rayon::prelude::*;
use siskin_format::panel::{GROUP, Planes};
use siskin_format::quant::{Codes, PackedMatrix, QuantError, pack, unpack};
use siskin_format::{DType, TensorSpec, TensorView};

use crate::error::Result;
use crate::optim::{OptimConfig, OptimName, Optimizer, ParamInfo, ParamKind};
use crate::params::ParamLayout;

/// The codes of q4, between which a weight is not clipped.
const CODES: std::ops::RangeInclusive<f32> = -8.0..=7.0;

/// How the weights of a tensor are rounded.
#[derive(Clone, Debug)]
pub enum Grid {
    /// As the exporter stores this type: scales are fitted to the weights.
    Fitted(DType),
    /// With these scales, which are given or learnt, for the codes of q4: `[rows, ceil(cols / 32)]`.
    Scaled(Vec<f16>),
}

impl Grid {
    /// That of a tensor of a file: the scales of q4, whose steps are wide, and of any other type itself.
    pub fn of(view: &TensorView<'_>) -> Grid {
        let Some((layout, Planes::Q4 { scales, .. })) = view.matrix() else {
            return Grid::Fitted(view.dtype());
        };
        let groups = 0..layout.cols.div_ceil(GROUP);
        let places = (0..layout.rows).flat_map(|row| groups.clone().map(move |group| (row, group * GROUP)));
        Grid::Scaled(places.map(|(row, col)| scales[layout.scale_index(row, col)]).collect())
    }

    /// Rounds `weights`, rows of `cols` from the `first` on. Rows with a weight that the type cannot hold stay as they are.
    pub(super) fn round(&self, weights: &[f32], first: usize, cols: usize, out: &mut [f32]) {
        match self {
            Grid::Fitted(DType::F32) => out.copy_from_slice(weights),
            Grid::Fitted(dtype) => match pack(*dtype, weights, weights.len() / cols, cols) {
                Ok(packed) => out.copy_from_slice(&unpack(packed.layout(), packed.bytes())),
                Err(_) => out.copy_from_slice(weights),
            },
            Grid::Scaled(scales) => {
                let groups = weights
                    .chunks_exact(cols)
                    .zip(out.chunks_exact_mut(cols))
                    .flat_map(|(weights, out)| weights.chunks(GROUP).zip(out.chunks_mut(GROUP)));
                for ((weights, out), &scale) in groups.zip(&scales[first * cols.div_ceil(GROUP)..]) {
                    for (&w, q) in weights.iter().zip(out) {
                        *q = scale.to_f32() * f32::from(Codes::nearest(DType::Q4, w, scale));
                    }
                }
            }
        }
    }

    /// `weights` `[rows, cols]` in panels.
    ///
    /// # Errors
    /// A weight that the type cannot hold, or a size that does not fit into memory.
    ///
    /// # Panics
    /// For lengths that are not those of the grid's tensor.
    pub fn pack(&self, spec: &TensorSpec, weights: &[f32]) -> std::result::Result<PackedMatrix, QuantError> {
        let scales = match self {
            Grid::Fitted(dtype) => return pack(*dtype, weights, spec.rows, spec.cols),
            Grid::Scaled(scales) => scales,
        };
        let rows = weights.chunks_exact(spec.cols).zip(scales.chunks_exact(spec.cols.div_ceil(GROUP)));
        let codes = rows.flat_map(|(weights, scales)| {
            let groups = weights.chunks(GROUP).zip(scales);
            groups.flat_map(|(w, scale)| w.iter().map(|&w| Codes::nearest(DType::Q4, w, *scale)))
        });
        let codes = Codes { scales: scales.clone(), codes: codes.collect() };
        PackedMatrix::from_codes(DType::Q4, spec.rows, spec.cols, &codes)
    }
}

/// Learns the scales of all [`Grid::Scaled`] of a model.
#[derive(Debug)]
pub struct ScaleLearner {
    optimizer: Optimizer,
    first: Vec<f16>,
    /// Logarithm of what each is multiplied by.
    logs: Vec<f32>,
}

impl ScaleLearner {
    /// Of these grids, by Adam with `rate`.
    ///
    /// # Errors
    /// A rate that cannot learn.
    pub fn new(grids: &[Grid], rate: f32) -> Result<Self> {
        let first: Vec<f16> = grids.iter().filter_map(Grid::scales).flatten().copied().collect();
        let config = OptimConfig { lr: Some(rate), ..OptimConfig::new(OptimName::Adam) };
        let info = ParamInfo::new("scales", first.len(), 1, ParamKind::Vector);
        let logs = vec![0.0; first.len()];
        Ok(ScaleLearner { optimizer: Optimizer::new(&config, vec![info])?, first, logs })
    }

    /// Gradients of the logarithms of all scales, from those of the rounded weights.
    pub fn gradients(layout: &ParamLayout, grids: &[Grid], weights: &[f32], grads: &[f32]) -> Vec<f32> {
        let tensors: Vec<_> = layout
            .tensors()
            .zip(grids)
            .filter_map(|((spec, range), grid)| Some((spec.cols, range, grid.scales()?)))
            .collect();
        let of_tensor = |(cols, range, scales): &(usize, std::ops::Range<usize>, &Vec<f16>)| -> Vec<f32> {
            let rows =
                weights[range.clone()].chunks_exact(*cols).zip(grads[range.clone()].chunks_exact(*cols));
            let groups = rows.flat_map(|(w, g)| w.chunks(GROUP).zip(g.chunks(GROUP)));
            groups.zip(*scales).map(|((w, g), &scale)| gradient(w, g, scale)).collect()
        };
        tensors.par_iter().map(of_tensor).collect::<Vec<_>>().concat()
    }

    /// Steps the scales of the grids against `gradients`; `factor` is the schedule's.
    pub fn step(&mut self, grids: &mut [Grid], gradients: &[f32], factor: f32) {
        self.optimizer.step(&mut self.logs, gradients, factor, 1.0);
        let learnt = self.first.iter().zip(&self.logs).map(|(s, log)| f16::from_f32(s.to_f32() * log.exp()));
        grids.iter_mut().filter_map(Grid::scales_mut).flatten().zip(learnt).for_each(|(s, to)| *s = to);
    }
}

impl Grid {
    fn scales(&self) -> Option<&Vec<f16>> {
        if let Grid::Scaled(scales) = self { Some(scales) } else { None }
    }

    fn scales_mut(&mut self) -> Option<&mut Vec<f16>> {
        if let Grid::Scaled(scales) = self { Some(scales) } else { None }
    }
}

/// Gradient of the logarithm of a group's scale.
fn gradient(weights: &[f32], grads: &[f32], scale: f16) -> f32 {
    let s = scale.to_f32();
    if s == 0.0 {
        return 0.0;
    }
    let of = |(&w, &g): (&f32, &f32)| {
        let (x, code) = (w / s, f32::from(Codes::nearest(DType::Q4, w, scale)));
        let inside = (*CODES.start() - 0.5..CODES.end() + 0.5).contains(&x);
        g * s * if inside { code - x } else { code }
    };
    weights.iter().zip(grads).map(of).sum()
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
    fn the_grids_of_a_file_give_its_weights_and_its_bytes() {
        let config = tiny_gpt();
        let store: ParamStore<f32> = filled(&config, 3).cast();
        let vocab = placeholder(config.vocab_size).unwrap();
        let trained = Trained { config: &config, vocab: &vocab, weights: &store.values };
        let file = File::from_bytes(trained.to_bytes(DType::Q4).unwrap()).unwrap();
        let mut scaled = 0;
        for ((spec, range), info) in store.layout().tensors().zip(file.tensors()) {
            let (view, weights) = (file.view(info), &store.values[range]);
            let grid = Grid::of(&view);
            scaled += usize::from(matches!(grid, Grid::Scaled(_)));
            let mut rounded = vec![0.0; weights.len()];
            grid.round(weights, 0, spec.cols, &mut rounded);
            assert_eq!(rounded, view.to_f32(), "{}", spec.name);
            if !spec.is_vector() {
                assert_eq!(grid.pack(spec, weights).unwrap().bytes(), view.bytes(), "{}", spec.name);
            }
        }
        assert!(scaled > 3);
    }

    /// The straight-through estimator takes the rounding for a sum with a constant: then `q = s (w/s + r)` inside, whose slope by s, w held, is
    /// r, what rounding added; beyond the codes it is the outermost one.
    #[test]
    fn gradients_are_those_of_lsq() {
        let scale = f16::from_f32(-0.5);
        let (weights, grads) = ([1.1, -0.3, 9.0, -9.0], [1.0, 2.0, 3.0, 4.0]);
        // w / s = -2.2, 0.6, -18, 18; codes -2, 1, -8, 7.
        let expected = -0.5 * (0.2 + 2.0 * 0.4 + 3.0 * -8.0 + 4.0 * 7.0);
        assert!((gradient(&weights, &grads, scale) - expected).abs() < 1e-5);
        assert_eq!(gradient(&weights, &grads, f16::ZERO), 0.0);
    }

    #[test]
    fn a_step_multiplies_scales_against_their_gradients() {
        let scales = [0.5, -0.25, 0.0, 2.0].map(f16::from_f32);
        let mut grids = vec![Grid::Fitted(DType::F32), Grid::Scaled(scales.to_vec())];
        let mut learner = ScaleLearner::new(&grids, 0.01).unwrap();
        learner.step(&mut grids, &[3.0, -2.0, 0.0, 0.0], 0.5);
        let found: Vec<f32> = grids[1].scales().unwrap().iter().map(|s| s.to_f32()).collect();
        // Adam's first step is its rate, whatever the size of the gradient.
        let expected = [0.5 * (-0.005f32).exp(), -0.25 * 0.005f32.exp(), 0.0, 2.0];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 3e-4), "{found:?}");
    }
}
