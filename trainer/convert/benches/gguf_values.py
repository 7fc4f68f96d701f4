#!/usr/bin/env python3
"""Decodes every GGUF file under a folder with gguf-py, in siskin's tensor names and row order, for examples/gguf_goldens.rs.

    pip install gguf && python3 gguf_values.py DATA OUT
    cargo run --release -p siskin-convert --example gguf_goldens -- DATA OUT

Writes OUT/<path>/<tensor>.f32 for each tensor of each model of the architectures llama, qwen2, qwen3 and gpt2.
"""

import pathlib
import re
import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

NAMES = {
    "token_embd.weight": "embed.weight", "position_embd.weight": "position.weight",
    "output_norm.weight": "final_norm.weight", "output_norm.bias": "final_norm.bias", "output.weight": "head.weight",
    "attn_norm.weight": "norm1.weight", "attn_norm.bias": "norm1.bias",
    "ffn_norm.weight": "norm2.weight", "ffn_norm.bias": "norm2.bias",
    "attn_q.weight": "attn.wq", "attn_k.weight": "attn.wk", "attn_v.weight": "attn.wv", "attn_output.weight": "attn.wo",
    "attn_q.bias": "attn.bq", "attn_k.bias": "attn.bk", "attn_v.bias": "attn.bv", "attn_output.bias": "attn.bo",
    "attn_q_norm.weight": "attn.q_norm.weight", "attn_k_norm.weight": "attn.k_norm.weight",
    "ffn_gate.weight": "ffn.w_gate", "ffn_up.weight": "ffn.w_up", "ffn_down.weight": "ffn.w_down",
    "ffn_gate.bias": "ffn.b_gate", "ffn_up.bias": "ffn.b_up", "ffn_down.bias": "ffn.b_down",
}


def rotate_half(values, heads):
    """Rows of pairs (2i, 2i + 1) to rows of pairs (i, i + half), as Hugging Face has them."""
    shape = values.shape
    return values.reshape(heads, shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(shape)


def export(path, out):
    reader = GGUFReader(path)
    text = lambda key: reader.fields[key].contents()
    arch = text("general.architecture")
    if not reader.tensors or arch not in ("llama", "qwen2", "qwen3", "gpt2"):
        return None
    heads = text(f"{arch}.attention.head_count")
    kv_heads = text(f"{arch}.attention.head_count_kv") if f"{arch}.attention.head_count_kv" in reader.fields else heads
    out.mkdir(parents=True, exist_ok=True)
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype("<f4")
        block, name = re.fullmatch(r"(?:blk\.(\d+)\.)?(.*)", tensor.name).groups()
        if name == "rope_freqs.weight":
            continue
        if name.startswith("attn_qkv"):
            width = values.shape[0] * heads // (heads + 2 * kv_heads)
            rest = (values.shape[0] - width) // 2
            parts = zip("qkv", np.split(values, [width, width + rest]))
            named = {f"attn.{'w' if name.endswith('weight') else 'b'}{part}": value for part, value in parts}
        else:
            named = {NAMES[name]: values}
        for ours, value in named.items():
            if arch == "llama" and ours[-1] in "qk" and ours.startswith("attn."):
                value = rotate_half(value, heads if ours[-1] == "q" else kv_heads)
            prefix = f"blocks.{block}." if block else ""
            value.tofile(out / f"{prefix}{ours}.f32")
    return len(reader.tensors)


data, out = map(pathlib.Path, sys.argv[1:])
for path in sorted(data.rglob("*.gguf")):
    try:
        count = export(path, out / path.relative_to(data))
    except ValueError as error:
        print(f"{path.relative_to(data)}: gguf-py cannot read it: {error}")
    else:
        print(f"{path.relative_to(data)}: {'no weights of these architectures' if count is None else f'{count} tensors'}")
