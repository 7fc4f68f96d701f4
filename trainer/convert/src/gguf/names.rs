//! Where each tensor of siskin's schema stands in a GGUF file.

use siskin_format::TensorSpec;
use siskin_format::config::TransformerConfig;

use super::arch::Arch;

/// A tensor of the schema in a tensor of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Name in the file.
    pub(crate) name: String,
    /// First of its rows (elements of a vector) there, and how many that tensor has.
    pub(crate) first_row: usize,
    pub(crate) of_rows: usize,
    /// Rows are q or k of heads that RoPE turns: their order depends on which channels are turned together.
    pub(crate) turned: bool,
}

/// Where the tensor of `spec` stands. `fused`: q, k and v are one tensor. `None` for tensors that no architecture here has.
pub(crate) fn place(arch: Arch, block: &TransformerConfig, fused: bool, spec: &TensorSpec) -> Option<Place> {
    let whole = |name: String| Place { name, first_row: 0, of_rows: spec.rows, turned: false };
    let Some(index) = spec.block else {
        return Some(whole(
            match spec.name.as_str() {
                "embed.weight" => "token_embd.weight",
                "position.weight" => "position_embd.weight",
                "final_norm.weight" => "output_norm.weight",
                "final_norm.bias" => "output_norm.bias",
                "head.weight" => "output.weight",
                "head.bias" => "output.bias",
                _ => return None,
            }
            .to_string(),
        ));
    };
    let tensor = spec.name.strip_prefix("blocks.")?.split_once('.')?.1;
    let (q, kv) = (block.q_width(), block.kv_width());
    let (part, first_row) = match tensor.strip_prefix("attn.").map(|t| t.split_at(1)) {
        Some(("w" | "b", "q")) => ("attn_q", 0),
        Some(("w" | "b", "k")) => ("attn_k", q),
        Some(("w" | "b", "v")) => ("attn_v", q + kv),
        _ => return Some(whole(format!("blk.{index}.{}", other(tensor)?))),
    };
    let kind = if tensor.starts_with("attn.w") { "weight" } else { "bias" };
    let turned = arch.turns_neighbours() && part != "attn_v";
    Some(if fused {
        let name = format!("blk.{index}.attn_qkv.{kind}");
        Place { name, first_row, of_rows: q + 2 * kv, turned }
    } else {
        Place { turned, ..whole(format!("blk.{index}.{part}.{kind}")) }
    })
}

/// The tensors of a block other than q, k and v.
fn other(tensor: &str) -> Option<&'static str> {
    Some(match tensor {
        "norm1.weight" => "attn_norm.weight",
        "norm1.bias" => "attn_norm.bias",
        "attn.wo" => "attn_output.weight",
        "attn.bo" => "attn_output.bias",
        "attn.q_norm.weight" => "attn_q_norm.weight",
        "attn.k_norm.weight" => "attn_k_norm.weight",
        "norm2.weight" => "ffn_norm.weight",
        "norm2.bias" => "ffn_norm.bias",
        "ffn.w_gate" => "ffn_gate.weight",
        "ffn.b_gate" => "ffn_gate.bias",
        "ffn.w_up" => "ffn_up.weight",
        "ffn.b_up" => "ffn_up.bias",
        "ffn.w_down" => "ffn_down.weight",
        "ffn.b_down" => "ffn_down.bias",
        _ => return None,
    })
}

/// The row of a tensor whose heads turn neighbouring channels (2i, 2i + 1) that is row `row` of one whose heads turn (i, i + `head_dim`/2).
pub(crate) fn row_among_neighbours(row: usize, head_dim: usize) -> usize {
    let (head, channel) = (row / head_dim, row % head_dim);
    let (side, i) = (channel / (head_dim / 2), channel % (head_dim / 2));
    head * head_dim + 2 * i + side
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_turn_together_stay_together() {
        let head_dim = 6;
        let rows: Vec<usize> = (0..12).map(|row| row_among_neighbours(row, head_dim)).collect();
        assert_eq!(rows, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }
}
