//! Where a head looks, computed anew in full: training keeps no probabilities.

use crate::float::Float;
use crate::ops::qk_norm::Heads;
use crate::tensor::Layout;

/// Causal attention probabilities of head `h` in sequence `b`, `[len, len]`, a row per query; `qkv` is `[rows, heads.qkv_width()]` and
/// `window` what a token sees at most, as [`crate::tape::Tape::attention`] takes them.
pub fn probabilities<T: Float>(
    qkv: &[T],
    heads: Heads,
    layout: Layout,
    window: usize,
    (b, h): (usize, usize),
) -> Vec<f64> {
    let Heads { n_heads, n_kv_heads, head_dim } = heads;
    let key_head = n_heads + h / (n_heads / n_kv_heads);
    let part =
        |t: usize, head: usize| &qkv[layout.row(b, t) * heads.qkv_width() + head * head_dim..][..head_dim];
    let scale = 1.0 / (head_dim as f64).sqrt();
    let mut p = vec![0.0; layout.len * layout.len];
    for (t, row) in p.chunks_exact_mut(layout.len).enumerate() {
        let first = t + 1 - seen(t, window);
        let (query, row) = (part(t, h), &mut row[first..=t]);
        for (s, p) in row.iter_mut().enumerate() {
            let products = query.iter().zip(part(first + s, key_head)).map(|(&q, &k)| q * k);
            *p = scale * products.fold(T::ZERO, |sum, x| sum + x).to_f64();
        }
        let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter_mut().for_each(|p| *p = (*p - highest).exp());
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|p| *p /= sum);
    }
    p
}

/// Positions that the token at `t` sees through a window; 0 is none.
fn seen(t: usize, window: usize) -> usize {
    if window > 0 { window.min(t + 1) } else { t + 1 }
}

/// Mean entropy of the rows of `p` `[len, len]`, each over that of an even spread over what the `window` shows, from the second row on;
/// `None` for one row, or a window of one token.
pub fn entropy(p: &[f64], len: usize, window: usize) -> Option<f64> {
    let row = |(t, p): (usize, &[f64])| {
        let nats: f64 = p[..=t].iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
        nats / (seen(t, window) as f64).ln()
    };
    (len > 1 && window != 1)
        .then(|| p.chunks_exact(len).enumerate().skip(1).map(row).sum::<f64>() / (len - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::samples;
    use crate::tape::Tape;

    const HEADS: Heads = Heads { n_heads: 4, n_kv_heads: 2, head_dim: 3 };

    #[test]
    fn the_probabilities_are_those_of_the_op() {
        for time_major in [false, true] {
            let layout = Layout { batch: 2, len: 5, time_major };
            let qkv: Vec<f64> = samples(layout.rows() * HEADS.qkv_width(), 3);
            let mut tape = Tape::new();
            let x = tape.input(layout.rows(), HEADS.qkv_width(), &qkv);
            for (window, b, h, t) in
                [(0, 0, 0, 4), (0, 1, 3, 2), (7, 1, 1, 0), (2, 0, 1, 4), (1, 1, 2, 3), (3, 1, 0, 1)]
            {
                let y = tape.attention(x, HEADS, layout, window, None);
                let p = probabilities(&qkv, HEADS, layout, window, (b, h));
                let value = HEADS.n_heads + HEADS.n_kv_heads + h / 2;
                for c in 0..3 {
                    let expected: f64 = (0..5)
                        .map(|s| p[t * 5 + s] * qkv[layout.row(b, s) * HEADS.qkv_width() + value * 3 + c])
                        .sum();
                    let found = tape.value(y)[layout.row(b, t) * HEADS.q_width() + h * 3 + c];
                    assert!((found - expected).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn entropy_goes_from_one_position_to_an_even_spread() {
        assert_eq!(entropy(&[1.0, 0.0, 0.0, 1.0], 2, 0), Some(0.0));
        assert_eq!(entropy(&[1.0, 0.0, 0.5, 0.5], 2, 0), Some(1.0));
        assert_eq!(entropy(&[1.0], 1, 0), None);
        assert_eq!(entropy(&[1.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.5, 0.5], 3, 2), Some(1.0));
        assert_eq!(entropy(&[1.0, 0.0, 0.0, 1.0], 2, 1), None);
    }
}
