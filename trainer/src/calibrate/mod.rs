//! Quantization that knows what the weights multiply.
//!
//! A matrix rounded to few bits answers `Q x` instead of `W x`. Over a text, the runtime of the float model shows the inputs x of every
//! matrix ([`Measured::watch`]), from which `H = Σ x xᵀ` remains ([`Hessian`]); the squared error of the answers is then
//! `tr (W - Q) H (W - Q)ᵀ`. [`feedback::quantize`] rounds column after column and lets the columns that follow make up for what was lost
//! (Hassibi & Stork 1993; GPTQ, Frantar et al. 2022); scales are chosen by the error that counts most, that of columns with large inputs.
//! [`bits`] decides which tensors keep 8 bits where the file may have more than 4.5 a weight.

pub mod bits;
pub mod feedback;
mod hessian;

pub use hessian::{Factor, Hessian};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::error::Result;
use crate::verify::Measured;
use feedback::Way;

/// Bytes of Hessians that are gathered in one reading of the text.
const MOST_BYTES: usize = 1 << 30;
/// Matrices with more columns get scales by importance, but no feedback: their factors would take minutes each.
pub const MOST_COLUMNS: usize = 4096;

/// What each matrix of a model multiplied while it read a text. Matrices that read the same input share it.
#[derive(Debug, Default)]
pub struct Statistics {
    of: HashMap<String, Arc<Inputs>>,
}

/// What some matrices multiplied, and, from when they are first asked for, the ways in which such a matrix is rounded.
#[derive(Debug)]
pub struct Inputs {
    hessian: Hessian,
    ways: OnceLock<[Way; 2]>,
}

impl Inputs {
    /// Of these inputs.
    pub fn new(hessian: Hessian) -> Self {
        Inputs { hessian, ways: OnceLock::new() }
    }

    /// Their Hessian.
    pub fn hessian(&self) -> &Hessian {
        &self.hessian
    }

    /// The ways through the columns that [`feedback::quantize`] tries. Their factors cost as much as the cube of the columns.
    fn ways(&self) -> &[Way; 2] {
        self.ways.get_or_init(|| Way::both(&self.hessian))
    }
}

impl Statistics {
    /// Reads `tokens` with the float `model` and gathers what the matrices that are `wanted` multiply; `tell` learns how many
    /// tokens are read.
    ///
    /// # Errors
    /// As [`Measured::loss`].
    pub fn gather(
        model: &Measured,
        tokens: &[u32],
        threads: usize,
        wanted: impl Fn(&str) -> bool + Send + 'static,
        tell: &mut dyn FnMut(usize),
    ) -> Result<Statistics> {
        let found = Arc::new(Mutex::new(Gathered::default()));
        let to = found.clone();
        model.watch(
            tokens,
            threads,
            Box::new(move |names, x, rows| {
                let names: Vec<&str> = names.iter().copied().filter(|name| wanted(name)).collect();
                if !names.is_empty() {
                    to.lock().unwrap_or_else(PoisonError::into_inner).add(&names, x, rows);
                }
            }),
            tell,
        )?;
        let Gathered { hessians, of } =
            std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
        let inputs: Vec<_> = hessians.into_iter().map(|hessian| Arc::new(Inputs::new(hessian))).collect();
        Ok(Statistics { of: of.into_iter().map(|(name, at)| (name, inputs[at].clone())).collect() })
    }

    /// What the matrix `name` multiplied, if it multiplied anything.
    pub fn of(&self, name: &str) -> Option<Arc<Inputs>> {
        self.of.get(name).cloned()
    }
}

/// Hessians as they grow, and which is whose.
#[derive(Debug, Default)]
struct Gathered {
    hessians: Vec<Hessian>,
    of: HashMap<String, usize>,
}

impl Gathered {
    /// Some matrices read these rows.
    fn add(&mut self, names: &[&str], x: &[f32], rows: usize) {
        let at = match self.of.get(names[0]) {
            Some(at) => *at,
            None => {
                self.hessians.push(Hessian::new(x.len() / rows.max(1)));
                self.hessians.len() - 1
            }
        };
        self.hessians[at].add(x, rows);
        for name in names {
            self.of.entry(name.to_string()).or_insert(at);
        }
    }
}

/// Cuts matrices, `(name, cols)`, into sets whose Hessians fit into memory together, each to be gathered in one reading.
pub fn readings(matrices: &[(String, usize)]) -> Vec<Vec<String>> {
    let (mut sets, mut bytes) = (Vec::<Vec<String>>::new(), usize::MAX);
    for (name, cols) in matrices {
        let more = Hessian::bytes(*cols);
        if bytes.saturating_add(more) > MOST_BYTES {
            sets.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        sets.last_mut().expect("pushed above").push(name.clone());
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_are_read_in_sets_that_fit() {
        let matrices: Vec<(String, usize)> = (0..5).map(|i| (format!("w{i}"), 8192)).collect();
        let sets = readings(&matrices);
        assert_eq!(sets.concat(), ["w0", "w1", "w2", "w3", "w4"]);
        assert!(sets.iter().all(|set| set.len() * Hessian::bytes(8192) <= MOST_BYTES));
        assert_eq!(readings(&[("wide".into(), 1 << 20)]).len(), 1);
    }
}
