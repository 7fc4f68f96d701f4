//! Planes through weight space: around one model, or through the weights of several.

use crate::params::ParamLayout;
use crate::rng::Rng;

/// A plane: `origin + x u + y v`.
#[derive(Clone, Debug)]
pub struct Plane {
    /// Weights and then running statistics at `(0, 0)`.
    pub origin: Vec<f32>,
    /// First direction, as long as the origin.
    pub u: Vec<f64>,
    /// Second direction, as long as the origin.
    pub v: Vec<f64>,
    /// Where the models lie, in the order in which they were given.
    pub models: Vec<(f64, f64)>,
}

impl Plane {
    /// The plane around `origin` along two random directions, [filter-normalised](direction).
    pub fn around(layout: &ParamLayout, origin: Vec<f32>, seed: u64) -> Self {
        let [u, v] = [0, 1].map(|stream| direction(layout, &origin, seed, stream));
        Plane { origin, u, v, models: vec![(0.0, 0.0)] }
    }

    /// The plane through two models: x goes from the first, 0, to the second, 1; y is a random direction, filter-normalised at the first and
    /// then made orthogonal to x and as long.
    pub fn through_two(layout: &ParamLayout, first: Vec<f32>, second: &[f32], seed: u64) -> Self {
        let u = difference(second, &first);
        let mut v = direction(layout, &first, seed, 1);
        project_out(&mut v, &u);
        lengthen(&mut v, &u);
        Plane { origin: first, u, v, models: vec![(0.0, 0.0), (1.0, 0.0)] }
    }

    /// The plane through three models (Garipov et al. 2018, appendix A.1): `u = w2 - w1`, v is what of `w3 - w1` is orthogonal to u, made as
    /// long as u. The first lies at (0, 0), the second at (1, 0).
    pub fn through_three(first: Vec<f32>, second: &[f32], third: &[f32]) -> Self {
        let (u, whole) = (difference(second, &first), difference(third, &first));
        let mut v = whole.clone();
        project_out(&mut v, &u);
        lengthen(&mut v, &u);
        let at = |d: &[f64]| dot(&whole, d) / dot(d, d).max(f64::MIN_POSITIVE);
        let models = vec![(0.0, 0.0), (1.0, 0.0), (at(&u), at(&v))];
        Plane { origin: first, u, v, models }
    }

    /// The numbers at `(x, y)`; exactly the origin at `(0, 0)`.
    pub fn at(&self, x: f64, y: f64) -> Vec<f32> {
        let moved = self.origin.iter().zip(self.u.iter().zip(&self.v));
        moved.map(|(w, (u, v))| (f64::from(*w) + x * u + y * v) as f32).collect()
    }

    /// Euclidean lengths of both directions.
    pub fn lengths(&self) -> (f64, f64) {
        (dot(&self.u, &self.u).sqrt(), dot(&self.v, &self.v).sqrt())
    }
}

/// A random direction on the scale of the model (Li, Xu, Taylor, Studer & Goldstein, "Visualizing the loss landscape of neural nets", 2018):
/// Gaussian, each row of a matrix (the weights of one unit, their "filter") made as long as that row of the model; biases, norms and running
/// statistics stay where they are. Without it, how flat a minimum looks would depend on the scale of the weights, which norms make arbitrary.
pub fn direction(layout: &ParamLayout, numbers: &[f32], seed: u64, stream: u64) -> Vec<f64> {
    let mut rng = Rng::stream(seed, stream);
    let mut direction = vec![0.0; numbers.len()];
    for (spec, range) in layout.tensors().filter(|(spec, _)| spec.rows > 1 && spec.cols > 1) {
        let rows = direction[range.clone()].chunks_exact_mut(spec.cols);
        for (row, weights) in rows.zip(numbers[range].chunks_exact(spec.cols)) {
            row.iter_mut().for_each(|d| *d = rng.normal());
            let length = weights.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt();
            let scale = length / dot(row, row).sqrt().max(f64::MIN_POSITIVE);
            row.iter_mut().for_each(|d| *d *= scale);
        }
    }
    direction
}

/// `a - b`.
fn difference(a: &[f32], b: &[f32]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect()
}

/// Takes out of `v` what points along `u`.
fn project_out(v: &mut [f64], u: &[f64]) {
    let share = dot(v, u) / dot(u, u).max(f64::MIN_POSITIVE);
    v.iter_mut().zip(u).for_each(|(v, u)| *v -= share * u);
}

/// Makes `v` as long as `u`.
fn lengthen(v: &mut [f64], u: &[f64]) {
    let scale = (dot(u, u) / dot(v, v).max(f64::MIN_POSITIVE)).sqrt();
    v.iter_mut().for_each(|x| *x *= scale);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::{filled, tiny_gpt};
    use crate::params::ParamStore;

    #[test]
    fn directions_have_the_length_of_every_row_and_leave_vectors_alone() {
        let store: ParamStore<f32> = filled(&tiny_gpt(), 3).cast();
        let d = direction(store.layout(), &store.values, 7, 0);
        let mut matrices = 0;
        for (spec, range) in store.layout().tensors() {
            let (rows, d) = (store.values[range.clone()].chunks(spec.cols), d[range].chunks(spec.cols));
            if spec.rows > 1 && spec.cols > 1 {
                matrices += 1;
                for (row, d) in rows.zip(d) {
                    let length = row.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt();
                    assert!((dot(d, d).sqrt() - length).abs() < 1e-9 * length.max(1.0), "{}", spec.name);
                }
            } else {
                assert!(d.flatten().all(|d| *d == 0.0), "{}", spec.name);
            }
        }
        assert!(matrices > 5);
        assert_eq!(d, direction(store.layout(), &store.values, 7, 0));
        assert_ne!(d, direction(store.layout(), &store.values, 8, 0));
    }

    #[test]
    fn planes_go_through_their_models() {
        let (a, b, c) = (vec![1.0f32, 2.0, 0.0], [3.0f32, 2.0, 0.0], [2.0f32, 2.0, -5.0]);
        let plane = Plane::through_three(a.clone(), &b, &c);
        let close = |x: &[f32], y: &[f32]| x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-6);
        for ((x, y), w) in plane.models.iter().zip([&a[..], &b, &c]) {
            assert!(close(&plane.at(*x, *y), w), "{:?}", plane.at(*x, *y));
        }
        assert_eq!((plane.models[2].0, plane.models[2].1), (0.5, 2.5));
        assert_eq!(plane.lengths(), (2.0, 2.0));
        assert!(dot(&plane.u, &plane.v).abs() < 1e-12);
    }

    #[test]
    fn the_same_model_twice_is_a_plane_too() {
        let a = vec![1.0f32, 2.0];
        let plane = Plane::through_three(a.clone(), &a, &a);
        assert_eq!(plane.at(0.3, -0.5), a);
    }
}
