//! Rows of a table: token embeddings, with position vectors added where the model has them.
//!
//! Backward: each token adds its gradient to its row of the table, and to the row of its position.

use crate::float::Float;
use crate::ops::Op;
use crate::tape::Tape;
use crate::tensor::{Layout, Matrix, Var};

/// What is added to the embedding of a token for where it stands.
#[derive(Clone, Copy, Debug)]
pub enum Positions<'a, T> {
    /// Nothing.
    None,
    /// A learned row per position, `[context, d_model]`.
    Learned(Matrix),
    /// A fixed row per position, `[context, d_model]`.
    Fixed(&'a [T]),
}

/// What the backward pass of [`Tape::embedding`] needs.
#[derive(Debug)]
pub(crate) struct Embedding {
    tokens: Vec<u32>,          // [rows]
    y: Var,                    // [rows, table.cols]
    table: Matrix,             // [vocab_size, d_model]
    positions: Option<Matrix>, // [context, d_model]
    layout: Layout,
}

impl<T: Float> Tape<T> {
    /// `y[row] = table[token of row] (+ positions[its place in the sequence])`.
    ///
    /// `tokens` is `[batch, len]`, sequence by sequence, whatever the layout of the rows; y `[rows, table.cols]`.
    ///
    /// # Panics
    /// If a token is outside the table, or a sequence longer than `positions`.
    pub fn embedding(
        &mut self,
        params: &[T],
        tokens: &[u32],
        layout: Layout,
        table: Matrix,
        positions: Positions<'_, T>,
    ) -> Var {
        let (rows, cols) = (layout.rows(), table.cols);
        assert_eq!(tokens.len(), rows, "a token per row");
        let mut ids = self.ids.take(rows);
        let mut out = self.pool.take(rows * cols);
        let weights = &params[table.range()];
        let (fixed, learned) = match positions {
            Positions::None => (&[][..], None),
            Positions::Learned(matrix) => (&params[matrix.range()], Some(matrix)),
            Positions::Fixed(rows) => (rows, None),
        };
        assert!(fixed.is_empty() || layout.len * cols <= fixed.len(), "more positions than the context");
        for (row, y) in out.chunks_exact_mut(cols).enumerate() {
            let (b, t) = layout.place(row);
            let id = tokens[b * layout.len + t];
            ids[row] = id;
            assert!((id as usize) < table.rows, "token {id} of a vocabulary of {}", table.rows);
            y.copy_from_slice(&weights[id as usize * cols..][..cols]);
            if !fixed.is_empty() {
                y.iter_mut().zip(&fixed[t * cols..]).for_each(|(y, &p)| *y += p);
            }
        }
        let y = self.push(rows, cols, out);
        self.record(Op::Embedding(Embedding { tokens: ids, y, table, positions: learned, layout }), y)
    }
}

impl Embedding {
    pub(crate) fn backward<T: Float>(self, tape: &mut Tape<T>, _: &[T], grads: &mut [T]) {
        let cols = self.table.cols;
        let dy = tape.take_grad(self.y);
        for (row, dy) in dy.chunks_exact(cols).enumerate() {
            let at = self.table.offset + self.tokens[row] as usize * cols;
            grads[at..at + cols].iter_mut().zip(dy).for_each(|(g, &d)| *g += d);
            if let Some(positions) = self.positions {
                let at = positions.offset + self.layout.place(row).1 * cols;
                grads[at..at + cols].iter_mut().zip(dy).for_each(|(g, &d)| *g += d);
            }
        }
        tape.pool.give(dy);
        self.discard(tape);
    }

    pub(crate) fn discard<T: Float>(self, tape: &mut Tape<T>) {
        tape.ids.give(self.tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::check_op;

    const TABLE: Matrix = Matrix { offset: 0, rows: 5, cols: 3 };
    const POSITIONS: Matrix = Matrix { offset: 15, rows: 4, cols: 3 };

    #[test]
    fn gradient_with_repeated_tokens() {
        for time_major in [false, true] {
            let layout = Layout { batch: 2, len: 3, time_major };
            let tokens = [4, 0, 4, 1, 4, 2];
            check_op(15, &[], |tape, params, _| {
                tape.embedding(params, &tokens, layout, TABLE, Positions::None)
            });
            check_op(27, &[], |tape, params, _| {
                tape.embedding(params, &tokens, layout, TABLE, Positions::Learned(POSITIONS))
            });
            check_op(15, &[], |tape, params, _| {
                tape.embedding(params, &tokens, layout, TABLE, Positions::Fixed(&[0.5; 12]))
            });
        }
    }

    #[test]
    #[should_panic(expected = "token 5 of a vocabulary of 5")]
    fn tokens_outside_the_table_are_refused() {
        let layout = Layout { batch: 1, len: 1, time_major: false };
        Tape::<f64>::new().embedding(&[0.0; 15], &[5], layout, TABLE, Positions::None);
    }
}
