//! A training pass in less memory: each block keeps its input only, and is run again when the gradient reaches it (Chen et al.,
//! "Training deep nets with sublinear memory cost", 2016).
//!
//! An encoder keeps all of its insides: every block of the decoder reads what it made, and adds to its gradient.
//!
//! The second run takes the same state, the same dropout masks and the same kernels, so that every gradient has the same bits. It costs one
//! more forward pass, a third of the products of a step.

use super::{Batch, CarriedState, CellState, Encoded, Goal, Gradients, Model, Noise, Pass, Running};
use crate::float::Float;
use crate::params::ParamStore;
use crate::tape::{Mark, Tape};
use crate::tensor::Var;

/// What a block needs to run again.
struct Before<T> {
    mark: Mark,
    input: Var,
    state: CellState<T>,
    dropouts: u64,
}

impl<T: Float> Model<T> {
    /// [`Model::learn`], with the insides of one block on the tape at a time.
    pub(super) fn learn_again(
        &self,
        goal: Goal<'_, T>,
        tape: &mut Tape<T>,
        store: &ParamStore<T>,
        grads: Gradients<'_, T>,
        batch: Batch<'_>,
        state: &mut CarriedState<T>,
        noise: Noise,
        scale: T,
    ) -> f64 {
        tape.reset(true);
        let (layout, params, flat) = (self.rows_of(batch), &store.values[..], grads.flat);
        let mut collected_before = vec![T::ZERO; grads.moments.len()];
        let running = Running::Collect(grads.moments);
        let mut pass = Pass::new(tape, params, running, layout, noise);
        self.encode(&mut pass, batch);
        // With the lifetime of the batch instead of that of the pass.
        let lens = batch.source.lens;
        let source =
            pass.source.map(|source| Encoded { encoded: source.encoded, layout: source.layout, lens });
        let mut x = self.embed(&mut pass, batch.tokens);
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for (index, state) in state.blocks.iter_mut().enumerate() {
            let mark = pass.tape.mark();
            blocks.push(Before { mark, input: x, state: state.clone(), dropouts: pass.dropouts });
            let y = self.block(index, &mut pass, x, state);
            x = pass.tape.keep_only(mark, y);
        }
        let mark = pass.tape.mark();
        let read = self.leave(&mut pass, x);
        let loss = self.goal_loss(goal, tape, params, flat, read, batch, layout, scale);
        tape.backward_to(mark, params, flat);
        for (index, mut before) in blocks.into_iter().enumerate().rev() {
            let gradient = tape.pop_gradient(x);
            let running = Running::Collect(&mut collected_before);
            let mut pass =
                Pass { dropouts: before.dropouts, source, ..Pass::new(tape, params, running, layout, noise) };
            let y = self.block(index, &mut pass, before.input, &mut before.state);
            tape.accumulate(y, gradient);
            tape.backward_to(before.mark, params, flat);
            x = before.input;
        }
        tape.backward(params, flat);
        tape.reset(false);
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Source;
    use crate::model::tests::{filled, gru_config, tiny_gpt, tiny_seq2seq, tokens};
    use siskin_format::ModelConfig;

    /// Loss, gradients, sums for running statistics and carried state of two steps; bytes of the tape.
    fn train(config: &ModelConfig, recompute: bool, taught: bool, len: usize) -> (Vec<u32>, usize) {
        let model = Model::new(config).unwrap().recomputing(recompute);
        let store: ParamStore<f32> = filled(config, 3).cast();
        let mut state = model.new_state(2);
        let (mut tape, mut bits) = (Tape::new(), Vec::new());
        for step in 0..2 {
            let ids = tokens(2 * len, config.vocab_size, step);
            let source = match config.has_encoder() {
                true => Source { tokens: &ids, lens: &[len as u32, 1], len },
                false => Source::NONE,
            };
            let batch = Batch { tokens: &ids, targets: &ids, batch: 2, len, source };
            let (mut flat, mut moments) = (vec![0.0; store.values.len()], vec![0.0; store.buffers.len()]);
            let grads = Gradients { flat: &mut flat, moments: &mut moments };
            let noise = Noise { dropout: 0.2, seed: 7, step, part: 0 };
            let loss = match taught {
                true => {
                    let teacher: ParamStore<f32> = filled(config, 4).cast();
                    let hidden = model.hidden(&mut Tape::new(), &teacher, batch, &mut model.new_state(2));
                    let goal = Goal::Teacher(model.lesson(&teacher.values, &hidden));
                    model.learn(goal, &mut tape, &store, grads, batch, &mut state, noise, 0.1)
                }
                false => model.loss_and_gradient(&mut tape, &store, grads, batch, &mut state, noise, 0.1),
            };
            bits.push((loss as f32).to_bits());
            bits.extend(flat.iter().chain(&moments).chain(state.values()).map(|x| x.to_bits()));
        }
        (bits, tape.bytes())
    }

    #[test]
    fn gradients_have_the_same_bits() {
        for config in [tiny_gpt(), gru_config(), tiny_seq2seq(true)] {
            for taught in [false, true] {
                assert_eq!(train(&config, true, taught, 6).0, train(&config, false, taught, 6).0);
            }
        }
    }

    #[test]
    fn a_deep_model_needs_a_fraction_of_the_memory() {
        let mut config = tiny_gpt();
        config.blocks = vec![config.blocks[0].clone(); 48];
        let ((same, less), (bits, all)) = (train(&config, true, false, 6), train(&config, false, false, 6));
        assert_eq!(same, bits);
        assert!(3 * less < all, "{less} bytes instead of {all}");
    }
}
