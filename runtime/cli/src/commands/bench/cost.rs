//! What a token costs: bytes to read and operations to do.

use siskin::Model;
use siskin_format::DType;
use siskin_format::config::Position;

/// The cost of a model's products with weights.
pub struct Cost {
    /// Bytes of weights that one generated token reads.
    pub bytes_per_token: u64,
    /// Operations of each token of a prompt; a multiply-add is two.
    pub block_operations: u64,
    /// Operations of the head, which a prompt needs once.
    pub head_operations: u64,
    /// Whether most of them multiply bytes; else floats.
    pub int8: bool,
}

impl Cost {
    /// Counts the weights of `model`.
    pub fn of(model: &Model) -> Cost {
        let config = model.config();
        let head = if config.tied_head { "embed.weight" } else { "head.weight" };
        let (mut block_operations, mut head_operations, mut int8_operations) = (0, 0, 0);
        for tensor in model.file().tensors().iter().filter(|tensor| !tensor.is_vector) {
            let operations = 2 * (tensor.rows * tensor.cols) as u64;
            match tensor.name.as_str() {
                name if name == head => head_operations += operations,
                "embed.weight" | "position.weight" => continue, // looked up
                _ => block_operations += operations,
            }
            if matches!(tensor.dtype, DType::Q8 | DType::Q4) {
                int8_operations += operations;
            }
        }
        Cost {
            bytes_per_token: streamed_bytes(model),
            block_operations,
            head_operations,
            int8: int8_operations > (block_operations + head_operations) / 2,
        }
    }

    /// Operations of a prompt of `n` tokens, attention not counted.
    pub fn prompt_operations(&self, n: usize) -> f64 {
        n as f64 * self.block_operations as f64 + self.head_operations as f64
    }
}

/// Bytes of weights that one generated token reads: all but the rows of embedding and positions that it does not
/// look up.
fn streamed_bytes(model: &Model) -> u64 {
    let config = model.config();
    let looked_up = |name: &str, rows: usize| {
        let tensor = model.file().tensor(name).map_or(0, |tensor| tensor.bytes().len() as u64);
        tensor - tensor / rows as u64
    };
    let all: u64 = model.file().tensors().iter().map(|info| info.range.len() as u64).sum();
    let embedding = if config.tied_head { 0 } else { looked_up("embed.weight", config.vocab_size) };
    let positions = match config.position {
        Position::Learned => looked_up("position.weight", config.context),
        _ => 0,
    };
    all - embedding - positions
}
