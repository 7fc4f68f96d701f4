//! How each tensor of the schema is made from the tensors of a safetensors checkpoint.

use siskin_format::TensorSpec;
use std::collections::{BTreeSet, HashMap};

use crate::error::Result;
use crate::import::Weights;
use crate::safetensors::Shards;
use crate::source::shown;

/// Columns that are transposed together, so that a row of them fills a cache line.
const STRIP: usize = 16;

/// How one tensor of the schema is made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Recipe {
    /// As it is stored, row by row.
    Same(String),
    /// Part of a vector of `of` elements, from the element `from` on.
    Slice { name: String, from: usize, of: usize },
    /// A matrix that is stored the other way round, `[cols, of]`: its columns from `from` on are the rows (GPT-2's Conv1D).
    Columns { name: String, from: usize, of: usize },
    /// The sum of two vectors.
    Sum(String, String),
    /// The identity: a token's embedding is its one-hot vector.
    Identity,
}

impl Recipe {
    /// The tensors that it reads.
    fn reads(&self) -> Vec<&String> {
        match self {
            Recipe::Same(name) | Recipe::Slice { name, .. } | Recipe::Columns { name, .. } => vec![name],
            Recipe::Sum(a, b) => vec![a, b],
            Recipe::Identity => Vec::new(),
        }
    }

    /// The shape that the tensors it reads have to have.
    fn shape(&self, spec: &TensorSpec) -> Vec<usize> {
        match self {
            Recipe::Slice { of, .. } => vec![*of],
            Recipe::Columns { of, .. } => vec![spec.cols, *of],
            _ if spec.is_vector() => vec![spec.rows],
            _ => vec![spec.rows, spec.cols],
        }
    }

    fn make(&self, spec: &TensorSpec, shards: &Shards) -> Result<Vec<f32>> {
        match self {
            Recipe::Same(name) => shards.require(name)?.decode(),
            Recipe::Slice { name, from, .. } => shards.require(name)?.decode_range(*from, spec.rows),
            Recipe::Columns { name, from, of } => {
                let tensor = shards.require(name)?;
                let mut values = vec![0.0; spec.len()]; // [rows, cols]
                for first in (0..spec.cols).step_by(STRIP) {
                    let strip = first..spec.cols.min(first + STRIP);
                    let columns = strip.map(|col| tensor.decode_range(col * of + from, spec.rows));
                    let columns: Vec<Vec<f32>> = columns.collect::<Result<_>>()?;
                    for row in 0..spec.rows {
                        for (i, column) in columns.iter().enumerate() {
                            values[row * spec.cols + first + i] = column[row];
                        }
                    }
                }
                Ok(values)
            }
            Recipe::Sum(a, b) => {
                let mut sum = shards.require(a)?.decode()?;
                let second = shards.require(b)?;
                sum.iter_mut().zip(second.decode()?).for_each(|(sum, b)| *sum += b);
                match sum.iter().all(|v| v.is_finite()) {
                    true => Ok(sum),
                    false => Err(second.error(format!("its sum with {} is no number", shown(a)))),
                }
            }
            Recipe::Identity => {
                let mut values = vec![0.0; spec.len()];
                values.iter_mut().step_by(spec.cols + 1).for_each(|v| *v = 1.0);
                Ok(values)
            }
        }
    }
}

/// Weights made by recipes, one for each tensor of the schema.
pub(crate) struct Cooked {
    shards: Shards,
    recipes: HashMap<String, Recipe>,
}

impl Cooked {
    /// Checks that every tensor that is read is there, with the expected shape and a type that can be decoded.
    pub(crate) fn new(shards: Shards, recipes: Vec<(TensorSpec, Recipe)>) -> Result<Cooked> {
        for (spec, recipe) in &recipes {
            for name in recipe.reads() {
                shards.require(name)?.expect(&recipe.shape(spec))?;
            }
        }
        let recipes = recipes.into_iter().map(|(spec, recipe)| (spec.name, recipe)).collect();
        Ok(Cooked { shards, recipes })
    }

    /// The checkpoint.
    pub(crate) fn shards(&self) -> &Shards {
        &self.shards
    }

    /// Tensors of the checkpoint that nothing reads, in alphabetical order.
    pub(crate) fn unread(&self) -> Vec<&str> {
        let read: BTreeSet<&str> =
            self.recipes.values().flat_map(Recipe::reads).map(String::as_str).collect();
        self.shards.names().into_iter().filter(|name| !read.contains(name)).collect()
    }
}

impl Weights for Cooked {
    fn read(&mut self, spec: &TensorSpec) -> Result<Vec<f32>> {
        let recipe = self.recipes.get(&spec.name).expect("there is a recipe for every tensor of the schema");
        recipe.make(spec, &self.shards)
    }
}
