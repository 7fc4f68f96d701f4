//! The candidates for the next token, and the stages that narrow them down.

use crate::kernels::Kernels;
use crate::kernels::memory::{Buffer, Memory};

/// Tokens that may still be chosen. Before [`top_k`](Self::top_k) or [`top_p`](Self::top_p) they stand in the order
/// of their ids, afterwards by falling logit; equal logits by rising id.
#[derive(Debug)]
pub(super) struct Candidates {
    ids: Buffer<u32>,     // capacity vocab_size
    logits: Buffer<f32>,  // of each id; never NaN or plus infinity once cleaned
    weights: Buffer<f32>, // scratch, and at last the weights to draw by
    keys: Buffer<u64>,    // scratch
    vocab_size: usize,
    kernels: &'static Kernels,
}

impl Candidates {
    /// Cuts the room for all tokens from `memory`, if that has it.
    pub(super) fn new(
        vocab_size: usize,
        kernels: &'static Kernels,
        memory: &mut Memory,
    ) -> Option<Candidates> {
        Some(Candidates {
            ids: memory.list(&[vocab_size])?,
            logits: memory.list(&[vocab_size])?,
            weights: memory.list(&[vocab_size])?,
            keys: memory.list(&[vocab_size])?,
            vocab_size,
            kernels,
        })
    }

    /// Begins with all tokens; returns the logits, by id, to be adjusted before [`clean`](Self::clean).
    pub(super) fn load(&mut self, logits: &[f32]) -> &mut [f32] {
        self.ids.clear();
        self.ids.extend(0..self.vocab_size as u32);
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        &mut self.logits
    }

    /// NaN becomes minus infinity, plus infinity the greatest number, and -0 becomes 0, which it equals.
    pub(super) fn clean(&mut self) {
        for logit in &mut self.logits {
            *logit = if logit.is_nan() { f32::NEG_INFINITY } else { logit.min(f32::MAX) + 0.0 };
        }
    }

    /// Whether any logit is above minus infinity.
    pub(super) fn any(&self) -> bool {
        self.max() > f32::NEG_INFINITY
    }

    /// The id of the greatest logit, the lowest of equals; before any filter. `None` if all are minus infinity.
    pub(super) fn greatest(&self) -> Option<u32> {
        let max = self.max();
        if max == f32::NEG_INFINITY {
            return None;
        }
        self.logits.iter().position(|&logit| logit == max).map(|id| id as u32)
    }

    /// Divides the distance of each logit from the greatest by the temperature: no overflow, however low it is.
    pub(super) fn scale(&mut self, temperature: f32) {
        if temperature == 1.0 {
            return;
        }
        let max = self.max();
        for logit in &mut self.logits {
            *logit = (*logit - max) / temperature;
        }
    }

    /// Keeps the k greatest logits, in falling order. `k` is at least 1.
    pub(super) fn top_k(&mut self, k: usize) {
        let Candidates { ids, logits, keys, .. } = self;
        // At `room` keys only the best k are kept, and the least of them is what the rest has to beat.
        let (mut floor, room) = (key(f32::NEG_INFINITY, u32::MAX), 2 * k.max(64));
        keys.clear();
        for (ids, logits) in ids.chunks(64).zip(logits.chunks(64)) {
            let (least, _) = unkey(floor);
            // Most chunks have nothing to add; this loop is one that the compiler vectorizes.
            if !logits.iter().fold(false, |any, &logit| any | (logit >= least)) {
                continue;
            }
            for (&id, &logit) in ids.iter().zip(logits) {
                let key = key(logit, id);
                if key > floor {
                    keys.push(key);
                    if keys.len() == room {
                        keep_greatest(keys, k);
                        floor = keys[k - 1];
                    }
                }
            }
        }
        keep_greatest(keys, k);
        keys.sort_unstable_by(|a, b| b.cmp(a));
        self.take_keys();
    }

    /// Keeps the fewest greatest probabilities that sum to p or more, in falling order.
    pub(super) fn top_p(&mut self, p: f32) {
        self.softmax();
        let Candidates { ids, logits, weights, keys, .. } = self;
        let total = weights.iter().map(|&w| f64::from(w)).sum::<f64>();
        let target = f64::from(p) * total;
        // All weights below (total - target) / n together are less than what may be left out, so none of them is
        // needed; half of that keeps clear of rounding.
        let least = (0.5 * (total - target) / weights.len() as f64) as f32;
        // Keys hold the place where a token stands, which for equal logits rises with its id.
        keys.clear();
        for (place, &weight) in weights.iter().enumerate() {
            if weight >= least {
                keys.push(key(logits[place], place as u32));
            }
        }
        let (mut sum, mut kept, mut sorted) = (0.0, 0, 0);
        // Few tokens usually suffice: sort the best ones first, more as they are needed.
        while sum < target && kept < keys.len() {
            if kept == sorted {
                sorted = (4 * sorted).max(64).min(keys.len());
                if sorted < keys.len() {
                    keys[kept..].select_nth_unstable_by(sorted - kept, |a, b| b.cmp(a));
                }
                keys[kept..sorted].sort_unstable_by(|a, b| b.cmp(a));
            }
            sum += f64::from(weights[unkey(keys[kept]).1 as usize]);
            kept += 1;
        }
        keys.truncate(kept.max(1));
        for k in keys.iter_mut() {
            let (logit, place) = unkey(*k);
            *k = key(logit, ids[place as usize]);
        }
        self.take_keys();
    }

    /// Keeps what is at least `min_p` times as probable as the most probable.
    pub(super) fn min_p(&mut self, min_p: f32) {
        self.softmax();
        let Candidates { ids, logits, weights, .. } = self;
        let threshold = min_p * weights.iter().copied().fold(0.0, f32::max);
        let mut kept = 0;
        for i in 0..ids.len() {
            if weights[i] >= threshold {
                (ids[kept], logits[kept]) = (ids[i], logits[i]);
                kept += 1;
            }
        }
        ids.truncate(kept);
        logits.truncate(kept);
    }

    /// Fills the weights with the softmax of the logits.
    pub(super) fn softmax(&mut self) {
        self.weights.clear();
        self.weights.extend_from_slice(&self.logits);
        (self.kernels.softmax)(&mut self.weights);
    }

    /// The id that `uniform`, in [0, 1), falls on, by the weights.
    pub(super) fn draw(&self, uniform: f64) -> u32 {
        let total: f64 = self.weights.iter().map(|&w| f64::from(w)).sum();
        let target = uniform * total;
        let (mut sum, mut chosen) = (0.0, self.ids[0]);
        for (&id, &weight) in self.ids.iter().zip(&self.weights) {
            if weight > 0.0 {
                chosen = id; // the last possible one, should rounding keep the sum from passing the target
                sum += f64::from(weight);
                if sum > target {
                    break;
                }
            }
        }
        chosen
    }

    #[cfg(test)]
    pub(super) fn weighted(&self) -> impl Iterator<Item = (u32, f32)> {
        self.ids.iter().copied().zip(self.weights.iter().copied())
    }

    fn max(&self) -> f32 {
        (self.kernels.max)(&self.logits)
    }

    /// Replaces the candidates by those of the keys.
    fn take_keys(&mut self) {
        self.ids.clear();
        self.logits.clear();
        for &key in &self.keys {
            let (logit, id) = unkey(key);
            self.ids.push(id);
            self.logits.push(logit);
        }
    }
}

/// One integer that orders by logit and, for equal logits, the other way round by id.
fn key(logit: f32, id: u32) -> u64 {
    let bits = logit.to_bits();
    let ordered = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    u64::from(ordered) << 32 | u64::from(!id)
}

fn unkey(key: u64) -> (f32, u32) {
    let ordered = (key >> 32) as u32;
    let bits = if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered };
    (f32::from_bits(bits), !(key as u32))
}

/// Keeps the k greatest keys, in no order but with the least of them last.
fn keep_greatest(keys: &mut Buffer<u64>, k: usize) {
    if keys.len() > k {
        keys.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
        keys.truncate(k);
    }
}
