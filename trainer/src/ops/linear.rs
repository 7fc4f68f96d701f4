//! Affine map, `y = x Wᵀ + b` for each row, optionally added to a residual stream.
//!
//! Backward: `dx += dy W`, `dW += dyᵀ x`, `db += Σ_rows dy` (Rumelhart, Hinton & Williams 1986).

use crate::float::Float;
use crate::ops::gemm::{View, ViewMut, gemm};
use crate::ops::{Op, simd};
use crate::tape::Tape;
use crate::tensor::{Matrix, Var, Vector};

/// What the backward pass of [`Tape::linear`] needs.
#[derive(Debug)]
pub(crate) struct Linear {
    x: Var,                // [rows, w.cols]
    y: Var,                // [rows, w.rows]
    residual: Option<Var>, // [rows, w.rows]
    w: Matrix,
    bias: Option<Vector>, // [w.rows]
}

impl<T: Float> Tape<T> {
    /// `y = x Wᵀ + b`: x `[rows, w.cols]`, y `[rows, w.rows]`.
    pub fn linear(&mut self, params: &[T], x: Var, w: Matrix, bias: Option<Vector>) -> Var {
        self.affine(params, x, w, bias, None)
    }

    /// `y = residual + x Wᵀ + b`, without a temporary: x `[rows, w.cols]`, residual and y `[rows, w.rows]`.
    pub fn linear_onto(
        &mut self,
        params: &[T],
        residual: Var,
        x: Var,
        w: Matrix,
        bias: Option<Vector>,
    ) -> Var {
        self.affine(params, x, w, bias, Some(residual))
    }

    fn affine(
        &mut self,
        params: &[T],
        x: Var,
        w: Matrix,
        bias: Option<Vector>,
        residual: Option<Var>,
    ) -> Var {
        let x = self.product_input(x);
        let rows = self.shape(x).0;
        let mut out = self.pool.take(rows * w.rows);
        if let Some(residual) = residual {
            out.copy_from_slice(self.value(residual));
        }
        if let Some(bias) = bias {
            let bias = &params[bias.range()];
            for row in out.chunks_exact_mut(w.rows) {
                match residual {
                    Some(_) => row.iter_mut().zip(bias).for_each(|(y, &b)| *y += b),
                    None => row.copy_from_slice(bias),
                }
            }
        }
        let onto = residual.is_some() || bias.is_some();
        let (input, weight) =
            (View::new(self.value(x), rows, w.cols), View::new(&params[w.range()], w.rows, w.cols));
        gemm(T::ONE, input, weight.t(), onto, ViewMut::new(&mut out, rows, w.rows));
        let y = self.push(rows, w.rows, out);
        self.record(Op::Linear(Linear { x, y, residual, w, bias }), y)
    }
}

impl Linear {
    pub(crate) fn backward<T: Float>(self, tape: &mut Tape<T>, params: &[T], grads: &mut [T]) {
        let Linear { x, y, residual, w, bias } = self;
        let rows = tape.shape(x).0;
        let dy = tape.take_grad(y);
        let (mut dx, onto) = tape.grad_buffer(x);
        let dy_view = View::new(&dy, rows, w.rows);
        let weight = View::new(&params[w.range()], w.rows, w.cols);
        gemm(T::ONE, dy_view, weight, onto, ViewMut::new(&mut dx, rows, w.cols));
        tape.put_grad(x, dx);
        let input = View::new(tape.value(x), rows, w.cols);
        let dw = ViewMut::new(&mut grads[w.range()], w.rows, w.cols);
        gemm(T::ONE, dy_view.t(), input, true, dw);
        if let Some(bias) = bias {
            simd::add_column_sums(&mut grads[bias.range()], &dy);
        }
        match residual {
            Some(residual) => tape.accumulate(residual, dy),
            None => tape.pool.give(dy),
        }
    }

    pub(crate) fn discard<T: Float>(self, _: &mut Tape<T>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::check_op;

    const W: Matrix = Matrix { offset: 0, rows: 4, cols: 5 };
    const B: Vector = Vector { offset: 20, len: 4 };

    #[test]
    fn gradient_of_weight_bias_and_input() {
        check_op(24, &[(3, 5)], |tape, params, x| tape.linear(params, x[0], W, Some(B)));
        check_op(20, &[(7, 5)], |tape, params, x| tape.linear(params, x[0], W, None));
    }

    #[test]
    fn gradient_through_the_residual() {
        check_op(24, &[(3, 4), (3, 5)], |tape, params, x| tape.linear_onto(params, x[0], x[1], W, Some(B)));
    }

    #[test]
    fn gradient_of_an_input_used_twice() {
        let square = Matrix { offset: 0, rows: 4, cols: 4 };
        check_op(16, &[(3, 4)], |tape, params, x| {
            let once = tape.linear(params, x[0], square, None);
            tape.linear_onto(params, x[0], once, square, None)
        });
    }

    #[test]
    fn value() {
        let mut tape = Tape::<f64>::new();
        let params = [1.0, 2.0, 3.0, 4.0, 10.0, 20.0];
        let x = tape.input(1, 2, &[5.0, 6.0]);
        let y = tape.linear(
            &params,
            x,
            Matrix { offset: 0, rows: 2, cols: 2 },
            Some(Vector { offset: 4, len: 2 }),
        );
        assert_eq!(tape.value(y), [27.0, 59.0]);
    }
}
