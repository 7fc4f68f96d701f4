//! The weights of a GGUF file, decoded when they are asked for.

use siskin_format::config::{BlockConfig, ModelConfig};
use siskin_format::{TensorSpec, schema};
use std::collections::{HashMap, HashSet};

use super::arch::Arch;
use super::file::{Frame, Problem, TensorInfo};
use super::names::{Place, place, row_among_neighbours};
use crate::error::Result;
use crate::import::Weights;
use crate::source::Source;

/// Where every tensor of a model's schema lies.
pub(crate) type Plan = HashMap<String, Located>;

/// A tensor of the schema and the tensor of the file that has it.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    tensor: TensorInfo,
    first_row: usize,
    /// Width of a head whose rows stand in another order.
    turned: Option<usize>,
}

/// Finds all tensors of the schema and checks their shapes; nothing may be missing or left over.
pub(crate) fn plan(
    frame: &Frame<'_>,
    arch: Arch,
    config: &ModelConfig,
) -> std::result::Result<Plan, Problem> {
    let BlockConfig::Transformer(block) = &config.blocks[0] else {
        unreachable!("an importer of Transformers")
    };
    let tensors: HashMap<&str, &TensorInfo> = frame.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    let fused = tensors.contains_key("blk.0.attn_qkv.weight");
    let (mut plan, mut used) = (Plan::new(), HashSet::from(["rope_freqs.weight"]));
    for spec in schema(config) {
        let place = place(arch, block, fused, &spec).expect("a schema of these architectures");
        let Some((&name, tensor)) = tensors.get_key_value(place.name.as_str()) else {
            let problem = format!("is missing, expected {} for {}", expected_shape(&spec, &place), spec.name);
            return Err(Problem::Tensor(place.name, problem));
        };
        check_shape(tensor, &spec, &place)?;
        used.insert(name);
        let turned = place.turned.then_some(block.head_dim);
        plan.insert(spec.name, Located { tensor: (*tensor).clone(), first_row: place.first_row, turned });
    }
    // Old files list RoPE's frequencies, which follow from the config.
    let known = |name: &str| used.contains(name) || name.ends_with(".attn_rot_embd");
    if let Some(extra) = frame.tensors.iter().find(|tensor| !known(&tensor.name)) {
        let problem = format!("is not part of a {} model of this config", arch.name());
        return Err(Problem::Tensor(extra.name.clone(), problem));
    }
    Ok(plan)
}

fn expected_shape(spec: &TensorSpec, place: &Place) -> String {
    if spec.is_vector() {
        format!("[{}]", place.of_rows)
    } else {
        format!("[{}, {}]", place.of_rows, spec.cols)
    }
}

fn check_shape(tensor: &TensorInfo, spec: &TensorSpec, place: &Place) -> std::result::Result<(), Problem> {
    let expected =
        if spec.is_vector() { [place.of_rows as u64, 1] } else { [spec.cols as u64, place.of_rows as u64] };
    // Sizes of 1 at the end may be written or not.
    let padded = |at: usize| tensor.dims.get(at).copied().unwrap_or(1);
    if (0..4).all(|at| padded(at) == expected.get(at).copied().unwrap_or(1)) {
        return Ok(());
    }
    let problem =
        format!("is {}, expected {} for {}", tensor.shape(), expected_shape(spec, place), spec.name);
    Err(Problem::Tensor(tensor.name.clone(), problem))
}

/// Decodes tensors from the mapped file.
pub(crate) struct GgufWeights {
    pub(crate) source: Source,
    pub(crate) plan: Plan,
}

impl Weights for GgufWeights {
    fn read(&mut self, spec: &TensorSpec) -> Result<Vec<f32>> {
        let GgufWeights { source, plan } = self;
        let Some(Located { tensor, first_row, turned }) = plan.get(&spec.name) else {
            return Err(source.tensor(&spec.name, "is not part of this model"));
        };
        // A vector is one row of blocks, of which fused biases take a part; such vectors are plain numbers.
        let row_len = if spec.is_vector() { 1 } else { spec.cols };
        if spec.is_vector() && tensor.kind.weights() > 1 {
            return Err(
                source.tensor(&tensor.name, format!("is of type {}, expected F32", tensor.kind.name()))
            );
        }
        let row_bytes = tensor.kind.bytes_for(row_len as u64).expect("checked when the file was opened");
        let at = tensor.offset + *first_row as u64 * row_bytes;
        let bytes = source
            .get(at, spec.rows as u64 * row_bytes)
            .ok_or_else(|| source.tensor(&tensor.name, "is no longer in the file"))?;
        let mut weights = vec![0.0; spec.len()];
        match turned {
            None => tensor.kind.decode(bytes, &mut weights),
            Some(head_dim) => {
                let rows: Vec<&[u8]> = bytes.chunks_exact(row_bytes as usize).collect();
                for (row, out) in weights.chunks_exact_mut(row_len).enumerate() {
                    tensor.kind.decode(rows[row_among_neighbours(row, *head_dim)], out);
                }
            }
        }
        match weights.iter().position(|w| !w.is_finite()) {
            None => Ok(weights),
            Some(flat) => {
                let (row, col, value) = (flat / row_len, flat % row_len, weights[flat]);
                let problem = format!("{} [{row}, {col}] is {value}, expected a finite number", spec.name);
                Err(source.tensor(&tensor.name, problem))
            }
        }
    }
}
