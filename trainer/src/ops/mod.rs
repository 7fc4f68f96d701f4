//! Every operation that can be differentiated, one file each: its forward, its backward, its finite-difference test.
//!
//! Forward passes are methods of [`crate::tape::Tape`]. Activations are `[rows, cols]`, one row per token;
//! weights are ranges of the flat parameter slice ([`crate::tensor::Matrix`], [`crate::tensor::Vector`]).

pub mod add;
pub mod attention;
pub mod batch_norm;
pub mod cross_entropy;
pub mod distillation;
pub mod dropout;
pub mod embedding;
pub mod fake_quantize;
pub mod gated;
pub mod gelu;
pub mod gemm;
pub mod gru;
pub mod layer_norm;
pub mod leaky_relu;
pub mod linear;
pub mod lstm;
pub mod mul;
pub mod pointwise;
pub mod qk_norm;
pub(crate) mod recurrent;
pub mod relu;
pub mod relu2;
pub mod rms_norm;
pub mod rnn;
pub mod rope;
pub mod sigmoid;
pub mod silu;
pub(crate) mod simd;
pub mod softmax;
pub mod tanh;
#[cfg(target_arch = "x86_64")]
mod tiles;
pub mod token_shift;

use crate::float::Float;
use crate::tape::Tape;

/// Lists the ops: each is a struct of what its backward needs, with `backward` and `discard` (which gives its
/// buffers back unused).
macro_rules! ops {
    ($($variant:ident($saved:ty)),+ $(,)?) => {
        /// One recorded operation.
        #[derive(Debug)]
        pub(crate) enum Op<T> {
            $($variant($saved)),+
        }

        impl<T: Float> Op<T> {
            /// Adds to the gradients of the op's inputs and parameters.
            pub(crate) fn backward(self, tape: &mut Tape<T>, params: &[T], grads: &mut [T]) {
                match self { $(Op::$variant(op) => op.backward(tape, params, grads)),+ }
            }

            /// Gives the op's buffers back to the pool.
            pub(crate) fn discard(self, tape: &mut Tape<T>) {
                match self { $(Op::$variant(op) => op.discard(tape)),+ }
            }
        }
    };
}

ops! {
    Add(add::Add),
    Attention(attention::Attention<T>),
    BatchNorm(batch_norm::BatchNorm<T>),
    Dropout(dropout::DropoutOp),
    Elementwise(pointwise::Elementwise),
    Embedding(embedding::Embedding),
    FakeQuantize(fake_quantize::FakeQuantize),
    Gated(gated::Gated),
    Gru(gru::Gru<T>),
    LayerNorm(layer_norm::LayerNorm<T>),
    Linear(linear::Linear),
    Lstm(lstm::Lstm<T>),
    Mul(mul::Mul),
    QkNorm(qk_norm::QkNorm<T>),
    RmsNorm(rms_norm::RmsNorm<T>),
    Rnn(rnn::Rnn<T>),
    Rope(rope::Rope<T>),
    Softmax(softmax::Softmax),
    TokenShift(token_shift::TokenShift),
}
