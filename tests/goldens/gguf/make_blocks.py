#!/usr/bin/env python3
"""Makes blocks.bin: for each block type of GGUF some blocks of random bytes and what they decode to.

    pip install gguf==0.19.0 && python3 make_blocks.py

The decoder is `gguf.quants`, the reference decoder of llama.cpp's gguf-py (MIT). Random bytes reach every code, scale and sign bit; only the f16
scales are drawn among finite ones. Layout, one record a type: u32 code, u32 bytes of blocks, the blocks, u32 weights, the weights as f32.
"""

import pathlib
import struct

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

# Byte offsets of the f16 scales in a block.
SCALES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
    T.IQ4_NL: [0], T.IQ3_S: [0], T.IQ4_XS: [0], T.TQ1_0: [52], T.TQ2_0: [64],
}
WEIGHTS = 1024

rng = np.random.default_rng(6)
with open(pathlib.Path(__file__).parent / "blocks.bin", "wb") as out:
    for kind in [T.F32, T.F16, T.BF16, *SCALES]:
        weights, size = GGML_QUANT_SIZES[kind]
        if kind in SCALES:
            blocks = rng.integers(0, 256, (WEIGHTS // weights, size), dtype=np.uint8)
            for at in SCALES[kind]:
                scales = rng.normal(0, 0.01, len(blocks)).astype(np.float16)
                scales[0] = np.float16(6e-8)  # the smallest subnormal half
                blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
            data = blocks.reshape(1, -1)
        else:
            values = rng.normal(0, 1, (1, WEIGHTS)).astype(np.float32)
            if kind == T.BF16:
                data = (values.view(np.uint32) >> 16).astype(np.uint16)
            else:
                data = values.astype({T.F32: np.float32, T.F16: np.float16}[kind])
            data = data.view(np.uint8)
        decoded = dequantize(data, kind).astype("<f4").ravel()
        assert len(decoded) == WEIGHTS and np.isfinite(decoded).all(), kind
        out.write(struct.pack("<II", kind, data.size) + data.tobytes())
        out.write(struct.pack("<I", len(decoded)) + decoded.tobytes())
