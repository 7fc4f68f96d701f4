//! Learning from a teacher: the divergence of one model's next-token distribution from another's.
//!
//! `KL(p ‖ q) = Σ_j p_j (ln p_j - ln q_j)` with p the teacher's softmax and q the student's (Hinton, Vinyals & Dean 2015, at temperature 1); the
//! gradient of the student's logits is `q - p`. It says more of each token than the one that followed, and it is 0 where the student answers as
//! the teacher does. As in [`super::cross_entropy`], a large vocabulary never holds more than one block of logits, here of each of the two.

use super::cross_entropy::{Head, IGNORE, block_rows, cap_logits, head_logits, uncap_gradient};
use crate::float::Float;
use crate::ops::simd::{kernel, lane_max, lane_sum};
use crate::tape::Tape;
use crate::tensor::{Layout, Var};

/// A teacher's answers: what its head reads, and the head.
#[derive(Clone, Copy, Debug)]
pub struct Lesson<'a, T> {
    /// The teacher's parameters.
    pub params: &'a [T],
    /// Its head, of the student's vocabulary.
    pub head: Head,
    /// What it reads, `[rows, width of that head]`, in the layout of the student's rows.
    pub hidden: &'a [T],
}

kernel! {
    /// Turns a row of the student's logits into `scale (q - p)`; returns `KL(p ‖ q)`. The teacher's logits become no one's.
    fn divergence_row<'a, T>(z: &'a mut [T], teacher: &'a mut [T], scale: T) -> T {
        let n = z.len();
        let (max, teacher_max) = (lane_max(z), lane_max(teacher));
        z.iter_mut().for_each(|z| *z -= max);
        teacher.iter_mut().for_each(|t| *t -= teacher_max);
        let gap = lane_sum(n, |j| teacher[j].exp() * (teacher[j] - z[j]));
        teacher.iter_mut().for_each(|t| *t = t.exp());
        z.iter_mut().for_each(|z| *z = z.exp());
        let (sum, teacher_sum) = (lane_sum(n, |j| z[j]), lane_sum(n, |j| teacher[j]));
        let (factor, teacher_factor) = (scale / sum, scale / teacher_sum);
        for (z, &t) in z.iter_mut().zip(teacher.iter()) {
            *z = *z * factor - t * teacher_factor;
        }
        gap / teacher_sum - teacher_sum.ln() + sum.ln()
    }
}

impl<T: Float> Tape<T> {
    /// Sum over the rows of the divergence of the student's answers from the `lesson`, in nats; rows whose target is [`IGNORE`] count for nothing,
    /// and that is all that is asked of `targets` `[batch, len]`. x, `grads` and `scale` are as in [`Tape::head_loss`].
    ///
    /// # Panics
    /// If the lesson is of other rows or another vocabulary.
    pub fn distillation_loss(
        &mut self,
        params: &[T],
        grads: Option<&mut [T]>,
        x: Var,
        head: Head,
        lesson: Lesson<'_, T>,
        targets: &[u32],
        layout: Layout,
        scale: T,
    ) -> f64 {
        let (rows, vocab, width) = (layout.rows(), head.weight.rows, lesson.head.weight.cols);
        assert_eq!(targets.len(), rows, "a target per row");
        assert_eq!(
            (lesson.hidden.len(), lesson.head.weight.rows),
            (rows * width, vocab),
            "a lesson of these rows"
        );
        let mut said = self.pool.take(block_rows(vocab).min(rows) * vocab);
        let mut capped = self.pool.take(if head.softcap > 0.0 { vocab } else { 0 });
        let loss = self.head_blocks(params, grads, x, head, layout, |first, z| {
            let n = z.len() / vocab;
            let said = &mut said[..n * vocab];
            head_logits(lesson.params, &lesson.hidden[first * width..(first + n) * width], lesson.head, said);
            if lesson.head.softcap > 0.0 {
                cap_logits(said, T::from_f64(lesson.head.softcap));
            }
            let mut loss = 0.0;
            for (r, (z, said)) in z.chunks_exact_mut(vocab).zip(said.chunks_exact_mut(vocab)).enumerate() {
                let (b, t) = layout.place(first + r);
                if targets[b * layout.len + t] == IGNORE {
                    z.fill(T::ZERO);
                } else {
                    loss += row(z, said, &mut capped, head.softcap, scale);
                }
            }
            loss
        });
        self.pool.give(said);
        self.pool.give(capped);
        loss
    }
}

/// Divergence of one row, whose logits become their gradient.
fn row<T: Float>(z: &mut [T], said: &mut [T], capped: &mut [T], softcap: f64, scale: T) -> f64 {
    if softcap == 0.0 {
        return divergence_row(z, said, scale).to_f64();
    }
    let cap = T::from_f64(softcap);
    cap_logits(z, cap);
    capped.copy_from_slice(z);
    let loss = divergence_row(z, said, scale).to_f64();
    uncap_gradient(z, capped, cap);
    loss
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{five_point, relative_error, samples};
    use crate::tensor::{Matrix, Vector};

    const LAYOUT: Layout = Layout { batch: 2, len: 2, time_major: true };
    const TARGETS: [u32; 4] = [3, IGNORE, 0, 6];

    fn head(softcap: f64) -> Head {
        let weight = Matrix { offset: 0, rows: 7, cols: 3 };
        Head { weight, bias: Some(Vector { offset: 21, len: 7 }), softcap }
    }

    /// The teacher is wider than the student.
    fn lesson<'a>(params: &'a [f64], hidden: &'a [f64], softcap: f64) -> Lesson<'a, f64> {
        let weight = Matrix { offset: 0, rows: 7, cols: 5 };
        Lesson { params, head: Head { weight, bias: None, softcap }, hidden }
    }

    fn loss(params: &[f64], x: &[f64], lesson: Lesson<'_, f64>, softcap: f64) -> f64 {
        let mut tape = Tape::new();
        let x = tape.input(4, 3, x);
        tape.distillation_loss(params, None, x, head(softcap), lesson, &TARGETS, LAYOUT, 0.25)
    }

    #[test]
    fn gradient_of_head_and_input() {
        for softcap in [0.0, 2.0] {
            let (params, x) = (samples(28, 1), samples(12, 2));
            let (theirs, hidden) = (samples(35, 3), samples(20, 4));
            let lesson = lesson(&theirs, &hidden, softcap);
            let (mut tape, mut grads) = (Tape::new(), vec![0.0; 28]);
            let v = tape.input(4, 3, &x);
            tape.distillation_loss(
                &params,
                Some(&mut grads),
                v,
                head(softcap),
                lesson,
                &TARGETS,
                LAYOUT,
                0.25,
            );
            for i in 0..28 {
                let numeric = five_point(&params, i, 1e-3, |p| 0.25 * loss(p, &x, lesson, softcap));
                assert!(relative_error(grads[i], numeric, 1e-3) < 1e-6);
            }
            for i in 0..12 {
                let numeric = five_point(&x, i, 1e-3, |x| 0.25 * loss(&params, x, lesson, softcap));
                assert!(relative_error(tape.grad(v).unwrap()[i], numeric, 1e-3) < 1e-6);
            }
        }
    }

    #[test]
    fn who_answers_as_the_teacher_has_nothing_to_learn() {
        let (params, x) = (samples(28, 1), samples(12, 2));
        let lesson = Lesson { params: &params, head: head(0.0), hidden: &x };
        let (mut tape, mut grads) = (Tape::new(), vec![0.0; 28]);
        let v = tape.input(4, 3, &x);
        let loss =
            tape.distillation_loss(&params, Some(&mut grads), v, head(0.0), lesson, &TARGETS, LAYOUT, 1.0);
        assert!(loss.abs() < 1e-14 && grads.iter().all(|g| g.abs() < 1e-15), "{loss}");
    }

    /// From its definition, over a vocabulary of several blocks of rows.
    #[test]
    fn the_loss_is_the_divergence() {
        let (vocab, rows) = (1 << 14, 70);
        let weight = Matrix { offset: 0, rows: vocab, cols: 2 };
        let head = Head { weight, bias: None, softcap: 0.0 };
        let (ours, theirs) = (samples(2 * vocab, 5), samples(2 * vocab, 6));
        let (x, hidden) = (samples(2 * rows, 7), samples(2 * rows, 8));
        let log_probs = |params: &[f64], x: &[f64]| -> Vec<f64> {
            let z: Vec<f64> = params.chunks_exact(2).map(|w| w[0] * x[0] + w[1] * x[1]).collect();
            let sum: f64 = z.iter().map(|z| z.exp()).sum();
            z.iter().map(|z| z - sum.ln()).collect()
        };
        let expected: f64 = (0..rows)
            .map(|r| {
                let (q, p) = (log_probs(&ours, &x[2 * r..]), log_probs(&theirs, &hidden[2 * r..]));
                p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>()
            })
            .sum();
        let mut tape = Tape::new();
        let v = tape.input(rows, 2, &x);
        let layout = Layout { batch: 1, len: rows, time_major: false };
        let lesson = Lesson { params: &theirs, head, hidden: &hidden };
        let found = tape.distillation_loss(&ours, None, v, head, lesson, &vec![0; rows], layout, 1.0);
        assert!((found - expected).abs() < 1e-9 * expected, "{found}, expected {expected}");
    }
}
