//! Newton–Schulz steps towards the nearest semi-orthogonal matrix, the heart of [`super::muon`].
//!
//! One step is X ← (aI + bA + cA²) X with A = X Xᵀ. Two things make it cheap. A, A² and everything made of them are
//! symmetric, so only the blocks on and under the diagonal are multiplied out. And all of it commutes, so for a wide
//! X (at least twice as many columns as rows) the steps need not touch X: with Q = aI + bA + cA², the next A is
//! Q A Q, and X is multiplied by the product of all Q once, at the end. This form loses singular values under about
//! 10⁻⁴ of the largest, which a step by momentum of noisy gradients does not miss, and the loss grows with every step,
//! so it is taken for the usual five steps at most.

use crate::ops::gemm::{View, ViewMut, gemm};

/// The published coefficients of the quintic.
const A: f32 = 3.4445;
const B: f32 = -4.7750;
const C: f32 = 2.0315;

/// Keeps the norm of a zero matrix from dividing by zero.
const EPS: f32 = 1e-7;

/// Rows of a block of a symmetric product.
const BLOCK: usize = 32;

/// Most steps of the form that does not touch X.
const MAX_GRAM_STEPS: u32 = 5;

/// Buffers, kept from call to call.
#[derive(Debug, Default)]
pub(super) struct NewtonSchulz {
    /// The matrix to orthogonalise, and then the result: filled and read by the caller.
    pub(super) x: Vec<f32>, // [rows, cols]
    next: Vec<f32>,    // [n, m], n <= m
    gram: Vec<f32>,    // [n, n]
    quintic: Vec<f32>, // [n, n]
    product: Vec<f32>, // [n, n]
    spare: Vec<f32>,   // [n, n]
}

impl NewtonSchulz {
    /// Replaces `self.x` (`[rows, cols]`) by an approximation of the nearest semi-orthogonal matrix.
    pub(super) fn run(&mut self, rows: usize, cols: usize, steps: u32) {
        // X Xᵀ is smallest along the short side, and (Xᵀ orthogonalised)ᵀ is X orthogonalised.
        let (n, m) = (rows.min(cols), rows.max(cols));
        self.next.resize(n * m, 0.0);
        for square in [&mut self.gram, &mut self.quintic, &mut self.product, &mut self.spare] {
            square.resize(n * n, 0.0);
        }
        if rows > cols {
            transpose(rows, cols, &self.x, &mut self.next);
            std::mem::swap(&mut self.x, &mut self.next);
        }
        let squares: f64 = self.x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        let scale = 1.0 / (squares.sqrt() as f32).max(EPS);
        self.x.iter_mut().for_each(|x| *x *= scale);
        if m >= 2 * n && steps <= MAX_GRAM_STEPS {
            self.by_gram(n, m, steps);
        } else {
            self.directly(n, m, steps);
        }
        if rows > cols {
            transpose(cols, rows, &self.x, &mut self.next);
            std::mem::swap(&mut self.x, &mut self.next);
        }
    }

    /// The steps as published.
    fn directly(&mut self, n: usize, m: usize, steps: u32) {
        for _ in 0..steps {
            symmetric(n, m, 1.0, &self.x, View::new(&self.x, n, m).t(), &mut self.gram);
            self.make_quintic(n);
            multiply(n, m, &self.quintic, &self.x, &mut self.next);
            std::mem::swap(&mut self.x, &mut self.next);
        }
    }

    /// The same steps on X Xᵀ alone.
    fn by_gram(&mut self, n: usize, m: usize, steps: u32) {
        symmetric(n, m, 1.0, &self.x, View::new(&self.x, n, m).t(), &mut self.gram);
        for step in 0..steps {
            self.make_quintic(n);
            if step == 0 {
                self.product.copy_from_slice(&self.quintic);
            } else {
                symmetric(n, n, 1.0, &self.quintic, View::new(&self.product, n, n), &mut self.spare);
                std::mem::swap(&mut self.product, &mut self.spare);
            }
            if step + 1 < steps {
                symmetric(n, n, 1.0, &self.quintic, View::new(&self.gram, n, n), &mut self.spare);
                symmetric(n, n, 1.0, &self.spare, View::new(&self.quintic, n, n), &mut self.gram);
            }
        }
        multiply(n, m, &self.product, &self.x, &mut self.next);
        std::mem::swap(&mut self.x, &mut self.next);
    }

    /// quintic = aI + bA + cA²
    fn make_quintic(&mut self, n: usize) {
        symmetric(n, n, C, &self.gram, View::new(&self.gram, n, n), &mut self.quintic);
        for (i, (q, a)) in self.quintic.iter_mut().zip(&self.gram).enumerate() {
            let diagonal = if i % (n + 1) == 0 { A } else { 0.0 };
            *q += B * a + diagonal;
        }
    }
}

/// c (`[n, m]`) = a (`[n, n]`) · b (`[n, m]`)
fn multiply(n: usize, m: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    gemm(1.0, View::new(a, n, n), View::new(b, n, m), false, ViewMut::new(c, n, m));
}

/// c (`[n, n]`) = alpha · a (`[n, k]`) · b (`[k, n]`), which is known to be symmetric: the blocks above the diagonal are copies.
fn symmetric(n: usize, k: usize, alpha: f32, a: &[f32], b: View<'_, f32>, c: &mut [f32]) {
    for first in (0..n).step_by(BLOCK) {
        let end = (first + BLOCK).min(n);
        let rows = View::new(&a[first * k..], end - first, k);
        let columns = b.part((0, 0), (k, end));
        gemm(alpha, rows, columns, false, ViewMut::strided(&mut c[first * n..], end - first, end, n));
        for i in first..end {
            for j in 0..first {
                c[j * n + i] = c[i * n + j];
            }
        }
    }
}

/// `to` (`[cols, rows]`) = `from`ᵀ (`[rows, cols]`), in tiles that stay in the first-level cache.
fn transpose(rows: usize, cols: usize, from: &[f32], to: &mut [f32]) {
    const TILE: usize = 16;
    for i0 in (0..rows).step_by(TILE) {
        for j0 in (0..cols).step_by(TILE) {
            for i in i0..(i0 + TILE).min(rows) {
                for j in j0..(j0 + TILE).min(cols) {
                    to[j * rows + i] = from[i * cols + j];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn random(n: usize) -> Vec<f32> {
        let mut rng = Rng::new(5);
        (0..n).map(|_| rng.normal() as f32).collect()
    }

    fn orthogonalized(rows: usize, cols: usize, steps: u32, x: &[f32]) -> Vec<f32> {
        let mut ns = NewtonSchulz { x: x.to_vec(), ..Default::default() };
        ns.run(rows, cols, steps);
        ns.x
    }

    /// The published form in f64, three loops a product.
    fn reference(n: usize, m: usize, steps: u32, x: &[f32]) -> Vec<f64> {
        let product = |n: usize, k: usize, m: usize, a: &[f64], b: &[f64]| -> Vec<f64> {
            (0..n * m).map(|i| (0..k).map(|l| a[i / m * k + l] * b[l * m + i % m]).sum()).collect()
        };
        let norm = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let mut x: Vec<f64> = x.iter().map(|x| f64::from(*x) / norm).collect();
        for _ in 0..steps {
            let xt: Vec<f64> = (0..n * m).map(|i| x[i % n * m + i / n]).collect();
            let a = product(n, m, n, &x, &xt);
            let mut q = product(n, n, n, &a, &a);
            for i in 0..n * n {
                q[i] = f64::from(C) * q[i] + f64::from(B) * a[i];
                q[i] += if i % (n + 1) == 0 { f64::from(A) } else { 0.0 };
            }
            x = product(n, n, m, &q, &x);
        }
        x
    }

    /// Both forms, with and without blocks, on a matrix whose rows shrink a thousandfold. An element of the result is
    /// about 1/√m.
    #[test]
    fn agrees_with_the_published_form_in_f64() {
        for (n, m, steps) in [(20, 24, 5), (20, 60, 5), (100, 101, 5), (90, 200, 5), (30, 90, 6), (1, 7, 3)] {
            let mut x = random(n * m);
            for (i, row) in x.chunks_mut(m).enumerate() {
                row.iter_mut().for_each(|x| *x *= 10f32.powf(-3.0 * i as f32 / n as f32));
            }
            let got = orthogonalized(n, m, steps, &x);
            let expected = reference(n, m, steps, &x);
            let worst = got.iter().zip(&expected).map(|(g, e)| (f64::from(*g) - e).abs()).fold(0.0, f64::max);
            assert!(worst * (m as f64).sqrt() < 2e-2, "[{n}, {m}] {steps} steps: {worst:e}");
        }
    }

    /// All singular values land between about 0.68 and 1.2, so ‖O‖² is near their number.
    #[test]
    fn the_result_is_nearly_orthogonal() {
        for (rows, cols) in [(24, 24), (16, 40), (40, 16), (1, 9), (9, 1), (130, 70)] {
            let o = orthogonalized(rows, cols, 5, &random(rows * cols));
            let norm: f32 = o.iter().map(|x| x * x).sum();
            assert!((0.46..1.44).contains(&(norm / rows.min(cols) as f32)), "[{rows}, {cols}]: {norm}");
        }
    }

    #[test]
    fn a_tall_matrix_is_its_transpose_transposed() {
        let (rows, cols) = (37, 18);
        let x = random(rows * cols);
        let mut xt = x.clone();
        transpose(rows, cols, &x, &mut xt);
        assert_eq!((xt[1], xt[rows]), (x[cols], x[1]));
        let (tall, wide) = (orthogonalized(rows, cols, 5, &x), orthogonalized(cols, rows, 5, &xt));
        assert!((0..rows * cols).all(|i| tall[i] == wide[i % cols * rows + i / cols]));
    }

    #[test]
    fn zero_stays_zero() {
        assert_eq!(orthogonalized(3, 4, 5, &[0.0; 12]), [0.0; 12]);
        assert_eq!(orthogonalized(3, 6, 5, &[0.0; 18]), [0.0; 18]);
    }
}
