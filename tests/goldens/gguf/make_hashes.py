#!/usr/bin/env python3
"""Makes stories260K-Q4_0mix.tsv: the XXH64 of every tensor of stories260K-Q4_0mix.gguf as gguf-py decodes it, little-endian f32 in siskin's names and rows.

    pip install gguf==0.19.0 xxhash && python3 make_hashes.py

stories260K is Karpathy's tinyllamas (MIT), here from clebert/llama2.zig, models/tinystories_260k/checkpoint_legacy.bin, commit 46af05d7; written with
gguf 0.19.0: matrices Q4_0, ffn_down F16 since its rows of 172 are no multiple of 32.
"""

import pathlib
import subprocess
import sys
import tempfile

import xxhash

here = pathlib.Path(__file__).resolve().parent
script = here.parents[2] / "trainer/convert/benches/gguf_values.py"
with tempfile.TemporaryDirectory() as out:
    subprocess.run([sys.executable, script, here, out], check=True)
    tensors = sorted((pathlib.Path(out) / "stories260K-Q4_0mix.gguf").iterdir())
    lines = [f"{path.name[:-4]}\t{xxhash.xxh64(path.read_bytes()).hexdigest()}\n" for path in tensors]
(here / "stories260K-Q4_0mix.tsv").write_text("".join(lines))
