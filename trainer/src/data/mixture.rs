//! Batches from several texts, by weight.
//!
//! Draws are stratified, not independent: the next window comes from the text that is furthest behind its share, so that
//! after any number of windows each text has given its share of them to within about one, and no random number is spent. Where a
//! mixture stands is where the loader of each text stands.

use super::batch::{Batch, Cursor};
use super::lanes::Lanes;
use super::tokens::Tokens;
use super::windows::Windows;
use crate::error::{Error, Result};
use std::ops::Range;

/// Weights as shares that add up to 1.
///
/// # Errors
/// Another number of weights than of texts; weights that are not positive.
pub fn shares(weights: &[f64], n_texts: usize) -> Result<Vec<f64>> {
    let total: f64 = weights.iter().sum();
    let problem = if weights.len() != n_texts {
        format!(
            "has {} weights, expected one for each of the {n_texts} texts, as in `--mix 3,1`",
            weights.len()
        )
    } else if !weights.iter().all(|w| w.is_finite() && *w > 0.0) || !total.is_finite() {
        format!("is {weights:?}, expected positive numbers")
    } else {
        return Ok(weights.iter().map(|w| w / total).collect());
    };
    Err(Error::Setting { key: "mix", problem })
}

/// The seed of text number `i`; that of the first is `seed` itself.
fn seed_of(seed: u64, i: usize) -> u64 {
    seed.wrapping_add((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Random windows of several texts. Of one text it is [`Windows`].
#[derive(Clone, Debug)]
pub struct WindowMix {
    texts: Vec<Windows>,
    shares: Vec<f64>,
    seq_len: usize,
}

impl WindowMix {
    /// Windows of the texts, each of which has the share beside it; they add up to 1.
    ///
    /// # Errors
    /// As [`Windows::new`].
    ///
    /// # Panics
    /// If there is no text.
    pub fn new(texts: Vec<(Tokens, f64)>, seq_len: usize, seed: u64, shift: bool) -> Result<Self> {
        assert!(!texts.is_empty(), "a mixture of nothing");
        let (tokens, shares): (Vec<_>, Vec<_>) = texts.into_iter().unzip();
        let windows = |(i, tokens)| Windows::new(tokens, seq_len, seed_of(seed, i), shift);
        let texts = tokens.into_iter().enumerate().map(windows).collect::<Result<_>>()?;
        Ok(WindowMix { texts, shares, seq_len })
    }

    /// The loader of the only text; `None` if there are several.
    pub fn only(&self) -> Option<&Windows> {
        if let [only] = &self.texts[..] { Some(only) } else { None }
    }

    /// Fills `batch` with the next `rows` windows.
    ///
    /// # Errors
    /// A damaged token cache.
    pub fn next_batch(&mut self, rows: usize, batch: &mut Batch) -> Result<()> {
        batch.clear(self.seq_len);
        batch.reset = true;
        for _ in 0..rows {
            let text = self.furthest_behind();
            self.texts[text].push_next(batch)?;
        }
        Ok(())
    }

    /// The text that would lack most of its share if it did not give the next window.
    fn furthest_behind(&self) -> usize {
        let next = 1.0 + self.texts.iter().map(|text| text.given() as f64).sum::<f64>();
        let lack = |i: usize| self.shares[i] * next - self.texts[i].given() as f64;
        // The first among equals.
        (1..self.texts.len()).fold(0, |most, i| if lack(i) > lack(most) { i } else { most })
    }

    /// Where each text's loader stands.
    pub fn cursors(&self) -> Vec<Cursor> {
        self.texts.iter().map(Windows::cursor).collect()
    }

    /// Goes on from the cursors of a mixture of the same texts and settings.
    ///
    /// # Errors
    /// Cursors of other texts.
    pub fn seek(&mut self, cursors: &[Cursor]) -> Result<()> {
        same_number(cursors, self.texts.len())?;
        self.texts.iter_mut().zip(cursors).try_for_each(|(text, cursor)| text.seek(*cursor))
    }
}

/// Contiguous streams of several texts, side by side. Of one text it is [`Lanes`].
#[derive(Clone, Debug)]
pub struct LaneMix {
    texts: Vec<Lanes>,
    seq_len: usize,
}

impl LaneMix {
    /// `n_lanes` lanes, shared out among the texts by the shares beside them, which add up to 1.
    ///
    /// # Errors
    /// Fewer lanes than texts; as [`Lanes::new`].
    ///
    /// # Panics
    /// If there is no text.
    pub fn new(texts: Vec<(Tokens, f64)>, n_lanes: usize, seq_len: usize, seed: u64) -> Result<Self> {
        assert!(!texts.is_empty(), "a mixture of nothing");
        if n_lanes < texts.len() {
            return Err(Error::Setting {
                key: "batch_size",
                problem: format!(
                    "is {n_lanes}, expected at least one window for each of the {} texts",
                    texts.len()
                ),
            });
        }
        let (tokens, shares): (Vec<_>, Vec<_>) = texts.into_iter().unzip();
        let lanes = share_out(n_lanes, &shares);
        let lanes = |(i, tokens)| Lanes::new(tokens, lanes[i], seq_len, seed_of(seed, i));
        let texts = tokens.into_iter().enumerate().map(lanes).collect::<Result<_>>()?;
        Ok(LaneMix { texts, seq_len })
    }

    /// The loader of the only text; `None` if there are several.
    pub fn only(&self) -> Option<&Lanes> {
        if let [only] = &self.texts[..] { Some(only) } else { None }
    }

    /// Lanes of each text.
    pub fn lanes(&self) -> Vec<usize> {
        self.texts.iter().map(Lanes::n_lanes).collect()
    }

    /// Fills `batch` with the next tokens of every lane, and `fresh` with the rows that begin anew.
    ///
    /// # Errors
    /// A damaged token cache.
    pub fn next_batch(&mut self, batch: &mut Batch, fresh: &mut Vec<Range<usize>>) -> Result<()> {
        batch.clear(self.seq_len);
        fresh.clear();
        for text in &mut self.texts {
            let first = batch.rows;
            if text.push_next(batch)? {
                fresh.push(first..batch.rows);
            }
        }
        batch.reset = fresh.len() == self.texts.len();
        Ok(())
    }

    /// Where each text's loader stands.
    pub fn cursors(&self) -> Vec<Cursor> {
        self.texts.iter().map(Lanes::cursor).collect()
    }

    /// Goes on from the cursors of a mixture of the same texts and settings.
    ///
    /// # Errors
    /// Cursors of other texts.
    pub fn seek(&mut self, cursors: &[Cursor]) -> Result<()> {
        same_number(cursors, self.texts.len())?;
        self.texts.iter_mut().zip(cursors).try_for_each(|(text, cursor)| text.seek(*cursor))
    }
}

/// `n` whole things by shares: one for each, and the rest one by one to whoever lacks most of its share.
fn share_out(n: usize, shares: &[f64]) -> Vec<usize> {
    let mut given = vec![1; shares.len()];
    for _ in shares.len()..n {
        let lack = |i: usize| shares[i] * n as f64 - given[i] as f64;
        let most = (1..shares.len()).fold(0, |most, i| if lack(i) > lack(most) { i } else { most });
        given[most] += 1;
    }
    given
}

fn same_number(cursors: &[Cursor], texts: usize) -> Result<()> {
    match cursors.len() == texts {
        true => Ok(()),
        false => Err(Error::Run(format!(
            "the checkpoint stands in {} texts, this run has {texts}: it belongs to another mixture",
            cursors.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of 300, 200 and 100 tokens: 0.., 1000.., 2000..
    fn texts(shares: &[f64]) -> Vec<(Tokens, f64)> {
        let text = |i: u32| Tokens::from_vec((1000 * i..1000 * i + 300 - 100 * i).collect());
        shares.iter().enumerate().map(|(i, share)| (text(i as u32), *share)).collect()
    }

    fn text_of(row: &[u32]) -> usize {
        row[0] as usize / 1000
    }

    #[test]
    fn every_text_gives_its_share_at_every_moment() {
        for weights in [vec![3.0, 1.0], vec![0.7, 0.2, 0.1], vec![1.0, 1.0, 1.0], vec![1.0, 999.0]] {
            let shares = shares(&weights, weights.len()).unwrap();
            let mut mix = WindowMix::new(texts(&shares), 10, 7, true).unwrap();
            let (mut given, mut batch) = (vec![0u32; shares.len()], Batch::new());
            for n in 1..=20_000u32 {
                mix.next_batch(1, &mut batch).unwrap();
                given[text_of(&batch.inputs)] += 1;
                for (given, share) in given.iter().zip(&shares) {
                    assert!(
                        (f64::from(*given) - share * f64::from(n)).abs() < 1.001,
                        "{weights:?} after {n}"
                    );
                }
            }
        }
    }

    #[test]
    fn windows_of_one_text_are_those_without_a_mixture() {
        let (tokens, mut a, mut b) = (texts(&[1.0])[0].0.clone(), Batch::new(), Batch::new());
        let mut alone = Windows::new(tokens.clone(), 10, 7, true).unwrap();
        let mut mix = WindowMix::new(vec![(tokens.clone(), 1.0)], 10, 7, true).unwrap();
        let mut lanes = Lanes::new(tokens.clone(), 4, 10, 7).unwrap();
        let mut lane_mix = LaneMix::new(vec![(tokens, 1.0)], 4, 10, 7).unwrap();
        let mut fresh = Vec::new();
        for _ in 0..100 {
            alone.next_batch(5, &mut a).unwrap();
            mix.next_batch(5, &mut b).unwrap();
            assert_eq!(a, b);
            lanes.next_batch(&mut a).unwrap();
            lane_mix.next_batch(&mut b, &mut fresh).unwrap();
            assert_eq!(a, b);
            assert_eq!(!fresh.is_empty(), a.reset);
        }
    }

    #[test]
    fn lanes_of_each_text_go_on_until_they_end() {
        let mut mix = LaneMix::new(texts(&[0.5, 0.3, 0.2]), 7, 10, 1).unwrap();
        assert_eq!(mix.lanes(), [4, 2, 1]);
        let (mut batch, mut fresh, mut before) = (Batch::new(), Vec::new(), Batch::new());
        let mut partly = 0;
        for step in 0..200 {
            mix.next_batch(&mut batch, &mut fresh).unwrap();
            assert_eq!(batch.rows, 7);
            let owners: Vec<usize> = batch.inputs.chunks(10).map(text_of).collect();
            assert_eq!(owners, [0, 0, 0, 0, 1, 1, 2]);
            for row in 0..7 {
                let continues = step > 0 && batch.inputs[10 * row] == before.targets[10 * row + 9];
                assert_eq!(!continues, fresh.iter().any(|rows| rows.contains(&row)), "step {step} row {row}");
            }
            partly += u32::from(!fresh.is_empty() && !batch.reset);
            before = batch.clone();
        }
        assert!(partly > 10, "texts end at different times");
    }

    #[test]
    fn a_mixture_goes_on_where_it_stood() {
        let shares = [0.55, 0.25, 0.2];
        let windows = || WindowMix::new(texts(&shares), 9, 3, true).unwrap();
        let lanes = || LaneMix::new(texts(&shares), 7, 9, 3).unwrap();
        let (mut a, mut b) = (Batch::new(), Batch::new());
        let (mut f, mut g) = (Vec::new(), Vec::new());
        let (mut one, mut one_lanes) = (windows(), lanes());
        for _ in 0..60 {
            let (mut two, mut two_lanes) = (windows(), lanes());
            two.seek(&one.cursors()).unwrap();
            two_lanes.seek(&one_lanes.cursors()).unwrap();
            one.next_batch(8, &mut a).unwrap();
            two.next_batch(8, &mut b).unwrap();
            assert_eq!(a, b);
            one_lanes.next_batch(&mut a, &mut f).unwrap();
            two_lanes.next_batch(&mut b, &mut g).unwrap();
            assert_eq!((&a, &f), (&b, &g));
        }
        assert!(matches!(one.seek(&[Cursor::default()]), Err(Error::Run(_))));
    }

    #[test]
    fn wrong_weights_are_refused() {
        for (weights, n) in
            [(vec![1.0], 2), (vec![1.0, 0.0], 2), (vec![-1.0, 2.0], 2), (vec![f64::NAN, 1.0], 2)]
        {
            assert!(matches!(shares(&weights, n), Err(Error::Setting { key: "mix", .. })), "{weights:?}");
        }
        assert_eq!(shares(&[3.0, 1.0], 2).unwrap(), [0.75, 0.25]);
        assert!(matches!(LaneMix::new(texts(&[0.5, 0.5]), 1, 5, 1), Err(Error::Setting { .. })));
        assert_eq!(share_out(32, &[0.75, 0.25]), [24, 8]);
        assert_eq!(share_out(5, &[0.98, 0.01, 0.01]), [3, 1, 1]);
    }
}
